#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "hello.h"
#include "memory.h"
#include "timestamp.h"

/* What stands in the line alone: it is looked up only for rows that everything else lets through.
 */
#define LINE "(SELECT json FROM bodies WHERE bodies.row = exits.row)"

static bool is_id(const struct filter_field *field)
{
    return field->column != NULL && strcmp(field->column, "id") == 0;
}

json_t *filter_fields(bool lists)
{
    json_t *names = memory_check(json_array());
    const struct filter_field *field;

    for (size_t i = 0; (field = filter_field_at(i)) != NULL; i++) {
        if ((field->element != NULL) == lists)
            json_array_append_new(names, json_string(field->name));
    }
    return names;
}

json_t *filter_closed(void)
{
    json_t *closed = memory_check(json_object());
    const struct filter_field *field;

    for (size_t i = 0; (field = filter_field_at(i)) != NULL; i++) {
        json_t *values;

        if (field->values == NULL)
            continue;
        values = memory_check(json_array());
        for (size_t j = 0; field->values[j] != NULL; j++)
            json_array_append_new(values, json_string(field->values[j]));
        json_object_set_new(closed, field->name, values);
    }
    return closed;
}

/* ---- SQL ---- */

static void add(struct buffer *sql, const char *text)
{
    buffer_text(sql, text);
}

static void add_path(struct buffer *sql, const char *path)
{
    add(sql, "'$.");
    add(sql, path);
    add(sql, "'");
}

void filter_field_sql(const struct filter_field *field, bool guarded, struct buffer *sql)
{
    bool number = field->type == FILTER_NUMBER && field->column == NULL;

    if (is_id(field)) {
        add(sql, "(incarnation || '-' || seq)");
    } else if (field->column != NULL) {
        /* A unary plus keeps SQLite from using an index. */
        add(sql, guarded ? "+" : "");
        add(sql, field->column);
    } else {
        /* Large numbers are strings, and are to be compared as numbers. */
        add(sql, number ? "CAST(json_extract(" LINE ", " : "json_extract(" LINE ", ");
        add_path(sql, field->path);
        add(sql, number ? ") AS INTEGER)" : ")");
    }
}

static void add_parameters(struct buffer *sql, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(sql, i > 0 ? ", ?" : "?");
}

/* `of` compared as the condition says. */
static void add_comparison(struct buffer *sql, const struct buffer *of,
                           const struct filter_condition *condition, size_t values)
{
    static const char *const signs[] = {
        [FILTER_LESS] = " < ?",
        [FILTER_AT_MOST] = " <= ?",
        [FILTER_GREATER] = " > ?",
        [FILTER_AT_LEAST] = " >= ?",
    };

    switch (condition->kind) {
    case FILTER_EQUAL:
        buffer_append(sql, of->data, of->length);
        add(sql, values == 1 ? " = " : " IN (");
        add_parameters(sql, values);
        add(sql, values == 1 ? "" : ")");
        break;
    case FILTER_NOT_EQUAL:
        add(sql, "(");
        buffer_append(sql, of->data, of->length);
        add(sql, " IS NULL OR ");
        buffer_append(sql, of->data, of->length);
        add(sql, " NOT IN (");
        add_parameters(sql, values);
        add(sql, "))");
        break;
    case FILTER_NULL:
    case FILTER_NOT_NULL:
        buffer_append(sql, of->data, of->length);
        add(sql, condition->kind == FILTER_NULL ? " IS NULL" : " IS NOT NULL");
        break;
    case FILTER_PREFIX:
        buffer_append(sql, of->data, of->length);
        add(sql, " >= ? AND ");
        buffer_append(sql, of->data, of->length);
        add(sql, " < ?");
        break;
    case FILTER_LESS:
    case FILTER_AT_MOST:
    case FILTER_GREATER:
    case FILTER_AT_LEAST:
        buffer_append(sql, of->data, of->length);
        add(sql, signs[condition->kind]);
        break;
    }
}

