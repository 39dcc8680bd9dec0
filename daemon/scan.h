/*
 * A walk over the rows of the store that fit a filter, whatever parts the store comes in. In each
 * part the one index that narrows most is used, if the part has it; else its rows are gone through.
 *
 * A walk keeps nothing but its place, so it can be ended and another begun behind the last row.
 */
#ifndef CORONER_SCAN_H
#define CORONER_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "filter.h"
#include "reply.h"
#include "store.h"

enum scan_order {
    SCAN_ASCENDING,
    SCAN_DESCENDING,
    SCAN_ANY /* what is fastest; `columns` may be aggregates, which come once a part */
};

/* What is looked for. Everything in it stays as it is while the walk goes on. */
struct scan_question {
    const struct filter *filter;
    const char *columns;  /* SQL expressions over `exits` */
    const char *grouping; /* " GROUP BY ...", of SCAN_ANY; or NULL */
    enum scan_order order;
    int64_t first, last; /* rows, both included */
};

struct scan;

/*
 * scan_begin(reader, question):
 * Return a walk over the rows that ${question} looks for, to be ended with scan_end. ${reader}
 * must not be used for anything else before that.
 */
struct scan *scan_begin(struct store_reader *reader, const struct scan_question *question);

/*
 * scan_next(scan):
 * Go to the next row. Return 1, 0 if there are no more, or -1 if that failed: see scan_failed.
 */
int scan_next(struct scan *scan);

/*
 * scan_row(scan):
 * Return the number of the row. Not with SCAN_ANY.
 */
int64_t scan_row(const struct scan *scan);

/*
 * scan_statement(scan):
 * Return the statement that has the row's `columns`, from number 0 on.
 */
sqlite3_stmt *scan_statement(const struct scan *scan);

/*
 * scan_line(scan, length):
 * Return the row's record as JSON, and its *${length}, good until the next call on ${scan}; or NULL
 * if that failed: see scan_failed. Not with SCAN_ANY.
 */
const char *scan_line(struct scan *scan, size_t *length);

/*
 * scan_failed(scan, error):
 * Fill ${error} after a failure: "timeout" where the reader's deadline has passed, else "internal".
 */
void scan_failed(const struct scan *scan, struct reply_error *error);

/*
 * scan_end(scan):
 * Free ${scan}, which may be NULL.
 */
void scan_end(struct scan *scan);

/*
 * scan_oldest(reader):
 * Return the number of the oldest row that is kept, INT64_MAX if there is none.
 */
int64_t scan_oldest(struct store_reader *reader);

/*
 * scan_error(message, error):
 * Fill ${error} with what the store said of a failure.
 */
void scan_error(const char *message, struct reply_error *error);

#endif
