/*
 * What coronerd does in a second, how late a record comes out, and how long a question takes. One
 * JSON object a line on stdout; what has a bar says whether it is met.
 *
 *   daemon_bench --daemon PATH [--seconds N] [--rows N] [--connections N] [--folder PATH]
 *                [--queries N] [--segment-rows N] [--ebin PATH --ebin PATH] [--only
 * rate|pace|store]
 *
 * --seconds: how long what has a rate is measured; --rows: how large the store is that is asked;
 * --ebin, twice: where coroner's and the bench's beams are; with them a real node is measured, too.
 *
 * The numbers are those of the outside: what is acknowledged, and what comes back on the query
 * socket. Each answer is looked at: whoever finds nothing fast has not been measured.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

#include "daemon_load.h"
#include "daemon_watch.h"
#include "memory.h"
#include "timestamp.h"

#define CALM_RATE 1000 /* records a second, where latencies count */
#define BAR_DURABLE 100000
#define BAR_SUSTAINED 25000
#define BAR_LATENCY_MS 15
#define BAR_QUERY_MS 5
#define BAR_RSS_MIB 64
#define CASCADE 100000
#define REQUEST_BYTES 512

struct options {
    struct watch_options watch;
    const char *parent; /* of the folder */
    const char *only;   /* a part: "rate", "pace", "store"; NULL: all */
    const char *ebin[2];
    unsigned ebins;
    unsigned seconds;
    uint64_t rows;
    unsigned connections;
    unsigned queries;
};

/* ---- what is told ---- */

static void tell(const char *name, const char *unit, double value)
{
    printf(
        "{\"name\":\"%s\",\"unit\":\"%s\",\"value\":%.3f,\"runs\":1,\"min\":%.3f,\"median\":%.3f,"
        "\"max\":%.3f}\n",
        name, unit, value, value, value, value);
    fflush(stdout);
}

static void tell_bar(const char *name, const char *unit, double value, double bar, bool met)
{
    printf(
        "{\"name\":\"%s\",\"unit\":\"%s\",\"value\":%.3f,\"runs\":1,\"min\":%.3f,\"median\":%.3f,"
        "\"max\":%.3f,\"bar\":%.0f,\"met\":%s}\n",
        name, unit, value, value, value, value, bar, met ? "true" : "false");
    fflush(stdout);
}

/* `times` are sorted; the value is the p99, which is what bars are about. A bar of 0 is none. */
static void tell_times(const char *name, const double *times, size_t count, double bar)
{
    double p99 = times[count * 99 / 100];

    printf(
        "{\"name\":\"%s\",\"unit\":\"ms\",\"value\":%.3f,\"runs\":%zu,\"min\":%.3f,\"median\":%.3f,"
        "\"p99\":%.3f,\"max\":%.3f",
        name, p99, count, times[0], times[count / 2], p99, times[count - 1]);
    if (bar > 0)
        printf(",\"bar\":%.0f,\"met\":%s", bar, p99 <= bar ? "true" : "false");
    printf("}\n");
    fflush(stdout);
}

static int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

/* ---- the daemon's own numbers ---- */

struct state {
    double unindexed; /* closed segments that wait for their indexes */
    double behind;    /* rows that the file does not have yet */
};

static double number_in(const char *json, const char *key)
{
    const char *at = strstr(json, key);

    return at != NULL ? strtod(at + strlen(key), NULL) : 0;
}

static struct state ask_state(struct client *client)
{
    client_ask(client, "{\"id\":1,\"op\":\"status\"}\n");
    return (struct state){number_in(client_answer(client), "\"unindexed\":"),
                          number_in(client_answer(client), "\"behind\":")};
}

/* Wait until the file has all and all closed segments have their indexes. */
static void settle(const struct options *options)
{
    struct client *client = client_new(&options->watch);
    struct state state;

    while (state = ask_state(client), state.unindexed > 0 || state.behind > 0)
        poll(NULL, 0, 50);
    client_free(client);
}

/* ---- rates ---- */

static struct load *begin(const struct options *options)
{
    char path[WATCH_PATH];

    watch_start(&options->watch);
    watch_path(&options->watch, "ingest.sock", path);
    return load_new(path, options->connections);
}

static void remove_folder(const char *folder)
{
    char command[160];

    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    if (system(command) != 0)
        watch_die(folder);
}

