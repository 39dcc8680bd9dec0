#include "ctl_ask.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_client.h"
#include "ctl_json.h"
#include "ctl_record.h"
#include "ctl_story.h"
#include "ctl_where.h"

#define PAGE 1000 /* records that are asked for at once */

/* The record in ${line} of a reply, whatever its kind; NULL if there is none. */
static const json_t *record_of(const json_t *line)
{
    static const char *const keys[] = {"exit", "gap", "fold", "record"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *record = json_object_get(line, keys[i]);
        if (json_is_object(record))
            return record;
    }
    return NULL;
}

/* Print ${record} as one line, of JSON or for people. */
static enum ctl_exit print_line(const struct ctl_options *options, const json_t *record)
{
    struct ctl_text text;

    if (options->json)
        return ctl_json_print(record);
    ctl_text_init(&text, options->look);
    ctl_story_line(&text, record);
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/* Append how many died of what ${record} tells, if the daemon said so. */
static void add_cascade(struct ctl_text *text, const json_t *record, const json_t *cascade)
{
    const char *id = ctl_json_text(record, "id");

    if (json_object_get(cascade, "count") == NULL || id == NULL)
        return;
    ctl_text_add(text, "\n");
    ctl_record_add_value(text, json_object_get(cascade, "count"));
    ctl_text_add(text, " died of it: coronerctl tree ");
    ctl_text_foreign_string(text, id);
    ctl_text_add(text, "\n");
}

/* Print the answer to why: ${record}, its ${cascade}, and which ${others} there are. */
static enum ctl_exit print_story(const struct ctl_options *options, const json_t *record,
                                 const json_t *cascade, const json_t *others)
{
    struct ctl_text text;

    if (options->json)
        return ctl_json_print(record);
    ctl_text_init(&text, options->look);
    ctl_story_tree(&text, record);
    add_cascade(&text, record, cascade);
    ctl_story_others(&text, others);
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/*
 * The name that ${argument} is: records have it plain, but messages, and the shell, show one that
 * needs them in quotes, and it is from there that people copy it.
 */
static const char *unquote(char *argument)
{
    size_t length = strlen(argument);

    if (length < 3 || argument[0] != '\'' || argument[length - 1] != '\'' ||
        strchr(argument, '\\') != NULL)
        return argument;
    argument[length - 1] = '\0';
    return argument + 1;
}

/* Say that no exit of ${wanted} was found, and what that may mean. */
static void complain_not_found(const struct ctl_options *options, const char *wanted, bool is_pid)
{
    if (is_pid && strncmp(wanted, "<0.", 3) != 0) {
        /* Nodes show the pids of others with another first number than their own have. */
        CTL_COMPLAIN("no exit of ", wanted,
                     " is recorded: that is how another node shows it; the "
                     "node it is of, and the records, have <0",
                     strchr(wanted, '.'), "");
        return;
    }
    CTL_COMPLAIN("no exit of ", wanted, options->node != NULL ? " on " : "",
                 options->node != NULL ? options->node : "",
                 " is recorded: it may still live, have ended normally, or while coroner was "
                 "paused or not attached; coronerctl status shows which nodes send");
}

enum ctl_exit ctl_why(const struct ctl_options *options, int argc, char **argv)
{
    struct ctl_client *client = NULL;
    json_t *record = NULL;
    json_t *cascade = NULL;
    char pid[64];
    bool is_pid = ctl_where_pid(argv[0], pid, sizeof(pid));
    const char *wanted = is_pid ? pid : unquote(argv[0]);

    (void)argc;
    if (!is_pid && (wanted[0] == '<' || wanted[0] == '#' || wanted[0] == '\0')) {
        CTL_COMPLAIN("'", wanted, "' is no pid, which is as '<0.123.0>' or 0.123.0, and no name");
        return CTL_USAGE;
    }
    enum ctl_exit result = ctl_client_open(options->query, &client);
    if (result != CTL_OK)
        return result;
    result =
        ctl_client_ask(client, json_pack("{s:s, s:s, s:s*}", "op", "why", is_pid ? "pid" : "name",
                                         wanted, "node", options->node));
    while (result == CTL_OK) {
        enum ctl_reply reply;
        json_t *line;
        result = ctl_client_next(client, &reply, &line);
        if (result != CTL_OK)
            break;
        if (reply != CTL_REPLY_DONE) {
            const json_t *found = record_of(line);
            if (record == NULL && found != NULL)
                record = json_deep_copy(found);
            if (cascade == NULL)
                cascade = json_incref(json_object_get(line, "cascade"));
            json_decref(line);
            continue;
        }
        if (record != NULL) {
            result = print_story(options, record, cascade, json_object_get(line, "others"));
        } else {
            complain_not_found(options, wanted, is_pid);
            result = CTL_NOTHING;
        }
        json_decref(line);
        break;
    }
    json_decref(cascade);
    json_decref(record);
    ctl_client_close(client);
    return result;
}

/* Read --limit. Return -1 after saying what is wrong with it; 0 if there is none. */
static long read_limit(const struct ctl_options *options)
{
    char *end;

    if (options->limit == NULL)
        return 0;
    errno = 0;
    long limit = strtol(options->limit, &end, 10);
    if (end == options->limit || *end != '\0' || errno != 0 || limit < 1) {
        CTL_COMPLAIN("--limit is no number of records: ", options->limit, "");
        return -1;
    }
    return limit;
}

/*
 * Print one page of a query's reply. Count what was printed in ${printed}, and put the cursor of
 * the next page, or NULL, into ${next}.
 */
static enum ctl_exit print_page(const struct ctl_options *options, struct ctl_client *client,
                                long *printed, json_t **next)
{
    *next = NULL;
    for (;;) {
        enum ctl_reply reply;
        json_t *line;
        enum ctl_exit result = ctl_client_next(client, &reply, &line);
        if (result != CTL_OK)
            return result;
        if (reply == CTL_REPLY_DONE) {
            json_t *cursor = json_object_get(line, "next");
            if (json_is_string(cursor))
                *next = json_incref(cursor);
            json_decref(line);
            return CTL_OK;
        }
        const json_t *record = record_of(line);
        if (record != NULL) {
            result = print_line(options, record);
            *printed += 1;
        }
        json_decref(line);
        if (result != CTL_OK)
            return result;
    }
}

enum ctl_exit ctl_query(const struct ctl_options *options, int argc, char **argv)
{
    struct ctl_client *client = NULL;
    json_t *where = NULL;
    json_t *next = NULL;
    long printed = 0;

    long limit = read_limit(options);
    if (limit < 0)
        return CTL_USAGE;
    if (limit == 0)
        limit = 100;
    if (options->order != NULL && strcmp(options->order, "asc") != 0 &&
        strcmp(options->order, "desc") != 0) {
        CTL_COMPLAIN("--order is asc (oldest first) or desc (newest first), not ", options->order,
                     "");
        return CTL_USAGE;
    }
    enum ctl_exit result = ctl_where(options, argc, argv, &where);
    if (result == CTL_OK)
        result = ctl_client_open(options->query, &client);
    while (result == CTL_OK) {
        long before = printed;
        long page = limit - printed < PAGE ? limit - printed : PAGE;
        /* A cursor is a place, no more: what is asked for is said each time. */
        result = ctl_client_ask(client, json_pack("{s:s, s:O*, s:s*, s:s*, s:s*, s:o*, s:I}", "op",
                                                  "query", "where", where, "since", options->since,
                                                  "until", options->until, "order", options->order,
                                                  "cursor", next, "limit", (json_int_t)page));
        next = NULL;
        if (result == CTL_OK)
            result = print_page(options, client, &printed, &next);
        if (result != CTL_OK || next == NULL || printed >= limit || printed == before)
            break;
    }
    json_decref(next);
    json_decref(where);
    ctl_client_close(client);
    if (result == CTL_OK && printed == 0) {
        if (!options->json)
            CTL_COMPLAIN("no record fits");
        return CTL_NOTHING;
    }
    return result;
}

/* Say that records went by too fast to be sent to us. */
static enum ctl_exit print_lagged(const json_t *lagged)
{
    struct ctl_text count;

    ctl_text_init(&count, (struct ctl_look){0});
    ctl_text_add_number(&count, json_integer_value(json_object_get(lagged, "dropped")));
    CTL_COMPLAIN("too slow: ", ctl_text_string(&count),
                 " records were left out here; coronerctl query has them");
    ctl_text_free(&count);
    return CTL_OK;
}

enum ctl_exit ctl_tail(const struct ctl_options *options, int argc, char **argv)
{
    struct ctl_client *client = NULL;
    json_t *where = NULL;

    enum ctl_exit result = ctl_where(options, argc, argv, &where);
    if (result == CTL_OK)
        result = ctl_client_open(options->query, &client);
    if (result == CTL_OK) {
        ctl_client_follow(client);
        result =
            ctl_client_ask(client, json_pack("{s:s, s:O*}", "op", "subscribe", "where", where));
    }
    while (result == CTL_OK) {
        enum ctl_reply reply;
        json_t *line;
        result = ctl_client_next(client, &reply, &line);
        if (result != CTL_OK || reply == CTL_REPLY_STOP)
            break;
        const json_t *record = record_of(line);
        const json_t *lagged = json_object_get(line, "lagged");
        if (record != NULL)
            result = print_line(options, record);
        else if (lagged != NULL)
            result = print_lagged(lagged);
        json_decref(line);
        if (reply == CTL_REPLY_DONE)
            break;
    }
    json_decref(where);
    ctl_client_close(client);
    return result;
}
