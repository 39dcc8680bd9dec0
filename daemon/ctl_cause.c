#include "ctl_cause.h"

#include <string.h>

#include "ctl_json.h"
#include "ctl_record.h"

/*
 * The sentences; src/coroner_text.erl has the same, in the same words. {field} is a value of the
 * cause; a sentence that lacks one is not told. [a|b|c] is the first of them that lacks nothing, or
 * nothing. Some fields are made up of several: {by}       the process that did it, with its name
 * and the node that it did it for {boss}     the supervisor that did it, with its name {asked_by}
 * the process that asked the supervisor for it, with its name {sibling}  the child whose end made
 * the supervisor do it, with its name {peer}     the linked process, with its name {site}     where
 * in the code it was done, in parentheses after two spaces; maybe nothing
 */
struct sentences {
    const char *source;
    const char *field; /* if not NULL: this row is for those whose ... */
    const char *value; /* ... field has this value */
    const char *happened;
    const char *because[3];
};

#define BOSS "its supervisor[ {boss}]"
#define CHILD "it was the supervisor's child {child}"
#define CHILD_IN_TIME CHILD "[, which had {timeout_ms} ms to stop]"
#define SIBLING_RECORD "[ (record {sibling_id})]"
#define GAVE_UP "gave up: its children ended more often than its restart intensity allows"
#define LAST_CHILD "the last of them to end was {sibling}" SIBLING_RECORD

/* What a supervisor did to its child, with why it did so. */
#define BY_SUPERVISOR(which, told, child)                                                          \
    {.source = which,                                                                              \
     .field = "why",                                                                               \
     .value = "terminate_child",                                                                   \
     .happened = told,                                                                             \
     .because = {"terminate_child was called for it[ by {asked_by}]", child}},                     \
        {.source = which,                                                                          \
         .field = "why",                                                                           \
         .value = "sibling",                                                                       \
         .happened = told,                                                                         \
         .because = {"its sibling[ {sibling}] had ended" SIBLING_RECORD                            \
                     ", and the supervisor ends them together",                                    \
                     child}},                                                                      \
        {.source = which,                                                                          \
         .field = "why",                                                                           \
         .value = "intensity",                                                                     \
         .happened = told,                                                                         \
         .because = {"the supervisor " GAVE_UP, LAST_CHILD, child}},                               \
        {.source = which,                                                                          \
         .field = "why",                                                                           \
         .value = "parent",                                                                        \
         .happened = told,                                                                         \
         .because = {"the supervisor was itself told to stop by its parent", child}},              \
        {.source = which,                                                                          \
         .field = "why",                                                                           \
         .value = "application_stop",                                                              \
         .happened = told,                                                                         \
         .because = {"[application {application}|its application] was stopping", child}},          \
    {                                                                                              \
        .source = which, .happened = told, .because = { child }                                    \
    }

