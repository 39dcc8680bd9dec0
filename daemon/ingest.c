#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acceptor.h"
#include "access.h"
#include "frame.h"
#include "hello.h"
#include "ingest.h"
#include "ingest_numbers.h"
#include "log.h"
#include "memory.h"
#include "record.h"
#include "transcode.h"

#define BACKLOG 128
#define READ_BUFFER (2 * WIRE_FRAME_MAX) /* holds any frame */
#define HELLO_SECONDS 10                 /* a connection says who it is within this time */
#define COUNTERS_MAX 2048                /* bytes of them as JSON: `nodes` tells them all */
#define CHANGE_LEAST ((size_t)1024)      /* what any change counts as */
/* Read and not yet committed: above the first number reading stops, below the second it goes on. */
#define PENDING_HIGH ((size_t)4 << 20)
#define PENDING_LOW ((size_t)1 << 20)
#define TOTAL_HIGH ((size_t)12 << 20)
#define TOTAL_LOW ((size_t)6 << 20)

struct connection {
    uv_pipe_t pipe;
    struct ingest *ingest;
    struct connection *previous, *next;
    unsigned char *data; /* READ_BUFFER bytes, from the first read on */
    size_t used;
    struct access_guest guest;
    uint64_t accepted_ms;
    uint64_t read_ns; /* the last time, by uv_hrtime */

    struct hello *hello; /* NULL before the HELLO */
    bool welcomed;       /* the HELLO is acknowledged */
    bool said_bye;
    uint64_t last_seq; /* of the records that came here */
    bool ended;        /* nothing more comes; what came is still to be acknowledged */
    bool paused;
    bool closing;
    bool closed;

    size_t pending; /* bytes of changes that are not committed */
    size_t changes; /* their number: the changes point here */
    size_t number;  /* of its node, in the numbers; from the HELLO on */
    uint64_t ack;
    bool ack_due;
    bool ack_on_its_way;
    uv_write_t ack_write;
    unsigned char ack_frame[FRAME_ACK_SIZE];
};

struct ingest {
    struct acceptor *acceptor; /* NULL: nobody more is taken */
    uv_timer_t timer;          /* runs while there is a connection that has not said HELLO */
    struct endpoint *endpoint;
    struct access *access;
    struct writer *writer;
    struct connection *connections;
    unsigned connection_count; /* with those that only wait for their changes */
    int open_handles;
    bool quiet;
    bool closing;
    size_t pending;

    uint64_t records;
    uint64_t shrunk;
    uint64_t refused; /* connections closed for what they sent */
    struct ingest_numbers *numbers;
};

static void free_if_last(struct ingest *ingest)
{
    if (!ingest->closing || ingest->open_handles > 0 || ingest->connection_count > 0)
        return;
    endpoint_close(ingest->endpoint);
    access_free(ingest->access);
    ingest_numbers_free(ingest->numbers);
    free(ingest);
}

static void free_if_done(struct connection *connection)
{
    struct ingest *ingest = connection->ingest;

    if (!connection->closed || connection->changes > 0)
        return;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        ingest->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    ingest->connection_count--;
    hello_free(connection->hello);
    free(connection->data);
    free(connection);
    free_if_last(ingest);
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;

    connection->closed = true;
    access_leave(connection->ingest->access, &connection->guest);
    free_if_done(connection);
}

static void close_connection(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    uv_close((uv_handle_t *)&connection->pipe, on_connection_closed);
}

/* Who it is, for the log. */
static const char *describe(const struct connection *connection, char text[128])
{
    if (connection->hello != NULL)
        snprintf(text, 128, "node %.64s (incarnation %s, uid %d)", connection->hello->name,
                 connection->hello->incarnation, (int)connection->guest.peer.uid);
    else
        snprintf(text, 128, "a peer with pid %d and uid %d that has not said who it is",
                 (int)connection->guest.peer.pid, (int)connection->guest.peer.uid);
    return text;
}

/* Closes a connection for what it did, and says so to it and in the log. */
__attribute__((format(printf, 2, 3))) static void refuse(struct connection *connection,
                                                         const char *format, ...)
{
    unsigned char frame[FRAME_ERROR_SIZE];
    char why[FRAME_WHY_SIZE], who[128];
    va_list arguments;
    uv_buf_t out;

    if (connection->closing)
        return;
    va_start(arguments, format);
    vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    log_warning("closed the connection of %s: %s", describe(connection, who), why);
    connection->ingest->refused++;
    /* If the peer does not read, it does not get to know. */
    out = uv_buf_init((char *)frame, (unsigned)frame_error(why, frame));
    uv_try_write((uv_stream_t *)&connection->pipe, &out, 1);
    close_connection(connection);
}

