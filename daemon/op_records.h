/*
 * Commands about records in the store: query, get, why; and what the commands that are made of
 * these have in common with them.
 */
#ifndef CORONER_OP_RECORDS_H
#define CORONER_OP_RECORDS_H

#include "hello.h"
#include "query.h"
#include "scan.h"

/*
 * op_records_register(query):
 * Register the commands with ${query}, and with them count and tree.
 */
void op_records_register(struct query *query);

/*
 * records_limit(request, key, least, most, limit, error):
 * If ${request} has the ${key}, put its number into *${limit}. Return 0, or -1 and fill ${error} if
 * it is no integer from ${least} to ${most}.
 */
int records_limit(const json_t *request, const char *key, int64_t least, int64_t most,
                  int64_t *limit, struct reply_error *error);

/* Which record is asked for. All zero is none. */
struct records_subject {
    const char *key; /* "record", "pid" or "name" */
    char *text;
    char *node; /* NULL: of any */
    char incarnation[HELLO_INCARNATION + 1];
    int64_t seq;
};

/*
 * records_subject_read(subject, request, with_record, error):
 * Read `pid` or `name`, or `record` if ${with_record}, and `node` of ${request} into ${subject},
 * which is all zero, and to be cleared in any case. Return 0, or -1 and fill ${error}.
 */
int records_subject_read(struct records_subject *subject, const json_t *request, bool with_record,
                         struct reply_error *error);

/*
 * records_subject_clear(subject):
 * Free what ${subject} holds.
 */
void records_subject_clear(struct records_subject *subject);

/*
 * records_find(reader, subject, error):
 * Return the row of the record, or of the newest exit, that ${subject} means; or -1 and fill
 * ${error}.
 */
int64_t records_find(struct store_reader *reader, const struct records_subject *subject,
                     struct reply_error *error);

/*
 * records_open(reader, row, columns, error):
 * Return a walk that is at ${row}, to be ended with scan_end, or NULL and fill ${error}.
 */
struct scan *records_open(struct store_reader *reader, int64_t row, const char *columns,
                          struct reply_error *error);

/*
 * records_cascade(reader, id, row, cascade, error):
 * Count the records of which the record ${id}, in ${row}, is the origin. Return 0 and set
 * *${cascade} to a new object with their count and the times of the first and the last, or to NULL
 * if there are none; or return -1 and fill ${error}.
 */
int records_cascade(struct store_reader *reader, const char *id, int64_t row, json_t **cascade,
                    struct reply_error *error);

/*
 * records_check_cursor(context, key, row, descending, gone):
 * Check the place ${row} of a cursor that a client gave as ${key}. Return 0, with *${gone} the
 * number of rows behind it that are not kept any more; or -1 and fill the error.
 */
int records_check_cursor(struct query_context *context, const char *key, int64_t row,
                         bool descending, int64_t *gone);

#endif
