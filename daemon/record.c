#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "record.h"
#include "record_types.h"
#include "shrink.h"
#include "source.h"
#include "timestamp.h"

/*
 * What the JSON Schema says of keys we know, wherever they stand, in the order of strcmp. A key
 * that is not listed may be anything.
 */
struct key_type {
    const char *key;
    unsigned types;
};

static const struct key_type key_types[] = {
    {"age_us", RECORD_INTEGER | RECORD_ABSENT},
    {"ancestors", RECORD_TEXTS},
    {"application", RECORD_TEXT | RECORD_ABSENT},
    {"asked_by", RECORD_TEXT | RECORD_ABSENT},
    {"asked_by_name", RECORD_TEXT | RECORD_ABSENT},
    {"by", RECORD_TEXT | RECORD_ABSENT},
    {"by_call", RECORD_TEXT | RECORD_ABSENT},
    {"by_file", RECORD_TEXT | RECORD_ABSENT},
    {"by_function", RECORD_TEXT | RECORD_ABSENT},
    {"by_initial_call", RECORD_TEXT | RECORD_ABSENT},
    {"by_line", RECORD_INTEGER | RECORD_ABSENT},
    {"by_name", RECORD_TEXT | RECORD_ABSENT},
    {"by_node", RECORD_TEXT | RECORD_ABSENT},
    {"by_stack", RECORD_TEXTS},
    {"candidates", RECORD_OBJECTS},
    {"child", RECORD_TEXT | RECORD_ABSENT},
    {"command", RECORD_TEXT | RECORD_ABSENT},
    {"confidence", RECORD_WORD},
    {"detail", RECORD_TEXT | RECORD_ABSENT},
    {"driver", RECORD_TEXT | RECORD_ABSENT},
    {"evidence_lost", RECORD_BOOLEAN | RECORD_INTEGER},
    {"from", RECORD_INTEGER | RECORD_ABSENT},
    {"id", RECORD_ID | RECORD_ABSENT},
    {"initial_call", RECORD_TEXT | RECORD_ABSENT},
    {"limit_words", RECORD_INTEGER | RECORD_ABSENT},
    {"module", RECORD_TEXT | RECORD_ABSENT},
    {"name", RECORD_TEXT | RECORD_ABSENT},
    {"node", RECORD_TEXT | RECORD_ABSENT},
    {"operation", RECORD_TEXT | RECORD_ABSENT},
    {"parent", RECORD_TEXT | RECORD_ABSENT},
    {"pid", RECORD_TEXT},
    {"port", RECORD_TEXT | RECORD_ABSENT},
    {"reason", RECORD_TEXT | RECORD_ABSENT},
    {"reason_class", RECORD_TEXT},
    {"sibling", RECORD_TEXT | RECORD_ABSENT},
    {"sibling_id", RECORD_ID | RECORD_ABSENT},
    {"sibling_name", RECORD_TEXT | RECORD_ABSENT},
    {"size_words", RECORD_INTEGER | RECORD_ABSENT},
    {"source", RECORD_WORD},
    {"stack", RECORD_TEXTS},
    {"supervisor", RECORD_TEXT | RECORD_ABSENT},
    {"target", RECORD_TEXT | RECORD_ABSENT},
    {"timeout_ms", RECORD_INTEGER | RECORD_TEXT | RECORD_ABSENT},
    {"to", RECORD_INTEGER | RECORD_ABSENT},
    {"trap_exit", RECORD_BOOLEAN | RECORD_ABSENT},
    {"truncated", RECORD_BOOLEAN},
    {"via", RECORD_TEXT | RECORD_ABSENT},
    {"why", RECORD_TEXT | RECORD_ABSENT},
};

/* The parts of a record, in the order of the contract. */
static const struct {
    const char *key;
    unsigned types;
    bool exit_needs;
    bool gap_needs;
} parts[] = {
    {"severity", RECORD_TEXT, true, true},          {"message", RECORD_TEXT, true, true},
    {"process", RECORD_OBJECT, true, false},        {"exit", RECORD_OBJECT, true, false},
    {"origin", RECORD_OBJECT, false, false},        {"chain", RECORD_OBJECTS, false, false},
    {"chain_length", RECORD_INTEGER, false, false}, {"gap", RECORD_OBJECT, false, true},
};

/* What only the daemon says. */
static const char *const reserved[] = {"schema", "id", "time", "node", "lost_before"};

/* What a part must hold, and each element of a part that is an array of maps. */
static const struct {
    const char *section;
    const char *key;
} needs[] = {{"process", "pid"},     {"exit", "source"},   {"exit", "reason_class"},
             {"exit", "confidence"}, {"origin", "source"}, {"chain", "pid"},
             {"chain", "source"}};

