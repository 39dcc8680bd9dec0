#include "ctl_where.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_MAX 128 /* bytes of a field's name */

/* Short names. Where a value is a pid, the second field is meant. */
static const struct {
    const char *name;
    const char *field;
    const char *pid_field;
} shorts[] = {
    {"source", "exit.source", NULL},
    {"reason", "exit.reason", NULL},
    {"class", "exit.reason_class", NULL},
    {"confidence", "exit.confidence", NULL},
    {"via", "exit.via", "exit.via"},
    {"node", "node.name", NULL},
    {"pid", "process.pid", "process.pid"},
    {"name", "process.name", NULL},
    {"initial_call", "process.initial_call", NULL},
    {"parent", "process.parent", "process.parent"},
    {"origin", "origin.source", "origin.pid"},
    {"module", "origin.module", NULL},
    {"by", "origin.by_name", "origin.by"},
    /* Written out already: the value gets its brackets. */
    {"exit.via", "exit.via", "exit.via"},
    {"process.pid", "process.pid", "process.pid"},
    {"process.parent", "process.parent", "process.parent"},
    {"origin.pid", "origin.pid", "origin.pid"},
    {"origin.by", "origin.by", "origin.by"},
    {"origin.supervisor", "origin.supervisor", "origin.supervisor"},
    {"origin.target", "origin.target", "origin.target"},
};

bool ctl_where_pid(const char *text, char *pid, size_t size)
{
    const char *at = text + (text[0] == '<');
    int numbers = 0;

    while (isdigit((unsigned char)*at)) {
        numbers++;
        while (isdigit((unsigned char)*at))
            at++;
        if (*at != '.')
            break;
        at++;
    }
    if (numbers != 3 || !isdigit((unsigned char)at[-1]))
        return false;
    if (text[0] == '<' ? strcmp(at, ">") != 0 : *at != '\0')
        return false;
    const char *begin = text + (text[0] == '<');
    int length = snprintf(pid, size, "<%.*s>", (int)(at - begin), begin);
    return length > 0 && (size_t)length < size;
}

/* The value ${text} as JSON: fields that hold truth values or numbers say so by their names. */
static json_t *typed_value(const char *field, const char *text)
{
    char *end;

    if (strcmp(field, "process.trap_exit") == 0 || strcmp(field, "exit.truncated") == 0) {
        if (strcmp(text, "true") == 0)
            return json_true();
        if (strcmp(text, "false") == 0)
            return json_false();
    }
    if (strcmp(field, "node.os_pid") == 0) {
        errno = 0;
        long long number = strtoll(text, &end, 10);
        if (end != text && *end == '\0' && errno == 0)
            return json_integer(number);
    }
    return json_string(text);
}

/*
 * Add the condition that ${field} is ${value}, as the command line had it in ${condition}. A second
 * value for the same field makes it a list: one of them.
 */
static enum ctl_exit add(json_t *where, const char *field, const char *value, const char *condition)
{
    json_t *before = json_object_get(where, field);
    json_t *typed = typed_value(field, value);
    int added;

    if (before == NULL)
        added = json_object_set_new(where, field, typed);
    else if (json_is_array(before))
        added = json_array_append_new(before, typed);
    else
        added = json_object_set_new(where, field, json_pack("[O, o]", before, typed));
    if (added == 0)
        return CTL_OK;
    CTL_COMPLAIN("'", condition, "' is not UTF-8 text");
    return CTL_USAGE;
}

static enum ctl_exit add_condition(json_t *where, const char *condition)
{
    char name[FIELD_MAX];
    char pid[64];
    const char *equals = strchr(condition, '=');

    if (equals == NULL || equals == condition || (size_t)(equals - condition) >= sizeof(name)) {
        CTL_COMPLAIN("'", condition, "' is no condition: write FIELD=VALUE, as in source=kill");
        return CTL_USAGE;
    }
    memcpy(name, condition, (size_t)(equals - condition));
    name[equals - condition] = '\0';
    const char *field = name;
    const char *value = equals + 1;
    bool is_pid = ctl_where_pid(value, pid, sizeof(pid));
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (strcmp(shorts[i].name, name) == 0) {
            field = shorts[i].field;
            if (is_pid && shorts[i].pid_field != NULL) {
                field = shorts[i].pid_field;
                value = pid;
            }
            break;
        }
    }
    return add(where, field, value, condition);
}

enum ctl_exit ctl_where(const struct ctl_options *options, int argc, char **argv, json_t **where)
{
    enum ctl_exit result = CTL_OK;

    *where = NULL;
    if (argc == 0 && options->node == NULL)
        return CTL_OK;
    json_t *made = json_object();
    if (made == NULL) {
        CTL_COMPLAIN("out of memory");
        return CTL_SOFTWARE;
    }
    if (options->node != NULL)
        result = add(made, "node.name", options->node, "--node");
    for (int i = 0; i < argc && result == CTL_OK; i++)
        result = add_condition(made, argv[i]);
    if (result != CTL_OK) {
        json_decref(made);
        return result;
    }
    *where = made;
    return CTL_OK;
}

void ctl_where_fields(struct ctl_text *text)
{
    char line[128];

    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        const char *other = shorts[i].pid_field;
        if (strchr(shorts[i].name, '.') != NULL)
            continue;
        if (other != NULL && strcmp(other, shorts[i].field) == 0)
            other = NULL;
        snprintf(line, sizeof(line), "  %-13s %s%s%s\n", shorts[i].name, shorts[i].field,
                 other != NULL ? ", or for a pid " : "", other != NULL ? other : "");
        ctl_text_add(text, line);
    }
    ctl_text_add(text, "Several values for one field mean any of them. docs/records.md has all "
                       "fields; those that\ncan be asked for: "
                       "echo '{\"op\":\"help\"}' | nc -N -U SOCK\n");
}