/* For each source, rows with a field come before the one without. */
static const struct sentences table[] = {
    {.source = "unknown", .happened = "died, and nothing that was seen explains it"},
    {.source = "normal", .happened = "was done and returned"},
    {.source = "self_exit",
     .field = "why",
     .value = "intensity",
     .happened = "ended by its own decision{site}",
     .because = {"it " GAVE_UP, LAST_CHILD}},
    {.source = "self_exit",
     .field = "why",
     .value = "sibling",
     .happened = "ended by its own decision{site}",
     .because = {"its significant child[ {sibling}] had ended" SIBLING_RECORD}},
    {.source = "self_exit", .happened = "ended by its own decision{site}"},
    {.source = "self_error", .happened = "crashed with an error of its own{site}"},
    {.source = "self_throw",
     .happened = "crashed with a throw of its own that nobody caught{site}"},
    {.source = "purge",
     .field = "operation",
     .value = "load",
     .happened =
         "was killed by the load of a new version of [module {module}|a module], which purged "
         "the old code it was running",
     .because = {"load requested by {by}{site}"}},
    {.source = "purge",
     .field = "operation",
     .value = "on_load",
     .happened =
         "was killed because the on_load function of [module {module}|a module] failed while it "
         "ran that code",
     .because = {"load requested by {by}{site}"}},
    {.source = "purge",
     .happened = "was killed by the purge of old code of [module {module}|a module]",
     .because = {"purge requested by {by}{site}"}},
    {.source = "kill", .happened = "was killed[ by {by}] with exit(Pid, kill){site}"},
    {.source = "exit_signal", .happened = "was ended[ by {by}] with exit(Pid, Reason){site}"},
    {.source = "link", .happened = "was taken down by its link to [{peer}|a process]"},
    {.source = "link_trapped",
     .happened =
         "trapped the exit of [linked process {peer}|a linked process] and stopped with the same "
         "reason"},
    BY_SUPERVISOR("supervisor_shutdown", "was shut down by " BOSS, CHILD_IN_TIME),
    BY_SUPERVISOR("supervisor_brutal_kill",
                  "was killed by " BOSS ", without a warning (shutdown brutal_kill)", CHILD),
    BY_SUPERVISOR("supervisor_timeout_kill",
                  "was killed by " BOSS ": it did not stop [within {timeout_ms} ms|in time]",
                  CHILD),
    {.source = "port",
     .happened =
         "was taken down by its linked port[ {port}][ ({driver})| ({command})], which closed"},
    {.source = "noproc",
     .happened = "linked itself to [{target}|a process], which was dead already"},
    {.source = "noconnection",
     .happened = "was linked to [{target}|a process] on [node {node}|another node], and the "
                 "connection to it was lost"},
    {.source = "max_heap_size",
     .happened = "was killed by the VM because its heap grew too large[: {size_words} words, and "
                 "its limit is [{limit_words} words|not known]]"},
    {.source = "stop_request", .happened = "was asked to stop[ by {by}]{site}"},
    {.source = "application_stop",
     .field = "by_name",
     .value = "SIGTERM",
     .happened = "ended because [application {application}|its application] was stopping",
     .because = {"the node was sent SIGTERM"}},
    {.source = "application_stop",
     .happened = "ended because [application {application}|its application] was stopping",
     .because = {"stop requested by {by}{site}"}},
    {.source = "node_stop",
     .field = "by_name",
     .value = "SIGTERM",
     .happened = "ended because its node was stopping",
     .because = {"the node was sent SIGTERM", "it was of application {application}"}},
    {.source = "node_stop",
     .happened = "ended because its node was stopping",
     .because = {"stop requested by {by}{site}", "it was of application {application}"}},
    {.source = "remote_signal",
     .happened =
         "was ended by an exit signal from [{target}|a process] on [node {node}|another node]"},
    {.source = "remote_link",
     .happened =
         "was taken down by its link to [{target}|{peer}|a process] on [node {node}|another "
         "node]"},
};

static const struct sentences newer = {
    .source = "",
    .happened = "ended by what this version of coronerctl does not know: {source}",
};

static const json_t *find(const struct ctl_cause *cause, const char *key)
{
    for (size_t i = 0; i < sizeof(cause->detail) / sizeof(cause->detail[0]); i++) {
        const json_t *value = json_object_get(cause->detail[i], key);
        if (value != NULL && !json_is_null(value))
            return value;
    }
    return NULL;
}

