#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acceptor.h"
#include "log.h"
#include "memory.h"
#include "query.h"

#define SUBSCRIPTIONS_MAX 16
#define OPS_MAX 32
#define BACKLOG 64
#define LINE_MAX_BYTES 65536 /* of a request, with its newline */
#define ID_MAX_BYTES 256
#define TURN_MS 100 /* of a turn that others wait behind */
#define OUT_MAX                                                                                    \
    (64 << 20)         /* bytes that peers leave unread, all told, before questions are refused */
#define LAG_ROWS 16384 /* committed while one write waits: the peer does not read */
#define TICK_MS 1000
#define SERVED_MAX 16       /* users among whom a lane takes turns */
#define OUT_SHARE (1 << 20) /* of OUT_MAX that each user has all the same */

/* One request that is being answered. */
struct task {
    json_t *request; /* until its turn comes */
    const struct query_op *op;
    void *state;
    struct reply reply;
    struct reply_error error;
    json_t *id;
    unsigned spent_ms; /* on threads */
    bool heavy;        /* took longer than a short turn */
    bool beat;         /* a heartbeat is due */
    uint64_t spoke;    /* when something was last sent; nanoseconds of uv_hrtime */
    uint64_t taken_ns; /* when the request was read, by uv_hrtime */
    bool answered;     /* only its turn to be written is missing */
    bool subscribed;   /* it is in the list of subscriptions */
    bool wake;         /* a waiting subscription: there may be something new */
    bool lagging;
    struct task *next;
};

struct connection {
    uv_pipe_t pipe;
    struct query *query;
    struct access_guest guest;
    struct connection *previous, *next;
    struct connection *turn_next; /* in the queue for a reader */
    struct lane *lane;            /* the one it waits in; NULL if in none */
    struct buffer in;
    size_t taken; /* of `in`: moved away when more is read, not for every line */
    bool reading;
    bool ended;      /* the peer sends no more */
    bool close_soon; /* when everything is written */
    bool closing;
    bool closed;

    struct task *tasks; /* the one that is being answered; more is taken in when it is */
    unsigned task_count;
    struct task *subscriptions;
    unsigned subscription_count;
    bool subscription_next; /* whose turn it is when both have something to do */
    struct task *running;   /* on a thread, or about to be */

    struct buffer out; /* being written, or to be written next */
    uv_write_t write;
    bool writing;
    int64_t write_head; /* the last row when the write began */
};

/* Connections that wait for a reader. */
struct lane {
    struct connection *first, **last;
    uint32_t served[SERVED_MAX]; /* uids whose turn it was, the last one first */
    size_t served_count;
};

enum lane_number {
    LANE_QUICK, /* what is usually told in no time */
    LANE_SHORT, /* what may be, for its first short turn */
    LANE_LATE,  /* what should have been quick, and was not */
    LANE_HEAVY, /* what takes long */
    LANE_COUNT
};

/* Which lanes a slot serves, the first before the others: what takes long finds one slot, what came
 * late another, and the third has short turns alone. */
static const enum lane_number slot_lanes[QUERY_READERS][LANE_COUNT + 1] = {
    {LANE_QUICK, LANE_SHORT, LANE_COUNT},
    {LANE_LATE, LANE_QUICK, LANE_SHORT, LANE_COUNT},
    {LANE_HEAVY, LANE_COUNT},
};

/* A reader and the thread that uses it. */
struct slot {
    struct query *query;
    struct store_reader *reader;
    uv_work_t work;
    bool busy;
    struct connection *connection;
    struct task *task;
    struct query_context context;
    enum query_step result;
    uint64_t began;
    const enum lane_number *lanes;
};

struct query {
    uv_loop_t *loop;
    struct acceptor *acceptor;
    uv_timer_t tick; /* runs only while somebody needs it: an idle daemon sleeps */
    int open_handles;
    bool closing;
    struct endpoint *endpoint;
    struct access *access;
    struct writer *writer;
    struct connection *connections;
    unsigned connection_count;
    struct lane lanes[LANE_COUNT];
    unsigned deadline_ms;
    size_t out_bytes; /* waiting for peers to read them */
    struct slot slots[QUERY_READERS];
    const struct query_op *ops[OPS_MAX];
    size_t op_count;
    uint64_t requests;
    uint64_t errors;
    uint64_t op_requests[OPS_MAX + 1]; /* by the command; the last one is what names none */
    struct histogram answer_seconds;
    uint64_t lagged;
    uint64_t left_out;
    uint64_t connections_refused;
};

