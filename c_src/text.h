/*
 * Bounded text: a buffer that is written to and never overflows, and a shared immutable text.
 * All text is UTF-8 without control characters; what would break that is escaped as Erlang does.
 */
#ifndef CORONER_TEXT_H
#define CORONER_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A buffer being written to. `cut` says that something did not fit and was left out. */
struct text_writer {
    char *at;
    size_t used;
    size_t room; /* bytes, the final NUL included */
    bool cut;
};

/** text_writer_on(buffer, room): a writer on ${room} > 0 bytes at ${buffer}, which it keeps NUL-terminated. */
struct text_writer text_writer_on(char *buffer, size_t room);

/** text_put(writer, bytes, length): appends ${bytes} whole, or nothing at all and marks the cut. */
void text_put(struct text_writer *writer, const char *bytes, size_t length);

/** text_puts(writer, string): text_put of a C string. */
void text_puts(struct text_writer *writer, const char *string);

/** text_put_char(writer, c): appends one ASCII character. */
void text_put_char(struct text_writer *writer, char c);

/** text_put_uint(writer, value): appends ${value} in decimal. */
void text_put_uint(struct text_writer *writer, uint64_t value);

/**
 * text_put_utf8(writer, bytes, length, quote): appends the UTF-8 ${bytes} with control characters, broken
 * UTF-8, backslashes and the character ${quote} ('"' or '\'') escaped as in an Erlang literal. Stops, marking
 * the cut, where the buffer is full. ${quote} 0: nothing is escaped; control characters and broken bytes
 * become '?'.
 */
void text_put_utf8(struct text_writer *writer, const unsigned char *bytes, size_t length, char quote);

/**
 * text_utf8_length(bytes, left): length in bytes (1 .. 4) of the valid UTF-8 character at ${bytes}, of
 * which ${left} > 0 are there; 0 when there is none. Overlong forms and surrogates are none.
 */
unsigned text_utf8_length(const unsigned char *bytes, size_t left);

/** text_json_cost(text, length): bytes that ${text} takes inside a JSON string. */
size_t text_json_cost(const char *text, size_t length);

/* An immutable text with a count of its holders. */
struct text {
    atomic_uint holders;
    uint32_t length;
    bool truncated; /* it is the beginning of something longer */
    bool is_flat;   /* no text yet, but a term's bytes: see flat.h */
    char bytes[];   /* NUL-terminated */
};

/** text_new(bytes, length, truncated): a text with one holder, or NULL without memory. */
struct text *text_new(const char *bytes, size_t length, bool truncated);

/** text_hold(text): one holder more. Returns ${text}. NULL is allowed. */
struct text *text_hold(struct text *text);

/** text_drop(text): one holder less; the last one frees it. NULL is a no-op. */
void text_drop(struct text *text);

#endif
