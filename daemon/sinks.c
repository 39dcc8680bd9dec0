#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "log.h"
#include "memory.h"
#include "reply.h"
#include "sinks.h"
#include "timestamp.h"

struct sinks {
    struct sink *sinks[SETTINGS_SINKS_MAX];
    const struct sink_settings *settings[SETTINGS_SINKS_MAX];
    size_t count;
    size_t ended;
    struct writer *writer;
    uv_async_t news;
    bool closing;
    bool drained_one[SETTINGS_SINKS_MAX];
    void (*drained)(void *cookie);
    void *drained_cookie;
};

/* On a sink's thread. */
static void on_sink_news(void *cookie)
{
    uv_async_send(cookie);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void check_drained(struct sinks *sinks)
{
    void (*drained)(void *cookie) = sinks->drained;

    if (drained == NULL)
        return;
    for (size_t i = 0; i < sinks->count; i++) {
        if (!sinks->drained_one[i])
            return;
    }
    sinks->drained = NULL;
    drained(sinks->drained_cookie);
}

static void on_news(uv_async_t *async)
{
    struct sinks *sinks = async->data;

    for (size_t i = 0; i < sinks->count; i++) {
        struct sink_news news;

        if (sinks->sinks[i] == NULL)
            continue;
        news = sink_take(sinks->sinks[i]);
        if (news.moved && !sinks->closing)
            writer_cursor(sinks->writer, sink_name(sinks->sinks[i]), news.cursor);
        sinks->drained_one[i] = sinks->drained_one[i] || news.drained;
        if (news.ended) {
            sink_free(sinks->sinks[i]);
            sinks->sinks[i] = NULL;
            sinks->ended++;
        }
    }
    if (!sinks->closing)
        check_drained(sinks);
    else if (sinks->ended == sinks->count && !uv_is_closing((uv_handle_t *)async))
        uv_close((uv_handle_t *)async, on_closed);
}

static void on_commit(void *cookie, int64_t head)
{
    struct sinks *sinks = cookie;

    for (size_t i = 0; i < sinks->count && !sinks->closing; i++)
        sink_head(sinks->sinks[i], head);
}

static int start_one(struct sinks *sinks, const struct sink_settings *one, struct store *store,
                     char *why)
{
    struct store_reader *reader = store_reader_open(store, why);
    struct sink *sink;

    if (reader == NULL)
        return EX_IOERR;
    sink =
        sink_new(one, store, reader, writer_head(sinks->writer), on_sink_news, &sinks->news, why);
    if (sink == NULL) {
        store_reader_close(reader);
        return EX_CANTCREAT;
    }
    sinks->settings[sinks->count] = one;
    sinks->sinks[sinks->count++] = sink;
    return EX_OK;
}

struct sinks *sinks_new(uv_loop_t *loop, const struct settings *settings, struct store *store,
                        struct writer *writer, int *exit_code, char why[SINK_WHY_SIZE])
{
    struct sinks *sinks = memory_zeroed(sizeof(*sinks));

    sinks->writer = writer;
    if (uv_async_init(loop, &sinks->news, on_news) != 0) {
        *exit_code = EX_OSERR;
        memcpy(why, "no descriptor for the sinks", sizeof("no descriptor for the sinks"));
        free(sinks);
        return NULL;
    }
    sinks->news.data = sinks;
    for (size_t i = 0; i < settings->sink_count; i++) {
        *exit_code = start_one(sinks, &settings->sinks[i], store, why);
        if (*exit_code != EX_OK) {
            sinks_close(sinks);
            return NULL;
        }
    }
    if (sinks->count > 0)
        writer_on_commit(writer, on_commit, sinks);
    return sinks;
}

void sinks_reopen(struct sinks *sinks)
{
    for (size_t i = 0; i < sinks->count; i++)
        sink_reopen(sinks->sinks[i]);
}

void sinks_drain(struct sinks *sinks, void (*drained)(void *cookie), void *cookie)
{
    sinks->drained = drained;
    sinks->drained_cookie = cookie;
    for (size_t i = 0; i < sinks->count; i++)
        sink_drain(sinks->sinks[i]);
    if (sinks->count == 0)
        check_drained(sinks);
}

size_t sinks_count(const struct sinks *sinks)
{
    return sinks->count;
}

struct sink_numbers sinks_numbers(const struct sinks *sinks, size_t index)
{
    return sink_numbers(sinks->sinks[index]);
}

static json_t *sink_status(const struct sinks *sinks, size_t index)
{
    static const char *const types[] = {"file", "stdout", "exec", "nats"};
    static const char *const states[] = {"ok", "retrying", "broken"};
    const struct sink_settings *settings = sinks->settings[index];
    struct sink_numbers numbers = sinks_numbers(sinks, index);
    char since[TIMESTAMP_SIZE];
    json_t *status;

    timestamp_format(numbers.since_ns, since);
    status = memory_check(json_pack(
        "{so ss ss ss sI sI sI sI sI sI sI sI}", "name",
        reply_text(numbers.name, strlen(numbers.name)), "type", types[numbers.type], "state",
        states[numbers.state], "since", since, "lines", (json_int_t)numbers.lines, "bytes",
        (json_int_t)numbers.bytes, "behind", (json_int_t)numbers.behind_rows, "behind_seconds",
        (json_int_t)numbers.behind_seconds, "unsafe", (json_int_t)numbers.unsafe_rows, "retries",
        (json_int_t)numbers.retries, "lost", (json_int_t)numbers.lost, "folded",
        (json_int_t)numbers.folded));
    if (numbers.state != SINK_OK)
        json_object_set_new(status, "reason", reply_text(numbers.reason, strlen(numbers.reason)));
    /* A path need not be UTF-8. */
    if (settings->type == SINK_FILE)
        json_object_set_new(status, "path", reply_text(settings->path, strlen(settings->path)));
    return status;
}

json_t *sinks_status(const struct sinks *sinks)
{
    json_t *list = memory_check(json_array());

    for (size_t i = 0; i < sinks->count; i++)
        json_array_append_new(list, sink_status(sinks, i));
    return list;
}

void sinks_close(struct sinks *sinks)
{
    if (sinks == NULL || sinks->closing)
        return;
    sinks->closing = true;
    sinks->drained = NULL;
    for (size_t i = 0; i < sinks->count; i++)
        sink_end(sinks->sinks[i]);
    /* With none, nobody else calls. */
    uv_async_send(&sinks->news);
}
