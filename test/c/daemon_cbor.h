/*
 * Builds frames for the daemon's tests, right ones and wrong ones.
 */
#ifndef CORONER_TEST_DAEMON_CBOR_H
#define CORONER_TEST_DAEMON_CBOR_H

#include <cbor.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "wire.h"

static inline void put_byte(struct buffer *out, unsigned char byte)
{
    buffer_append(out, &byte, 1);
}

static inline void put_uint(struct buffer *out, uint64_t number)
{
    unsigned char bytes[9];

    buffer_append(out, bytes, cbor_encode_uint(number, bytes, sizeof(bytes)));
}

static inline void put_array(struct buffer *out, size_t count)
{
    unsigned char bytes[9];

    buffer_append(out, bytes, cbor_encode_array_start(count, bytes, sizeof(bytes)));
}

static inline void put_map(struct buffer *out, size_t count)
{
    unsigned char bytes[9];

    buffer_append(out, bytes, cbor_encode_map_start(count, bytes, sizeof(bytes)));
}

static inline void put_bytes_as_text(struct buffer *out, const void *text, size_t length)
{
    unsigned char bytes[9];

    buffer_append(out, bytes, cbor_encode_string_start(length, bytes, sizeof(bytes)));
    buffer_append(out, text, length);
}

static inline void put_text(struct buffer *out, const char *text)
{
    put_bytes_as_text(out, text, strlen(text));
}

static inline void put_bool(struct buffer *out, int value)
{
    put_byte(out, value ? 0xf5 : 0xf4);
}

static inline void put_null(struct buffer *out)
{
    put_byte(out, 0xf6);
}

/* A text under a key of the table. */
static inline void put_pair(struct buffer *out, enum wire_key key, const char *text)
{
    put_uint(out, key);
    put_text(out, text);
}

/* `bytes` with its length before it. */
static inline void put_frame(struct buffer *out, const struct buffer *bytes)
{
    unsigned char length[4] = {(unsigned char)(bytes->length >> 24),
                               (unsigned char)(bytes->length >> 16),
                               (unsigned char)(bytes->length >> 8), (unsigned char)bytes->length};

    buffer_append(out, length, sizeof(length));
    buffer_append(out, bytes->data, bytes->length);
}

/* A copy of exactly `length` bytes, so that a tool sees each byte read behind it. */
static inline unsigned char *exact_copy(const void *data, size_t length)
{
    unsigned char *copy = malloc(length > 0 ? length : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, length);
    return copy;
}

/* The head of a record: what stands before its map. */
static inline void put_record_head(struct buffer *out, uint64_t seq, enum wire_kind kind)
{
    put_array(out, 6);
    put_uint(out, WIRE_RECORD);
    put_uint(out, seq);
    put_uint(out, UINT64_C(1795448793094688123));
    put_uint(out, 0);
    put_uint(out, kind);
}

static inline void put_process(struct buffer *out)
{
    put_uint(out, WIRE_KEY_process);
    put_map(out, 7);
    put_pair(out, WIRE_KEY_pid, "<0.31760.980>");
    put_uint(out, WIRE_KEY_name);
    put_null(out);
    put_pair(out, WIRE_KEY_initial_call, "ump_proxy_cherly_server:init/1");
    put_pair(out, WIRE_KEY_parent, "<0.512.0>");
    put_uint(out, WIRE_KEY_ancestors);
    put_array(out, 1);
    put_text(out, "ump_proxy_sup");
    put_uint(out, WIRE_KEY_trap_exit);
    put_bool(out, 1);
    put_uint(out, WIRE_KEY_age_us);
    put_uint(out, 81234567);
}

static inline void put_exit(struct buffer *out)
{
    put_uint(out, WIRE_KEY_exit);
    put_map(out, 6);
    put_pair(out, WIRE_KEY_source, "link_trapped");
    put_pair(out, WIRE_KEY_reason, "killed");
    put_pair(out, WIRE_KEY_reason_class, "killed");
    put_uint(out, WIRE_KEY_truncated);
    put_bool(out, 0);
    put_pair(out, WIRE_KEY_confidence, "inferred");
    put_pair(out, WIRE_KEY_via, "<0.29814.980>");
}

/* The record of DESIGN §5, its parts in another order than the line has them. */
static inline void put_sample_record(struct buffer *out, uint64_t seq)
{
    put_record_head(out, seq, WIRE_KIND_EXIT);
    put_map(out, 8);
    put_text(out, "newer_key");
    put_uint(out, 7);
    put_uint(out, WIRE_KEY_chain);
    put_array(out, 1);
    put_map(out, 3);
    put_pair(out, WIRE_KEY_pid, "<0.29814.980>");
    put_pair(out, WIRE_KEY_source, "purge");
    put_pair(out, WIRE_KEY_id, "6a1f0c2be5d94c11-48212");
    put_process(out);
    put_exit(out);
    put_uint(out, WIRE_KEY_origin);
    put_map(out, 3);
    put_pair(out, WIRE_KEY_source, "purge");
    put_pair(out, WIRE_KEY_module, "ump_proxy_session");
    put_pair(out, WIRE_KEY_by_name, "release_handler");
    put_pair(out, WIRE_KEY_message, "it died");
    put_pair(out, WIRE_KEY_severity, "error");
    put_uint(out, 4242); /* a key that is newer than the reader */
    put_map(out, 1);
    put_uint(out, 1);
    put_array(out, 2);
    put_null(out);
    put_bool(out, 1);
}

#endif