static void clear_folder(const struct options *options)
{
    char command[320];

    snprintf(command, sizeof(command), "rm -rf '%s'/*", options->watch.folder);
    if (system(command) != 0)
        watch_die(options->watch.folder);
}

/*
 * As much as it takes for so long; then until the file has all of it and all is indexed: what is
 * done by then, in that time, is the rate that it holds for ever.
 */
static void measure_rate(const struct options *options, const char *name)
{
    struct load *load = begin(options);
    double began = now_s(), seconds, cpu = watch_cpu_s();
    uint64_t records = load_run(load, UINT64_MAX / 2, options->seconds, 0);
    char text[96];

    seconds = now_s() - began;
    snprintf(text, sizeof(text), "daemon_durable%s", name);
    tell_bar(text, "records/s", (double)records / seconds, BAR_DURABLE,
             (double)records / seconds >= BAR_DURABLE);
    snprintf(text, sizeof(text), "daemon_durable%s_cpu", name);
    tell(text, "us a record", (watch_cpu_s() - cpu) / (double)records * 1e6);
    settle(options);
    seconds = now_s() - began;
    snprintf(text, sizeof(text), "daemon_sustained%s", name);
    tell_bar(text, "records/s", (double)records / seconds, BAR_SUSTAINED,
             (double)records / seconds >= BAR_SUSTAINED);
    snprintf(text, sizeof(text), "daemon_sustained%s_cpu", name);
    tell(text, "us a record", (watch_cpu_s() - cpu) / (double)records * 1e6);
    snprintf(text, sizeof(text), "daemon_rate%s_rss", name);
    tell_bar(text, "MiB", watch_memory_mib("VmHWM:"), BAR_RSS_MIB,
             watch_memory_mib("VmHWM:") <= BAR_RSS_MIB);
    load_free(load);
    watch_end();
}

struct pace {
    struct load *load;
    double seconds;
    uint64_t rate;
    uint64_t records; /* at the end */
    pthread_t thread;
};

static void *pace_run(void *cookie)
{
    struct pace *pace = cookie;

    pace->records = load_run(pace->load, UINT64_MAX / 2, pace->seconds, pace->rate);
    return NULL;
}

static void pace_start(struct pace *pace, struct load *load, double seconds, uint64_t rate)
{
    *pace = (struct pace){.load = load, .seconds = seconds, .rate = rate};
    if (pthread_create(&pace->thread, NULL, pace_run, pace) != 0)
        watch_die("thread");
}

/* At the rate of the bar: how far the indexes and the file are behind at most. */
static void measure_backlog(const struct options *options)
{
    struct load *load = begin(options);
    struct client *client = client_new(&options->watch);
    struct state most = {0}, state;
    struct pace pace;

    pace_start(&pace, load, options->seconds, BAR_SUSTAINED);
    for (double end = now_s() + options->seconds; now_s() < end; poll(NULL, 0, 50)) {
        state = ask_state(client);
        most.unindexed = state.unindexed > most.unindexed ? state.unindexed : most.unindexed;
        most.behind = state.behind > most.behind ? state.behind : most.behind;
    }
    pthread_join(pace.thread, NULL);
    client_free(client);
    tell_bar("daemon_paced", "records/s", (double)pace.records / options->seconds, BAR_SUSTAINED,
             (double)pace.records / options->seconds >= BAR_SUSTAINED * 0.99);
    /* The one that was just closed, and no other. */
    tell_bar("daemon_paced_unindexed_most", "segments", most.unindexed, 1, most.unindexed <= 1);
    tell("daemon_paced_behind_most", "rows", most.behind);
    load_free(load);
    watch_end();
}

/* ---- latencies ---- */

static void tell_followers(const char *name, struct follower *file, struct follower *subscriber,
                           size_t records)
{
    struct follower *followers[] = {file, subscriber};
    static const char *const whats[] = {"line", "subscriber"};

    for (size_t i = 0; i < 2; i++) {
        size_t count;
        double *times = follower_end(followers[i], records, &count);
        char text[96];

        snprintf(text, sizeof(text), "daemon_latency_%s_to_%s", name, whats[i]);
        tell_times(text, times, count, BAR_LATENCY_MS);
        free(times);
    }
}

static void measure_latency(const struct options *options, struct load *load)
{
    struct follower *file = follower_file(&options->watch);
    struct follower *subscriber = follower_subscriber(&options->watch);
    uint64_t before = load_acknowledged(load);

    load_run(load, UINT64_MAX / 2, options->seconds, CALM_RATE);
    tell_followers("sent", file, subscriber, load_acknowledged(load) - before);
}

