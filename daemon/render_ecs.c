/*
 * The Elastic Common Schema, 8.11. What it has a field for goes there; everything else goes below
 * `erlang`, which it will never use: with the native names, so that docs/records.md holds for both.
 */
#include <string.h>

#include "memory.h"
#include "render.h"

static void set(json_t *object, const char *key, json_t *value)
{
    if (value != NULL && json_object_set_new(object, key, value) != 0)
        memory_check(NULL);
}

/* A copy of a text (or what else is there), NULL if there is none. */
static json_t *get(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return value == NULL || json_is_null(value) ? NULL : memory_check(json_deep_copy(value));
}

/* An integer that Elasticsearch takes as a long; from 2^53 on the record has it as text. */
static json_t *number(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? memory_check(json_deep_copy(value)) : NULL;
}

/* The sequence number at the end of an id. */
static json_t *sequence(const json_t *record)
{
    const char *id = json_string_value(json_object_get(record, "id"));
    const char *at = id != NULL && strncmp(id, "fold-", 5) != 0 ? strrchr(id, '-') : NULL;
    json_int_t value = 0;

    if (at == NULL || strlen(at) > 16)
        return NULL;
    for (at++; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (*at - '0');
    return value < ((json_int_t)1 << 53) ? memory_check(json_integer(value)) : NULL;
}

static json_t *event_of(const json_t *record)
{
    const json_t *exit = json_object_get(record, "exit");
    const json_t *origin = json_object_get(record, "origin");
    const char *severity = json_string_value(json_object_get(record, "severity"));
    json_t *event = memory_check(json_object());

    set(event, "id", get(record, "id"));
    set(event, "kind", json_string("event"));
    set(event, "category", memory_check(json_pack("[s]", "process")));
    if (exit != NULL) {
        set(event, "type", memory_check(json_pack("[s]", "end")));
        set(event, "action", json_string("erlang-process-exit"));
        set(event, "dataset", json_string("coroner.exit"));
        set(event, "reason", get(exit, "reason_class"));
        set(event, "code", get(origin != NULL ? origin : exit, "source"));
        set(event, "outcome",
            json_string(severity != NULL && strcmp(severity, "info") == 0 ? "success" : "failure"));
    } else {
        bool fold = json_object_get(record, "fold") != NULL;

        set(event, "type", memory_check(json_pack("[s]", fold ? "end" : "info")));
        set(event, "action", json_string(fold ? "erlang-cascade" : "coroner-gap"));
        set(event, "dataset", json_string(fold ? "coroner.fold" : "coroner.gap"));
        set(event, "code", fold ? get(json_object_get(record, "fold"), "source") : NULL);
    }
    set(event, "sequence", sequence(record));
    set(event, "provider", json_string("coroner"));
    return event;
}

/* "a\nb", as stack traces are shown. */
static json_t *joined(const json_t *texts)
{
    struct buffer text = {0};
    json_t *result = NULL, *line;
    size_t i;

    json_array_foreach(texts, i, line)
    {
        if (i > 0)
            buffer_text(&text, "\n");
        if (json_is_string(line))
            buffer_text(&text, json_string_value(line));
    }
    if (text.length > 0)
        result = memory_check(json_stringn(text.data, text.length));
    buffer_clear(&text);
    return result;
}

static json_t *error_of(const json_t *record, const json_t *exit)
{
    const char *severity = json_string_value(json_object_get(record, "severity"));
    json_t *error;

    if (exit == NULL || (severity != NULL && strcmp(severity, "info") == 0))
        return NULL;
    error = memory_check(json_object());
    set(error, "type", get(exit, "reason_class"));
    set(error, "message", get(exit, "reason"));
    set(error, "stack_trace", joined(json_object_get(exit, "stack")));
    return error;
}

/* The operating system's process, which is the node: never the Erlang process. */
static json_t *process_of(const json_t *node)
{
    json_t *process = memory_check(json_object());

    set(process, "pid", number(node, "os_pid"));
    set(process, "entity_id", get(node, "incarnation"));
    return process;
}

/* Elasticsearch gives a field one type: what the record has as one of two becomes one of them. */
static void one_type(json_t *section)
{
    json_t *lost = json_object_get(section, "evidence_lost");
    json_t *timeout = json_object_get(section, "timeout_ms");

    if (lost != NULL && !json_is_boolean(lost))
        set(section, "evidence_lost", json_true());
    if (json_is_string(timeout)) {
        set(section, "timeout", json_incref(timeout));
        json_object_del(section, "timeout_ms");
    }
}

static json_t *section_of(const json_t *record, const char *name)
{
    json_t *section = get(record, name), *item;
    size_t i;

    if (section == NULL)
        return NULL;
    one_type(section);
    json_array_foreach(json_object_get(section, "candidates"), i, item) one_type(item);
    json_array_foreach(section, i, item) /* a chain */
        one_type(item);
    return section;
}

/* Everything in its native words. */
static json_t *erlang_of(const json_t *record)
{
    static const char *const sections[] = {"process", "exit", "origin", "chain", "gap", "fold"};
    json_t *erlang = memory_check(json_object());
    json_t *node = memory_check(json_object());
    const json_t *from = json_object_get(record, "node");

    set(node, "name", get(from, "name"));
    set(node, "incarnation", get(from, "incarnation"));
    set(node, "otp", get(from, "otp"));
    set(erlang, "node", node);
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        set(erlang, sections[i], section_of(record, sections[i]));
    set(erlang, "chain_length", get(record, "chain_length"));
    set(erlang, "lost_before", get(record, "lost_before"));
    return erlang;
}

json_t *render_ecs(const json_t *record)
{
    const json_t *node = json_object_get(record, "node");
    json_t *line = memory_check(json_object());
    json_t *log = memory_check(json_object());
    json_t *host;

    set(line, "@timestamp", get(record, "time"));
    set(line, "ecs", memory_check(json_pack("{ss}", "version", "8.11.0")));
    set(line, "message", get(record, "message"));
    set(line, "event", event_of(record));
    set(log, "level", get(record, "severity"));
    set(log, "logger", json_string("coroner"));
    set(line, "log", log);
    set(line, "error", error_of(record, json_object_get(record, "exit")));
    if (node != NULL) {
        host = memory_check(json_object());
        set(host, "name", get(node, "host"));
        set(host, "hostname", get(node, "host"));
        set(line, "host", host);
        set(line, "process", process_of(node));
        host = memory_check(json_object());
        set(host, "name", get(node, "name"));
        set(line, "service", memory_check(json_pack("{so ss}", "node", host, "type", "erlang")));
    }
    set(line, "erlang", erlang_of(record));
    return line;
}
