#include "ctl_story.h"

#include <string.h>

#include "ctl_cause.h"
#include "ctl_json.h"
#include "ctl_record.h"
#include "ctl_tree.h"

#define HOPS_NEAR 12  /* hops that are drawn next to the exit */
#define HOPS_FAR 8    /* and next to the origin; what lies between is counted */
#define FRAMES_MAX 12 /* lines of a stack */
#define EVIDENCE_MAX 8
#define CANDIDATES_MAX 16
#define OTHERS_MAX 10
#define REASON_LIMIT 300   /* characters of the reason in the tree */
#define MESSAGE_LIMIT 1000 /* characters of the message in a line */

/* The way from this exit to its origin, as it is drawn. */
struct way {
    const json_t *record;
    const json_t *exit;
    const json_t *origin;
    const char *pid; /* whose exit the record tells, or NULL */
    size_t count;
    const json_t *hops[HOPS_NEAR + HOPS_FAR + 1]; /* this exit first */
    size_t gap_after; /* hidden hops lie between this one and the next; count if there are none */
    json_int_t hidden;
    bool origin_is_last; /* the last hop is the one that `origin` tells of */
    bool has_foot;
};

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Take the chain of ${way}'s record, cut to what is drawn. */
static void take_chain(struct way *way)
{
    const json_t *chain = json_object_get(way->record, "chain");
    const json_t *length = json_object_get(way->record, "chain_length");
    size_t size = json_array_size(chain);
    size_t near = size;
    size_t far = 0;
    bool origin_apart = false; /* the origin is not in the chain, but in `origin` */
    json_int_t whole = 0;

    if (size == 0) {
        way->hops[way->count++] = way->exit;
    } else if (size > HOPS_NEAR + HOPS_FAR || json_integer_value(length) > (json_int_t)size) {
        /* Who cut the chain kept both of its ends, and of the origin's end no less. */
        near = size / 2 > HOPS_NEAR ? HOPS_NEAR : size / 2;
        far = size - size / 2 > HOPS_FAR ? HOPS_FAR : size - size / 2;
    }
    if (size < 2) {
        near = size;
        far = 0;
        origin_apart =
            json_is_object(way->origin) && !same(ctl_json_text(way->origin, "pid"), way->pid);
    }
    for (size_t i = 0; i < near; i++)
        way->hops[way->count++] = json_array_get(chain, size - 1 - i);
    way->gap_after = way->count;
    for (size_t i = 0; i < far; i++)
        way->hops[way->count++] = json_array_get(chain, far - 1 - i);
    if (origin_apart)
        way->hops[way->count++] = way->origin;
    whole = json_integer_value(length) > (json_int_t)size ? json_integer_value(length)
                                                          : (json_int_t)size;
    if (whole > (json_int_t)way->count)
        way->hidden = whole - (json_int_t)way->count;
    else
        way->gap_after = way->count;
    way->origin_is_last = json_is_object(way->origin);
}

/* What is known of the cause of hop ${i}. */
static struct ctl_cause cause_of(const struct way *way, size_t i)
{
    struct ctl_cause cause = {.record = way->record};
    size_t details = 0;
    bool gap = way->hidden > 0 && i + 1 == way->gap_after;

    cause.source = ctl_json_text(i == 0 ? way->exit : way->hops[i], "source");
    if (cause.source == NULL)
        cause.source = ctl_json_text(way->hops[i], "source");
    cause.detail[details++] = way->hops[i];
    if (i == 0 && way->hops[0] != way->exit)
        cause.detail[details++] = way->exit;
    if (i + 1 == way->count && way->origin_is_last && way->hops[i] != way->origin) {
        cause.detail[details++] = way->origin;
        if (cause.source == NULL)
            cause.source = ctl_json_text(way->origin, "source");
    }
    if (cause.source == NULL)
        cause.source = "unknown";

