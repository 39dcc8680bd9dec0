#include <string.h>

#include <erl_nif.h>

#include "alloc.h"

void *memory_alloc(size_t size)
{
    return enif_alloc(size);
}

void *memory_zalloc(size_t size)
{
    void *pointer = enif_alloc(size);

    if (pointer != NULL)
        memset(pointer, 0, size);
    return pointer;
}

void memory_free(void *pointer)
{
    if (pointer != NULL)
        enif_free(pointer);
}
