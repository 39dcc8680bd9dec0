/*
 * A growing run of bytes.
 */
#ifndef CORONER_BUFFER_H
#define CORONER_BUFFER_H

#include <stddef.h>

/* All zero is an empty buffer. `data` is not NUL-terminated. */
struct buffer {
    char *data;
    size_t length;
    size_t capacity;
};

/*
 * buffer_append(buffer, data, length):
 * Append ${length} bytes. How much may be appended is the caller's to bound.
 */
void buffer_append(struct buffer *buffer, const void *data, size_t length);

/*
 * buffer_text(buffer, text):
 * Append the NUL-terminated ${text} without its NUL.
 */
void buffer_text(struct buffer *buffer, const char *text);

/*
 * buffer_consume(buffer, length):
 * Remove the first ${length} bytes, of which there must be as many.
 */
void buffer_consume(struct buffer *buffer, size_t length);

/*
 * buffer_clear(buffer):
 * Free what ${buffer} holds and make it empty.
 */
void buffer_clear(struct buffer *buffer);

#endif
