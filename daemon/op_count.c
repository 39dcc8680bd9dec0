#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "memory.h"
#include "op_count.h"
#include "op_records.h"
#include "timestamp.h"

#define FIELDS_MAX 2
#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 10000
#define ANSWER_BYTES (2 << 20) /* they are counted all at once, so their answer is made at once */
#define GROUPS_MAX 100000
#define GROUPS_BYTES (8 << 20)
#define BUCKET_SECONDS_MAX (366 * 24 * 60 * 60)

struct count {
    struct filter filter;
    const struct filter_field *field[FIELDS_MAX];
    size_t field_count;
    int64_t bucket; /* nanoseconds; 0: not by time */
    int64_t limit;
};

static void count_end(void *state)
{
    struct count *count = state;

    filter_clear(&count->filter);
    free(count);
}

/* ---- the request ---- */

static int read_by(struct count *count, const json_t *request, struct reply_error *error)
{
    const json_t *by = json_object_get(request, "by");
    size_t index;
    json_t *name;

    if (by == NULL)
        return 0;
    if (!json_is_array(by) || json_array_size(by) > FIELDS_MAX) {
        reply_error_set(error, "bad_request", "by", "'by' is a list of at most %d fields",
                        FIELDS_MAX);
        return -1;
    }
    json_array_foreach((json_t *)(uintptr_t)by, index, name)
    {
        const char *text = json_is_string(name) ? json_string_value(name) : "";
        const struct filter_field *field = filter_field(text);

        if (field == NULL) {
            reply_error_set(error, "bad_request", "by",
                            "there is no field '%.64s'; 'help' lists the fields", text);
            return -1;
        }
        if (field->element != NULL) {
            reply_error_set(error, "bad_request", "by",
                            "'%s' is many values; it cannot be counted by", text);
            return -1;
        }
        count->field[count->field_count++] = field;
    }
    return 0;
}

/* "30s", "1m", "1h", "1d". */
static int read_bucket(struct count *count, const json_t *request, struct reply_error *error)
{
    const json_t *value = json_object_get(request, "bucket");
    const char *text = json_string_value(value);
    size_t digits = text != NULL ? strspn(text, "0123456789") : 0;
    int64_t number = 0, unit = 0;

    if (value == NULL)
        return 0;
    if (digits >= 1 && digits <= 9 && text[0] != '0' && strlen(text) == digits + 1) {
        number = strtoll(text, NULL, 10);
        unit = text[digits] == 's'   ? 1
               : text[digits] == 'm' ? 60
               : text[digits] == 'h' ? 60 * 60
               : text[digits] == 'd' ? 24 * 60 * 60
                                     : 0;
    }
    if (unit == 0 || number > BUCKET_SECONDS_MAX / unit) {
        reply_error_set(error, "bad_request", "bucket",
                        "'bucket' is a span up to a year, as \"30s\", \"1m\", \"1h\" or \"1d\"");
        return -1;
    }
    count->bucket = number * unit * 1000000000;
    return 0;
}

static void *count_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct count *count = memory_zeroed(sizeof(*count));

    (void)cookie;
    count->limit = LIMIT_DEFAULT;
    if (filter_read(&count->filter, request, timestamp_now(), error) == 0 &&
        read_by(count, request, error) == 0 && read_bucket(count, request, error) == 0 &&
        records_limit(request, "limit", 1, LIMIT_MAX, &count->limit, error) == 0)
        return count;
    count_end(count);
    return NULL;
}

/* ---- keys of groups: for each part of it a letter and the value, so that memcmp orders them ----
 */

static void put_number(struct buffer *key, int64_t number)
{
    uint64_t shifted = (uint64_t)number ^ UINT64_C(1) << 63;
    char bytes[9] = {'i'};

    for (int i = 0; i < 8; i++)
        bytes[1 + i] = (char)(shifted >> (56 - 8 * i));
    buffer_append(key, bytes, sizeof(bytes));
}

static void put_column(struct buffer *key, sqlite3_stmt *statement, int column)
{
    const char *text;

    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        buffer_text(key, "0");
        break;
    case SQLITE_INTEGER:
        put_number(key, sqlite3_column_int64(statement, column));
        break;
    default:
        text = (const char *)sqlite3_column_text(statement, column);
        buffer_text(key, "t");
        buffer_text(key, text != NULL ? text : "");
        buffer_append(key, "", 1);
    }
}

static int64_t get_number(const char *bytes)
{
    uint64_t shifted = 0;

    for (int i = 0; i < 8; i++)
        shifted = shifted << 8 | (unsigned char)bytes[i];
    return (int64_t)(shifted ^ UINT64_C(1) << 63);
}

static json_t *time_value(int64_t ns)
{
    char text[TIMESTAMP_SIZE];

    timestamp_format(ns, text);
    return memory_check(json_string(text));
}

