#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "memory.h"
#include "op_count.h"
#include "op_records.h"
#include "op_tree.h"
#include "scan.h"
#include "timestamp.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define OTHERS_MAX 16
#define OTHERS_ROWS_MAX 256 /* of the exits that have it; each costs a few microseconds */
#define OTHERS_MS 90        /* less than a turn may take before it has to go to the back */

/* The state of any of these commands. */
struct lookup {
    struct filter filter;
    bool descending;
    bool has_cursor;
    bool with_cascade;
    int64_t row; /* behind which it goes on */
    int64_t limit;
    int64_t found;
    struct records_subject subject;
};

static void lookup_end(void *state)
{
    struct lookup *lookup = state;

    filter_clear(&lookup->filter);
    records_subject_clear(&lookup->subject);
    free(lookup);
}

int records_limit(const json_t *request, const char *key, int64_t least, int64_t most,
                  int64_t *limit, struct reply_error *error)
{
    const json_t *value = json_object_get(request, key);

    if (value == NULL)
        return 0;
    if (json_is_integer(value) && json_integer_value(value) >= least &&
        json_integer_value(value) <= most) {
        *limit = json_integer_value(value);
        return 0;
    }
    reply_error_set(error, "bad_request", key, "'%s' is an integer from %" PRId64 " to %" PRId64,
                    key, least, most);
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

/* ---- the record that is asked for ---- */

int records_subject_read(struct records_subject *subject, const json_t *request, bool with_record,
                         struct reply_error *error)
{
    static const char *const keys[] = {"record", "pid", "name"};
    const char *node, *last = NULL;
    int given = 0;
    char digit[2];

    for (size_t i = with_record ? 0 : 1; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *text = read_text(request, keys[i], false, error);

        if (error->code != NULL)
            return -1;
        if (text == NULL)
            continue;
        given++;
        last = keys[i];
        free(subject->text);
        subject->text = memory_string(text);
        subject->key = keys[i];
    }
    node = read_text(request, "node", false, error);
    if (error->code != NULL)
        return -1;
    if (given != 1) {
        reply_error_set(error, "bad_request", given == 0 ? with_record ? "record" : "pid" : last,
                        with_record ? "it wants one of 'record', 'pid' and 'name'"
                                    : "it wants either a 'pid' or a 'name'");
        return -1;
    }
    subject->node = node != NULL ? memory_string(node) : NULL;
    if (strcmp(subject->key, "record") != 0)
        return 0;
    if (sscanf(subject->text, "%16[0-9a-f]-%18" SCNd64 "%1s", subject->incarnation, &subject->seq,
               digit) == 2 &&
        strlen(subject->incarnation) == HELLO_INCARNATION && subject->seq > 0)
        return 0;
    reply_error_set(error, "bad_request", "record",
                    "a record's id is 16 hex digits, '-' and a number, as "
                    "6a1f0c2be5d94c11-48213");
    return -1;
}

void records_subject_clear(struct records_subject *subject)
{
    free(subject->text);
    free(subject->node);
    *subject = (struct records_subject){0};
}

/* The newest row of which `field` is the subject; 0 if there is none, -1 with the error filled. */
static int64_t newest(struct store_reader *reader, const struct records_subject *subject,
                      const char *field, struct reply_error *error)
{
    struct filter filter;
    struct scan_question question = {
        .filter = &filter, .columns = "1", .order = SCAN_DESCENDING, .first = 1, .last = INT64_MAX};
    struct scan *scan;
    int64_t row = 0;
    int found;

    filter_init(&filter);
    filter_add(&filter, field, FILTER_EQUAL, subject->text);
    if (subject->node != NULL)
        filter_add(&filter, "node.name", FILTER_EQUAL, subject->node);
    scan = scan_begin(reader, &question);
    found = scan_next(scan);
    if (found > 0)
        row = scan_row(scan);
    if (found < 0) {
        scan_failed(scan, error);
        row = -1;
    }
    scan_end(scan);
    filter_clear(&filter);
    return row;
}

int64_t records_find(struct store_reader *reader, const struct records_subject *subject,
                     struct reply_error *error)
{
    char why[STORE_WHY_SIZE];
    int64_t row, other;

    if (strcmp(subject->key, "record") == 0) {
        row = store_reader_find(reader, subject->incarnation, (uint64_t)subject->seq, why);
        if (row < 0)
            scan_error(why, error);
        else if (row == 0)
            reply_error_set(error, "not_found", "record", "there is no record with this id");
        return row > 0 ? row : -1;
    }
    if (strcmp(subject->key, "pid") == 0) {
        row = newest(reader, subject, "process.pid", error);
    } else {
        row = newest(reader, subject, "process.name", error);
        other = row >= 0 ? newest(reader, subject, "process.initial_module", error) : -1;
        if (other < 0 || other > row)
            row = other;
    }
    if (row == 0)
        reply_error_set(error, "not_found", subject->key, "no exit of %.128s is recorded",
                        subject->text);
    return row > 0 ? row : -1;
}

struct scan *records_open(struct store_reader *reader, int64_t row, const char *columns,
                          struct reply_error *error)
{
    static struct filter everything = {.since = INT64_MIN, .until = INT64_MAX};
    struct scan_question question = {.filter = &everything,
                                     .columns = columns,
                                     .order = SCAN_ASCENDING,
                                     .first = row,
                                     .last = row};
    struct scan *scan = scan_begin(reader, &question);

    switch (scan_next(scan)) {
    case 1:
        return scan;
    case 0:
        reply_error_set(error, "not_found", NULL, "the record is not kept any more");
        break;
    default:
        scan_failed(scan, error);
    }
    scan_end(scan);
    return NULL;
}

/* ---- what died of it ---- */

int records_cascade(struct store_reader *reader, const char *id, int64_t row, json_t **cascade,
                    struct reply_error *error)
{
    struct filter filter;
    /* Who died of it comes after it. */
    struct scan_question question = {.filter = &filter,
                                     .columns = "count(*), min(time_ns), max(time_ns)",
                                     .order = SCAN_ANY,
                                     .first = row + 1,
                                     .last = INT64_MAX};
    int64_t count = 0, first = INT64_MAX, last = 0;
    char first_text[TIMESTAMP_SIZE], last_text[TIMESTAMP_SIZE];
    struct scan *scan;
    int found;

    *cascade = NULL;
    filter_init(&filter);
    filter_add(&filter, "origin.id", FILTER_EQUAL, id);
    scan = scan_begin(reader, &question);
    while ((found = scan_next(scan)) > 0) {
        sqlite3_stmt *statement = scan_statement(scan);

        if (sqlite3_column_int64(statement, 0) == 0)
            continue;
        count += sqlite3_column_int64(statement, 0);
        if (sqlite3_column_int64(statement, 1) < first)
            first = sqlite3_column_int64(statement, 1);
        if (sqlite3_column_int64(statement, 2) > last)
            last = sqlite3_column_int64(statement, 2);
    }
    if (found < 0)
        scan_failed(scan, error);
    scan_end(scan);
    filter_clear(&filter);
    if (found == 0 && count > 0) {
        timestamp_format(first, first_text);
        timestamp_format(last, last_text);
        *cascade = memory_check(json_pack("{so ss ss}", "count", reply_integer(count), "first",
                                          first_text, "last", last_text));
    }
    return found;
}

#define RECORD_COLUMNS_OF_ID "incarnation || '-' || seq, coalesce(origin_id, '')"

/* A record that was met on a walk, kept beyond it. */
struct met {
    struct buffer line;
    char id[64];
    bool is_origin; /* nobody else's exit was its cause */
    int64_t row;
};

/* Keep the record that the walk is at, whose columns are RECORD_COLUMNS_OF_ID. */
static int meet(struct scan *scan, struct met *met, struct reply_error *error)
{
    const char *id = (const char *)sqlite3_column_text(scan_statement(scan), 0);
    const char *origin = (const char *)sqlite3_column_text(scan_statement(scan), 1);
    const char *line;
    size_t length;

    snprintf(met->id, sizeof(met->id), "%s", id != NULL ? id : "");
    met->is_origin = origin == NULL || origin[0] == '\0' || strcmp(met->id, origin) == 0;
    met->row = scan_row(scan);
    met->line.length = 0;
    line = scan_line(scan, &length);
    if (line == NULL) {
        scan_failed(scan, error);
        return -1;
    }
    buffer_append(&met->line, line, length);
    return 0;
}

/* Tell it, the origin of a cascade with how many died of it. No walk goes on meanwhile. */
static int tell_with_cascade(const struct met *met, struct store_reader *reader,
                             struct reply *reply, struct reply_error *error)
{
    json_t *cascade = NULL;

    if (met->is_origin && !reply->bare &&
        records_cascade(reader, met->id, met->row, &cascade, error) != 0)
        return -1;
    reply_record(reply, met->line.data, met->line.length, NULL, cascade);
    return 0;
}

/* Tell the record in ${row} with its cascade, and write its incarnation, if that is wanted. */
static int tell_one(struct query_context *context, int64_t row, char *incarnation)
{
    struct scan *scan = records_open(context->reader, row, RECORD_COLUMNS_OF_ID, context->error);
    struct met met = {0};
    int result;

    if (scan == NULL)
        return -1;
    result = meet(scan, &met, context->error);
    scan_end(scan);
    if (result == 0)
        result = tell_with_cascade(&met, context->reader, context->reply, context->error);
    if (incarnation != NULL) {
        memcpy(incarnation, met.id, HELLO_INCARNATION);
        incarnation[HELLO_INCARNATION] = '\0';
    }
    buffer_clear(&met.line);
    return result;
}

/* ---- query ---- */

static const char *const query_keys[] = {"where", "since",  "until",   "order",
                                         "limit", "cursor", "cascade", NULL};

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
    lookup->has_cursor = true;
    return 0;
}