static void pump(struct connection *connection);

/* ---- tasks ---- */

static void task_free(struct task *task)
{
    if (task == NULL)
        return;
    if (task->state != NULL)
        task->op->end(task->state);
    reply_clear(&task->reply);
    json_decref(task->request);
    json_decref(task->id);
    free(task);
}

static void unlink_task(struct task **list, struct task *task)
{
    while (*list != task)
        list = &(*list)->next;
    *list = task->next;
    task->next = NULL;
}

static struct task *find_subscription(const struct connection *connection, const json_t *id)
{
    for (struct task *task = connection->subscriptions; task != NULL; task = task->next) {
        if (json_equal(task->id, id))
            return task;
    }
    return NULL;
}

/* ---- the end of a query server and its connections ---- */

static void free_if_last(struct query *query)
{
    if (!query->closing || query->open_handles > 0 || query->connection_count > 0)
        return;
    for (int i = 0; i < QUERY_READERS; i++) {
        if (query->slots[i].busy)
            return;
    }
    for (int i = 0; i < QUERY_READERS; i++)
        store_reader_close(query->slots[i].reader);
    endpoint_close(query->endpoint);
    access_free(query->access);
    free(query);
}

static void enter_lane(struct lane *lane, struct connection *connection)
{
    connection->lane = lane;
    connection->turn_next = NULL;
    *lane->last = connection;
    lane->last = &connection->turn_next;
}

static void leave_lane(struct connection *connection)
{
    struct lane *lane = connection->lane;
    struct connection **at;

    if (lane == NULL)
        return;
    for (at = &lane->first; *at != connection; at = &(*at)->turn_next)
        ;
    *at = connection->turn_next;
    if (*at == NULL)
        lane->last = at;
    connection->lane = NULL;
}

static void free_if_done(struct connection *connection)
{
    struct query *query = connection->query;
    struct task *task;

    if (!connection->closed)
        return;
    for (int i = 0; i < QUERY_READERS; i++) {
        if (query->slots[i].connection == connection)
            return;
    }
    leave_lane(connection);
    query->out_bytes -= connection->out.length;
    while ((task = connection->tasks) != NULL) {
        connection->tasks = task->next;
        task_free(task);
    }
    while ((task = connection->subscriptions) != NULL) {
        connection->subscriptions = task->next;
        task_free(task);
    }
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        query->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    query->connection_count--;
    buffer_clear(&connection->in);
    buffer_clear(&connection->out);
    free(connection);
    free_if_last(query);
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;

    connection->closed = true;
    access_leave(connection->query->access, &connection->guest);
    free_if_done(connection);
}

static void close_connection(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    for (int i = 0; i < QUERY_READERS; i++) {
        struct slot *slot = &connection->query->slots[i];

        if (slot->connection == connection)
            store_reader_interrupt(slot->reader);
    }
    uv_close((uv_handle_t *)&connection->pipe, on_connection_closed);
}

/* ---- writing ---- */

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;

    connection->writing = false;
    connection->query->out_bytes -= connection->out.length;
    connection->out.length = 0;
    if (connection->out.capacity > 2 * REPLY_BATCH_BYTES)
        buffer_clear(&connection->out);
    if (connection->closing)
        return;
    if (status != 0) {
        close_connection(connection);
        return;
    }
    /* Not before: when the daemon ends, the writer is gone. */
    if (writer_head(connection->query->writer) - connection->write_head > LAG_ROWS) {
        for (struct task *task = connection->subscriptions; task != NULL; task = task->next)
            task->lagging = true;
    }
    pump(connection);
}

static void start_write(struct connection *connection)
{
    uv_buf_t buffer = uv_buf_init(connection->out.data, (unsigned)connection->out.length);

    connection->writing = true;
    connection->write_head = writer_head(connection->query->writer);
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->pipe, &buffer, 1, on_written) !=
        0) {
        connection->writing = false;
        close_connection(connection);
    }
}

static void take_output(struct connection *connection, struct reply *reply)
{
    buffer_append(&connection->out, reply->out.data, reply->out.length);
    connection->query->out_bytes += reply->out.length;
    /* A subscription may live long: what a burst needed is not kept. */
    buffer_clear(&reply->out);
}

/* ---- answering ---- */

