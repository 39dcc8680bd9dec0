/*
 * Lines as messages of a NATS JetStream.
 *
 * Each is published with its record's id as Nats-Msg-Id, up to IN_FLIGHT_MAX of them at once, and
 * counts once the server has acknowledged it: it is in the stream then. After anything that went
 * wrong the connection is given up, and what is not acknowledged is published again on the next
 * one; the server drops what it has already by the id.
 *
 * libnats runs on threads of its own and not on the daemon's loop: with its libuv adapter,
 * connecting, resolving names and publishing to a server that does not read would still block, and
 * that loop would be everybody's.
 */
#include <errno.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "sink_driver.h"

#define IN_FLIGHT_MAX 512
#define CONNECT_MS 2000
#define ACK_MS 10000  /* for all that is in flight */
#define LOOK_MS 100   /* whether the sink is to end, while waiting */
#define PING_MS 60000 /* a server that is silently gone is missed after two or three */
#define DUPLICATES_NS (INT64_C(600) * 1000000000) /* of a stream that is created here */
#define TOKEN_MAX 255
#define SUBJECT_MAX 256
#define CALLBACK_MS 5000

struct nats {
    const struct sink_settings *settings;
    bool (*ending)(void *cookie);
    void *cookie;
    natsOptions *options;
    natsConnection *connection;
    jsCtx *stream;
    int lost; /* eventfd: the connection is closed */

    pthread_mutex_t lock; /* of the rest, which libnats' threads touch */
    pthread_cond_t changed;
    bool closed;
    natsMsg *sent[IN_FLIGHT_MAX]; /* NULL: acknowledged */
    size_t sent_count;
    size_t first_open; /* the first that may be not NULL */
    size_t open_count;
    bool refused;
    char why[SINK_WHY_SIZE];
};

/* ---- on libnats' threads ---- */

static void on_ack(jsCtx *stream, natsMsg *message, jsPubAck *ack, jsPubAckErr *error, void *cookie)
{
    struct nats *nats = cookie;
    size_t i;

    (void)stream;
    pthread_mutex_lock(&nats->lock);
    for (i = nats->first_open; i < nats->sent_count && nats->sent[i] != message; i++)
        continue;
    /* One of a connection that was given up is nobody's any more. */
    if (i < nats->sent_count) {
        if (ack != NULL) {
            nats->sent[i] = NULL;
        } else {
            /* Not acknowledged, and never to be taken for a message that gets the same address. */
            nats->sent[i] = (natsMsg *)nats;
            nats->refused = true;
            sink_say(nats->why, "%.200s",
                     error != NULL && error->ErrText != NULL ? error->ErrText
                                                             : "refused without a reason");
        }
        nats->open_count--;
        while (nats->first_open < nats->sent_count && nats->sent[nats->first_open] == NULL)
            nats->first_open++;
        pthread_cond_signal(&nats->changed);
    }
    pthread_mutex_unlock(&nats->lock);
    natsMsg_Destroy(message);
}