/* Whether one of the list's elements fits. That none does is asked with NOT. */
static void add_element(struct buffer *sql, const struct filter_condition *condition, size_t values)
{
    const struct filter_field *field = condition->field;
    struct filter_condition positive = *condition;
    struct buffer element = {0};

    if (condition->kind == FILTER_NOT_EQUAL)
        positive.kind = FILTER_EQUAL;
    if (condition->kind == FILTER_NULL)
        positive.kind = FILTER_NOT_NULL;
    if (field->element[0] == '\0') {
        add(&element, "element.value");
    } else {
        add(&element, "json_extract(element.value, ");
        add_path(&element, field->element);
        add(&element, ")");
    }
    add(sql, positive.kind != condition->kind ? "NOT EXISTS(" : "EXISTS(");
    add(sql, "SELECT 1 FROM json_each(" LINE ", ");
    add_path(sql, field->path);
    add(sql, ") AS element WHERE ");
    add_comparison(sql, &element, &positive, values);
    add(sql, ")");
    buffer_clear(&element);
}

/* Ids that are asked for whole are looked up as what they are made of. */
static void add_ids(struct buffer *sql, bool guarded, size_t values)
{
    add(sql, "(");
    for (size_t i = 0; i < values; i++) {
        add(sql, i > 0 ? " OR " : "");
        add(sql, guarded ? "+incarnation = ? AND +seq = ?" : "incarnation = ? AND seq = ?");
    }
    add(sql, ")");
}

static void condition_sql(const struct filter_condition *condition, struct filter_drive drive,
                          struct buffer *sql)
{
    bool driven = drive.field != NULL && condition->field == drive.field;
    size_t values = driven && condition->kind == FILTER_EQUAL && drive.value != FILTER_ALL_VALUES
                        ? 1
                        : condition->count;
    struct buffer of = {0};

    add(sql, " AND ");
    if (is_id(condition->field) && condition->kind == FILTER_EQUAL) {
        add_ids(sql, !driven, values);
    } else if (condition->field->element != NULL) {
        add_element(sql, condition, values);
    } else {
        filter_field_sql(condition->field, !driven, &of);
        add_comparison(sql, &of, condition, values);
        buffer_clear(&of);
    }
}

void filter_sql(const struct filter *filter, struct filter_drive drive, struct buffer *sql)
{
    for (size_t i = 0; i < filter->condition_count; i++)
        condition_sql(&filter->conditions[i], drive, sql);
    if (filter->since != INT64_MIN)
        add(sql, " AND +time_ns >= ?");
    if (filter->until != INT64_MAX)
        add(sql, " AND +time_ns <= ?");
}

/* What an id is made of; nothing has what is no id. */
static int bind_id(sqlite3_stmt *statement, int index, const char *id)
{
    char incarnation[HELLO_INCARNATION + 1] = "", rest[2];
    int64_t seq = 0;

    if (id == NULL || sscanf(id, "%16[0-9a-f]-%18" SCNd64 "%1s", incarnation, &seq, rest) != 2 ||
        strlen(incarnation) != HELLO_INCARNATION)
        seq = 0;
    sqlite3_bind_text(statement, index, incarnation, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, index + 1, seq);
    return index + 2;
}