    for (size_t j = 0; j < details && cause.peer == NULL; j++)
        cause.peer = ctl_json_text(cause.detail[j], "via");
    if (cause.peer == NULL && i + 1 < way->count && !gap)
        cause.peer = ctl_json_text(way->hops[i + 1], "pid");
    return cause;
}

static void add_reason(struct ctl_text *text, const char *reason, bool truncated)
{
    size_t length = strlen(reason);

    ctl_text_foreign(text, reason, length, REASON_LIMIT);
    if (truncated && length <= REASON_LIMIT &&
        (length < 3 || strcmp(reason + length - 3, "...") != 0))
        ctl_text_symbol(text, "…", "...");
}

/* Whether ${shown}, maybe cut and ended with dots, is the reason ${whole}. */
static bool same_reason(const char *shown, const char *whole)
{
    size_t length = strlen(shown);

    if (length > 3 && strcmp(shown + length - 3, "...") == 0)
        length -= 3;
    else if (length != strlen(whole))
        return false;
    return strncmp(shown, whole, length) == 0;
}

static void add_stack(struct ctl_tree *tree, int depth, const json_t *stack)
{
    const json_t *frame;
    size_t i;

    json_array_foreach(stack, i, frame)
    {
        struct ctl_text *text = ctl_tree_note(tree, depth);
        if (i == FRAMES_MAX) {
            ctl_text_style(text, CTL_DIM);
            ctl_text_symbol(text, "  … ", "  ... ");
            ctl_text_add_number(text, (long long)(json_array_size(stack) - i));
            ctl_text_add(text, " more");
            ctl_text_style(text, CTL_PLAIN);
            return;
        }
        ctl_text_style(text, CTL_DIM);
        ctl_text_add(text, "  at ");
        ctl_record_add_value(text, frame);
        ctl_text_style(text, CTL_PLAIN);
    }
}

/* What else is known of the cause of hop ${i}, below its line of ${depth}. */
static void add_facts(struct ctl_tree *tree, const struct way *way, size_t i, int depth,
                      const struct ctl_cause *cause)
{
    const json_t *evidence = json_object_get(way->exit, "evidence");
    const json_t *piece;
    size_t number;
    struct ctl_text fact;

    if (i == 0)
        add_stack(tree, depth, json_object_get(way->exit, "stack"));
    if (i + 1 == way->count && way->origin_is_last &&
        (i > 0 || json_object_get(way->exit, "stack") == NULL))
        add_stack(tree, depth, json_object_get(way->origin, "stack"));

    for (size_t j = 0; j < 3; j++) {
        const json_t *stack = json_object_get(cause->detail[j], "by_stack");
        if (json_array_size(stack) > 0) {
            add_stack(tree, depth, stack);
            break;
        }
    }

    ctl_text_init(&fact, (struct ctl_look){0});
    for (int j = 0; ctl_cause_because(&fact, cause, j); j++) {
        ctl_text_cut(&fact, 0);
        ctl_cause_because(ctl_tree_line(tree, depth + 1), cause, j);
    }
    ctl_text_free(&fact);
    if (i > 0)
        return;
    json_array_foreach(evidence, number, piece)
    {
        if (number == EVIDENCE_MAX)
            break;
        struct ctl_text *text = ctl_tree_line(tree, depth + 1);
        ctl_text_add(text, "seen before: ");
        if (!ctl_record_add_value(text, piece))
            ctl_text_add(text, "?");
    }
}

/* Whether the candidate is the cause that the record gives already. */
static bool is_chosen(const json_t *candidate, const struct ctl_cause *cause)
{
    static const char *const keys[] = {"by", "by_call", "by_function", "port", "target", "node"};
    const char *via = ctl_json_text(candidate, "via");

    if (!same(ctl_json_text(candidate, "source"), cause->source))
        return false;
    if (via != NULL && (cause->peer == NULL || strcmp(via, cause->peer) != 0))
        return false;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *own = json_object_get(candidate, keys[i]);
        const json_t *chosen = NULL;
        for (size_t j = 0; j < 3 && chosen == NULL; j++)
            chosen = json_object_get(cause->detail[j], keys[i]);
        if (own != NULL && !json_equal(own, chosen))
            return false;
    }
    return true;
}

