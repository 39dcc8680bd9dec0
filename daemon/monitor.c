#include <microhttpd.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "memory.h"
#include "monitor.h"
#include "process_numbers.h"
#include "version.h"

struct monitor {
    struct monitor_parts parts;
    struct metrics *metrics;
    struct health *health;
    const char *why_not_ready;
};

/* ---- the parts that have no teller of their own ---- */

static void tell_process(void *cookie, struct metrics_page *page)
{
    const struct monitor *monitor = cookie;

    metrics_family(page, "coroner_build_info", METRICS_GAUGE,
                   "Always 1; the labels say what was built and what it runs with.");
    metrics_count(page, 1, "version", CORONERD_VERSION, "sqlite", sqlite3_libversion(), "libuv",
                  uv_version_string(), "libmicrohttpd", MHD_get_version(), NULL);
    process_numbers_tell(monitor->parts.started_ns, page);
}

static void tell_store(void *cookie, struct metrics_page *page)
{
    const struct monitor *monitor = cookie;
    struct store_numbers numbers;
    struct store_health health;
    struct statvfs room;

    store_numbers(monitor->parts.store, &numbers);
    store_health(monitor->parts.store, &health);
    metrics_family(page, "coroner_store_rows", METRICS_GAUGE, "Records that can be read.");
    metrics_count(page, numbers.rows, NULL);
    metrics_family(page, "coroner_store_bytes", METRICS_GAUGE, "Bytes of the store's files.");
    metrics_count(page, numbers.bytes, NULL);
    metrics_family(page, "coroner_store_segments", METRICS_GAUGE,
                   "Files that the store consists of.");
    metrics_count(page, numbers.segments, NULL);
    metrics_family(page, "coroner_store_segments_unindexed", METRICS_GAUGE,
                   "Closed files whose indexes are still to be made.");
    metrics_count(page, numbers.unindexed, NULL);
    metrics_family(page, "coroner_store_segments_set_aside", METRICS_GAUGE,
                   "Damaged files in the store's folder.");
    metrics_count(page, numbers.set_aside, NULL);
    metrics_family(
        page, "coroner_store_expired_total", METRICS_COUNTER,
        "Records that the store dropped, ever: for their age, its size, or a full disk.");
    metrics_count(page, numbers.expired_by_age, "why", "age", NULL);
    metrics_count(page, numbers.expired_by_size, "why", "size", NULL);
    metrics_count(page, numbers.expired_by_full, "why", "full", NULL);
    metrics_family(page, "coroner_store_missing_total", METRICS_COUNTER,
                   "Records of files that were damaged or not there, ever.");
    metrics_count(page, numbers.missing, NULL);
    metrics_family(page, "coroner_store_oldest_row", METRICS_GAUGE,
                   "Number of the oldest row that can be read, 0 if there is none.");
    metrics_count(page, (uint64_t)numbers.oldest_row, NULL);
    metrics_family(page, "coroner_store_last_row", METRICS_GAUGE,
                   "Number of the newest row, which rises with each record.");
    metrics_count(page, (uint64_t)store_head(monitor->parts.store), NULL);
    metrics_family(page, "coroner_store_degraded", METRICS_GAUGE,
                   "1 while something is or was lost of the store, or is about to be.");
    metrics_count(page, health.state == STORE_DEGRADED, NULL);
    if (statvfs(monitor->parts.store_path, &room) == 0) {
        metrics_family(page, "coroner_store_free_bytes", METRICS_GAUGE,
                       "Bytes that the file system of the store has left for the daemon.");
        metrics_count(page, (uint64_t)room.f_bavail * room.f_frsize, NULL);
    }
}

/* That it cannot be written is the writer's to say, who tries. */
static void look_at_store(void *cookie, struct health_report *report)
{
    const struct monitor *monitor = cookie;
    struct store_health health;

    store_health(monitor->parts.store, &health);
    if (health.state == STORE_DEGRADED)
        health_say(report, HEALTH_DEGRADED, "store_degraded", "%s", health.reason);
}

/* One number of every sink. */
static void tell_each(const struct sinks *sinks, struct metrics_page *page,
                      uint64_t (*number)(const struct sink_numbers *numbers))
{
    for (size_t i = 0; i < sinks_count(sinks); i++) {
        struct sink_numbers numbers = sinks_numbers(sinks, i);

        metrics_count(page, number(&numbers), "sink", numbers.name, NULL);
    }
}

#define SINK_NUMBERS(X)                                                                            \
    X(behind_rows, "coroner_sink_lag_rows", METRICS_GAUGE,                                         \
      "Records that are stored and not handed over by the sink yet.")                              \
    X(behind_seconds, "coroner_sink_lag_seconds", METRICS_GAUGE,                                   \
      "Age of the oldest record that is not handed over yet.")                                     \
    X(unsafe_rows, "coroner_sink_unsafe_rows", METRICS_GAUGE,                                      \
      "Records that are handed over and not known to be safe yet.")                                \
    X(lines, "coroner_sink_lines_total", METRICS_COUNTER, "Lines that the sink has handed over.")  \
    X(bytes, "coroner_sink_bytes_total", METRICS_COUNTER, "Bytes of these lines.")                 \
    X(retries, "coroner_sink_retries_total", METRICS_COUNTER,                                      \
      "Attempts that failed and were made again.")                                                 \
    X(lost, "coroner_sink_lost_total", METRICS_COUNTER,                                            \
      "Records that retention took from the store before the sink had them.")                      \
    X(folded, "coroner_sink_folded_total", METRICS_COUNTER,                                        \
      "Records that are counted in a summary instead of having a line.")

