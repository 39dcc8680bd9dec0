/*
 * How fast coronerd takes records and finds them again. One JSON object a line on stdout.
 *
 *   daemon_bench --daemon PATH [--seconds N] [--rows N] [--connections N] [--folder PATH]
 * [--no-file]
 *                [--rate N] [--segment-rows N]
 *
 * Nodes that differ in nothing from real ones but that they make nothing up: their frames are
 * encoded once, and only the sequence number is written anew. They keep as many records under way
 * as a node does. What counts is what the daemon has acknowledged, that is, what is on the disk.
 * Then the store is filled up to so many rows, and what a query does is timed on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../c/daemon_cbor.h"
#include "memory.h"
#include "store.h"

#define CONNECTIONS_MAX 64
#define VARIANTS 512       /* different records of each node */
#define UNDER_WAY_MAX 4096 /* as c_src/uplink.c */
#define SEQ_AT 4 /* of the 9 bytes of a frame's sequence number: length, array, type, 0x1b */
#define LOOKUPS 400

struct node {
    int fd;
    uint64_t sent;
    uint64_t acked;
    bool welcomed;
    struct buffer frames; /* one after the other */
    size_t start[VARIANTS + 1];
    unsigned char out[256 * 1024];
    size_t out_used, out_at;
    unsigned char in[4096];
    size_t in_used;
};

struct options {
    const char *daemon;
    const char *folder;
    unsigned seconds;
    uint64_t rows;
    unsigned connections;
    uint64_t rate; /* records a second; 0: as fast as it goes */
    bool file;
    const char *segment_rows;
};

static pid_t daemon_pid;

