/*
 * Memory that is there or the daemon ends.
 *
 * Everything a peer can make the daemon hold is bounded elsewhere, and what is not committed is not
 * acknowledged, so ending at once when memory is exhausted loses nothing.
 */
#ifndef CORONER_MEMORY_H
#define CORONER_MEMORY_H

#include <stddef.h>

/*
 * memory_get(size), memory_zeroed(size), memory_resize(old, size), memory_string(text):
 * As malloc, calloc(1, size), realloc and strdup, but never NULL: without memory they log it and
 * end the process with EX_SOFTWARE. The caller owns what is returned and frees it with free.
 */
void *memory_get(size_t size);
void *memory_zeroed(size_t size);
void *memory_resize(void *old, size_t size);
char *memory_string(const char *text);

/*
 * memory_check(pointer):
 * Returns pointer if it is not NULL, else ends the process as above. For libraries whose only error
 * is the lack of memory.
 */
void *memory_check(void *pointer);

#endif
