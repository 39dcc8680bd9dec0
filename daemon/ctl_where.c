#include "ctl_where.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter_fields.h"

#define SCHEMA "schema"

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
    {"age", "process.age_us", NULL},
    {"kind", SCHEMA, NULL},
    /* Written out already: the value gets its brackets. */
    {"exit.via", "exit.via", "exit.via"},
    {"process.pid", "process.pid", "process.pid"},
    {"process.parent", "process.parent", "process.parent"},
    {"origin.pid", "origin.pid", "origin.pid"},
    {"origin.by", "origin.by", "origin.by"},
    {"origin.supervisor", "origin.supervisor", "origin.supervisor"},
    {"origin.target", "origin.target", "origin.target"},
    {"origin.sibling", "origin.sibling", "origin.sibling"},
    {"origin.asked_by", "origin.asked_by", "origin.asked_by"},
    {"process.ancestors", "process.ancestors", "process.ancestors"},
    {"chain.pid", "chain.pid", "chain.pid"},
    {"exit.candidates.by", "exit.candidates.by", "exit.candidates.by"},
    {"exit.candidates.via", "exit.candidates.via", "exit.candidates.via"},
};

/* What `kind` calls the lines that there are. */
static const struct {
    const char *kind;
    const char *schema;
} kinds[] = {{"exit", "coroner.exit/1"}, {"gap", "coroner.gap/1"}};

bool ctl_where_pid(const char *text, char *pid, size_t size)
{
    int numbers = 0;

    /* Elixir's way to show one. */
    if (strncmp(text, "#PID<", 5) == 0)
        text += 4;
    const char *at = text + (text[0] == '<');

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

const char *ctl_where_field(const char *name)
{
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (strcmp(shorts[i].name, name) == 0)
            return shorts[i].field;
    }
    return name;
}

/* Texts that may have commas in them: these are taken whole. */
static bool is_prose(const char *field)
{
    static const char *const prose[] = {"exit.reason",  "message",        "origin.command",
                                        "chain.reason", "gap.why",        "gap.detail",
                                        "exit.stack",   "origin.by_stack"};

    for (size_t i = 0; i < sizeof(prose) / sizeof(prose[0]); i++) {
        if (strcmp(prose[i], field) == 0)
            return true;
    }
    return false;
}

/* The value ${text} as JSON: what it is for, the type of ${name} says. */
static json_t *typed_value(const char *name, const char *text)
{
    const struct filter_field *field = filter_field(name);
    enum filter_type type = field != NULL ? field->type : FILTER_TEXT;
    char *end;

    if (strcmp(text, "null") == 0)
        return json_null();
    if (type == FILTER_TRUTH || type == FILTER_MIXED) {
        if (strcmp(text, "true") == 0)
            return json_true();
        if (strcmp(text, "false") == 0)
            return json_false();
    }
    if (type == FILTER_NUMBER || type == FILTER_MIXED) {
        errno = 0;
        long long number = strtoll(text, &end, 10);
        if (end != text && *end == '\0' && errno == 0 && llabs(number) < (1LL << 53))
            return json_integer(number);
    }
    return json_string(text);
}

static enum ctl_exit not_text(const char *condition)
{
    CTL_COMPLAIN("'", condition, "' is not UTF-8 text");
    return CTL_USAGE;
}

/* Add the condition that ${field} is compared with ${typed} by ${compare} of the protocol. */
static enum ctl_exit add_operator(json_t *where, const char *field, const char *compare,
                                  json_t *typed, const char *condition)
{
    json_t *before = json_object_get(where, field);

    if (typed == NULL)
        return not_text(condition);
    if (before == NULL) {
        before = json_object();
        json_object_set_new(where, field, before);
    }
    if (!json_is_object(before) || json_object_get(before, compare) != NULL) {
        json_decref(typed);
        CTL_COMPLAIN("'", condition, "' does not go together with what is asked of it before");
        return CTL_USAGE;
    }
    json_object_set_new(before, compare, typed);
    return CTL_OK;
}