static bool all_of(const json_t *array, json_type type)
{
    size_t index;
    json_t *value;

    json_array_foreach(array, index, value)
    {
        if (json_typeof(value) != type)
            return false;
    }
    return true;
}

/* An integer too large for a double arrives as a string of digits. */
static bool is_integer(const json_t *value)
{
    const char *text = json_string_value(value);

    return json_is_integer(value) ||
           (text != NULL && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0');
}

static bool is_word(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);

    return text != NULL && length >= 1 && length <= 32 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz_") == length;
}

static bool is_id(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t digits;

    if (text == NULL || strspn(text, "0123456789abcdef") != HELLO_INCARNATION)
        return false;
    text += HELLO_INCARNATION;
    if (text[0] != '-' || text[1] == '0')
        return false;
    digits = strspn(text + 1, "0123456789");
    return digits > 0 && text[1 + digits] == '\0';
}

static bool fits_types(const json_t *value, unsigned types)
{
    return ((types & RECORD_TEXT) && json_is_string(value)) ||
           ((types & RECORD_INTEGER) && is_integer(value)) ||
           ((types & RECORD_BOOLEAN) && json_is_boolean(value)) ||
           ((types & RECORD_OBJECT) && json_is_object(value)) ||
           ((types & RECORD_TEXTS) && json_is_array(value) && all_of(value, JSON_STRING)) ||
           ((types & RECORD_OBJECTS) && json_is_array(value) && all_of(value, JSON_OBJECT)) ||
           ((types & RECORD_WORD) && is_word(value)) || ((types & RECORD_ID) && is_id(value)) ||
           ((types & RECORD_ABSENT) && json_is_null(value));
}

static int compare_key(const void *key, const void *entry)
{
    const struct key_type *type = entry;

    return strcmp(key, type->key);
}

unsigned record_types_of(const char *key)
{
    const struct key_type *found = bsearch(key, key_types, sizeof(key_types) / sizeof(key_types[0]),
                                           sizeof(key_types[0]), compare_key);

    return found != NULL ? found->types : 0;
}

static bool check_section(const char *section, json_t *object, char *why);

/* What is no array has no elements here. */
static bool check_elements(const char *section, json_t *array, char *why)
{
    json_t *element;
    size_t index;

    json_array_foreach(array, index, element)
    {
        if (json_is_object(element) && !check_section(section, element, why))
            return false;
    }
    return true;
}

static bool check_section(const char *section, json_t *object, char *why)
{
    const char *key;
    json_t *value;

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (strcmp(needs[i].section, section) == 0 &&
            json_object_get(object, needs[i].key) == NULL) {
            snprintf(why, FRAME_WHY_SIZE, "a record without %s.%s", section, needs[i].key);
            return false;
        }
    }
    json_object_foreach(object, key, value)
    {
        unsigned types = record_types_of(key);

        if (types != 0 && !fits_types(value, types)) {
            snprintf(why, FRAME_WHY_SIZE, "a record whose %s.%s has the wrong type", section, key);
            return false;
        }
        if (!check_elements(key, value, why))
            return false;
    }
    return true;
}

static bool is_severity(const json_t *value)
{
#define X(symbol, name)                                                                            \
    if (strcmp(json_string_value(value), name) == 0)                                               \
        return true;
    CORONER_SEVERITIES(X)
#undef X
    return false;
}

static bool check_parts(uint64_t kind, const json_t *map, char *why)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *key = parts[i].key;
        json_t *value = json_object_get(map, key);

        if (value == NULL) {
            if (kind == WIRE_KIND_EXIT ? !parts[i].exit_needs : !parts[i].gap_needs)
                continue;
            snprintf(why, FRAME_WHY_SIZE, "a record without '%s'", key);
            return false;
        }
        if (!fits_types(value, parts[i].types)) {
            snprintf(why, FRAME_WHY_SIZE, "a record whose %s has the wrong type", key);
            return false;
        }
        if (json_is_object(value) && !check_section(key, value, why))
            return false;
        if (!check_elements(key, value, why))
            return false;
    }
    if (!is_severity(json_object_get(map, "severity"))) {
        snprintf(why, FRAME_WHY_SIZE, "a record whose severity is not one of the list");
        return false;
    }
    return true;
}

static bool check_record(uint64_t kind, const json_t *map, char *why)
{
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (json_object_get(map, reserved[i]) != NULL) {
            snprintf(why, FRAME_WHY_SIZE, "a record with '%s', which the daemon adds", reserved[i]);
            return false;
        }
    }
    return check_parts(kind, map, why);
}

static const char *schema_of(uint64_t kind)
{
    switch (kind) {
#define X(symbol, number, schema)                                                                  \
    case number:                                                                                   \
        return schema;
        WIRE_KINDS(X)
#undef X
    }
    return NULL;
}