static int read_cascade(struct lookup *lookup, const json_t *request, struct reply_error *error)
{
    const json_t *value = json_object_get(request, "cascade");

    lookup->with_cascade = json_is_true(value);
    if (value == NULL || json_is_boolean(value))
        return 0;
    reply_error_set(error, "bad_request", "cascade", "'cascade' is true or false");
    return -1;
}

static void *query_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));

    (void)cookie;
    lookup->limit = LIMIT_DEFAULT;
    if (filter_read(&lookup->filter, request, timestamp_now(), error) == 0 &&
        read_order(lookup, request, error) == 0 && read_cascade(lookup, request, error) == 0 &&
        records_limit(request, "limit", 1, LIMIT_MAX, &lookup->limit, error) == 0)
        return lookup;
    lookup_end(lookup);
    return NULL;
}

int records_check_cursor(struct query_context *context, const char *key, int64_t row,
                         bool descending, int64_t *gone)
{
    int64_t oldest = scan_oldest(context->reader);

    *gone = 0;
    if (row > context->head) {
        reply_error_set(context->error, "bad_request", key,
                        "the cursor is beyond the newest record: it is not of this store");
        return -1;
    }
    if (oldest > context->head)
        oldest = context->head + 1;
    /* What the reading would have come to: upwards the next rows, downwards all that were below. */
    if (descending && row <= oldest)
        *gone = row - 1;
    else if (!descending && row + 1 < oldest)
        *gone = oldest - row - 1;
    return 0;
}

