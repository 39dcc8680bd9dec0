#include "ctl_cascade.h"

#include <stdlib.h>
#include <string.h>

#include "ctl_ask.h"
#include "ctl_client.h"
#include "ctl_json.h"
#include "ctl_record.h"
#include "ctl_story.h"
#include "ctl_tree.h"
#include "ctl_where.h"

#define NODES_DEFAULT 20
#define NODES_MAX 400 /* what a tree of text can show */
#define COUNT_WIDTH 9

static void add_number(struct ctl_text *text, const json_t *number, size_t width)
{
    struct ctl_text digits;

    ctl_text_init(&digits, (struct ctl_look){0});
    if (!ctl_record_add_value(&digits, number))
        ctl_text_add(&digits, "?");
    for (size_t columns = ctl_text_columns(&digits); columns < width; columns++)
        ctl_text_add(text, " ");
    ctl_text_append(text, &digits);
    ctl_text_free(&digits);
}

/* Append a table of the groups ${key} of ${cascade}, whose values are under ${name}. */
static void add_groups(struct ctl_text *text, const json_t *cascade, const char *key,
                       const char *name, const char *before)
{
    const json_t *group;
    size_t i;

    json_array_foreach(json_object_get(cascade, key), i, group)
    {
        const json_t *value = json_object_get(group, name);
        const json_t *rest = json_object_get(group, "rest");

        add_number(text, rest != NULL ? rest : json_object_get(group, "count"), COUNT_WIDTH);
        ctl_text_add(text, "  ");
        if (rest != NULL) {
            ctl_text_add(text, "others");
        } else {
            ctl_text_add(text, before);
            if (!ctl_record_add_value(text, value))
                ctl_text_add(text, "-");
        }
        ctl_text_add(text, "\n");
    }
}

static void add_node(struct ctl_text *text, const json_t *node)
{
    const char *pid = ctl_json_text(node, "pid");

    ctl_text_foreign_string(text, pid != NULL ? pid : "a process");
    ctl_text_add(text, " ");
    ctl_record_add_name(text, ctl_json_text(node, "name"), ctl_json_text(node, "initial_call"));
    ctl_text_style(text, CTL_DIM);
    ctl_text_add(text, "  ");
    ctl_text_foreign_string(
        text, ctl_json_text(node, "source") != NULL ? ctl_json_text(node, "source") : "unknown");
    ctl_text_style(text, CTL_PLAIN);
}

/* Draw those who died of ${parent}, and below each who died of it. Each node is drawn once. */
static void add_children(struct ctl_tree *tree, const json_t *nodes, const char *parent, int depth,
                         bool *drawn)
{
    const json_t *node;
    size_t i;

    json_array_foreach(nodes, i, node)
    {
        const char *above = ctl_json_text(node, "parent");
        const char *record = ctl_json_text(node, "record");

        if (i >= NODES_MAX || drawn[i] || above == NULL || strcmp(above, parent) != 0)
            continue;
        drawn[i] = true;
        add_node(ctl_tree_line(tree, depth), node);
        if (record != NULL)
            add_children(tree, nodes, record, depth + 1, drawn);
    }
}

static void add_tree(struct ctl_text *text, const json_t *record, const json_t *cascade,
                     const json_t *nodes)
{
    const char *root = ctl_json_text(cascade, "root");
    const char *pid = ctl_json_text(json_object_get(record, "process"), "pid");
    bool drawn[NODES_MAX] = {false};
    struct ctl_tree *tree = ctl_tree_new(text->look);
    const json_t *node;
    size_t i;

    if (tree == NULL) {
        text->failed = true;
        return;
    }
    if (record != NULL)
        ctl_record_add_process(ctl_tree_line(tree, 0), record, pid != NULL ? pid : "a process");
    else
        ctl_text_add(ctl_tree_line(tree, 0), "(its record is not kept)");
    if (root != NULL)
        add_children(tree, nodes, root, 1, drawn);
    /* Of whose peer nothing is known. */
    json_array_foreach(nodes, i, node)
    {
        if (i < NODES_MAX && !drawn[i]) {
            drawn[i] = true;
            add_node(ctl_tree_line(tree, 1), node);
        }
    }
    ctl_tree_draw(tree, text);
    ctl_tree_free(tree);
}