static void die(const char *what)
{
    fprintf(stderr, "daemon_bench: %s: %s\n", what, strerror(errno));
    if (daemon_pid > 0)
        kill(daemon_pid, SIGKILL);
    exit(1);
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell(const char *name, const char *unit, double value)
{
    printf("{\"name\":\"%s\",\"unit\":\"%s\",\"value\":%.3f}\n", name, unit, value);
    fflush(stdout);
}

/* ---- frames ---- */

static void put_long(struct buffer *out, uint64_t number)
{
    put_byte(out, 0x1b);
    for (int shift = 56; shift >= 0; shift -= 8)
        put_byte(out, (unsigned char)(number >> shift));
}

static void put_number_text(struct buffer *out, enum wire_key key, const char *format, int number)
{
    char text[96];

    snprintf(text, sizeof(text), format, number);
    put_pair(out, key, text);
}

/* A worker that somebody killed, with what a node tells of it; about 900 bytes as JSON. */
static void put_variant(struct buffer *out, int node, int number)
{
    static const char *const sources[] = {"kill", "link", "self_error", "supervisor_shutdown"};
    struct buffer body = {0};
    int pid = number * 7919 + node, killer = number % 37;

    put_array(&body, 6);
    put_uint(&body, WIRE_RECORD);
    put_long(&body, 0);
    put_long(&body, 0);
    put_uint(&body, 0);
    put_uint(&body, WIRE_KIND_EXIT);
    put_map(&body, 6);
    put_pair(&body, WIRE_KEY_severity, number % 5 == 0 ? "error" : "info");
    put_number_text(&body, WIRE_KEY_message,
                    "bench_worker <0.%d.0> exited killed: exit signal sent by bench_killer", pid);
    put_uint(&body, WIRE_KEY_process);
    put_map(&body, 7);
    put_number_text(&body, WIRE_KEY_pid, "<0.%d.0>", pid);
    put_number_text(&body, WIRE_KEY_name, "bench_name_%d", number % 97);
    put_number_text(&body, WIRE_KEY_initial_call, "bench_worker_%d:init/1", number % 23);
    put_pair(&body, WIRE_KEY_parent, "<0.512.0>");
    put_uint(&body, WIRE_KEY_ancestors);
    put_array(&body, 2);
    put_text(&body, "bench_worker_sup");
    put_text(&body, "bench_sup");
    put_uint(&body, WIRE_KEY_trap_exit);
    put_bool(&body, 0);
    put_uint(&body, WIRE_KEY_age_us);
    put_uint(&body, 81234567);
    put_uint(&body, WIRE_KEY_exit);
    put_map(&body, 6);
    put_pair(&body, WIRE_KEY_source, sources[number % 4]);
    put_pair(&body, WIRE_KEY_reason, "{badmatch,{error,{timeout,\"the peer did not answer\"}}}");
    put_pair(&body, WIRE_KEY_reason_class, "killed");
    put_uint(&body, WIRE_KEY_truncated);
    put_bool(&body, 0);
    put_pair(&body, WIRE_KEY_confidence, "observed");
    put_uint(&body, WIRE_KEY_stack);
    put_array(&body, 2);
    put_text(&body, "bench_worker:handle_call/3 (src/bench_worker.erl:142)");
    put_text(&body, "gen_server:try_handle_call/4 (gen_server.erl:721)");
    put_uint(&body, WIRE_KEY_origin);
    put_map(&body, 7);
    put_pair(&body, WIRE_KEY_source, "kill");
    put_number_text(&body, WIRE_KEY_pid, "<0.%d.0>", pid);
    put_number_text(&body, WIRE_KEY_by, "<0.%d.0>", killer);
    put_number_text(&body, WIRE_KEY_by_name, "bench_killer_%d", killer);
    put_pair(&body, WIRE_KEY_by_call, "bench_killer:sweep/2");
    put_pair(&body, WIRE_KEY_by_function, "erlang:exit/2");
    put_pair(&body, WIRE_KEY_confidence, "observed");
    put_uint(&body, WIRE_KEY_chain);
    put_array(&body, 1);
    put_map(&body, 3);
    put_number_text(&body, WIRE_KEY_pid, "<0.%d.0>", pid);
    put_pair(&body, WIRE_KEY_source, "kill");
    put_pair(&body, WIRE_KEY_reason, "killed");
    put_frame(out, &body);
    buffer_clear(&body);
}

static void put_hello(struct buffer *out, int number)
{
    struct buffer body = {0};
    char incarnation[32];

    snprintf(incarnation, sizeof(incarnation), "%08x%08x", (unsigned)getpid(), number + 1);
    put_array(&body, 3);
    put_uint(&body, WIRE_HELLO);
    put_uint(&body, WIRE_VERSION);
    put_map(&body, 7);
    put_pair(&body, WIRE_KEY_incarnation, incarnation);
    put_number_text(&body, WIRE_KEY_name, "bench%d@host", number);
    put_pair(&body, WIRE_KEY_host, "host");
    put_uint(&body, WIRE_KEY_os_pid);
    put_uint(&body, (uint64_t)getpid());
    put_pair(&body, WIRE_KEY_otp, "25");
    put_uint(&body, WIRE_KEY_first_held);
    put_uint(&body, 1);
    put_uint(&body, WIRE_KEY_made);
    put_uint(&body, 0);
    put_frame(out, &body);
    buffer_clear(&body);
}

/* ---- nodes ---- */

static struct node *node_new(int number, const char *socket_path)
{
    struct node *node = memory_zeroed(sizeof(*node));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct buffer hello = {0};

    for (int i = 0; i < VARIANTS; i++) {
        node->start[i] = node->frames.length;
        put_variant(&node->frames, number, i);
    }
    node->start[VARIANTS] = node->frames.length;
    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", socket_path);
    node->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (node->fd < 0 || connect(node->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die(socket_path);
    fcntl(node->fd, F_SETFL, O_NONBLOCK);
    put_hello(&hello, number);
    memcpy(node->out, hello.data, hello.length);
    node->out_used = hello.length;
    buffer_clear(&hello);
    return node;
}

static void node_free(struct node *node)
{
    close(node->fd);
    buffer_clear(&node->frames);
    free(node);
}

static void put_big(unsigned char *at, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(number >> (56 - 8 * i));
}

static void fill(struct node *node, uint64_t until)
{
    struct timespec now;

    if (node->out_at > 0) {
        memmove(node->out, node->out + node->out_at, node->out_used - node->out_at);
        node->out_used -= node->out_at;
        node->out_at = 0;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    while (node->welcomed && node->sent < until && node->sent - node->acked < UNDER_WAY_MAX) {
        size_t variant = node->sent % VARIANTS;
        size_t length = node->start[variant + 1] - node->start[variant];
        unsigned char *frame = node->out + node->out_used;

        if (node->out_used + length > sizeof(node->out))
            break;
        memcpy(frame, node->frames.data + node->start[variant], length);
        put_big(frame + SEQ_AT + 3, ++node->sent);
        put_big(frame + SEQ_AT + 12,
                (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + node->sent % 1000);
        node->out_used += length;
    }
}

static void take(struct node *node)
{
    ssize_t got = read(node->fd, node->in + node->in_used, sizeof(node->in) - node->in_used);
    size_t at = 0;

    if (got == 0 || (got < 0 && errno != EAGAIN))
        die("the daemon closed a connection");
    node->in_used += got > 0 ? (size_t)got : 0;
    while (node->in_used - at >= 4) {
        const unsigned char *body = node->in + at + 4;
        size_t length = node->in[at + 3];
        uint64_t seq = 0;

        if (node->in_used - at - 4 < length)
            break;
        if (body[1] != WIRE_ACK) {
            fprintf(stderr, "daemon_bench: refused: %.*s\n", (int)length, (const char *)body + 3);
            die("refused");
        }
        if (body[2] < 0x18)
            seq = body[2];
        for (size_t i = 3; i < length; i++)
            seq = seq << 8 | body[i];
        node->acked = seq;
        node->welcomed = true;
        at += 4 + length;
    }
    node->in_used -= at;
    memmove(node->in, node->in + at, node->in_used);
}

static uint64_t sum_acked(struct node **nodes, unsigned count)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += nodes[i]->acked;
    return sum;
}

/* Send until so many are acknowledged in all, or the time is over (0: never). Returns how many. */
static uint64_t run(struct node **nodes, unsigned count, uint64_t records, double seconds,
                    uint64_t rate)
{
    uint64_t before = sum_acked(nodes, count), done = 0;
    double began = now_s();
    struct pollfd polls[CONNECTIONS_MAX];

    while (done < records && (seconds <= 0 || now_s() - began < seconds)) {
        uint64_t allowed = rate > 0 ? (uint64_t)((now_s() - began) * (double)rate) + 1 : records;

        if (allowed > records)
            allowed = records;
        for (unsigned i = 0; i < count; i++) {
            fill(nodes[i], (before + allowed) / count + 1);
            polls[i] = (struct pollfd){
                .fd = nodes[i]->fd,
                .events = POLLIN | (nodes[i]->out_used > nodes[i]->out_at ? POLLOUT : 0)};
        }
        if (poll(polls, count, rate > 0 ? 2 : 1000) < 0)
            die("poll");
        for (unsigned i = 0; i < count; i++) {
            struct node *node = nodes[i];

            if (polls[i].revents & POLLOUT) {
                ssize_t written =
                    write(node->fd, node->out + node->out_at, node->out_used - node->out_at);

                if (written < 0 && errno != EAGAIN)
                    die("write");
                node->out_at += written > 0 ? (size_t)written : 0;
            }
            if (polls[i].revents & (POLLIN | POLLHUP))
                take(node);
        }
        done = sum_acked(nodes, count) - before;
    }
    return done;
}

/* ---- the daemon ---- */

/* The store keeps everything. */
static void write_config(const char *path, const struct options *options)
{
    FILE *file = fopen(path, "w");

    if (file == NULL ||
        fprintf(file, "store { max_bytes = 0 segment_rows = %s }\n", options->segment_rows) < 0 ||
        fclose(file) != 0)
        die(path);
}

static void start_daemon(const struct options *options, const char *folder)
{
    char ingest[128], query[128], store[128], out[128], config[128];
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(ingest, sizeof(ingest), "%s/ingest.sock", folder);
    snprintf(query, sizeof(query), "%s/query.sock", folder);
    snprintf(store, sizeof(store), "%s/exits.db", folder);
    snprintf(out, sizeof(out), "%s/out.ndjson", folder);
    snprintf(config, sizeof(config), "%s/coronerd.conf", folder);
    write_config(config, options);
    daemon_pid = fork();
    if (daemon_pid < 0)
        die("fork");
    if (daemon_pid == 0) {
        execl(options->daemon, options->daemon, "-c", config, "--listen", ingest, "--query", query,
              "--store", store, options->file ? "--out" : NULL, out, (char *)NULL);
        _exit(127);
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", ingest);
    for (int attempt = 0;; attempt++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ready = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

        close(fd);
        if (ready)
            return;
        if (attempt > 1000 || waitpid(daemon_pid, NULL, WNOHANG) != 0)
            die("the daemon does not start");
        poll(NULL, 0, 10);
    }
}

static void end_daemon(void)
{
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, NULL, 0);
    daemon_pid = 0;
}

static double memory_of_daemon(const char *what)
{
    char path[64], line[128];
    double mib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon_pid);
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, what, strlen(what)) == 0)
            mib = strtod(line + strlen(what) + 1, NULL) / 1024;
    }
    if (file != NULL)
        fclose(file);
    return mib;
}

