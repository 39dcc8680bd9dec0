#include <string.h>

#include "cbor.h"

enum major { MAJOR_UINT = 0, MAJOR_TEXT = 3, MAJOR_ARRAY = 4, MAJOR_MAP = 5, MAJOR_SIMPLE = 7 };

struct cbor_writer cbor_writer_on(uint8_t *buffer, size_t room)
{
    return (struct cbor_writer){.at = buffer, .used = 0, .room = room, .full = false};
}

static void put_bytes(struct cbor_writer *writer, const void *bytes, size_t length)
{
    if (writer->full || length > writer->room - writer->used) {
        writer->full = true;
        return;
    }
    memcpy(writer->at + writer->used, bytes, length);
    writer->used += length;
}

static void put_head(struct cbor_writer *writer, enum major major, uint64_t value)
{
    uint8_t head[9];
    size_t extra;

    if (value < 24) {
        head[0] = (uint8_t)(major << 5 | value);
        extra = 0;
    } else if (value <= UINT8_MAX) {
        head[0] = (uint8_t)(major << 5 | 24);
        extra = 1;
    } else if (value <= UINT16_MAX) {
        head[0] = (uint8_t)(major << 5 | 25);
        extra = 2;
    } else if (value <= UINT32_MAX) {
        head[0] = (uint8_t)(major << 5 | 26);
        extra = 4;
    } else {
        head[0] = (uint8_t)(major << 5 | 27);
        extra = 8;
    }
    for (size_t i = 0; i < extra; i++)
        head[1 + i] = (uint8_t)(value >> (8 * (extra - 1 - i)));
    put_bytes(writer, head, 1 + extra);
}

void cbor_put_uint(struct cbor_writer *writer, uint64_t value)
{
    put_head(writer, MAJOR_UINT, value);
}

void cbor_put_text(struct cbor_writer *writer, const char *bytes, size_t length)
{
    put_head(writer, MAJOR_TEXT, length);
    put_bytes(writer, bytes, length);
}

void cbor_put_bool(struct cbor_writer *writer, bool value)
{
    put_head(writer, MAJOR_SIMPLE, value ? 21 : 20);
}

void cbor_put_null(struct cbor_writer *writer)
{
    put_head(writer, MAJOR_SIMPLE, 22);
}

void cbor_put_array(struct cbor_writer *writer, uint64_t count)
{
    put_head(writer, MAJOR_ARRAY, count);
}

size_t cbor_open_map(struct cbor_writer *writer)
{
    static const uint8_t head[2] = {MAJOR_MAP << 5 | 24, 0};

    put_bytes(writer, head, sizeof(head));
    return writer->used;
}

void cbor_close_map(struct cbor_writer *writer, size_t opened, unsigned pairs)
{
    if (pairs > UINT8_MAX)
        writer->full = true;
    if (!writer->full)
        writer->at[opened - 1] = (uint8_t)pairs;
}

/* Reads the head of an item of `major`. On failure the reader is where it was. */
static bool get_head(struct cbor_reader *reader, enum major major, uint64_t *value)
{
    unsigned info;
    size_t extra;

    if (reader->left == 0 || reader->at[0] >> 5 != major)
        return false;
    info = reader->at[0] & 31U;
    if (info > 27)
        return false;
    extra = info < 24 ? 0 : (size_t)1 << (info - 24);
    if (reader->left < 1 + extra)
        return false;
    *value = info < 24 ? info : 0;
    for (size_t i = 0; i < extra; i++)
        *value = *value << 8 | reader->at[1 + i];
    reader->at += 1 + extra;
    reader->left -= 1 + extra;
    return true;
}

bool cbor_get_uint(struct cbor_reader *reader, uint64_t *value)
{
    return get_head(reader, MAJOR_UINT, value);
}

bool cbor_get_array(struct cbor_reader *reader, uint64_t *count)
{
    return get_head(reader, MAJOR_ARRAY, count);
}

bool cbor_get_text(struct cbor_reader *reader, const char **bytes, size_t *length)
{
    struct cbor_reader before = *reader;
    uint64_t count;

    if (!get_head(reader, MAJOR_TEXT, &count))
        return false;
    if (count > reader->left) {
        *reader = before;
        return false;
    }
    *bytes = (const char *)reader->at;
    *length = (size_t)count;
    reader->at += count;
    reader->left -= (size_t)count;
    return true;
}
