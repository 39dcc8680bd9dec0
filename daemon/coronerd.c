/*
 * coronerd: collects the records of exits that nodes send, keeps them, answers questions about them
 * and writes them as JSON lines.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <uv.h>

#include "endpoint.h"
#include "ingest.h"
#include "log.h"
#include "memory.h"
#include "op_records.h"
#include "op_status.h"
#include "op_subscribe.h"
#include "options.h"
#include "query.h"
#include "settings.h"
#include "sink.h"
#include "store.h"
#include "timestamp.h"
#include "version.h"
#include "writer.h"

#define BUSY_MS 50 /* between looks at whether a thread is done */

struct daemon {
    const struct options *options;
    struct settings *settings;
    uv_loop_t loop;
    uv_signal_t signals[3];
    int signal_count;
    uv_timer_t deadline;
    bool stopping;
    bool finished;
    int exit_code;

    struct store *store;
    struct writer *writer;
    struct ingest *ingest;
    struct query *query;
    struct sink *sink;
    struct op_status_parts parts;
};

/* ---- the end ---- */

static void close_signals(struct daemon *daemon)
{
    for (int i = 0; i < daemon->signal_count; i++)
        uv_close((uv_handle_t *)&daemon->signals[i], NULL);
}

/* Let go of everything; the loop ends when the last of it is closed. */
static void finish(struct daemon *daemon)
{
    daemon->finished = true;
    query_close(daemon->query);
    sink_close(daemon->sink);
    /* In this order: what the writer drops, the ingest must still know. */
    writer_close(daemon->writer);
    ingest_close(daemon->ingest);
    uv_close((uv_handle_t *)&daemon->deadline, NULL);
    close_signals(daemon);
}

static void on_all_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    if (!daemon->finished)
        finish(daemon);
}

static void on_sink_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    /* The sink's cursor is still to be written. */
    if (!daemon->finished)
        writer_drain(daemon->writer, on_all_drained, daemon);
}

static void on_writer_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    if (daemon->finished)
        return;
    if (daemon->sink != NULL)
        sink_drain(daemon->sink, on_sink_drained, daemon);
    else
        on_sink_drained(daemon);
}

static void on_deadline(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;

    if (daemon->finished)
        return;
    if (daemon->exit_code == EX_OK) {
        log_error("ending before everything is written; what is not stays with the nodes and in "
                  "the store");
        daemon->exit_code = EX_IOERR;
    }
    /* A thread that is writing cannot be stopped. */
    if ((daemon->writer != NULL && writer_busy(daemon->writer)) ||
        (daemon->sink != NULL && sink_busy(daemon->sink)))
        uv_timer_start(timer, on_deadline, BUSY_MS, 0);
    else
        finish(daemon);
}

static void stop(struct daemon *daemon, int signal_number)
{
    if (daemon->finished)
        return;
    if (daemon->stopping) {
        on_deadline(&daemon->deadline);
        return;
    }
    log_info("%s: finishing what has come", strsignal(signal_number));
    daemon->stopping = true;
    uv_timer_start(&daemon->deadline, on_deadline,
                   (uint64_t)daemon->settings->drain_timeout_s * 1000, 0);
    ingest_quiet(daemon->ingest);
    writer_drain(daemon->writer, on_writer_drained, daemon);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct daemon *daemon = handle->data;

    if (signal_number != SIGHUP)
        stop(daemon, signal_number);
    else if (daemon->sink != NULL && !daemon->stopping)
        sink_reopen(daemon->sink);
}

/* ---- the beginning ---- */

