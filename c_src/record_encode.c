/* What a record is on the wire: the map of a RECORD frame (common/wire.h). The uplink's thread makes it, and who asks in the node. */
#include <string.h>

#include "flat.h"
#include "names.h"
#include "record.h"
#include "supervision.h"
#include "wire.h"

static const char *const source_names[] = {
#define X(symbol, name) [CORONER_SOURCE_##symbol] = name,
    CORONER_SOURCES(X)
#undef X
};

static const char *const confidence_names[] = {
#define X(symbol, name) [CORONER_CONFIDENCE_##symbol] = name,
    CORONER_CONFIDENCES(X)
#undef X
};

static const char *const severity_names[] = {
#define X(symbol, name) [CORONER_SEVERITY_##symbol] = name,
    CORONER_SEVERITIES(X)
#undef X
};

static const uint8_t key_lengths[] = {
#define X(number, name) [number] = sizeof(#name) - 1,
    WIRE_KEYS(X)
#undef X
};

/* How much of a record is written: the first of these with which it fits is used. */
struct caps {
    size_t name;   /* bytes of one name */
    size_t reason; /* bytes of the reason */
    uint32_t ancestors, hops, frames, candidates;
};

static const struct caps caps_of_level[] = {
    {.name = 255, .reason = 1024, .ancestors = 8, .hops = 16, .frames = 12, .candidates = 8},
    {.name = 120, .reason = 512, .ancestors = 4, .hops = 6, .frames = 6, .candidates = 4},
    {.name = 40, .reason = 160, .ancestors = 1, .hops = 2, .frames = 2, .candidates = 2},
    /* With this any record fits, also one that holds all there can be, made of what JSON escapes. */
    {.name = 16, .reason = 80, .ancestors = 1, .hops = 2, .frames = 1, .candidates = 1},
};

#define LEVELS (sizeof(caps_of_level) / sizeof(caps_of_level[0]))
#define NAME_ROOM 600 /* bytes of a function with two names of the longest cap and its quotes */

struct encoder {
    struct cbor_writer *cbor;
    const struct intern *intern;
    const char *incarnation;
    const struct caps *caps;
    const char *reason; /* as text, whole characters */
    size_t reason_length;
    bool reason_truncated;
    const char *stack; /* lines; empty when there is none */
    size_t json; /* bytes that what was written takes as JSON */
};

struct map {
    size_t opened;
    unsigned pairs;
};

static struct map open_map(struct encoder *to)
{
    to->json += 3; /* braces, and a comma behind it */
    return (struct map){.opened = cbor_open_map(to->cbor), .pairs = 0};
}

static void close_map(struct encoder *to, struct map map)
{
    cbor_close_map(to->cbor, map.opened, map.pairs);
}

static void put_key(struct encoder *to, struct map *map, enum wire_key key)
{
    map->pairs++;
    to->json += key_lengths[key] + 3U; /* quotes, colon */
    cbor_put_uint(to->cbor, key);
}

static void put_text_value(struct encoder *to, const char *bytes, size_t length)
{
    to->json += text_json_cost(bytes, length) + 3; /* quotes, comma */
    cbor_put_text(to->cbor, bytes, length);
}

static void put_string(struct encoder *to, struct map *map, enum wire_key key, const char *string)
{
    put_key(to, map, key);
    put_text_value(to, string, strlen(string));
}

static void put_uint(struct encoder *to, struct map *map, enum wire_key key, uint64_t value)
{
    put_key(to, map, key);
    to->json += 23; /* 20 digits, in quotes when above 2^53, comma */
    /* wire.h has no larger ones, and the daemon refuses the frame; a child's time limit is any integer. */
    cbor_put_uint(to->cbor, value <= INT64_MAX ? value : INT64_MAX);
}

static void put_bool(struct encoder *to, struct map *map, enum wire_key key, bool value)
{
    put_key(to, map, key);
    to->json += 6;
    cbor_put_bool(to->cbor, value);
}

