/*
 * The store: every record, what is known of each incarnation, and how far each sink has come. A
 * record's row number is its place in the order of commit, and so a cursor; it is never used again.
 *
 * On the disk it is a row of segments in the folder PATH.d, each an SQLite database of its own,
 * named by its first row. The last one is live: it alone is written to, and besides its records it
 * has the incarnations and the cursors, so that what belongs together is committed together. When
 * it is full, a new one takes those over, and the old one gets its indexes. Retention unlinks the
 * oldest. PATH itself says only what this is, and which version of it.
 *
 * Threads. One process has a store open at a time. One thread at a time writes (store_apply,
 * store_tend: the writer's work on libuv's pool). A thread of the store's own makes the indexes.
 * Any number of readers (struct store_reader), each used by one thread at a time, read beside them.
 * What all of them share is the catalogue of segments, under a lock that nobody holds during I/O.
 * Functions that say "any thread" may be called from any.
 */
#ifndef CORONER_STORE_H
#define CORONER_STORE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hello.h"
#include "record.h"
#include "settings.h"

#define STORE_WHY_SIZE 256

/* What a segment holds at most, unless the settings say otherwise. */
#define STORE_SEGMENT_ROWS 500000
#define STORE_SEGMENT_BYTES ((uint64_t)512 << 20)
#define STORE_SEGMENT_AGE_S ((uint64_t)24 * 3600)
#define STORE_SEGMENT_ROWS_MAX ((uint64_t)1 << 20)

/* Incarnations that are known at once: of one uid, and of all. Past it the longest unseen go. */
#define STORE_INCARNATIONS_OF_UID 4096
#define STORE_INCARNATIONS 65536

/* A node's name is its uid's until nobody has come with it for this long. */
#define STORE_NAME_KEPT_S ((int64_t)7 * 24 * 3600)

/* Columns of which a hash is remembered while a segment has no indexes. */
#define STORE_HASHES 9

struct store;
struct store_reader;

/* What there is to write. */
enum change_type {
    CHANGE_HELLO,    /* hello, uid: an incarnation connected */
    CHANGE_RECORD,   /* hello, record */
    CHANGE_COUNTERS, /* hello, made, counters, lost */
    CHANGE_BYE,      /* hello, made */
    CHANGE_CURSOR    /* sink, cursor */
};

/* Why a HELLO is not welcome. */
enum store_refusal {
    STORE_WELCOME,
    STORE_FOREIGN_INCARNATION, /* it belongs to another uid */
    STORE_FOREIGN_NAME,        /* the node's name does */
    STORE_CROWDED /* too many incarnations of this uid, or of all, have rows and are new */
};

struct change {
    enum change_type type;
    const struct hello *hello;
    uint32_t uid;          /* of the peer, as the kernel says; in every change but CHANGE_CURSOR */
    struct record *record; /* owned by the change */
    uint64_t made;
    uint64_t lost;
    char *counters;   /* JSON, owned by the change */
    const char *sink; /* its name */
    int64_t cursor;

    /* Set when the change is committed. */
    uint64_t committed;         /* the highest sequence number of its incarnation in the store */
    int64_t row;                /* CHANGE_RECORD: its number; 0 if it had come before */
    enum store_refusal refusal; /* CHANGE_HELLO */
    uint64_t lost_more; /* records of its incarnation that are lost since this change shows it */

    void (*done)(struct change *change); /* called on the loop after commit; frees the change */
    void *cookie;
    uint64_t submitted_ns; /* when it was read, by uv_hrtime: for the numbers */
    bool hashed;           /* store_hash was called */
    uint16_t hash[STORE_HASHES];
    struct change *next;
};

/*
 * store_open(path, exit_code, why):
 * Open the store at ${path}, creating it (mode 0600) if there is none, and lock it against other
 * daemons. A store of an earlier layout is taken over; a segment that is damaged is set aside: it
 * gets another name, stays where it is, and is told of in the log and in store_health. Return the
 * store, or NULL and say in ${why} what is wrong, the path included; then *${exit_code} is the exit
 * code of sysexits.h that fits.
 */
struct store *store_open(const char *path, int *exit_code, char why[STORE_WHY_SIZE]);

/*
 * store_limit(store, settings):
 * Keep to the limits of ${settings} from the next store_apply or store_tend on. Any thread.
 */
void store_limit(struct store *store, const struct store_settings *settings);

