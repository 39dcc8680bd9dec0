/*
 * OTLP/JSON: one ExportLogsServiceRequest a line, as an OpenTelemetry collector's otlpjsonfile
 * receiver reads. Attributes are flat; the semantic conventions' names where there is one, else
 * `erlang.<section>.<key>` with the native names. Integers of 64 bits are texts there, by the
 * protobuf mapping.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "render.h"
#include "timestamp.h"

#define KEY_SIZE 96

static void set(json_t *object, const char *key, json_t *value)
{
    if (value != NULL && json_object_set_new(object, key, value) != 0)
        memory_check(NULL);
}

/* An AnyValue. */
static json_t *any(const json_t *value)
{
    json_t *array, *item;
    char *text;
    size_t i;

    switch (json_typeof(value)) {
    case JSON_STRING:
        return memory_check(json_pack("{ss}", "stringValue", json_string_value(value)));
    case JSON_INTEGER:
        return memory_check(json_pack(
            "{so}", "intValue",
            memory_check(json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value)))));
    case JSON_TRUE:
    case JSON_FALSE:
        return memory_check(json_pack("{sb}", "boolValue", json_is_true(value)));
    case JSON_REAL:
        return memory_check(json_pack("{sf}", "doubleValue", json_real_value(value)));
    case JSON_ARRAY:
        array = memory_check(json_array());
        json_array_foreach(value, i, item)
        {
            if (!json_is_null(item))
                json_array_append_new(array, any(item));
        }
        return memory_check(json_pack("{s{so}}", "arrayValue", "values", array));
    case JSON_OBJECT:
        /* A hop of a chain, a candidate: as it is, in JSON. */
        text = memory_check(json_dumps(value, JSON_COMPACT));
        item = memory_check(json_pack("{ss}", "stringValue", text));
        free(text);
        return item;
    case JSON_NULL:
        break;
    }
    return memory_check(json_object());
}

static void add(json_t *attributes, const char *key, const json_t *value)
{
    if (value == NULL || json_is_null(value))
        return;
    json_array_append_new(attributes,
                          memory_check(json_pack("{ss so}", "key", key, "value", any(value))));
}

static void add_text(json_t *attributes, const char *key, const char *text)
{
    json_t *value = memory_check(json_string(text));

    add(attributes, key, value);
    json_decref(value);
}

/* Every key of a section that has no name of its own. */
static void add_section(json_t *attributes, const json_t *record, const char *section)
{
    json_t *from = json_object_get(record, section);
    char name[KEY_SIZE];
    const char *key;
    json_t *value;

    json_object_foreach(from, key, value)
    {
        if (strcmp(section, "exit") == 0 && strcmp(key, "stack") == 0)
            continue;
        snprintf(name, sizeof(name), "erlang.%s.%s", section, key);
        add(attributes, name, value);
    }
}

static void add_exception(json_t *attributes, const json_t *record)
{
    const json_t *exit = json_object_get(record, "exit");
    const char *severity = json_string_value(json_object_get(record, "severity"));
    json_t *stack = json_object_get(exit, "stack"), *line;
    struct buffer text = {0};
    size_t i;

    if (exit == NULL || (severity != NULL && strcmp(severity, "info") == 0))
        return;
    add(attributes, "exception.type", json_object_get(exit, "reason_class"));
    add(attributes, "exception.message", json_object_get(exit, "reason"));
    json_array_foreach(stack, i, line)
    {
        if (i > 0)
            buffer_text(&text, "\n");
        if (json_is_string(line))
            buffer_text(&text, json_string_value(line));
    }
    if (text.length > 0) {
        buffer_append(&text, "", 1);
        add_text(attributes, "exception.stacktrace", text.data);
    }
    buffer_clear(&text);
}

static json_t *resource_of(const json_t *node)
{
    json_t *attributes = memory_check(json_array());
    json_t *name = json_object_get(node, "name");
    json_t *os_pid = json_object_get(node, "os_pid");

    add(attributes, "service.name", name);
    add(attributes, "service.instance.id", json_object_get(node, "incarnation"));
    add(attributes, "host.name", json_object_get(node, "host"));
    /* From 2^53 on it is a text, and would be of the wrong type here. */
    if (json_is_integer(os_pid))
        add(attributes, "process.pid", os_pid);
    if (node != NULL)
        add_text(attributes, "process.runtime.name", "BEAM");
    add(attributes, "erlang.otp_release", json_object_get(node, "otp"));
    return memory_check(json_pack("{so}", "attributes", attributes));
}

static const char *event_name(const json_t *record)
{
    return json_object_get(record, "exit") != NULL   ? "erlang.process.exit"
           : json_object_get(record, "fold") != NULL ? "erlang.cascade"
                                                     : "coroner.gap";
}

static int severity_number(const char *severity)
{
    if (severity == NULL)
        return 0;
    return strcmp(severity, "error") == 0 ? 17 : strcmp(severity, "warning") == 0 ? 13 : 9;
}

static json_t *log_of(const json_t *record)
{
    static const char *const sections[] = {"process", "exit", "origin", "gap", "fold"};
    const char *severity = json_string_value(json_object_get(record, "severity"));
    const char *time = json_string_value(json_object_get(record, "time"));
    json_t *log = memory_check(json_object());
    json_t *attributes = memory_check(json_array());
    json_t *message = json_object_get(record, "message");
    int64_t ns;

    if (time != NULL && timestamp_parse(time, 0, &ns) == 0) {
        set(log, "timeUnixNano", memory_check(json_sprintf("%" PRId64, ns)));
        set(log, "observedTimeUnixNano", memory_check(json_sprintf("%" PRId64, ns)));
    }
    set(log, "severityNumber", memory_check(json_integer(severity_number(severity))));
    if (severity != NULL)
        set(log, "severityText", memory_check(json_string(severity)));
    set(log, "eventName", memory_check(json_string(event_name(record))));
    if (json_is_string(message))
        set(log, "body", any(message));
    add(attributes, "log.record.uid", json_object_get(record, "id"));
    /* Collectors of before 1.5 of the protocol drop eventName. */
    add_text(attributes, "event.name", event_name(record));
    add_exception(attributes, record);
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        add_section(attributes, record, sections[i]);
    add(attributes, "erlang.chain", json_object_get(record, "chain"));
    add(attributes, "erlang.chain_length", json_object_get(record, "chain_length"));
    add(attributes, "erlang.lost_before", json_object_get(record, "lost_before"));
    set(log, "attributes", attributes);
    return log;
}

json_t *render_otlp(const json_t *record)
{
    return memory_check(json_pack("{s[{so s[{s{ss} s[o]}]}]}", "resourceLogs", "resource",
                                  resource_of(json_object_get(record, "node")), "scopeLogs",
                                  "scope", "name", "coroner", "logRecords", log_of(record)));
}
