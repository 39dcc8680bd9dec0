#include "ctl_status.h"

#include <stdint.h>
#include <string.h>

#include "ctl_client.h"
#include "ctl_json.h"
#include "ctl_nodes.h"
#include "ctl_record.h"

/* Whether ${value} is a number that is not 0; large ones are strings. */
static bool is_some(const json_t *value)
{
    return json_is_string(value) ? strcmp(json_string_value(value), "0") != 0
                                 : json_integer_value(value) != 0;
}

/* Append ", VALUE WHAT" for the number that ${object} has under ${key}; ${always}: also if it is 0.
 */
static void add_count(struct ctl_text *text, const json_t *object, const char *key,
                      const char *what, bool always)
{
    const json_t *value = json_object_get(object, key);

    if ((!json_is_integer(value) && !json_is_string(value)) || (!always && !is_some(value)))
        return;
    ctl_text_add(text, ", ");
    ctl_record_add_value(text, value);
    ctl_text_add(text, " ");
    ctl_text_add(text, what);
}

/* Append the value that ${object} has under ${key}, or a dash. */
static void add_value(struct ctl_text *text, const json_t *object, const char *key)
{
    if (!ctl_record_add_value(text, json_object_get(object, key)))
        ctl_text_add(text, "-");
}

/* Append the state of a store or a sink, with since when and why, where it is not well. */
static void add_state(struct ctl_text *text, const json_t *object)
{
    const char *state = ctl_json_text(object, "state");
    bool well = state == NULL || strcmp(state, "ok") == 0;

    ctl_text_style(text, well ? CTL_PLAIN : CTL_RED);
    add_value(text, object, "state");
    if (!well && ctl_json_text(object, "since") != NULL) {
        ctl_text_add(text, " since ");
        add_value(text, object, "since");
    }
    if (!well && ctl_json_text(object, "reason") != NULL) {
        ctl_text_add(text, " (");
        add_value(text, object, "reason");
        ctl_text_add(text, ")");
    }
    ctl_text_style(text, CTL_PLAIN);
}

/* Append ${bytes} as people read them. */
static void add_bytes(struct ctl_text *text, json_int_t bytes)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    size_t unit = 0;
    json_int_t tenths = bytes * 10;

    if (bytes < 0 || bytes > INT64_MAX / 10)
        return;
    while (tenths >= 10000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        tenths /= 1000;
        unit++;
    }
    ctl_text_add_number(text, tenths / 10);
    if (unit > 0) {
        ctl_text_add(text, ".");
        ctl_text_add_number(text, tenths % 10);
    }
    ctl_text_add(text, " ");
    ctl_text_add(text, units[unit]);
}

/* Append ${seconds} as days, hours, minutes or seconds. */
static void add_duration(struct ctl_text *text, json_int_t seconds)
{
    static const struct {
        json_int_t seconds;
        const char *unit;
    } units[] = {{86400, " d"}, {3600, " h"}, {60, " min"}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (seconds >= 2 * units[i].seconds) {
            ctl_text_add_number(text, seconds / units[i].seconds);
            ctl_text_add(text, units[i].unit);
            return;
        }
    }
    ctl_text_add_number(text, seconds);
    ctl_text_add(text, " s");
}

static void add_daemon(struct ctl_text *text, const json_t *status)
{
    const json_t *uptime = json_object_get(status, "uptime_seconds");

    ctl_text_add(text, "coronerd  ");
    add_value(text, status, "version");
    ctl_text_add(text, ", pid ");
    add_value(text, status, "pid");
    if (json_is_integer(uptime)) {
        ctl_text_add(text, ", up ");
        add_duration(text, json_integer_value(uptime));
    }
    ctl_text_add(text, "\n");
}

static void add_store(struct ctl_text *text, const json_t *store)
{
    const json_t *expired = json_object_get(store, "expired");
    const json_t *bytes = json_object_get(store, "bytes");

    ctl_text_add(text, "store     ");
    add_state(text, store);
    add_count(text, store, "rows", "records", true);
    if (json_is_integer(bytes)) {
        ctl_text_add(text, ", ");
        add_bytes(text, json_integer_value(bytes));
    }
    add_count(text, store, "queued", "wait to be written", false);
    add_count(text, expired, "age", "expired by age", false);
    add_count(text, expired, "size", "expired by size", false);
    add_count(text, expired, "disk_full", "expired for a full disk", false);
    add_count(text, store, "missing", "segments missing", false);
    add_count(text, store, "set_aside", "segments set aside", false);
    if (json_is_false(json_object_get(store, "writable")))
        ctl_text_add(text, ", cannot be written");
    ctl_text_add(text, "; ");
    add_value(text, store, "path");
    ctl_text_add(text, "\n");
}