static void count_answer(struct query *query, const struct task *task)
{
    /* How long a subscription goes on is up to the client. */
    if (!task->subscribed)
        histogram_observe(&query->answer_seconds, (double)(uv_hrtime() - task->taken_ns) / 1e9);
}

static void finish_task(struct connection *connection, struct task *task)
{
    count_answer(connection->query, task);
    if (task->subscribed) {
        unlink_task(&connection->subscriptions, task);
        connection->subscription_count--;
    } else {
        unlink_task(&connection->tasks, task);
        connection->task_count--;
    }
    take_output(connection, &task->reply);
    task_free(task);
}

static void run_tick(struct query *query);

static void after_step(struct connection *connection, struct task *task, enum query_step result)
{
    struct query *query = connection->query;

    if (task->reply.out.length > 0)
        task->spoke = uv_hrtime();
    /* A short turn was not enough, but there is time left. */
    if (result == QUERY_FAILED && !task->heavy && task->error.code != NULL &&
        strcmp(task->error.code, "timeout") == 0 && task->spent_ms < query->deadline_ms) {
        task->heavy = true;
        task->error = (struct reply_error){0};
        result = QUERY_MORE;
    }
    switch (result) {
    case QUERY_DONE:
        reply_done(&task->reply);
        finish_task(connection, task);
        break;
    case QUERY_FAILED:
        query->errors++;
        reply_failed(&task->reply, &task->error);
        finish_task(connection, task);
        break;
    case QUERY_MORE:
        task->wake = true;
        take_output(connection, &task->reply);
        break;
    case QUERY_WAIT:
        take_output(connection, &task->reply);
        task->heavy = false;
        run_tick(query);
        break;
    }
}

static void run_waiting(struct query *query);

static void work(uv_work_t *request)
{
    struct slot *slot = request->data;

    slot->result = slot->task->op->step(slot->task->state, &slot->context);
    store_reader_rest(slot->reader);
}

static void on_worked(uv_work_t *request, int status)
{
    struct slot *slot = request->data;
    struct query *query = slot->query;
    struct connection *connection = slot->connection;
    struct task *task = slot->task;

    (void)status;          /* never cancelled */
    query->open_handles++; /* the last connection must not take the rest along yet */
    slot->busy = false;
    slot->connection = NULL;
    slot->task = NULL;
    connection->running = NULL;
    task->spent_ms += (unsigned)((uv_hrtime() - slot->began) / 1000000);
    if (connection->closing) {
        free_if_done(connection);
    } else {
        query->lagged += slot->context.left_out > 0;
        query->left_out += slot->context.left_out;
        after_step(connection, task, slot->result);
        pump(connection);
    }
    query->open_handles--;
    run_waiting(query);
}

static void run_on_thread(struct slot *slot, struct connection *connection)
{
    struct query *query = slot->query;
    struct task *task = connection->running;
    unsigned left;

    /* A subscription takes many turns: each has the whole time. */
    if (task->op->subscribes)
        task->spent_ms = 0;
    left = task->spent_ms < query->deadline_ms ? query->deadline_ms - task->spent_ms : 1;
    if (!task->heavy && left > TURN_MS)
        left = TURN_MS;
    slot->busy = true;
    slot->connection = connection;
    slot->task = task;
    slot->context = (struct query_context){.reader = slot->reader,
                                           .head = writer_head(query->writer),
                                           .lagging = task->lagging,
                                           .heartbeat = task->beat,
                                           .reply = &task->reply,
                                           .error = &task->error};
    task->wake = false;
    task->lagging = false;
    task->beat = false;
    slot->began = uv_hrtime();
    store_reader_deadline(slot->reader, left);
    uv_queue_work(query->loop, &slot->work, work, on_worked);
}

/* How many others had their turn since this user; SERVED_MAX if that is not known any more. */
static size_t waited_turns(const struct lane *lane, uint32_t uid)
{
    for (size_t i = 0; i < lane->served_count; i++) {
        if (lane->served[i] == uid)
            return i;
    }
    return SERVED_MAX;
}

/* Who is next in a lane: the first one of the user whose turn is the longest ago. */
static struct connection *next_in(const struct lane *lane)
{
    struct connection *next = NULL;
    size_t longest = 0;

    for (struct connection *c = lane->first; c != NULL; c = c->turn_next) {
        size_t turns = waited_turns(lane, c->guest.peer.uid);

        if (next == NULL || turns > longest) {
            next = c;
            longest = turns;
        }
    }
    return next;
}

