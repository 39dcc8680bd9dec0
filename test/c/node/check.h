/* What every test program of the node's C needs: cmocka, dice with a seed, sizes, and the memory
 * balance. */
#ifndef CORONER_TEST_CHECK_H
#define CORONER_TEST_CHECK_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_libc.h"

/* Random numbers that are the same in every run with the same seed. One for each thread. */
struct dice {
    uint64_t state;
};

/** dice_new(which): dice of their own for ${which}, from TEST_SEED in the environment or a seed
 * that never changes. */
struct dice dice_new(uint64_t which);

/** dice_throw(dice): 64 random bits. */
uint64_t dice_throw(struct dice *dice);

/** dice_below(dice, limit): a number below ${limit} > 0. */
uint64_t dice_below(struct dice *dice, uint64_t limit);

/** test_size(full, light): ${light} when TEST_LIGHT is set in the environment, as it is under
 * valgrind; else ${full}. */
size_t test_size(size_t full, size_t light);

/** is_clean_utf8(bytes, length): whether it is UTF-8 (RFC 3629) without control characters. */
bool is_clean_utf8(const char *bytes, size_t length);

/* Before and after each test: what it allocates it has to give back. */
int check_begin(void **state);
int check_end(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_begin, check_end)

/** check_run(name, tests): what main does: says the seed, runs ${tests}. */
#define check_run(name, tests)                                                                     \
    (check_say_seed(), cmocka_run_group_tests_name(name, tests, NULL, NULL))
void check_say_seed(void);

#endif
