/*
 * The set of a process's links: words of local pids and ports.
 *
 * Two members stand in the set itself; more go to a trie over the hash of the word, whose branches have
 * 16 children and whose leaves hold up to 8 words. So no operation touches more than a few nodes, also
 * with a million members: there is no moment at which everything is rehashed inside a scheduler.
 *
 * Not locked: the caller holds the lock of the ledger's shard.
 */
#ifndef CORONER_LINKSET_H
#define CORONER_LINKSET_H

#include <stdbool.h>
#include <stddef.h>

#include "word.h"

#define LINKSET_INLINE 2

struct linkset {
    uint32_t count;
    union {
        term_word members[LINKSET_INLINE]; /* while there is no trie, packed to the front */
        struct linkset_node *root;
    } of;
    bool is_trie; /* once a trie, a set stays one */
};

/** linkset_add(set, word): adds ${word}. Returns 1 when added, 0 when it was there, -1 without memory. */
int linkset_add(struct linkset *set, term_word word);

/** linkset_remove(set, word): removes ${word}. Returns whether it was there. */
bool linkset_remove(struct linkset *set, term_word word);

/** linkset_contains(set, word): whether ${word} is a member. */
bool linkset_contains(const struct linkset *set, term_word word);

/**
 * linkset_list(set, words, room): writes up to ${room} members to ${words}, in no order.
 * Returns how many it wrote.
 */
size_t linkset_list(const struct linkset *set, term_word *words, size_t room);

/** linkset_clear(set): empties ${set} and frees what it holds; takes time in proportion to its count. */
void linkset_clear(struct linkset *set);

/** linkset_bytes(set): memory that ${set} holds besides itself. Walks the set. */
size_t linkset_bytes(const struct linkset *set);

#endif
