#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "reply.h"
#include "utf8.h"

void reply_init(struct reply *reply, const json_t *id, bool bare)
{
    char *text = id != NULL ? json_dumps(id, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    *reply = (struct reply){.bare = bare};
    buffer_text(&reply->head, "{\"id\":");
    buffer_text(&reply->head, text != NULL ? text : "null");
    free(text);
}

void reply_clear(struct reply *reply)
{
    buffer_clear(&reply->out);
    buffer_clear(&reply->head);
    json_decref(reply->closing);
    reply->closing = NULL;
}

void reply_record(struct reply *reply, const char *json, size_t length, const char *cursor,
                  json_t *cascade)
{
    char *text;

    reply->count++;
    if (reply->bare) {
        buffer_append(&reply->out, json, length);
        buffer_text(&reply->out, "\n");
        json_decref(cascade);
        return;
    }
    buffer_append(&reply->out, reply->head.data, reply->head.length);
    buffer_text(&reply->out, ",\"exit\":");
    buffer_append(&reply->out, json, length);
    if (cascade != NULL) {
        text = memory_check(json_dumps(cascade, JSON_COMPACT));
        buffer_text(&reply->out, ",\"cascade\":");
        buffer_text(&reply->out, text);
        free(text);
        json_decref(cascade);
    }
    if (cursor != NULL) {
        buffer_text(&reply->out, ",\"cursor\":\"");
        buffer_text(&reply->out, cursor);
        buffer_text(&reply->out, "\"");
    }
    buffer_text(&reply->out, "}\n");
}

/* The members of `object` after the head, or alone. */
static void line(struct reply *reply, json_t *object, bool with_head)
{
    char *text = memory_check(json_dumps(object, JSON_COMPACT));

    if (with_head) {
        buffer_append(&reply->out, reply->head.data, reply->head.length);
        if (json_object_size(object) > 0)
            buffer_text(&reply->out, ",");
        buffer_text(&reply->out, text + 1);
    } else {
        buffer_text(&reply->out, text);
    }
    buffer_text(&reply->out, "\n");
    free(text);
    json_decref(object);
}

void reply_object(struct reply *reply, json_t *object)
{
    reply->count++;
    line(reply, object, !reply->bare);
}

void reply_notice(struct reply *reply, json_t *object)
{
    if (reply->bare)
        json_decref(object);
    else
        line(reply, object, true);
}

void reply_closing(struct reply *reply, const char *key, json_t *value)
{
    if (reply->closing == NULL)
        reply->closing = memory_check(json_object());
    json_object_set_new(reply->closing, key, value);
}

json_t *reply_text(const char *text, size_t length)
{
    struct buffer clean = {0};
    json_t *value;

    utf8_clean(text, length, &clean);
    value = memory_check(json_stringn_nocheck(clean.data != NULL ? clean.data : "", clean.length));
    buffer_clear(&clean);
    return value;
}

json_t *reply_integer(int64_t number)
{
    const int64_t least = INT64_C(1) << 53;

    return memory_check(number > -least && number < least
                            ? json_integer((json_int_t)number)
                            : json_sprintf("%lld", (long long)number));
}

void reply_done(struct reply *reply)
{
    json_t *object =
        memory_check(json_pack("{sb sI}", "done", 1, "count", (json_int_t)reply->count));

    if (reply->closing != NULL)
        json_object_update(object, reply->closing);
    reply_notice(reply, object);
}

void reply_failed(struct reply *reply, const struct reply_error *error)
{
    json_t *field =
        error->field[0] != '\0' ? reply_text(error->field, strlen(error->field)) : json_null();

    line(
        reply,
        memory_check(json_pack("{s{ss so so}}", "error", "code", error->code, "message",
                               reply_text(error->message, strlen(error->message)), "field", field)),
        true);
}

void reply_error_set(struct reply_error *error, const char *code, const char *field,
                     const char *format, ...)
{
    va_list arguments;

    error->code = code;
    snprintf(error->field, sizeof(error->field), "%s", field != NULL ? field : "");
    va_start(arguments, format);
    vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
}