static void add_sockets(struct ctl_text *text, const json_t *ingest, const json_t *query)
{
    ctl_text_add(text, "ingest    ");
    add_value(text, ingest, "nodes_connected");
    ctl_text_add(text, " connected");
    add_count(text, ingest, "records", "records since the start", true);
    add_count(text, ingest, "records_cut", "cut", false);
    add_count(text, ingest, "connections_refused", "connections refused", false);
    ctl_text_add(text, "\nquery     ");
    add_value(text, query, "connections");
    ctl_text_add(text, " connected");
    add_count(text, query, "subscriptions", "subscriptions", false);
    add_count(text, query, "requests", "requests", true);
    add_count(text, query, "errors", "answered with an error", false);
    ctl_text_add(text, "\n");
}

static void add_sink(struct ctl_text *text, const json_t *sink)
{
    ctl_text_add(text, "sink      ");
    add_value(text, sink, "name");
    ctl_text_add(text, " (");
    add_value(text, sink, "type");
    ctl_text_add(text, ") ");
    add_state(text, sink);
    add_count(text, sink, "lines", "lines", true);
    add_count(text, sink, "behind", "behind", true);
    add_count(text, sink, "behind_seconds", "s late", false);
    add_count(text, sink, "lost", "lost", false);
    if (ctl_json_text(sink, "path") != NULL) {
        ctl_text_add(text, "; ");
        add_value(text, sink, "path");
    }
    ctl_text_add(text, "\n");
}

void ctl_status_show(struct ctl_text *text, const json_t *status, const json_t *nodes)
{
    const json_t *sink;
    size_t i;

    if (json_array_size(nodes) == 0)
        ctl_text_add(text, "no node has sent anything yet: coronerctl attach NODE\n");
    else
        ctl_nodes_show(text, nodes);
    ctl_text_add(text, "\n");
    add_daemon(text, status);
    add_store(text, json_object_get(status, "store"));
    add_sockets(text, json_object_get(status, "ingest"), json_object_get(status, "query"));
    json_array_foreach(json_object_get(status, "sinks"), i, sink)
    {
        add_sink(text, sink);
    }
    ctl_text_add(text, "more: coronerctl status --json\n");
}

/*
 * Ask ${operation} and collect the answer: objects under ${item} into the array ${items}, and what
 * the last line holds into ${last}, to be released.
 */
static enum ctl_exit collect(struct ctl_client *client, const char *operation, const char *item,
                             json_t *items, json_t **last)
{
    enum ctl_exit result = ctl_client_ask(client, json_pack("{s:s}", "op", operation));

    while (result == CTL_OK) {
        enum ctl_reply reply;
        json_t *line;
        result = ctl_client_next(client, &reply, &line);
        if (result != CTL_OK)
            break;
        json_t *found = json_object_get(line, item);
        if (json_is_object(found))
            json_array_append(items, found);
        else if (json_is_array(found))
            json_array_extend(items, found);
        if (reply == CTL_REPLY_DONE) {
            *last = line;
            break;
        }
        json_decref(line);
    }
    return result;
}

enum ctl_exit ctl_status(const struct ctl_options *options, int argc, char **argv)
{
    struct ctl_client *client = NULL;
    json_t *statuses = json_array();
    json_t *nodes = json_array();
    json_t *last = NULL;
    json_t *unused = NULL;

    (void)argc, (void)argv;
    enum ctl_exit result = ctl_client_open(options->query, &client);
    if (result == CTL_OK)
        result = collect(client, "status", "status", statuses, &last);
    if (result == CTL_OK)
        result = collect(client, "nodes", "node", nodes, &unused);
    if (result == CTL_OK) {
        json_t *status = json_array_size(statuses) > 0 ? json_array_get(statuses, 0) : last;
        json_t *listed = json_object_get(unused, "nodes");
        if (json_array_size(nodes) == 0 && json_is_array(listed))
            json_array_extend(nodes, listed);
        if (options->json) {
            json_object_del(status, "id");
            json_object_del(status, "done");
            json_object_set(status, "nodes", nodes);
            result = ctl_json_print(status);
        } else {
            struct ctl_text text;
            ctl_text_init(&text, options->look);
            ctl_status_show(&text, status, nodes);
            result = ctl_print(&text);
            ctl_text_free(&text);
        }
    }
    json_decref(unused);
    json_decref(last);
    json_decref(nodes);
    json_decref(statuses);
    ctl_client_close(client);
    return result;
}