/* The value at *at, which is moved behind it. */
static json_t *get_value(const struct filter_field *field, const char **at)
{
    const char *value = *at + 1;
    int64_t number;

    switch (**at) {
    case '0':
        *at += 1;
        return json_null();
    case 'i':
        *at += 9;
        number = get_number(value);
        if (field->type == FILTER_TRUTH)
            return json_boolean(number != 0);
        return field->type == FILTER_TIME ? time_value(number) : reply_integer(number);
    default:
        *at += strlen(value) + 2;
        return reply_text(value, strlen(value));
    }
}

/* ---- the answer ---- */

/* By time, and within a bucket the most first. */
static int earliest_first(const void *a, const void *b)
{
    const struct group *first = a, *second = b;
    int order = memcmp(first->key, second->key, 9);

    return order != 0 ? order : groups_most_first(a, b);
}

static json_t *group_line(const struct count *count, const struct group *group)
{
    json_t *values = memory_check(json_object());
    const char *at = group->key;

    if (count->bucket != 0) {
        json_object_set_new(values, "bucket", time_value(get_number(at + 1)));
        at += 9;
    }
    for (size_t i = 0; i < count->field_count; i++)
        json_object_set_new(values, count->field[i]->name, get_value(count->field[i], &at));
    return memory_check(
        json_pack("{so so}", "group", values, "count", reply_integer(group->count)));
}

static void answer(const struct count *count, struct groups *groups, struct reply *reply)
{
    size_t size, begin = 0;
    const struct group *list =
        groups_sorted(groups, count->bucket != 0 ? earliest_first : groups_most_first, &size);
    bool truncated = groups_rest(groups) > 0;

    if (size > (size_t)count->limit) {
        truncated = true;
        /* Of times the latest matter most. */
        if (count->bucket != 0)
            begin = size - (size_t)count->limit;
        else
            size = (size_t)count->limit;
    }
    for (size_t i = begin; i < size; i++) {
        if (reply->out.length >= ANSWER_BYTES) {
            truncated = true;
            break;
        }
        reply_object(reply, group_line(count, &list[i]));
    }
    reply_closing(reply, "total", reply_integer(groups_total(groups)));
    if (truncated)
        reply_closing(reply, "truncated", json_true());
}

/* What is read of each row, or, where nothing tells them apart, of each part. */
static void columns(const struct count *count, struct buffer *sql)
{
    char bucket[64];

    if (count->bucket != 0) {
        snprintf(bucket, sizeof(bucket), "time_ns / %" PRId64 " * %" PRId64, count->bucket,
                 count->bucket);
        buffer_text(sql, bucket);
    }
    for (size_t i = 0; i < count->field_count; i++) {
        buffer_text(sql, sql->length > 0 ? ", " : "");
        filter_field_sql(count->field[i], false, sql);
    }
    if (sql->length == 0)
        buffer_text(sql, "count(*)");
    buffer_append(sql, "", 1);
}

static enum query_step count_step(void *state, struct query_context *context)
{
    struct count *count = state;
    struct scan_question question = {
        .filter = &count->filter, .order = SCAN_ANY, .first = 1, .last = INT64_MAX};
    bool by_row = count->bucket != 0 || count->field_count > 0;
    struct groups *groups = groups_new(GROUPS_MAX, GROUPS_BYTES);
    struct buffer sql = {0}, key = {0};
    struct scan *scan;
    int found;

    columns(count, &sql);
    question.columns = sql.data;
    scan = scan_begin(context->reader, &question);
    /* Of nothing, too, there is a number. */
    if (!by_row)
        groups_add(groups, "", 0, 0);
    while ((found = scan_next(scan)) > 0) {
        sqlite3_stmt *statement = scan_statement(scan);

        key.length = 0;
        for (int i = 0; by_row && i < sqlite3_column_count(statement); i++)
            put_column(&key, statement, i);
        groups_add(groups, by_row ? key.data : "", key.length,
                   by_row ? 1 : sqlite3_column_int64(statement, 0));
    }
    if (found == 0)
        answer(count, groups, context->reply);
    else
        scan_failed(scan, context->error);
    scan_end(scan);
    groups_free(groups);
    buffer_clear(&key);
    buffer_clear(&sql);
    return found == 0 ? QUERY_DONE : QUERY_FAILED;
}

static const char *const count_keys[] = {"by", "bucket", "where", "since", "until", "limit", NULL};

static const struct query_op count_op = {
    .name = "count",
    .usage = "{\"id\":1,\"op\":\"count\",\"by\":[\"origin.source\",\"node\"],\"bucket\":\"1h\","
             "\"since\":\"-24h\"}",
    .summary = "how many records fit, by the values of up to two fields, the most first; and by "
               "spans of time, the earliest first",
    .keys = count_keys,
    .begin = count_begin,
    .step = count_step,
    .on_thread = true,
    .end = count_end,
};

void op_count_register(struct query *query)
{
    query_register(query, &count_op);
}
