#include "ctl_count.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_client.h"
#include "ctl_json.h"
#include "ctl_record.h"
#include "ctl_where.h"

#define COUNT_WIDTH 9 /* columns for a number */
#define VALUE_MAX 60  /* characters of a value */
#define TOP_ROWS 7    /* so that three tables are one screen */
#define TOP_ROWS_ONE 20
#define WATCH_MS 2000

/* One question: by what, of which exits, how many lines. */
struct question {
    const char *by[2]; /* fields; NULL: none */
    const char *needs; /* a field that must have a value, or NULL */
    json_int_t limit;  /* 0: what the daemon gives */
};

/* Append ${number} at the right of its column. */
static void add_count(struct ctl_text *text, const json_t *number)
{
    struct ctl_text digits;

    ctl_text_init(&digits, (struct ctl_look){0});
    if (!ctl_record_add_value(&digits, number))
        ctl_text_add(&digits, "?");
    for (size_t width = ctl_text_columns(&digits); width < COUNT_WIDTH; width++)
        ctl_text_add(text, " ");
    ctl_text_append(text, &digits);
    ctl_text_free(&digits);
}

/* Append a line for the group of ${line}. */
static void add_group(struct ctl_text *text, const json_t *line)
{
    const char *key;
    json_t *value;

    add_count(text, json_object_get(line, "count"));
    json_object_foreach(json_object_get(line, "group"), key, value)
    {
        ctl_text_add(text, "  ");
        if (json_is_string(value))
            ctl_text_foreign(text, json_string_value(value), json_string_length(value), VALUE_MAX);
        else if (!ctl_record_add_value(text, value))
            ctl_text_add(text, "-");
    }
    ctl_text_add(text, "\n");
}

static json_t *request_of(const struct ctl_options *options, const json_t *where,
                          const struct question *question)
{
    json_t *request = json_pack("{s:s, s:s*, s:s*, s:s*}", "op", "count", "since", options->since,
                                "until", options->until, "bucket", options->bucket);
    json_t *conditions = where != NULL ? json_deep_copy(where) : json_object();
    json_t *by = json_array();

    for (size_t i = 0; i < 2 && question->by[i] != NULL; i++)
        json_array_append_new(by, json_string(question->by[i]));
    if (question->needs != NULL && json_object_get(conditions, question->needs) == NULL)
        json_object_set_new(conditions, question->needs, json_pack("{s:n}", "not"));
    if (json_object_set_new(request, "where", conditions) != 0 ||
        json_object_set_new(request, "by", by) != 0 ||
        (question->limit > 0 &&
         json_object_set_new(request, "limit", json_integer(question->limit)) != 0)) {
        json_decref(request);
        return NULL;
    }
    return request;
}

/* Ask, and append the lines of the answer to ${text}, or print them as JSON. */
static enum ctl_exit ask(const struct ctl_options *options, struct ctl_client *client,
                         const json_t *where, const struct question *question,
                         struct ctl_text *text, size_t *lines)
{
    enum ctl_exit result = ctl_client_ask(client, request_of(options, where, question));

    while (result == CTL_OK) {
        enum ctl_reply reply;
        json_t *line;

        result = ctl_client_next(client, &reply, &line);
        if (result != CTL_OK)
            break;
        if (reply == CTL_REPLY_DONE) {
            if (json_is_true(json_object_get(line, "truncated")) && !options->json &&
                question->limit == 0)
                CTL_COMPLAIN("there are more than these; narrow it with conditions or --since");
            json_decref(line);
            break;
        }
        *lines += 1;
        json_object_del(line, "id");
        if (options->json)
            result = ctl_json_print(line);
        else
            add_group(text, line);
        json_decref(line);
    }
    return result;
}

/* Split --by into at most two fields, whose short names are written out. */
static enum ctl_exit read_by(const struct ctl_options *options, struct question *question,
                             char fields[2][CTL_WHERE_FIELD])
{
    const char *at = options->by;

    for (size_t i = 0; at != NULL && *at != '\0'; i++) {
        size_t length = strcspn(at, ",");

        if (i == 2 || length == 0 || length >= CTL_WHERE_FIELD) {
            CTL_COMPLAIN("--by is a field, or two with a comma between, not ", options->by, "");
            return CTL_USAGE;
        }
        snprintf(fields[i], CTL_WHERE_FIELD, "%.*s", (int)length, at);
        question->by[i] = ctl_where_field(fields[i]);
        at += length;
        at += *at == ',';
    }
    return CTL_OK;
}

