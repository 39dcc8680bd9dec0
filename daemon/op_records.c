#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "filter.h"
#include "memory.h"
#include "op_records.h"
#include "timestamp.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define GROUPS_DEFAULT 1000
#define GROUPS_BYTES (2 << 20) /* they are counted all at once, so their answer is made at once */
#define FIELDS_MAX 2
#define OTHERS_MAX 16
#define OTHERS_MS 1000

/* The state of any of these commands. */
struct lookup {
    struct filter filter;
    bool descending;
    int64_t row; /* behind which it goes on */
    int64_t limit;
    int64_t found;
    const char *field[FIELDS_MAX]; /* count: by what */
    json_t *keep;                  /* what the pointers point into */
    bool name;                     /* why: by name, not by pid */
    const char *subject;
    char incarnation[HELLO_INCARNATION + 1];
    int64_t seq;
};

static void lookup_end(void *state)
{
    struct lookup *lookup = state;

    filter_clear(&lookup->filter);
    json_decref(lookup->keep);
    free(lookup);
}

enum query_step op_records_failed(struct store_reader *reader, struct reply_error *error)
{
    sqlite3 *database = store_reader_database(reader);

    if (sqlite3_errcode(database) == SQLITE_INTERRUPT)
        reply_error_set(error, "timeout", NULL, "it took more than 5 seconds; ask for less");
    else
        reply_error_set(error, "internal", NULL, "%s", sqlite3_errmsg(database));
    return QUERY_FAILED;
}

static sqlite3_stmt *prepare(struct store_reader *reader, const char *before,
                             const struct filter *filter, const char *after)
{
    struct buffer sql = {0};
    sqlite3_stmt *statement = NULL;

    buffer_text(&sql, before);
    buffer_append(&sql, filter->sql.data, filter->sql.length);
    buffer_text(&sql, after);
    sqlite3_prepare_v2(store_reader_database(reader), sql.data, (int)sql.length, &statement, NULL);
    buffer_clear(&sql);
    return statement;
}

static int read_limit(const json_t *request, int64_t fallback, int64_t *limit,
                      struct reply_error *error)
{
    const json_t *value = json_object_get(request, "limit");

    *limit = fallback;
    if (value == NULL)
        return 0;
    *limit = json_integer_value(value);
    if (json_is_integer(value) && *limit >= 1 && *limit <= LIMIT_MAX)
        return 0;
    reply_error_set(error, "bad_request", "limit", "'limit' is an integer from 1 to %d", LIMIT_MAX);
    return -1;
}

/* A text that must be there, or may be. NULL with the error's code set if it is wrong. */
static const char *read_text(const json_t *request, const char *key, bool needed,
                             struct reply_error *error)
{
    const json_t *value = json_object_get(request, key);

    if (value == NULL && !needed)
        return NULL;
    if (json_is_string(value))
        return json_string_value(value);
    reply_error_set(error, "bad_request", key, "'%s' is a string", key);
    return NULL;
}

/* ---- query ---- */

static const char *const query_keys[] = {"where", "since",  "until", "order",
                                         "limit", "cursor", NULL};

static int read_order(struct lookup *lookup, const json_t *request, struct reply_error *error)
{
    const json_t *order = json_object_get(request, "order");
    const json_t *cursor = json_object_get(request, "cursor");
    const char *name = json_string_value(order);
    bool descending;

    lookup->descending = true;
    lookup->row = INT64_MAX;
    if (order != NULL) {
        if (name == NULL || (strcmp(name, "asc") != 0 && strcmp(name, "desc") != 0)) {
            reply_error_set(error, "bad_request", "order", "'order' is \"asc\" or \"desc\"");
            return -1;
        }
        lookup->descending = strcmp(name, "desc") == 0;
        lookup->row = lookup->descending ? INT64_MAX : 0;
    }
    if (cursor == NULL)
        return 0;
    if (!json_is_string(cursor) ||
        cursor_parse(json_string_value(cursor), &lookup->row, &descending) != 0) {
        reply_error_set(error, "bad_request", "cursor", "this is no cursor");
        return -1;
    }
    if (order != NULL && descending != lookup->descending) {
        reply_error_set(error, "bad_request", "cursor",
                        "the cursor is from a query of other order");
        return -1;
    }
    lookup->descending = descending;
    return 0;
}

static void *query_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));

    (void)cookie;
    if (filter_read(&lookup->filter, request, timestamp_now(), error) == 0 &&
        read_order(lookup, request, error) == 0 &&
        read_limit(request, LIMIT_DEFAULT, &lookup->limit, error) == 0)
        return lookup;
    lookup_end(lookup);
    return NULL;
}