static int bind_value(const struct filter_condition *condition, const struct filter_value *value,
                      sqlite3_stmt *statement, int index)
{
    if (is_id(condition->field) && condition->kind == FILTER_EQUAL)
        return bind_id(statement, index, value->text);
    if (value->text != NULL)
        sqlite3_bind_text(statement, index, value->text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_int64(statement, index, value->number);
    return index + 1;
}

int filter_bind(const struct filter *filter, struct filter_drive drive, sqlite3_stmt *statement,
                int first)
{
    for (size_t i = 0; i < filter->condition_count; i++) {
        const struct filter_condition *condition = &filter->conditions[i];
        /* There are no values at all where everything is compared with null. */
        const struct filter_value *values =
            filter->values != NULL ? filter->values + condition->first : NULL;

        if (condition->field == drive.field && condition->kind == FILTER_EQUAL &&
            drive.value != FILTER_ALL_VALUES) {
            first = bind_value(condition, &values[drive.value], statement, first);
            continue;
        }
        for (size_t j = 0; j < condition->count; j++)
            first = bind_value(condition, &values[j], statement, first);
    }
    if (filter->since != INT64_MIN)
        sqlite3_bind_int64(statement, first++, filter->since);
    if (filter->until != INT64_MAX)
        sqlite3_bind_int64(statement, first++, filter->until);
    return first;
}

json_t *filter_field_value(const struct filter_field *field, sqlite3_stmt *statement, int column)
{
    char time[TIMESTAMP_SIZE];
    const char *text;

    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        return json_null();
    case SQLITE_INTEGER:
        if (field->type != FILTER_TIME)
            return field->type == FILTER_TRUTH
                       ? json_boolean(sqlite3_column_int(statement, column))
                       : reply_integer(sqlite3_column_int64(statement, column));
        timestamp_format(sqlite3_column_int64(statement, column), time);
        return memory_check(json_string(time));
    default:
        text = (const char *)sqlite3_column_text(statement, column);
        return reply_text(text != NULL ? text : "",
                          (size_t)sqlite3_column_bytes(statement, column));
    }
}

/* ---- reading ---- */

static struct filter_value *new_value(struct filter *filter)
{
    /* One more of room for each condition: a prefix takes two. */
    if (filter->values == NULL)
        filter->values =
            memory_zeroed((FILTER_VALUES_MAX + FILTER_CONDITIONS_MAX) * sizeof(*filter->values));
    return &filter->values[filter->value_count++];
}

static void new_text(struct filter *filter, const char *text)
{
    new_value(filter)->text = memory_string(text);
}

/* The digits of an integer that is too large for JSON. */
static bool is_digits(const char *text, int64_t *number)
{
    char *end;
    size_t length = strlen(text);

    if (length == 0 || length > 18 + 1 || strspn(text, "0123456789") != length)
        return false;
    *number = strtoll(text, &end, 10);
    return *end == '\0' && *number != INT64_MAX;
}

static int refuse(const struct filter_field *field, const char *what, struct reply_error *error)
{
    reply_error_set(error, "bad_request", field->name, "'%s' %s", field->name, what);
    return -1;
}

/* Say that the ${value} is none of those that ${field} can have. */
static int refuse_value(const struct filter_field *field, const char *value,
                        struct reply_error *error)
{
    char list[REPLY_MESSAGE_SIZE] = "";
    size_t used = 0;

    for (size_t i = 0; field->values[i] != NULL && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "",
                                 field->values[i]);
    reply_error_set(error, "bad_request", field->name,
                    "there is no %s '%.32s'; there are: %s; one that only newer nodes have is "
                    "asked for by a prefix",
                    field->name, value, list);
    return -1;
}

/* Take a value of a condition. One of another type than the field's fits nothing, but is no
 * mistake where others stand beside it; `strict` makes it one. */
