#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "memory.h"
#include "op_records.h"
#include "op_tree.h"
#include "timestamp.h"

#define NODES_MAX 1000
#define GROUPS_MAX 10000 /* of each kind, while it is counted */
#define GROUPS_BYTES (1 << 20)
#define GROUPS_TOLD 20
#define VALUE_BYTES_MAX 512 /* of a group's name in the answer */

struct tree {
    struct records_subject subject;
    int64_t nodes; /* how many members are told one by one */
};

/* By what the members are grouped, in the order of the columns below. */
static const char *const kinds[] = {"initial_call", "source", "hop"};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))
#define KIND_HOP 2

static const char member_columns[] =
    "initial_call, source,"
    " json_extract((SELECT json FROM bodies WHERE bodies.row = exits.row), '$.chain_length') - 1,"
    " incarnation || '-' || seq, time_ns";

enum { COLUMN_HOP = KIND_HOP, COLUMN_ID, COLUMN_TIME };

/* A cascade while it is gone through. */
struct cascade {
    char root[64]; /* the id of the origin's record */
    struct groups *groups[KIND_COUNT];
    int64_t count, first, last, depth;
    json_t *nodes;  /* the first members */
    json_t *by_pid; /* and their ids */
};

static void tree_end(void *state)
{
    struct tree *tree = state;

    records_subject_clear(&tree->subject);
    free(tree);
}

static void *tree_begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct tree *tree = memory_zeroed(sizeof(*tree));

    (void)cookie;
    if (records_subject_read(&tree->subject, request, true, error) == 0 &&
        records_limit(request, "nodes", 0, NODES_MAX, &tree->nodes, error) == 0)
        return tree;
    tree_end(tree);
    return NULL;
}

static void note_group(struct groups *groups, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    size_t length = (size_t)sqlite3_column_bytes(statement, column);

    if (text == NULL)
        groups_add(groups, "", 0, 1);
    else
        groups_add(groups, text, length > VALUE_BYTES_MAX ? VALUE_BYTES_MAX : length, 1);
}

static void copy(json_t *to, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);

    if (value != NULL)
        json_object_set(to, key, value);
}

/*
 * A member as a line, with the id of the record that it died of: the chain has it, or else it is
 * the member with the pid that it came from.
 */
static json_t *member_line(const struct cascade *cascade, const char *text, size_t length)
{
    json_t *record = json_loadb(text, length, 0, NULL);
    const json_t *process = json_object_get(record, "process");
    const json_t *exit = json_object_get(record, "exit");
    const json_t *chain = json_object_get(record, "chain");
    const char *via = json_string_value(json_object_get(exit, "via"));
    json_t *parent = NULL, *node;

    if (record == NULL)
        return NULL;
    if (json_array_size(chain) > 1)
        parent = json_object_get(json_array_get(chain, json_array_size(chain) - 2), "id");
    if (!json_is_string(parent))
        parent = via != NULL ? json_object_get(cascade->by_pid, via) : NULL;
    node = memory_check(
        json_pack("{sO? sO?}", "record", json_object_get(record, "id"), "parent", parent));
    if (json_integer_value(json_object_get(record, "chain_length")) > 0)
        json_object_set_new(
            node, "hop",
            json_integer(json_integer_value(json_object_get(record, "chain_length")) - 1));
    copy(node, record, "time");
    copy(node, process, "pid");
    copy(node, process, "name");
    copy(node, process, "initial_call");
    copy(node, exit, "source");
    copy(node, exit, "via");
    if (json_is_string(json_object_get(process, "pid")))
        json_object_set(cascade->by_pid, json_string_value(json_object_get(process, "pid")),
                        json_object_get(record, "id"));
    json_decref(record);
    return node;
}

static int note_member(struct cascade *cascade, struct scan *scan, int64_t nodes)
{
    sqlite3_stmt *statement = scan_statement(scan);
    const char *id = (const char *)sqlite3_column_text(statement, COLUMN_ID);
    int64_t time = sqlite3_column_int64(statement, COLUMN_TIME);
    const char *line;
    size_t length;
    json_t *node;

    if (id == NULL || strcmp(id, cascade->root) == 0)
        return 0;
    cascade->count++;
    if (time < cascade->first)
        cascade->first = time;
    if (time > cascade->last)
        cascade->last = time;
    if (sqlite3_column_int64(statement, COLUMN_HOP) > cascade->depth)
        cascade->depth = sqlite3_column_int64(statement, COLUMN_HOP);
    for (size_t i = 0; i < KIND_COUNT; i++)
        note_group(cascade->groups[i], statement, (int)i);
    if ((int64_t)json_array_size(cascade->nodes) >= nodes)
        return 0;
    line = scan_line(scan, &length);
    if (line == NULL)
        return -1;
    node = member_line(cascade, line, length);
    if (node != NULL)
        json_array_append_new(cascade->nodes, node);
    return 0;
}

static int walk(struct cascade *cascade, int64_t nodes, struct query_context *context)
{
    struct filter filter;
    struct scan_question question = {.filter = &filter,
                                     .columns = member_columns,
                                     .order = SCAN_ASCENDING,
                                     .first = 1,
                                     .last = INT64_MAX};
    struct scan *scan;
    int found;

    filter_init(&filter);
    filter_add(&filter, "origin.id", FILTER_EQUAL, cascade->root);
    scan = scan_begin(context->reader, &question);
    while ((found = scan_next(scan)) > 0) {
        if (note_member(cascade, scan, nodes) != 0) {
            found = -1;
            break;
        }
    }
    if (found < 0)
        scan_failed(scan, context->error);
    scan_end(scan);
    filter_clear(&filter);
    return found;
}