static enum query_step query_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    enum query_step step = QUERY_DONE;
    char cursor[CURSOR_SIZE];
    sqlite3_stmt *statement;
    int result, next;

    statement = prepare(
        context->reader,
        lookup->descending ? "SELECT row, json FROM exits JOIN bodies USING(row) WHERE row < ?1"
                           : "SELECT row, json FROM exits JOIN bodies USING(row) WHERE row > ?1",
        &lookup->filter,
        lookup->descending ? " ORDER BY row DESC LIMIT ?" : " ORDER BY row LIMIT ?");
    if (statement == NULL)
        return op_records_failed(context->reader, context->error);
    sqlite3_bind_int64(statement, 1, lookup->row);
    next = filter_bind(&lookup->filter, statement, 2);
    /* One more than is wanted tells whether there is more. */
    sqlite3_bind_int64(statement, next, lookup->limit - lookup->found + 1);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (lookup->found == lookup->limit) {
            cursor_format(lookup->row, lookup->descending, cursor);
            reply_closing(context->reply, "next", json_string(cursor));
            result = SQLITE_DONE;
            break;
        }
        if (context->reply->out.length >= REPLY_BATCH_BYTES) {
            step = QUERY_MORE;
            result = SQLITE_DONE;
            break;
        }
        lookup->row = sqlite3_column_int64(statement, 0);
        reply_record(context->reply, (const char *)sqlite3_column_text(statement, 1),
                     (size_t)sqlite3_column_bytes(statement, 1), NULL);
        lookup->found++;
    }
    if (result != SQLITE_DONE)
        step = op_records_failed(context->reader, context->error);
    sqlite3_finalize(statement);
    return step;
}

static const struct query_op query_op = {
    .name = "query",
    .usage = "{\"id\":1,\"op\":\"query\",\"where\":{\"origin.source\":\"purge\"},\"since\":\"-1h\","
             "\"until\":\"now\",\"order\":\"desc\",\"limit\":100,\"cursor\":\"c1.d2a\"}",
    .summary = "the records that fit, newest first unless order is asc; next goes on from there",
    .keys = query_keys,
    .begin = query_begin,
    .step = query_step,
    .on_thread = true,
    .end = lookup_end,
};

/* ---- get ---- */

static const char *const get_keys[] = {"record", NULL};

static void *get_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    const char *id = read_text(request, "record", true, error);
    struct lookup *lookup;
    char digit[2];

    (void)cookie;
    if (id == NULL)
        return NULL;
    lookup = memory_zeroed(sizeof(*lookup));
    if (sscanf(id, "%16[0-9a-f]-%18" SCNd64 "%1s", lookup->incarnation, &lookup->seq, digit) == 2 &&
        strlen(lookup->incarnation) == HELLO_INCARNATION && lookup->seq > 0)
        return lookup;
    reply_error_set(error, "bad_request", "record",
                    "a record's id is 16 hex digits, '-' and a number, as "
                    "6a1f0c2be5d94c11-48213");
    lookup_end(lookup);
    return NULL;
}

static enum query_step get_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    enum query_step step = QUERY_DONE;
    sqlite3_stmt *statement =
        prepare(context->reader,
                "SELECT json FROM exits JOIN bodies USING(row) WHERE incarnation = ?1 AND seq = ?2",
                &lookup->filter, "");

    if (statement == NULL)
        return op_records_failed(context->reader, context->error);
    sqlite3_bind_text(statement, 1, lookup->incarnation, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, lookup->seq);
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        reply_record(context->reply, (const char *)sqlite3_column_text(statement, 0),
                     (size_t)sqlite3_column_bytes(statement, 0), NULL);
        break;
    case SQLITE_DONE:
        reply_error_set(context->error, "not_found", "record", "there is no record with this id");
        step = QUERY_FAILED;
        break;
    default:
        step = op_records_failed(context->reader, context->error);
    }
    sqlite3_finalize(statement);
    return step;
}

static const struct query_op get_op = {
    .name = "get",
    .usage = "{\"id\":1,\"op\":\"get\",\"record\":\"6a1f0c2be5d94c11-48213\"}",
    .summary = "the record with this id",
    .keys = get_keys,
    .begin = get_begin,
    .step = get_step,
    .on_thread = true,
    .end = lookup_end,
};

/* ---- why ---- */

static const char *const why_keys[] = {"pid", "name", "node", NULL};

