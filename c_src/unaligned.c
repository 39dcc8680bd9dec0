#include <stdint.h>

#include "unaligned.h"

/* A term of this kind is a pointer with these low bits; there stands a word that tells what it is
 * (erl_term.h, OTP 25 .. 29). */
#define BOXED 2
#define TAG_BITS 3

enum layout {
    LAYOUT_UNKNOWN,
    LAYOUT_BYTES, /* ErlSubBin (erl_binary.h, OTP 25, 26): header, bytes, offset, then a byte each:
                     bits over, first bit */
    LAYOUT_BITS /* ErlSubBits (erl_bits.h, OTP 27 .. 29): header, base, first bit, the bit past the
                   last */
};

/* Written in load(), then only read. */
static enum layout layout = LAYOUT_UNKNOWN;
static uint64_t header;

static const uint64_t *words_of(ERL_NIF_TERM binary)
{
    return (const uint64_t *)(binary & ~(ERL_NIF_TERM)TAG_BITS);
}

static unsigned first_bit(enum layout as, const uint64_t *words)
{
    return as == LAYOUT_BYTES ? ((const uint8_t *)&words[3])[1] : (unsigned)(words[2] & 7);
}

static uint64_t bytes_of(enum layout as, const uint64_t *words)
{
    return as == LAYOUT_BYTES ? words[1] : (words[3] - words[2]) / 8;
}

static bool fits(ErlNifEnv *env, ERL_NIF_TERM samples, enum layout as, uint64_t *common)
{
    ERL_NIF_TERM sample;
    const ERL_NIF_TERM *parts;
    unsigned bits, seen = 0;
    ErlNifUInt64 bytes;
    int arity;

    *common = 0;
    while (enif_get_list_cell(env, samples, &sample, &samples)) {
        const uint64_t *words;

        if (!enif_get_tuple(env, sample, &arity, &parts) || arity != 3 ||
            !enif_get_uint(env, parts[0], &bits) || !enif_get_uint64(env, parts[1], &bytes) ||
            (parts[2] & TAG_BITS) != BOXED)
            return false;
        words = words_of(parts[2]);
        if (*common == 0)
            *common = words[0];
        if (words[0] != *common || first_bit(as, words) != bits || bytes_of(as, words) != bytes)
            return false;
        seen |= 1U << bits;
    }
    return seen == 0xff;
}

bool unaligned_learn(ErlNifEnv *env, ERL_NIF_TERM samples)
{
    layout = LAYOUT_UNKNOWN;
    if (fits(env, samples, LAYOUT_BYTES, &header))
        layout = LAYOUT_BYTES;
    else if (fits(env, samples, LAYOUT_BITS, &header))
        layout = LAYOUT_BITS;
    return layout != LAYOUT_UNKNOWN;
}

bool unaligned_is_known(void)
{
    return layout != LAYOUT_UNKNOWN;
}

bool unaligned_size(ERL_NIF_TERM binary, size_t *size)
{
    const uint64_t *words;

    if (layout == LAYOUT_UNKNOWN || (binary & TAG_BITS) != BOXED)
        return false;
    words = words_of(binary);
    if (words[0] != header || first_bit(layout, words) == 0)
        return false;
    *size = bytes_of(layout, words);
    return true;
}
