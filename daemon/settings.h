/*
 * What the operator can set: the config file's values with the command line's over them. Filled by
 * settings_read (settings.c), then only read; a SIGHUP fills a second one, of which the parts that
 * can change while the daemon runs are taken.
 */
#ifndef CORONER_SETTINGS_H
#define CORONER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SETTINGS_SINKS_MAX 16

/* A Unix socket: who may open it (mode and group), and whom the daemon then serves. */
struct socket_settings {
    char *path;
    mode_t mode; /* 0660 */
    gid_t group; /* (gid_t)-1: the daemon's own */
    uid_t *uids; /* peers with one of these uids ... */
    size_t uid_count;
    gid_t *gids; /* ... or in one of these groups are served; with neither list, everybody is */
    size_t gid_count;
};

/*
 * Limits of the store; 0 is no limit. The store is a row of segments, and the oldest of them goes
 * as a whole. What a segment may hold before the next one begins: 0 is the default of store.h.
 */
struct store_settings {
    char *path;
    uint64_t max_bytes;
    uint64_t max_age_s;
    uint64_t segment_rows;
    uint64_t segment_bytes;
    uint64_t segment_age_s;
};

enum sink_type { SINK_FILE, SINK_STDOUT, SINK_EXEC, SINK_NATS };
enum sink_format { SINK_NATIVE, SINK_ECS, SINK_OTLP };

struct sink_settings {
    char *name; /* [a-z0-9_-]{1,32}, unique: the cursor in the store has this name */
    enum sink_type type;
    enum sink_format format;
    bool fold;           /* a cascade's first lines, then a summary */
    unsigned fold_first; /* that many */

    char *path;            /* SINK_FILE */
    mode_t mode;           /* of a file that is created: 0640 */
    gid_t group;           /* (gid_t)-1: the daemon's own */
    uint64_t rotate_bytes; /* 0: the daemon does not rotate */
    unsigned rotate_keep;  /* how many old files are kept */

    char **command; /* SINK_EXEC: NULL-terminated arguments */

    char *url;         /* SINK_NATS: nats://127.0.0.1:4222, several with commas */
    char *stream;      /* NULL: the stream must be there already */
    char *subject;     /* prefix: <subject>.<node>.<source> */
    char *credentials; /* file, or NULL */
};

struct settings {
    struct socket_settings ingest;
    struct socket_settings query;
    struct store_settings store;
    struct sink_settings sinks[SETTINGS_SINKS_MAX];
    size_t sink_count;
    char *http;               /* NULL: off; 127.0.0.1:PORT, [::1]:PORT or unix:PATH */
    unsigned drain_timeout_s; /* 10 */
    unsigned query_connections_max;
    unsigned ingest_connections_max;
    unsigned query_deadline_ms;
};

#endif