static void *why_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));
    const char *pid, *name, *node;

    (void)cookie;
    pid = read_text(request, "pid", false, error);
    if (error->code != NULL)
        goto error;
    name = read_text(request, "name", false, error);
    if (error->code != NULL)
        goto error;
    node = read_text(request, "node", false, error);
    if (error->code != NULL)
        goto error;
    if ((pid == NULL) == (name == NULL)) {
        reply_error_set(error, "bad_request", pid == NULL ? "pid" : "name",
                        "'why' wants either a 'pid' or a 'name'");
        goto error;
    }
    lookup->name = name != NULL;
    lookup->keep = memory_check(json_string(name != NULL ? name : pid));
    lookup->subject = json_string_value(lookup->keep);
    if (node != NULL)
        filter_where(&lookup->filter, "node", node);
    return lookup;

error:
    lookup_end(lookup);
    return NULL;
}

/* The newest row that fits `condition`; 0 if there is none, -1 on error. */
static int64_t newest(struct store_reader *reader, const struct lookup *lookup,
                      const char *condition)
{
    sqlite3_stmt *statement =
        prepare(reader, condition, &lookup->filter, " ORDER BY row DESC LIMIT 1");
    int64_t row = -1;

    if (statement == NULL)
        return -1;
    sqlite3_bind_text(statement, 1, lookup->subject, -1, SQLITE_STATIC);
    filter_bind(&lookup->filter, statement, 2);
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        row = sqlite3_column_int64(statement, 0);
        break;
    case SQLITE_DONE:
        row = 0;
        break;
    }
    sqlite3_finalize(statement);
    return row;
}

static json_t *text_column(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return reply_text(text != NULL ? text : "", (size_t)sqlite3_column_bytes(statement, column));
}

/* Which other incarnations have it, the newest first. NULL on error. */
static json_t *others(struct store_reader *reader, const struct lookup *lookup,
                      const char *incarnation)
{
    sqlite3_stmt *statement =
        prepare(reader,
                lookup->name ? "SELECT node, incarnation, count(*), max(row), seq FROM exits"
                               " WHERE (name = ?1 OR initial_module = ?1) AND incarnation <> ?2"
                             : "SELECT node, incarnation, count(*), max(row), seq FROM exits"
                               " WHERE pid = ?1 AND incarnation <> ?2",
                &lookup->filter, " GROUP BY incarnation ORDER BY max(row) DESC LIMIT ?");
    json_t *list;
    int result, next;

    if (statement == NULL)
        return NULL;
    sqlite3_bind_text(statement, 1, lookup->subject, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, incarnation, -1, SQLITE_STATIC);
    next = filter_bind(&lookup->filter, statement, 3);
    sqlite3_bind_int(statement, next, OTHERS_MAX);
    list = memory_check(json_array());
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        /* SQLite takes `seq` from the row that has the max. */
        json_array_append_new(
            list, memory_check(json_pack("{so so sI so}", "node", text_column(statement, 0),
                                         "incarnation", text_column(statement, 1), "count",
                                         (json_int_t)sqlite3_column_int64(statement, 2), "record",
                                         json_sprintf("%s-%lld", sqlite3_column_text(statement, 1),
                                                      sqlite3_column_int64(statement, 4)))));
    }
    sqlite3_finalize(statement);
    if (result != SQLITE_DONE) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static enum query_step why_answer(const struct lookup *lookup, struct query_context *context,
                                  int64_t row)
{
    static const struct filter everything;
    enum query_step step = QUERY_DONE;
    sqlite3_stmt *statement =
        prepare(context->reader,
                "SELECT json, incarnation FROM exits JOIN bodies USING(row) WHERE row = ?1",
                &everything, "");
    json_t *list;

    if (statement == NULL)
        return op_records_failed(context->reader, context->error);
    sqlite3_bind_int64(statement, 1, row);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        reply_record(context->reply, (const char *)sqlite3_column_text(statement, 0),
                     (size_t)sqlite3_column_bytes(statement, 0), NULL);
        /* Where millions have this name, counting them takes long: the answer is worth more. */
        store_reader_deadline(context->reader, OTHERS_MS);
        list = others(context->reader, lookup, (const char *)sqlite3_column_text(statement, 1));
        if (list != NULL)
            reply_closing(context->reply, "others", list);
    } else {
        step = op_records_failed(context->reader, context->error);
    }
    sqlite3_finalize(statement);
    return step;
}

static enum query_step why_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    int64_t row;

    row = newest(context->reader, lookup,
                 lookup->name ? "SELECT row FROM exits WHERE name = ?1"
                              : "SELECT row FROM exits WHERE pid = ?1");
    if (row >= 0 && lookup->name) {
        int64_t by_module =
            newest(context->reader, lookup, "SELECT row FROM exits WHERE initial_module = ?1");

        if (by_module < 0 || by_module > row)
            row = by_module;
    }
    if (row < 0)
        return op_records_failed(context->reader, context->error);
    if (row == 0) {
        reply_error_set(context->error, "not_found", lookup->name ? "name" : "pid",
                        "no exit of %.128s is recorded", lookup->subject);
        return QUERY_FAILED;
    }
    return why_answer(lookup, context, row);
}