/* The longest beginning of `bytes` of at most `most` bytes that ends between two characters. */
static size_t utf8_cut(const char *bytes, size_t length, size_t most)
{
    if (length <= most)
        return length;
    while (most > 0 && ((unsigned char)bytes[most] & 0xc0) == 0x80)
        most--;
    return most;
}

/* Appends a name, cut to what the caps allow. */
static void name_capped(const struct encoder *to, term_word atom, bool quoted,
                        struct text_writer *into)
{
    char buffer[NAME_ROOM];
    size_t room = to->caps->name < sizeof(buffer) - 4 ? to->caps->name : sizeof(buffer) - 4;
    struct text_writer name = text_writer_on(buffer, room);

    name_atom(atom, quoted, &name);
    text_put(into, buffer, name.used);
    if (name.cut)
        text_puts(into, "...");
}

static void function_text(const struct encoder *to, uint32_t number, struct text_writer *into)
{
    const struct function *function = intern_function_of(to->intern, number);

    if (function == NULL)
        return;
    name_capped(to, function->module, true, into);
    text_put_char(into, ':');
    name_capped(to, function->name, true, into);
    text_put_char(into, '/');
    text_put_uint(into, function->arity);
}

static void put_function(struct encoder *to, struct map *map, enum wire_key key, uint32_t number)
{
    char buffer[2 * NAME_ROOM];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (intern_function_of(to->intern, number) == NULL)
        return;
    function_text(to, number, &text);
    put_string(to, map, key, buffer);
}

static void put_name(struct encoder *to, struct map *map, enum wire_key key, term_word name)
{
    char buffer[NAME_ROOM];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (name == NO_WORD)
        return;
    name_capped(to, name, false, &text);
    put_string(to, map, key, buffer);
}

static void put_pid(struct encoder *to, struct map *map, enum wire_key key, term_word pid)
{
    char buffer[64];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (pid == NO_WORD)
        return;
    name_pid_or_port(pid, &text);
    put_string(to, map, key, buffer);
}

static void put_id(struct encoder *to, struct map *map, enum wire_key key, uint64_t seq)
{
    char buffer[64];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (seq == 0)
        return;
    text_puts(&text, to->incarnation);
    text_put_char(&text, '-');
    text_put_uint(&text, seq);
    put_string(to, map, key, buffer);
}

/* A process as a reader knows it: by its name, else by the module (or function) it was started with, and its pid. */
static void who_text(const struct encoder *to, const struct who *who, struct text_writer *into)
{
    const struct function *call = intern_function_of(to->intern, who->initial_call);

    /* As the sibling that a supervisor could not start again: it has no pid. */
    if (who->pid == NO_WORD) {
        text_puts(into, "a process that was not seen");
        return;
    }
    if (who->name != NO_WORD) {
        name_capped(to, who->name, true, into);
        text_put_char(into, ' ');
    } else if (call != NULL) {
        char buffer[16];
        struct text_writer name = text_writer_on(buffer, sizeof(buffer));

        /* gen_server and its like start as Module:init/1: there the module says it all. */
        name_atom(call->name, false, &name);
        if (call->arity == 1 && !name.cut && strcmp(buffer, "init") == 0)
            name_capped(to, call->module, true, into);
        else
            function_text(to, who->initial_call, into);
        text_put_char(into, ' ');
    }
    name_pid_or_port(who->pid, into);
}

static void site_text(const struct encoder *to, const struct act *act, struct text_writer *into)
{
    const struct text *file = intern_file_of(to->intern, act->site.file);

    if (act->site.function == INTERN_NONE)
        return;
    text_puts(into, " at ");
    function_text(to, act->site.function, into);
    if (file != NULL && act->site.line > 0) {
        text_puts(into, " (");
        text_put(into, file->bytes, utf8_cut(file->bytes, file->length, to->caps->name));
        text_put_char(into, ':');
        text_put_uint(into, act->site.line);
        text_put_char(into, ')');
    }
}