static int check_cursor(struct lookup *lookup, struct query_context *context)
{
    int64_t gone;

    if (!lookup->has_cursor)
        return 0;
    if (records_check_cursor(context, "cursor", lookup->row, lookup->descending, &gone) != 0)
        return -1;
    lookup->has_cursor = false;
    if (gone > 0)
        reply_closing(context->reply, "gone", reply_integer(gone));
    return 0;
}

/* A walk that goes on behind the last row that was told. */
static struct scan *walk_on(const struct lookup *lookup, struct store_reader *reader)
{
    struct scan_question question = {.filter = &lookup->filter,
                                     .columns = RECORD_COLUMNS_OF_ID,
                                     .order = lookup->descending ? SCAN_DESCENDING : SCAN_ASCENDING,
                                     .first = 1,
                                     .last = INT64_MAX};

    if (!lookup->descending)
        question.first = lookup->row + 1;
    else if (lookup->row < INT64_MAX)
        question.last = lookup->row - 1;
    return scan_begin(reader, &question);
}

/* Tell the row that the walk is at. *${scan} is ended, and begun anew, where it is in the way. */
static int tell_found(struct lookup *lookup, struct query_context *context, struct scan **scan,
                      struct met *met)
{
    if (meet(*scan, met, context->error) != 0)
        return -1;
    if (!lookup->with_cascade || !met->is_origin || context->reply->bare) {
        reply_record(context->reply, met->line.data, met->line.length, NULL, NULL);
    } else {
        scan_end(*scan);
        *scan = NULL;
        if (tell_with_cascade(met, context->reader, context->reply, context->error) != 0)
            return -1;
    }
    lookup->row = met->row;
    lookup->found++;
    if (*scan == NULL)
        *scan = walk_on(lookup, context->reader);
    return 0;
}

