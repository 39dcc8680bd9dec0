#include <string.h>

#include "filter.h"
#include "memory.h"
#include "timestamp.h"

/* What stands in the line alone: it is looked up only for rows that everything else lets through.
 */
#define OF_LINE(path)                                                                              \
    "json_extract((SELECT json FROM bodies WHERE bodies.row = exits.row), '$." path "')"

/* What can be asked for: columns where they are, the rest out of the JSON text, which is slower. */
static const struct {
    const char *field;
    const char *column;
} fields[] = {
    {"schema", OF_LINE("schema")},
    {"id", "(incarnation || '-' || seq)"},
    {"severity", "severity"},
    {"node", "node"},
    {"node.name", "node"},
    {"node.incarnation", "incarnation"},
    {"node.host", OF_LINE("node.host")},
    {"node.os_pid", OF_LINE("node.os_pid")},
    {"node.otp", OF_LINE("node.otp")},
    {"process.pid", "pid"},
    {"process.name", "name"},
    {"process.initial_call", "initial_call"},
    {"process.initial_module", "initial_module"},
    {"process.parent", OF_LINE("process.parent")},
    {"process.trap_exit", OF_LINE("process.trap_exit")},
    {"exit.source", "source"},
    {"exit.reason", OF_LINE("exit.reason")},
    {"exit.reason_class", "reason_class"},
    {"exit.confidence", "confidence"},
    {"exit.truncated", OF_LINE("exit.truncated")},
    {"exit.via", OF_LINE("exit.via")},
    {"origin.source", "origin_source"},
    {"origin.pid", "origin_pid"},
    {"origin.id", OF_LINE("origin.id")},
    {"origin.name", OF_LINE("origin.name")},
    {"origin.initial_call", OF_LINE("origin.initial_call")},
    {"origin.confidence", OF_LINE("origin.confidence")},
    {"origin.module", "origin_module"},
    {"origin.operation", OF_LINE("origin.operation")},
    {"origin.by", "origin_by"},
    {"origin.by_name", "origin_by_name"},
    {"origin.by_initial_call", OF_LINE("origin.by_initial_call")},
    {"origin.by_call", OF_LINE("origin.by_call")},
    {"origin.by_function", OF_LINE("origin.by_function")},
    {"origin.by_node", OF_LINE("origin.by_node")},
    {"origin.application", OF_LINE("origin.application")},
    {"origin.supervisor", OF_LINE("origin.supervisor")},
    {"origin.child", OF_LINE("origin.child")},
    {"origin.why", OF_LINE("origin.why")},
    {"origin.asked_by", OF_LINE("origin.asked_by")},
    {"origin.asked_by_name", OF_LINE("origin.asked_by_name")},
    {"origin.sibling", OF_LINE("origin.sibling")},
    {"origin.sibling_name", OF_LINE("origin.sibling_name")},
    {"origin.sibling_id", OF_LINE("origin.sibling_id")},
    {"origin.port", OF_LINE("origin.port")},
    {"origin.driver", OF_LINE("origin.driver")},
    {"origin.command", OF_LINE("origin.command")},
    {"origin.target", OF_LINE("origin.target")},
    {"origin.node", OF_LINE("origin.node")},
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

const char *filter_column(const char *field)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].field, field) == 0)
            return fields[i].column;
    }
    return NULL;
}

json_t *filter_fields(void)
{
    json_t *names = memory_check(json_array());

    for (size_t i = 0; i < FIELD_COUNT; i++)
        json_array_append_new(names, json_string(fields[i].field));
    return names;
}

static void add_value(struct filter *filter, const json_t *value)
{
    if (filter->values == NULL)
        filter->values = memory_check(json_array());
    json_array_append_new(filter->values, memory_check(json_deep_copy(value)));
}

static bool is_scalar(const json_t *value)
{
    return json_is_string(value) || json_is_integer(value) || json_is_boolean(value);
}

static int read_any_of(struct filter *filter, const char *field, const char *column,
                       const json_t *list, struct reply_error *error)
{
    size_t index;
    json_t *value;

    if (json_array_size(list) == 0) {
        reply_error_set(error, "bad_request", field, "an empty list lets nothing through");
        return -1;
    }
    buffer_text(&filter->sql, " AND ");
    buffer_text(&filter->sql, column);
    buffer_text(&filter->sql, " IN (");
    json_array_foreach(list, index, value)
    {
        if (!is_scalar(value)) {
            reply_error_set(error, "bad_request", field,
                            "a list holds strings, integers, true and false");
            return -1;
        }
        buffer_text(&filter->sql, index > 0 ? ", ?" : "?");
        add_value(filter, value);
        if (json_array_size(filter->values) > FILTER_VALUES_MAX) {
            reply_error_set(error, "bad_request", field, "more than %d values", FILTER_VALUES_MAX);
            return -1;
        }
    }
    buffer_text(&filter->sql, ")");
    return 0;
}

