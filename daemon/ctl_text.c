#include "ctl_text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_LIMIT 600 /* characters of one foreign string on a line */

void ctl_text_init(struct ctl_text *text, struct ctl_look look)
{
    memset(text, 0, sizeof(*text));
    text->look = look;
}

void ctl_text_free(struct ctl_text *text)
{
    struct ctl_look look = text->look;

    free(text->bytes);
    ctl_text_init(text, look);
}

const char *ctl_text_string(const struct ctl_text *text)
{
    return text->bytes != NULL ? text->bytes : "";
}

static void append(struct ctl_text *text, const char *bytes, size_t length)
{
    if (text->failed)
        return;
    if (length > CTL_TEXT_MAX - text->length) {
        text->failed = true;
        return;
    }
    if (text->capacity - text->length < length + 1) {
        size_t capacity = text->capacity == 0 ? 256 : text->capacity;
        while (capacity - text->length < length + 1)
            capacity *= 2;
        char *grown = realloc(text->bytes, capacity);
        if (grown == NULL) {
            text->failed = true;
            return;
        }
        text->bytes = grown;
        text->capacity = capacity;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void ctl_text_add(struct ctl_text *text, const char *own)
{
    if (text->look.utf8) {
        append(text, own, strlen(own));
        return;
    }
    for (; *own != '\0'; own++) {
        unsigned char byte = (unsigned char)*own;
        if (byte < 0x80)
            append(text, own, 1);
        else if (byte >= 0xc0) /* the first byte of a character stands for all of it */
            append(text, "?", 1);
    }
}

void ctl_text_append(struct ctl_text *text, const struct ctl_text *other)
{
    append(text, ctl_text_string(other), other->length);
    text->failed = text->failed || other->failed;
}

void ctl_text_symbol(struct ctl_text *text, const char *utf8, const char *ascii)
{
    const char *symbol = text->look.utf8 ? utf8 : ascii;

    append(text, symbol, strlen(symbol));
}

void ctl_text_add_number(struct ctl_text *text, long long number)
{
    char digits[32];

    int length = snprintf(digits, sizeof(digits), "%lld", number);
    if (length > 0)
        append(text, digits, (size_t)length);
}

/*
 * Decode the character at the start of the ${length} ${bytes}. Return how many bytes it takes and
 * put it into ${character}, or return 0 if they do not begin with a well-formed UTF-8 character.
 */
static size_t decode(const unsigned char *bytes, size_t length, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size;
    uint32_t value;

    if (bytes[0] < 0x80) {
        *character = bytes[0];
        return 1;
    }
    if ((bytes[0] & 0xe0) == 0xc0) {
        size = 2;
        value = bytes[0] & 0x1fu;
    } else if ((bytes[0] & 0xf0) == 0xe0) {
        size = 3;
        value = bytes[0] & 0x0fu;
    } else if ((bytes[0] & 0xf8) == 0xf0) {
        size = 4;
        value = bytes[0] & 0x07u;
    } else {
        return 0;
    }
    if (size > length)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (value < least[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *character = value;
    return size;
}

/* Whether ${character} may reach a terminal as it is. */
static bool harmless(uint32_t character)
{
    static const struct {
        uint32_t first, last;
    } refused[] = {
        {0x0000, 0x001f}, /* C0: escape sequences begin here */
        {0x007f, 0x009f}, /* DEL and C1, which begin them too */
        {0x00ad, 0x00ad}, /* soft hyphen */
        {0x061c, 0x061c}, /* direction marks and overrides, zero-width characters, line separators
                           */
        {0x180e, 0x180e},    {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
        {0xfeff, 0xfeff},    {0xfff0, 0xfffb}, {0xe000, 0xf8ff}, /* private use: what it shows is
                                                                    the font's secret */
        {0xe0000, 0xe0fff},                                      /* tags and selectors */
        {0xf0000, 0x10ffff},
    };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (character >= refused[i].first && character <= refused[i].last)
            return false;
    return true;
}

void ctl_text_foreign(struct ctl_text *text, const char *bytes, size_t length, size_t limit)
{
    const unsigned char *at = (const unsigned char *)bytes;
    size_t left = length;
    char escape[16];

    for (size_t count = 0; left > 0; count++) {
        uint32_t character = 0;
        if (count == limit) {
            ctl_text_symbol(text, "…", "...");
            return;
        }
        size_t size = decode(at, left, &character);
        if (size == 0) {
            int n = snprintf(escape, sizeof(escape), "\\x%02x", at[0]);
            append(text, escape, (size_t)n);
            size = 1;
        } else if (harmless(character) && (character < 0x80 || text->look.utf8)) {
            append(text, (const char *)at, size);
        } else if (character < 0x80) {
            int n = snprintf(escape, sizeof(escape), "\\x%02" PRIx32, character);
            append(text, escape, (size_t)n);
        } else {
            int n = snprintf(escape, sizeof(escape), "\\u{%" PRIx32 "}", character);
            append(text, escape, (size_t)n);
        }
        at += size;
        left -= size;
    }
}

void ctl_text_foreign_string(struct ctl_text *text, const char *string)
{
    ctl_text_foreign(text, string, strlen(string), LINE_LIMIT);
}

void ctl_text_cut(struct ctl_text *text, size_t length)
{
    if (length < text->length) {
        text->length = length;
        text->bytes[length] = '\0';
    }
}

void ctl_text_style(struct ctl_text *text, enum ctl_style style)
{
    static const char *const sequence[] = {
        [CTL_PLAIN] = "\033[0m",  [CTL_BOLD] = "\033[0;1m",    [CTL_DIM] = "\033[0;2m",
        [CTL_RED] = "\033[0;31m", [CTL_YELLOW] = "\033[0;33m",
    };

    if (text->look.colour)
        append(text, sequence[style], strlen(sequence[style]));
}

size_t ctl_text_columns(const struct ctl_text *text)
{
    const char *line = ctl_text_string(text);
    const char *newline = strrchr(line, '\n');
    size_t columns = 0;

    if (newline != NULL)
        line = newline + 1;
    while (*line != '\0') {
        if (*line == '\033') {
            line += strcspn(line, "m");
            if (*line == 'm')
                line++;
            continue;
        }
        if (((unsigned char)*line & 0xc0) != 0x80)
            columns++;
        line++;
    }
    return columns;
}
