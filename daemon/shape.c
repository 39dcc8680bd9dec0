#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "shape.h"
#include "source.h"

/*
 * What the JSON Schema says of keys we know, wherever they stand, in the order of strcmp. A key
 * that is not listed may be anything.
 */
struct key_type {
    const char *key;
    unsigned types;
};

static const struct key_type key_types[] = {
    {"age_us", SHAPE_INTEGER | SHAPE_ABSENT},
    {"ancestors", SHAPE_TEXTS},
    {"application", SHAPE_TEXT | SHAPE_ABSENT},
    {"asked_by", SHAPE_TEXT | SHAPE_ABSENT},
    {"asked_by_name", SHAPE_TEXT | SHAPE_ABSENT},
    {"by", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_call", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_file", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_function", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_initial_call", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_line", SHAPE_INTEGER | SHAPE_ABSENT},
    {"by_name", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_node", SHAPE_TEXT | SHAPE_ABSENT},
    {"by_stack", SHAPE_TEXTS},
    {"candidates", SHAPE_OBJECTS},
    {"child", SHAPE_TEXT | SHAPE_ABSENT},
    {"command", SHAPE_TEXT | SHAPE_ABSENT},
    {"confidence", SHAPE_WORD},
    {"detail", SHAPE_TEXT | SHAPE_ABSENT},
    {"driver", SHAPE_TEXT | SHAPE_ABSENT},
    {"evidence_lost", SHAPE_BOOLEAN | SHAPE_INTEGER},
    {"from", SHAPE_INTEGER | SHAPE_ABSENT},
    {"id", SHAPE_ID | SHAPE_ABSENT},
    {"initial_call", SHAPE_TEXT | SHAPE_ABSENT},
    {"limit_words", SHAPE_INTEGER | SHAPE_ABSENT},
    {"module", SHAPE_TEXT | SHAPE_ABSENT},
    {"name", SHAPE_TEXT | SHAPE_ABSENT},
    {"node", SHAPE_TEXT | SHAPE_ABSENT},
    {"operation", SHAPE_TEXT | SHAPE_ABSENT},
    {"parent", SHAPE_TEXT | SHAPE_ABSENT},
    {"pid", SHAPE_TEXT},
    {"port", SHAPE_TEXT | SHAPE_ABSENT},
    {"reason", SHAPE_TEXT | SHAPE_ABSENT},
    {"reason_class", SHAPE_TEXT},
    {"sibling", SHAPE_TEXT | SHAPE_ABSENT},
    {"sibling_id", SHAPE_ID | SHAPE_ABSENT},
    {"sibling_name", SHAPE_TEXT | SHAPE_ABSENT},
    {"size_words", SHAPE_INTEGER | SHAPE_ABSENT},
    {"source", SHAPE_WORD},
    {"stack", SHAPE_TEXTS},
    {"supervisor", SHAPE_TEXT | SHAPE_ABSENT},
    {"target", SHAPE_TEXT | SHAPE_ABSENT},
    {"timeout_ms", SHAPE_INTEGER | SHAPE_TEXT | SHAPE_ABSENT},
    {"to", SHAPE_INTEGER | SHAPE_ABSENT},
    {"trap_exit", SHAPE_BOOLEAN | SHAPE_ABSENT},
    {"truncated", SHAPE_BOOLEAN},
    {"via", SHAPE_TEXT | SHAPE_ABSENT},
    {"why", SHAPE_TEXT | SHAPE_ABSENT},
};

/* The parts of a record, in the order of the contract. */
const struct shape_part shape_parts[SHAPE_PARTS] = {
    {"severity", SHAPE_TEXT, true, true},          {"message", SHAPE_TEXT, true, true},
    {"process", SHAPE_OBJECT, true, false},        {"exit", SHAPE_OBJECT, true, false},
    {"origin", SHAPE_OBJECT, false, false},        {"chain", SHAPE_OBJECTS, false, false},
    {"chain_length", SHAPE_INTEGER, false, false}, {"gap", SHAPE_OBJECT, false, true},
};

/* What only the daemon says. */
static const char *const reserved[] = {"schema", "id", "time", "node", "lost_before"};

/* What a part must hold, and each element of a part that is an array of maps. */
static const struct {
    const char *section;
    const char *key;
} needs[] = {{"process", "pid"},     {"exit", "source"},   {"exit", "reason_class"},
             {"exit", "confidence"}, {"origin", "source"}, {"chain", "pid"},
             {"chain", "source"}};

const char *shape_needs(const char *section, size_t index)
{
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (strcmp(needs[i].section, section) == 0 && index-- == 0)
            return needs[i].key;
    }
    return NULL;
}

static bool all_of(const json_t *array, json_type type)
{
    size_t index;
    json_t *value;

    json_array_foreach(array, index, value)
    {
        if (json_typeof(value) != type)
            return false;
    }
    return true;
}

/* An integer too large for a double arrives as a string of digits. */
bool shape_is_integer(const json_t *value)
{
    const char *text = json_string_value(value);

    return json_is_integer(value) ||
           (text != NULL && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0');
}

bool shape_is_word(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((text[i] < 'a' || text[i] > 'z') && text[i] != '_')
            return false;
    }
    return length >= 1 && length <= 32;
}

bool shape_is_id(const char *text, size_t length)
{
    if (length < HELLO_INCARNATION + 2 || text[HELLO_INCARNATION] != '-' ||
        text[HELLO_INCARNATION + 1] == '0')
        return false;
    for (size_t i = 0; i < length; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';

        if (i == HELLO_INCARNATION
                ? text[i] != '-'
                : !digit && (i > HELLO_INCARNATION || text[i] < 'a' || text[i] > 'f'))
            return false;
    }
    return true;
}

static bool fits_types(const json_t *value, unsigned types)
{
    return ((types & SHAPE_TEXT) && json_is_string(value)) ||
           ((types & SHAPE_INTEGER) && shape_is_integer(value)) ||
           ((types & SHAPE_BOOLEAN) && json_is_boolean(value)) ||
           ((types & SHAPE_OBJECT) && json_is_object(value)) ||
           ((types & SHAPE_TEXTS) && json_is_array(value) && all_of(value, JSON_STRING)) ||
           ((types & SHAPE_OBJECTS) && json_is_array(value) && all_of(value, JSON_OBJECT)) ||
           ((types & SHAPE_WORD) && json_is_string(value) &&
            shape_is_word(json_string_value(value), json_string_length(value))) ||
           ((types & SHAPE_ID) && json_is_string(value) &&
            shape_is_id(json_string_value(value), json_string_length(value))) ||
           ((types & SHAPE_ABSENT) && json_is_null(value));
}

static int compare_key(const void *key, const void *entry)
{
    const struct key_type *type = entry;

    return strcmp(key, type->key);
}

unsigned shape_types(const char *key)
{
    const struct key_type *found = bsearch(key, key_types, sizeof(key_types) / sizeof(key_types[0]),
                                           sizeof(key_types[0]), compare_key);

    return found != NULL ? found->types : 0;
}

static bool check_section(const char *section, json_t *object, char *why);

/* What is no array has no elements here. */
static bool check_elements(const char *section, json_t *array, char *why)
{
    json_t *element;
    size_t index;

    json_array_foreach(array, index, element)
    {
        if (json_is_object(element) && !check_section(section, element, why))
            return false;
    }
    return true;
}

static bool check_section(const char *section, json_t *object, char *why)
{
    const char *key;
    json_t *value;

    for (size_t i = 0; (key = shape_needs(section, i)) != NULL; i++) {
        if (json_object_get(object, key) == NULL) {
            snprintf(why, FRAME_WHY_SIZE, "a record without %s.%s", section, key);
            return false;
        }
    }
    json_object_foreach(object, key, value)
    {
        unsigned types = shape_types(key);

        if (types != 0 && !fits_types(value, types)) {
            snprintf(why, FRAME_WHY_SIZE, "a record whose %s.%s has the wrong type", section, key);
            return false;
        }
        if (!check_elements(key, value, why))
            return false;
    }
    return true;
}

bool shape_is_severity(const char *text, size_t length)
{
#define X(symbol, name)                                                                            \
    if (length == sizeof(name) - 1 && memcmp(text, name, length) == 0)                             \
        return true;
    CORONER_SEVERITIES(X)
#undef X
    return false;
}

static bool check_parts(uint64_t kind, const json_t *map, char *why)
{
    const json_t *severity;

    for (size_t i = 0; i < SHAPE_PARTS; i++) {
        const char *key = shape_parts[i].key;
        json_t *value = json_object_get(map, key);

        if (value == NULL) {
            if (kind == WIRE_KIND_EXIT ? !shape_parts[i].exit_needs : !shape_parts[i].gap_needs)
                continue;
            snprintf(why, FRAME_WHY_SIZE, "a record without '%s'", key);
            return false;
        }
        if (!fits_types(value, shape_parts[i].types)) {
            snprintf(why, FRAME_WHY_SIZE, "a record whose %s has the wrong type", key);
            return false;
        }
        if (json_is_object(value) && !check_section(key, value, why))
            return false;
        if (!check_elements(key, value, why))
            return false;
    }
    severity = json_object_get(map, "severity");
    if (!shape_is_severity(json_string_value(severity), json_string_length(severity))) {
        snprintf(why, FRAME_WHY_SIZE, "a record whose severity is not one of the list");
        return false;
    }
    return true;
}

bool shape_check(uint64_t kind, const json_t *map, char why[FRAME_WHY_SIZE])
{
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (json_object_get(map, reserved[i]) != NULL) {
            snprintf(why, FRAME_WHY_SIZE, "a record with '%s', which the daemon adds", reserved[i]);
            return false;
        }
    }
    return check_parts(kind, map, why);
}
