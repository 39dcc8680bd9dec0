/*
 * The journal: the records made in this incarnation, from when they are made until they make room for newer
 * ones. It is both what coroner:why/1 and recent/1 read and the outbox of the uplink.
 *
 * Every record gets the next sequence number as it enters; numbers are dense, so a number that is missing at
 * the daemon is a lost record. The bytes held are bounded. What makes room, in this order: records that the
 * daemon has acknowledged, the oldest first; then of those not sent yet the oldest of severity info; then the
 * oldest. Records under way (sent, not acknowledged) stay. What made room unsent is counted as lost.
 *
 * One lock, held for a few pointer operations in an exit callback; nothing of the VM is called under it.
 */
#ifndef CORONER_JOURNAL_H
#define CORONER_JOURNAL_H

#include "record.h"

struct journal;

struct journal_counts {
    uint64_t made;         /* the highest sequence number given out */
    uint64_t acknowledged; /* the highest that the daemon has committed */
    uint64_t lost;         /* made room before they were sent */
    uint64_t held;         /* records in the journal */
    uint64_t unacknowledged; /* of these, not committed by the daemon as far as we know */
    uint64_t bytes;
    uint64_t first_held; /* the lowest unacknowledged sequence number held; made + 1 when none is */
};

/** journal_new(): an empty journal without a bound, or NULL without memory. */
struct journal *journal_new(void);

/** journal_reset(journal, bytes_max): empties it, starts at sequence number 1, holds ${bytes_max} bytes. */
void journal_reset(struct journal *journal, size_t bytes_max);

/** journal_free(journal): frees it; nobody may use it any more. NULL is a no-op. */
void journal_free(struct journal *journal);

/** journal_on_evicted(journal, call, cookie): ${call} gets each record that makes room, on the thread that adds. */
void journal_on_evicted(struct journal *journal, void (*call)(void *cookie, const struct record *record),
                        void *cookie);

/** journal_add(journal, record): enters ${record}, which keeps its holder; gives it its sequence number. */
void journal_add(struct journal *journal, struct record *record);

/** journal_prefetch(journal, pid): a record of ${pid} will be added in a moment. Takes no lock. */
void journal_prefetch(const struct journal *journal, term_word pid);

/** journal_by_pid(journal, pid): the newest record of ${pid}, held for the caller, or NULL. */
struct record *journal_by_pid(struct journal *journal, term_word pid);

/** journal_by_name(journal, name): the newest record of a process registered as ${name}, held, or NULL. */
struct record *journal_by_name(struct journal *journal, term_word name);

/** journal_recent(journal, records, room): the newest ${room} records, newest first, held for the caller. Returns how many. */
size_t journal_recent(struct journal *journal, struct record **records, size_t room);

/** journal_take(journal, records, room): the next unsent records, in order, held for the caller, now under way. */
size_t journal_take(struct journal *journal, struct record **records, size_t room);

/** journal_has_unsent(journal): whether journal_take would give any. */
bool journal_has_unsent(struct journal *journal);

/** journal_acknowledge(journal, seq): everything up to ${seq} is committed. Returns false if that many were never made. */
bool journal_acknowledge(struct journal *journal, uint64_t seq);

/**
 * journal_rewind(journal): what is under way did not arrive: it is unsent again. Only once the daemon has said what it
 * has, for what makes room unsent counts as lost.
 */
void journal_rewind(struct journal *journal);

/** journal_is_settled(journal, seq): whether no record up to ${seq} is held that is not acknowledged. */
bool journal_is_settled(struct journal *journal, uint64_t seq);

/** journal_counts(journal): how it stands. */
struct journal_counts journal_counts(struct journal *journal);

#endif
