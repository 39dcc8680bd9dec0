/*
 * What is remembered of the rows of a segment that has no indexes yet: for each row a hash of 16
 * bits of every column that is asked for by value, and for each block of rows the least and the
 * greatest time. A search compares half a million hashes in some ten microseconds and is left with
 * the rows that may fit (one of 65,535 by chance), which SQL then looks at.
 *
 * One thread appends, any number of threads search meanwhile, without a lock: an array is never
 * moved, a row's hashes are written before the count that lets others see the row (release and
 * acquire), and never change afterwards. The times of the last block do change, but only away from
 * each other: whoever sees them late sees them as they were when the rows it can see were there.
 */
#ifndef CORONER_STORE_COLUMNS_H
#define CORONER_STORE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

#define COLUMNS_BLOCK 1024 /* rows that share a least and a greatest time */

struct columns;

/*
 * columns_new(first, capacity):
 * Return what remembers at most ${capacity} rows from row ${first} on. It is held once.
 */
struct columns *columns_new(int64_t first, size_t capacity);

/*
 * columns_hold(columns), columns_release(columns):
 * Hold ${columns} once more; give up one hold (NULL is fine). Who gives up the last one frees it.
 */
struct columns *columns_hold(struct columns *columns);
void columns_release(struct columns *columns);

/*
 * columns_hash(incarnation, seq, column, hash):
 * Write to ${hash} what is remembered of that row's columns. Any thread.
 */
void columns_hash(const char *incarnation, uint64_t seq,
                  const char *const column[RECORD_COLUMN_COUNT], uint16_t hash[STORE_HASHES]);

/*
 * columns_append(columns, hash, time_ns):
 * Remember the next row, of which columns_hash made ${hash}. Return false if there is no room.
 */
bool columns_append(struct columns *columns, const uint16_t hash[STORE_HASHES], int64_t time_ns);

/*
 * columns_has(column):
 * Return whether rows can be looked up by ${column}: an enum record_column, or STORE_COLUMN_ID.
 */
bool columns_has(int column);

/*
 * columns_find(columns, conditions, count, first, last, descending, rows, max):
 * Write to ${rows}, in order, up to ${max} numbers of the rows from ${first} to ${last} that may
 * meet all ${conditions}, whose columns all satisfy columns_has. Return how many they are.
 */
size_t columns_find(const struct columns *columns, const struct store_condition *conditions,
                    size_t count, int64_t first, int64_t last, bool descending, int64_t *rows,
                    size_t max);

/*
 * columns_times(columns, since_ns, until_ns, first, last):
 * Narrow the rows *${first} to *${last} to those whose blocks have a time in that span.
 */
void columns_times(const struct columns *columns, int64_t since_ns, int64_t until_ns,
                   int64_t *first, int64_t *last);

/*
 * columns_block(columns, index, first, min_ns, max_ns):
 * Describe block number ${index}. Return false if there is none.
 */
bool columns_block(const struct columns *columns, size_t index, int64_t *first, int64_t *min_ns,
                   int64_t *max_ns);

#endif