static void on_closed(natsConnection *connection, void *cookie)
{
    static const uint64_t one = 1;
    struct nats *nats = cookie;

    (void)connection;
    pthread_mutex_lock(&nats->lock);
    nats->closed = true;
    pthread_cond_signal(&nats->changed);
    if (write(nats->lost, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("sink %s: %s", nats->settings->name, strerror(errno));
    pthread_mutex_unlock(&nats->lock);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus error,
                     void *cookie)
{
    struct nats *nats = cookie;

    (void)connection;
    (void)subscription;
    log_warning("sink %s: %s", nats->settings->name, natsStatus_GetText(error));
}

/* ---- the connection ---- */

/* Waits on `changed` for at most so long; the lock is held. */
static void wait_changed(struct nats *nats, long milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&nats->changed, &nats->lock, &until);
}

static void drop(struct nats *nats)
{
    natsMsgList unused = {0};
    uint64_t ignored;

    if (nats->connection == NULL)
        return;
    pthread_mutex_lock(&nats->lock);
    nats->sent_count = nats->first_open = nats->open_count = 0;
    pthread_mutex_unlock(&nats->lock);
    if (nats->stream != NULL && js_PublishAsyncGetPendingList(&unused, nats->stream) == NATS_OK)
        natsMsgList_Destroy(&unused);
    jsCtx_Destroy(nats->stream);
    nats->stream = NULL;
    natsConnection_Close(nats->connection);
    /* Its last call back must have come before anything of it is used again. */
    pthread_mutex_lock(&nats->lock);
    for (int i = 0; i < CALLBACK_MS / LOOK_MS && !nats->closed; i++)
        wait_changed(nats, LOOK_MS);
    pthread_mutex_unlock(&nats->lock);
    natsConnection_Destroy(nats->connection);
    nats->connection = NULL;
    if (read(nats->lost, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
        log_error("sink %s: %s", nats->settings->name, strerror(errno));
}

static bool creates_stream(const struct nats *nats)
{
    return nats->settings->stream != NULL && nats->settings->stream[0] != '\0';
}

/* The stream of the settings is there afterwards. */
static natsStatus see_to_stream(struct nats *nats, char *why)
{
    const struct sink_settings *settings = nats->settings;
    char subject[SUBJECT_MAX + 3];
    const char *subjects[] = {subject};
    jsStreamInfo *info = NULL;
    jsStreamConfig config;
    jsErrCode code = 0;
    natsStatus status;

    status = js_GetStreamInfo(&info, nats->stream, settings->stream, NULL, &code);
    jsStreamInfo_Destroy(info);
    if (status != NATS_NOT_FOUND)
        return status;
    snprintf(subject, sizeof(subject), "%s.>", settings->subject);
    jsStreamConfig_Init(&config);
    config.Name = settings->stream;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.Duplicates = DUPLICATES_NS;
    info = NULL;
    status = js_AddStream(&info, nats->stream, &config, NULL, &code);
    jsStreamInfo_Destroy(info);
    if (status == NATS_OK)
        log_info("sink %s: made the stream %s for %s", settings->name, settings->stream, subject);
    else
        sink_say(why, "cannot make the stream %.64s: %.100s (%d)", settings->stream,
                 natsStatus_GetText(status), (int)code);
    return status;
}

static enum sink_outcome connect_it(struct nats *nats, char *why)
{
    jsOptions options;
    natsStatus status;

    pthread_mutex_lock(&nats->lock);
    nats->closed = false;
    pthread_mutex_unlock(&nats->lock);
    status = natsConnection_Connect(&nats->connection, nats->options);
    if (status != NATS_OK) {
        nats->connection = NULL;
        sink_say(why, "cannot connect: %s", natsStatus_GetText(status));
        return SINK_ERROR;
    }
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = 2 * IN_FLIGHT_MAX;
    options.PublishAsync.AckHandler = on_ack;
    options.PublishAsync.AckHandlerClosure = nats;
    options.Wait = CONNECT_MS;
    status = natsConnection_JetStream(&nats->stream, nats->connection, &options);
    *why = '\0';
    if (status == NATS_OK && creates_stream(nats))
        status = see_to_stream(nats, why);
    if (status != NATS_OK) {
        if (*why == '\0')
            sink_say(why, "JetStream: %s", natsStatus_GetText(status));
        drop(nats);
        return SINK_ERROR;
    }
    log_info("sink %s: connected", nats->settings->name);
    return SINK_DONE;
}

/* ---- subjects ---- */

/* A token must not be empty, and some characters would end it or make it a pattern. */
static size_t put_token(char *to, const char *text)
{
    size_t length = strlen(text);

    if (length > TOKEN_MAX) {
        length = TOKEN_MAX;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        to[i] = c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' ? '_' : text[i];
    }
    if (length == 0)
        to[length++] = '_';
    to[length] = '\0';
    return length;
}

static bool is_subject(const char *text)
{
    size_t length = strlen(text);

    if (length == 0 || length >= SUBJECT_MAX || text[0] == '.' || text[length - 1] == '.' ||
        strstr(text, "..") != NULL)
        return false;
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ' || *text == 0x7f || *text == '*' || *text == '>')
            return false;
    }
    return true;
}

/* ---- publishing ---- */

static natsStatus publish_line(struct nats *nats, const struct sink_batch *batch, size_t index,
                               size_t place)
{
    const struct sink_line *line = &batch->lines[index];
    size_t start = index > 0 ? batch->lines[index - 1].end : 0;
    const char *id = batch->keys.data + line->id;
    char subject[SUBJECT_MAX + 2 * (TOKEN_MAX + 2)];
    jsPubOptions options;
    natsMsg *message = NULL;
    natsStatus status;
    size_t used;

    used = (size_t)snprintf(subject, SUBJECT_MAX + 1, "%s.", nats->settings->subject);
    used += put_token(subject + used, batch->keys.data + line->node);
    subject[used++] = '.';
    put_token(subject + used, batch->keys.data + line->source);
    status = natsMsg_Create(&message, subject, NULL, batch->data.data + start,
                            (int)(line->end - 1 - start));
    if (status != NATS_OK)
        return status;
    jsPubOptions_Init(&options);
    if (*id != '\0')
        options.MsgId = id;
    if (creates_stream(nats))
        options.ExpectStream = nats->settings->stream;
    /* Before it is sent: the acknowledgement may be here first. */
    pthread_mutex_lock(&nats->lock);
    nats->sent[place] = message;
    nats->sent_count = place + 1;
    nats->open_count++;
    pthread_mutex_unlock(&nats->lock);
    status = js_PublishMsgAsync(nats->stream, &message, &options);
    if (status != NATS_OK)
        natsMsg_Destroy(message);
    return status;
}

/* Waits until nothing is open. Returns how many from the first on are acknowledged without a gap.
 */
static size_t wait_for_acks(struct nats *nats, char *why)
{
    size_t acked;

    pthread_mutex_lock(&nats->lock);
    for (int i = 0; i < ACK_MS / LOOK_MS && nats->open_count > 0 && !nats->closed &&
                    !nats->ending(nats->cookie);
         i++)
        wait_changed(nats, LOOK_MS);
    acked = nats->first_open;
    if (acked < nats->sent_count) {
        if (nats->refused)
            sink_say(why, "the server refuses: %.200s", nats->why);
        else if (nats->closed)
            sink_say(why, "the connection was lost");
        else
            sink_say(why, "the server does not acknowledge");
    }
    pthread_mutex_unlock(&nats->lock);
    return acked;
}

/* Publish the next lines. */
static enum sink_outcome publish_some(struct nats *nats, struct sink_batch *batch, char *why)
{
    natsStatus status = NATS_OK;
    size_t first = batch->next, count = 0, acked;

    pthread_mutex_lock(&nats->lock);
    nats->sent_count = nats->first_open = nats->open_count = 0;
    nats->refused = false;
    pthread_mutex_unlock(&nats->lock);
    while (count < IN_FLIGHT_MAX && first + count < batch->count && status == NATS_OK) {
        status = publish_line(nats, batch, first + count, count);
        count++;
    }
    if (status != NATS_OK) {
        /* It was counted, and will not be acknowledged. */
        pthread_mutex_lock(&nats->lock);
        nats->open_count--;
        pthread_mutex_unlock(&nats->lock);
    }
    acked = wait_for_acks(nats, why);
    if (status != NATS_OK)
        sink_say(why, "cannot publish: %s", natsStatus_GetText(status));
    if (acked > 0)
        sink_advance(batch, batch->lines[first + acked - 1].end - batch->offset);
    if (acked == count)
        return SINK_DONE;
    drop(nats);
    return SINK_ERROR;
}

/* ---- what a sink asks for ---- */

static natsStatus set_options(struct nats *nats)
{
    const struct sink_settings *settings = nats->settings;
    const char *urls[16];
    char *list = memory_string(settings->url), *rest = list, *url;
    int count = 0;
    natsStatus status = natsOptions_Create(&nats->options);

    while (count < 16 && (url = strsep(&rest, ", ")) != NULL) {
        if (*url != '\0')
            urls[count++] = url;
    }
    if (status == NATS_OK)
        status = natsOptions_SetServers(nats->options, urls, count);
    free(list);
    if (status == NATS_OK && settings->credentials != NULL && settings->credentials[0] != '\0')
        status =
            natsOptions_SetUserCredentialsFromFiles(nats->options, settings->credentials, NULL);
    if (status == NATS_OK)
        status = natsOptions_SetName(nats->options, "coronerd");
    if (status == NATS_OK)
        status = natsOptions_SetTimeout(nats->options, CONNECT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetPingInterval(nats->options, PING_MS);
    /* What is not acknowledged is in the store and not in a buffer: we connect anew ourselves. */
    if (status == NATS_OK)
        status = natsOptions_SetAllowReconnect(nats->options, false);
    if (status == NATS_OK)
        status = natsOptions_SetWriteDeadline(nats->options, CONNECT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetClosedCB(nats->options, on_closed, nats);
    if (status == NATS_OK)
        status = natsOptions_SetErrorHandler(nats->options, on_error, nats);
    return status;
}

static void nats_free(struct nats *nats)
{
    natsOptions_Destroy(nats->options);
    if (nats->lost >= 0)
        close(nats->lost);
    pthread_cond_destroy(&nats->changed);
    pthread_mutex_destroy(&nats->lock);
    free(nats);
}

static void *nats_open(struct sink_context *context, char *why)
{
    const struct sink_settings *settings = context->settings;
    struct nats *nats;
    pthread_condattr_t monotonic;
    natsStatus status;

    if (!is_subject(settings->subject)) {
        sink_say(why, "sink %s: '%.100s' cannot be the beginning of a NATS subject", settings->name,
                 settings->subject);
        return NULL;
    }
    nats = memory_zeroed(sizeof(*nats));
    nats->settings = settings;
    nats->ending = context->ending;
    nats->cookie = context->cookie;
    nats->lost = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&nats->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&nats->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (nats->lost < 0) {
        sink_say(why, "sink %s: %s", settings->name, strerror(errno));
        nats_free(nats);
        return NULL;
    }
    status = set_options(nats);
    if (status != NATS_OK) {
        sink_say(why, "sink %s: %s", settings->name, natsStatus_GetText(status));
        nats_free(nats);
        return NULL;
    }
    return nats;
}

static enum sink_outcome nats_ready(void *state, char *why)
{
    struct nats *nats = state;

    return nats->connection != NULL ? SINK_DONE : connect_it(nats, why);
}

static enum sink_outcome nats_write(void *state, struct sink_batch *batch, char *why)
{
    struct nats *nats = state;
    enum sink_outcome outcome = SINK_DONE;

    while (batch->next < batch->count && outcome == SINK_DONE)
        outcome = publish_some(nats, batch, why);
    return outcome;
}

static enum sink_outcome nats_confirm(void *state, int64_t handed, int64_t *safe, char *why)
{
    (void)state;
    (void)why;
    *safe = handed; /* each was acknowledged */
    return SINK_DONE;
}

static int nats_poll(void *state, bool full, struct pollfd *set)
{
    struct nats *nats = state;

    (void)full;
    *set = (struct pollfd){.fd = nats->lost, .events = POLLIN};
    return 1;
}

static enum sink_outcome nats_look(void *state, char *why)
{
    struct nats *nats = state;
    bool closed;

    pthread_mutex_lock(&nats->lock);
    closed = nats->closed;
    pthread_mutex_unlock(&nats->lock);
    if (nats->connection == NULL || !closed)
        return SINK_DONE;
    drop(nats);
    sink_say(why, "the connection was lost");
    return SINK_ERROR;
}

static void nats_close(void *state, struct sink_batch *batch, bool drained)
{
    struct nats *nats = state;

    (void)batch;
    (void)drained;
    drop(nats);
    nats_free(nats);
}

const struct sink_driver sink_nats = {.open = nats_open,
                                      .ready = nats_ready,
                                      .write = nats_write,
                                      .confirm = nats_confirm,
                                      .confirm_ms = 0,
                                      .poll = nats_poll,
                                      .look = nats_look,
                                      .close = nats_close};
