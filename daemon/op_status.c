#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filter.h"
#include "memory.h"
#include "op_status.h"
#include "scan.h"
#include "timestamp.h"
#include "version.h"
#include "wire.h"

static const char *const no_keys[] = {NULL};

static void end(void *state)
{
    json_decref(state);
}

static enum query_step failed(struct query_context *context)
{
    scan_error(sqlite3_errmsg(store_reader_database(context->reader)), context->error);
    return QUERY_FAILED;
}

static json_t *time_text(int64_t ns)
{
    char text[TIMESTAMP_SIZE];

    timestamp_format(ns, text);
    return memory_check(json_string(text));
}

/* ---- nodes ---- */

/* Which ones are told is fixed in the first turn, for their order changes as they are seen. */
struct nodes {
    json_t *connected; /* the set of incarnations that are */
    json_t *list;      /* incarnations; NULL before the first turn */
    size_t told;       /* of the list */
};

static void *nodes_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    const struct op_status_parts *parts = cookie;
    struct nodes *nodes = memory_zeroed(sizeof(*nodes));

    (void)request;
    (void)error;
    nodes->connected = ingest_connected(parts->ingest);
    return nodes;
}

static void nodes_end(void *state)
{
    struct nodes *nodes = state;

    json_decref(nodes->connected);
    json_decref(nodes->list);
    free(nodes);
}

static json_t *text_column(sqlite3_stmt *statement, int column)
{
    const char *value = (const char *)sqlite3_column_text(statement, column);

    return reply_text(value != NULL ? value : "", (size_t)sqlite3_column_bytes(statement, column));
}

/* The counters that a node sent, large ones as strings. */
static json_t *counters_of(const char *text)
{
    json_t *counters = json_loads(text != NULL ? text : "", 0, NULL);
    json_t *told = memory_check(json_object());
    const char *key;
    json_t *value;

    json_object_foreach(counters, key, value)
    {
        if (json_is_integer(value))
            json_object_set_new(told, key, reply_integer(json_integer_value(value)));
        else
            json_object_set(told, key, value);
    }
    json_decref(counters);
    return told;
}

static void node_line(const json_t *connected, sqlite3_stmt *statement, struct reply *reply)
{
    enum {
        INCARNATION,
        NODE,
        HOST,
        OS_PID,
        OTP,
        UID,
        MADE,
        STORED,
        SETTLED,
        DROPPED,
        ENDED,
        EXPIRED,
        FIRST_SEEN,
        LAST_SEEN,
        COUNTERS
    };
    const char *incarnation = (const char *)sqlite3_column_text(statement, INCARNATION);
    int64_t made = sqlite3_column_int64(statement, MADE);
    int64_t stored = sqlite3_column_int64(statement, STORED);
    int64_t lost = sqlite3_column_int64(statement, SETTLED) - stored;

    /*
     * Numbers that are passed over are lost. Beyond the last one seen there is what the node says
     * it dropped; but it may count as dropped what did arrive, so never more than what is missing.
     */
    if (lost < sqlite3_column_int64(statement, DROPPED))
        lost = sqlite3_column_int64(statement, DROPPED);
    if (lost > made - stored)
        lost = made - stored;
    reply_object(
        reply,
        memory_check(json_pack(
            "{s{so so so so so so sb sb so so so so so so so so}}", "node", "name",
            text_column(statement, NODE), "incarnation", text_column(statement, INCARNATION),
            "host", text_column(statement, HOST), "os_pid",
            reply_integer(sqlite3_column_int64(statement, OS_PID)), "otp",
            text_column(statement, OTP), "uid", reply_integer(sqlite3_column_int64(statement, UID)),
            "connected", json_object_get(connected, incarnation) != NULL, "ended",
            sqlite3_column_int(statement, ENDED), "made", reply_integer(made), "stored",
            reply_integer(stored), "lost", reply_integer(lost), "pending",
            reply_integer(made - stored - lost), "expired",
            reply_integer(sqlite3_column_int64(statement, EXPIRED)), "first_seen",
            time_text(sqlite3_column_int64(statement, FIRST_SEEN)), "last_seen",
            time_text(sqlite3_column_int64(statement, LAST_SEEN)), "counters",
            counters_of((const char *)sqlite3_column_text(statement, COUNTERS)))));
}