static void note_turn(struct lane *lane, uint32_t uid)
{
    size_t at = waited_turns(lane, uid);

    if (at == SERVED_MAX)
        at = lane->served_count < SERVED_MAX ? lane->served_count++ : SERVED_MAX - 1;
    memmove(lane->served + 1, lane->served, at * sizeof(lane->served[0]));
    lane->served[0] = uid;
}

static struct connection *next_for(const struct query *query, const struct slot *slot)
{
    struct connection *connection = NULL;

    for (const enum lane_number *at = slot->lanes; connection == NULL && *at != LANE_COUNT; at++)
        connection = next_in(&query->lanes[*at]);
    return connection;
}

/* Give free readers to those who wait for one. */
static void run_waiting(struct query *query)
{
    for (int i = 0; i < QUERY_READERS && !query->closing; i++) {
        struct slot *slot = &query->slots[i];
        struct connection *connection = slot->busy ? NULL : next_for(query, slot);

        if (connection == NULL)
            continue;
        note_turn(connection->lane, connection->guest.peer.uid);
        leave_lane(connection);
        run_on_thread(slot, connection);
    }
    free_if_last(query);
}

static struct task *next_task(struct connection *connection)
{
    struct task *subscription = connection->subscriptions;

    while (subscription != NULL && !subscription->wake)
        subscription = subscription->next;
    connection->subscription_next = !connection->subscription_next;
    if (connection->tasks == NULL || (subscription != NULL && connection->subscription_next))
        return subscription;
    return connection->tasks;
}

static bool take_line(struct connection *connection);
static bool room_to_read(const struct connection *connection);
static void start_reading(struct connection *connection);
static void run_task(struct connection *connection, struct task *task);

/*
 * Do what can be done for this connection: answer while nothing waits to be written to it, so that
 * it is owed at most one turn's output, and take in requests while it has room for them.
 */
static void pump(struct connection *connection)
{
    while (!connection->closing && !connection->writing && connection->running == NULL) {
        struct task *task;

        while (!connection->close_soon && connection->task_count == 0 &&
               connection->out.length < REPLY_BATCH_BYTES && take_line(connection))
            ;
        if (connection->out.length > 0) {
            start_write(connection);
            break;
        }
        task = next_task(connection);
        if (task == NULL) {
            if (connection->close_soon || (connection->ended && connection->subscriptions == NULL))
                close_connection(connection);
            break;
        }
        run_task(connection, task);
    }
    /* That the peer has gone, or sends no more, is to be seen also while it is being answered. */
    if (!connection->closing && !connection->close_soon && room_to_read(connection))
        start_reading(connection);
}

/* ---- requests ---- */

static const struct query_op *find_op(const struct query *query, const char *name)
{
    for (size_t i = 0; i < query->op_count; i++) {
        if (strcmp(query->ops[i]->name, name) == 0)
            return query->ops[i];
    }
    return NULL;
}

static bool check_keys(const struct query_op *op, json_t *request, struct reply_error *error)
{
    const char *key;
    json_t *value;

    json_object_foreach(request, key, value)
    {
        const char *const *known = op->keys;

        if (strcmp(key, "id") == 0 || strcmp(key, "op") == 0 || strcmp(key, "bare") == 0)
            continue;
        while (*known != NULL && strcmp(*known, key) != 0)
            known++;
        if (*known == NULL) {
            reply_error_set(error, "bad_request", key, "'%s' takes no key '%.64s'", op->name, key);
            return false;
        }
    }
    return true;
}

/* `unsubscribe` is the one command that is about another request, so it is answered here. */
static bool unsubscribe(struct connection *connection, struct task *task)
{
    struct task *subscription = find_subscription(connection, task->id);

    if (subscription == NULL) {
        reply_error_set(&task->error, "not_found", "id", "there is no subscription with this id");
        return false;
    }
    reply_done(&subscription->reply);
    finish_task(connection, subscription);
    return true;
}

static const char *const no_keys[] = {NULL};

static void *never_begins(void *cookie, const json_t *request, struct reply_error *error)
{
    (void)cookie;
    (void)request;
    (void)error;
    return NULL;
}

static const struct query_op unsubscribe_op = {
    .name = "unsubscribe",
    .usage = "{\"id\":3,\"op\":\"unsubscribe\"}",
    .summary = "end the subscription that has this id",
    .keys = no_keys,
    .begin = never_begins,
};