void ctl_cascade_show(struct ctl_text *text, const json_t *record, const json_t *cascade,
                      const json_t *nodes)
{
    const json_t *count = json_object_get(cascade, "count");
    json_int_t told = (json_int_t)json_array_size(nodes);
    const char *first = ctl_json_text(cascade, "first");
    const char *last = ctl_json_text(cascade, "last");

    if (record != NULL) {
        ctl_story_tree(text, record);
        ctl_text_add(text, "\n");
    }
    if (json_is_integer(count) && json_integer_value(count) == 0) {
        ctl_text_add(text, "nobody else died of it\n");
        return;
    }
    ctl_text_style(text, CTL_BOLD);
    add_number(text, count, 0);
    ctl_text_add(text,
                 json_integer_value(count) == 1 ? " process died of it" : " processes died of it");
    ctl_text_style(text, CTL_PLAIN);
    if (first != NULL && last != NULL) {
        ctl_text_add(text, ", from ");
        ctl_text_foreign_string(text, first);
        ctl_text_add(text, " to ");
        ctl_text_foreign_string(text, last);
    }
    ctl_text_add(text, "\n");
    add_groups(text, cascade, "by_initial_call", "initial_call", "");
    ctl_text_add(text, "by source\n");
    add_groups(text, cascade, "by_source", "source", "");
    ctl_text_add(text, "by distance from the origin\n");
    add_groups(text, cascade, "by_hop", "hop", "hop ");
    if (told == 0)
        return;
    ctl_text_add(text, "\n");
    add_tree(text, record, cascade, nodes);
    if (json_is_integer(count) && json_integer_value(count) > told) {
        ctl_text_symbol(text, "… ", "... ");
        ctl_text_add_number(text, json_integer_value(count) - told);
        ctl_text_add(text, " more: --nodes N shows more of them, coronerctl query origin.id=");
        ctl_text_foreign_string(
            text, ctl_json_text(cascade, "root") != NULL ? ctl_json_text(cascade, "root") : "?");
        ctl_text_add(text, " all\n");
    }
}

/* Whether ${text} is the id of a record: 16 hex digits, '-' and a number. */
static bool is_id(const char *text)
{
    size_t digits = strspn(text, "0123456789abcdef");

    return digits == 16 && text[16] == '-' && text[17] != '\0' &&
           text[17 + strspn(text + 17, "0123456789")] == '\0';
}

/* The answer: what it is made of, each to be released. */
struct answer {
    json_t *record;
    json_t *cascade;
    json_t *nodes;
};

static enum ctl_exit collect(const struct ctl_options *options, struct ctl_client *client,
                             struct answer *answer)
{
    for (;;) {
        enum ctl_reply reply;
        json_t *line;
        enum ctl_exit result = ctl_client_next(client, &reply, &line);

        if (result != CTL_OK)
            return result;
        if (reply == CTL_REPLY_DONE) {
            json_decref(line);
            return CTL_OK;
        }
        if (json_is_object(json_object_get(line, "exit")))
            answer->record = json_incref(json_object_get(line, "exit"));
        if (json_is_object(json_object_get(line, "cascade")))
            answer->cascade = json_incref(json_object_get(line, "cascade"));
        if (json_is_object(json_object_get(line, "node")))
            json_array_append(answer->nodes, json_object_get(line, "node"));
        json_object_del(line, "id");
        if (options->json)
            result = ctl_json_print(
                json_object_get(line, "exit") != NULL ? json_object_get(line, "exit") : line);
        json_decref(line);
        if (result != CTL_OK)
            return result;
    }
}

enum ctl_exit ctl_cascade(const struct ctl_options *options, int argc, char **argv)
{
    struct answer answer = {0};
    struct ctl_client *client = NULL;
    char pid[64], *end;
    bool is_pid = ctl_where_pid(argv[0], pid, sizeof(pid));
    long nodes = NODES_DEFAULT;
    struct ctl_text text;

    (void)argc;
    if (options->nodes != NULL) {
        nodes = strtol(options->nodes, &end, 10);
        if (end == options->nodes || *end != '\0' || nodes < 0 || nodes > NODES_MAX) {
            CTL_COMPLAIN("--nodes is a number up to 400, not ", options->nodes, "");
            return CTL_USAGE;
        }
    }
    enum ctl_exit result = ctl_client_open(options->query, &client);
    if (result != CTL_OK)
        return result;
    answer.nodes = json_array();
    result = ctl_client_ask(client, json_pack("{s:s, s:s, s:s*, s:I}", "op", "tree",
                                              is_pid           ? "pid"
                                              : is_id(argv[0]) ? "record"
                                                               : "name",
                                              is_pid ? pid : argv[0], "node", options->node,
                                              "nodes", (json_int_t)nodes));
    if (result == CTL_OK)
        result = collect(options, client, &answer);
    if (result == CTL_OK && answer.cascade == NULL) {
        CTL_COMPLAIN("nothing is recorded of ", argv[0],
                     "; it is a pid as '<0.123.0>', a name, or the id of a record");
        result = CTL_NOTHING;
    } else if (result == CTL_OK && !options->json) {
        ctl_text_init(&text, options->look);
        ctl_cascade_show(&text, answer.record, answer.cascade, answer.nodes);
        result = ctl_print(&text);
        ctl_text_free(&text);
    }
    json_decref(answer.record);
    json_decref(answer.cascade);
    json_decref(answer.nodes);
    ctl_client_close(client);
    return result;
}
