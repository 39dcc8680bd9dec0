/*
 * Memory of the C tests: libc's, with a count of what is out and a switch that makes an allocation
 * fail. It implements c_src/alloc.h.
 */
#ifndef CORONER_TEST_ALLOC_LIBC_H
#define CORONER_TEST_ALLOC_LIBC_H

#include <stdbool.h>
#include <stdint.h>

#include "alloc.h"

/**
 * alloc_fail_at(nth, and_all_after): the ${nth} allocation from now on (1 is the next one) fails,
 * and all that follow it if ${and_all_after}. 0: none fails any more.
 */
void alloc_fail_at(uint64_t nth, bool and_all_after);

/** alloc_failed(): how many allocations have failed since the last alloc_fail_at. */
uint64_t alloc_failed(void);

/** alloc_live(): allocations that were not given back. */
int64_t alloc_live(void);

#endif
