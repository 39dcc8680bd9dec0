#include "ctl_status.h"

#include <stdint.h>
#include <string.h>

#include "ctl_client.h"
#include "ctl_json.h"
#include "ctl_record.h"

#define COLUMN_MAX 64 /* characters of one cell */
#define NAME_WIDTH 22 /* columns for the names of what the daemon says of itself */
#define DEPTH_MAX 4   /* objects and arrays within one another */

/* The columns of the table of nodes. */
static const struct {
    const char *title;
    bool right; /* numbers stand at the right */
    const char *key;
} columns[] = {
    {"NODE", false, "name"},
    {"CONNECTED", false, "connected"},
    {"MADE", true, "made"},
    {"STORED", true, "stored"},
    {"PENDING", true, "pending"},
    {"LOST", true, "lost"},
    {"OTP", true, "otp"},
    {"INCARNATION", false, "incarnation"},
    {"LAST SEEN", false, "last_seen"},
};

#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static void add_cell(struct ctl_text *text, const json_t *node, size_t column)
{
    const json_t *value = json_object_get(node, columns[column].key);

    if (json_is_boolean(value))
        ctl_text_add(text, json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        ctl_text_foreign(text, json_string_value(value), json_string_length(value), COLUMN_MAX);
    else if (!ctl_record_add_value(text, value))
        ctl_text_add(text, "-");
}

static void add_spaces(struct ctl_text *text, size_t count)
{
    while (count-- > 0)
        ctl_text_add(text, " ");
}

static void add_table(struct ctl_text *text, const json_t *nodes)
{
    size_t widths[COLUMN_COUNT];
    struct ctl_text cell;
    const json_t *node;
    size_t row;

    ctl_text_init(&cell, (struct ctl_look){.utf8 = text->look.utf8, .colour = false});
    for (size_t column = 0; column < COLUMN_COUNT; column++) {
        widths[column] = strlen(columns[column].title);
        json_array_foreach(nodes, row, node)
        {
            ctl_text_cut(&cell, 0);
            add_cell(&cell, node, column);
            if (ctl_text_columns(&cell) > widths[column])
                widths[column] = ctl_text_columns(&cell);
        }
    }
    for (row = 0; row <= json_array_size(nodes); row++) {
        if (row == 0)
            ctl_text_style(text, CTL_DIM);
        for (size_t column = 0; column < COLUMN_COUNT; column++) {
            ctl_text_cut(&cell, 0);
            if (row == 0)
                ctl_text_add(&cell, columns[column].title);
            else
                add_cell(&cell, json_array_get(nodes, row - 1), column);
            size_t space = widths[column] - ctl_text_columns(&cell);
            if (columns[column].right)
                add_spaces(text, space);
            ctl_text_append(text, &cell);
            if (column + 1 < COLUMN_COUNT)
                add_spaces(text, (columns[column].right ? 0 : space) + 2);
        }
        if (row == 0)
            ctl_text_style(text, CTL_PLAIN);
        ctl_text_add(text, "\n");
    }
    ctl_text_free(&cell);
}

static void add_member(struct ctl_text *text, const char *name, const json_t *value, int depth);

/* Append the members of ${object}, one a line, with ${prefix} before their names. */
static void add_members(struct ctl_text *text, const json_t *object, const char *prefix, int depth)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        struct ctl_text name;

        if (depth == 0 && (strcmp(key, "id") == 0 || strcmp(key, "done") == 0))
            continue;
        ctl_text_init(&name, (struct ctl_look){.utf8 = text->look.utf8, .colour = false});
        ctl_text_add(&name, prefix);
        ctl_text_foreign(&name, key, strlen(key), COLUMN_MAX);
        add_member(text, ctl_text_string(&name), value, depth);
        ctl_text_free(&name);
    }
}

/* Append the member ${value}, whose ${name} is harmless already; objects a line for each of theirs.
 */
static void add_member(struct ctl_text *text, const char *name, const json_t *value, int depth)
{
    struct ctl_text prefix;
    const json_t *element;
    size_t i;

    if (depth >= DEPTH_MAX)
        return;
    if (json_is_object(value)) {
        ctl_text_init(&prefix, (struct ctl_look){.utf8 = true, .colour = false});
        ctl_text_add(&prefix, name);
        ctl_text_add(&prefix, ".");
        add_members(text, value, ctl_text_string(&prefix), depth + 1);
        ctl_text_free(&prefix);
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, element)
        {
            add_member(text, name, element, depth + 1);
        }
    } else if (!json_is_null(value)) {
        size_t columns_used = strlen(name);
        ctl_text_add(text, name);
        add_spaces(text, columns_used < NAME_WIDTH ? NAME_WIDTH - columns_used : 0);
        ctl_text_add(text, "  ");
        ctl_record_add_value(text, value);
        ctl_text_add(text, "\n");
    }
}

void ctl_status_show(struct ctl_text *text, const json_t *status, const json_t *nodes)
{
    add_members(text, status, "", 0);
    ctl_text_add(text, "\n");
    if (json_array_size(nodes) == 0)
        ctl_text_add(text, "no node has sent anything yet: coronerctl attach NODE\n");
    else
        add_table(text, nodes);
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