/* Bytes that wait for this user to read them. */
static size_t unread_of(const struct query *query, uint32_t uid)
{
    size_t bytes = 0;

    for (const struct connection *c = query->connections; c != NULL; c = c->next)
        bytes += c->guest.peer.uid == uid ? c->out.length : 0;
    return bytes;
}

enum begun { BEGUN, BEGUN_ANSWERED, BEGUN_FAILED };

static enum begun begin_task(struct connection *connection, struct task *task, json_t *request)
{
    struct query *query = connection->query;
    const json_t *bare = json_object_get(request, "bare");
    const json_t *name = json_object_get(request, "op");
    struct reply_error *error = &task->error;

    if (json_dumpb(task->id, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > ID_MAX_BYTES) {
        json_decref(task->id);
        task->id = json_null();
        reply_error_set(error, "bad_request", "id", "an id takes at most %d bytes", ID_MAX_BYTES);
        return BEGUN_FAILED;
    }
    reply_clear(&task->reply);
    reply_init(&task->reply, task->id, json_is_true(bare));
    if (bare != NULL && !json_is_boolean(bare)) {
        reply_error_set(error, "bad_request", "bare", "'bare' is true or false");
        return BEGUN_FAILED;
    }
    if (!json_is_string(name)) {
        reply_error_set(error, "bad_request", "op", "a request names its command in 'op'");
        return BEGUN_FAILED;
    }
    task->op = find_op(query, json_string_value(name));
    if (task->op == NULL) {
        reply_error_set(error, "unknown_op", "op", "there is no command '%.64s'; ask for 'help'",
                        json_string_value(name));
        return BEGUN_FAILED;
    }
    if (!check_keys(task->op, request, error))
        return BEGUN_FAILED;
    if (task->op == &unsubscribe_op)
        return unsubscribe(connection, task) ? BEGUN_ANSWERED : BEGUN_FAILED;
    if (task->op->subscribes) {
        if (connection->subscription_count >= SUBSCRIPTIONS_MAX) {
            reply_error_set(error, "too_many_requests", NULL,
                            "a connection has at most %d subscriptions", SUBSCRIPTIONS_MAX);
            return BEGUN_FAILED;
        }
        if (find_subscription(connection, task->id) != NULL) {
            reply_error_set(error, "bad_request", "id", "a subscription has this id already");
            return BEGUN_FAILED;
        }
    }
    if (query->out_bytes > OUT_MAX && unread_of(query, connection->guest.peer.uid) > OUT_SHARE) {
        reply_error_set(error, "too_many_requests", NULL,
                        "you, and others, do not read the answers, and there is no room for more");
        return BEGUN_FAILED;
    }
    task->state = task->op->begin(task->op->cookie, request, error);
    return task->state != NULL ? BEGUN : BEGUN_FAILED;
}

static void append_task(struct task **list, struct task *task)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = task;
}

static void begin_turn(struct connection *connection, struct task *task)
{
    json_t *request = task->request;

    task->request = NULL;
    switch (begin_task(connection, task, request)) {
    case BEGUN:
        if (!task->op->subscribes)
            break;
        unlink_task(&connection->tasks, task);
        connection->task_count--;
        append_task(&connection->subscriptions, task);
        connection->subscription_count++;
        task->spoke = uv_hrtime();
        task->subscribed = true;
        task->wake = true;
        break;
    case BEGUN_FAILED:
        connection->query->errors++;
        reply_failed(&task->reply, &task->error);
        finish_task(connection, task);
        break;
    case BEGUN_ANSWERED:
        unlink_task(&connection->tasks, task);
        connection->task_count--;
        task_free(task);
        break;
    }
    json_decref(request);
}

static enum lane_number lane_of(const struct task *task)
{
    if (task->op->quick)
        return task->heavy ? LANE_LATE : LANE_QUICK;
    return task->heavy ? LANE_HEAVY : LANE_SHORT;
}

static void run_task(struct connection *connection, struct task *task)
{
    struct query *query = connection->query;

    if (task->request != NULL) {
        begin_turn(connection, task);
    } else if (task->answered) {
        finish_task(connection, task);
    } else if (task->op->on_thread) {
        connection->running = task;
        enter_lane(&query->lanes[lane_of(task)], connection);
        run_waiting(query);
    } else {
        struct query_context context = {
            .head = writer_head(query->writer), .reply = &task->reply, .error = &task->error};

        after_step(connection, task, task->op->step(task->state, &context));
    }
}

