/*
 * Which records are asked for: `where`, `since` and `until` of a request, checked and made into
 * conditions of SQL. No database here.
 */
#ifndef CORONER_FILTER_H
#define CORONER_FILTER_H

#include <jansson.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "filter_fields.h"
#include "reply.h"

#define FILTER_CONDITIONS_MAX 64 /* in one request */
#define FILTER_VALUES_MAX 256

enum filter_kind {
    FILTER_EQUAL, /* one of the values */
    FILTER_NOT_EQUAL,
    FILTER_NULL,
    FILTER_NOT_NULL,
    FILTER_LESS, /* the four of a range have one value each */
    FILTER_AT_MOST,
    FILTER_GREATER,
    FILTER_AT_LEAST,
    FILTER_PREFIX /* two values: the first text, and what is behind the last */
};

/* A value to be bound. */
struct filter_value {
    char *text; /* NULL: it is a number; owned by the filter */
    int64_t number;
};

struct filter_condition {
    const struct filter_field *field;
    enum filter_kind kind;
    size_t first; /* of its values */
    size_t count;
};

/* All zero, with the times set by filter_init, lets everything through. */
struct filter {
    struct filter_condition conditions[FILTER_CONDITIONS_MAX];
    size_t condition_count;
    struct filter_value *values;
    size_t value_count;
    int64_t since; /* nanoseconds; INT64_MIN: from the beginning */
    int64_t until; /* INT64_MAX: to the end */
};

/* Which conditions an index shall serve: those on `field`; of one that is a list, value `value`
 * alone unless that is FILTER_ALL_VALUES. */
#define FILTER_ALL_VALUES SIZE_MAX
struct filter_drive {
    const struct filter_field *field; /* NULL: no index */
    size_t value;
};

/*
 * filter_init(filter):
 * Let everything through.
 */
void filter_init(struct filter *filter);

/*
 * filter_read(filter, request, now, error):
 * Read `where`, `since` and `until` of ${request}, at the time ${now}. Return 0 and fill ${filter},
 * to be cleared with filter_clear, or return -1 and fill ${error}.
 */
int filter_read(struct filter *filter, const json_t *request, int64_t now,
                struct reply_error *error);

/*
 * filter_add(filter, field, kind, value):
 * Add the condition that the ${field} of that name equals (or does not equal) the text ${value}.
 */
void filter_add(struct filter *filter, const char *field, enum filter_kind kind, const char *value);

/*
 * filter_sql(filter, drive, sql):
 * Append to ${sql} the conditions on rows of `exits`, each beginning with " AND ". Only those of
 * ${drive} are written so that SQLite can use an index for them.
 */
void filter_sql(const struct filter *filter, struct filter_drive drive, struct buffer *sql);

/*
 * filter_bind(filter, drive, statement, first):
 * Bind the values to the parameters of ${statement} from number ${first} on, which filter_sql wrote
 * for the same ${drive}. They must stay as they are while it is used. Return the number of the next
 * parameter.
 */
int filter_bind(const struct filter *filter, struct filter_drive drive, sqlite3_stmt *statement,
                int first);

/*
 * filter_clear(filter):
 * Free what ${filter} holds; it lets everything through then.
 */
void filter_clear(struct filter *filter);

/*
 * filter_field_sql(field, guarded, sql):
 * Append the SQL expression for the one value of ${field} to ${sql}. ${guarded}: so that SQLite
 * uses no index for it. Of a field with `element` it is the list's JSON text.
 */
void filter_field_sql(const struct filter_field *field, bool guarded, struct buffer *sql);

/*
 * filter_field_value(field, statement, column):
 * Return a new JSON value for what ${statement} has in ${column}, an expression of
 * filter_field_sql.
 */
json_t *filter_field_value(const struct filter_field *field, sqlite3_stmt *statement, int column);

/*
 * filter_fields(lists):
 * Return a new array of the names of all fields with one value; or, if ${lists}, of those that are
 * many: `where` looks whether one of them fits, `count` does not know them.
 */
json_t *filter_fields(bool lists);

/*
 * filter_closed():
 * Return a new object of the fields whose values are a closed list, each with that list.
 */
json_t *filter_closed(void);

#endif