enum ctl_exit ctl_count(const struct ctl_options *options, int argc, char **argv)
{
    struct question question = {0};
    char fields[2][CTL_WHERE_FIELD];
    struct ctl_client *client = NULL;
    json_t *where = NULL;
    struct ctl_text text;
    size_t lines = 0;

    if (options->limit != NULL) {
        question.limit = strtol(options->limit, NULL, 10);
        if (question.limit < 1) {
            CTL_COMPLAIN("--limit is no number of lines: ", options->limit, "");
            return CTL_USAGE;
        }
    }
    enum ctl_exit result = read_by(options, &question, fields);
    if (result == CTL_OK)
        result = ctl_where(options, argc, argv, &where);
    if (result == CTL_OK)
        result = ctl_client_open(options->query, &client);
    if (result == CTL_OK) {
        ctl_text_init(&text, options->look);
        result = ask(options, client, where, &question, &text, &lines);
        if (result == CTL_OK && !options->json)
            result = ctl_print(&text);
        ctl_text_free(&text);
    }
    json_decref(where);
    ctl_client_close(client);
    return result == CTL_OK && lines == 0 ? CTL_NOTHING : result;
}

/* One screen. */
static enum ctl_exit top_once(const struct ctl_options *options, struct ctl_client *client,
                              const json_t *where, const struct question *own)
{
    static const struct {
        const char *title;
        struct question question;
    } tables[] = {
        {"killers", {{"origin.by_name", "origin.by_initial_call"}, "origin.by", TOP_ROWS}},
        {"victims", {{"process.initial_call"}, "process.pid", TOP_ROWS}},
        {"sources", {{"exit.source", "origin.source"}, "process.pid", TOP_ROWS}},
    };
    enum ctl_exit result = CTL_OK;
    struct ctl_text text;
    size_t lines = 0;

    ctl_text_init(&text, options->look);
    if (own->by[0] != NULL)
        result = ask(options, client, where, own, &text, &lines);
    for (size_t i = 0; own->by[0] == NULL && result == CTL_OK && i < 3; i++) {
        size_t before = lines;

        if (!options->json) {
            ctl_text_style(&text, CTL_BOLD);
            ctl_text_add(&text, i > 0 ? "\n" : "");
            ctl_text_add(&text, tables[i].title);
            ctl_text_style(&text, CTL_PLAIN);
            ctl_text_add(&text, " since ");
            ctl_text_foreign_string(&text, options->since);
            ctl_text_add(&text, "\n");
        }
        result = ask(options, client, where, &tables[i].question, &text, &lines);
        if (lines == before && !options->json)
            ctl_text_add(&text, "        -\n");
    }
    if (result == CTL_OK && !options->json)
        result = ctl_print(&text);
    ctl_text_free(&text);
    return result == CTL_OK && lines == 0 ? CTL_NOTHING : result;
}

enum ctl_exit ctl_top(const struct ctl_options *options, int argc, char **argv)
{
    struct ctl_options with = *options;
    struct question own = {.limit = TOP_ROWS_ONE};
    char fields[2][CTL_WHERE_FIELD];
    struct ctl_client *client = NULL;
    json_t *where = NULL;

    if (with.since == NULL)
        with.since = "-1h";
    enum ctl_exit result = read_by(options, &own, fields);
    if (result == CTL_OK)
        result = ctl_where(options, argc, argv, &where);
    if (result == CTL_OK)
        result = ctl_client_open(options->query, &client);
    while (result == CTL_OK) {
        if (options->watch && options->look.colour && !options->json)
            fputs("\x1b[H\x1b[2J", stdout);
        result = top_once(&with, client, where, &own);
        if (!options->watch || (result != CTL_OK && result != CTL_NOTHING))
            break;
        /* A signal ends it, as it ends any program. */
        result = poll(NULL, 0, WATCH_MS) == 0 ? CTL_OK : CTL_SOFTWARE;
    }
    json_decref(where);
    ctl_client_close(client);
    return result;
}