/* Processes of a real node that crash, from their exits on. */
static void measure_exits(const struct options *options)
{
    struct follower *file = follower_file(&options->watch);
    struct follower *subscriber = follower_subscriber(&options->watch);
    char ingest[WATCH_PATH], call[WATCH_PATH + 128];
    int status;
    pid_t erl;

    watch_path(&options->watch, "ingest.sock", ingest);
    snprintf(call, sizeof(call), "exit_bench:main(\"%s\", %d, %u), halt().", ingest, CALM_RATE,
             options->seconds);
    erl = fork();
    if (erl == 0) {
        execlp("erl", "erl", "-noshell", "-pa", options->ebin[0], "-pa", options->ebin[1],
               "-kernel", "logger_level", "none", "-eval", call, (char *)NULL);
        _exit(127);
    }
    if (erl < 0 || waitpid(erl, &status, 0) != erl || status != 0)
        watch_die("the node");
    tell_followers("exit", file, subscriber, (size_t)CALM_RATE * options->seconds);
}

/* ---- questions ---- */

struct span {
    int64_t since, until;
};

/* Who is asked for, and how many records come: `least` to `most`. */
struct question {
    const char *name;
    const char *field;
    const char *format; /* of the value; NULL: the pid of some record */
    int values;
    long least, most;
};

static const struct question questions[] = {
    {"pid", "process.pid", NULL, 0, 0, 1}, /* 0: it died outside the span */
    {"pid_never_seen", "process.pid", "<0.%d.7>", 1 << 20, 0, 0},
    {"name", "process.name", "bench_name_%d", 97, 100, 100},
    {"name_rare", "process.name", "bench_rare", 1, 1, 100},
    {"name_never_seen", "process.name", "bench_nobody_%d", 1 << 20, 0, 0},
    {"source", "exit.source", "self_error", 1, 100, 100},
    {"source_rare", "exit.source", "purge", 1, 1, 100},
    {"source_never_seen", "exit.source", "heap_limit", 1, 0, 0},
    {"killer", "origin.by_name", "bench_killer_%d", 37, 100, 100},
    {"killer_pid", "origin.by", "<0.%d.0>", 37, 100, 100},
    {"killer_rare", "origin.by_name", "bench_rare_killer", 1, 1, 100},
    {"killer_never_seen", "origin.by_name", "bench_nobody_%d", 1 << 20, 0, 0},
    {"module", "process.initial_module", "bench_worker_%d", 23, 100, 100},
    {"module_purged", "origin.module", "bench_purged", 1, 1, 100},
    {"module_never_seen", "process.initial_module", "bench_nobody_%d", 1 << 20, 0, 0},
};

/* The requests of a run, made before the clock runs. Every other one has the whole time, the
 * others a tenth of it, somewhere. */
static char (*make_requests(const struct question *question, unsigned count,
                            const struct load *load, struct span span))[REQUEST_BYTES]
{
    char(*requests)[REQUEST_BYTES] = memory_get((size_t)count * REQUEST_BYTES);

    for (unsigned i = 0; i < count; i++) {
        char value[LOAD_PID_SIZE + 32], since[TIMESTAMP_SIZE], until[TIMESTAMP_SIZE];
        struct span asked = span;

        if (i % 2 == 1) {
            asked.since += (span.until - span.since) / 1000 * (int64_t)(i * 7919u % 900u);
            asked.until = asked.since + (span.until - span.since) / 10;
        }
        timestamp_format(asked.since, since);
        timestamp_format(asked.until, until);
        if (question->format == NULL)
            load_pid(load, i + 1, value);
        else
            snprintf(value, sizeof(value), question->format,
                     (int)(i * 7919u % (unsigned)question->values));
        snprintf(requests[i], REQUEST_BYTES,
                 "{\"id\":1,\"op\":\"query\",\"where\":{\"%s\":\"%s\"},\"since\":\"%s\",\"until\":"
                 "\"%s\",\"limit\":100}\n",
                 question->field, value, since, until);
    }
    return requests;
}

