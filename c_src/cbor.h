/*
 * A bounded writer of CBOR (RFC 8949), and as much of a reader as the daemon's acknowledgements need.
 * Only the items that common/wire.h lists; counts are always definite.
 */
#ifndef CORONER_CBOR_H
#define CORONER_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbor_writer {
    uint8_t *at;
    size_t used;
    size_t room;
    bool full; /* something did not fit: what was written is no whole item */
};

/** cbor_writer_on(buffer, room): a writer on ${room} bytes at ${buffer}. */
struct cbor_writer cbor_writer_on(uint8_t *buffer, size_t room);

/** cbor_put_uint(writer, value): an unsigned integer. */
void cbor_put_uint(struct cbor_writer *writer, uint64_t value);

/** cbor_put_text(writer, bytes, length): a text string; ${bytes} must be UTF-8. */
void cbor_put_text(struct cbor_writer *writer, const char *bytes, size_t length);

/** cbor_put_bool(writer, value): true or false. */
void cbor_put_bool(struct cbor_writer *writer, bool value);

/** cbor_put_null(writer): null. */
void cbor_put_null(struct cbor_writer *writer);

/** cbor_put_array(writer, count): the head of an array of ${count} items, which the caller writes next. */
void cbor_put_array(struct cbor_writer *writer, uint64_t count);

/**
 * cbor_open_map(writer): begins a map whose number of pairs is not known yet (at most 255). Returns what
 * cbor_close_map wants.
 */
size_t cbor_open_map(struct cbor_writer *writer);

/** cbor_close_map(writer, opened, pairs): ends the map begun by cbor_open_map with ${pairs} < 256 pairs. */
void cbor_close_map(struct cbor_writer *writer, size_t opened, unsigned pairs);

struct cbor_reader {
    const uint8_t *at;
    size_t left;
};

/** cbor_get_uint(reader, value): reads an unsigned integer. Returns false, reading nothing, when there is none. */
bool cbor_get_uint(struct cbor_reader *reader, uint64_t *value);

/** cbor_get_array(reader, count): reads the head of an array. Returns false, reading nothing, when there is none. */
bool cbor_get_array(struct cbor_reader *reader, uint64_t *count);

/** cbor_get_text(reader, bytes, length): reads a text, which stays in the buffer. False when there is none whole. */
bool cbor_get_text(struct cbor_reader *reader, const char **bytes, size_t *length);

#endif