/* The other causes that fit this exit, as branches beside the chosen one. */
static void add_candidates(struct ctl_tree *tree, const struct way *way)
{
    const json_t *candidates = json_object_get(way->exit, "candidates");
    struct ctl_cause chosen = cause_of(way, 0);
    bool seen = false;
    const json_t *candidate;
    size_t i;

    json_array_foreach(candidates, i, candidate)
    {
        struct ctl_cause cause = {
            .record = way->record,
            .source = ctl_json_text(candidate, "source"),
            .detail = {candidate},
            .peer = ctl_json_text(candidate, "via"),
            .peer_named = candidate,
        };
        if (i == CANDIDATES_MAX)
            break;
        if (!seen && is_chosen(candidate, &chosen)) {
            seen = true;
            continue;
        }
        struct ctl_text *text = ctl_tree_line(tree, 1);
        ctl_text_style(text, CTL_YELLOW);
        ctl_text_add(text, "or: ");
        ctl_text_style(text, CTL_PLAIN);
        if (cause.source != NULL)
            ctl_cause_happened(text, &cause);
        else if (!ctl_record_add_value(text, candidate))
            ctl_text_add(text, "?");
    }
}

static void add_hops(struct ctl_tree *tree, const struct way *way)
{
    const char *reason = ctl_json_text(way->exit, "reason");
    int depth = 1;

    for (size_t i = 0; i < way->count; i++, depth++) {
        struct ctl_cause cause = cause_of(way, i);
        struct ctl_text *text = ctl_tree_line(tree, depth);
        const char *pid = ctl_json_text(way->hops[i], "pid");
        const char *own = ctl_json_text(way->hops[i], "reason");

        if (i > 0) {
            if (pid == NULL)
                ctl_text_add(text, "a process");
            else if (i == way->gap_after)
                ctl_record_add_process(text, way->record, pid);
            else
                ctl_text_foreign_string(text, pid);
            ctl_text_add(text, " ");
        }
        ctl_cause_happened(text, &cause);
        if (i > 0 && own != NULL && reason != NULL && !same_reason(own, reason)) {
            ctl_text_add(text, " (exited: ");
            ctl_text_foreign(text, own, strlen(own), 80);
            ctl_text_add(text, ")");
        }
        add_facts(tree, way, i, depth, &cause);
        if (way->hidden > 0 && i + 1 == way->gap_after) {
            text = ctl_tree_line(tree, ++depth);
            ctl_text_style(text, CTL_DIM);
            ctl_text_symbol(text, "… ", "... ");
            ctl_text_add_number(text, way->hidden);
            ctl_text_add(text, way->hidden == 1 ? " more hop" : " more hops");
            ctl_text_style(text, CTL_PLAIN);
        }
    }
}

/* Begin a line of the foot with its ${label}. */
static void begin_foot(struct ctl_text *text, struct way *way, const char *label)
{
    if (!way->has_foot)
        ctl_text_add(text, "\n");
    way->has_foot = true;
    ctl_text_style(text, CTL_DIM);
    ctl_text_add(text, label);
}

static void end_foot(struct ctl_text *text)
{
    ctl_text_style(text, CTL_PLAIN);
    ctl_text_add(text, "\n");
}

