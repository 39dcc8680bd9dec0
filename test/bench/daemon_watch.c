#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon_watch.h"
#include "memory.h"
#include "timestamp.h"

#define ANSWER_BYTES ((size_t)16 << 20)
#define FOLLOWER_BYTES ((size_t)4 << 20)
#define FOLLOWER_SECONDS 60 /* so long it is waited for what was sent */

static pid_t daemon_pid;

double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void watch_die(const char *what)
{
    fprintf(stderr, "daemon_bench: %s: %s\n", what, strerror(errno));
    if (daemon_pid > 0)
        kill(daemon_pid, SIGKILL);
    exit(1);
}

int watch_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        watch_die(path);
    return fd;
}

/* ---- the daemon ---- */

void watch_path(const struct watch_options *options, const char *name, char path[WATCH_PATH])
{
    snprintf(path, WATCH_PATH, "%s/%s", options->folder, name);
}

/* The store keeps everything. */
static void write_config(const char *path, const struct watch_options *options)
{
    FILE *file = fopen(path, "w");

    if (file == NULL ||
        fprintf(file, "store { max_bytes = 0 segment_rows = %s }\n", options->segment_rows) < 0 ||
        fclose(file) != 0)
        watch_die(path);
}

static bool is_there(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there;

    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    there = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return there;
}

void watch_start(const struct watch_options *options)
{
    char ingest[WATCH_PATH], query[WATCH_PATH], store[WATCH_PATH], out[WATCH_PATH],
        config[WATCH_PATH], log_path[WATCH_PATH];

    watch_path(options, "ingest.sock", ingest);
    watch_path(options, "query.sock", query);
    watch_path(options, "exits.db", store);
    watch_path(options, "out.ndjson", out);
    watch_path(options, "coronerd.conf", config);
    watch_path(options, "daemon.log", log_path);
    write_config(config, options);
    daemon_pid = fork();
    if (daemon_pid < 0)
        watch_die("fork");
    if (daemon_pid == 0) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);

        if (log < 0 || dup2(log, STDERR_FILENO) < 0)
            _exit(126);
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        execl(options->daemon, options->daemon, "-c", config, "--listen", ingest, "--query", query,
              "--store", store, options->file ? "--out" : NULL, out, (char *)NULL);
        _exit(127);
    }
    for (int attempt = 0; !is_there(query); attempt++) {
        if (attempt > 6000 || waitpid(daemon_pid, NULL, WNOHANG) != 0)
            watch_die("the daemon does not start");
        poll(NULL, 0, 10);
    }
}

void watch_end(void)
{
    int status = 0;

    kill(daemon_pid, SIGTERM);
    if (waitpid(daemon_pid, &status, 0) != daemon_pid || status != 0)
        watch_die("the daemon did not end well");
    daemon_pid = 0;
}

/* Calls on_line for each line of a file below /proc. */
static void read_lines(const char *path, void (*on_line)(const char *line, void *cookie),
                       void *cookie)
{
    char line[1024];
    FILE *file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        on_line(line, cookie);
    if (file != NULL)
        fclose(file);
}

struct wanted {
    const char *key;
    unsigned long long value;
};

static void take_value(const char *line, void *cookie)
{
    struct wanted *wanted = cookie;

    if (strncmp(line, wanted->key, strlen(wanted->key)) == 0)
        wanted->value = strtoull(line + strlen(wanted->key), NULL, 10);
}

double watch_memory_mib(const char *what)
{
    struct wanted wanted = {.key = what};
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon_pid);
    read_lines(path, take_value, &wanted);
    return (double)wanted.value / 1024;
}

static void take_cpu(const char *line, void *cookie)
{
    unsigned long user = 0, system = 0;
    const char *at = strrchr(line, ')');

    if (at != NULL)
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    *(double *)cookie = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double watch_cpu_s(void)
{
    char path[64];
    double cpu = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)daemon_pid);
    read_lines(path, take_cpu, &cpu);
    return cpu;
}

uint64_t watch_wakeups(void)
{
    char path[512];
    uint64_t sum = 0;
    const struct dirent *entry;
    DIR *threads;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_pid);
    threads = opendir(path);
    if (threads == NULL)
        watch_die(path);
    while ((entry = readdir(threads)) != NULL) {
        struct wanted wanted = {.key = "voluntary_ctxt_switches:"};

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)daemon_pid, entry->d_name);
        read_lines(path, take_value, &wanted);
        sum += wanted.value;
    }
    closedir(threads);
    return sum;
}

/* ---- a client ---- */

struct client {
    int fd;
    char *answer;
};

struct client *client_new(const struct watch_options *options)
{
    struct client *client = memory_zeroed(sizeof(*client));
    char path[WATCH_PATH];

    watch_path(options, "query.sock", path);
    client->fd = watch_connect(path);
    client->answer = memory_get(ANSWER_BYTES + 1);
    return client;
}

void client_free(struct client *client)
{
    close(client->fd);
    free(client->answer);
    free(client);
}

static void send_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);

        if (written < 0)
            watch_die("write to the query socket");
        text += written;
        length -= (size_t)written;
    }
}

/* The last line, if it ends the answer; else NULL. */
static const char *find_end(const char *text, size_t length)
{
    static const char done[] = "{\"id\":1,\"done\":", error[] = "{\"id\":1,\"error\":";
    const char *line;

    if (length == 0 || text[length - 1] != '\n')
        return NULL;
    line = memrchr(text, '\n', length - 1);
    line = line != NULL ? line + 1 : text;
    return strncmp(line, done, sizeof(done) - 1) == 0 ||
                   strncmp(line, error, sizeof(error) - 1) == 0
               ? line
               : NULL;
}

