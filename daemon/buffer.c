#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "memory.h"

void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 256;

    if (length == 0)
        return;
    while (capacity - buffer->length < length)
        capacity *= 2;
    if (capacity != buffer->capacity) {
        buffer->data = memory_resize(buffer->data, capacity);
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    if (length == 0)
        return;
    buffer->length -= length;
    memmove(buffer->data, buffer->data + length, buffer->length);
}

void buffer_clear(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
