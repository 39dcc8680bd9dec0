/*
 * Deaths whose peers were not told one by one: of processes with more links than a callback may write to,
 * and of processes whose links were not known yet. A peer that exits looks here for those it was linked to.
 *
 * Bounded: the newest WIDE_DEATHS are kept. One lock, held for a few steps; nothing is called under it.
 */
#ifndef CORONER_WIDE_H
#define CORONER_WIDE_H

#include "linkset.h"
#include "record.h"

#define WIDE_DEATHS 1024
#define WIDE_LOOKS 64 /* deaths, or links, that one exit looks at */

struct wide;

/** wide_new(): an empty table, or NULL without memory. */
struct wide *wide_new(void);

/** wide_clear(wide): drops all it holds. */
void wide_clear(struct wide *wide);

/** wide_free(wide): frees it; nobody may use it any more. NULL is a no-op. */
void wide_free(struct wide *wide);

/* What it begins with: whether it holds any is one load, of those who hold no lock. */
struct wide_head {
    atomic_uint count;
};

/** wide_is_empty(wide): whether there is none. Of a death that ends the caller it is false: that
 * was added before the signal was sent. */
static inline bool wide_is_empty(const struct wide *wide)
{
    return atomic_load_explicit(&((const struct wide_head *)wide)->count, memory_order_acquire) ==
           0;
}

/** wide_add(wide, record): the process of ${record} has died; its peers will look for it. */
void wide_add(struct wide *wide, struct record *record);

/** wide_find(wide, pid): the record of ${pid}, held for the caller, or NULL. */
struct record *wide_find(struct wide *wide, term_word pid);

/**
 * wide_find_linked(wide, links, records, room): records of dead processes in ${links}, held for the caller; at
 * most ${room}. Looks at no more than WIDE_LOOKS. Returns how many.
 */
size_t wide_find_linked(struct wide *wide, const struct linkset *links, struct record **records,
                        size_t room);

/**
 * wide_find_reason(wide, print, records, room): as wide_find_linked, by reason: for a process whose own links
 * are not known.
 */
size_t wide_find_reason(struct wide *wide, struct fingerprint print, struct record **records,
                        size_t room);

/** wide_evicted_ns(wide): when a death last had to make room for another, monotonic clock; 0 never. */
uint64_t wide_evicted_ns(struct wide *wide);

#endif