static void add_sureness(struct ctl_text *text, struct way *way)
{
    const char *confidence = ctl_json_text(way->exit, "confidence");
    const char *origin = ctl_json_text(way->origin, "confidence");
    const json_t *lost_evidence = json_object_get(way->exit, "evidence_lost");
    bool lost = json_is_true(lost_evidence) || json_integer_value(lost_evidence) > 0;

    if (way->count < 2)
        origin = NULL;
    if ((confidence == NULL || same(confidence, "observed")) &&
        (origin == NULL || same(origin, "observed")) && !lost)
        return;
    begin_foot(text, way, "sure  ");
    ctl_text_foreign_string(text, confidence != NULL ? confidence : "unknown");
    if (origin != NULL) {
        ctl_text_add(text, "; the origin: ");
        ctl_text_foreign_string(text, origin);
    }
    if (lost)
        ctl_text_add(text, "; some evidence was lost: there may be other causes");
    end_foot(text);
}

static void add_foot(struct ctl_text *text, struct way *way)
{
    const json_t *node = json_object_get(way->record, "node");
    const char *name = ctl_json_text(node, "name");
    const char *otp = ctl_json_text(node, "otp");
    const char *time = ctl_json_text(way->record, "time");
    const char *id = ctl_json_text(way->record, "id");
    json_int_t lost = json_integer_value(json_object_get(way->record, "lost_before"));

    add_sureness(text, way);
    if (time != NULL) {
        begin_foot(text, way, "time  ");
        ctl_text_foreign_string(text, time);
        end_foot(text);
    }
    if (name != NULL) {
        begin_foot(text, way, "node  ");
        ctl_text_foreign_string(text, name);
        if (otp != NULL) {
            ctl_text_add(text, " (OTP ");
            ctl_text_foreign_string(text, otp);
            ctl_text_add(text, ")");
        }
        end_foot(text);
    }
    if (id != NULL) {
        begin_foot(text, way, "id    ");
        ctl_text_foreign_string(text, id);
        end_foot(text);
    }
    if (lost > 0) {
        begin_foot(text, way, "lost  ");
        ctl_text_add_number(text, lost);
        ctl_text_add(text, lost == 1 ? " record just before this one was lost"
                                     : " records just before this one were lost");
        end_foot(text);
    }
}

void ctl_story_tree(struct ctl_text *text, const json_t *record)
{
    const json_t *process = json_object_get(record, "process");
    struct way way = {
        .record = record,
        .exit = json_object_get(record, "exit"),
        .origin = json_object_get(record, "origin"),
        .pid = ctl_json_text(process, "pid"),
    };
    const char *reason = ctl_json_text(way.exit, "reason");

    if (!json_is_object(way.exit)) {
        ctl_story_line(text, record);
        return;
    }
    if (reason == NULL)
        reason = ctl_json_text(way.exit, "reason_class");
    struct ctl_tree *tree = ctl_tree_new(text->look);
    if (tree == NULL) {
        text->failed = true;
        return;
    }
    struct ctl_text *root = ctl_tree_line(tree, 0);
    ctl_text_style(root, CTL_BOLD);
    ctl_record_add_process(root, record, way.pid != NULL ? way.pid : "a process");
    ctl_text_style(root, CTL_PLAIN);
    ctl_text_add(root, "  exited");
    if (reason != NULL) {
        ctl_text_add(root, ": ");
        ctl_text_style(root, CTL_RED);
        add_reason(root, reason, json_is_true(json_object_get(way.exit, "truncated")));
        ctl_text_style(root, CTL_PLAIN);
    }
    take_chain(&way);
    add_hops(tree, &way);
    add_candidates(tree, &way);
    ctl_tree_draw(tree, text);
    ctl_tree_free(tree);
    add_foot(text, &way);
}