/* Another node's process, or a dead one of this, as a record shows it. */
static void target_text(const struct encoder *to, const struct detail *detail, const char *before,
                        struct text_writer *into)
{
    if (detail == NULL || (detail->target == NO_WORD && !detail->has_remote_target))
        return;
    text_puts(into, before);
    if (detail->target != NO_WORD) {
        name_pid_or_port(detail->target, into);
        return;
    }
    /* The node's number in <1234.5.6> is known to this VM alone, and only for a while. */
    text_put_char(into, '<');
    if (detail->node != NO_WORD)
        name_capped(to, detail->node, false, into);
    text_put_char(into, '.');
    text_put_uint(into, detail->target_number);
    text_put_char(into, '.');
    text_put_uint(into, detail->target_serial);
    text_put_char(into, '>');
}

/* Why a supervisor did what it did: a clause that follows. */
static void supervision_text(const struct encoder *to, const struct supervision *supervision,
                             struct text_writer *into)
{
    if (supervision == NULL)
        return;
    switch ((enum why)supervision->why) {
    case WHY_TERMINATE_CHILD:
        text_puts(into, ", as asked");
        if (supervision->asked_by.pid != NO_WORD) {
            text_puts(into, " by ");
            who_text(to, &supervision->asked_by, into);
        }
        return;
    case WHY_SIBLING:
        text_puts(into, ", because of the end of ");
        who_text(to, &supervision->sibling, into);
        return;
    case WHY_INTENSITY:
        text_puts(into, ", having restarted too often; the last to end was ");
        who_text(to, &supervision->sibling, into);
        return;
    case WHY_PARENT:
        text_puts(into, ", which its own parent ends");
        return;
    case WHY_APPLICATION_STOP:
        text_puts(into, ", as its application stops");
        return;
    case WHY_UNKNOWN:
        return;
    }
}

/* The node behind who did it, where that is another one. */
static void node_behind_text(const struct encoder *to, const struct act *act, struct text_writer *into)
{
    if (act->by_node == NO_WORD)
        return;
    text_puts(into, " of ");
    name_capped(to, act->by_node, false, into);
}

/* Why a record's process exited, for the origin of a chain: a clause that follows a colon or a comma. */
static void cause_text(const struct encoder *to, const struct record *record,
                       struct text_writer *into)
{
    const struct act *act = record->act;