long client_ask(struct client *client, const char *request)
{
    size_t length = 0;
    const char *last = NULL;
    long lines = 0;

    send_all(client->fd, request, strlen(request));
    while (last == NULL) {
        ssize_t got = read(client->fd, client->answer + length, ANSWER_BYTES - length);

        if (got <= 0)
            watch_die("read from the query socket");
        length += (size_t)got;
        client->answer[length] = '\0';
        last = find_end(client->answer, length);
    }
    for (const char *at = client->answer; at < last; at = strchr(at, '\n') + 1)
        lines++;
    return lines;
}

const char *client_answer(const struct client *client)
{
    return client->answer;
}

/* ---- latencies ---- */

struct follower {
    pthread_t thread;
    int fd;     /* read from */
    int notify; /* inotify; -1: fd blocks by itself */
    int end;    /* a pipe that ends it */
    int end_write;
    char *data;
    size_t used;
    double *latencies;
    size_t capacity;
    atomic_size_t count;
};

/* The time that the line's record carries; 0 if it carries none. */
static int64_t time_of(const char *line, size_t length)
{
    static const char key[] = "\"time\":\"";
    const char *at = memmem(line, length < 512 ? length : 512, key, sizeof(key) - 1);
    char text[TIMESTAMP_SIZE];
    int64_t ns;

    if (at == NULL || (size_t)(line + length - at) < sizeof(key) - 1 + sizeof(text))
        return 0;
    memcpy(text, at + sizeof(key) - 1, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    return timestamp_parse(text, 0, &ns) == 0 ? ns : 0;
}

static void take_lines(struct follower *follower, int64_t now)
{
    const char *at = follower->data, *end = follower->data + follower->used, *newline;
    size_t count = atomic_load(&follower->count);

    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        int64_t time = time_of(at, (size_t)(newline - at));

        if (time > 0) {
            if (count == follower->capacity) {
                follower->capacity = follower->capacity > 0 ? 2 * follower->capacity : 4096;
                follower->latencies =
                    memory_resize(follower->latencies, follower->capacity * sizeof(double));
            }
            follower->latencies[count++] = (double)(now - time) / 1e6;
        }
        at = newline + 1;
    }
    follower->used = (size_t)(end - at);
    memmove(follower->data, at, follower->used);
    atomic_store(&follower->count, count);
}

static bool read_some(struct follower *follower)
{
    ssize_t got =
        read(follower->fd, follower->data + follower->used, FOLLOWER_BYTES - follower->used);

    if (got < 0)
        watch_die("follow");
    follower->used += (size_t)got;
    take_lines(follower, now_ns());
    return got > 0;
}

static void *follow(void *cookie)
{
    struct follower *follower = cookie;
    char events[4096];

    for (;;) {
        struct pollfd polls[2] = {
            {.fd = follower->notify >= 0 ? follower->notify : follower->fd, .events = POLLIN},
            {.fd = follower->end, .events = POLLIN}};

        if (poll(polls, 2, -1) < 0)
            watch_die("poll");
        if (polls[1].revents != 0)
            return NULL;
        if (follower->notify < 0) {
            if (!read_some(follower))
                return NULL;
            continue;
        }
        if (read(follower->notify, events, sizeof(events)) < 0)
            watch_die("inotify");
        while (read_some(follower))
            ;
    }
}

static struct follower *follower_new(int fd, int notify)
{
    struct follower *follower = memory_zeroed(sizeof(*follower));
    int ends[2];

    follower->fd = fd;
    follower->notify = notify;
    follower->data = memory_get(FOLLOWER_BYTES);
    if (pipe2(ends, O_CLOEXEC) != 0)
        watch_die("pipe");
    follower->end = ends[0];
    follower->end_write = ends[1];
    if (pthread_create(&follower->thread, NULL, follow, follower) != 0)
        watch_die("thread");
    return follower;
}

struct follower *follower_file(const struct watch_options *options)
{
    char path[WATCH_PATH];
    int fd, notify = inotify_init1(IN_CLOEXEC);

    watch_path(options, "out.ndjson", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || notify < 0 || lseek(fd, 0, SEEK_END) < 0 ||
        inotify_add_watch(notify, path, IN_MODIFY) < 0)
        watch_die(path);
    return follower_new(fd, notify);
}

struct follower *follower_subscriber(const struct watch_options *options)
{
    static const char request[] = "{\"id\":1,\"op\":\"subscribe\"}\n";
    char path[WATCH_PATH], answer[256];
    int fd;

    watch_path(options, "query.sock", path);
    fd = watch_connect(path);
    send_all(fd, request, sizeof(request) - 1);
    if (read(fd, answer, sizeof(answer)) <= 0 || strstr(answer, "subscribed") == NULL)
        watch_die("subscribe");
    return follower_new(fd, -1);
}

static int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

double *follower_end(struct follower *follower, size_t records, size_t *count)
{
    double began = now_s(), *latencies;

    /* They are acknowledged, and on their way. */
    while (atomic_load(&follower->count) < records) {
        if (now_s() - began > FOLLOWER_SECONDS)
            watch_die("not all that was sent came out");
        poll(NULL, 0, 5);
    }
    close(follower->end_write);
    pthread_join(follower->thread, NULL);
    close(follower->end);
    close(follower->fd);
    if (follower->notify >= 0)
        close(follower->notify);
    *count = atomic_load(&follower->count);
    latencies = follower->latencies;
    if (*count > 0)
        qsort(latencies, *count, sizeof(double), compare_times);
    free(follower->data);
    free(follower);
    return latencies;
}