static const char *find_text(const struct ctl_cause *cause, const char *key)
{
    const char *text = json_string_value(find(cause, key));

    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Append the process under ${key}, with its name from ${name_key}. Return whether there is one. */
static bool add_process(struct ctl_text *text, const struct ctl_cause *cause, const char *key,
                        const char *name_key, const char *initial_call)
{
    const char *pid = find_text(cause, key);
    const char *name = find_text(cause, name_key);

    if (pid != NULL && name == NULL && initial_call == NULL) {
        ctl_record_add_process(text, cause->record, pid);
        return true;
    }
    if (pid != NULL) {
        ctl_text_foreign_string(text, pid);
        if (name != NULL && strcmp(name, pid) == 0)
            return true;
        ctl_text_add(text, " ");
    }
    return ctl_record_add_name(text, name, initial_call);
}

/* Append who did it, and for which node. Return whether that is known. */
static bool add_by(struct ctl_text *text, const struct ctl_cause *cause)
{
    const char *node = find_text(cause, "by_node");

    if (!add_process(text, cause, "by", "by_name", find_text(cause, "by_initial_call")))
        return false;
    if (node != NULL) {
        ctl_text_add(text, " of node ");
        ctl_text_foreign_string(text, node);
    }
    return true;
}

/* Append where in the code it was done: "  (caller, file:line → function)". */
static void add_site(struct ctl_text *text, const struct ctl_cause *cause)
{
    const char *call = find_text(cause, "by_call");
    const char *file = find_text(cause, "by_file");
    const json_t *line = find(cause, "by_line");
    const char *function = find_text(cause, "by_function");

    /* That exit/2 was called is in the sentence. */
    if (function != NULL && strncmp(function, "erlang:exit/", 12) == 0 &&
        (strcmp(cause->source, "kill") == 0 || strcmp(cause->source, "exit_signal") == 0))
        function = NULL;
    if (call == NULL && function == NULL)
        return;
    ctl_text_add(text, "  (");
    if (call != NULL)
        ctl_text_foreign_string(text, call);
    if (call != NULL && file != NULL) {
        ctl_text_add(text, ", ");
        ctl_text_foreign_string(text, file);
        if (json_is_integer(line)) {
            ctl_text_add(text, ":");
            ctl_record_add_value(text, line);
        }
    }
    if (call != NULL && function != NULL)
        ctl_text_symbol(text, " → ", " -> ");
    if (function != NULL)
        ctl_text_foreign_string(text, function);
    ctl_text_add(text, ")");
}

/* Append the field ${name} of ${length} bytes. Return whether the cause has it. */
static bool add_field(struct ctl_text *text, const struct ctl_cause *cause, const char *name,
                      size_t length)
{
    char key[32];

    if (length >= sizeof(key))
        return false;
    memcpy(key, name, length);
    key[length] = '\0';
    if (strcmp(key, "by") == 0)
        return add_by(text, cause);
    if (strcmp(key, "boss") == 0)
        return add_process(text, cause, find_text(cause, "by") != NULL ? "by" : "supervisor",
                           "by_name", find_text(cause, "by_initial_call"));
    if (strcmp(key, "asked_by") == 0)
        return find_text(cause, key) != NULL &&
               add_process(text, cause, key, "asked_by_name", NULL);
    if (strcmp(key, "sibling") == 0)
        return find_text(cause, key) != NULL && add_process(text, cause, key, "sibling_name", NULL);
    if (strcmp(key, "peer") == 0) {
        if (cause->peer == NULL)
            return false;
        const char *registered = ctl_json_text(cause->peer_named, "name");
        const char *initial_call = ctl_json_text(cause->peer_named, "initial_call");
        if (registered == NULL && initial_call == NULL) {
            ctl_record_add_process(text, cause->record, cause->peer);
            return true;
        }
        ctl_text_foreign_string(text, cause->peer);
        ctl_text_add(text, " ");
        return ctl_record_add_name(text, registered, initial_call);
    }
    if (strcmp(key, "site") == 0) {
        add_site(text, cause);
        return true;
    }
    if (strcmp(key, "source") == 0) {
        ctl_text_foreign_string(text, cause->source);
        return true;
    }
    return ctl_record_add_value(text, find(cause, key));
}

/*
 * Append the sentence that begins at ${at} and ends at the string's end, at "|" or at "]". Return
 * whether it lacks nothing, and where it ends in ${end}.
 */
static bool expand(struct ctl_text *text, const struct ctl_cause *cause, const char *at,
                   const char **end)
{
    bool complete = true;

    while (*at != '\0' && *at != '|' && *at != ']') {
        if (*at == '{') {
            size_t length = strcspn(at + 1, "}");
            complete = add_field(text, cause, at + 1, length) && complete;
            at += length + 2;
        } else if (*at == '[') {
            bool told = false;
            do {
                struct ctl_text ignored;
                size_t before = text->length;
                ctl_text_init(&ignored, text->look);
                bool whole = expand(told ? &ignored : text, cause, at + 1, &at);
                if (!told && !whole)
                    ctl_text_cut(text, before);
                told = told || whole;
                ctl_text_free(&ignored);
            } while (*at == '|');
            at++;
        } else {
            char piece[128];
            size_t length = strcspn(at, "{[|]");
            if (length >= sizeof(piece))
                length = sizeof(piece) - 1;
            memcpy(piece, at, length);
            piece[length] = '\0';
            ctl_text_add(text, piece);
            at += length;
        }
    }
    *end = at;
    return complete;
}

static const struct sentences *choose(const struct ctl_cause *cause)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].source, cause->source) != 0)
            continue;
        if (table[i].field == NULL)
            return &table[i];
        const char *value = find_text(cause, table[i].field);
        if (value != NULL && strcmp(value, table[i].value) == 0)
            return &table[i];
    }
    return &newer;
}

void ctl_cause_happened(struct ctl_text *text, const struct ctl_cause *cause)
{
    const char *end;

    expand(text, cause, choose(cause)->happened, &end);
}

bool ctl_cause_because(struct ctl_text *text, const struct ctl_cause *cause, int number)
{
    const struct sentences *chosen = choose(cause);
    size_t before = text->length;
    const char *end;

    for (size_t i = 0; i < sizeof(chosen->because) / sizeof(chosen->because[0]); i++) {
        if (chosen->because[i] == NULL)
            break;
        if (expand(text, cause, chosen->because[i], &end) && number-- == 0)
            return true;
        ctl_text_cut(text, before);
    }
    return false;
}