    switch (record->source) {
    case CORONER_SOURCE_PURGE:
        if (act == NULL)
            break;
        text_puts(into, "killed by ");
        text_puts(into, act->operation == OPERATION_ON_LOAD ? "the purge after the failed on_load of "
                        : act->operation == OPERATION_LOAD  ? "the purge that came with loading "
                                                            : "purge of ");
        name_capped(to, act->module, true, into);
        if (act->by.pid != NO_WORD) {
            text_puts(into, " requested by ");
            who_text(to, &act->by, into);
            node_behind_text(to, act, into);
        }
        return;
    case CORONER_SOURCE_KILL:
    case CORONER_SOURCE_EXIT_SIGNAL:
    case CORONER_SOURCE_STOP_REQUEST:
        if (act == NULL)
            break;
        text_puts(into, record->source == CORONER_SOURCE_KILL           ? "killed by "
                        : record->source == CORONER_SOURCE_STOP_REQUEST ? "stopped by "
                                                                        : "exit signal from ");
        who_text(to, &act->by, into);
        node_behind_text(to, act, into);
        site_text(to, act, into);
        return;
    case CORONER_SOURCE_SUPERVISOR_SHUTDOWN:
    case CORONER_SOURCE_SUPERVISOR_BRUTAL_KILL:
    case CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL:
        if (act == NULL)
            break;
        text_puts(into, record->source == CORONER_SOURCE_SUPERVISOR_SHUTDOWN      ? "shut down by "
                        : record->source == CORONER_SOURCE_SUPERVISOR_BRUTAL_KILL ? "killed by "
                                                                                  : "killed, as it did not "
                                                                                    "end in time, by ");
        text_puts(into, "its supervisor ");
        who_text(to, &act->by, into);
        supervision_text(to, act->supervision, into);
        return;
    case CORONER_SOURCE_APPLICATION_STOP:
    case CORONER_SOURCE_NODE_STOP:
        if (act == NULL)
            break;
        text_puts(into, record->source == CORONER_SOURCE_NODE_STOP ? "the node stops" : "its application stops");
        if (act->application != NO_WORD) {
            text_puts(into, " (");
            name_capped(to, act->application, true, into);
            text_put_char(into, ')');
        }
        text_puts(into, ", ");
        if (act->by_sigterm) {
            text_puts(into, "by SIGTERM");
        } else {
            text_puts(into, "asked by ");
            who_text(to, &act->by, into);
            site_text(to, act, into);
        }
        return;
    case CORONER_SOURCE_PORT:
        if (record->detail == NULL)
            break;
        text_puts(into, "linked port ");
        name_pid_or_port(record->detail->port, into);
        if (record->detail->title != NO_WORD) {
            text_puts(into, " (");
            name_capped(to, record->detail->title, false, into);
            text_put_char(into, ')');
        }
        text_puts(into, " closed");
        return;
    case CORONER_SOURCE_MAX_HEAP_SIZE:
        if (record->detail == NULL)
            break;
        text_puts(into, "its heap of ");
        text_put_uint(into, record->detail->size_words);
        text_puts(into, " words was over the limit");
        if (record->detail->has_limit) {
            text_puts(into, " of ");
            text_put_uint(into, record->detail->limit_words);
        }
        return;
    case CORONER_SOURCE_NOPROC:
        text_puts(into, "it linked to a process that was dead");
        target_text(to, record->detail, " ", into);
        return;
    case CORONER_SOURCE_NOCONNECTION:
    case CORONER_SOURCE_REMOTE_LINK:
    case CORONER_SOURCE_REMOTE_SIGNAL:
        text_puts(into, record->source == CORONER_SOURCE_NOCONNECTION ? "the connection to a node was lost"
                        : record->source == CORONER_SOURCE_REMOTE_LINK
                            ? "a linked process of another node ended"
                            : "a process of another node sent it an exit signal");
        if (record->detail != NULL && record->detail->node != NO_WORD) {
            text_puts(into, ": ");
            name_capped(to, record->detail->node, false, into);
        }
        target_text(to, record->detail, ", ", into);
        return;
    case CORONER_SOURCE_SELF_EXIT:
        text_puts(into, "by itself");
        if (act != NULL)
            site_text(to, act, into);
        supervision_text(to, record->supervision, into);
        return;
    case CORONER_SOURCE_SELF_ERROR:
        text_puts(into, "its own error");
        return;
    case CORONER_SOURCE_SELF_THROW:
        text_puts(into, "its own uncaught throw");
        return;
    case CORONER_SOURCE_NORMAL:
        text_puts(into, "it was done");
        return;
    default:
        break;
    }
    text_puts(into, record->source == CORONER_SOURCE_UNKNOWN ? "the cause was not seen"
                                                             : source_names[record->source]);
}

/* The reason for people, up to `most` bytes of it. */
static void reason_text(const struct encoder *to, size_t most, struct text_writer *into)
{
    if (to->reason_length <= most) {
        text_put(into, to->reason, to->reason_length);
    } else {
        text_put(into, to->reason, utf8_cut(to->reason, to->reason_length, most));
        text_puts(into, "...");
    }
}

#define REASON_ROOM 1024 /* bytes of a reason as text, NUL included; cut, it ends in "..." */
#define STACK_ROOM 2048

/* The reason as text, once for all places that show it: its class where only that may leave the node. */
static void begin_reason(struct encoder *to, const struct record *record, char buffer[REASON_ROOM])
{
    struct text_writer text = text_writer_on(buffer, REASON_ROOM - 3);
    const struct text *reason = record->reason;

    to->reason = buffer;
    to->reason_truncated = record->only_class;
    if (record->only_class || (reason == NULL && record->reason_atom == NO_WORD)) {
        to->reason_truncated = true;
        text_puts(&text, reason_shape_name((enum reason_shape)record->shape));
    } else if (reason == NULL) {
        name_atom(record->reason_atom, true, &text);
    } else if (reason->is_flat) {
        flat_format((const uint8_t *)reason->bytes, reason->length, &text);
        if (text.cut) {
            to->reason_truncated = true;
            memcpy(buffer + text.used, "...", 4);
            text.used += 3;
        }
    } else {
        to->reason = reason->bytes;
        text.used = reason->length;
        to->reason_truncated = reason->truncated;
    }
    to->reason_length = text.used;
}