static void time_requests(const struct options *options, struct client *client, const char *name,
                          const char *when, char (*requests)[REQUEST_BYTES], long least, long most)
{
    double *times = memory_get(options->queries * sizeof(double));
    char text[96];

    for (unsigned i = 0; i < options->queries; i++) {
        double began = now_s();
        long found = client_ask(client, requests[i]);

        times[i] = (now_s() - began) * 1000;
        if (found < least || found > most) {
            fprintf(stderr, "daemon_bench: %ld records (%ld to %ld expected) for %s", found, least,
                    most, requests[i]);
            errno = EPROTO;
            watch_die("a wrong answer");
        }
    }
    qsort(times, options->queries, sizeof(double), compare_times);
    snprintf(text, sizeof(text), "daemon_query_%s_%s", name, when);
    tell_times(text, times, options->queries, BAR_QUERY_MS);
    free(times);
}

/* `why`, of pids and of names that many have. */
static void measure_why(const struct options *options, struct client *client,
                        const struct load *load, const char *when)
{
    static const struct {
        const char *name, *key, *format;
        int values;
        long found;
    } whys[] = {{"why_pid", "pid", NULL, 0, 1},
                {"why_pid_never_seen", "pid", "<0.%d.7>", 1 << 20, 0},
                {"why_name", "name", "bench_name_%d", 97, 1},
                {"why_name_rare", "name", "bench_rare", 1, 1},
                {"why_module", "name", "bench_worker_%d", 23, 1}};

    for (size_t w = 0; w < sizeof(whys) / sizeof(whys[0]); w++) {
        char(*requests)[REQUEST_BYTES] = memory_get((size_t)options->queries * REQUEST_BYTES);

        for (unsigned i = 0; i < options->queries; i++) {
            char value[LOAD_PID_SIZE + 32];

            if (whys[w].format == NULL)
                load_pid(load, i + 100000, value);
            else
                snprintf(value, sizeof(value), whys[w].format,
                         (int)(i * 7919u % (unsigned)whys[w].values));
            snprintf(requests[i], REQUEST_BYTES, "{\"id\":1,\"op\":\"why\",\"%s\":\"%s\"}\n",
                     whys[w].key, value);
        }
        time_requests(options, client, whys[w].name, when, requests, whys[w].found, whys[w].found);
        free(requests);
    }
}

static void measure_questions(const struct options *options, const struct load *load,
                              struct span span, const char *when)
{
    struct client *client = client_new(&options->watch);

    for (size_t q = 0; q < sizeof(questions) / sizeof(questions[0]); q++) {
        const struct question *question = &questions[q];
        char(*requests)[REQUEST_BYTES] = make_requests(question, options->queries, load, span);
        long least = question->least;

        /* In a small store there need not be so many, nor a rare one, in each span. */
        if (options->rows < 40 * LOAD_RARE)
            least = 0;
        time_requests(options, client, question->name, when, requests, least, question->most);
        free(requests);
    }
    measure_why(options, client, load, when);
    client_free(client);
}

/* What comes in meanwhile is of another node: the pids that are asked for must not move. */
static void measure_questions_under_load(const struct options *options, const struct load *load,
                                         struct span span)
{
    char path[WATCH_PATH];
    struct load *others;
    struct pace pace;

    watch_path(&options->watch, "ingest.sock", path);
    others = load_new(path, 1);
    pace_start(&pace, others, 0, CALM_RATE);
    measure_questions(options, load, span, "busy");
    load_stop(others);
    pthread_join(pace.thread, NULL);
    load_free(others);
}

/* `why` of one of whom very many died, while they are in the live segment. */
static void measure_cascade(const struct options *options, struct load *load)
{
    struct client *client = client_new(&options->watch);
    char pid[LOAD_PID_SIZE], request[REQUEST_BYTES];
    double times[20];

    load_cascade(load, CASCADE, pid);
    snprintf(request, sizeof(request), "{\"id\":1,\"op\":\"why\",\"pid\":\"%s\"}\n", pid);
    for (size_t i = 0; i < 20; i++) {
        double began = now_s();

        client_ask(client, request);
        times[i] = (now_s() - began) * 1000;
        if (number_in(client_answer(client), "\"cascade\":{\"count\":") != CASCADE) {
            errno = EPROTO;
            watch_die("a wrong cascade");
        }
    }
    qsort(times, 20, sizeof(double), compare_times);
    tell_times("daemon_why_cascade_of_100000", times, 20, 0);
    client_free(client);
}

/* ---- rest ---- */

static void tell_wakeups(const char *name, unsigned seconds)
{
    uint64_t before;

    /* What was begun before is done by then: cursors are noted once a second. */
    poll(NULL, 0, 3000);
    before = watch_wakeups();
    poll(NULL, 0, (int)seconds * 1000);
    before = watch_wakeups() - before;
    tell_bar(name, "wake-ups", (double)before, 0, before == 0);
}

