/*
 * The set of a process's links: words of local pids and ports.
 *
 * Two members stand in the set itself; up to 64 in an array; more in buckets of up to 32, found by the first bits of the
 * word's hash. A full bucket parts in two, and where that takes one bit more than the directory of buckets has, the
 * directory doubles: a copy of pointers (a million links: 2^17 of them, some 100 microseconds). So no operation touches more
 * than one bucket, also with a million members, and there is no moment at which all are hashed anew inside a scheduler.
 *
 * Not locked: the caller holds the lock of the ledger's shard.
 */
#ifndef CORONER_LINKSET_H
#define CORONER_LINKSET_H

#include <stdbool.h>
#include <stddef.h>

#include "word.h"

#define LINKSET_INLINE 2
#define LINKSET_ARRAY_MAX 64

struct linkset {
    union {
        term_word members[LINKSET_INLINE]; /* packed to the front */
        struct linkset_array *array;
        struct linkset_table *table;
    } of;
    uint32_t count : 30;
    uint32_t kind : 2; /* which of them; 0, as in a set of zeros, is the first */
    uint32_t owners;   /* whoever has the set may keep here what else would be padding: it is not looked at */
};

/** linkset_add_more(set, word), linkset_remove_more(set, word): linkset_add and linkset_remove, for
 * those sets that have more members than fit. */
int linkset_add_more(struct linkset *set, term_word word);
bool linkset_remove_more(struct linkset *set, term_word word);

/** linkset_is_inline(set): whether its members stand in itself: then it holds no memory. */
static inline bool linkset_is_inline(const struct linkset *set)
{
    return set->kind == 0;
}

/** linkset_add(set, word): adds ${word}. Returns 1 when added, 0 when it was there, -1 without memory. */
static inline int linkset_add(struct linkset *set, term_word word)
{
    uint32_t count = set->count;

    if (!linkset_is_inline(set) || count == LINKSET_INLINE)
        return linkset_add_more(set, word);
    if (count > 0 && set->of.members[0] == word)
        return 0;
    set->of.members[count] = word;
    set->count = count + 1;
    return 1;
}

/** linkset_remove(set, word): removes ${word}. Returns whether it was there. */
static inline bool linkset_remove(struct linkset *set, term_word word)
{
    uint32_t count = set->count;

    if (!linkset_is_inline(set))
        return linkset_remove_more(set, word);
    if (count > 0 && set->of.members[0] == word)
        set->of.members[0] = set->of.members[count - 1];
    else if (count < 2 || set->of.members[1] != word)
        return false;
    set->count = count - 1;
    return true;
}

/** linkset_contains(set, word): whether ${word} is a member. */
bool linkset_contains(const struct linkset *set, term_word word);

/**
 * linkset_list(set, words, room): writes up to ${room} members to ${words}, in no order.
 * Returns how many it wrote.
 */
size_t linkset_list(const struct linkset *set, term_word *words, size_t room);

/** linkset_take(set): what ${set} holds; it is empty then. */
struct linkset linkset_take(struct linkset *set);

/** linkset_clear(set): empties ${set} and frees what it holds; takes time in proportion to its count. */
void linkset_clear(struct linkset *set);

/** linkset_bytes(set): memory that ${set} holds besides itself. Walks the set. */
size_t linkset_bytes(const struct linkset *set);

#endif