static double cpu_of_daemon(void)
{
    char path[64], text[1024], *at;
    unsigned long user = 0, system = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)daemon_pid);
    file = fopen(path, "r");
    if (file != NULL && fgets(text, sizeof(text), file) != NULL &&
        (at = strrchr(text, ')')) != NULL)
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- looking up ---- */

/* The newest hundred rows with that value, as a query finds them. */
static int look_up(struct store_reader *reader, int column, const char *name, const char *value)
{
    struct store_condition condition = {.column = column, .values = &value, .count = 1};
    int64_t row = INT64_MAX, rows[512];
    struct store_part part;
    char why[STORE_WHY_SIZE], sql[256];
    int found = 0;

    while (found < 100 && store_reader_part(reader, row, true, &part, why) > 0) {
        sqlite3_stmt *statement;
        ptrdiff_t candidates =
            store_reader_candidates(reader, &condition, 1, part.first, part.last, true, rows, 512);

        snprintf(sql, sizeof(sql),
                 candidates >= 0
                     ? "SELECT json FROM exits JOIN bodies USING(row) WHERE row = ?2 AND %s = ?1"
                     : "SELECT json FROM exits JOIN bodies USING(row) WHERE %s = ?1"
                       " ORDER BY row DESC LIMIT 100",
                 name);
        if (sqlite3_prepare_v2(part.database, sql, -1, &statement, NULL) != SQLITE_OK)
            die(sqlite3_errmsg(part.database));
        sqlite3_bind_text(statement, 1, value, -1, SQLITE_STATIC);
        for (ptrdiff_t i = 0; found < 100 && i < (candidates >= 0 ? candidates : 1); i++) {
            if (candidates >= 0)
                sqlite3_bind_int64(statement, 2, rows[i]);
            while (found < 100 && sqlite3_step(statement) == SQLITE_ROW)
                found += sqlite3_column_bytes(statement, 0) > 0;
            sqlite3_reset(statement);
        }
        sqlite3_finalize(statement);
        row = part.first - 1;
    }
    store_reader_rest(reader);
    return found;
}

