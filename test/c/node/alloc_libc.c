#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_libc.h"

static atomic_int_fast64_t live;
static atomic_uint_fast64_t made, fail_at, failed;
static atomic_bool fail_all_after;

void alloc_fail_at(uint64_t nth, bool and_all_after)
{
    atomic_store(&made, 0);
    atomic_store(&failed, 0);
    atomic_store(&fail_all_after, and_all_after);
    atomic_store(&fail_at, nth);
}

uint64_t alloc_failed(void)
{
    return atomic_load(&failed);
}

int64_t alloc_live(void)
{
    return atomic_load(&live);
}

void *memory_alloc(size_t size)
{
    uint64_t this = atomic_fetch_add(&made, 1) + 1;
    uint64_t fails = atomic_load(&fail_at);
    void *pointer;

    if (size == 0)
        abort(); /* alloc.h forbids it */
    if (fails != 0 && (this == fails || (this > fails && atomic_load(&fail_all_after)))) {
        atomic_fetch_add(&failed, 1);
        return NULL;
    }
    if ((pointer = malloc(size)) == NULL)
        abort();
    memset(pointer, 0xa5, size); /* who reads what he has not written sees it */
    atomic_fetch_add(&live, 1);
    return pointer;
}

void *memory_zalloc(size_t size)
{
    void *pointer = memory_alloc(size);

    if (pointer != NULL)
        memset(pointer, 0, size);
    return pointer;
}

void memory_free(void *pointer)
{
    if (pointer != NULL)
        atomic_fetch_sub(&live, 1);
    free(pointer);
}
