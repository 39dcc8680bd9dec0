#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "health.h"
#include "memory.h"
#include "reply.h"

#define MESSAGE_SIZE 512

struct health {
    struct {
        void (*look)(void *cookie, struct health_report *report);
        void *cookie;
    } watches[HEALTH_WATCHES_MAX];
    size_t count;
};

struct health_report {
    json_t *reasons;
    enum health_level level;
};

struct health *health_new(void)
{
    return memory_zeroed(sizeof(struct health));
}

void health_free(struct health *health)
{
    free(health);
}

void health_watch(struct health *health, void (*look)(void *cookie, struct health_report *report),
                  void *cookie)
{
    if (health->count == HEALTH_WATCHES_MAX)
        abort();
    health->watches[health->count].look = look;
    health->watches[health->count].cookie = cookie;
    health->count++;
}

void health_say(struct health_report *report, enum health_level level, const char *code,
                const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (level > report->level)
        report->level = level;
    /* There may be a path in it, and it may be cut. */
    json_array_append_new(report->reasons,
                          memory_check(json_pack("{ss so}", "code", code, "message",
                                                 reply_text(message, strlen(message)))));
}

json_t *health_ask(const struct health *health, enum health_level *level)
{
    static const char *const words[] = {
        [HEALTH_OK] = "ok", [HEALTH_DEGRADED] = "degraded", [HEALTH_FAILING] = "failing"};
    struct health_report report = {.reasons = memory_check(json_array())};
    json_t *answer;

    for (size_t i = 0; i < health->count; i++)
        health->watches[i].look(health->watches[i].cookie, &report);
    answer = memory_check(json_pack("{ss}", "status", words[report.level]));
    if (json_array_size(report.reasons) > 0)
        json_object_set(answer, "reasons", report.reasons);
    json_decref(report.reasons);
    *level = report.level;
    return answer;
}
