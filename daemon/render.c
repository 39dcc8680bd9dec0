#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "render.h"

const char *render_start(enum sink_format format)
{
    switch (format) {
    case SINK_NATIVE:
        return "{\"schema\":\"coroner.";
    case SINK_ECS:
        return "{\"@timestamp\":\"";
    case SINK_OTLP:
        return "{\"resourceLogs\":[{";
    }
    return "";
}

const char *render_id_key(enum sink_format format)
{
    switch (format) {
    case SINK_NATIVE:
    case SINK_ECS:
        return "\"id\":\"";
    case SINK_OTLP:
        return "\"log.record.uid\",\"value\":{\"stringValue\":\"";
    }
    return "";
}

bool render_line(enum sink_format format, const char *json, size_t length, struct buffer *out)
{
    json_t *record, *rendered;
    char *text;

    if (format == SINK_NATIVE) {
        buffer_append(out, json, length);
        buffer_text(out, "\n");
        return true;
    }
    record = json_loadb(json, length, 0, NULL);
    if (!json_is_object(record)) {
        json_decref(record);
        buffer_append(out, json, length);
        buffer_text(out, "\n");
        return false;
    }
    rendered = format == SINK_ECS ? render_ecs(record) : render_otlp(record);
    text = memory_check(json_dumps(rendered, JSON_COMPACT));
    buffer_text(out, text);
    buffer_text(out, "\n");
    free(text);
    json_decref(rendered);
    json_decref(record);
    return true;
}
