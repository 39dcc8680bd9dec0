/*
 * Which records are asked for: `where`, `since` and `until` of a request, checked and made into a
 * condition of SQL. No database here.
 */
#ifndef CORONER_FILTER_H
#define CORONER_FILTER_H

#include <jansson.h>
#include <sqlite3.h>
#include <stdint.h>

#include "buffer.h"
#include "reply.h"

#define FILTER_VALUES_MAX 256 /* in one request */

/* All zero lets everything through. */
struct filter {
    struct buffer sql; /* conditions, each beginning with " AND " */
    json_t *values;    /* what is bound to their parameters, in order */
};

/*
 * filter_read(filter, request, now, error):
 * Read `where`, `since` and `until` of ${request}, at the time ${now}. Return 0 and fill ${filter},
 * to be cleared with filter_clear, or return -1 and fill ${error}.
 */
int filter_read(struct filter *filter, const json_t *request, int64_t now,
                struct reply_error *error);

/*
 * filter_where(filter, column, value):
 * Add the condition that ${column}, an SQL expression, equals the text ${value}.
 */
void filter_where(struct filter *filter, const char *column, const char *value);

/*
 * filter_bind(filter, statement, first):
 * Bind the values to the parameters of ${statement} from number ${first} on. They must stay as they
 * are while it is used. Return the number of the next parameter.
 */
int filter_bind(const struct filter *filter, sqlite3_stmt *statement, int first);

/*
 * filter_clear(filter):
 * Free what ${filter} holds.
 */
void filter_clear(struct filter *filter);

/*
 * filter_column(field):
 * Return the SQL expression for a ${field} as `where` names it, or NULL if there is no such field.
 */
const char *filter_column(const char *field);

/*
 * filter_fields():
 * Return a new array of the names of all fields.
 */
json_t *filter_fields(void);

#endif