static void on_ack_written(uv_write_t *write, int status);

static void send_ack(struct connection *connection)
{
    uv_buf_t out;

    if (!connection->ack_due || connection->ack_on_its_way || connection->closing)
        return;
    connection->ack_due = false;
    connection->ack_on_its_way = true;
    out = uv_buf_init((char *)connection->ack_frame,
                      (unsigned)frame_ack(connection->ack, connection->ack_frame));
    if (uv_write(&connection->ack_write, (uv_stream_t *)&connection->pipe, &out, 1,
                 on_ack_written) != 0)
        close_connection(connection);
}

static void on_ack_written(uv_write_t *write, int status)
{
    struct connection *connection = write->handle->data;

    connection->ack_on_its_way = false;
    /* An error means that the peer is gone, which reading finds out as well. */
    if (status == 0)
        send_ack(connection);
}

static void update_pause(struct connection *connection);

/*
 * What it takes until it is committed. A small one takes its time, too: if it counted less, the
 * records of other nodes would wait behind tens of thousands.
 */
static size_t size_of(const struct change *change)
{
    size_t size = sizeof(*change) + (change->record != NULL ? change->record->size : 0) +
                  (change->counters != NULL ? strlen(change->counters) + 1 : 0);

    return size > CHANGE_LEAST ? size : CHANGE_LEAST;
}

static void on_change_done(struct change *change)
{
    struct connection *connection = change->cookie;
    struct ingest *ingest = connection->ingest;
    size_t size = size_of(change);

    connection->pending -= size;
    ingest->pending -= size;
    connection->changes--;
    if (change->refusal == STORE_FOREIGN_INCARNATION) {
        refuse(connection, "incarnation %s belongs to another user", change->hello->incarnation);
    } else if (change->refusal == STORE_CROWDED) {
        refuse(connection,
               "too many nodes have come within an hour (of one user at most %d are "
               "known); try again later",
               STORE_INCARNATIONS_OF_UID);
    } else if (change->refusal == STORE_FOREIGN_NAME) {
        refuse(connection, "the node's name %.64s belongs to another user", change->hello->name);
    } else {
        connection->ack = change->committed;
        connection->ack_due = true;
        if (change->type == CHANGE_HELLO) {
            connection->welcomed = true;
            connection->number = ingest_numbers_node(ingest->numbers, connection->hello->name);
        }
        ingest_numbers_committed(ingest->numbers, connection->number, change);
    }
    free(change->counters);
    free(change->record);
    free(change);
    free_if_done(connection);
}

static void submit(struct connection *connection, struct change *change)
{
    size_t size = size_of(change);

    change->hello = connection->hello;
    change->uid = connection->guest.peer.uid;
    change->done = on_change_done;
    change->cookie = connection;
    change->submitted_ns = connection->read_ns;
    connection->pending += size;
    connection->ingest->pending += size;
    connection->changes++;
    writer_submit(connection->ingest->writer, change);
}

/* The node reconnected before we saw its old connection end. */
static void replace_older(struct connection *connection)
{
    struct connection *other;

    for (other = connection->ingest->connections; other != NULL; other = other->next) {
        if (other == connection || other->closing || other->hello == NULL ||
            strcmp(other->hello->incarnation, connection->hello->incarnation) != 0)
            continue;
        /* When users differ, the store knows whose it is: the first to come need not be right. */
        if (other->guest.peer.uid == connection->guest.peer.uid)
            refuse(other, "the same incarnation connected anew");
    }
}

static void on_hello(struct connection *connection, struct frame *frame)
{
    char why[FRAME_WHY_SIZE];
    struct change *change;

    if (connection->hello != NULL) {
        refuse(connection, "a second HELLO");
        return;
    }
    if (frame->version != WIRE_VERSION) {
        refuse(connection, "version %" PRIu64 " of the protocol (spoken here: %d)", frame->version,
               WIRE_VERSION);
        return;
    }
    connection->hello = hello_read(frame->map, why);
    if (connection->hello == NULL) {
        refuse(connection, "%s", why);
        return;
    }
    replace_older(connection);
    /* Long names do not hide whose it is. */
    log_info("node %.64s connected (incarnation %s, host %.64s, OTP %.64s, os_pid %" PRIu64
             ", uid %d, made %" PRIu64 ", first held %" PRIu64 ")",
             connection->hello->name, connection->hello->incarnation, connection->hello->host,
             connection->hello->otp, connection->hello->os_pid, (int)connection->guest.peer.uid,
             connection->hello->made, connection->hello->first_held);
    change = memory_zeroed(sizeof(*change));
    change->type = CHANGE_HELLO;
    submit(connection, change);
}