static int take_value(struct filter *filter, const struct filter_field *field, const json_t *value,
                      bool strict, struct reply_error *error)
{
    const char *text = json_string_value(value);
    char canonical[TIMESTAMP_SIZE];
    int64_t number;

    if (!json_is_string(value) && !json_is_integer(value) && !json_is_boolean(value))
        return refuse(field, "is compared with strings, integers, true and false", error);
    if (filter->value_count >= FILTER_VALUES_MAX) {
        reply_error_set(error, "bad_request", field->name, "more than %d values",
                        FILTER_VALUES_MAX);
        return -1;
    }
    switch (field->type) {
    case FILTER_TIME:
    case FILTER_TIMESTAMP:
        if (text == NULL || timestamp_parse(text, timestamp_now(), &number) != 0)
            return refuse(field, "is a time: RFC 3339, \"now\" or a span as \"-1h\"", error);
        if (field->type == FILTER_TIME) {
            new_value(filter)->number = number;
        } else {
            timestamp_format(number, canonical);
            new_text(filter, canonical);
        }
        return 0;
    case FILTER_NUMBER:
        if (text != NULL && is_digits(text, &number)) {
            new_value(filter)->number = number;
            return 0;
        }
        if (strict && !json_is_integer(value))
            return refuse(field, "is an integer", error);
        break;
    case FILTER_TEXT:
        if (strict && text == NULL)
            return refuse(field, "is a text", error);
        /* A prefix and a range let everything through, also what only newer nodes know. */
        if (!strict && text != NULL && !filter_field_has(field, text))
            return refuse_value(field, text, error);
        break;
    case FILTER_TRUTH:
    case FILTER_MIXED:
        break;
    }
    if (text != NULL)
        new_text(filter, text);
    else
        new_value(filter)->number =
            json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
    return 0;
}

static struct filter_condition *new_condition(struct filter *filter,
                                              const struct filter_field *field,
                                              enum filter_kind kind, struct reply_error *error)
{
    struct filter_condition *condition = &filter->conditions[filter->condition_count];

    if (filter->condition_count == FILTER_CONDITIONS_MAX) {
        reply_error_set(error, "bad_request", field->name, "more than %d conditions",
                        FILTER_CONDITIONS_MAX);
        return NULL;
    }
    filter->condition_count++;
    *condition =
        (struct filter_condition){.field = field, .kind = kind, .first = filter->value_count};
    return condition;
}

/* Equal, or not equal, to a value, to null, or to any of a list. */
static int read_equal(struct filter *filter, const struct filter_field *field, bool equal,
                      const json_t *value, struct reply_error *error)
{
    struct filter_condition *condition;
    size_t index;
    json_t *item;

    if (json_is_null(value))
        return new_condition(filter, field, equal ? FILTER_NULL : FILTER_NOT_NULL, error) != NULL
                   ? 0
                   : -1;
    if (json_is_array(value) && json_array_size(value) == 0)
        return refuse(field, "has an empty list, which lets nothing through", error);
    condition = new_condition(filter, field, equal ? FILTER_EQUAL : FILTER_NOT_EQUAL, error);
    if (condition == NULL)
        return -1;
    if (json_is_array(value)) {
        json_array_foreach((json_t *)(uintptr_t)value, index, item)
        {
            if (take_value(filter, field, item, false, error) != 0)
                return -1;
        }
    } else if (take_value(filter, field, value, false, error) != 0) {
        return -1;
    }
    condition->count = filter->value_count - condition->first;
    return 0;
}

static int read_prefix(struct filter *filter, const struct filter_field *field, const json_t *value,
                       struct reply_error *error)
{
    struct filter_condition *condition;
    struct filter_value *behind;
    unsigned char *last;

    if (field->type != FILTER_TEXT)
        return refuse(field, "is no text and has no prefix; use ge and lt", error);
    if (!json_is_string(value) || json_string_length(value) == 0)
        return refuse(field, "has a prefix that is no text, or an empty one", error);
    condition = new_condition(filter, field, FILTER_PREFIX, error);
    if (condition == NULL || take_value(filter, field, value, true, error) != 0)
        return -1;
    new_text(filter, json_string_value(value));
    behind = &filter->values[filter->value_count - 1];
    /* No byte of UTF-8 is 0xff, so the last one can grow. */
    last = (unsigned char *)&behind->text[json_string_length(value) - 1];
    *last = (unsigned char)(*last + 1);
    condition->count = 2;
    return 0;
}