static void begin_stack(struct encoder *to, const struct record *record, char buffer[STACK_ROOM])
{
    const struct text *stack = record->stack_in_reason ? record->reason : record->stack;
    struct text_writer text = text_writer_on(buffer, STACK_ROOM);

    to->stack = buffer;
    if (stack == NULL || record->only_class)
        return;
    if (stack->is_flat)
        flat_format_stack((const uint8_t *)stack->bytes, stack->length, record->stack_in_reason, &text);
    else
        to->stack = stack->bytes;
}

static void put_message(struct encoder *to, struct map *map, const struct record *record)
{
    char buffer[3000];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    who_text(to, &record->who, &text);
    text_puts(&text, " exited ");
    reason_text(to, 120, &text);
    text_puts(&text, ": ");
    if (record->root != NULL) {
        text_puts(&text, record->source == CORONER_SOURCE_LINK_TRAPPED ? "trapped exit of "
                                                                       : "linked to ");
        who_text(to, &record->via, &text);
        if (record->depth > 1) {
            text_puts(&text, ", in a cascade that began with ");
            who_text(to, &record->root->who, &text);
        }
        text_puts(&text, ", ");
        cause_text(to, record->root, &text);
    } else {
        cause_text(to, record, &text);
    }
    if (record->confidence == CORONER_CONFIDENCE_AMBIGUOUS)
        text_puts(&text, " (not the only possible cause)");
    put_string(to, map, WIRE_KEY_message, buffer);
}

static void put_process(struct encoder *to, struct map *top, const struct record *record)
{
    struct map map;

    put_key(to, top, WIRE_KEY_process);
    map = open_map(to);
    put_pid(to, &map, WIRE_KEY_pid, record->who.pid);
    if (record->who.name != NO_WORD) {
        put_name(to, &map, WIRE_KEY_name, record->who.name);
    } else {
        put_key(to, &map, WIRE_KEY_name);
        to->json += 5;
        cbor_put_null(to->cbor);
    }
    put_function(to, &map, WIRE_KEY_initial_call, record->who.initial_call);
    put_pid(to, &map, WIRE_KEY_parent, record->parent);
    if (record->ancestors != NULL && record->ancestors->count > 0) {
        uint32_t count = record->ancestors->count;

        if (count > to->caps->ancestors)
            count = to->caps->ancestors;
        put_key(to, &map, WIRE_KEY_ancestors);
        cbor_put_array(to->cbor, count);
        to->json += 3;
        for (uint32_t i = 0; i < count; i++) {
            char buffer[NAME_ROOM];
            struct text_writer text = text_writer_on(buffer, sizeof(buffer));

            /* A pid, or the name it was registered under. */
            name_pid_or_port(record->ancestors->words[i], &text);
            if (buffer[0] != '<') {
                text = text_writer_on(buffer, sizeof(buffer));
                name_capped(to, record->ancestors->words[i], false, &text);
            }
            put_text_value(to, buffer, text.used);
        }
    }
    put_bool(to, &map, WIRE_KEY_trap_exit, record->trapping);
    if (record->age_known)
        put_uint(to, &map, WIRE_KEY_age_us, record->age_us);
    close_map(to, map);
}

