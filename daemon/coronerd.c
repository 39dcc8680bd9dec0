/*
 * coronerd: collects the records of exits that nodes send, keeps them, answers questions about them
 * and writes them as JSON lines.
 */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <uv.h>

#include "endpoint.h"
#include "http.h"
#include "ingest.h"
#include "log.h"
#include "memory.h"
#include "monitor.h"
#include "op_records.h"
#include "op_status.h"
#include "op_subscribe.h"
#include "query.h"
#include "sink.h"
#include "settings.h"
#include "store.h"
#include "timestamp.h"
#include "version.h"
#include "writer.h"

#define LISTEN_DEFAULT "/run/coroner/ingest.sock"
#define QUERY_DEFAULT "/run/coroner/query.sock"
#define STORE_DEFAULT "/var/lib/coroner/exits.db"

#define DRAIN_MS 10000 /* to finish after SIGTERM */
#define BUSY_MS 50     /* between looks at whether a thread is done */

struct options {
    const char *listen;
    const char *query;
    const char *store;
    const char *out;  /* NULL: none */
    const char *http; /* NULL: none */
    struct store_settings limits;
};

struct daemon {
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
    struct http *http;
    struct monitor *monitor;
    struct op_status_parts parts;
};

static void usage(FILE *out)
{
    fprintf(
        out,
        "Usage: coronerd [OPTION]...\n"
        "Collect the exits of Erlang processes from nodes, keep them, and answer questions.\n"
        "\n"
        "  --listen PATH   socket that nodes connect to (default %s)\n"
        "  --query PATH    socket that answers questions (default %s)\n"
        "  --store PATH    database (default %s)\n"
        "  --store-max-bytes N, --store-max-age SECONDS\n"
        "                  drop the oldest records beyond that (default: keep all)\n"
        "  --segment-rows N, --segment-bytes N, --segment-age SECONDS\n"
        "                  when the store begins a new file\n"
        "  --out FILE      also write every record as a line of JSON to FILE; - is stdout\n"
        "  --http ADDRESS  serve /metrics, /healthz and /readyz at 127.0.0.1:PORT, [::1]:PORT or\n"
        "                  unix:PATH\n"
        "  --help          show this\n"
        "  --version       show the version\n"
        "\n"
        "SIGTERM and SIGINT: finish what has come, then end. SIGHUP: open FILE anew.\n"
        "Exit codes: 0 ended on request, 64 wrong usage, 70 internal error, 73 a socket or file\n"
        "cannot be created, 74 the store or FILE cannot be used.\n",
        LISTEN_DEFAULT, QUERY_DEFAULT, STORE_DEFAULT);
}

/* Fill the options. Return -1 to go on, or the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    enum {
        LISTEN = 256,
        QUERY,
        STORE,
        OUT,
        HTTP,
        HELP,
        VERSION,
        MAX_BYTES,
        MAX_AGE,
        SEGMENT_ROWS,
        SEGMENT_BYTES,
        SEGMENT_AGE
    };
    static const struct option known[] = {
        {"listen", required_argument, NULL, LISTEN},
        {"query", required_argument, NULL, QUERY},
        {"store", required_argument, NULL, STORE},
        {"out", required_argument, NULL, OUT},
        {"http", required_argument, NULL, HTTP},
        {"store-max-bytes", required_argument, NULL, MAX_BYTES},
        {"store-max-age", required_argument, NULL, MAX_AGE},
        {"segment-rows", required_argument, NULL, SEGMENT_ROWS},
        {"segment-bytes", required_argument, NULL, SEGMENT_BYTES},
        {"segment-age", required_argument, NULL, SEGMENT_AGE},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    uint64_t *const numbers[] = {&options->limits.max_bytes, &options->limits.max_age_s,
                                 &options->limits.segment_rows, &options->limits.segment_bytes,
                                 &options->limits.segment_age_s};
    char why[ENDPOINT_WHY_SIZE];
    char *end;
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case LISTEN:
            options->listen = optarg;
            break;
        case QUERY:
            options->query = optarg;
            break;
        case STORE:
            options->store = optarg;
            break;
        case OUT:
            options->out = optarg;
            break;
        case HTTP:
            options->http = optarg;
            break;
        case MAX_BYTES:
        case MAX_AGE:
        case SEGMENT_ROWS:
        case SEGMENT_BYTES:
        case SEGMENT_AGE:
            numbers[option - MAX_BYTES][0] = strtoull(optarg, &end, 10);
            if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0') {
                fprintf(stderr, "coronerd: '%s' is no number.\n", optarg);
                return EX_USAGE;
            }
            break;
        case HELP:
            usage(stdout);
            return EX_OK;
        case VERSION:
            printf("coronerd %s\n", CORONERD_VERSION);
            return EX_OK;
        default:
            fprintf(stderr, "Try 'coronerd --help'.\n");
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "coronerd: there is no argument '%s'. Try 'coronerd --help'.\n",
                argv[optind]);
        return EX_USAGE;
    }
    if (strcmp(options->listen, options->query) == 0) {
        /* The second of them would find the first, and say that somebody else listens there. */
        fprintf(stderr, "coronerd: --listen and --query name the same socket '%s'.\n",
                options->listen);
        return EX_USAGE;
    }
    if (options->http != NULL && http_address_check(options->http, why) != 0) {
        fprintf(stderr, "coronerd: --http %s\n", why);
        return EX_USAGE;
    }
    return -1;
}

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
    if (daemon->monitor != NULL)
        monitor_ready(daemon->monitor, "draining");
    uv_timer_start(&daemon->deadline, on_deadline, DRAIN_MS, 0);
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

