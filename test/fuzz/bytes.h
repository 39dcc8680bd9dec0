/* The fuzzer's bytes, taken one after the other; past their end all is 0. */
#ifndef CORONER_FUZZ_BYTES_H
#define CORONER_FUZZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *at;
    size_t left;
};

/** bytes_u8(bytes), bytes_u16(bytes), bytes_u32(bytes), bytes_u64(bytes): the next number,
 * big-endian. */
static inline uint8_t bytes_u8(struct bytes *bytes)
{
    if (bytes->left == 0)
        return 0;
    bytes->left--;
    return *bytes->at++;
}

static inline uint16_t bytes_u16(struct bytes *bytes)
{
    uint16_t high = bytes_u8(bytes);

    return (uint16_t)(high << 8 | bytes_u8(bytes));
}

static inline uint32_t bytes_u32(struct bytes *bytes)
{
    uint32_t high = bytes_u16(bytes);

    return high << 16 | bytes_u16(bytes);
}

static inline uint64_t bytes_u64(struct bytes *bytes)
{
    uint64_t high = bytes_u32(bytes);

    return high << 32 | bytes_u32(bytes);
}

/** bytes_run(bytes, most, length): the next up to ${most} bytes, and in ${length} how many there
 * are. */
static inline const uint8_t *bytes_run(struct bytes *bytes, size_t most, size_t *length)
{
    const uint8_t *run = bytes->at;

    *length = most < bytes->left ? most : bytes->left;
    if (*length > 0)
        bytes->at += *length;
    bytes->left -= *length;
    return run;
}

/** must(condition): ends the program, with the place, when ${condition} does not hold; the fuzzer
 * keeps what led to it. */
#define must(condition) ((condition) ? (void)0 : must_not(#condition, __FILE__, __LINE__))
_Noreturn void must_not(const char *condition, const char *file, int line);

/**
 * reached(amount): says how much there was of something that has a bound, in steps of at most 4096:
 * an input that has more of it than any before is one to go on from.
 */
void reached(size_t amount);

#endif