/* Hands on a record, which is taken over. */
static void take_record(struct connection *connection, struct record *record)
{
    struct change *change;

    /* What is not above the last one would pass for a record that came before, and be lost. */
    if (record->seq <= connection->last_seq) {
        refuse(connection, "sequence number %" PRIu64 " after %" PRIu64 " (they rise)", record->seq,
               connection->last_seq);
        free(record);
        return;
    }
    connection->last_seq = record->seq;
    connection->ingest->records++;
    change = memory_zeroed(sizeof(*change));
    change->type = CHANGE_RECORD;
    change->record = record;
    change->hello = connection->hello;
    store_hash(change);
    submit(connection, change);
}

static void on_record(struct connection *connection, struct frame *frame)
{
    char why[FRAME_WHY_SIZE];
    struct record *record;
    enum record_fit fit;

    record = record_make(frame, connection->hello, &fit, why);
    if (record == NULL) {
        refuse(connection, "%s (sequence number %" PRIu64 ")", why, frame->seq);
        return;
    }
    if (fit == RECORD_SHRUNK) {
        /* Once a connection is enough to notice it; `status` counts. */
        if (connection->ingest->shrunk++ == 0)
            log_warning("record %s-%" PRIu64 " was too long and has been cut",
                        connection->hello->incarnation, frame->seq);
    }
    take_record(connection, record);
}

static void on_counters(struct connection *connection, struct frame *frame)
{
    struct change *change;
    const char *key;
    json_t *value;
    size_t length;

    json_object_foreach(frame->map, key, value)
    {
        if (!json_is_integer(value)) {
            refuse(connection, "a counter '%s' that is no integer below 2^53", key);
            return;
        }
    }
    length = json_dumpb(frame->map, NULL, 0, JSON_COMPACT);
    if (length > COUNTERS_MAX) {
        refuse(connection, "counters that take %zu bytes as JSON (allowed: %d)", length,
               COUNTERS_MAX);
        return;
    }
    change = memory_zeroed(sizeof(*change));
    change->type = CHANGE_COUNTERS;
    change->made = frame->made;
    change->lost = (uint64_t)json_integer_value(json_object_get(frame->map, "lost"));
    change->counters = memory_check(json_dumps(frame->map, JSON_COMPACT));
    submit(connection, change);
}

static void on_bye(struct connection *connection, struct frame *frame)
{
    struct change *change = memory_zeroed(sizeof(*change));

    connection->said_bye = true;
    change->type = CHANGE_BYE;
    change->made = frame->made;
    submit(connection, change);
}

static void on_frame(struct connection *connection, struct frame *frame)
{
    if (connection->said_bye) {
        refuse(connection, "a frame after BYE");
        return;
    }
    if (frame->type == WIRE_HELLO) {
        on_hello(connection, frame);
        return;
    }
    /* Until its HELLO is committed it is not known whether the peer is who it says. */
    if (!connection->welcomed) {
        refuse(connection, "a frame before the HELLO was acknowledged");
        return;
    }
    switch (frame->type) {
    case WIRE_RECORD:
        on_record(connection, frame);
        break;
    case WIRE_COUNTERS:
        on_counters(connection, frame);
        break;
    case WIRE_BYE:
        on_bye(connection, frame);
        break;
    case WIRE_HELLO:
    case WIRE_ACK:
    case WIRE_ERROR:
        break;
    }
}

/* Nearly every frame is a plain record of a peer that may send one. */
static bool take_plain_record(struct connection *connection, const unsigned char *body,
                              size_t length)
{
    struct record *record = NULL;

    if (connection->welcomed && !connection->said_bye)
        record = transcode(body, length, connection->hello);
    if (record == NULL)
        return false;
    take_record(connection, record);
    return true;
}

