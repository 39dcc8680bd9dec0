/*
 * An immediate Erlang term as a machine word: an atom, a local pid or a local port. Such a term holds
 * no pointer, so it may be kept for as long as we like and compared as a number (erl_nif.h says so of
 * atoms; for pids and ports it is how the VM itself keys its tables: erl_node_tables.h, OTP 25 .. 29).
 * A pid's word is used again after 2^28 spawns (OTP 25), so it names a process only while it lives.
 */
#ifndef CORONER_WORD_H
#define CORONER_WORD_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t term_word;

#define NO_WORD ((term_word)0) /* no immediate term is 0 */

/** word_is_pid(word): whether it is a local pid: the low four bits tell (erl_term.h, OTP 25 .. 29). */
static inline bool word_is_pid(term_word word)
{
    return (word & 15) == 3;
}

/** word_is_small(word), word_small(word): whether it is a small integer, and which (likewise). */
static inline bool word_is_small(term_word word)
{
    return (word & 15) == 15;
}

static inline int64_t word_small(term_word word)
{
    return (int64_t)word >> 4;
}

#define WORD_OF_SMALL(number) ((term_word)(number) << 4 | 15)

/** word_is_atom(word): whether it is an atom (likewise, of six bits). */
static inline bool word_is_atom(term_word word)
{
    return (word & 63) == 11;
}

/** word_is_list(word): whether it is a list that is not empty: a pointer to its first cell
 * (likewise, of two bits). */
static inline bool word_is_list(term_word word)
{
    return (word & 3) == 1;
}

/** word_is_boxed(word): whether it points to what begins with a word that tells its type: a tuple,
 * a map, a binary, .. (likewise). */
static inline bool word_is_boxed(term_word word)
{
    return (word & 3) == 2;
}

/**
 * word_spread(word): ${word} spread over the upper bits, for words that nobody chooses: one
 * multiplication (by 2^64 divided by the golden ratio), which puts words that follow each other as
 * far apart as can be.
 */
static inline uint64_t word_spread(term_word word)
{
    return word * UINT64_C(0x9e3779b97f4a7c15);
}

/** word_hash(word): ${word} spread over 64 bits (the finaliser of MurmurHash3). */
static inline uint64_t word_hash(term_word word)
{
    word ^= word >> 33;
    word *= UINT64_C(0xff51afd7ed558ccd);
    word ^= word >> 33;
    word *= UINT64_C(0xc4ceb9fe1a85ec53);
    word ^= word >> 33;
    return word;
}

#endif