/* ---- the answer ---- */

/* Hops by their number, which is text here. */
static int nearest_first(const void *a, const void *b)
{
    const struct group *first = a, *second = b;

    if (first->length != second->length)
        return first->length < second->length ? -1 : 1;
    return memcmp(first->key, second->key, first->length);
}

static void tell_groups(struct cascade *cascade, size_t kind, json_t *summary)
{
    struct groups *groups = cascade->groups[kind];
    json_t *told = memory_check(json_array());
    int64_t rest = groups_rest(groups);
    const struct group *list;
    char key[32];
    size_t size;

    list = groups_sorted(groups, kind == KIND_HOP ? nearest_first : groups_most_first, &size);
    for (size_t i = 0; i < size; i++) {
        json_t *value;

        if (i >= GROUPS_TOLD) {
            rest += list[i].count;
            continue;
        }
        value = list[i].length == 0 ? json_null()
                : kind == KIND_HOP  ? reply_integer(strtoll(list[i].key, NULL, 10))
                                    : reply_text(list[i].key, list[i].length);
        json_array_append_new(told, memory_check(json_pack("{so so}", kinds[kind], value, "count",
                                                           reply_integer(list[i].count))));
    }
    if (rest > 0)
        json_array_append_new(told, memory_check(json_pack("{so}", "rest", reply_integer(rest))));
    snprintf(key, sizeof(key), "by_%s", kinds[kind]);
    json_object_set_new(summary, key, told);
}

static void tell(struct cascade *cascade, struct reply *reply)
{
    json_t *summary = memory_check(
        json_pack("{ss so}", "root", cascade->root, "count", reply_integer(cascade->count)));
    char time[TIMESTAMP_SIZE];
    json_t *node;
    size_t index;

    if (cascade->count > 0) {
        timestamp_format(cascade->first, time);
        json_object_set_new(summary, "first", json_string(time));
        timestamp_format(cascade->last, time);
        json_object_set_new(summary, "last", json_string(time));
        json_object_set_new(summary, "depth", reply_integer(cascade->depth));
    }
    for (size_t i = 0; i < KIND_COUNT; i++)
        tell_groups(cascade, i, summary);
    reply_object(reply, memory_check(json_pack("{so}", "cascade", summary)));
    json_array_foreach(cascade->nodes, index, node)
    {
        reply_object(reply, memory_check(json_pack("{sO}", "node", node)));
    }
}

/* The id of the record that all began with, of the one in `row`. */
static int find_root(struct store_reader *reader, int64_t row, char *root, size_t size,
                     struct reply_error *error)
{
    struct scan *scan =
        records_open(reader, row, "coalesce(origin_id, incarnation || '-' || seq)", error);
    const char *id;

    if (scan == NULL)
        return -1;
    id = (const char *)sqlite3_column_text(scan_statement(scan), 0);
    snprintf(root, size, "%s", id != NULL ? id : "");
    scan_end(scan);
    return 0;
}

/* Tell the origin's own record, if it is kept. */
static int tell_root(const char *root, struct query_context *context)
{
    struct records_subject subject = {.key = "record"};
    char why[STORE_WHY_SIZE];
    struct scan *scan;
    const char *line;
    size_t length;
    int64_t row;

    if (sscanf(root, "%16[0-9a-f]-%18" SCNd64, subject.incarnation, &subject.seq) != 2)
        return 0;
    row = store_reader_find(context->reader, subject.incarnation, (uint64_t)subject.seq, why);
    if (row < 0)
        scan_error(why, context->error);
    if (row <= 0)
        return (int)row;
    scan = records_open(context->reader, row, "1", context->error);
    if (scan == NULL)
        return -1;
    line = scan_line(scan, &length);
    if (line != NULL)
        reply_record(context->reply, line, length, NULL, NULL);
    else
        scan_failed(scan, context->error);
    scan_end(scan);
    return line != NULL ? 0 : -1;
}

static enum query_step tree_step(void *state, struct query_context *context)
{
    struct tree *tree = state;
    struct cascade cascade = {.first = INT64_MAX};
    int64_t row = records_find(context->reader, &tree->subject, context->error);
    bool done;

    if (row < 0 ||
        find_root(context->reader, row, cascade.root, sizeof(cascade.root), context->error) != 0)
        return QUERY_FAILED;
    cascade.nodes = memory_check(json_array());
    cascade.by_pid = memory_check(json_object());
    for (size_t i = 0; i < KIND_COUNT; i++)
        cascade.groups[i] = groups_new(GROUPS_MAX, GROUPS_BYTES);
    done = walk(&cascade, tree->nodes, context) == 0 && tell_root(cascade.root, context) == 0;
    if (done)
        tell(&cascade, context->reply);
    for (size_t i = 0; i < KIND_COUNT; i++)
        groups_free(cascade.groups[i]);
    json_decref(cascade.by_pid);
    json_decref(cascade.nodes);
    return done ? QUERY_DONE : QUERY_FAILED;
}

static const char *const tree_keys[] = {"record", "pid", "name", "node", "nodes", NULL};

static const struct query_op tree_op = {
    .name = "tree",
    .usage = "{\"id\":1,\"op\":\"tree\",\"record\":\"6a1f0c2be5d94c11-48213\",\"nodes\":100}",
    .summary =
        "the cascade that this record (or the newest exit of this pid or name) is of, as one "
        "story: the record it began with, how many died of it, and the first of them",
    .keys = tree_keys,
    .begin = tree_begin,
    .step = tree_step,
    .on_thread = true,
    .end = tree_end,
};

void op_tree_register(struct query *query)
{
    query_register(query, &tree_op);
}
