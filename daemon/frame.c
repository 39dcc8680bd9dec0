#include <cbor.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "frame.h"
#include "item.h"
#include "memory.h"
#include "utf8.h"

#define KEY_TEXT_MAX 32

struct decoder {
    struct item_reader reader;
    unsigned items; /* read so far */
    char *why;      /* FRAME_WHY_SIZE bytes */
};

const char *frame_key_name(uint64_t key)
{
    static const char *const names[] = {
#define X(number, name) [number] = #name,
        WIRE_KEYS(X)
#undef X
    };

    return key < sizeof(names) / sizeof(names[0]) ? names[key] : NULL;
}

enum frame_split frame_split(const unsigned char *data, size_t length, size_t *body_length,
                             char why[FRAME_WHY_SIZE])
{
    uint32_t announced;

    if (length < FRAME_HEADER)
        return FRAME_INCOMPLETE;
    announced =
        (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    if (announced < 1 || announced > WIRE_FRAME_MAX) {
        snprintf(why, FRAME_WHY_SIZE, "a frame of %" PRIu32 " bytes (allowed: 1 to %d)", announced,
                 WIRE_FRAME_MAX);
        return FRAME_BAD;
    }
    if (length - FRAME_HEADER < announced)
        return FRAME_INCOMPLETE;
    *body_length = announced;
    return FRAME_READY;
}

__attribute__((format(printf, 2, 3))) static bool bad(struct decoder *decoder, const char *format,
                                                      ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(decoder->why, FRAME_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static bool next(struct decoder *decoder, struct item *item)
{
    size_t offset = decoder->reader.offset;

    if (++decoder->items > FRAME_ITEMS_MAX)
        return bad(decoder, "a frame with more than %d items", FRAME_ITEMS_MAX);
    if (!item_next(&decoder->reader, item))
        return bad(decoder, "no whole CBOR item at byte %zu of the frame", offset);
    if (item->type == ITEM_OTHER)
        return bad(decoder, "a CBOR item at byte %zu of the frame that this protocol does not have",
                   offset);
    if (item->type == ITEM_TEXT && item->length > WIRE_TEXT_MAX)
        return bad(decoder, "a text of %zu bytes (allowed: %d)", item->length, WIRE_TEXT_MAX);
    if (item->type == ITEM_UNSIGNED && item->number > INT64_MAX)
        return bad(decoder, "an integer above 2^63 - 1 at byte %zu of the frame", offset);
    return true;
}

static json_t *text_value(const struct item *item)
{
    struct buffer clean = {0};
    json_t *value = NULL;

    /* jansson refuses what is not UTF-8: the common case costs one look. */
    if (memchr(item->text, 0, item->length) == NULL)
        value = json_stringn(item->text, item->length);
    if (value == NULL) {
        utf8_clean(item->text, item->length, &clean);
        value = memory_check(json_stringn_nocheck(clean.data, clean.length));
        buffer_clear(&clean);
    }
    return value;
}

static json_t *unsigned_value(uint64_t number)
{
    if (number >= FRAME_INTEGER_MAX)
        return memory_check(json_sprintf("%" PRIu64, number));
    return memory_check(json_integer((json_int_t)number));
}

static json_t *read_value(struct decoder *decoder, const struct item *head, unsigned depth);

static json_t *read_array(struct decoder *decoder, uint64_t count, unsigned depth)
{
    json_t *array = memory_check(json_array());
    struct item item;

    while (count-- > 0) {
        json_t *value = NULL;

        if (next(decoder, &item))
            value = read_value(decoder, &item, depth);
        if (value == NULL) {
            json_decref(array);
            return NULL;
        }
        json_array_append_new(array, value);
    }
    return array;
}

/* The name of a map's key, in `buffer` if it came as text; *skip if it is one we do not know. */
static const char *read_key(struct decoder *decoder, char buffer[KEY_TEXT_MAX + 1], bool *skip)
{
    struct item item;
    const char *name;

    *skip = false;
    if (!next(decoder, &item))
        return NULL;
    if (item.type == ITEM_UNSIGNED) {
        name = frame_key_name(item.number);
        *skip = name == NULL;
        return *skip ? "" : name;
    }
    if (item.type != ITEM_TEXT) {
        bad(decoder, "a map's key that is neither an integer nor a text");
        return NULL;
    }
    if (item.length < 1 || item.length > KEY_TEXT_MAX) {
        bad(decoder, "a map's key of %zu bytes (allowed: 1 to %d)", item.length, KEY_TEXT_MAX);
        return NULL;
    }
    for (size_t i = 0; i < item.length; i++) {
        if ((item.text[i] < 'a' || item.text[i] > 'z') && item.text[i] != '_') {
            bad(decoder, "a map's key that is not [a-z_]{1,%d}", KEY_TEXT_MAX);
            return NULL;
        }
    }
    memcpy(buffer, item.text, item.length);
    buffer[item.length] = '\0';
    return buffer;
}

static json_t *read_map(struct decoder *decoder, uint64_t count, unsigned depth)
{
    json_t *object = memory_check(json_object());
    char buffer[KEY_TEXT_MAX + 1];
    struct item item;
    const char *name;
    json_t *value;
    bool skip;

    while (count-- > 0) {
        if ((name = read_key(decoder, buffer, &skip)) == NULL || !next(decoder, &item) ||
            (value = read_value(decoder, &item, depth)) == NULL)
            goto error;
        if (skip) {
            json_decref(value);
            continue;
        }
        if (json_object_get(object, name) != NULL) {
            json_decref(value);
            bad(decoder, "the key '%s' twice in one map", name);
            goto error;
        }
        if (json_object_set_new_nocheck(object, name, value) != 0)
            memory_check(NULL);
    }
    return object;

error:
    json_decref(object);
    return NULL;
}

/* The value that begins with `head`. `depth` is how many arrays and maps it is in. */
static json_t *read_value(struct decoder *decoder, const struct item *head, unsigned depth)
{
    switch (head->type) {
    case ITEM_UNSIGNED:
        return unsigned_value(head->number);
    case ITEM_TEXT:
        return text_value(head);
    case ITEM_BOOLEAN:
        return json_boolean(head->number);
    case ITEM_NULL:
        return json_null();
    case ITEM_ARRAY:
    case ITEM_MAP:
        if (depth >= WIRE_DEPTH_MAX) {
            bad(decoder, "arrays and maps nested deeper than %d", WIRE_DEPTH_MAX);
            return NULL;
        }
        if (head->type == ITEM_ARRAY)
            return read_array(decoder, head->number, depth + 1);
        return read_map(decoder, head->number, depth + 1);
    case ITEM_OTHER:
        break;
    }
    bad(decoder, "a CBOR item that this protocol does not have");
    return NULL;
}

static bool read_unsigned(struct decoder *decoder, const char *what, uint64_t *number)
{
    struct item item;

    if (!next(decoder, &item))
        return false;
    if (item.type != ITEM_UNSIGNED)
        return bad(decoder, "%s that is no unsigned integer", what);
    *number = item.number;
    return true;
}

static bool read_object(struct decoder *decoder, json_t **object)
{
    struct item item;

    if (!next(decoder, &item))
        return false;
    if (item.type != ITEM_MAP)
        return bad(decoder, "a frame without its map");
    /* The frame's array is the first level, this map the second. */
    *object = read_map(decoder, item.number, 2);
    return *object != NULL;
}

static bool expect_count(struct decoder *decoder, const char *what, uint64_t count, uint64_t wanted)
{
    if (count != wanted)
        return bad(decoder, "a %s frame of %" PRIu64 " elements (wanted: %" PRIu64 ")", what, count,
                   wanted);
    return true;
}

static bool known_kind(uint64_t kind)
{
#define X(symbol, number, schema)                                                                  \
    if (kind == number)                                                                            \
        return true;
    WIRE_KINDS(X)
#undef X
    return false;
}

static bool read_record(struct decoder *decoder, uint64_t count, struct frame *frame)
{
    if (!expect_count(decoder, "RECORD", count, 6) ||
        !read_unsigned(decoder, "a sequence number", &frame->seq) ||
        !read_unsigned(decoder, "a time", &frame->time_ns) ||
        !read_unsigned(decoder, "lost_before", &frame->lost_before) ||
        !read_unsigned(decoder, "a kind", &frame->kind))
        return false;
    if (frame->seq == 0)
        return bad(decoder, "sequence number 0 (they begin with 1)");
    if (!known_kind(frame->kind))
        return bad(decoder, "a record of unknown kind %" PRIu64, frame->kind);
    return read_object(decoder, &frame->map);
}

static bool read_frame(struct decoder *decoder, struct frame *frame)
{
    struct item head;
    uint64_t type = 0;

    if (!next(decoder, &head))
        return false;
    if (head.type != ITEM_ARRAY || head.number < 1)
        return bad(decoder, "a frame that is no array");
    if (!read_unsigned(decoder, "a frame's type", &type))
        return false;

    switch (type) {
    case WIRE_HELLO:
        frame->type = WIRE_HELLO;
        if (head.number < 2)
            return bad(decoder, "a HELLO frame without a version");
        if (!read_unsigned(decoder, "a version", &frame->version))
            return false;
        /* What another version puts after its number is not ours to judge. */
        if (frame->version != WIRE_VERSION)
            return true;
        if (!expect_count(decoder, "HELLO", head.number, 3) || !read_object(decoder, &frame->map))
            return false;
        break;
    case WIRE_RECORD:
        frame->type = WIRE_RECORD;
        if (!read_record(decoder, head.number, frame))
            return false;
        break;
    case WIRE_COUNTERS:
        frame->type = WIRE_COUNTERS;
        if (!expect_count(decoder, "COUNTERS", head.number, 3) ||
            !read_unsigned(decoder, "made", &frame->made) || !read_object(decoder, &frame->map))
            return false;
        break;
    case WIRE_BYE:
        frame->type = WIRE_BYE;
        if (!expect_count(decoder, "BYE", head.number, 2) ||
            !read_unsigned(decoder, "made", &frame->made))
            return false;
        break;
    default:
        return bad(decoder, "a frame of unknown type %" PRIu64, type);
    }
    if (decoder->reader.offset != decoder->reader.length)
        return bad(decoder, "%zu bytes after the end of a frame's item",
                   decoder->reader.length - decoder->reader.offset);
    return true;
}

int frame_decode(const unsigned char *body, size_t length, struct frame *frame,
                 char why[FRAME_WHY_SIZE])
{
    struct decoder decoder = {.reader = {.data = body, .length = length}, .why = why};

    *frame = (struct frame){0};
    if (!read_frame(&decoder, frame)) {
        frame_clear(frame);
        return -1;
    }
    return 0;
}

void frame_clear(struct frame *frame)
{
    json_decref(frame->map);
    frame->map = NULL;
}

static size_t finish(unsigned char *out, size_t body_length)
{
    out[0] = (unsigned char)(body_length >> 24);
    out[1] = (unsigned char)(body_length >> 16);
    out[2] = (unsigned char)(body_length >> 8);
    out[3] = (unsigned char)body_length;
    return FRAME_HEADER + body_length;
}

size_t frame_ack(uint64_t seq, unsigned char out[FRAME_ACK_SIZE])
{
    unsigned char *body = out + FRAME_HEADER;
    size_t used = 0, room = FRAME_ACK_SIZE - FRAME_HEADER;

    used += cbor_encode_array_start(2, body + used, room - used);
    used += cbor_encode_uint(WIRE_ACK, body + used, room - used);
    used += cbor_encode_uint(seq, body + used, room - used);
    return finish(out, used);
}

size_t frame_error(const char *text, unsigned char out[FRAME_ERROR_SIZE])
{
    unsigned char *body = out + FRAME_HEADER;
    size_t used = 0, room = FRAME_ERROR_SIZE - FRAME_HEADER;
    size_t length = strnlen(text, FRAME_WHY_SIZE);

    used += cbor_encode_array_start(2, body + used, room - used);
    used += cbor_encode_uint(WIRE_ERROR, body + used, room - used);
    used += cbor_encode_string_start(length, body + used, room - used);
    memcpy(body + used, text, length);
    return finish(out, used + length);
}
