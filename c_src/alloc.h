/*
 * Memory of what runs inside the node. In the node it is the VM's (alloc_nif.c), so that
 * erlang:memory() and the user's allocator settings cover it; in the C tests it is libc's.
 * Every function may be called on any thread and takes no lock of the VM's processes.
 */
#ifndef CORONER_ALLOC_H
#define CORONER_ALLOC_H

#include <stddef.h>

/** memory_alloc(size): ${size} bytes, uninitialised, or NULL when there are none. Never 0 bytes. */
void *memory_alloc(size_t size);

/** memory_zalloc(size): as memory_alloc, zeroed. */
void *memory_zalloc(size_t size);

/** memory_free(pointer): gives back what memory_alloc gave. NULL is a no-op. */
void memory_free(void *pointer);

#endif