/*
 * Add the condition that ${field} is ${typed}, as the command line had it in ${condition}. A second
 * value for the same field makes it a list: one of them.
 */
static enum ctl_exit add(json_t *where, const char *field, json_t *typed, const char *condition)
{
    json_t *before = json_object_get(where, field);
    int added;

    if (typed == NULL)
        return not_text(condition);
    if (before != NULL && (json_is_object(before) || json_is_null(before) || json_is_null(typed))) {
        json_decref(typed);
        CTL_COMPLAIN("'", condition, "' does not go together with what is asked of it before");
        return CTL_USAGE;
    }
    if (before == NULL)
        added = json_object_set_new(where, field, typed);
    else if (json_is_array(before))
        added = json_array_append_new(before, typed);
    else
        added = json_object_set_new(where, field, json_pack("[O, o]", before, typed));
    return added == 0 ? CTL_OK : not_text(condition);
}

/* What the condition compares by: how it is written, and what the protocol calls it. */
static const struct {
    const char *sign;
    const char *compare; /* NULL: equality */
} comparisons[] = {{">=", "ge"}, {"<=", "le"}, {"!=", "not"},
                   {"=", NULL},  {">", "gt"},  {"<", "lt"}};

/* The schema that ${kind} stands for; NULL after saying that there is no such kind. */
static const char *schema_of(const char *kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].kind, kind) == 0)
            return kinds[i].schema;
    }
    CTL_COMPLAIN("there is no kind '", kind, "'; there are: exit, gap");
    return NULL;
}

/* One value: a pid gets its brackets, and chooses its field where a short name stands for two. */
static enum ctl_exit add_value(json_t *where, const char *name, const char *compare, char *value,
                               const char *condition)
{
    const char *field = name;
    char pid[64];
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
    if (strcmp(name, "kind") == 0) {
        const char *schema = schema_of(value);
        if (schema == NULL)
            return CTL_USAGE;
        return compare != NULL ? add_operator(where, field, compare, json_string(schema), condition)
                               : add(where, field, json_string(schema), condition);
    }
    if (compare != NULL)
        return add_operator(where, field, compare, typed_value(field, value), condition);
    size_t length = strlen(value);
    if (length > 1 && value[length - 1] == '*') {
        value[length - 1] = '\0';
        return add_operator(where, field, "prefix", json_string(value), condition);
    }
    return add(where, field, typed_value(field, value), condition);
}

static enum ctl_exit add_condition(json_t *where, const char *condition)
{
    size_t length = strspn(condition, "abcdefghijklmnopqrstuvwxyz_.");
    char name[CTL_WHERE_FIELD];
    const char *compare = NULL, *at = NULL;
    enum ctl_exit result = CTL_OK;

    for (size_t i = 0; at == NULL && i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
        if (strncmp(condition + length, comparisons[i].sign, strlen(comparisons[i].sign)) == 0) {
            compare = comparisons[i].compare;
            at = condition + length + strlen(comparisons[i].sign);
        }
    }
    if (at == NULL || length == 0 || length >= sizeof(name)) {
        CTL_COMPLAIN("'", condition, "' is no condition: write FIELD=VALUE, as in source=kill");
        return CTL_USAGE;
    }
    memcpy(name, condition, length);
    name[length] = '\0';

    char *values = strdup(at);
    bool split = compare == NULL && !is_prose(ctl_where_field(name));
    for (char *value = values; value != NULL && result == CTL_OK;) {
        char *next = split ? strchr(value, ',') : NULL;

        if (next != NULL)
            *next++ = '\0';
        result = add_value(where, name, compare, value, condition);
        value = next;
    }
    free(values);
    return result;
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
        result = add(made, "node.name", json_string(options->node), "--node");
    for (int i = 0; i < argc && result == CTL_OK; i++)
        result = add_condition(made, argv[i]);
    if (result != CTL_OK) {
        json_decref(made);
        return result;
    }
    *where = made;
    return CTL_OK;
}

