/*
 * The lines of an answer.
 */
#ifndef CORONER_REPLY_H
#define CORONER_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define REPLY_BATCH_BYTES (64 * 1024) /* what one turn puts out, give or take a line */
#define REPLY_MESSAGE_SIZE 512        /* of an error, with its NUL */

struct reply {
    struct buffer out;
    struct buffer head; /* `{"id":…` of this answer's lines */
    bool bare;
    uint64_t count;  /* lines so far that count */
    json_t *closing; /* more for the last line: NULL or an object */
};

struct reply_error {
    const char *code;
    char message[REPLY_MESSAGE_SIZE];
    char field[64]; /* empty: none */
};

/*
 * reply_init(reply, id, bare):
 * Prepare ${reply} for an answer to the request ${id} (NULL: null).
 */
void reply_init(struct reply *reply, const json_t *id, bool bare);

/*
 * reply_clear(reply):
 * Free what ${reply} holds.
 */
void reply_clear(struct reply *reply);

/*
 * reply_record(reply, json, length, cursor, cascade):
 * Add the line of a record, whose JSON is put in as it is, with a ${cursor} and what is known of
 * its
 * ${cascade} beside it; either may be NULL. The reference to ${cascade} is taken. Counts.
 */
void reply_record(struct reply *reply, const char *json, size_t length, const char *cursor,
                  json_t *cascade);

/*
 * reply_object(reply, object):
 * Add a line with the members of ${object}, whose reference is taken. Counts.
 */
void reply_object(struct reply *reply, json_t *object);

/*
 * reply_notice(reply, object):
 * Add a line with the members of ${object}, whose reference is taken, unless only records are
 * wanted.
 */
void reply_notice(struct reply *reply, json_t *object);

/*
 * reply_closing(reply, key, value):
 * Let the last line have this member, too. The reference to ${value} is taken.
 */
void reply_closing(struct reply *reply, const char *key, json_t *value);

/*
 * reply_text(text, length):
 * Return a new JSON string of ${text}, what is no UTF-8 in it (it may have been cut) replaced.
 */
json_t *reply_text(const char *text, size_t length);

/*
 * reply_integer(number):
 * Return a new JSON value of ${number}: from 2^53 on a string, which every reader gets right.
 */
json_t *reply_integer(int64_t number);

/*
 * reply_done(reply), reply_failed(reply, error):
 * Add the last line.
 */
void reply_done(struct reply *reply);
void reply_failed(struct reply *reply, const struct reply_error *error);

/*
 * reply_error_set(error, code, field, format, ...):
 * Fill ${error}. ${code} is static; ${field} may be NULL.
 */
void reply_error_set(struct reply_error *error, const char *code, const char *field,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