/*
 * store_close(store):
 * Close ${store}, which may be NULL and has no more readers, and give up its lock.
 */
void store_close(struct store *store);

/*
 * store_hash(change):
 * Do now what store_apply else does with the columns of a CHANGE_RECORD. Any thread: the one that
 * writes has more to do.
 */
void store_hash(struct change *change);

/*
 * store_apply(store, changes, count, head, why):
 * Write the first ${count} of the list ${changes} in one transaction and bring it to the disk. When
 * the disk is full, the oldest segments are dropped and counted. Return 0, with `committed` and
 * `refusal` set in each, and *${head} the last row number; or return -1 with nothing written, and
 * say in ${why} what is wrong.
 */
int store_apply(struct store *store, struct change *changes, size_t count, int64_t *head,
                char why[STORE_WHY_SIZE]);

/*
 * store_tend(store):
 * Do what is due: begin a new segment, drop old ones. By the thread that writes; store_apply does
 * it, too.
 */
void store_tend(struct store *store);

/*
 * store_tend_due(store):
 * Return in how many milliseconds something will be due though nothing comes; 0 if nothing will.
 */
uint64_t store_tend_due(struct store *store);

/*
 * store_head(store):
 * Return the last row number that was given out, 0 if none was. Any thread.
 */
int64_t store_head(struct store *store);

/*
 * store_cursor(store, sink, before):
 * Return how far ${sink} has come, 0 if it is new; what was noted under the name ${before}, unless
 * that is NULL, counts if nothing was under its own. From now on its rows are not dropped for their
 * age before it has them. Not while something is being written.
 */
int64_t store_cursor(struct store *store, const char *sink, const char *before);

/* How the store does. */
enum store_state {
    STORE_OK,
    STORE_DEGRADED, /* it takes records, but something is or was lost or is about to be */
    STORE_FAILING   /* what comes cannot be written at this moment; the nodes keep it */
};

struct store_health {
    enum store_state state;
    char reason[STORE_WHY_SIZE]; /* a sentence; empty if all is well */
    int64_t since_ns;
};

/*
 * store_health(store, health):
 * Describe in ${health} how ${store} does. Any thread.
 */
void store_health(struct store *store, struct store_health *health);

/* What there is, and what became of the rest. */
struct store_numbers {
    uint64_t rows;            /* that can be read */
    uint64_t bytes;           /* of the segments' files */
    uint64_t segments;        /* the live one included */
    uint64_t unindexed;       /* of them: closed, their indexes still to come */
    uint64_t expired_by_age;  /* rows dropped by retention, ever */
    uint64_t expired_by_size; /* rows dropped by retention, ever */
    uint64_t expired_by_full; /* rows dropped because the disk was full, ever */
    uint64_t missing;         /* rows of segments that were damaged or not there, ever */
    uint64_t set_aside;       /* damaged files in the folder when the store was opened, or since */
    uint64_t duplicates;      /* records that came again, in this run */
    int64_t oldest_row;       /* that can be read; 0 if there is none */
};

/*
 * store_numbers(store, numbers):
 * Fill ${numbers}. Any thread.
 */
void store_numbers(struct store *store, struct store_numbers *numbers);

/*
 * store_reader_open(store, why):
 * Return a reader of ${store}, or NULL and say in ${why} what is wrong.
 */
struct store_reader *store_reader_open(struct store *store, char why[STORE_WHY_SIZE]);

/*
 * store_reader_close(reader):
 * Close ${reader}, which may be NULL.
 */
void store_reader_close(struct store_reader *reader);

/*
 * store_reader_rest(reader):
 * Nothing is read for now: statements of the caller's own are finalized, and the files that this
 * reader has open may be closed under it, so that the space of what is dropped comes back. Until
 * the next call that reads.
 */
void store_reader_rest(struct store_reader *reader);

/*
 * store_reader_database(reader):
 * Return the connection to the live segment, for statements of the caller's own about
 * `incarnations`, `sinks` and `about`. It is read only, and good until the next call that reads.
 * Never NULL; if the segment cannot be opened, its statements fail and say so.
 */
sqlite3 *store_reader_database(struct store_reader *reader);