/* The times of a gap travel as nanoseconds. */
static void set_gap_times(json_t *gap)
{
    static const char *const keys[] = {"from", "to"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *value = json_object_get(gap, keys[i]);
        char time[TIMESTAMP_SIZE];
        int64_t ns;

        if (value == NULL || !is_integer(value))
            continue;
        ns = json_is_integer(value) ? json_integer_value(value)
                                    : strtoll(json_string_value(value), NULL, 10);
        timestamp_format(ns, time);
        json_object_set_new(gap, keys[i], memory_check(json_string(time)));
    }
}

static void move(json_t *to, json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);

    if (value == NULL)
        return;
    json_object_set_nocheck(to, key, value);
    json_object_del(from, key);
}

/* The whole object in the contract's order. Uses up `map`. */
static json_t *assemble(const struct frame *frame, json_t *map, const struct hello *hello)
{
    json_t *line = memory_check(json_object());
    char time[TIMESTAMP_SIZE];

    timestamp_format((int64_t)frame->time_ns, time);
    json_object_set_new_nocheck(line, "schema", json_string(schema_of(frame->kind)));
    json_object_set_new_nocheck(line, "id",
                                json_sprintf("%s-%" PRIu64, hello->incarnation, frame->seq));
    json_object_set_new_nocheck(line, "time", json_string(time));
    move(line, map, "severity");
    move(line, map, "message");
    json_object_set_nocheck(line, "node", hello->node);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        move(line, map, parts[i].key);
    json_object_update(line, map);
    if (frame->lost_before >= FRAME_INTEGER_MAX)
        json_object_set_new_nocheck(line, "lost_before",
                                    json_sprintf("%" PRIu64, frame->lost_before));
    else
        json_object_set_new_nocheck(line, "lost_before",
                                    json_integer((json_int_t)frame->lost_before));
    return line;
}

size_t record_module_length(const char *call)
{
    const char *end = call;

    if (*end == '\'') {
        for (end++; *end != '\0' && *end != '\''; end++) {
            if (*end == '\\' && end[1] != '\0')
                end++;
        }
    }
    while (*end != '\0' && *end != ':')
        end++;
    return (size_t)(end - call);
}

static const char *column_text(const json_t *line, const char *section, const char *key)
{
    const json_t *object = section[0] == '\0' ? line : json_object_get(line, section);

    return json_string_value(json_object_get(object, key));
}

/* Everything in one piece of memory, so that a queue of them can be measured and freed simply. */
static struct record *pack(const struct frame *frame, const json_t *line, const char *json,
                           size_t json_length)
{
    const char *column[RECORD_COLUMN_COUNT] = {
#define X(name, section, key) [RECORD_COLUMN_##name] = column_text(line, section, key),
        RECORD_COLUMNS(X)
#undef X
    };
    size_t length[RECORD_COLUMN_COUNT] = {0};
    size_t size = sizeof(struct record) + json_length + 1;
    struct record *record;
    char *at;

    column[RECORD_COLUMN_initial_module] = column[RECORD_COLUMN_initial_call];
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        if (column[i] == NULL)
            continue;
        length[i] =
            i == RECORD_COLUMN_initial_module ? record_module_length(column[i]) : strlen(column[i]);
        size += length[i] + 1;
    }

    record = memory_get(size);
    *record = (struct record){.seq = frame->seq,
                              .time_ns = frame->time_ns,
                              .kind = frame->kind,
                              .json_length = json_length,
                              .size = size};
    at = (char *)(record + 1);
    record->json = memcpy(at, json, json_length);
    at += json_length;
    *at++ = '\0';
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        if (column[i] == NULL)
            continue;
        record->column[i] = memcpy(at, column[i], length[i]);
        at += length[i];
        *at++ = '\0';
    }
    return record;
}

struct record *record_make(struct frame *frame, const struct hello *hello, enum record_fit *fit,
                           char why[FRAME_WHY_SIZE])
{
    char json[RECORD_LINE_MAX];
    struct record *record;
    json_t *line;
    size_t length;

    if (!check_record(frame->kind, frame->map, why))
        return NULL;
    if (frame->kind == WIRE_KIND_GAP)
        set_gap_times(json_object_get(frame->map, "gap"));
    line = assemble(frame, frame->map, hello);
    length = json_dumpb(line, json, sizeof(json), JSON_COMPACT);
    *fit = RECORD_WHOLE;
    if (length > sizeof(json)) {
        length = shrink(line, json, sizeof(json));
        *fit = RECORD_SHRUNK;
    }
    record = pack(frame, line, json, length);
    json_decref(line);
    return record;
}