static double cpu_of_thread(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static void time_lookups(struct store_reader *reader, const char *what, int column,
                         const char *format, int values, int step)
{
    static const char *const columns[] = {
#define X(name, section, key) #name,
        RECORD_COLUMNS(X)
#undef X
            "initial_module"};
    double times[LOOKUPS], cpu = cpu_of_thread();
    char name[64], value[64];

    for (int i = 0; i < LOOKUPS; i++) {
        double began = now_s();

        snprintf(value, sizeof(value), format, values > 0 ? i % values * step : 0);
        look_up(reader, column, columns[column], value);
        times[i] = (now_s() - began) * 1000;
    }
    /* On a machine that is busy with others, this is what can be compared. */
    cpu = (cpu_of_thread() - cpu) / LOOKUPS * 1000;
    qsort(times, LOOKUPS, sizeof(double), compare_times);
    snprintf(name, sizeof(name), "daemon_lookup_%s_median", what);
    tell(name, "ms", times[LOOKUPS / 2]);
    snprintf(name, sizeof(name), "daemon_lookup_%s_p99", what);
    tell(name, "ms", times[LOOKUPS * 99 / 100]);
    snprintf(name, sizeof(name), "daemon_lookup_%s_cpu", what);
    tell(name, "ms", cpu);
}

static void time_all_lookups(const char *folder)
{
    char path[128], why[STORE_WHY_SIZE];
    struct store_numbers numbers;
    struct store_reader *reader;
    struct store *store;
    double began = now_s();
    int exit_code;

    snprintf(path, sizeof(path), "%s/exits.db", folder);
    store = store_open(path, &exit_code, why);
    if (store == NULL || (reader = store_reader_open(store, why)) == NULL)
        die(why);
    tell("daemon_store_open", "s", now_s() - began);
    for (store_numbers(store, &numbers); numbers.unindexed > 0; store_numbers(store, &numbers))
        poll(NULL, 0, 100);
    tell("daemon_store_rows", "rows", (double)numbers.rows);
    tell("daemon_store_bytes_a_row", "bytes", (double)numbers.bytes / (double)numbers.rows);
    time_lookups(reader, "pid", RECORD_COLUMN_pid, "<0.%d.0>", VARIANTS, 7919);
    time_lookups(reader, "pid_never_seen", RECORD_COLUMN_pid, "<0.%d.9>", VARIANTS, 7919);
    time_lookups(reader, "name", RECORD_COLUMN_name, "bench_name_%d", 97, 1);
    time_lookups(reader, "source", RECORD_COLUMN_source, "self_error", 0, 1);
    time_lookups(reader, "source_never_seen", RECORD_COLUMN_source, "purge", 0, 1);
    time_lookups(reader, "killer", RECORD_COLUMN_origin_by_name, "bench_killer_%d", 37, 1);
    time_lookups(reader, "module", RECORD_COLUMN_initial_module, "bench_worker_%d", 23, 1);
    store_reader_close(reader);
    store_close(store);
}

static void remove_folder(const char *folder)
{
    char command[160];

    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    if (system(command) != 0)
        die(folder);
}

static void bench(const struct options *options, const char *folder)
{
    struct node *nodes[CONNECTIONS_MAX];
    char path[128];
    double began, seconds, cpu;
    uint64_t records;

    snprintf(path, sizeof(path), "%s/ingest.sock", folder);
    start_daemon(options, folder);
    for (unsigned i = 0; i < options->connections; i++)
        nodes[i] = node_new((int)i, path);
    began = now_s();
    records = run(nodes, options->connections, UINT64_MAX / 2, options->seconds, options->rate);
    seconds = now_s() - began;
    cpu = cpu_of_daemon();
    tell("daemon_records_acknowledged", "records/s", (double)records / seconds);
    tell("daemon_cpu_a_record", "us", cpu / (double)records * 1e6);
    tell("daemon_rss", "MiB", memory_of_daemon("VmRSS:"));
    if (options->rows > records) {
        began = now_s();
        run(nodes, options->connections, options->rows - records, 0, 0);
        tell("daemon_fill", "records/s", (double)(options->rows - records) / (now_s() - began));
    }
    tell("daemon_rss_most", "MiB", memory_of_daemon("VmHWM:"));
    for (unsigned i = 0; i < options->connections; i++)
        node_free(nodes[i]);
    end_daemon();
    time_all_lookups(folder);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"daemon", required_argument, NULL, 'd'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"rows", required_argument, NULL, 'r'},
                                          {"folder", required_argument, NULL, 'f'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"no-file", no_argument, NULL, 'n'},
                                          {"rate", required_argument, NULL, 'a'},
                                          {"segment-rows", required_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {.daemon = "priv/coronerd",
                              .folder = "/tmp",
                              .seconds = 5,
                              .rows = 1000000,
                              .connections = 4,
                              .file = true,
                              .segment_rows = "500000"};
    char folder[96];
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'd':
            options.daemon = optarg;
            break;
        case 's':
            options.seconds = (unsigned)atoi(optarg);
            break;
        case 'r':
            options.rows = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            options.folder = optarg;
            break;
        case 'c':
            options.connections = (unsigned)atoi(optarg);
            break;
        case 'n':
            options.file = false;
            break;
        case 'g':
            options.segment_rows = optarg;
            break;
        case 'a':
            options.rate = strtoull(optarg, NULL, 10);
            break;
        default:
            return 64;
        }
    }
    if (options.connections < 1 || options.connections > CONNECTIONS_MAX || optind < argc)
        return 64;
    signal(SIGPIPE, SIG_IGN);
    snprintf(folder, sizeof(folder), "%.64s/daemon-bench-XXXXXX", options.folder);
    if (mkdtemp(folder) == NULL)
        die(folder);
    bench(&options, folder);
    remove_folder(folder);
    return 0;
}