/* A part of the store: a database that has the rows from `first` to `last`. */
struct store_part {
    sqlite3 *database; /* read only; it stays the reader's */
    int64_t first;
    int64_t last; /* rows of the database behind it are not for the reader yet */
    bool has_indexes;
    int64_t min_time_ns; /* of its records: they are in the order of commit, which is nearly */
    int64_t max_time_ns; /* but not quite that of time */
};

/*
 * store_reader_part(reader, row, descending, part, why):
 * Find the part that has ${row}, or else the nearest one after it (before it, if ${descending}),
 * and describe it in ${part}, which is good until the next call. A walk over the store goes on with
 * part->last + 1 (part->first - 1). Every part has the tables `exits` and `bodies`
 * (store_schema.c). Return 1, 0 if there is none, or -1 and say in ${why} what is wrong.
 */
int store_reader_part(struct store_reader *reader, int64_t row, bool descending,
                      struct store_part *part, char why[STORE_WHY_SIZE]);

/* A column equals one of `values`. The column: enum record_column, or the record's id. */
#define STORE_COLUMN_ID RECORD_COLUMN_COUNT
struct store_condition {
    int column;
    const char *const *values;
    size_t count;
};

/*
 * store_can_narrow(column):
 * Return whether rows can be looked up by ${column} in every part: by an index where the part has
 * indexes, by store_reader_candidates where it has none. Any thread.
 */
bool store_can_narrow(int column);

/*
 * store_reader_candidates(reader, conditions, count, first, last, descending, rows, max):
 * In the part that store_reader_part found last, write to ${rows}, in order, up to ${max} numbers
 * of the rows from ${first} to ${last} that may meet all ${conditions} (those on columns that
 * cannot narrow are left out; one at least can). What meets them is among these, but not all of
 * these meet them. Return how many they are, fewer than ${max} if there are no more; or -1 if the
 * part has no such memory: then SQL must look at every row, or has an index.
 */
ptrdiff_t store_reader_candidates(struct store_reader *reader,
                                  const struct store_condition *conditions, size_t count,
                                  int64_t first, int64_t last, bool descending, int64_t *rows,
                                  size_t max);

/*
 * store_reader_times(reader, since_ns, until_ns, first, last, why):
 * In the part that store_reader_part found last, narrow the rows *${first} to *${last} to those
 * among which are all with a time in that span; *${first} is above *${last} if there are none.
 * Return 0, or -1 and say in ${why} what is wrong.
 */
int store_reader_times(struct store_reader *reader, int64_t since_ns, int64_t until_ns,
                       int64_t *first, int64_t *last, char why[STORE_WHY_SIZE]);

/*
 * store_reader_oldest(reader):
 * Return the first row that can be read, 0 if there is none.
 */
int64_t store_reader_oldest(struct store_reader *reader);

/*
 * store_reader_deadline(reader, milliseconds):
 * Let what runs on ${reader} from now on fail with SQLITE_INTERRUPT once ${milliseconds} have
 * passed; 0 takes the limit away. An interruption from before is forgotten.
 */
void store_reader_deadline(struct store_reader *reader, unsigned milliseconds);

/*
 * store_reader_interrupt(reader):
 * Let what runs on ${reader} from now on fail with SQLITE_INTERRUPT, until the next
 * store_reader_deadline. Any thread.
 */
void store_reader_interrupt(struct store_reader *reader);

/*
 * store_reader_rows(reader, after, on_row, cookie, why):
 * Call on_row(cookie, row, json, length) for the rows after ${after} in order, until it returns
 * false or there are no more, then rest. Return 0, or -1 and say in ${why} what is wrong.
 */
int store_reader_rows(struct store_reader *reader, int64_t after,
                      bool (*on_row)(void *cookie, int64_t row, const char *json, size_t length),
                      void *cookie, char why[STORE_WHY_SIZE]);

/*
 * store_reader_skipped(reader):
 * Return how many rows the last store_reader_rows passed over because they had been dropped: those
 * between ${after} and the first row it found. Row numbers that were never used because a damaged
 * segment was set aside count, too: nobody knows how many records it held.
 */
uint64_t store_reader_skipped(const struct store_reader *reader);

/*
 * store_reader_find(reader, incarnation, seq, why):
 * Return the row number of that record, 0 if it is not there, or -1 if that cannot be told, and say
 * in ${why} why. Then rest.
 */
int64_t store_reader_find(struct store_reader *reader, const char *incarnation, uint64_t seq,
                          char why[STORE_WHY_SIZE]);

#endif
