/*
 * What a monitoring system asks the daemon for: /metrics, /healthz and /readyz, put together from
 * what the parts of the daemon tell of themselves.
 */
#ifndef CORONER_MONITOR_H
#define CORONER_MONITOR_H

#include <stdint.h>

#include "health.h"
#include "http.h"
#include "metrics.h"
#include "sinks.h"
#include "store.h"
#include "writer.h"

struct monitor;

/* Whom it asks. All outlive it. */
struct monitor_parts {
    struct writer *writer;
    const struct sinks *sinks;
    struct store *store;
    const char *store_path;
    int64_t started_ns;
};

/*
 * monitor_new(http, parts):
 * Serve the pages at ${http}, which must be closed before this is freed. ${parts} is copied.
 */
struct monitor *monitor_new(struct http *http, const struct monitor_parts *parts);

/*
 * monitor_metrics(monitor), monitor_health(monitor):
 * Return where other parts can register what they tell.
 */
struct metrics *monitor_metrics(struct monitor *monitor);
struct health *monitor_health(struct monitor *monitor);

/*
 * monitor_ready(monitor, why_not):
 * From now on /readyz says that the daemon is ready, or with the static ${why_not} that it is not
 * and why. Before the first call it says that the daemon starts. ${monitor} may be NULL.
 */
void monitor_ready(struct monitor *monitor, const char *why_not);

/*
 * monitor_free(monitor):
 * Free ${monitor}, which may be NULL.
 */
void monitor_free(struct monitor *monitor);

#endif
