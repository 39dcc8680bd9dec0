#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "shrink.h"
#include "utf8.h"

/*
 * Each round at least halves the longest text or array, so the rounds needed grow with the
 * logarithm of the excess times the number of long parts. Who needs more gets the bare form; so
 * does who needs more work than WORK_MAX, for all nodes wait meanwhile.
 */
#define ROUNDS_MAX 128
#define WORK_MAX (1 << 20) /* bytes of JSON made on the way */
#define TEXT_FLOOR 48      /* texts are not cut below this many bytes */
#define ELLIPSIS "\xe2\x80\xa6"

/* A text or array that can be cut: where it is and how much it weighs. */
struct part {
    json_t *container; /* the object or array it is in */
    const char *key;   /* in an object */
    size_t index;      /* in an array */
    json_t *value;
    size_t weight;
};

/* About how long it is as JSON: enough to tell what is heavy. */
static size_t weigh(json_t *value)
{
    size_t weight = 4, index;
    const char *key;
    json_t *child;

    if (json_is_string(value))
        return json_string_length(value) + weight;
    json_object_foreach(value, key, child)
    {
        weight += strlen(key) + weigh(child);
    }
    json_array_foreach(value, index, child)
    {
        weight += weigh(child);
    }
    return weight;
}

static void consider(struct part *best, struct part candidate)
{
    if (json_is_string(candidate.value)) {
        if (json_string_length(candidate.value) <= TEXT_FLOOR)
            return;
    } else if (!json_is_array(candidate.value) || json_array_size(candidate.value) < 2) {
        return;
    }
    candidate.weight = weigh(candidate.value);
    if (candidate.weight > best->weight)
        *best = candidate;
}

/* The heaviest text or array in `value`. An array whose weight is in one of its texts loses to it.
 */
static void find(struct part *texts, struct part *arrays, json_t *value)
{
    const char *key;
    json_t *child;
    size_t index;

    json_object_foreach(value, key, child)
    {
        consider(json_is_string(child) ? texts : arrays,
                 (struct part){.container = value, .key = key, .value = child});
        find(texts, arrays, child);
    }
    json_array_foreach(value, index, child)
    {
        consider(json_is_string(child) ? texts : arrays,
                 (struct part){.container = value, .index = index, .value = child});
        find(texts, arrays, child);
    }
}

static void replace(const struct part *part, json_t *value)
{
    if (part->key != NULL)
        json_object_set_new(part->container, part->key, value);
    else
        json_array_set_new(part->container, part->index, value);
}

static void cut_text(const struct part *part)
{
    const char *text = json_string_value(part->value);
    size_t keep = utf8_floor(text, json_string_length(part->value) / 2);
    struct buffer shorter = {0};

    buffer_append(&shorter, text, keep);
    buffer_text(&shorter, ELLIPSIS);
    replace(part, memory_check(json_stringn(shorter.data, shorter.length)));
    buffer_clear(&shorter);
}

/* The ends of a chain or stack say the most: the middle goes. */
static void cut_array(json_t *array)
{
    size_t size = json_array_size(array), drop = (size + 1) / 2, first = (size - drop + 1) / 2;

    for (size_t i = 0; i < drop; i++)
        json_array_remove(array, first);
}

static bool cut_once(json_t *line)
{
    struct part text = {0}, array = {0};
    const char *key;
    json_t *value;

    json_object_foreach(line, key, value)
    {
        if (strcmp(key, "schema") == 0 || strcmp(key, "id") == 0 || strcmp(key, "time") == 0 ||
            strcmp(key, "node") == 0)
            continue;
        consider(json_is_string(value) ? &text : &array,
                 (struct part){.container = line, .key = key, .value = value});
        find(&text, &array, value);
    }
    if (text.value == NULL && array.value == NULL)
        return false;
    /* An array weighs at least as much as a text in it; it is cut when it has many elements. */
    if (text.value != NULL && text.weight * 2 > array.weight)
        cut_text(&text);
    else
        cut_array(array.value);
    return true;
}

static void keep_only(json_t *object, const char *const *keys)
{
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(object, next, key, value)
    {
        bool kept = false;

        for (size_t i = 0; keys[i] != NULL; i++)
            kept = kept || strcmp(keys[i], key) == 0;
        if (!kept)
            json_object_del(object, key);
    }
}

/* What is left when a record is made of countless small parts. */
static void strip(json_t *line)
{
    static const char *const line_keys[] = {"schema",  "id",          "time",    "severity",
                                            "message", "node",        "process", "exit",
                                            "gap",     "lost_before", NULL};
    static const char *const process_keys[] = {"pid", "name", "initial_call", NULL};
    static const char *const exit_keys[] = {"source", "reason_class", "confidence", NULL};
    static const char *const gap_keys[] = {"from", "to", "why", NULL};

    keep_only(line, line_keys);
    keep_only(json_object_get(line, "process"), process_keys);
    keep_only(json_object_get(line, "exit"), exit_keys);
    keep_only(json_object_get(line, "gap"), gap_keys);
}

static void mark(json_t *line)
{
    json_t *section = json_object_get(line, "exit");

    if (section == NULL)
        section = json_object_get(line, "gap");
    json_object_set_new(section, "truncated", json_true());
}

size_t shrink(json_t *line, char *out, size_t size)
{
    size_t length, work = 0;

    mark(line);
    for (int round = 0; round < ROUNDS_MAX && work < WORK_MAX && cut_once(line); round++) {
        length = json_dumpb(line, out, size, JSON_COMPACT);
        if (length <= size)
            return length;
        work += length;
    }

    strip(line);
    mark(line);
    while ((length = json_dumpb(line, out, size, JSON_COMPACT)) > size) {
        /* A dozen texts of TEXT_FLOOR bytes and a node of HELLO_NODE_MAX do fit. */
        if (!cut_once(line))
            abort();
    }
    return length;
}