#define X(member, name, type, help)                                                                \
    static uint64_t sink_##member(const struct sink_numbers *numbers)                              \
    {                                                                                              \
        return numbers->member;                                                                    \
    }
SINK_NUMBERS(X)
#undef X

static void tell_sinks(void *cookie, struct metrics_page *page)
{
    static const char *const states[] = {
        [SINK_OK] = "ok", [SINK_RETRYING] = "retrying", [SINK_BROKEN] = "broken"};
    const struct monitor *monitor = cookie;
    const struct sinks *sinks = monitor->parts.sinks;

    if (sinks_count(sinks) == 0)
        return;
#define X(member, name, type, help)                                                                \
    metrics_family(page, name, type, help);                                                        \
    tell_each(sinks, page, sink_##member);
    SINK_NUMBERS(X)
#undef X
    metrics_family(page, "coroner_sink_state", METRICS_GAUGE,
                   "1 for the state that the sink is in, 0 for the others.");
    for (size_t i = 0; i < sinks_count(sinks); i++) {
        struct sink_numbers numbers = sinks_numbers(sinks, i);

        for (size_t state = 0; state < sizeof(states) / sizeof(states[0]); state++)
            metrics_count(page, numbers.state == state, "sink", numbers.name, "state",
                          states[state], NULL);
    }
}

static void look_at_sinks(void *cookie, struct health_report *report)
{
    const struct monitor *monitor = cookie;

    for (size_t i = 0; i < sinks_count(monitor->parts.sinks); i++) {
        struct sink_numbers numbers = sinks_numbers(monitor->parts.sinks, i);

        if (numbers.state == SINK_RETRYING)
            health_say(report, HEALTH_DEGRADED, "sink_retrying",
                       "sink %s: %s; what it has not got waits in the store", numbers.name,
                       numbers.reason);
        else if (numbers.state == SINK_BROKEN)
            health_say(report, HEALTH_DEGRADED, "sink_broken",
                       "sink %s: %s; it rests until coronerd is started anew", numbers.name,
                       numbers.reason);
    }
}

/* ---- the pages ---- */

static unsigned make_metrics(void *cookie, struct buffer *body)
{
    const struct monitor *monitor = cookie;

    metrics_write(monitor->metrics, body);
    return MHD_HTTP_OK;
}

static void put_json(json_t *object, struct buffer *body)
{
    char *text = memory_check(json_dumps(object, JSON_COMPACT));

    buffer_text(body, text);
    buffer_text(body, "\n");
    free(text);
    json_decref(object);
}

/*
 * Degraded is 200: records are stored, and whoever restarts or takes away what answers 503 would
 * make it worse. Failing is 503, so that it is seen by those, too, who look at the status alone.
 */
static unsigned make_healthz(void *cookie, struct buffer *body)
{
    const struct monitor *monitor = cookie;
    enum health_level level;

    put_json(health_ask(monitor->health, &level), body);
    return level == HEALTH_FAILING ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK;
}

static unsigned make_readyz(void *cookie, struct buffer *body)
{
    const struct monitor *monitor = cookie;

    if (monitor->why_not_ready == NULL) {
        put_json(memory_check(json_pack("{ss}", "status", "ready")), body);
        return MHD_HTTP_OK;
    }
    put_json(
        memory_check(json_pack("{ss ss}", "status", "not ready", "reason", monitor->why_not_ready)),
        body);
    return MHD_HTTP_SERVICE_UNAVAILABLE;
}

struct monitor *monitor_new(struct http *http, const struct monitor_parts *parts)
{
    struct monitor *monitor = memory_zeroed(sizeof(*monitor));
    const struct http_page pages[] = {
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8", make_metrics, monitor},
        {"/healthz", "application/json", make_healthz, monitor},
        {"/readyz", "application/json", make_readyz, monitor},
    };

    monitor->parts = *parts;
    monitor->metrics = metrics_new();
    monitor->health = health_new();
    monitor->why_not_ready = "starting";
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        http_serve(http, &pages[i]);
    metrics_collect(monitor->metrics, tell_process, monitor);
    metrics_collect(monitor->metrics, tell_store, monitor);
    metrics_collect(monitor->metrics, tell_sinks, monitor);
    http_tell(http, monitor->metrics);
    writer_tell(parts->writer, monitor->metrics);
    health_watch(monitor->health, look_at_store, monitor);
    health_watch(monitor->health, look_at_sinks, monitor);
    writer_watch(parts->writer, monitor->health);
    return monitor;
}

struct metrics *monitor_metrics(struct monitor *monitor)
{
    return monitor->metrics;
}

struct health *monitor_health(struct monitor *monitor)
{
    return monitor->health;
}

void monitor_ready(struct monitor *monitor, const char *why_not)
{
    if (monitor != NULL)
        monitor->why_not_ready = why_not;
}

void monitor_free(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    metrics_free(monitor->metrics);
    health_free(monitor->health);
    free(monitor);
}