static enum query_step query_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    enum query_step step = QUERY_DONE;
    char cursor[CURSOR_SIZE];
    struct met met = {0};
    struct scan *scan;
    int found;

    if (check_cursor(lookup, context) != 0)
        return QUERY_FAILED;
    scan = walk_on(lookup, context->reader);
    while ((found = scan_next(scan)) > 0) {
        if (lookup->found == lookup->limit) {
            cursor_format(lookup->row, lookup->descending, cursor);
            reply_closing(context->reply, "next", json_string(cursor));
            break;
        }
        if (context->reply->out.length >= REPLY_BATCH_BYTES) {
            step = QUERY_MORE;
            break;
        }
        if (tell_found(lookup, context, &scan, &met) != 0) {
            step = QUERY_FAILED;
            break;
        }
    }
    if (found < 0) {
        scan_failed(scan, context->error);
        step = QUERY_FAILED;
    }
    scan_end(scan);
    buffer_clear(&met.line);
    return step;
}

static const struct query_op query_op = {
    .name = "query",
    .usage = "{\"id\":1,\"op\":\"query\",\"where\":{\"origin.source\":[\"purge\",\"kill\"],"
             "\"process.initial_call\":{\"prefix\":\"ump_\"}},\"since\":\"-1h\","
             "\"until\":\"now\",\"order\":\"desc\",\"limit\":100,\"cascade\":true}",
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
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));

    (void)cookie;
    filter_init(&lookup->filter);
    if (read_text(request, "record", true, error) != NULL &&
        records_subject_read(&lookup->subject, request, true, error) == 0)
        return lookup;
    lookup_end(lookup);
    return NULL;
}

static enum query_step get_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    int64_t row = records_find(context->reader, &lookup->subject, context->error);

    return row > 0 && tell_one(context, row, NULL) == 0 ? QUERY_DONE : QUERY_FAILED;
}

static const struct query_op get_op = {
    .name = "get",
    .usage = "{\"id\":1,\"op\":\"get\",\"record\":\"6a1f0c2be5d94c11-48213\"}",
    .summary = "the record with this id",
    .keys = get_keys,
    .begin = get_begin,
    .step = get_step,
    .on_thread = true,
    .quick = true,
    .end = lookup_end,
};

/* ---- why ---- */

static const char *const why_keys[] = {"pid", "name", "node", NULL};

static void *why_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct lookup *lookup = memory_zeroed(sizeof(*lookup));

    (void)cookie;
    filter_init(&lookup->filter);
    if (records_subject_read(&lookup->subject, request, false, error) == 0)
        return lookup;
    lookup_end(lookup);
    return NULL;
}

/* Another incarnation that has it. */
struct other {
    char incarnation[HELLO_INCARNATION + 1];
    char *node;
    int64_t count, row, seq;
};

struct others {
    struct other list[OTHERS_ROWS_MAX];
    size_t count;
    size_t looked_at; /* rows */
};

/* Rows come newest first, so the first one of an incarnation is its newest. */
static void note_other(struct others *others, const char *incarnation, const char *node,
                       int64_t row, int64_t seq)
{
    struct other *other = NULL;

    for (size_t i = 0; i < others->count && other == NULL; i++) {
        if (strcmp(others->list[i].incarnation, incarnation) == 0)
            other = &others->list[i];
    }
    if (other == NULL) {
        other = &others->list[others->count++];
        snprintf(other->incarnation, sizeof(other->incarnation), "%s", incarnation);
    }
    other->count++;
    if (row > other->row) {
        free(other->node);
        other->node = memory_string(node);
        other->row = row;
        other->seq = seq;
    }
}

/*
 * Collect the incarnations of which `field` is the subject. Unless `unless` is, too: then they are
 * noted already. Return 0, 1 if there are too many rows to look at, -1 on error.
 */