static void count_request(struct query *query, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "op"));
    size_t op = 0;

    while (op < query->op_count && (name == NULL || strcmp(query->ops[op]->name, name) != 0))
        op++;
    query->requests++;
    query->op_requests[op < query->op_count ? op : OPS_MAX]++;
}

static void take_request(struct connection *connection, const char *line, size_t length)
{
    struct query *query = connection->query;
    struct task *task = memory_zeroed(sizeof(*task));
    json_error_t why;
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &why);

    count_request(query, request);
    task->taken_ns = uv_hrtime();
    reply_init(&task->reply, NULL, false);
    if (json_is_object(request)) {
        /* Answers come in the order of the requests, refusals too: it begins when its turn comes.
         */
        task->request = request;
        task->id = json_incref(json_object_get(request, "id"));
        if (task->id == NULL)
            task->id = json_null();
    } else {
        if (request == NULL)
            reply_error_set(&task->error, "bad_json", NULL, "not JSON: %.160s", why.text);
        else
            reply_error_set(&task->error, "bad_json", NULL, "a request is a JSON object");
        reply_failed(&task->reply, &task->error);
        task->answered = true;
        query->errors++;
        /* Whoever sends this does not speak the protocol: no guessing at where it may go on. */
        connection->close_soon = true;
        json_decref(request);
    }
    append_task(&connection->tasks, task);
    connection->task_count++;
}

static void fail_and_close(struct connection *connection, const char *code, const char *sentence)
{
    struct reply_error error = {0};
    struct reply reply;

    reply_error_set(&error, code, NULL, "%s", sentence);
    reply_init(&reply, NULL, false);
    reply_failed(&reply, &error);
    take_output(connection, &reply);
    reply_clear(&reply);
    connection->query->errors++;
    connection->close_soon = true;
}

/* Whether no whole request is there yet, and more of one may come. */
static bool room_to_read(const struct connection *connection)
{
    size_t left = connection->in.length - connection->taken;

    return left < LINE_MAX_BYTES &&
           (left == 0 || memchr(connection->in.data + connection->taken, '\n', left) == NULL);
}

/* Take the next request out of what was read, if there is a whole one. */
static bool take_line(struct connection *connection)
{
    size_t left = connection->in.length - connection->taken, length;
    const char *line = left > 0 ? connection->in.data + connection->taken : NULL;
    const char *newline = left > 0 ? memchr(line, '\n', left) : NULL;

    if (newline == NULL) {
        if (left >= LINE_MAX_BYTES) {
            fail_and_close(connection, "too_large", "a request takes at most 65536 bytes");
            return false;
        }
        /* The last request of one who sends no more needs no newline. */
        if (!connection->ended || left == 0) {
            start_reading(connection);
            return false;
        }
        length = left;
    } else {
        length = (size_t)(newline - line);
    }
    connection->taken += newline != NULL ? length + 1 : length;
    if (strspn(line, " \t\r") < length)
        take_request(connection, line, length);
    return true;
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct connection *connection = handle->data;
    struct buffer *in = &connection->in;

    (void)suggested;
    /* One byte stays zero behind the text, for functions that want an end. */
    if (in->data == NULL) {
        in->data = memory_zeroed(LINE_MAX_BYTES + 1);
        in->capacity = LINE_MAX_BYTES + 1;
    }
    *out = uv_buf_init(in->data + in->length, (unsigned)(LINE_MAX_BYTES - in->length));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct connection *connection = stream->data;

    (void)buffer;
    if (length == UV_EOF) {
        connection->ended = true;
    } else if (length < 0) {
        close_connection(connection);
        return;
    } else {
        connection->in.length += (size_t)length;
        connection->in.data[connection->in.length] = '\0';
    }
    /* Reading goes on when what was read is taken: see take_line. */
    uv_read_stop(stream);
    connection->reading = false;
    pump(connection);
}

static void start_reading(struct connection *connection)
{
    if (connection->reading || connection->ended || connection->closing)
        return;
    buffer_consume(&connection->in, connection->taken);
    connection->taken = 0;
    connection->reading = true;
    if (uv_read_start((uv_stream_t *)&connection->pipe, on_allocate, on_read) != 0)
        close_connection(connection);
}

/* ---- the server ---- */

