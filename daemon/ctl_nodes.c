#include "ctl_nodes.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ctl_json.h"
#include "ctl_record.h"

#define COLUMN_MAX 64 /* characters of one cell */
#define AWAY_SHOWN 10 /* lines for nodes that are not connected */
#define SECONDS 19    /* characters of a time up to its seconds */

/* The columns of the table; what stands in one without a key is made below. */
static const struct {
    const char *title;
    bool right; /* numbers stand at the right */
    const char *key;
} columns[] = {
    {"NODE", false, "name"},
    {"STATE", false, NULL},
    {"MADE", true, "made"},
    {"STORED", true, "stored"},
    {"PENDING", true, "pending"},
    {"LOST", true, "lost"},
    {"OTP", true, "otp"},
    {"LAST SEEN", false, "last_seen"},
    {"INCARNATION", false, "incarnation"},
};

#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

/* How a node can be, and what is to be done about it. */
enum state { CONNECTED, PAUSED, DISARMED, ENDED, GONE, UNKNOWN, STATE_COUNT };

static const struct {
    const char *word;
    const char *meaning; /* NULL: it explains itself */
} states[STATE_COUNT] = {
    [CONNECTED] = {"connected", NULL},
    [PAUSED] = {"paused", "somebody called coroner:pause() there; nothing is seen until "
                          "coroner:resume()"},
    [DISARMED] = {"disarmed", "another tool has the tracer there; coroner takes it back as soon as "
                              "it can"},
    [ENDED] = {"ended", NULL},
    [GONE] = {"gone", "it neither is connected nor said goodbye: killed, or it cannot reach this "
                      "daemon"},
    [UNKNOWN] = {"-", NULL},
};

static bool has_counter(const json_t *node, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(node, "counters"), key)) != 0;
}

static bool is_connected(const json_t *node)
{
    return json_is_true(json_object_get(node, "connected"));
}

static enum state state_of(const json_t *node)
{
    if (!json_is_boolean(json_object_get(node, "connected")))
        return UNKNOWN;
    if (!is_connected(node))
        return json_is_true(json_object_get(node, "ended")) ? ENDED : GONE;
    if (has_counter(node, "paused"))
        return PAUSED;
    return has_counter(node, "disarmed") ? DISARMED : CONNECTED;
}

/* Whether it is to be told that only a part of the node is traced. */
static bool is_scoped(const json_t *node)
{
    return is_connected(node) && has_counter(node, "scoped");
}

static void add_state(struct ctl_text *text, const json_t *node)
{
    ctl_text_add(text, states[state_of(node)].word);
    if (is_scoped(node))
        ctl_text_add(text, ", scoped");
}

static void add_cell(struct ctl_text *text, const json_t *node, size_t column)
{
    const char *key = columns[column].key;
    const json_t *value = key != NULL ? json_object_get(node, key) : NULL;
    const char *string = json_string_value(value);
    size_t length = json_string_length(value);

    if (key == NULL) {
        add_state(text, node);
    } else if (string != NULL && strcmp(key, "last_seen") == 0 && length > SECONDS &&
               string[SECONDS] == '.') {
        ctl_text_foreign(text, string, SECONDS, COLUMN_MAX);
        ctl_text_add(text, "Z");
    } else if (string != NULL) {
        ctl_text_foreign(text, string, length, COLUMN_MAX);
    } else if (!ctl_record_add_value(text, value)) {
        ctl_text_add(text, "-");
    }
}

static void add_spaces(struct ctl_text *text, size_t count)
{
    while (count-- > 0)
        ctl_text_add(text, " ");
}

/* What is to be seen at once. */
static bool is_alarming(const json_t *node, size_t column)
{
    const json_t *value;
    const char *key = columns[column].key;

    if (key == NULL)
        return state_of(node) == PAUSED || state_of(node) == DISARMED || state_of(node) == GONE;
    value = json_object_get(node, key);
    return strcmp(key, "lost") == 0 && (json_is_string(value) || json_integer_value(value) != 0);
}