static int note_others(struct store_reader *reader, const struct records_subject *subject,
                       const char *incarnation, const char *field, bool unless_named,
                       struct others *others)
{
    struct filter filter;
    struct scan_question question = {.filter = &filter,
                                     .columns = "incarnation, node, seq, name",
                                     .order = SCAN_DESCENDING,
                                     .first = 1,
                                     .last = INT64_MAX};
    struct scan *scan;
    int found;

    filter_init(&filter);
    filter_add(&filter, field, FILTER_EQUAL, subject->text);
    scan = scan_begin(reader, &question);
    while ((found = scan_next(scan)) > 0 && others->looked_at++ < OTHERS_ROWS_MAX) {
        sqlite3_stmt *statement = scan_statement(scan);
        const char *one = (const char *)sqlite3_column_text(statement, 0);
        const char *node = (const char *)sqlite3_column_text(statement, 1);
        const char *name = (const char *)sqlite3_column_text(statement, 3);

        if (one == NULL || node == NULL || strcmp(one, incarnation) == 0 ||
            (subject->node != NULL && strcmp(node, subject->node) != 0) ||
            (unless_named && name != NULL && strcmp(name, subject->text) == 0))
            continue;
        note_other(others, one, node, scan_row(scan), sqlite3_column_int64(statement, 2));
    }
    scan_end(scan);
    filter_clear(&filter);
    return found;
}

static int newest_first(const void *a, const void *b)
{
    int64_t first = ((const struct other *)a)->row, second = ((const struct other *)b)->row;

    return first > second ? -1 : first < second;
}

/* Which other incarnations have it, the newest first. NULL if too many exits are to be looked at.
 */
static json_t *list_others(struct store_reader *reader, const struct records_subject *subject,
                           const char *incarnation)
{
    struct others *others = memory_zeroed(sizeof(*others));
    json_t *list = NULL;
    int result;

    if (strcmp(subject->key, "pid") == 0)
        result = note_others(reader, subject, incarnation, "process.pid", false, others);
    else if ((result = note_others(reader, subject, incarnation, "process.name", false, others)) ==
             0)
        result = note_others(reader, subject, incarnation, "process.initial_module", true, others);
    if (result == 0) {
        list = memory_check(json_array());
        qsort(others->list, others->count, sizeof(others->list[0]), newest_first);
        for (size_t i = 0; i < others->count && i < OTHERS_MAX; i++) {
            const struct other *other = &others->list[i];

            json_array_append_new(
                list, memory_check(json_pack(
                          "{so ss so so}", "node", reply_text(other->node, strlen(other->node)),
                          "incarnation", other->incarnation, "count", reply_integer(other->count),
                          "record", json_sprintf("%s-%" PRId64, other->incarnation, other->seq))));
        }
    }
    for (size_t i = 0; i < others->count; i++)
        free(others->list[i].node);
    free(others);
    return list;
}

static enum query_step why_step(void *state, struct query_context *context)
{
    struct lookup *lookup = state;
    int64_t row = records_find(context->reader, &lookup->subject, context->error);
    char incarnation[HELLO_INCARNATION + 1];
    json_t *list;

    if (row < 0 || tell_one(context, row, incarnation) != 0)
        return QUERY_FAILED;
    /* The answer is worth more. */
    store_reader_deadline(context->reader, OTHERS_MS);
    list = list_others(context->reader, &lookup->subject, incarnation);
    if (list != NULL)
        reply_closing(context->reply, "others", list);
    return QUERY_DONE;
}

static const struct query_op why_op = {
    .name = "why",
    .usage = "{\"id\":1,\"op\":\"why\",\"pid\":\"<0.31760.980>\",\"node\":\"proxy@db3\"}",
    .summary =
        "the newest exit of this pid, or of this name (registered, or the module of the initial "
        "call); cascade tells how many died of it; others lists the other incarnations that have "
        "it, if at most 256 exits have it",
    .keys = why_keys,
    .begin = why_begin,
    .step = why_step,
    .on_thread = true,
    .quick = true,
    .end = lookup_end,
};

void op_records_register(struct query *query)
{
    query_register(query, &query_op);
    query_register(query, &get_op);
    query_register(query, &why_op);
    op_count_register(query);
    op_tree_register(query);
}
