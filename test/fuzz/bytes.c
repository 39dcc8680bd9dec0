#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"

/* libFuzzer takes what stands in this section for code that was reached, and clears it before each
 * input. */
static uint8_t amounts[4096] __attribute__((section("__libfuzzer_extra_counters")));

void reached(size_t amount)
{
    amounts[amount < sizeof(amounts) ? amount : sizeof(amounts) - 1] = 1;
}

void must_not(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}
