#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "log.h"
#include "memory.h"

void *memory_check(void *pointer)
{
    if (pointer == NULL) {
        log_error("out of memory");
        exit(EX_SOFTWARE);
    }
    return pointer;
}

void *memory_get(size_t size)
{
    return memory_check(malloc(size > 0 ? size : 1));
}

void *memory_zeroed(size_t size)
{
    return memory_check(calloc(1, size > 0 ? size : 1));
}

void *memory_resize(void *old, size_t size)
{
    return memory_check(realloc(old, size > 0 ? size : 1));
}

char *memory_string(const char *text)
{
    return memory_check(strdup(text));
}
