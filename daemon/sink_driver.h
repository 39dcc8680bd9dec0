/*
 * What knows a kind of place that lines can go to. A driver is used by its sink's thread alone, and
 * may block where nothing better can be done: on a disk. For anything else it waits with poll, so
 * that the sink can be ended.
 */
#ifndef CORONER_SINK_DRIVER_H
#define CORONER_SINK_DRIVER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "settings.h"
#include "sink.h"
#include "store.h"

/* A line of a batch. */
struct sink_line {
    size_t end;   /* offset behind its newline */
    int64_t safe; /* where the cursor may go once this line is safe */
    /* Of the native record it is made of; offsets into `keys`, NUL-terminated texts. */
    size_t id;
    size_t node;
    size_t source;
};

/* Lines to hand over, and how far that has come. */
struct sink_batch {
    struct buffer data; /* whole lines */
    struct sink_line *lines;
    size_t count;
    size_t capacity;
    struct buffer keys;
    int64_t safe; /* where the cursor may go once all of it is safe: rows may have no line */

    size_t next;   /* the first line that is not handed over whole */
    size_t offset; /* of the first byte that is not handed over */
};

enum sink_outcome {
    SINK_DONE,
    SINK_FULL,  /* it takes no more for now: poll tells when it does */
    SINK_ERROR, /* try again later */
    SINK_BACK,  /* what was handed over since the last safe row must be again; later */
    SINK_END    /* it takes nothing more in this run */
};

/* What a driver may ask of its sink. */
struct sink_context {
    const struct sink_settings *settings;
    struct store_reader *reader;  /* while nothing else reads: in `open` */
    int64_t cursor;               /* in: where the sink had come to; `open` may move it forward */
    bool (*ending)(void *cookie); /* whether the sink is to end: look while waiting */
    void *cookie;
};

#define SINK_POLL_MAX 4

struct sink_driver {
    /*
     * open(context, why): take up the work where it was left. Called on the loop, so it does not
     * wait. Returns the driver's state, or NULL with ${why} if it makes no sense to go on.
     */
    void *(*open)(struct sink_context *context, char *why);

    /*
     * ready(state, why): be there for lines: connect, start what is to be running. Called before
     * write, and when there is nothing to write, too. May be NULL.
     */
    enum sink_outcome (*ready)(void *state, char *why);

    /* write(state, batch, why): hand over lines from batch->next and batch->offset on. */
    enum sink_outcome (*write)(void *state, struct sink_batch *batch, char *why);

    /*
     * confirm(state, handed, safe, why): everything up to ${handed} is handed over. Set *${safe} to
     * how far it is safe, after making it so if that is in the driver's power.
     */
    enum sink_outcome (*confirm)(void *state, int64_t handed, int64_t *safe, char *why);

    /* Milliseconds between two calls of confirm; it is called at the end of a drain, too. */
    int confirm_ms;

    /*
     * poll(state, full, set): fill ${set} with at most SINK_POLL_MAX descriptors to wait for;
     * ${full}: wait for room, too. Returns how many. May be NULL.
     */
    int (*poll)(void *state, bool full, struct pollfd *set);

    /* look(state, why): deal with what came on the descriptors, or with time that has passed. May
     * be NULL. */
    enum sink_outcome (*look)(void *state, char *why);

    /* reopen(state, batch): may be NULL. */
    void (*reopen)(void *state, struct sink_batch *batch);

    /* close(state, batch, drained): let go; ${drained} says that everything was handed over. */
    void (*close)(void *state, struct sink_batch *batch, bool drained);
};

extern const struct sink_driver sink_file;
extern const struct sink_driver sink_stdout;
extern const struct sink_driver sink_exec;
extern const struct sink_driver sink_nats;

/*
 * sink_say(why, format, ...):
 * Write to ${why}, of SINK_WHY_SIZE bytes.
 */
void sink_say(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * sink_advance(batch, bytes):
 * Note that ${bytes} more of the batch's data are handed over.
 */
void sink_advance(struct sink_batch *batch, size_t bytes);

/*
 * sink_line_start(batch):
 * Return the offset at which the line begins that batch->offset is in.
 */
size_t sink_line_start(const struct sink_batch *batch);

#endif