/* The fields of who did it, and from where. */
static void put_act(struct encoder *to, struct map *map, const struct act *act, bool by)
{
    const struct text *file;

    if (act == NULL)
        return;
    if (by) {
        put_pid(to, map, WIRE_KEY_by, act->by.pid);
        if (act->by_sigterm)
            put_string(to, map, WIRE_KEY_by_name, "SIGTERM");
        else
            put_name(to, map, WIRE_KEY_by_name, act->by.name);
        put_function(to, map, WIRE_KEY_by_initial_call, act->by.initial_call);
        put_name(to, map, WIRE_KEY_by_node, act->by_node);
    }
    put_function(to, map, WIRE_KEY_by_call, act->site.function);
    file = intern_file_of(to->intern, act->site.file);
    if (file != NULL && act->site.line > 0) {
        put_key(to, map, WIRE_KEY_by_file);
        put_text_value(to, file->bytes, utf8_cut(file->bytes, file->length, to->caps->name));
        put_uint(to, map, WIRE_KEY_by_line, act->site.line);
    }
    put_function(to, map, WIRE_KEY_by_function, act->function);
}

/* A driver's name, or else the command that was started: the VM gives either as the port's name. */
static enum wire_key title_key(term_word title)
{
    static const char *const endings[] = {"_inet", "_drv", "_driver", "_sl", "efile"};
    char name[64];
    struct text_writer text = text_writer_on(name, sizeof(name));

    name_atom(title, false, &text);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t length = strlen(endings[i]);

        if (!text.cut && text.used >= length &&
            strcmp(name + text.used - length, endings[i]) == 0 && strpbrk(name, " /") == NULL)
            return WIRE_KEY_driver;
    }
    return WIRE_KEY_command;
}

static void put_detail(struct encoder *to, struct map *map, const struct detail *detail, uint8_t source)
{
    char buffer[NAME_ROOM];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (detail == NULL)
        return;
    put_pid(to, map, WIRE_KEY_port, detail->port);
    if (detail->title != NO_WORD)
        put_name(to, map, title_key(detail->title), detail->title);
    target_text(to, detail, "", &text);
    if (text.used > 0)
        put_string(to, map, WIRE_KEY_target, buffer);
    put_name(to, map, WIRE_KEY_node, detail->node);
    if (detail->has_size)
        put_uint(to, map, WIRE_KEY_size_words, detail->size_words);
    if (detail->has_limit) {
        put_uint(to, map, WIRE_KEY_limit_words, detail->limit_words);
    } else if (source == CORONER_SOURCE_MAX_HEAP_SIZE) {
        /* That it is not known is news: it was given when the process was spawned. */
        put_key(to, map, WIRE_KEY_limit_words);
        to->json += 5;
        cbor_put_null(to->cbor);
    }
}

static void put_supervision(struct encoder *to, struct map *map,
                            const struct supervision *supervision, uint8_t source)
{
    if (supervision == NULL)
        return;
    if (supervision->child != NULL) {
        put_key(to, map, WIRE_KEY_child);
        put_text_value(to, supervision->child->bytes,
                       utf8_cut(supervision->child->bytes, supervision->child->length, to->caps->name));
    }
    if (supervision->timeout_ms != TIMEOUT_NONE &&
        source != CORONER_SOURCE_SUPERVISOR_BRUTAL_KILL)
        put_uint(to, map, WIRE_KEY_timeout_ms, supervision->timeout_ms);
    put_string(to, map, WIRE_KEY_why, why_name((enum why)supervision->why));
    if (supervision->sibling.pid != NO_WORD) {
        put_pid(to, map, WIRE_KEY_sibling, supervision->sibling.pid);
        put_name(to, map, WIRE_KEY_sibling_name, supervision->sibling.name);
        put_id(to, map, WIRE_KEY_sibling_id, supervision->sibling_seq);
    }
    if (supervision->asked_by.pid != NO_WORD) {
        put_pid(to, map, WIRE_KEY_asked_by, supervision->asked_by.pid);
        put_name(to, map, WIRE_KEY_asked_by_name, supervision->asked_by.name);
    }
    put_name(to, map, WIRE_KEY_application, supervision->application);
}

static bool is_own_doing(uint8_t source)
{
    return source == CORONER_SOURCE_SELF_EXIT || source == CORONER_SOURCE_SELF_ERROR ||
           source == CORONER_SOURCE_SELF_THROW;
}