static void take_frames(struct connection *connection)
{
    size_t at = 0, length;
    char why[FRAME_WHY_SIZE];
    struct frame frame;

    while (!connection->closing) {
        const unsigned char *data = connection->data + at;
        enum frame_split split = frame_split(data, connection->used - at, &length, why);

        if (split == FRAME_INCOMPLETE)
            break;
        if (split == FRAME_BAD) {
            refuse(connection, "%s", why);
            break;
        }
        if (!take_plain_record(connection, data + FRAME_HEADER, length)) {
            if (frame_decode(data + FRAME_HEADER, length, &frame, why) != 0) {
                refuse(connection, "%s", why);
                break;
            }
            on_frame(connection, &frame);
            frame_clear(&frame);
        }
        at += FRAME_HEADER + length;
    }
    connection->used -= at;
    memmove(connection->data, connection->data + at, connection->used);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct connection *connection = handle->data;

    (void)suggested;
    if (connection->data == NULL)
        connection->data = memory_get(READ_BUFFER);
    *out = uv_buf_init((char *)connection->data + connection->used,
                       (unsigned)(READ_BUFFER - connection->used));
}

static void on_end(struct connection *connection)
{
    if (connection->used > 0) {
        refuse(connection, "it ended in the middle of a frame");
        return;
    }
    if (connection->hello != NULL) {
        char who[128];

        log_info("%s %s", describe(connection, who),
                 connection->said_bye ? "said goodbye" : "disconnected");
    }
    connection->ended = true;
    uv_read_stop((uv_stream_t *)&connection->pipe);
    if (connection->changes == 0)
        close_connection(connection);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct connection *connection = stream->data;

    (void)buffer;
    if (length < 0) {
        on_end(connection);
        return;
    }
    connection->read_ns = uv_hrtime();
    connection->used += (size_t)length;
    take_frames(connection);
    update_pause(connection);
}

static void update_pause(struct connection *connection)
{
    struct ingest *ingest = connection->ingest;

    if (connection->closing || connection->ended)
        return;
    if (!connection->paused &&
        (ingest->quiet || connection->pending > PENDING_HIGH || ingest->pending > TOTAL_HIGH)) {
        connection->paused = true;
        uv_read_stop((uv_stream_t *)&connection->pipe);
    } else if (connection->paused && !ingest->quiet && connection->pending < PENDING_LOW &&
               ingest->pending < TOTAL_LOW) {
        connection->paused = false;
        uv_read_start((uv_stream_t *)&connection->pipe, on_allocate, on_read);
    }
}

static void resume(struct ingest *ingest)
{
    struct connection *connection, *next;

    for (connection = ingest->connections; connection != NULL; connection = next) {
        next = connection->next;
        send_ack(connection);
        if (connection->ended && connection->changes == 0)
            close_connection(connection);
        update_pause(connection);
    }
}

static void on_commit(void *cookie, int64_t head)
{
    (void)head;
    resume(cookie);
}

static void on_timer(uv_timer_t *timer)
{
    struct ingest *ingest = timer->data;
    uint64_t now = uv_now(timer->loop);
    struct connection *connection, *next;
    bool needed = false;

    for (connection = ingest->connections; connection != NULL; connection = next) {
        next = connection->next;
        if (connection->hello != NULL || connection->closing)
            continue;
        if (now - connection->accepted_ms > HELLO_SECONDS * 1000)
            refuse(connection, "no HELLO within %d seconds", HELLO_SECONDS);
        else
            needed = true;
    }
    if (!needed)
        uv_timer_stop(timer);
}

/* Somebody is there who has not said who it is. */
static void run_timer(struct ingest *ingest)
{
    if (!ingest->closing && !uv_is_active((uv_handle_t *)&ingest->timer))
        uv_timer_start(&ingest->timer, on_timer, 1000, 1000);
}

static void on_accept(void *cookie, int fd)
{
    struct ingest *ingest = cookie;
    uv_loop_t *loop = ingest->timer.loop;
    struct connection *connection;
    char why[ACCESS_WHY_SIZE];

    connection = memory_zeroed(sizeof(*connection));
    connection->ingest = ingest;
    connection->accepted_ms = uv_now(loop);
    uv_pipe_init(loop, &connection->pipe, 0);
    connection->pipe.data = connection;
    connection->next = ingest->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    ingest->connections = connection;
    ingest->connection_count++;

    if (uv_pipe_open(&connection->pipe, fd) != 0) {
        close(fd);
        close_connection(connection);
        return;
    }
    if (access_enter(ingest->access, fd, &connection->guest, why) != ACCESS_GRANTED) {
        refuse(connection, "%s", why);
        return;
    }
    if (uv_read_start((uv_stream_t *)&connection->pipe, on_allocate, on_read) != 0)
        close_connection(connection);
    run_timer(ingest);
}