static void on_accept(void *cookie, int fd)
{
    struct query *query = cookie;
    struct connection *connection;
    char why[ACCESS_WHY_SIZE];

    connection = memory_zeroed(sizeof(*connection));
    connection->query = query;
    uv_pipe_init(query->loop, &connection->pipe, 0);
    connection->pipe.data = connection;
    connection->next = query->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    query->connections = connection;
    query->connection_count++;
    if (uv_pipe_open(&connection->pipe, fd) != 0) {
        close(fd);
        close_connection(connection);
        return;
    }
    switch (access_enter(query->access, fd, &connection->guest, why)) {
    case ACCESS_GRANTED:
        start_reading(connection);
        break;
    case ACCESS_DENIED:
        query->connections_refused++;
        log_warning("refused a query client with pid %d: %s", (int)connection->guest.peer.pid, why);
        fail_and_close(connection, "denied", why);
        break;
    case ACCESS_FULL:
        query->connections_refused++;
        fail_and_close(connection, "too_many_connections", why);
        break;
    }
    pump(connection);
}

/* Wake the subscriptions that have been silent for as long as they want to be. */
static void beat_silent(struct connection *connection, uint64_t now)
{
    bool any = false;

    for (struct task *task = connection->subscriptions; task != NULL; task = task->next) {
        uint64_t seconds = task->op->heartbeat != NULL ? task->op->heartbeat(task->state) : 0;

        if (seconds == 0 || now - task->spoke < seconds * 1000000000)
            continue;
        task->beat = task->wake = any = true;
    }
    if (any)
        pump(connection);
}

static bool needs_tick(const struct connection *connection)
{
    if (connection->closing || connection->subscriptions == NULL)
        return false;
    if (connection->ended)
        return true;
    for (const struct task *task = connection->subscriptions; task != NULL; task = task->next) {
        if (task->op->heartbeat != NULL && task->op->heartbeat(task->state) > 0)
            return true;
    }
    return false;
}

/*
 * One who sends no more but has a subscription is served until it is gone, which nothing but a
 * write would tell: so look.
 */
static void close_if_gone(struct connection *connection)
{
    struct pollfd look = {.events = 0};
    uv_os_fd_t fd;

    if (!connection->ended || connection->closing ||
        uv_fileno((uv_handle_t *)&connection->pipe, &fd) != 0)
        return;
    look.fd = fd;
    if (poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR)))
        close_connection(connection);
}

static void on_tick(uv_timer_t *timer)
{
    struct query *query = timer->data;
    struct connection *connection, *next;
    uint64_t now = uv_hrtime();
    bool needed = false;

    for (connection = query->connections; connection != NULL; connection = next) {
        next = connection->next;
        if (!needs_tick(connection))
            continue;
        needed = true;
        beat_silent(connection, now);
        close_if_gone(connection);
    }
    if (!needed)
        uv_timer_stop(timer);
}

static void run_tick(struct query *query)
{
    if (!query->closing && !uv_is_active((uv_handle_t *)&query->tick))
        uv_timer_start(&query->tick, on_tick, TICK_MS, TICK_MS);
}

static void on_commit(void *cookie, int64_t head)
{
    struct query *query = cookie;
    struct connection *connection, *next;

    (void)head;
    for (connection = query->connections; connection != NULL; connection = next) {
        next = connection->next;
        if (connection->subscriptions == NULL)
            continue;
        for (struct task *task = connection->subscriptions; task != NULL; task = task->next)
            task->wake = true;
        pump(connection);
    }
}

struct query *query_new(uv_loop_t *loop, struct endpoint *endpoint, struct access *access,
                        struct writer *writer, struct store_reader *const readers[QUERY_READERS],
                        char why[ENDPOINT_WHY_SIZE])
{
    struct query *query = memory_zeroed(sizeof(*query));

    query->loop = loop;
    query->endpoint = endpoint;
    query->access = access;
    query->writer = writer;
    query->deadline_ms = QUERY_DEADLINE_MS;
    for (int i = 0; i < LANE_COUNT; i++)
        query->lanes[i].last = &query->lanes[i].first;
    histogram_init(&query->answer_seconds, histogram_seconds,
                   sizeof(histogram_seconds) / sizeof(histogram_seconds[0]));
    uv_timer_init(loop, &query->tick);
    query->open_handles = 2;
    query->tick.data = query;
    query->acceptor = acceptor_new(loop, endpoint->fd, BACKLOG, "a query client", on_accept, query);
    if (query->acceptor == NULL) {
        snprintf(why, ENDPOINT_WHY_SIZE, "%s: cannot listen: %s", endpoint->path, strerror(errno));
        query->open_handles = 1;
        query_close(query);
        return NULL;
    }
    endpoint->fd = -1;
    for (int i = 0; i < QUERY_READERS; i++) {
        query->slots[i].query = query;
        query->slots[i].reader = readers[i];
        query->slots[i].work.data = &query->slots[i];
        query->slots[i].lanes = slot_lanes[i];
    }
    writer_on_commit(writer, on_commit, query);
    query_register(query, &unsubscribe_op);
    return query;
}