static int start_sink(struct daemon *daemon, const struct options *options)
{
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;

    if (options->out == NULL)
        return EX_OK;
    reader = store_reader_open(daemon->store, why);
    if (reader == NULL) {
        log_error("%s", why);
        return EX_IOERR;
    }
    daemon->sink =
        sink_new(&daemon->loop, daemon->store, reader, daemon->writer, options->out, why);
    if (daemon->sink == NULL) {
        log_error("%s", why);
        store_reader_close(reader);
        return EX_CANTCREAT;
    }
    return EX_OK;
}

static int start_query(struct daemon *daemon, const struct options *options)
{
    struct store_reader *readers[QUERY_READERS] = {NULL};
    char why[STORE_WHY_SIZE];
    struct endpoint *endpoint;

    endpoint = endpoint_open(options->query, why);
    if (endpoint == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    for (int i = 0; i < QUERY_READERS; i++) {
        readers[i] = store_reader_open(daemon->store, why);
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
                                             .store = daemon->store,
                                             .store_path = options->store,
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

static int start_ingest(struct daemon *daemon, const struct options *options)
{
    char why[ENDPOINT_WHY_SIZE];
    struct endpoint *endpoint = endpoint_open(options->listen, why);

    if (endpoint != NULL)
        daemon->ingest = ingest_new(&daemon->loop, endpoint, daemon->writer, why);
    if (daemon->ingest == NULL) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    return EX_OK;
}

static int start_http(struct daemon *daemon, const struct options *options)
{
    struct monitor_parts parts = {.writer = daemon->writer,
                                  .sink = daemon->sink,
                                  .store = daemon->store,
                                  .store_path = options->store,
                                  .started_ns = daemon->parts.started_ns};
    char why[ENDPOINT_WHY_SIZE];
    struct http_listen *listen;

    if (options->http == NULL)
        return EX_OK;
    listen = http_listen_open(options->http, why);
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

static int start(struct daemon *daemon, const struct options *options)
{
    char why[STORE_WHY_SIZE];
    int exit_code;

    /* The store first: who has it is the one daemon that may touch the rest. */
    daemon->store = store_open(options->store, &exit_code, why);
    if (daemon->store == NULL) {
        log_error("%s", why);
        return exit_code;
    }
    store_limit(daemon->store, &options->limits);
    daemon->writer = writer_new(&daemon->loop, daemon->store);
    if ((exit_code = start_sink(daemon, options)) != EX_OK ||
        (exit_code = start_ingest(daemon, options)) != EX_OK ||
        (exit_code = start_query(daemon, options)) != EX_OK ||
        (exit_code = start_http(daemon, options)) != EX_OK)
        return exit_code;
    watch_signals(daemon);
    if (daemon->monitor != NULL)
        monitor_ready(daemon->monitor, NULL);
    log_info("ready: coronerd %s, ingest %s, query %s, store %s, out %s, http %s", CORONERD_VERSION,
             options->listen, options->query, options->store,
             options->out != NULL ? options->out : "none",
             daemon->http != NULL ? http_at(daemon->http) : "none");
    return EX_OK;
}

int main(int argc, char **argv)
{
    struct options options = {
        .listen = LISTEN_DEFAULT, .query = QUERY_DEFAULT, .store = STORE_DEFAULT};
    struct daemon *daemon;
    int exit_code = read_options(argc, argv, &options);

    if (exit_code >= 0)
        return exit_code;
    signal(SIGPIPE, SIG_IGN);
    /* A limit on file sizes is an error to handle, as a full disk is. */
    signal(SIGXFSZ, SIG_IGN);
    raise_descriptor_limit();
    /* A heap for each thread would keep what each needed at its worst. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);

    daemon = memory_zeroed(sizeof(*daemon));
    if (uv_loop_init(&daemon->loop) != 0) {
        log_error("cannot make an event loop");
        free(daemon);
        return EX_SOFTWARE;
    }
    uv_timer_init(&daemon->loop, &daemon->deadline);
    daemon->deadline.data = daemon;
    daemon->exit_code = start(daemon, &options);
    if (daemon->exit_code != EX_OK)
        on_deadline(&daemon->deadline);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    uv_loop_close(&daemon->loop);
    monitor_free(daemon->monitor);
    store_close(daemon->store);
    exit_code = daemon->exit_code;
    free(daemon);
    if (exit_code == EX_OK)
        log_info("ended");
    return exit_code;
}
