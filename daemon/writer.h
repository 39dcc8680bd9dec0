/*
 * Group commit. Changes queue on the loop; whenever the store is free, what has queued goes into
 * one transaction, written on a thread of libuv's pool so that the loop never waits for the disk.
 * When little comes, a change is committed at once; when much comes, the transactions grow, up to
 * WRITER_BATCH_MAX changes.
 */
#ifndef CORONER_WRITER_H
#define CORONER_WRITER_H

#include <stdbool.h>
#include <uv.h>

#include "health.h"
#include "metrics.h"
#include "store.h"

#define WRITER_BATCH_MAX 4096

struct writer;

/*
 * writer_new(loop, store):
 * Return a writer that alone writes to ${store} from now on. ${store} outlives it.
 */
struct writer *writer_new(uv_loop_t *loop, struct store *store);

/*
 * writer_on_commit(writer, on_commit, cookie):
 * Call on_commit(cookie, head) on the loop after each transaction, after the `done` of its changes;
 * ${head} is the last row number. At most WRITER_LISTENERS_MAX may ask for it.
 */
#define WRITER_LISTENERS_MAX 4
void writer_on_commit(struct writer *writer, void (*on_commit)(void *cookie, int64_t head),
                      void *cookie);

/*
 * writer_submit(writer, change):
 * Queue ${change}, which was allocated with memory_zeroed. Its `done` is called once it is
 * committed; if the store cannot be written, that is tried again each second until it can.
 */
void writer_submit(struct writer *writer, struct change *change);

/*
 * writer_cursor(writer, sink, cursor):
 * Note how far ${sink} has come: written with the next transaction, or within a second. ${sink} is
 * not copied.
 */
void writer_cursor(struct writer *writer, const char *sink, int64_t cursor);

/*
 * writer_drain(writer, drained, cookie):
 * Write everything there is, noted cursors too, then call drained(cookie) once.
 */
void writer_drain(struct writer *writer, void (*drained)(void *cookie), void *cookie);

/*
 * writer_head(writer):
 * Return the last row number committed.
 */
int64_t writer_head(const struct writer *writer);

/* What goes on, for `status`. */
struct writer_numbers {
    uint64_t commits;
    uint64_t changes;
    uint64_t queued;
    bool failing; /* the last attempt failed */
};

/*
 * writer_numbers(writer):
 * Return the numbers of this run.
 */
struct writer_numbers writer_numbers(const struct writer *writer);

/*
 * writer_tell(writer, metrics):
 * Let ${writer} tell its numbers to ${metrics}, which it must outlive.
 */
void writer_tell(struct writer *writer, struct metrics *metrics);

/*
 * writer_watch(writer, health):
 * Let ${writer} say to ${health}, which it must outlive, when the store cannot be written.
 */
void writer_watch(struct writer *writer, struct health *health);

/*
 * writer_close(writer):
 * Stop. Changes that are still queued are dropped, their `done` uncalled. The memory is freed when
 * the loop has run once more. Not while a transaction is being written: see writer_busy. NULL is
 * fine.
 */
void writer_close(struct writer *writer);

/*
 * writer_busy(writer):
 * Return whether a transaction is being written at this moment.
 */
bool writer_busy(const struct writer *writer);

#endif