void query_deadline(struct query *query, unsigned deadline_ms)
{
    query->deadline_ms = deadline_ms > 0 ? deadline_ms : QUERY_DEADLINE_MS;
}

void query_register(struct query *query, const struct query_op *op)
{
    if (query->op_count == OPS_MAX || find_op(query, op->name) != NULL)
        abort();
    query->ops[query->op_count++] = op;
}

const struct query_op *query_op_at(const struct query *query, size_t index)
{
    return index < query->op_count ? query->ops[index] : NULL;
}

static unsigned subscriptions_of(const struct query *query)
{
    unsigned subscriptions = 0;

    for (const struct connection *c = query->connections; c != NULL; c = c->next)
        subscriptions += c->subscription_count;
    return subscriptions;
}

static void tell(void *cookie, struct metrics_page *page)
{
    const struct query *query = cookie;

    metrics_family(page, "coroner_query_connections", METRICS_GAUGE,
                   "Clients that are connected to the query socket.");
    metrics_count(page, query->connection_count, NULL);
    metrics_family(page, "coroner_query_connections_refused_total", METRICS_COUNTER,
                   "Clients that were sent away because there were too many.");
    metrics_count(page, query->connections_refused, NULL);
    metrics_family(page, "coroner_query_subscriptions", METRICS_GAUGE,
                   "Subscriptions that go on at this moment.");
    metrics_count(page, subscriptions_of(query), NULL);
    metrics_family(page, "coroner_query_requests_total", METRICS_COUNTER,
                   "Requests, by command; those without a known one are other.");
    for (size_t op = 0; op < query->op_count; op++)
        metrics_count(page, query->op_requests[op], "op", query->ops[op]->name, NULL);
    metrics_count(page, query->op_requests[OPS_MAX], "op", "other", NULL);
    metrics_family(page, "coroner_query_errors_total", METRICS_COUNTER,
                   "Requests that were answered with an error.");
    metrics_count(page, query->errors, NULL);
    metrics_family(page, "coroner_query_seconds", METRICS_HISTOGRAM,
                   "From reading a request to the end of its answer; no subscriptions.");
    metrics_histogram(page, &query->answer_seconds, NULL);
    metrics_family(page, "coroner_query_lagged_total", METRICS_COUNTER,
                   "How often a subscriber that did not read in time was told that it lagged.");
    metrics_count(page, query->lagged, NULL);
    metrics_family(page, "coroner_query_left_out_total", METRICS_COUNTER,
                   "Records that were left out of subscriptions for that.");
    metrics_count(page, query->left_out, NULL);
}

void query_tell(struct query *query, struct metrics *metrics)
{
    metrics_collect(metrics, tell, query);
}

json_t *query_status(const struct query *query)
{
    json_int_t subscriptions = subscriptions_of(query);

    return memory_check(
        json_pack("{sI sI sI sI sI}", "connections", (json_int_t)query->connection_count,
                  "subscriptions", subscriptions, "requests", (json_int_t)query->requests, "errors",
                  (json_int_t)query->errors, "unread_bytes", (json_int_t)query->out_bytes));
}

static void on_part_closed(void *cookie)
{
    struct query *query = cookie;

    query->open_handles--;
    free_if_last(query);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void query_close(struct query *query)
{
    struct connection *connection, *next;

    if (query == NULL)
        return;
    query->closing = true;
    if (query->acceptor != NULL)
        acceptor_close(query->acceptor, on_part_closed, query);
    query->acceptor = NULL;
    uv_close((uv_handle_t *)&query->tick, on_handle_closed);
    for (connection = query->connections; connection != NULL; connection = next) {
        next = connection->next;
        close_connection(connection);
    }
}