static void put_candidates(struct encoder *to, struct map *exit, const struct record *record)
{
    uint32_t count = record->candidate_count;

    if (count == 0)
        return;
    if (count > to->caps->candidates)
        count = to->caps->candidates;
    put_key(to, exit, WIRE_KEY_candidates);
    cbor_put_array(to->cbor, count);
    to->json += 3;
    for (uint32_t i = 0; i < count; i++) {
        const struct record_candidate *candidate = &record->candidates[i];
        struct map map = open_map(to);

        put_string(to, &map, WIRE_KEY_source, source_names[candidate->source]);
        if (candidate->via.pid != NO_WORD) {
            put_pid(to, &map, WIRE_KEY_via, candidate->via.pid);
            put_name(to, &map, WIRE_KEY_name, candidate->via.name);
            put_function(to, &map, WIRE_KEY_initial_call, candidate->via.initial_call);
            put_id(to, &map, WIRE_KEY_id, candidate->seq);
        }
        put_act(to, &map, candidate->act, !is_own_doing(candidate->source));
        put_detail(to, &map, candidate->detail, candidate->source);
        close_map(to, map);
    }
}

static void put_exit(struct encoder *to, struct map *top, const struct record *record)
{
    char buffer[1200];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));
    struct map map;

    put_key(to, top, WIRE_KEY_exit);
    map = open_map(to);
    put_string(to, &map, WIRE_KEY_source, source_names[record->source]);
    reason_text(to, to->caps->reason, &text);
    put_string(to, &map, WIRE_KEY_reason, buffer);
    put_string(to, &map, WIRE_KEY_reason_class, reason_shape_name((enum reason_shape)record->shape));
    put_bool(to, &map, WIRE_KEY_truncated,
             to->reason_truncated || to->reason_length > to->caps->reason);
    put_string(to, &map, WIRE_KEY_confidence, confidence_names[record->confidence]);
    put_pid(to, &map, WIRE_KEY_via, record->via.pid);
    if (record->evidence_lost)
        put_bool(to, &map, WIRE_KEY_evidence_lost, true);
    if (to->stack[0] != '\0') {
        const char *line = to->stack;
        uint32_t lines = 1;

        for (const char *at = line; (at = strchr(at, '\n')) != NULL; at++)
            lines++;
        if (lines > to->caps->frames)
            lines = to->caps->frames;
        put_key(to, &map, WIRE_KEY_stack);
        cbor_put_array(to->cbor, lines);
        to->json += 3;
        for (uint32_t i = 0; i < lines; i++) {
            size_t length = strcspn(line, "\n");

            put_text_value(to, line, utf8_cut(line, length, 2 * to->caps->name));
            line += length + 1;
        }
    }
    put_candidates(to, &map, record);
    close_map(to, map);
}

static bool is_supervisors(uint8_t source)
{
    return source == CORONER_SOURCE_SUPERVISOR_SHUTDOWN ||
           source == CORONER_SOURCE_SUPERVISOR_BRUTAL_KILL ||
           source == CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL;
}

/* The supervisor by its name, or else by its pid. */
static void put_supervisor(struct encoder *to, struct map *map, const struct act *act)
{
    if (act == NULL)
        return;
    if (act->by.name != NO_WORD)
        put_name(to, map, WIRE_KEY_supervisor, act->by.name);
    else
        put_pid(to, map, WIRE_KEY_supervisor, act->by.pid);
}

