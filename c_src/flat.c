#include <stdio.h>
#include <string.h>

#include "flat.h"
#include "names.h"

struct reader {
    const uint8_t *at, *end;
};

/* Past the end all is 0, which is no tag. */
static uint8_t get_byte(struct reader *reader)
{
    return reader->at == reader->end ? 0 : *reader->at++;
}

static uint8_t peek(const struct reader *reader)
{
    return reader->at == reader->end ? 0 : *reader->at;
}

static uint64_t get_number(struct reader *reader)
{
    uint64_t number = 0;
    unsigned shift = 0;
    uint8_t byte;

    do {
        byte = get_byte(reader);
        if (shift < 64)
            number |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    return number;
}

static const uint8_t *get_bytes(struct reader *reader, size_t *length)
{
    const uint8_t *bytes = reader->at;

    if (*length > (size_t)(reader->end - reader->at))
        *length = (size_t)(reader->end - reader->at);
    reader->at += *length;
    return bytes;
}

uint64_t flat_hash(const uint8_t *bytes, size_t length)
{
    uint64_t hash = length, part;

    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&part, bytes, 8);
        hash = (hash ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    part = 0;
    memcpy(&part, bytes, length);
    hash = (hash ^ part) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

struct text *flat_new(const uint8_t *bytes, size_t length)
{
    struct text *text = text_new((const char *)bytes, length, false);

    if (text != NULL)
        text->is_flat = true;
    return text;
}

/* --- text
 * -----------------------------------------------------------------------------------------------
 */

/* Of `size` bytes `length` are here. */
static void format_binary(const uint8_t *data, size_t length, uint64_t size,
                          struct text_writer *writer)
{
    bool is_text = true, is_ascii = true;
    size_t at = 0;

    while (at < length && is_text) {
        unsigned wide = text_utf8_length(data + at, length - at);
        uint8_t c = data[at];

        /* The end of what we look at may cut a character in two. */
        if (wide == 0 && length < size && length - at < 4) {
            length = at;
            break;
        }
        is_text = wide > 0 && (c >= 0x20 || c == '\n' || c == '\t' || c == '\r') && c != 0x7f &&
                  !(wide == 2 && c == 0xc2 && data[at + 1] < 0xa0);
        is_ascii = is_ascii && wide == 1;
        at += wide == 0 ? 1 : wide;
    }
    text_puts(writer, "<<");
    if (is_text && length > 0) {
        text_put_char(writer, '"');
        text_put_utf8(writer, data, length, '"');
    } else {
        for (at = 0; at < length && !writer->cut; at++) {
            if (at > 0)
                text_put_char(writer, ',');
            text_put_uint(writer, data[at]);
        }
    }
    if (length < size)
        writer->cut = true;
    if (is_text && length > 0)
        text_puts(writer, is_ascii ? "\"" : "\"/utf8");
    text_puts(writer, ">>");
}

static void format_float(double number, struct text_writer *writer)
{
    char digits[32], *exponent;

    /* The shortest that reads back as the same number. */
    for (int precision = 15; precision <= 17; precision++) {
        double back;

        (void)snprintf(digits, sizeof(digits), "%.*g", precision, number);
        if (sscanf(digits, "%lf", &back) == 1 && back == number)
            break;
    }
    /* Erlang wants a point before the exponent, and writes e100 where C has e+100. */
    if ((exponent = strchr(digits, 'e')) != NULL)
        *exponent++ = '\0';
    text_puts(writer, digits);
    if (strchr(digits, '.') == NULL)
        text_puts(writer, ".0");
    if (exponent == NULL)
        return;
    text_put_char(writer, 'e');
    if (*exponent == '-')
        text_put_char(writer, '-');
    text_puts(writer, exponent + 1 + strspn(exponent + 1, "0"));
}

/* A container that is being written. */
struct open {
    uint8_t tag;
    bool first;
    uint64_t left; /* items of a tuple or map */
};

struct formatting {
    struct reader reader;
    struct text_writer *writer;
    struct open open[FLAT_DEPTH_MAX];
    unsigned depth;
};

static void open_container(struct formatting *to, uint8_t tag, uint64_t left, const char *begin)
{
    if (to->depth == FLAT_DEPTH_MAX) {
        to->writer->cut = true;
        return;
    }
    to->open[to->depth++] = (struct open){.tag = tag, .first = true, .left = left};
    text_puts(to->writer, begin);
}

static void format_item(struct formatting *to)
{
    struct reader *reader = &to->reader;
    struct text_writer *writer = to->writer;
    uint8_t tag = get_byte(reader);
    const uint8_t *bytes;
    uint64_t number;
    double real;
    size_t length;

    switch (tag) {
    case FLAT_ATOM:
        name_atom(get_number(reader), true, writer);
        return;
    case FLAT_PID:
        name_pid_or_port(get_number(reader), writer);
        return;
    case FLAT_NEGATIVE:
        text_put_char(writer, '-');
        text_put_uint(writer, get_number(reader));
        return;
    case FLAT_UINT:
        text_put_uint(writer, get_number(reader));
        return;
    case FLAT_FLOAT:
        length = sizeof(real);
        bytes = get_bytes(reader, &length);
        real = 0;
        memcpy(&real, bytes, length);
        format_float(real, writer);
        return;
    case FLAT_PRINTED:
        length = get_number(reader);
        bytes = get_bytes(reader, &length);
        text_put_utf8(writer, bytes, length, '\0');
        return;
    case FLAT_BIGNUM:
        text_puts(writer, "#Bignum");
        writer->cut = true;
        return;
    case FLAT_BINARY:
        number = get_number(reader);
        length = get_number(reader);
        bytes = get_bytes(reader, &length);
        format_binary(bytes, length, number, writer);
        return;
    case FLAT_BITSTRING:
        text_puts(writer, "#Bitstring"); /* erl_nif.h shows no way in */
        return;
    case FLAT_STRING:
    case FLAT_STRING_CUT:
        length = get_number(reader);
        bytes = get_bytes(reader, &length);
        text_put_char(writer, '"');
        text_put_utf8(writer, bytes, length, '"');
        if (tag == FLAT_STRING_CUT)
            writer->cut = true;
        text_put_char(writer, '"');
        return;
    case FLAT_NIL:
        text_puts(writer, "[]");
        return;
    case FLAT_TUPLE:
        open_container(to, tag, get_number(reader), "{");
        return;
    case FLAT_LIST:
        open_container(to, tag, 0, "[");
        return;
    case FLAT_MAP:
        open_container(to, tag, 2 * get_number(reader), "#{");
        return;
    case FLAT_OTHER:
        text_puts(writer, "#Term");
        return;
    default:
        writer->cut = true; /* too deep, or the end */
        return;
    }
}

/* Ends the innermost container if all of it is written. */
static bool close_container(struct formatting *to)
{
    struct open *open = &to->open[to->depth - 1];

    if (open->tag == FLAT_LIST ? peek(&to->reader) != FLAT_END : open->left > 0)
        return false;
    if (open->tag == FLAT_LIST)
        (void)get_byte(&to->reader);
    text_put_char(to->writer, open->tag == FLAT_LIST ? ']' : '}');
    to->depth--;
    return true;
}

static void separate(struct formatting *to)
{
    struct open *open = &to->open[to->depth - 1];

    if (open->tag == FLAT_LIST && peek(&to->reader) == FLAT_TAIL) {
        (void)get_byte(&to->reader);
        text_put_char(to->writer, '|');
    } else if (open->tag == FLAT_MAP && open->left % 2 == 1) {
        text_puts(to->writer, " => ");
    } else if (!open->first) {
        text_put_char(to->writer, ',');
    }
    open->first = false;
    open->left--;
}

void flat_format(const uint8_t *bytes, size_t length, struct text_writer *writer)
{
    struct formatting to = {
        .reader = {.at = bytes, .end = bytes + length}, .writer = writer, .depth = 0};

    for (;;) {
        format_item(&to);
        while (!writer->cut && to.depth > 0 && close_container(&to))
            ;
        if (writer->cut || to.depth == 0)
            return;
        if (to.reader.at == to.reader.end) {
            writer->cut = true;
            return;
        }
        separate(&to);
    }
}

/* --- stack traces
 * --------------------------------------------------------------------------------------- */

/* Goes past one item with all that is in it. Containers are at most FLAT_DEPTH_MAX deep. */
static void skip(struct reader *reader)
{
    uint8_t tag = get_byte(reader);
    uint64_t items;
    size_t length;

    switch (tag) {
    case FLAT_ATOM:
    case FLAT_PID:
    case FLAT_UINT:
    case FLAT_NEGATIVE:
        (void)get_number(reader);
        return;
    case FLAT_FLOAT:
        length = sizeof(double);
        (void)get_bytes(reader, &length);
        return;
    case FLAT_BINARY:
        (void)get_number(reader);
        /* fallthrough */
    case FLAT_PRINTED:
    case FLAT_STRING:
    case FLAT_STRING_CUT:
        length = get_number(reader);
        (void)get_bytes(reader, &length);
        return;
    case FLAT_TUPLE:
    case FLAT_MAP:
        items = get_number(reader) * (tag == FLAT_MAP ? 2 : 1);
        for (; items > 0 && reader->at < reader->end; items--)
            skip(reader);
        return;
    case FLAT_LIST:
        while (reader->at < reader->end && peek(reader) != FLAT_END) {
            if (peek(reader) == FLAT_TAIL)
                (void)get_byte(reader);
            else
                skip(reader);
        }
        (void)get_byte(reader);
        return;
    default:
        return;
    }
}

/* The arity itself, or the arguments; a function has at most 255. */
static uint64_t get_arity(struct reader *reader)
{
    uint64_t arity = 0;
    size_t length;
    const uint8_t *bytes;

    switch (peek(reader)) {
    case FLAT_UINT:
        (void)get_byte(reader);
        return get_number(reader);
    case FLAT_STRING:
    case FLAT_STRING_CUT:
        (void)get_byte(reader);
        length = get_number(reader);
        bytes = get_bytes(reader, &length);
        for (size_t i = 0; i < length; i++)
            arity += (bytes[i] & 0xc0) != 0x80;
        break;
    case FLAT_LIST:
        (void)get_byte(reader);
        for (; reader->at < reader->end && peek(reader) != FLAT_END; arity++)
            skip(reader);
        (void)get_byte(reader);
        break;
    default:
        skip(reader);
        break;
    }
    return arity < 255 ? arity : 255;
}

/* Appends the file and line of a frame's location, [{file, "f"}, {line, 1}], if it has them;
 * `reader` is at the location. */
static void format_location(struct reader *reader, struct text_writer *writer)
{
    struct reader file = {.at = NULL};
    uint64_t line = 0;

    if (peek(reader) != FLAT_LIST) {
        skip(reader);
        return;
    }
    (void)get_byte(reader);
    while (reader->at < reader->end && peek(reader) != FLAT_END) {
        struct reader pair = *reader;

        skip(reader);
        if (get_byte(&pair) != FLAT_TUPLE || get_number(&pair) != 2)
            continue;
        skip(&pair);
        if (peek(&pair) == FLAT_STRING || peek(&pair) == FLAT_STRING_CUT) {
            file = pair;
        } else if (peek(&pair) == FLAT_UINT) {
            (void)get_byte(&pair);
            line = get_number(&pair);
        }
    }
    (void)get_byte(reader);
    if (file.at == NULL || line == 0 || line > UINT32_MAX)
        return;
    text_puts(writer, " (");
    (void)get_byte(&file);
    {
        size_t length = get_number(&file);
        const uint8_t *bytes = get_bytes(&file, &length);

        text_put_utf8(writer, bytes, length, '\0');
    }
    text_put_char(writer, ':');
    text_put_uint(writer, line);
    text_put_char(writer, ')');
}

/* {Module, Function, Arity | Arguments, Location} or {Fun, Arguments, Location}. Returns false when
 * it is neither. */
static bool format_frame(struct reader *reader, struct text_writer *writer)
{
    uint64_t size;

    if (get_byte(reader) != FLAT_TUPLE || (size = get_number(reader)) < 3 || size > 4)
        return false;
    if (size == 3) {
        size_t length;
        const uint8_t *bytes;

        if (get_byte(reader) != FLAT_PRINTED)
            return false; /* a list of anything, which somebody put where a stack could be */
        length = get_number(reader);
        bytes = get_bytes(reader, &length);
        if (length == 0 || bytes[0] != '#')
            return false;
        text_put_utf8(writer, bytes, length, '\0');
        skip(reader);
    } else {
        term_word names[2];

        for (int i = 0; i < 2; i++) {
            if (get_byte(reader) != FLAT_ATOM)
                return false;
            names[i] = get_number(reader);
        }
        name_atom(names[0], true, writer);
        text_put_char(writer, ':');
        name_atom(names[1], true, writer);
        text_put_char(writer, '/');
        text_put_uint(writer, get_arity(reader));
    }
    format_location(reader, writer);
    return true;
}

void flat_format_stack(const uint8_t *bytes, size_t length, bool in_reason,
                       struct text_writer *writer)
{
    struct reader reader = {.at = bytes, .end = bytes + length};
    size_t whole = writer->used;

    if (in_reason) {
        if (get_byte(&reader) != FLAT_TUPLE || get_number(&reader) < 2)
            return;
        skip(&reader);
    }
    if (get_byte(&reader) != FLAT_LIST)
        return;
    for (int frames = 0; reader.at < reader.end && peek(&reader) != FLAT_END; frames++) {
        if (frames == FLAT_FRAMES) {
            writer->cut = true;
            break;
        }
        if (frames > 0)
            text_put_char(writer, '\n');
        if (!format_frame(&reader, writer) || writer->cut)
            break;
        whole = writer->used;
    }
    writer->used = whole;
    writer->at[whole] = '\0';
}
