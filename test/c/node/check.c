#include "check.h"

static int64_t live_before;

static uint64_t seed(void)
{
    const char *given = getenv("TEST_SEED");

    return given == NULL ? 20261124 : strtoull(given, NULL, 10);
}

void check_say_seed(void)
{
    printf("# TEST_SEED=%llu\n", (unsigned long long)seed());
    fflush(stdout);
}

struct dice dice_new(uint64_t which)
{
    return (struct dice){.state = seed() * 1000003 + which};
}

/* splitmix64 */
uint64_t dice_throw(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t dice_below(struct dice *dice, uint64_t limit)
{
    return dice_throw(dice) % limit;
}

size_t test_size(size_t full, size_t light)
{
    return getenv("TEST_LIGHT") != NULL ? light : full;
}

/* The table of RFC 3629, section 4, row by row. */
bool is_clean_utf8(const char *bytes, size_t length)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        unsigned tail;
    } rows[] = {
        {0x20, 0x7e, 0, 0, 0},       {0xc2, 0xc2, 0xa0, 0xbf, 1}, /* 0x80 .. 0x9f are controls */
        {0xc3, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2}, {0xe1, 0xec, 0x80, 0xbf, 2},
        {0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2}, {0xf0, 0xf0, 0x90, 0xbf, 3},
        {0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3},
    };
    const unsigned char *at = (const unsigned char *)bytes;

    for (size_t i = 0; i < length;) {
        size_t row = 0;

        while (row < sizeof(rows) / sizeof(rows[0]) &&
               !(at[i] >= rows[row].first_low && at[i] <= rows[row].first_high))
            row++;
        if (row == sizeof(rows) / sizeof(rows[0]) || length - i <= rows[row].tail)
            return false;
        for (unsigned t = 1; t <= rows[row].tail; t++) {
            unsigned char low = t == 1 ? rows[row].second_low : 0x80;
            unsigned char high = t == 1 ? rows[row].second_high : 0xbf;

            if (at[i + t] < low || at[i + t] > high)
                return false;
        }
        i += 1 + rows[row].tail;
    }
    return true;
}

int check_begin(void **state)
{
    (void)state;
    alloc_fail_at(0, false);
    live_before = alloc_live();
    return 0;
}

int check_end(void **state)
{
    int64_t left = alloc_live() - live_before;

    (void)state;
    alloc_fail_at(0, false);
    if (left == 0)
        return 0;
    print_error("%lld allocations were not given back\n", (long long)left);
    return -1;
}
