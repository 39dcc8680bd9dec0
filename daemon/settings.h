/*
 * What the operator can set: the config file's values with the command line's over them
 * (coronerd.conf(5) says what each key means). Filled by settings_read, then only read; a SIGHUP
 * fills a second one, of which settings_take takes over what can change while the daemon runs.
 */
#ifndef CORONER_SETTINGS_H
#define CORONER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define SETTINGS_WHY_SIZE 8192                /* bytes of what is wrong, a line for each error */
#define SETTINGS_FILE_MAX ((size_t)256 << 10) /* bytes of a config file */
#define SETTINGS_SINKS_MAX 16
#define SETTINGS_FILE_DEFAULT "/etc/coroner/coronerd.conf"

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
enum sink_ack { SINK_ACK_NONE, SINK_ACK_LINES };

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

    char **command;    /* SINK_EXEC: NULL-terminated arguments */
    enum sink_ack ack; /* SINK_ACK_LINES: it writes a line for each record that it is done with */

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
    unsigned query_connections_per_user;
    unsigned ingest_connections_max;
    unsigned ingest_connections_per_user;
    unsigned query_deadline_ms;
};

/* What the command line says; NULL where it says nothing. */
struct settings_flags {
    const char *listen; /* the path of the ingest socket */
    const char *query;  /* the path of the query socket */
    const char *store;  /* the path of the store */
    const char *out;    /* a file, or "-" for stdout: the sink named "out" */
    const char *http;   /* an address, checked by settings_parse */
};

/*
 * settings_read(path, flags, why):
 * Read the config file ${path}, or take the defaults if it is NULL, and put ${flags} over them.
 * Return the settings, to be freed with settings_free, or NULL and say in ${why} what is wrong: a
 * line for each error, with file and line, in the order of the file. Behind an error of syntax
 * there may be more that are not found.
 */
struct settings *settings_read(const char *path, const struct settings_flags *flags,
                               char why[SETTINGS_WHY_SIZE]);

/*
 * settings_parse(text, length, name, flags, why):
 * The same for ${length} bytes of ${text}, which errors call ${name}. Not for two threads at once.
 */
struct settings *settings_parse(const char *text, size_t length, const char *name,
                                const struct settings_flags *flags, char why[SETTINGS_WHY_SIZE]);

/*
 * settings_print(settings, out):
 * Write all of them to ${out} as a config file that says the same.
 */
void settings_print(const struct settings *settings, FILE *out);

/* What became of a difference between two settings. */
enum settings_change {
    SETTINGS_TAKEN,   /* it is in force now */
    SETTINGS_RESTART, /* it needs a restart */
};

/*
 * settings_take(running, fresh, told, cookie):
 * Take over into ${running} what differs in ${fresh} and can change while the daemon runs. Call
 * told(cookie, change, key, was, is) for each difference, ${was} and ${is} being the values as they
 * would stand in a file. Both still belong to the caller.
 */
void settings_take(struct settings *running, struct settings *fresh,
                   void (*told)(void *cookie, enum settings_change change, const char *key,
                                const char *was, const char *is),
                   void *cookie);

/*
 * settings_free(settings):
 * Free ${settings}, which may be NULL.
 */
void settings_free(struct settings *settings);

#endif