static void put_origin(struct encoder *to, struct map *top, const struct record *record)
{
    const struct record *root = record_root(record);
    const struct act *act = root->act;
    static const char *const operations[] = {[OPERATION_NONE] = "",
                                             [OPERATION_PURGE] = "purge",
                                             [OPERATION_LOAD] = "load",
                                             [OPERATION_ON_LOAD] = "on_load"};
    struct map map;

    put_key(to, top, WIRE_KEY_origin);
    map = open_map(to);
    put_string(to, &map, WIRE_KEY_source, source_names[root->source]);
    put_pid(to, &map, WIRE_KEY_pid, root->who.pid);
    put_name(to, &map, WIRE_KEY_name, root->who.name);
    put_function(to, &map, WIRE_KEY_initial_call, root->who.initial_call);
    if (root->source == CORONER_SOURCE_PURGE && act != NULL) {
        put_name(to, &map, WIRE_KEY_module, act->module);
        put_string(to, &map, WIRE_KEY_operation, operations[act->operation]);
    }
    put_act(to, &map, act, !is_own_doing(root->source));
    put_detail(to, &map, root->detail, root->source);
    if (is_supervisors(root->source)) {
        put_supervisor(to, &map, act);
        put_supervision(to, &map, act == NULL ? NULL : act->supervision, root->source);
    } else if (act != NULL && act->application != NO_WORD) {
        put_name(to, &map, WIRE_KEY_application, act->application);
    } else {
        put_supervision(to, &map, root->supervision, root->source);
    }
    put_string(to, &map, WIRE_KEY_confidence, confidence_names[root->confidence]);
    put_id(to, &map, WIRE_KEY_id, root->seq);
    close_map(to, map);
}

static void put_hop(struct encoder *to, const struct who *who, uint8_t source, uint64_t seq)
{
    char buffer[128];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));
    struct map map = open_map(to);

    put_pid(to, &map, WIRE_KEY_pid, who->pid);
    put_name(to, &map, WIRE_KEY_name, who->name);
    put_function(to, &map, WIRE_KEY_initial_call, who->initial_call);
    put_string(to, &map, WIRE_KEY_source, source_names[source]);
    /* A link carries the reason on unchanged, and a trapped exit is taken for the cause when it is the same. */
    reason_text(to, 60, &text);
    put_string(to, &map, WIRE_KEY_reason, buffer);
    put_id(to, &map, WIRE_KEY_id, seq);
    close_map(to, map);
}

static void put_chain(struct encoder *to, struct map *top, const struct record *record)
{
    uint32_t head = record->hop_count, tail = 0;
    uint32_t between = to->caps->hops - 2;

    put_key(to, top, WIRE_KEY_chain);
    to->json += 3;
    if (record->root == NULL) {
        cbor_put_array(to->cbor, 1);
        put_hop(to, &record->who, record->source, record->seq);
        return;
    }
    if (head > between) {
        head = between - between / 2;
        tail = between / 2;
    }
    cbor_put_array(to->cbor, 2 + head + tail);
    put_hop(to, &record->root->who, record->root->source, record->root->seq);
    for (uint32_t i = 0; i < head; i++)
        put_hop(to, &record->hops[i].who, record->hops[i].source, record->hops[i].seq);
    for (uint32_t i = record->hop_count - tail; i < record->hop_count; i++)
        put_hop(to, &record->hops[i].who, record->hops[i].source, record->hops[i].seq);
    put_hop(to, &record->who, record->source, record->seq);
}

void record_encode(const struct record *record, const struct intern *intern,
                   const char *incarnation, struct cbor_writer *cbor)
{
    char reason[REASON_ROOM], stack[STACK_ROOM];
    size_t begin = cbor->used;
    struct encoder to = {.cbor = cbor, .intern = intern, .incarnation = incarnation};

    if (record->gap != NULL) {
        gap_encode(record->gap, cbor);
        return;
    }
    begin_reason(&to, record, reason);
    begin_stack(&to, record, stack);
    for (size_t level = 0; level < LEVELS; level++) {
        struct map top;

        to.caps = &caps_of_level[level];
        to.json = 0;
        cbor->used = begin;
        cbor->full = false;
        top = open_map(&to);
        put_string(&to, &top, WIRE_KEY_severity, severity_names[record->severity]);
        put_message(&to, &top, record);
        put_process(&to, &top, record);
        put_exit(&to, &top, record);
        put_origin(&to, &top, record);
        put_chain(&to, &top, record);
        put_uint(&to, &top, WIRE_KEY_chain_length, (uint64_t)record->depth + 1);
        close_map(&to, top);
        if (to.json <= RECORD_JSON_MAX && !cbor->full)
            return;
    }
}
