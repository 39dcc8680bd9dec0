#include <string.h>

#include "alloc.h"
#include "text.h"

struct text_writer text_writer_on(char *buffer, size_t room)
{
    buffer[0] = '\0';
    return (struct text_writer){.at = buffer, .used = 0, .room = room, .cut = false};
}

void text_put(struct text_writer *writer, const char *bytes, size_t length)
{
    if (writer->cut)
        return; /* what comes after a gap would read as if there were none */
    if (length >= writer->room - writer->used) {
        writer->cut = true;
        return;
    }
    memcpy(writer->at + writer->used, bytes, length);
    writer->used += length;
    writer->at[writer->used] = '\0';
}

void text_puts(struct text_writer *writer, const char *string)
{
    text_put(writer, string, strlen(string));
}

void text_put_char(struct text_writer *writer, char c)
{
    text_put(writer, &c, 1);
}

void text_put_uint(struct text_writer *writer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    text_put(writer, digits + at, sizeof(digits) - at);
}

unsigned text_utf8_length(const unsigned char *bytes, size_t left)
{
    unsigned length;
    uint32_t point;

    if (bytes[0] < 0x80)
        return 1;
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4)
        return 0;
    length = bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    if (left < length)
        return 0;
    point = bytes[0] & (0x7fU >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3fU);
    }
    if ((length == 3 && point < 0x800) || (length == 4 && point < 0x10000) || point > 0x10ffff ||
        (point >= 0xd800 && point <= 0xdfff))
        return 0;
    return length;
}

static void put_hex_escape(struct text_writer *writer, unsigned value)
{
    static const char hex[] = "0123456789ABCDEF";
    char escape[6] = {'\\', 'x', '{', hex[value >> 4 & 15], hex[value & 15], '}'};

    text_put(writer, escape, sizeof(escape));
}

void text_put_utf8(struct text_writer *writer, const unsigned char *bytes, size_t length, char quote)
{
    for (size_t at = 0; at < length && !writer->cut;) {
        unsigned char c = bytes[at];
        unsigned wide;
        size_t plain = at;

        while (plain < length && bytes[plain] >= 0x20 && bytes[plain] < 0x7f &&
               (quote == '\0' || (bytes[plain] != '\\' && bytes[plain] != (unsigned char)quote)))
            plain++;
        if (plain > at) {
            size_t fits = writer->room - writer->used - 1;

            text_put(writer, (const char *)bytes + at, plain - at < fits ? plain - at : fits);
            writer->cut = writer->cut || plain - at > fits;
            at = plain;
            continue;
        }
        wide = text_utf8_length(bytes + at, length - at);
        /* C1 controls (U+0080 .. U+009F) are control characters as well. */
        bool control = c < 0x20 || c == 0x7f || (wide == 2 && c == 0xc2 && bytes[at + 1] < 0xa0);

        if (wide == 0 || control) {
            if (quote == '\0')
                text_put_char(writer, '?');
            else if (c == '\n')
                text_put(writer, "\\n", 2);
            else if (c == '\t')
                text_put(writer, "\\t", 2);
            else if (c == '\r')
                text_put(writer, "\\r", 2);
            else
                put_hex_escape(writer, wide == 2 ? bytes[at + 1] : c);
            at += wide == 0 ? 1 : wide;
        } else if (quote != '\0' && (c == '\\' || c == (unsigned char)quote)) {
            char escape[2] = {'\\', (char)c};

            text_put(writer, escape, sizeof(escape));
            at++;
        } else {
            text_put(writer, (const char *)bytes + at, wide);
            at += wide;
        }
    }
}

size_t text_json_cost(const char *text, size_t length)
{
    size_t cost = 0;

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            cost += 2;
        else if (c < 0x20)
            cost += 6;
        else
            cost += 1;
    }
    return cost;
}

struct text *text_new(const char *bytes, size_t length, bool truncated)
{
    struct text *text = memory_alloc(sizeof(*text) + length + 1);

    if (text == NULL)
        return NULL;
    atomic_init(&text->holders, 1);
    text->length = (uint32_t)length;
    text->truncated = truncated;
    text->is_flat = false;
    memcpy(text->bytes, bytes, length);
    text->bytes[length] = '\0';
    return text;
}

struct text *text_hold(struct text *text)
{
    if (text != NULL)
        atomic_fetch_add_explicit(&text->holders, 1, memory_order_relaxed);
    return text;
}

void text_drop(struct text *text)
{
    if (text != NULL && atomic_fetch_sub_explicit(&text->holders, 1, memory_order_acq_rel) == 1)
        memory_free(text);
}
