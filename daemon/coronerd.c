/*
 * coronerd: collects the records of exits that nodes send, keeps them, answers questions about them
 * and writes them as JSON lines.
 */
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <uv.h>

#include "access.h"
#include "endpoint.h"
#include "http.h"
#include "ingest.h"
#include "log.h"
#include "memory.h"
#include "notify.h"
#include "monitor.h"
#include "op_records.h"
#include "op_status.h"
#include "op_subscribe.h"
#include "options.h"
#include "query.h"
#include "settings.h"
#include "sinks.h"
#include "store.h"
#include "timestamp.h"
#include "version.h"
#include "writer.h"

#define BUSY_MS 50 /* between looks at whether a thread is done */
#define STATUS_READY "collecting exits and answering questions"
#define LOG_MS 1000 /* for the last lines of the log */

struct daemon {
    const struct options *options;
    struct settings *settings;
    uv_loop_t loop;
    uv_signal_t signals[3];
    int signal_count;
    uv_timer_t deadline;
    struct notify *notify;
    struct notify_sockets sockets;
    bool stopping;
    bool finished;
    int exit_code;

    struct store *store;
    struct writer *writer;
    struct ingest *ingest;
    struct query *query;
    struct endpoint *ingest_endpoint; /* which `ingest` and `query` own */
    struct endpoint *query_endpoint;
    struct sinks *sinks;
    struct http *http;       /* NULL: off */
    struct monitor *monitor; /* NULL: off */
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
    http_close(daemon->http);
    query_close(daemon->query);
    sinks_close(daemon->sinks);
    /* In this order: what the writer drops, the ingest must still know. */
    writer_close(daemon->writer);
    ingest_close(daemon->ingest);
    uv_close((uv_handle_t *)&daemon->deadline, NULL);
    notify_close(daemon->notify);
    close_signals(daemon);
}

static void on_all_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    if (!daemon->finished)
        finish(daemon);
}

static void on_sinks_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    /* The sinks' cursors are still to be written. */
    if (!daemon->finished)
        writer_drain(daemon->writer, on_all_drained, daemon);
}

static void on_writer_drained(void *cookie)
{
    struct daemon *daemon = cookie;

    if (!daemon->finished)
        sinks_drain(daemon->sinks, on_sinks_drained, daemon);
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
    if (daemon->writer != NULL && writer_busy(daemon->writer))
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
    notify_stopping(daemon->notify, "finishing what has come");
    daemon->stopping = true;
    monitor_ready(daemon->monitor, "draining");
    uv_timer_start(&daemon->deadline, on_deadline,
                   (uint64_t)daemon->settings->drain_timeout_s * 1000, 0);
    ingest_quiet(daemon->ingest);
    writer_drain(daemon->writer, on_writer_drained, daemon);
}

/* ---- changes ---- */

static void on_setting(void *cookie, enum settings_change change, const char *key, const char *was,
                       const char *is)
{
    (void)cookie;
    if (change == SETTINGS_TAKEN)
        log_info("%s is %s now (it was %s)", key, is, was);
    else
        log_warning("%s is %s in the config file; it stays %s until coronerd is started anew", key,
                    is, was);
}

static void permit(const struct endpoint *endpoint, const struct socket_settings *settings)
{
    char why[ENDPOINT_WHY_SIZE];

    if (endpoint_permit(endpoint, settings, why) != 0)
        log_error("%s", why);
}

/* Log what is wrong with the settings, a line of ${why} each. */
static void complain_of_settings(char *why)
{
    char *rest = why, *line;

    while ((line = strsep(&rest, "\n")) != NULL)
        log_error("%s", line);
}

/* Returns whether the file is right. */
static bool read_settings_again(struct daemon *daemon)
{
    char why[SETTINGS_WHY_SIZE];
    struct settings *fresh = settings_read(daemon->options->config, &daemon->options->flags, why);

    if (fresh == NULL) {
        complain_of_settings(why);
        log_error("all settings stay as they are");
        return false;
    }
    settings_take(daemon->settings, fresh, on_setting, NULL);
    settings_free(fresh);
    permit(daemon->ingest_endpoint, &daemon->settings->ingest);
    permit(daemon->query_endpoint, &daemon->settings->query);
    query_deadline(daemon->query, daemon->settings->query_deadline_ms);
    store_limit(daemon->store, &daemon->settings->store);
    return true;
}

