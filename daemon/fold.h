/*
 * A cascade as few lines: the first records that have the same origin come as they are, the rest is
 * counted and told of in one line, `coroner.fold/1`.
 *
 * A row is either to be written, or it is counted in exactly one summary. While a row is counted in
 * a summary that is not written yet, fold_floor keeps the cursor before it, so that a daemon that
 * is killed counts again. Depends on no time of day: the caller says what time it is.
 */
#ifndef CORONER_FOLD_H
#define CORONER_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define FOLD_QUIET_MS 1000      /* a cascade without a record for so long is over */
#define FOLD_LONGEST_MS 10000   /* a summary comes at the latest after so long */
#define FOLD_COUNT_MAX 1000000  /* and counts no more than this */
#define FOLD_CASCADES_MAX 10000 /* known at once; the one that is quiet for longest makes room */
#define FOLD_CALLS_MAX 8        /* initial calls counted one by one, the rest together */

struct fold;

/*
 * fold_new(first):
 * Return a new folding that lets the ${first} first records of a cascade through.
 */
struct fold *fold_new(unsigned first);

/*
 * fold_row(fold, row, json, length, now_ms, out):
 * Look at the next row. Return true if it is to be written as it is, or false if it is counted. A
 * summary that has to make room is appended to ${out} with its newline.
 */
bool fold_row(struct fold *fold, int64_t row, const char *json, size_t length, int64_t now_ms,
              struct buffer *out);

/*
 * fold_due(fold, now_ms, all, out):
 * Append the next summary that is due, or any if ${all}, to ${out} with its newline. Return whether
 * there was one.
 */
bool fold_due(struct fold *fold, int64_t now_ms, bool all, struct buffer *out);

/*
 * fold_next_ms(fold, now_ms):
 * Return in how many milliseconds fold_due will have something to do, -1 if it will not.
 */
int64_t fold_next_ms(const struct fold *fold, int64_t now_ms);

/*
 * fold_floor(fold, row):
 * Return up to where the rows are written or told of, ${row} being the last one looked at.
 */
int64_t fold_floor(const struct fold *fold, int64_t row);

/*
 * fold_folded(fold):
 * Return how many records were told of in summaries.
 */
uint64_t fold_folded(const struct fold *fold);

/*
 * fold_reset(fold):
 * Forget all cascades: the rows are looked at again from a floor on.
 */
void fold_reset(struct fold *fold);

/*
 * fold_free(fold):
 * Free ${fold}, which may be NULL.
 */
void fold_free(struct fold *fold);

#endif