/* With nobody there, then with nodes and a subscriber that are silent. */
static void measure_wakeups(const struct options *options)
{
    struct follower *subscriber;
    struct load *load;
    char path[WATCH_PATH];
    size_t count;

    tell_wakeups("daemon_idle_alone", options->seconds < 10 ? options->seconds : 10);
    watch_path(&options->watch, "ingest.sock", path);
    load = load_new(path, options->connections);
    subscriber = follower_subscriber(&options->watch);
    tell_wakeups("daemon_idle_with_nodes_and_subscriber",
                 options->seconds < 10 ? options->seconds : 10);
    free(follower_end(subscriber, 0, &count));
    load_free(load);
}

/* A store of so many rows, and what it is like to ask it. */
static void measure_full_store(const struct options *options)
{
    struct load *load = begin(options);
    struct span span = {.since = now_ns()};

    load_run(load, options->rows, 0, 0);
    settle(options);
    span.until = now_ns();
    tell("daemon_store_rows", "rows", (double)load_acknowledged(load));
    measure_questions(options, load, span, "idle");
    measure_questions_under_load(options, load, span);
    measure_cascade(options, load);
    measure_latency(options, load);
    load_free(load);
    if (options->ebins == 2)
        measure_exits(options);
    tell_bar("daemon_rss", "MiB", watch_memory_mib("VmRSS:"), BAR_RSS_MIB,
             watch_memory_mib("VmRSS:") <= BAR_RSS_MIB);
    tell_bar("daemon_rss_most", "MiB", watch_memory_mib("VmHWM:"), BAR_RSS_MIB,
             watch_memory_mib("VmHWM:") <= BAR_RSS_MIB);
    measure_wakeups(options);
    watch_end();
}

static bool wanted(const struct options *options, const char *part)
{
    return options->only == NULL || strcmp(options->only, part) == 0;
}

static void bench(struct options *options)
{
    if (wanted(options, "rate"))
        measure_rate(options, "");
    clear_folder(options);
    options->watch.file = false;
    if (wanted(options, "rate"))
        measure_rate(options, "_without_file");
    clear_folder(options);
    options->watch.file = true;
    if (wanted(options, "pace"))
        measure_backlog(options);
    clear_folder(options);
    if (wanted(options, "store"))
        measure_full_store(options);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"daemon", required_argument, NULL, 'd'},  {"seconds", required_argument, NULL, 's'},
        {"rows", required_argument, NULL, 'r'},    {"folder", required_argument, NULL, 'f'},
        {"only", required_argument, NULL, 'o'},    {"connections", required_argument, NULL, 'c'},
        {"queries", required_argument, NULL, 'q'}, {"segment-rows", required_argument, NULL, 'g'},
        {"ebin", required_argument, NULL, 'e'},    {NULL, 0, NULL, 0}};
    struct options options = {
        .watch = {.daemon = "priv/coronerd", .file = true, .segment_rows = "500000"},
        .parent = "/tmp",
        .seconds = 10,
        .rows = 1000000,
        .connections = 4,
        .queries = 200};
    char folder[96];
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'd':
            options.watch.daemon = optarg;
            break;
        case 's':
            options.seconds = (unsigned)atoi(optarg);
            break;
        case 'r':
            options.rows = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            options.only = optarg;
            break;
        case 'f':
            options.parent = optarg;
            break;
        case 'c':
            options.connections = (unsigned)atoi(optarg);
            break;
        case 'q':
            options.queries = (unsigned)atoi(optarg);
            break;
        case 'g':
            options.watch.segment_rows = optarg;
            break;
        case 'e':
            if (options.ebins == 2)
                return 64;
            options.ebin[options.ebins++] = optarg;
            break;
        default:
            return 64;
        }
    }
    if (options.connections < 1 || options.connections > LOAD_NODES_MAX || options.seconds < 1 ||
        options.queries < 1 || options.rows < 1000 || optind < argc)
        return 64;
    signal(SIGPIPE, SIG_IGN);
    snprintf(folder, sizeof(folder), "%.64s/daemon-bench-XXXXXX", options.parent);
    if (mkdtemp(folder) == NULL)
        watch_die(folder);
    options.watch.folder = folder;
    bench(&options);
    remove_folder(folder);
    return 0;
}