static bool list_nodes(struct nodes *nodes, struct store_reader *reader)
{
    static const char sql[] =
        "SELECT incarnation FROM incarnations ORDER BY last_seen_ns DESC LIMIT 1000";
    sqlite3_stmt *statement;
    int result;

    if (sqlite3_prepare_v2(store_reader_database(reader), sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    nodes->list = memory_check(json_array());
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        json_array_append_new(nodes->list, text_column(statement, 0));
    sqlite3_finalize(statement);
    return result == SQLITE_DONE;
}

static enum query_step nodes_step(void *state, struct query_context *context)
{
    static const char sql[] =
        "SELECT incarnation, node, host, os_pid, otp, uid, made, stored, settled, dropped, ended,"
        " expired, first_seen_ns, last_seen_ns, counters FROM incarnations WHERE incarnation = ?1";
    struct nodes *nodes = state;
    enum query_step step = QUERY_DONE;
    sqlite3_stmt *statement;

    if ((nodes->list == NULL && !list_nodes(nodes, context->reader)) ||
        sqlite3_prepare_v2(store_reader_database(context->reader), sql, -1, &statement, NULL) !=
            SQLITE_OK)
        return failed(context);
    for (; step == QUERY_DONE && nodes->told < json_array_size(nodes->list); nodes->told++) {
        const json_t *incarnation = json_array_get(nodes->list, nodes->told);

        if (context->reply->out.length >= REPLY_BATCH_BYTES) {
            step = QUERY_MORE;
            break;
        }
        sqlite3_bind_text(statement, 1, json_string_value(incarnation), -1, SQLITE_STATIC);
        switch (sqlite3_step(statement)) {
        case SQLITE_ROW:
            node_line(nodes->connected, statement, context->reply);
            break;
        case SQLITE_DONE:
            break;
        default:
            step = failed(context);
        }
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
    return step;
}

/* ---- status ---- */

static json_t *store_object(const struct op_status_parts *parts)
{
    static const char *const states[] = {"ok", "degraded", "failing"};
    struct writer_numbers writing = writer_numbers(parts->writer);
    struct store_numbers numbers;
    struct store_health health;

    store_numbers(parts->store, &numbers);
    store_health(parts->store, &health);
    return memory_check(json_pack(
        "{so ss so so sb sI sI sI sI sI sI sI s{sI sI sI} sI sI sI sI}", "path",
        reply_text(parts->store_path, strlen(parts->store_path)), "state", states[health.state],
        "reason",
        health.state != STORE_OK ? reply_text(health.reason, strlen(health.reason)) : json_null(),
        "since", health.state != STORE_OK ? time_text(health.since_ns) : json_null(), "writable",
        !writing.failing, "commits", (json_int_t)writing.commits, "changes",
        (json_int_t)writing.changes, "queued", (json_int_t)writing.queued, "rows",
        (json_int_t)numbers.rows, "bytes", (json_int_t)numbers.bytes, "segments",
        (json_int_t)numbers.segments, "unindexed", (json_int_t)numbers.unindexed, "expired", "age",
        (json_int_t)numbers.expired_by_age, "size", (json_int_t)numbers.expired_by_size,
        "disk_full", (json_int_t)numbers.expired_by_full, "missing", (json_int_t)numbers.missing,
        "set_aside", (json_int_t)numbers.set_aside, "duplicates", (json_int_t)numbers.duplicates,
        "oldest_row", (json_int_t)numbers.oldest_row));
}

/* The state is the answer, which the thread completes with what the store knows. */
static void *status_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    const struct op_status_parts *parts = cookie;
    int64_t now = timestamp_now();

    (void)request;
    (void)error;
    return memory_check(
        json_pack("{ss si so so sI so so so so}", "version", CORONERD_VERSION, "pid", (int)getpid(),
                  "time", time_text(now), "started", time_text(parts->started_ns), "uptime_seconds",
                  (json_int_t)((now - parts->started_ns) / 1000000000), "store",
                  store_object(parts), "ingest", ingest_status(parts->ingest), "query",
                  query_status(parts->query), "sinks", sinks_status(parts->sinks)));
}

static enum query_step status_step(void *state, struct query_context *context)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM incarnations),"
        " (SELECT coalesce(sum(stored), 0) FROM incarnations) +"
        " coalesce((SELECT value FROM about WHERE key = 'forgotten_stored'), 0)";
    json_t *store = json_object_get(state, "store");
    sqlite3_stmt *statement;
    enum query_step step = QUERY_DONE;

    if (sqlite3_prepare_v2(store_reader_database(context->reader), sql, -1, &statement, NULL) !=
        SQLITE_OK)
        return failed(context);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        json_object_set_new(store, "incarnations",
                            json_integer(sqlite3_column_int64(statement, 0)));
        json_object_set_new(store, "stored", json_integer(sqlite3_column_int64(statement, 1)));
        reply_object(context->reply, memory_check(json_pack("{sO}", "status", state)));
    } else {
        step = failed(context);
    }
    sqlite3_finalize(statement);
    return step;
}