void ctl_story_others(struct ctl_text *text, const json_t *others)
{
    const json_t *other;
    size_t count = json_array_size(others);
    size_t i;

    if (count == 0)
        return;
    ctl_text_add(text, "\nalso recorded in ");
    ctl_text_add_number(text, (long long)count);
    ctl_text_add(text, count == 1 ? " other run of a node:\n" : " other runs of nodes:\n");
    json_array_foreach(others, i, other)
    {
        const char *node = ctl_json_text(other, "node");
        const char *incarnation = ctl_json_text(other, "incarnation");
        const char *record = ctl_json_text(other, "record");
        json_int_t exits = json_integer_value(json_object_get(other, "count"));

        if (i == OTHERS_MAX) {
            ctl_text_symbol(text, "  …\n", "  ...\n");
            return;
        }
        ctl_text_add(text, "  ");
        ctl_text_foreign_string(text, node != NULL ? node : "-");
        ctl_text_add(text, "  incarnation ");
        ctl_text_foreign_string(text, incarnation != NULL ? incarnation : "-");
        if (exits > 1) {
            ctl_text_add(text, ", ");
            ctl_text_add_number(text, exits);
            ctl_text_add(text, " times");
        }
        ctl_text_add(text, ", id ");
        ctl_text_foreign_string(text, record != NULL ? record : "-");
        ctl_text_add(text, "\n");
    }
}

/* Append the time of ${record} to the millisecond. */
static void add_time(struct ctl_text *text, const char *time)
{
    size_t length = strlen(time);

    /* 2026-11-23T15:46:33.094688123Z */
    if (length > 24 && time[19] == '.' && time[length - 1] == 'Z') {
        ctl_text_foreign(text, time, 23, 23);
        ctl_text_add(text, "Z");
    } else {
        ctl_text_foreign(text, time, length, 40);
    }
}

/* Append, for a record without a message, what its message would say first. */
static void add_summary(struct ctl_text *text, const json_t *record)
{
    const json_t *exit = json_object_get(record, "exit");
    const json_t *gap = json_object_get(record, "gap");
    const char *pid = ctl_json_text(json_object_get(record, "process"), "pid");
    const char *reason = ctl_json_text(exit, "reason");
    const char *source = ctl_json_text(exit, "source");

    if (json_is_object(exit)) {
        ctl_record_add_process(text, record, pid != NULL ? pid : "a process");
        ctl_text_add(text, " exited");
        if (reason != NULL) {
            ctl_text_add(text, " ");
            ctl_text_foreign(text, reason, strlen(reason), REASON_LIMIT);
        }
        if (source != NULL) {
            ctl_text_add(text, ": ");
            ctl_text_foreign_string(text, source);
        }
    } else if (json_is_object(gap)) {
        const char *why = ctl_json_text(gap, "why");
        ctl_text_add(text, "nothing was seen for a while");
        if (why != NULL) {
            ctl_text_add(text, ": ");
            ctl_text_foreign_string(text, why);
        }
    } else {
        const char *schema = ctl_json_text(record, "schema");
        ctl_text_add(text, "a record of schema ");
        ctl_text_foreign_string(text, schema != NULL ? schema : "unknown");
    }
}

void ctl_story_line(struct ctl_text *text, const json_t *record)
{
    const char *time = ctl_json_text(record, "time");
    const char *severity = ctl_json_text(record, "severity");
    const char *node = ctl_json_text(json_object_get(record, "node"), "name");
    const char *message = ctl_json_text(record, "message");

    ctl_text_style(text, CTL_DIM);
    add_time(text, time != NULL ? time : "-");
    ctl_text_style(text, same(severity, "error")     ? CTL_RED
                         : same(severity, "warning") ? CTL_YELLOW
                                                     : CTL_PLAIN);
    ctl_text_add(text, " ");
    ctl_text_foreign(text, severity != NULL ? severity : "-",
                     strlen(severity != NULL ? severity : "-"), 10);
    ctl_text_style(text, CTL_PLAIN);
    ctl_text_add(text, " ");
    ctl_text_foreign_string(text, node != NULL ? node : "-");
    ctl_text_add(text, "  ");
    if (message != NULL)
        ctl_text_foreign(text, message, strlen(message), MESSAGE_LIMIT);
    else
        add_summary(text, record);
    ctl_text_add(text, "\n");
}
