/*
 * What the daemon's bench needs beside the load: the daemon as a process, a client of its query
 * socket, and two threads that look when a record comes out, in the NDJSON file and at a
 * subscriber. Any error ends the bench with a sentence on stderr, and the daemon with it.
 */
#ifndef CORONER_BENCH_DAEMON_WATCH_H
#define CORONER_BENCH_DAEMON_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * now_s(), now_ns():
 * Return seconds of the monotonic clock; nanoseconds of the time of day.
 */
double now_s(void);
int64_t now_ns(void);

/*
 * watch_die(what):
 * Say ${what} failed, with errno, kill the daemon and end.
 */
_Noreturn void watch_die(const char *what);

/*
 * watch_connect(path):
 * Return a blocking connection to the Unix stream socket ${path}.
 */
int watch_connect(const char *path);

/* ---- the daemon ---- */

struct watch_options {
    const char *daemon;       /* the program */
    const char *folder;       /* where its sockets, store and file are */
    bool file;                /* with an NDJSON file */
    const char *segment_rows; /* of the config file */
};

/*
 * watch_start(options):
 * Start the daemon and wait until it answers.
 */
void watch_start(const struct watch_options *options);

/*
 * watch_end():
 * Let the daemon end and wait for it.
 */
void watch_end(void);

/*
 * watch_path(options, name, path):
 * Write to ${path} the path of ${name} in the daemon's folder.
 */
#define WATCH_PATH 256
void watch_path(const struct watch_options *options, const char *name, char path[WATCH_PATH]);

/*
 * watch_memory_mib(what):
 * Return ${what} ("VmRSS:", "VmHWM:") of the daemon.
 */
double watch_memory_mib(const char *what);

/*
 * watch_cpu_s():
 * Return the processor time that the daemon has used.
 */
double watch_cpu_s(void);

/*
 * watch_wakeups():
 * Return how often the daemon's threads have gone to sleep by themselves, all told: each sleep ends
 * with a wake-up.
 */
uint64_t watch_wakeups(void);

/* ---- a client ---- */

struct client;

/*
 * client_new(options):
 * Return a client of the daemon's query socket.
 */
struct client *client_new(const struct watch_options *options);
void client_free(struct client *client);

/*
 * client_ask(client, request):
 * Send ${request}, a line of JSON with "id":1, and wait for the end of the answer. Return how many
 * lines came before the last one.
 */
long client_ask(struct client *client, const char *request);

/*
 * client_answer(client):
 * Return the whole answer, good until the next question.
 */
const char *client_answer(const struct client *client);

/* ---- latencies ---- */

/* Each record's way, from the time that it carries to now. */
struct follower;

/*
 * follower_file(options), follower_subscriber(options):
 * Begin to look at the end of the NDJSON file, woken by inotify; or subscribe.
 */
struct follower *follower_file(const struct watch_options *options);
struct follower *follower_subscriber(const struct watch_options *options);

/*
 * follower_end(follower, records, count):
 * Wait until ${records} came, if need be, and end. Return the latencies in ms, sorted, to be freed,
 * and set *${count}.
 */
double *follower_end(struct follower *follower, size_t records, size_t *count);

#endif