static int read_operators(struct filter *filter, const struct filter_field *field,
                          const json_t *object, struct reply_error *error)
{
    static const struct {
        const char *name;
        enum filter_kind kind;
    } operators[] = {
        {"lt", FILTER_LESS},
        {"le", FILTER_AT_MOST},
        {"gt", FILTER_GREATER},
        {"ge", FILTER_AT_LEAST},
    };
    const char *name;
    json_t *value;

    if (json_object_size(object) == 0)
        return refuse(field, "has an object without prefix, lt, le, gt, ge or not", error);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        struct filter_condition *condition = NULL;

        if (strcmp(name, "prefix") == 0) {
            if (read_prefix(filter, field, value, error) != 0)
                return -1;
            continue;
        }
        if (strcmp(name, "not") == 0) {
            if (read_equal(filter, field, false, value, error) != 0)
                return -1;
            continue;
        }
        for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
            if (strcmp(operators[i].name, name) != 0)
                continue;
            if (field->type == FILTER_TRUTH)
                return refuse(field, "is true or false and has no range", error);
            condition = new_condition(filter, field, operators[i].kind, error);
            if (condition == NULL || take_value(filter, field, value, true, error) != 0)
                return -1;
            condition->count = 1;
        }
        if (condition == NULL) {
            reply_error_set(error, "bad_request", field->name,
                            "'%s' is compared by prefix, lt, le, gt, ge and not, not by '%.32s'",
                            field->name, name);
            return -1;
        }
    }
    return 0;
}

static int read_condition(struct filter *filter, const char *name, const json_t *value,
                          struct reply_error *error)
{
    const struct filter_field *field = filter_field(name);

    if (field == NULL) {
        reply_error_set(error, "bad_request", name,
                        "there is no field '%.64s'; 'help' lists the fields", name);
        return -1;
    }
    if (json_is_object(value))
        return read_operators(filter, field, value, error);
    return read_equal(filter, field, true, value, error);
}

static int read_time(const json_t *request, const char *key, int64_t now, int64_t *ns,
                     struct reply_error *error)
{
    const json_t *value = json_object_get(request, key);

    if (value == NULL)
        return 0;
    if (json_is_string(value) && timestamp_parse(json_string_value(value), now, ns) == 0)
        return 0;
    reply_error_set(error, "bad_request", key,
                    "a time is RFC 3339 (2026-11-23T15:46:33Z), \"now\" or a span as \"-1h\" "
                    "(s, m, h, d)");
    return -1;
}

void filter_init(struct filter *filter)
{
    *filter = (struct filter){.since = INT64_MIN, .until = INT64_MAX};
}

int filter_read(struct filter *filter, const json_t *request, int64_t now,
                struct reply_error *error)
{
    json_t *where = json_object_get(request, "where");
    const char *name;
    json_t *value;

    filter_init(filter);
    if (where != NULL && !json_is_object(where)) {
        reply_error_set(error, "bad_request", "where", "'where' is an object of fields and values");
        goto error;
    }
    json_object_foreach(where, name, value)
    {
        if (read_condition(filter, name, value, error) != 0)
            goto error;
    }
    if (read_time(request, "since", now, &filter->since, error) != 0 ||
        read_time(request, "until", now, &filter->until, error) != 0)
        goto error;
    if (filter->since != INT64_MIN && filter->until < filter->since) {
        reply_error_set(error, "bad_request", "until", "'until' is before 'since'");
        goto error;
    }
    return 0;

error:
    filter_clear(filter);
    return -1;
}

void filter_add(struct filter *filter, const char *field, enum filter_kind kind, const char *value)
{
    struct filter_condition *condition = &filter->conditions[filter->condition_count++];

    *condition = (struct filter_condition){
        .field = filter_field(field), .kind = kind, .first = filter->value_count, .count = 1};
    new_text(filter, value);
}

void filter_clear(struct filter *filter)
{
    for (size_t i = 0; i < filter->value_count; i++)
        free(filter->values[i].text);
    free(filter->values);
    filter_init(filter);
}