void ctl_where_shorts(struct ctl_text *text)
{
    char line[128];

    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        const char *other = shorts[i].pid_field;
        if (strchr(shorts[i].name, '.') != NULL)
            continue;
        if (other != NULL && strcmp(other, shorts[i].field) == 0)
            other = NULL;
        if (strcmp(shorts[i].field, SCHEMA) == 0)
            snprintf(line, sizeof(line), "  %-13s what the record is: exit or gap\n",
                     shorts[i].name);
        else
            snprintf(line, sizeof(line), "  %-13s %s%s%s\n", shorts[i].name, shorts[i].field,
                     other != NULL ? ", or for a pid " : "", other != NULL ? other : "");
        ctl_text_add(text, line);
    }
    ctl_text_add(
        text,
        "coronerctl help fields lists all fields.\n\n"
        "VALUE is a text or a number, null (there is none), a,b (one of them), or a beginning\n"
        "with a * behind it. FIELD!=VALUE, and FIELD<N, <=, >, >= compare. Reasons and messages\n"
        "are taken whole, commas and all. A pid is as <0.1.2>, 0.1.2 or #PID<0.1.2>.\n"
        "The shell takes < > * # ! and blanks for itself; quote them, or write pids without <>:\n"
        "  coronerctl query 'age>=1000' 'name=ump_*' 'severity!=info' pid=0.1.2\n");
}

/* The short name that stands for ${field} alone, or NULL. */
static const char *short_of(const char *field)
{
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (strcmp(shorts[i].name, field) != 0 && strcmp(shorts[i].name, "kind") != 0 &&
            (strcmp(shorts[i].field, field) == 0 ||
             (shorts[i].pid_field != NULL && strcmp(shorts[i].pid_field, field) == 0)))
            return shorts[i].name;
    }
    return NULL;
}

#define HELP_INDENT "                              "
#define HELP_WIDTH 96

/* The field before number ${index} that has the same closed list of values, or NULL. */
static const struct filter_field *same_values(size_t index)
{
    const char *const *values = filter_field_at(index)->values;

    for (size_t i = 0; i < index; i++) {
        if (filter_field_at(i)->values == values)
            return filter_field_at(i);
    }
    return NULL;
}

/* Append the closed list of ${values}, as many as fit on a line. */
static void add_values(struct ctl_text *text, const char *const *values)
{
    size_t used = 0;

    for (size_t i = 0; values[i] != NULL; i++) {
        if (used == 0 || used + 1 + strlen(values[i]) > HELP_WIDTH) {
            ctl_text_add(text, used > 0 ? "\n" HELP_INDENT : HELP_INDENT);
            used = strlen(HELP_INDENT);
        } else {
            ctl_text_add(text, " ");
            used++;
        }
        ctl_text_add(text, values[i]);
        used += strlen(values[i]);
    }
    ctl_text_add(text, "\n");
}

void ctl_where_fields(struct ctl_text *text)
{
    const struct filter_field *field;
    char line[192];

    ctl_text_add(text,
                 "The fields of a record that query, tail, top and count can be asked for, and "
                 "their short\nnames; of those with a + one of several values must fit. Under a "
                 "field stand the values it\ncan have, if they are a closed list.\n\n");
    for (size_t i = 0; (field = filter_field_at(i)) != NULL; i++) {
        const char *name = short_of(field->name);

        snprintf(line, sizeof(line), "  %-24s %s  %s%s%s%s\n", field->name,
                 field->element != NULL ? "+" : " ", field->summary, name != NULL ? " (" : "",
                 name != NULL ? name : "", name != NULL ? ")" : "");
        ctl_text_add(text, line);
        if (field->values != NULL && same_values(i) != NULL) {
            ctl_text_add(text, HELP_INDENT "those of ");
            ctl_text_add(text, same_values(i)->name);
            ctl_text_add(text, "\n");
        } else if (field->values != NULL) {
            add_values(text, field->values);
        }
    }
}