static int read_condition(struct filter *filter, const char *field, const json_t *value,
                          struct reply_error *error)
{
    const char *column = filter_column(field);

    if (column == NULL) {
        reply_error_set(error, "bad_request", field,
                        "there is no field '%.64s'; 'help' lists the fields", field);
        return -1;
    }
    if (json_is_array(value))
        return read_any_of(filter, field, column, value, error);
    if (!is_scalar(value) && !json_is_null(value)) {
        reply_error_set(
            error, "bad_request", field,
            "a field equals a string, an integer, true, false or null, or one of a list");
        return -1;
    }
    buffer_text(&filter->sql, " AND ");
    buffer_text(&filter->sql, column);
    if (json_is_null(value)) {
        buffer_text(&filter->sql, " IS NULL");
        return 0;
    }
    buffer_text(&filter->sql, " = ?");
    add_value(filter, value);
    return 0;
}

static int read_time(const json_t *request, const char *key, int64_t now, int64_t *ns,
                     struct reply_error *error)
{
    const json_t *value = json_object_get(request, key);

    if (json_is_string(value) && timestamp_parse(json_string_value(value), now, ns) == 0)
        return 0;
    reply_error_set(error, "bad_request", key,
                    "a time is RFC 3339 (2026-11-23T15:46:33Z), \"now\" or a span as \"-1h\" "
                    "(s, m, h, d)");
    return -1;
}

static void add_time(struct filter *filter, const char *sql, int64_t ns)
{
    json_t *value = memory_check(json_integer(ns));

    buffer_text(&filter->sql, sql);
    add_value(filter, value);
    add_value(filter, value);
    json_decref(value);
}

int filter_read(struct filter *filter, const json_t *request, int64_t now,
                struct reply_error *error)
{
    json_t *where = json_object_get(request, "where");
    const char *field;
    json_t *value;
    int64_t ns;

    *filter = (struct filter){0};
    if (where != NULL && !json_is_object(where)) {
        reply_error_set(error, "bad_request", "where", "'where' is an object of fields and values");
        goto error;
    }
    json_object_foreach(where, field, value)
    {
        if (read_condition(filter, field, value, error) != 0)
            goto error;
    }
    /*
     * Rows are in the order of commit, which is nearly but not quite that of time. The bound on the
     * row keeps a search from going through all that is older; the + keeps the index of times for
     * it.
     */
    if (json_object_get(request, "since") != NULL) {
        if (read_time(request, "since", now, &ns, error) != 0)
            goto error;
        add_time(filter,
                 " AND row >= (SELECT min(row) FROM exits WHERE time_ns >= ?) AND +time_ns >= ?",
                 ns);
    }
    if (json_object_get(request, "until") != NULL) {
        if (read_time(request, "until", now, &ns, error) != 0)
            goto error;
        add_time(filter,
                 " AND row <= (SELECT max(row) FROM exits WHERE time_ns <= ?) AND +time_ns <= ?",
                 ns);
    }
    return 0;

error:
    filter_clear(filter);
    return -1;
}

void filter_where(struct filter *filter, const char *column, const char *value)
{
    json_t *text = memory_check(json_string(value));

    buffer_text(&filter->sql, " AND ");
    buffer_text(&filter->sql, column);
    buffer_text(&filter->sql, " = ?");
    add_value(filter, text);
    json_decref(text);
}

int filter_bind(const struct filter *filter, sqlite3_stmt *statement, int first)
{
    size_t index;
    json_t *value;

    json_array_foreach(filter->values, index, value)
    {
        if (json_is_string(value))
            sqlite3_bind_text(statement, first, json_string_value(value),
                              (int)json_string_length(value), SQLITE_STATIC);
        else
            sqlite3_bind_int64(statement, first,
                               json_is_boolean(value) ? json_is_true(value)
                                                      : json_integer_value(value));
        first++;
    }
    return first;
}

void filter_clear(struct filter *filter)
{
    buffer_clear(&filter->sql);
    json_decref(filter->values);
    *filter = (struct filter){0};
}
