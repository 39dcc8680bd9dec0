#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "record.h"
#include "shape.h"
#include "shrink.h"
#include "timestamp.h"

#define LINE_MAX_BYTES (WIRE_RECORD_JSON_MAX - 1) /* without the newline */

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

        if (value == NULL || !shape_is_integer(value))
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
    for (size_t i = 0; i < SHAPE_PARTS; i++)
        move(line, map, shape_parts[i].key);
    json_object_update(line, map);
    if (frame->lost_before >= FRAME_INTEGER_MAX)
        json_object_set_new_nocheck(line, "lost_before",
                                    json_sprintf("%" PRIu64, frame->lost_before));
    else
        json_object_set_new_nocheck(line, "lost_before",
                                    json_integer((json_int_t)frame->lost_before));
    return line;
}

/* The module of "module:function/arity", where the module may be quoted. */
static size_t module_length(const char *call, size_t length)
{
    size_t end = 0;

    if (length > 0 && call[0] == '\'') {
        for (end++; end < length && call[end] != '\''; end++) {
            if (call[end] == '\\' && end + 1 < length)
                end++;
        }
    }
    while (end < length && call[end] != ':')
        end++;
    return end;
}

struct record *record_pack(struct record_parts *parts)
{
    size_t size = sizeof(struct record) + parts->json_length + 1;
    struct record *record;
    char *at;

    parts->text[RECORD_COLUMN_initial_module] = parts->text[RECORD_COLUMN_initial_call];
    if (parts->text[RECORD_COLUMN_initial_call] != NULL)
        parts->length[RECORD_COLUMN_initial_module] = module_length(
            parts->text[RECORD_COLUMN_initial_call], parts->length[RECORD_COLUMN_initial_call]);
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        if (parts->text[i] != NULL)
            size += parts->length[i] + 1;
    }

    record = memory_get(size);
    *record = (struct record){.seq = parts->seq,
                              .time_ns = parts->time_ns,
                              .kind = parts->kind,
                              .json_length = parts->json_length,
                              .size = size};
    at = (char *)(record + 1);
    record->json = memcpy(at, parts->json, parts->json_length);
    at += parts->json_length;
    *at++ = '\0';
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        if (parts->text[i] == NULL)
            continue;
        record->column[i] = memcpy(at, parts->text[i], parts->length[i]);
        at += parts->length[i];
        *at++ = '\0';
    }
    return record;
}

static void take_column(struct record_parts *parts, enum record_column column, const json_t *line,
                        const char *section, const char *key)
{
    const json_t *object = section[0] == '\0' ? line : json_object_get(line, section);
    const json_t *value = json_object_get(object, key);

    parts->text[column] = json_string_value(value);
    parts->length[column] = json_string_length(value);
}

static struct record *pack(const struct frame *frame, const json_t *line, const char *json,
                           size_t json_length)
{
    struct record_parts parts = {.seq = frame->seq,
                                 .time_ns = frame->time_ns,
                                 .kind = frame->kind,
                                 .json = json,
                                 .json_length = json_length};

#define X(column, section, key) take_column(&parts, RECORD_COLUMN_##column, line, section, key);
    RECORD_COLUMNS(X)
#undef X
    return record_pack(&parts);
}

struct record *record_make(struct frame *frame, const struct hello *hello, enum record_fit *fit,
                           char why[FRAME_WHY_SIZE])
{
    char json[LINE_MAX_BYTES];
    struct record *record;
    json_t *line;
    size_t length;

    if (!shape_check(frame->kind, frame->map, why))
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