static void reload(struct daemon *daemon)
{
    bool good;

    notify_reloading(daemon->notify, "reading the settings again");
    good = read_settings_again(daemon);
    sinks_reopen(daemon->sinks);
    log_info(good ? "reloaded"
                  : "the outputs are opened anew; the settings are not read: see above");
    notify_ready(daemon->notify, STATUS_READY);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct daemon *daemon = handle->data;

    if (signal_number != SIGHUP)
        stop(daemon, signal_number);
    else if (!daemon->stopping)
        reload(daemon);
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

static int start_sinks(struct daemon *daemon)
{
    char why[SINK_WHY_SIZE];
    int exit_code;

    daemon->sinks =
        sinks_new(&daemon->loop, daemon->settings, daemon->store, daemon->writer, &exit_code, why);
    if (daemon->sinks != NULL)
        return EX_OK;
    log_error("%s", why);
    return exit_code;
}

/* Listen, or take the socket on which systemd does. */
static int open_endpoint(const struct socket_settings *settings, int passed,
                         struct endpoint **endpoint)
{
    char why[ENDPOINT_WHY_SIZE];
    int exit_code = EX_OK;

    if (passed >= 0)
        *endpoint = endpoint_passed(passed);
    else if ((*endpoint = endpoint_open(settings, &exit_code, why)) == NULL)
        log_error("%s", why);
    else
        exit_code = EX_OK;
    return exit_code;
}

static int start_query(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct store_reader *readers[QUERY_READERS] = {NULL};
    char why[STORE_WHY_SIZE];
    struct endpoint *endpoint;
    struct access *access;
    int exit_code = open_endpoint(&settings->query, daemon->sockets.query, &endpoint);

    if (exit_code != EX_OK)
        return exit_code;
    access = access_new("query", &settings->query, &settings->query_connections_max,
                        &settings->query_connections_per_user);
    for (int i = 0; i < QUERY_READERS; i++) {
        readers[i] = store_reader_open(daemon->store, why);
        if (readers[i] == NULL)
            goto error_readers;
    }
    daemon->query = query_new(&daemon->loop, endpoint, access, daemon->writer, readers, why);
    if (daemon->query == NULL) {
        endpoint = NULL;
        access = NULL;
        goto error_readers;
    }
    daemon->query_endpoint = endpoint;
    query_deadline(daemon->query, settings->query_deadline_ms);

    op_records_register(daemon->query);
    op_subscribe_register(daemon->query, daemon->writer);
    daemon->parts = (struct op_status_parts){.query = daemon->query,
                                             .ingest = daemon->ingest,
                                             .writer = daemon->writer,
                                             .sinks = daemon->sinks,
                                             .store = daemon->store,
                                             .store_path = settings->store.path,
                                             .started_ns = timestamp_now()};
    op_status_register(daemon->query, &daemon->parts);
    return EX_OK;

error_readers:
    log_error("%s", why);
    for (int i = 0; i < QUERY_READERS; i++)
        store_reader_close(readers[i]);
    access_free(access);
    endpoint_close(endpoint);
    return EX_IOERR;
}

static int start_ingest(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    char why[ENDPOINT_WHY_SIZE];
    struct endpoint *endpoint;
    int exit_code = open_endpoint(&settings->ingest, daemon->sockets.ingest, &endpoint);

    if (exit_code != EX_OK)
        return exit_code;
    daemon->ingest =
        ingest_new(&daemon->loop, endpoint,
                   access_new("ingest", &settings->ingest, &settings->ingest_connections_max,
                              &settings->ingest_connections_per_user),
                   daemon->writer, why);
    if (daemon->ingest == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    daemon->ingest_endpoint = endpoint;
    return EX_OK;
}

static int start_http(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct monitor_parts parts = {.writer = daemon->writer,
                                  .sinks = daemon->sinks,
                                  .store = daemon->store,
                                  .store_path = settings->store.path,
                                  .started_ns = daemon->parts.started_ns};
    char why[ENDPOINT_WHY_SIZE];
    struct http_listen *listen;

    if (settings->http == NULL && daemon->sockets.http < 0)
        return EX_OK;
    listen = daemon->sockets.http >= 0 ? http_listen_passed(daemon->sockets.http, why)
                                       : http_listen_open(settings->http, why);
    if (listen != NULL)
        daemon->http = http_new(&daemon->loop, listen, why);
    if (daemon->http == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    daemon->monitor = monitor_new(daemon->http, &parts);
    ingest_tell(daemon->ingest, monitor_metrics(daemon->monitor));
    query_tell(daemon->query, monitor_metrics(daemon->monitor));
    return EX_OK;
}

static int start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    char why[STORE_WHY_SIZE];
    int exit_code;

    if (notify_take_sockets(&daemon->sockets, why) != 0) {
        log_error("%s", why);
        return EX_CONFIG;
    }
    /* The store first: who has it is the one daemon that may touch the rest. */
    daemon->store = store_open(settings->store.path, &exit_code, why);
    if (daemon->store == NULL) {
        log_error("%s", why);
        return exit_code;
    }
    store_limit(daemon->store, &settings->store);
    daemon->writer = writer_new(&daemon->loop, daemon->store);
    if ((exit_code = start_sinks(daemon)) != EX_OK || (exit_code = start_ingest(daemon)) != EX_OK ||
        (exit_code = start_query(daemon)) != EX_OK || (exit_code = start_http(daemon)) != EX_OK)
        return exit_code;
    watch_signals(daemon);
    monitor_ready(daemon->monitor, NULL);
    log_info("ready: coronerd %s, ingest %s, query %s, store %s, %zu sinks, http %s",
             CORONERD_VERSION, daemon->ingest_endpoint->path, daemon->query_endpoint->path,
             settings->store.path, settings->sink_count,
             daemon->http != NULL ? http_at(daemon->http) : "off");
    notify_ready(daemon->notify, STATUS_READY);
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
    /* The writer, the sinks and three that answer questions: none of them waits for another. */
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    /* A heap for each thread would keep what each needed at its worst. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);

    daemon = memory_zeroed(sizeof(*daemon));
    daemon->options = &options;
    daemon->settings = settings_read(options.config, &options.flags, why);
    if (daemon->settings == NULL) {
        complain_of_settings(why);
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
    daemon->notify = notify_new(&daemon->loop);
    daemon->exit_code = start(daemon);
    if (daemon->exit_code != EX_OK)
        on_deadline(&daemon->deadline);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    uv_loop_close(&daemon->loop);
    monitor_free(daemon->monitor);
    store_close(daemon->store);
    exit_code = daemon->exit_code;
    settings_free(daemon->settings);
    free(daemon);
    if (exit_code == EX_OK)
        log_info("ended");
    log_end(LOG_MS);
    return exit_code;
}