/* ---- version, help ---- */

static void *version_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    (void)cookie;
    (void)request;
    (void)error;
    return memory_check(json_pack(
        "{s{ss si s[sss] ss ss ss}}", "version", "coronerd", CORONERD_VERSION, "protocol",
        WIRE_VERSION, "schemas", "coroner.exit/1", "coroner.gap/1", "coroner.fold/1", "sqlite",
        sqlite3_libversion(), "libuv", uv_version_string(), "jansson", jansson_version_str()));
}

static void *help_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    const struct op_status_parts *parts = cookie;
    json_t *ops = memory_check(json_array());
    const struct query_op *op;

    (void)request;
    (void)error;
    for (size_t i = 0; (op = query_op_at(parts->query, i)) != NULL; i++)
        json_array_append_new(ops, memory_check(json_pack("{ss ss ss}", "op", op->name, "summary",
                                                          op->summary, "usage", op->usage)));
    return memory_check(json_pack("{so so so so}", "ops", ops, "fields", filter_fields(false),
                                  "lists", filter_fields(true), "values", filter_closed()));
}

static enum query_step say_state(void *state, struct query_context *context)
{
    reply_object(context->reply, json_incref(state));
    return QUERY_DONE;
}

void op_status_register(struct query *query, const struct op_status_parts *parts)
{
    static struct query_op ops[] = {
        {.name = "nodes",
         .usage = "{\"id\":1,\"op\":\"nodes\"}",
         .summary = "every incarnation that ever connected: made = stored + lost + pending",
         .keys = no_keys,
         .begin = nodes_begin,
         .step = nodes_step,
         .on_thread = true,
         .quick = true,
         .end = nodes_end},
        {.name = "status",
         .usage = "{\"id\":1,\"op\":\"status\"}",
         .summary = "how the daemon does",
         .keys = no_keys,
         .begin = status_begin,
         .step = status_step,
         .on_thread = true,
         .quick = true,
         .end = end},
        {.name = "version",
         .usage = "{\"id\":1,\"op\":\"version\"}",
         .summary = "what this is, and what it speaks",
         .keys = no_keys,
         .begin = version_begin,
         .step = say_state,
         .end = end},
        {.name = "help",
         .usage = "{\"id\":1,\"op\":\"help\"}",
         .summary = "the commands and the fields that 'where' and 'by' know",
         .keys = no_keys,
         .begin = help_begin,
         .step = say_state,
         .end = end},
    };

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        ops[i].cookie = (void *)(uintptr_t)parts;
        query_register(query, &ops[i]);
    }
}
