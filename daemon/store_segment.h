/*
 * A segment of the store as the process knows it, and the catalogue of all of them.
 *
 * The catalogue's lock is over its list, over `references`, `gone`, `columns`, `held` and `bytes`
 * of each segment, and is never held during I/O. `first`, `path` and `closed_ns` do not change once
 * others see the segment. `last` and the times grow under the writer's hand and are read by
 * anybody: `last` is stored (release) after the row is committed and in the columns, so whoever
 * reads it (acquire) finds the row in both.
 */
#ifndef CORONER_STORE_SEGMENT_H
#define CORONER_STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store_columns.h"

struct owed; /* store_internal.h */

enum segment_state {
    SEGMENT_LIVE,
    SEGMENT_CLOSED, /* its indexes are to come */
    SEGMENT_INDEXED,
    SEGMENT_BROKEN /* it cannot get indexes: what of it can be read is read without */
};

struct segment {
    int64_t first;
    char *path;
    int64_t closed_ns;
    _Atomic int64_t last; /* first - 1 while it is empty */
    _Atomic int64_t min_ns;
    _Atomic int64_t max_ns;
    atomic_int state; /* enum segment_state */

    unsigned references;
    bool gone; /* dropped: its file has no name any more */
    struct columns *columns;
    struct owed
        *held; /* what of each node is in it, while a full disk could keep us from reading it */
    uint64_t bytes;       /* of its files, when they were last looked at */
    uint64_t began_bytes; /* of these, what it took over from the segment before; 0: not known */
};

struct catalogue {
    pthread_mutex_t lock;
    struct segment **segments; /* by row; the last one is live */
    size_t count;
    size_t capacity;
};

/*
 * segment_new(folder, first):
 * Return the segment of ${folder} that begins with row ${first}. It is referred to once.
 */
struct segment *segment_new(const char *folder, int64_t first);

/*
 * segment_rows(segment):
 * Return how many row numbers it has.
 */
uint64_t segment_rows(const struct segment *segment);

/*
 * segment_measure(segment):
 * Return how many bytes its files have.
 */
uint64_t segment_measure(const struct segment *segment);

/*
 * segment_unlink(segment):
 * Take the names of its files away. Return 0, or -1 with errno set; what is not there is fine.
 */
int segment_unlink(const struct segment *segment);

/*
 * catalogue_add(catalogue, segment):
 * Take over ${segment}, which comes behind all others.
 */
void catalogue_add(struct catalogue *catalogue, struct segment *segment);

/*
 * catalogue_remove(catalogue, segment):
 * Take ${segment} out, mark it as gone and give up the reference.
 */
void catalogue_remove(struct catalogue *catalogue, struct segment *segment);

/*
 * catalogue_find(catalogue, row, descending, columns):
 * Return the segment that has ${row}, or else the nearest one after it (before it, if
 * ${descending}), with a reference for the caller; NULL if there is none. If ${columns} is not
 * NULL, set it to the segment's columns, held for the caller, or to NULL.
 */
struct segment *catalogue_find(struct catalogue *catalogue, int64_t row, bool descending,
                               struct columns **columns);

/*
 * catalogue_live(catalogue):
 * Return the live segment with a reference for the caller.
 */
struct segment *catalogue_live(struct catalogue *catalogue);

/*
 * catalogue_release(catalogue, segment):
 * Give up a reference; NULL is fine.
 */
void catalogue_release(struct catalogue *catalogue, struct segment *segment);

/*
 * catalogue_forget_columns(catalogue, segment):
 * Let go of the columns of ${segment}. Who holds them keeps them.
 */
void catalogue_forget_columns(struct catalogue *catalogue, struct segment *segment);

#endif