struct ingest *ingest_new(uv_loop_t *loop, struct endpoint *endpoint, struct access *access,
                          struct writer *writer, char why[ENDPOINT_WHY_SIZE])
{
    struct ingest *ingest = memory_zeroed(sizeof(*ingest));

    uv_timer_init(loop, &ingest->timer);
    ingest->open_handles = 2;
    ingest->timer.data = ingest;
    ingest->writer = writer;
    ingest->access = access;
    ingest->numbers = ingest_numbers_new();
    ingest->endpoint = endpoint;
    ingest->acceptor = acceptor_new(loop, endpoint->fd, BACKLOG, "a node", on_accept, ingest);
    if (ingest->acceptor == NULL) {
        snprintf(why, ENDPOINT_WHY_SIZE, "%s: cannot listen: %s", endpoint->path, strerror(errno));
        ingest->open_handles = 1;
        ingest_close(ingest);
        return NULL;
    }
    endpoint->fd = -1;
    writer_on_commit(writer, on_commit, ingest);
    return ingest;
}

static void on_part_closed(void *cookie)
{
    struct ingest *ingest = cookie;

    ingest->open_handles--;
    free_if_last(ingest);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void ingest_quiet(struct ingest *ingest)
{
    if (ingest->quiet)
        return;
    ingest->quiet = true;
    if (ingest->acceptor != NULL)
        acceptor_close(ingest->acceptor, on_part_closed, ingest);
    ingest->acceptor = NULL;
    for (struct connection *c = ingest->connections; c != NULL; c = c->next)
        update_pause(c);
}

void ingest_close(struct ingest *ingest)
{
    struct connection *connection, *next;

    if (ingest == NULL)
        return;
    ingest_quiet(ingest);
    uv_close((uv_handle_t *)&ingest->timer, on_handle_closed);
    ingest->closing = true;
    for (connection = ingest->connections; connection != NULL; connection = next) {
        next = connection->next;
        connection->changes = 0;
        close_connection(connection);
    }
}

static unsigned nodes_connected(const struct ingest *ingest)
{
    unsigned nodes = 0;

    for (const struct connection *c = ingest->connections; c != NULL; c = c->next)
        nodes += c->hello != NULL && !c->closing;
    return nodes;
}

static void tell(void *cookie, struct metrics_page *page)
{
    const struct ingest *ingest = cookie;

    ingest_numbers_tell(ingest->numbers, page);
    metrics_family(page, "coroner_nodes_connected", METRICS_GAUGE,
                   "Nodes that are connected at this moment.");
    metrics_count(page, nodes_connected(ingest), NULL);
    metrics_family(page, "coroner_records_read_total", METRICS_COUNTER,
                   "Records read from nodes, those that were stored already included.");
    metrics_count(page, ingest->records, NULL);
    metrics_family(page, "coroner_records_cut_total", METRICS_COUNTER,
                   "Records that were too long for a line and have been cut.");
    metrics_count(page, ingest->shrunk, NULL);
    metrics_family(page, "coroner_connections_refused_total", METRICS_COUNTER,
                   "Connections of nodes that were closed for what they sent or did not send.");
    metrics_count(page, ingest->refused, NULL);
    metrics_family(page, "coroner_ingest_pending_bytes", METRICS_GAUGE,
                   "Bytes read from nodes and not committed yet.");
    metrics_count(page, ingest->pending, NULL);
}

void ingest_tell(struct ingest *ingest, struct metrics *metrics)
{
    metrics_collect(metrics, tell, ingest);
}

json_t *ingest_connected(const struct ingest *ingest)
{
    json_t *set = memory_check(json_object());

    for (const struct connection *c = ingest->connections; c != NULL; c = c->next) {
        if (c->hello != NULL && !c->closing)
            json_object_set_new(set, c->hello->incarnation, json_true());
    }
    return set;
}

json_t *ingest_status(const struct ingest *ingest)
{
    return memory_check(
        json_pack("{sI sI sI sI sI}", "nodes_connected", (json_int_t)nodes_connected(ingest),
                  "records", (json_int_t)ingest->records, "records_cut", (json_int_t)ingest->shrunk,
                  "connections_refused", (json_int_t)ingest->refused, "pending_bytes",
                  (json_int_t)ingest->pending));
}
