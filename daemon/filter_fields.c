#include "filter_fields.h"

#include <string.h>

#include "source.h"

#define NAME(symbol, name) name,
static const char *const severities[] = {CORONER_SEVERITIES(NAME) NULL};
static const char *const sources[] = {CORONER_SOURCES(NAME) NULL};
static const char *const confidences[] = {CORONER_CONFIDENCES(NAME) NULL};
static const char *const reason_classes[] = {CORONER_REASON_CLASSES(NAME) NULL};
#undef NAME

#define IN_LINE(name, type, summary)                                                               \
    {                                                                                              \
        name, FILTER_##type, NULL, name, NULL, 0, NULL, summary                                    \
    }
#define TEXTS(name, summary)                                                                       \
    {                                                                                              \
        name, FILTER_TEXT, NULL, name, "", 0, NULL, summary                                        \
    }
#define PART_OF(list, key, values, summary)                                                        \
    {                                                                                              \
        list "." key, FILTER_TEXT, NULL, list, key, 0, values, summary                             \
    }

/* Everything that docs/records.md names. Columns where they are, the rest out of the line. */
static const struct filter_field fields[] = {
    IN_LINE("schema", TEXT, "coroner.exit/1 of an exit, coroner.gap/1 of a gap"),
    /* incarnation and seq: see filter.c */
    {"id", FILTER_TEXT, "id", NULL, NULL, 1, NULL,
     "names the record for ever: incarnation and number"},
    {"time", FILTER_TIME, "time_ns", NULL, NULL, 0, NULL, "when it exited"},
    {"severity", FILTER_TEXT, "severity", NULL, NULL, 0, severities, "how bad it is"},
    IN_LINE("message", TEXT, "the whole in one line"),
    {"node", FILTER_TEXT, "node", NULL, NULL, 0, NULL, "as node.name"},
    {"node.name", FILTER_TEXT, "node", NULL, NULL, 0, NULL, "the node it ran on"},
    {"node.incarnation", FILTER_TEXT, "incarnation", NULL, NULL, 0, NULL,
     "one run of coroner in that node"},
    IN_LINE("node.host", TEXT, "the node's host"),
    IN_LINE("node.os_pid", NUMBER, "the node's process of the operating system"),
    IN_LINE("node.otp", TEXT, "the node's OTP release"),
    {"process.pid", FILTER_TEXT, "pid", NULL, NULL, 3, NULL, "its pid, as its own node shows it"},
    {"process.name", FILTER_TEXT, "name", NULL, NULL, 4, NULL, "its registered name"},
    {"process.initial_call", FILTER_TEXT, "initial_call", NULL, NULL, 0, NULL,
     "the function it was started with"},
    {"process.initial_module", FILTER_TEXT, "initial_module", NULL, NULL, 8, NULL,
     "the module of that"},
    IN_LINE("process.parent", TEXT, "who spawned it"),
    TEXTS("process.ancestors", "what proc_lib notes as its ancestors"),
    IN_LINE("process.trap_exit", TRUTH, "whether it trapped exits"),
    IN_LINE("process.age_us", NUMBER, "how long it lived, in microseconds"),
    {"exit.source", FILTER_TEXT, "source", NULL, NULL, 9, sources, "why it exited"},
    IN_LINE("exit.reason", TEXT, "the exit reason as text"),
    {"exit.reason_class", FILTER_TEXT, "reason_class", NULL, NULL, 0, reason_classes,
     "what the reason looks like"},
    {"exit.confidence", FILTER_TEXT, "confidence", NULL, NULL, 0, confidences,
     "how sure exit.source is"},
    IN_LINE("exit.truncated", TRUTH, "whether some of the record is left out"),
    IN_LINE("exit.evidence_lost", MIXED, "whether evidence may be missing, or how much"),
    IN_LINE("exit.via", TEXT, "the linked process or port it came from"),
    TEXTS("exit.stack", "where it failed, a frame each"),
    PART_OF("exit.candidates", "source", sources, "of several causes that fit: the source"),
    PART_OF("exit.candidates", "via", NULL, "the linked process or port"),
    PART_OF("exit.candidates", "id", NULL, "the record of that exit"),
    PART_OF("exit.candidates", "by", NULL, "who did it"),
    PART_OF("exit.candidates", "by_name", NULL, "the registered name of that"),
    PART_OF("exit.candidates", "by_call", NULL, "from where"),
    {"origin.source", FILTER_TEXT, "origin_source", NULL, NULL, 0, sources, "the first cause"},
    {"origin.pid", FILTER_TEXT, "origin_pid", NULL, NULL, 0, NULL,
     "the process that the chain began with"},
    IN_LINE("origin.name", TEXT, "its registered name"),
    IN_LINE("origin.initial_call", TEXT, "the function it was started with"),
    {"origin.id", FILTER_TEXT, "origin_id", NULL, NULL, 2, NULL,
     "the record of its exit: a cascade has one"},
    {"origin.confidence", FILTER_TEXT, NULL, "origin.confidence", NULL, 0, confidences,
     "how sure origin.source is"},
    {"origin.by", FILTER_TEXT, "origin_by", NULL, NULL, 5, NULL, "the pid of who did it"},
    {"origin.by_name", FILTER_TEXT, "origin_by_name", NULL, NULL, 6, NULL,
     "the registered name of that"},
    IN_LINE("origin.by_initial_call", TEXT, "the function that was started with"),
    IN_LINE("origin.by_node", TEXT, "the node behind it, of an rpc worker or a shell"),
    IN_LINE("origin.by_call", TEXT, "from which function"),
    IN_LINE("origin.by_file", TEXT, "from which file"),
    IN_LINE("origin.by_line", NUMBER, "from which line of it"),
    IN_LINE("origin.by_function", TEXT, "what they called, as code:purge/1"),
    TEXTS("origin.by_stack", "their stack, a frame each"),
    {"origin.module", FILTER_TEXT, "origin_module", NULL, NULL, 7, NULL,
     "the module that was purged"},
    IN_LINE("origin.operation", TEXT, "purge, load or on_load"),
    IN_LINE("origin.limit_words", NUMBER, "max_heap_size, in words"),
    IN_LINE("origin.size_words", NUMBER, "the heap as it was then, in words"),
    IN_LINE("origin.port", TEXT, "the port that closed"),
    IN_LINE("origin.driver", TEXT, "its driver"),
    IN_LINE("origin.command", TEXT, "its command"),
    IN_LINE("origin.target", TEXT, "what it linked to and was not there"),
    IN_LINE("origin.node", TEXT, "the other node"),
    IN_LINE("origin.application", TEXT, "the application that stopped"),
    IN_LINE("origin.supervisor", TEXT, "the supervisor that ended it"),
    IN_LINE("origin.child", TEXT, "its id as a child of that"),
    IN_LINE("origin.timeout_ms", MIXED, "how long the supervisor waited, or infinity"),
    IN_LINE("origin.why", TEXT, "why the supervisor did: terminate_child, sibling, ..."),
    IN_LINE("origin.sibling", TEXT, "the sibling that died before"),
    IN_LINE("origin.sibling_name", TEXT, "the registered name of that"),
    IN_LINE("origin.sibling_id", TEXT, "the record of that exit"),
    IN_LINE("origin.asked_by", TEXT, "who told the supervisor to"),
    IN_LINE("origin.asked_by_name", TEXT, "the registered name of that"),
    PART_OF("chain", "pid", NULL, "of any hop from the origin to here: the pid"),
    PART_OF("chain", "name", NULL, "the registered name"),
    PART_OF("chain", "initial_call", NULL, "the function it was started with"),
    PART_OF("chain", "source", sources, "why it exited"),
    PART_OF("chain", "reason", NULL, "the exit reason"),
    PART_OF("chain", "id", NULL, "the record"),
    IN_LINE("chain_length", NUMBER, "how many hops there are"),
    IN_LINE("lost_before", NUMBER, "how many records right before this one are lost"),
    IN_LINE("gap.from", TIMESTAMP, "of a gap: from when on exits may not have been seen"),
    IN_LINE("gap.to", TIMESTAMP, "until when; null while it goes on"),
    IN_LINE("gap.why", TEXT, "why, in words"),
    IN_LINE("gap.detail", TEXT, "more of it"),
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

const struct filter_field *filter_field(const char *name)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

const struct filter_field *filter_field_at(size_t index)
{
    return index < FIELD_COUNT ? &fields[index] : NULL;
}

bool filter_field_has(const struct filter_field *field, const char *value)
{
    for (size_t i = 0; field->values != NULL; i++) {
        if (field->values[i] == NULL)
            return false;
        if (strcmp(field->values[i], value) == 0)
            return true;
    }
    return true;
}