/* Append a row, the titles if ${node} is NULL. */
static void add_row(struct ctl_text *text, const json_t *node, const size_t *widths)
{
    struct ctl_text cell;

    ctl_text_init(&cell, (struct ctl_look){.utf8 = text->look.utf8, .colour = false});
    if (node == NULL)
        ctl_text_style(text, CTL_DIM);
    for (size_t column = 0; column < COLUMN_COUNT; column++) {
        ctl_text_cut(&cell, 0);
        if (node == NULL)
            ctl_text_add(&cell, columns[column].title);
        else
            add_cell(&cell, node, column);
        size_t space = widths[column] - ctl_text_columns(&cell);
        if (columns[column].right)
            add_spaces(text, space);
        if (node != NULL && is_alarming(node, column)) {
            ctl_text_style(text, CTL_RED);
            ctl_text_append(text, &cell);
            ctl_text_style(text, CTL_PLAIN);
        } else {
            ctl_text_append(text, &cell);
        }
        if (column + 1 < COLUMN_COUNT)
            add_spaces(text, (columns[column].right ? 0 : space) + 2);
    }
    if (node == NULL)
        ctl_text_style(text, CTL_PLAIN);
    ctl_text_add(text, "\n");
    ctl_text_free(&cell);
}

static void measure(const json_t *shown, bool utf8, size_t *widths)
{
    struct ctl_text cell;
    const json_t *node;
    size_t row;

    ctl_text_init(&cell, (struct ctl_look){.utf8 = utf8, .colour = false});
    for (size_t column = 0; column < COLUMN_COUNT; column++) {
        widths[column] = strlen(columns[column].title);
        json_array_foreach(shown, row, node)
        {
            ctl_text_cut(&cell, 0);
            add_cell(&cell, node, column);
            if (ctl_text_columns(&cell) > widths[column])
                widths[column] = ctl_text_columns(&cell);
        }
    }
    ctl_text_free(&cell);
}

/* Put the lines that are shown into ${shown}. Return how many more there are, and what these lost.
 */
static size_t choose(const json_t *nodes, json_t *shown, json_int_t *lost)
{
    const json_t *node;
    size_t i, away = 0, left = 0;

    *lost = 0;
    json_array_foreach(nodes, i, node)
    {
        if (is_connected(node))
            json_array_append(shown, (json_t *)(uintptr_t)node);
    }
    json_array_foreach(nodes, i, node)
    {
        if (is_connected(node))
            continue;
        if (away++ < AWAY_SHOWN) {
            json_array_append(shown, (json_t *)(uintptr_t)node);
        } else {
            left++;
            *lost += json_integer_value(json_object_get(node, "lost"));
        }
    }
    return left;
}

/* Say what the words mean that stand in the table. */
static void add_legend(struct ctl_text *text, const json_t *shown)
{
    bool used[STATE_COUNT] = {false}, scoped = false;
    const json_t *node;
    size_t i;

    json_array_foreach(shown, i, node)
    {
        used[state_of(node)] = true;
        scoped = scoped || is_scoped(node);
    }
    for (enum state state = 0; state < STATE_COUNT; state++) {
        if (!used[state] || states[state].meaning == NULL)
            continue;
        ctl_text_add(text, "  ");
        ctl_text_add(text, states[state].word);
        ctl_text_add(text, ": ");
        ctl_text_add(text, states[state].meaning);
        ctl_text_add(text, "\n");
    }
    if (scoped)
        ctl_text_add(text, "  scoped: only a part of it is traced; coroner:scope() there tells "
                           "which\n");
}

void ctl_nodes_show(struct ctl_text *text, const json_t *nodes)
{
    size_t widths[COLUMN_COUNT];
    json_t *shown = json_array();
    json_int_t lost;
    const json_t *node;
    size_t row;

    size_t left = choose(nodes, shown, &lost);
    measure(shown, text->look.utf8, widths);
    add_row(text, NULL, widths);
    json_array_foreach(shown, row, node)
    {
        add_row(text, node, widths);
    }
    if (left > 0) {
        ctl_text_add(text, "and ");
        ctl_text_add_number(text, (long long)left);
        ctl_text_add(text, " more that are not connected, which lost ");
        ctl_text_add_number(text, lost);
        ctl_text_add(text, ": coronerctl status --json\n");
    }
    add_legend(text, shown);
    json_decref(shown);
}