/* Each node and each client takes a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= 4096)
        return;
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void watch_signals(struct daemon *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uv_signal_init(&daemon->loop, &daemon->signals[i]);
        daemon->signals[i].data = daemon;
        uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
        daemon->signal_count++;
    }
}

static int start_sink(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    const struct sink_settings *sink = &settings->sinks[0];
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;

    if (settings->sink_count == 0)
        return EX_OK;
    if (settings->sink_count > 1 || (sink->type != SINK_FILE && sink->type != SINK_STDOUT)) {
        log_error("there can be one sink, of type file or stdout");
        return EX_CONFIG;
    }
    reader = store_reader_open(settings->store.path, why);
    if (reader == NULL) {
        log_error("%s", why);
        return EX_IOERR;
    }
    daemon->sink = sink_new(&daemon->loop, daemon->store, reader, daemon->writer,
                            sink->type == SINK_FILE ? sink->path : "-", why);
    if (daemon->sink == NULL) {
        log_error("%s", why);
        store_reader_close(reader);
        return EX_CANTCREAT;
    }
    return EX_OK;
}

static int start_query(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct store_reader *readers[QUERY_READERS] = {NULL};
    char why[STORE_WHY_SIZE];
    struct endpoint *endpoint;

    endpoint = endpoint_open(settings->query.path, why);
    if (endpoint == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    for (int i = 0; i < QUERY_READERS; i++) {
        readers[i] = store_reader_open(settings->store.path, why);
        if (readers[i] == NULL)
            goto error_readers;
    }
    daemon->query = query_new(&daemon->loop, endpoint, daemon->writer, readers, why);
    if (daemon->query == NULL) {
        endpoint = NULL;
        goto error_readers;
    }

    op_records_register(daemon->query);
    op_subscribe_register(daemon->query, daemon->writer);
    daemon->parts = (struct op_status_parts){.query = daemon->query,
                                             .ingest = daemon->ingest,
                                             .writer = daemon->writer,
                                             .sink = daemon->sink,
                                             .store_path = settings->store.path,
                                             .started_ns = timestamp_now()};
    op_status_register(daemon->query, &daemon->parts);
    return EX_OK;

error_readers:
    log_error("%s", why);
    for (int i = 0; i < QUERY_READERS; i++)
        store_reader_close(readers[i]);
    endpoint_close(endpoint);
    return EX_IOERR;
}

static int start_ingest(struct daemon *daemon)
{
    char why[ENDPOINT_WHY_SIZE];
    struct endpoint *endpoint = endpoint_open(daemon->settings->ingest.path, why);

    if (endpoint != NULL)
        daemon->ingest = ingest_new(&daemon->loop, endpoint, daemon->writer, why);
    if (daemon->ingest == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    return EX_OK;
}

static int start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    char why[STORE_WHY_SIZE];
    int exit_code;

    /* The store first: who has it is the one daemon that may touch the rest. */
    daemon->store = store_open(settings->store.path, &exit_code, why);
    if (daemon->store == NULL) {
        log_error("%s", why);
        return exit_code;
    }
    daemon->writer = writer_new(&daemon->loop, daemon->store);
    if ((exit_code = start_sink(daemon)) != EX_OK || (exit_code = start_ingest(daemon)) != EX_OK ||
        (exit_code = start_query(daemon)) != EX_OK)
        return exit_code;
    watch_signals(daemon);
    log_info("ready: coronerd %s, ingest %s, query %s, store %s, %zu sinks", CORONERD_VERSION,
             settings->ingest.path, settings->query.path, settings->store.path,
             settings->sink_count);
    return EX_OK;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    char why[SETTINGS_WHY_SIZE];
    struct daemon *daemon;
    int exit_code = options_read(argc, argv, &options);

    if (exit_code >= 0)
        return exit_code;
    if (options.check)
        return options_check(&options);
    signal(SIGPIPE, SIG_IGN);
    /* A limit on file sizes is an error to handle, as a full disk is. */
    signal(SIGXFSZ, SIG_IGN);
    raise_descriptor_limit();

    daemon = memory_zeroed(sizeof(*daemon));
    daemon->options = &options;
    daemon->settings = settings_read(options.config, &options.flags, why);
    if (daemon->settings == NULL) {
        log_error("%s", why);
        free(daemon);
        return EX_CONFIG;
    }
    if (uv_loop_init(&daemon->loop) != 0) {
        log_error("cannot make an event loop");
        settings_free(daemon->settings);
        free(daemon);
        return EX_SOFTWARE;
    }
    uv_timer_init(&daemon->loop, &daemon->deadline);
    daemon->deadline.data = daemon;
    daemon->exit_code = start(daemon);
    if (daemon->exit_code != EX_OK)
        on_deadline(&daemon->deadline);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    uv_loop_close(&daemon->loop);
    store_close(daemon->store);
    exit_code = daemon->exit_code;
    settings_free(daemon->settings);
    free(daemon);
    if (exit_code == EX_OK)
        log_info("ended");
    return exit_code;
}
