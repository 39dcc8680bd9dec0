/*
 * The query socket: requests as JSON lines, answers as JSON lines (docs/protocol.md). This module
 * knows connections, lines, ids, limits and turns; what can be asked is registered by the modules
 * that can answer it.
 */
#ifndef CORONER_QUERY_H
#define CORONER_QUERY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "access.h"
#include "endpoint.h"
#include "metrics.h"
#include "reply.h"
#include "store.h"
#include "writer.h"

/*
 * Answers that are worked on at the same time, each on a thread of libuv's pool with a reader of
 * the store: one for short turns alone, one also for what should have been short, and one for what
 * takes long, so that no heavy count holds up those who want a short answer.
 */
#define QUERY_READERS 3

#define QUERY_DEADLINE_MS 5000 /* unless query_deadline says otherwise */

struct query;

/* What a step of an answer came to. */
enum query_step {
    QUERY_MORE,  /* there is more: take another turn */
    QUERY_DONE,  /* the answer is complete but for its last line */
    QUERY_WAIT,  /* nothing more before the next commit (subscriptions) */
    QUERY_FAILED /* the error says why */
};

/* What a step has to work with. */
struct query_context {
    struct store_reader *reader; /* NULL when the step runs on the loop */
    int64_t head;                /* the last row that is committed */
    bool lagging;                /* the peer has let a line wait while very much was committed */
    bool heartbeat;              /* nothing was sent for so long that a sign of life is due */
    uint64_t left_out;           /* set by the step: records that it left out for that */
    struct reply *reply;
    struct reply_error *error;
};

/* A command. All strings are static. */
struct query_op {
    const char *name;
    const char *usage;       /* an example of a request */
    const char *summary;     /* a sentence */
    const char *const *keys; /* besides id, op and bare; NULL-terminated */
    bool subscribes;         /* the answer goes on until it is ended by `unsubscribe` */

    /*
     * On the loop: check the request and return the state of its answer, which `end` frees; or
     * return NULL and fill the error.
     */
    void *(*begin)(void *cookie, const json_t *request, struct reply_error *error);
    /*
     * Answer in turns, each of bounded work and output. On a thread if `on_thread`, else on the
     * loop. A turn that the reader's deadline interrupts fails with "timeout"; what it has put out
     * stays, and unless the whole deadline has passed it is taken again where there is more time.
     */
    enum query_step (*step)(void *state, struct query_context *context);
    bool on_thread;
    bool quick; /* its turns are short, and go before those of others */
    /* How many seconds of silence end with a heartbeat, 0: none do. NULL if none ever do. */
    unsigned (*heartbeat)(const void *state);
    void (*end)(void *state);
    void *cookie; /* of begin */
};

/*
 * query_new(loop, endpoint, access, writer, readers, why):
 * Listen at ${endpoint}, whose descriptor is taken over, and serve whom ${access} lets in; both are
 * freed with it. The QUERY_READERS ${readers} are taken over, too. Return NULL if that fails, say
 * in ${why} what is wrong, and leave the readers to the caller.
 */
struct query *query_new(uv_loop_t *loop, struct endpoint *endpoint, struct access *access,
                        struct writer *writer, struct store_reader *const readers[QUERY_READERS],
                        char why[ENDPOINT_WHY_SIZE]);

/*
 * query_deadline(query, deadline_ms):
 * Work at most ${deadline_ms} on one request; 0 stands for what is usual. For requests to come.
 */
void query_deadline(struct query *query, unsigned deadline_ms);

/*
 * query_register(query, op):
 * Answer requests for op->name with ${op}, which stays where it is for the life of ${query}.
 */
void query_register(struct query *query, const struct query_op *op);

/*
 * query_op_at(query, index):
 * Return the command registered as number ${index}, from 0, or NULL.
 */
const struct query_op *query_op_at(const struct query *query, size_t index);

/*
 * query_status(query):
 * Return a new object with the numbers of this run.
 */
json_t *query_status(const struct query *query);

/*
 * query_tell(query, metrics):
 * Let ${query} tell its numbers to ${metrics}, which it must outlive.
 */
void query_tell(struct query *query, struct metrics *metrics);

/*
 * query_close(query):
 * Close all connections. The memory is freed when the loop has run on; NULL is fine.
 */
void query_close(struct query *query);

#endif
