#include "settings_keys.h"

#define RELOADS true
#define RESTARTS false

#define SINK_OF(type) (1u << (type))
#define SINK_ANY                                                                                   \
    (SINK_OF(SINK_FILE) | SINK_OF(SINK_STDOUT) | SINK_OF(SINK_EXEC) | SINK_OF(SINK_NATS))

static const char *const sink_types[] = {"file", "stdout", "exec", "nats", NULL};
static const char *const sink_acks[] = {"none", "lines", NULL};
static const char *const sink_formats[] = {"native", "ecs", "otlp", NULL};

#define AT(member) offsetof(struct settings, member)
#define SINK_AT(member) offsetof(struct sink_settings, member)
#define COUNT(least_, most_)                                                                       \
    {                                                                                              \
        .kind = VALUE_COUNT, .least = (least_), .most = (most_)                                    \
    }
#define YEARS ((unsigned long long)100 * 366 * 86400)

static const struct settings_key keys[] = {
    {"",
     "drain_timeout",
     {.kind = VALUE_SECONDS, .most = 3600},
     AT(drain_timeout_s),
     "10s",
     RELOADS,
     0},

    {"ingest",
     "path",
     {.kind = VALUE_SOCKET},
     AT(ingest.path),
     "/run/coroner/ingest.sock",
     RESTARTS,
     0},
    {"ingest", "mode", {.kind = VALUE_MODE}, AT(ingest.mode), "0660", RELOADS, 0},
    {"ingest", "group", {.kind = VALUE_GROUP}, AT(ingest.group), "", RELOADS, 0},
    {"ingest", "allow_users", {.kind = VALUE_USERS}, AT(ingest.uids), NULL, RELOADS, 0},
    {"ingest", "allow_groups", {.kind = VALUE_GROUPS}, AT(ingest.gids), NULL, RELOADS, 0},

    {"query",
     "path",
     {.kind = VALUE_SOCKET},
     AT(query.path),
     "/run/coroner/query.sock",
     RESTARTS,
     0},
    {"query", "mode", {.kind = VALUE_MODE}, AT(query.mode), "0660", RELOADS, 0},
    {"query", "group", {.kind = VALUE_GROUP}, AT(query.group), "", RELOADS, 0},
    {"query", "allow_users", {.kind = VALUE_USERS}, AT(query.uids), NULL, RELOADS, 0},
    {"query", "allow_groups", {.kind = VALUE_GROUPS}, AT(query.gids), NULL, RELOADS, 0},

    {"store",
     "path",
     {.kind = VALUE_PATH},
     AT(store.path),
     "/var/lib/coroner/exits.db",
     RESTARTS,
     0},
    {"store",
     "max_bytes",
     {.kind = VALUE_SIZE, .least = 256 << 10},
     AT(store.max_bytes),
     "10GiB",
     RELOADS,
     0},
    {"store", "max_age", {.kind = VALUE_AGE, .most = YEARS}, AT(store.max_age_s), "0", RELOADS, 0},

    {"store",
     "segment_rows",
     {.kind = VALUE_NUMBER, .most = UINT32_MAX},
     AT(store.segment_rows),
     "0",
     RELOADS,
     0},
    {"store",
     "segment_bytes",
     {.kind = VALUE_SIZE, .least = 64 << 10},
     AT(store.segment_bytes),
     "0",
     RELOADS,
     0},
    {"store",
     "segment_age",
     {.kind = VALUE_AGE, .most = YEARS},
     AT(store.segment_age_s),
     "0",
     RELOADS,
     0},

    {"sink",
     "type",
     {.kind = VALUE_WORD, .words = sink_types},
     SINK_AT(type),
     "file",
     RESTARTS,
     SINK_ANY},
    {"sink",
     "format",
     {.kind = VALUE_WORD, .words = sink_formats},
     SINK_AT(format),
     "native",
     RESTARTS,
     SINK_ANY},
    {"sink", "fold", {.kind = VALUE_SWITCH}, SINK_AT(fold), "off", RESTARTS, SINK_ANY},
    {"sink", "fold_first", COUNT(1, 1000000), SINK_AT(fold_first), "10", RESTARTS, SINK_ANY},
    {"sink", "path", {.kind = VALUE_FILE}, SINK_AT(path), "", RESTARTS, SINK_OF(SINK_FILE)},
    {"sink", "mode", {.kind = VALUE_MODE}, SINK_AT(mode), "0640", RESTARTS, SINK_OF(SINK_FILE)},
    {"sink", "group", {.kind = VALUE_GROUP}, SINK_AT(group), "", RESTARTS, SINK_OF(SINK_FILE)},
    {"sink",
     "rotate_bytes",
     {.kind = VALUE_SIZE, .least = 64 << 10},
     SINK_AT(rotate_bytes),
     "0",
     RESTARTS,
     SINK_OF(SINK_FILE)},
    {"sink", "rotate_keep", COUNT(1, 1000), SINK_AT(rotate_keep), "5", RESTARTS,
     SINK_OF(SINK_FILE)},
    {"sink",
     "command",
     {.kind = VALUE_ARGUMENTS},
     SINK_AT(command),
     NULL,
     RESTARTS,
     SINK_OF(SINK_EXEC)},
    {"sink",
     "ack",
     {.kind = VALUE_WORD, .words = sink_acks},
     SINK_AT(ack),
     "none",
     RESTARTS,
     SINK_OF(SINK_EXEC)},
    {"sink",
     "url",
     {.kind = VALUE_TEXT},
     SINK_AT(url),
     "nats://127.0.0.1:4222",
     RESTARTS,
     SINK_OF(SINK_NATS)},
    {"sink", "stream", {.kind = VALUE_TEXT}, SINK_AT(stream), "", RESTARTS, SINK_OF(SINK_NATS)},
    {"sink",
     "subject",
     {.kind = VALUE_TEXT},
     SINK_AT(subject),
     "coroner.exit",
     RESTARTS,
     SINK_OF(SINK_NATS)},
    {"sink",
     "credentials",
     {.kind = VALUE_FILE},
     SINK_AT(credentials),
     "",
     RESTARTS,
     SINK_OF(SINK_NATS)},

    {"http", "address", {.kind = VALUE_HTTP}, AT(http), "off", RESTARTS, 0},

    {"limits", "ingest_connections", COUNT(8, 100000), AT(ingest_connections_max), "1024", RELOADS,
     0},
    {"limits", "ingest_connections_per_user", COUNT(1, 100000), AT(ingest_connections_per_user),
     "768", RELOADS, 0},
    {"limits", "query_connections", COUNT(8, 100000), AT(query_connections_max), "1024", RELOADS,
     0},
    {"limits", "query_connections_per_user", COUNT(1, 100000), AT(query_connections_per_user),
     "768", RELOADS, 0},
    {"limits",
     "query_deadline",
     {.kind = VALUE_MILLISECONDS, .least = 10, .most = 3600000},
     AT(query_deadline_ms),
     "5s",
     RELOADS,
     0},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

/* What settings_value.c takes for one thing. */
#define IS_LIST(list, of, counted, counter)                                                        \
    _Static_assert(offsetof(struct list, counter) - offsetof(struct list, counted) ==              \
                       offsetof(struct of, count),                                                 \
                   "a list and its length")
IS_LIST(socket_settings, value_users, uids, uid_count);
IS_LIST(socket_settings, value_groups, gids, gid_count);
_Static_assert(sizeof(enum sink_type) == sizeof(unsigned), "a word");
_Static_assert(sizeof(enum sink_format) == sizeof(unsigned), "a word");
_Static_assert(sizeof(enum sink_ack) == sizeof(unsigned), "a word");

const struct settings_key *settings_key_at(size_t index)
{
    return index < KEY_COUNT ? &keys[index] : NULL;
}

void *settings_key_value(const struct settings_key *key, struct settings *settings,
                         struct sink_settings *sink)
{
    return (key->sinks != 0 ? (char *)sink : (char *)settings) + key->offset;
}
