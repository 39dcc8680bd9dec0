#include <stdbool.h>

#include "utf8.h"

/* The length of the valid sequence at the start of text; 0 and *bad = what to replace if invalid.
 */
static size_t sequence(const unsigned char *text, size_t length, size_t *bad)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t need;

    *bad = 1;
    if (text[0] < 0x80)
        return text[0] != 0;
    if (text[0] >= 0xc2 && text[0] <= 0xdf)
        need = 2;
    else if (text[0] >= 0xe0 && text[0] <= 0xef)
        need = 3;
    else if (text[0] >= 0xf0 && text[0] <= 0xf4)
        need = 4;
    else
        return 0;

    /* Only the second byte's range depends on the first. */
    if (text[0] == 0xe0)
        low = 0xa0;
    else if (text[0] == 0xed)
        high = 0x9f;
    else if (text[0] == 0xf0)
        low = 0x90;
    else if (text[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < need; i++) {
        if (i >= length || text[i] < low || text[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return need;
}

void utf8_clean(const char *text, size_t length, struct buffer *out)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t start = 0, at = 0;

    while (at < length) {
        size_t bad;
        size_t good = sequence(bytes + at, length - at, &bad);

        if (good > 0) {
            at += good;
            continue;
        }
        buffer_append(out, text + start, at - start);
        buffer_text(out, "\xef\xbf\xbd");
        at += bad;
        start = at;
    }
    buffer_append(out, text + start, at - start);
}

size_t utf8_length(const char *text, size_t length)
{
    size_t bad;

    return sequence((const unsigned char *)text, length, &bad);
}

size_t utf8_floor(const char *text, size_t length)
{
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}
