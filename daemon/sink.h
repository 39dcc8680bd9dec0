/*
 * A sink: a place where records go as lines, at a pace of its own.
 *
 * It is a cursor over the store with a thread of its own, which reads the rows behind the cursor,
 * renders them (render.h), folds them if it is told to (fold.h) and hands them to what knows the
 * place (sink_driver.h). So a place that is slow, blocked or gone holds up neither the loop, nor
 * the pool that the writer and the queries share, nor another sink; and what it has not got yet
 * waits in the store and not in memory. The cursor is moved once a line is safe there, and what
 * "safe" means is the driver's to say.
 */
#ifndef CORONER_SINK_H
#define CORONER_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"
#include "store.h"

#define SINK_WHY_SIZE 256

struct sink;

enum sink_state {
    SINK_OK,       /* it takes lines, or waits for a reader that is slow */
    SINK_RETRYING, /* the last attempt failed; it is tried again, less and less often */
    SINK_BROKEN    /* it rests until the daemon is started again */
};

/* How a sink does, for `status` and the metrics. Counters are of this run. */
struct sink_numbers {
    const char *name;
    enum sink_type type;
    enum sink_state state;
    int64_t since_ns;           /* time of day at which the state began */
    char reason[SINK_WHY_SIZE]; /* why, unless it is SINK_OK */
    uint64_t lines;             /* handed over whole */
    uint64_t bytes;
    uint64_t behind_rows;    /* committed, and not handed over yet */
    uint64_t behind_seconds; /* age of the oldest of these, by its own time */
    uint64_t unsafe_rows;    /* handed over, and not known to be safe yet */
    uint64_t retries;
    uint64_t lost;   /* rows that retention took before the sink had them */
    uint64_t folded; /* records counted in a summary instead of having a line */
};

/*
 * sink_new(settings, store, reader, head, news, cookie, why):
 * Start the sink of ${settings}, which outlive it, from where it had come to, or from the beginning
 * of ${store}. ${reader} is the sink's alone and freed with it; ${head} is the last row. Its thread
 * calls news(cookie) when there is something to take with sink_take, or it has ended. Return NULL
 * and say in ${why} what is wrong if it cannot be begun; ${reader} then still belongs to the
 * caller.
 */
struct sink *sink_new(const struct sink_settings *settings, struct store *store,
                      struct store_reader *reader, int64_t head, void (*news)(void *cookie),
                      void *cookie, char why[SINK_WHY_SIZE]);

/*
 * sink_name(sink):
 * Return its name, which is also its cursor's, and lives as long as the settings.
 */
const char *sink_name(const struct sink *sink);

/*
 * sink_head(sink, head):
 * Say that the last row is ${head} now.
 */
void sink_head(struct sink *sink, int64_t head);

/*
 * sink_reopen(sink):
 * Open anew what can be (a file that was renamed), and try at once what waits to be tried again.
 */
void sink_reopen(struct sink *sink);

/*
 * sink_drain(sink):
 * Hand over everything that is in the store, summaries that wait included, and make it safe.
 */
void sink_drain(struct sink *sink);

/* What sink_take tells. */
struct sink_news {
    bool moved;     /* the cursor is now: */
    int64_t cursor; /* every row up to here is safe */
    bool drained;   /* everything is, or it cannot be done at present */
    bool ended;     /* the thread is at its end: sink_free does not wait */
};

/*
 * sink_take(sink):
 * Return what is new since the last call.
 */
struct sink_news sink_take(struct sink *sink);

/*
 * sink_numbers(sink):
 * Return its numbers.
 */
struct sink_numbers sink_numbers(struct sink *sink);

/*
 * sink_end(sink):
 * Let the thread come to its end: news(cookie) tells when it has.
 */
void sink_end(struct sink *sink);

/*
 * sink_free(sink):
 * Free a sink that has ended.
 */
void sink_free(struct sink *sink);

#endif
