/*
 * The store: one SQLite database with every record, what is known of each incarnation, and how far
 * each sink has come. A record's row number is its place in the order of commit, and so a cursor.
 *
 * One process has a store open at a time, one thread at a time writes to it (struct store); any
 * number of readers, each used by one thread at a time, read beside it (struct store_reader).
 */
#ifndef CORONER_STORE_H
#define CORONER_STORE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hello.h"
#include "record.h"

#define STORE_WHY_SIZE 256

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

struct change {
    enum change_type type;
    const struct hello *hello;
    uint32_t uid;
    struct record *record; /* owned by the change */
    uint64_t made;
    uint64_t lost;
    char *counters;   /* JSON, owned by the change */
    const char *sink; /* its name */
    int64_t cursor;

    /* Set when the change is committed. */
    uint64_t committed; /* the highest sequence number of its incarnation in the store */
    bool refused;       /* CHANGE_HELLO: the incarnation belongs to another uid */
    bool repeated;      /* CHANGE_RECORD: it was in the store already */
    uint64_t lost_more; /* records of its incarnation that are lost since this change shows it */

    void (*done)(struct change *change); /* called on the loop after commit; frees the change */
    void *cookie;
    uint64_t submitted_ns; /* when it was read, by uv_hrtime: for the numbers */
    struct change *next;
};

/*
 * store_open(path, why):
 * Open the store at ${path}, creating it (mode 0600) if there is none, and lock it against other
 * daemons. Return it, or NULL and say in ${why} what is wrong, ${path} included; then *${exit_code}
 * is the exit code of sysexits.h that fits.
 */
struct store *store_open(const char *path, int *exit_code, char why[STORE_WHY_SIZE]);

/*
 * store_close(store):
 * Close ${store}, which may be NULL, and give up its lock.
 */
void store_close(struct store *store);

/*
 * store_apply(store, changes, count, head, why):
 * Write the first ${count} of the list ${changes} in one transaction and bring it to the disk.
 * Return 0, with `committed` and `refused` set in each, and *${head} the last row number; or return
 * -1 with nothing written, and say in ${why} what is wrong.
 */
int store_apply(struct store *store, struct change *changes, size_t count, int64_t *head,
                char why[STORE_WHY_SIZE]);

/*
 * store_head(store):
 * Return the last row number, 0 if there are no rows.
 */
int64_t store_head(struct store *store);

/*
 * store_cursor(store, sink):
 * Return how far ${sink} has come, 0 if it is new.
 */
int64_t store_cursor(struct store *store, const char *sink);

/*
 * store_reader_open(path, why):
 * Open the store at ${path}, which is open, for reading beside its writer. Return the reader, or
 * NULL and say in ${why} what is wrong.
 */
struct store_reader *store_reader_open(const char *path, char why[STORE_WHY_SIZE]);

/*
 * store_reader_close(reader):
 * Close ${reader}, which may be NULL.
 */
void store_reader_close(struct store_reader *reader);

/*
 * store_reader_database(reader):
 * Return the connection, for statements of the caller's own. It is in query_only mode.
 */
sqlite3 *store_reader_database(struct store_reader *reader);

/* A part of the store: a database that has the rows from `first` to `last`. */
struct store_part {
    sqlite3 *database; /* in query_only mode; it stays the reader's */
    int64_t first;
    int64_t last;
};

/*
 * store_reader_part(reader, row, descending, part, why):
 * Find the part that has ${row}, or else the nearest one after it (before it, if ${descending}),
 * and describe it in ${part}, which is good until the next call. A walk over the store goes on with
 * part->last + 1 (part->first - 1). Every part has the tables `exits` and `bodies` (store.c).
 * Return 1, 0 if there is none, or -1 and say in ${why} what is wrong.
 */
int store_reader_part(struct store_reader *reader, int64_t row, bool descending,
                      struct store_part *part, char why[STORE_WHY_SIZE]);

/*
 * store_reader_deadline(reader, milliseconds):
 * Let what runs on ${reader} from now on fail with SQLITE_INTERRUPT once ${milliseconds} have
 * passed; 0 takes the limit away.
 */
void store_reader_deadline(struct store_reader *reader, unsigned milliseconds);

/*
 * store_reader_interrupt(reader):
 * Let what runs on ${reader} at this moment fail with SQLITE_INTERRUPT. For any thread.
 */
void store_reader_interrupt(struct store_reader *reader);

/*
 * store_reader_rows(reader, after, on_row, cookie, why):
 * Call on_row(cookie, row, json, length) for the rows after ${after} in order, until it returns
 * false or there are no more. Return 0, or -1 and say in ${why} what is wrong.
 */
int store_reader_rows(struct store_reader *reader, int64_t after,
                      bool (*on_row)(void *cookie, int64_t row, const char *json, size_t length),
                      void *cookie, char why[STORE_WHY_SIZE]);

/*
 * store_reader_find(reader, incarnation, seq):
 * Return the row number of that record, 0 if it is not there or cannot be read.
 */
int64_t store_reader_find(struct store_reader *reader, const char *incarnation, uint64_t seq);

#endif