static const struct query_op why_op = {
    .name = "why",
    .usage = "{\"id\":1,\"op\":\"why\",\"pid\":\"<0.31760.980>\",\"node\":\"proxy@db3\"}",
    .summary =
        "the newest exit of this pid, or of this name (registered, or the module of the initial "
        "call); others lists the other incarnations that have it, if that can be told in a second",
    .keys = why_keys,
    .begin = why_begin,
    .step = why_step,
    .on_thread = true,
    .end = lookup_end,
};

/* ---- count ---- */

static const char *const count_keys[] = {"by", "where", "since", "until", "limit", NULL};

static int read_by(struct lookup *lookup, const json_t *request, struct reply_error *error)
{
    const json_t *by = json_object_get(request, "by");
    size_t index;
    json_t *field;

    if (by == NULL)
        return 0;
    if (!json_is_array(by) || json_array_size(by) > FIELDS_MAX) {
        reply_error_set(error, "bad_request", "by", "'by' is a list of at most %d fields",
                        FIELDS_MAX);
        return -1;
    }
    lookup->keep = memory_check(json_deep_copy(by));
    json_array_foreach(lookup->keep, index, field)
    {
        if (!json_is_string(field) || filter_column(json_string_value(field)) == NULL) {
            reply_error_set(error, "bad_request", "by",
                            "there is no field '%.64s'; 'help' lists the fields",
                            json_is_string(field) ? json_string_value(field) : "");
            return -1;
        }
        lookup->field[index] = json_string_value(field);
    }
    return 0;
}

static void *count_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));

    (void)cookie;
    if (filter_read(&lookup->filter, request, timestamp_now(), error) == 0 &&
        read_by(lookup, request, error) == 0 &&
        read_limit(request, GROUPS_DEFAULT, &lookup->limit, error) == 0)
        return lookup;
    lookup_end(lookup);
    return NULL;
}

static json_t *group_value(sqlite3_stmt *statement, int column)
{
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        return json_null();
    case SQLITE_INTEGER:
        return memory_check(json_integer(sqlite3_column_int64(statement, column)));
    default:
        return text_column(statement, column);
    }
}

static enum query_step count_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    enum query_step step = QUERY_DONE;
    struct buffer select = {0};
    sqlite3_stmt *statement;
    int result, next;

    buffer_text(&select, "SELECT count(*)");
    for (int i = 0; i < FIELDS_MAX && lookup->field[i] != NULL; i++) {
        buffer_text(&select, ", ");
        buffer_text(&select, filter_column(lookup->field[i]));
    }
    buffer_text(&select, " FROM exits WHERE 1");
    buffer_append(&select, "", 1);
    statement = prepare(context->reader, select.data, &lookup->filter,
                        lookup->field[1] != NULL   ? " GROUP BY 2, 3 ORDER BY 1 DESC, 2, 3 LIMIT ?"
                        : lookup->field[0] != NULL ? " GROUP BY 2 ORDER BY 1 DESC, 2 LIMIT ?"
                                                   : " LIMIT ?");
    buffer_clear(&select);
    if (statement == NULL)
        return op_records_failed(context->reader, context->error);
    next = filter_bind(&lookup->filter, statement, 1);
    sqlite3_bind_int64(statement, next, lookup->limit + 1);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        json_t *group;

        if (lookup->found++ == lookup->limit || context->reply->out.length >= GROUPS_BYTES) {
            reply_closing(context->reply, "truncated", json_true());
            result = SQLITE_DONE;
            break;
        }
        group = memory_check(json_object());
        for (int i = 0; i < FIELDS_MAX && lookup->field[i] != NULL; i++)
            json_object_set_new(group, lookup->field[i], group_value(statement, i + 1));
        reply_object(context->reply,
                     memory_check(json_pack("{so sI}", "group", group, "count",
                                            (json_int_t)sqlite3_column_int64(statement, 0))));
    }
    if (result != SQLITE_DONE)
        step = op_records_failed(context->reader, context->error);
    sqlite3_finalize(statement);
    return step;
}

static const struct query_op count_op = {
    .name = "count",
    .usage = "{\"id\":1,\"op\":\"count\",\"by\":[\"origin.source\",\"node\"],\"since\":\"-24h\"}",
    .summary = "how many records fit, by the values of up to two fields, the most first",
    .keys = count_keys,
    .begin = count_begin,
    .step = count_step,
    .on_thread = true,
    .end = lookup_end,
};

void op_records_register(struct query *query)
{
    query_register(query, &query_op);
    query_register(query, &get_op);
    query_register(query, &why_op);
    query_register(query, &count_op);
}
