#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "memory.h"

/* Node names are atoms of at most 255 characters; so is what else is a name here. */
#define NAME_MAX_BYTES 1020

static const char *get_text(const json_t *map, const char *key, char *why)
{
    const json_t *value = json_object_get(map, key);

    if (!json_is_string(value)) {
        snprintf(why, FRAME_WHY_SIZE, "a HELLO without the text '%s'", key);
        return NULL;
    }
    if (json_string_length(value) < 1 || json_string_length(value) > NAME_MAX_BYTES ||
        strlen(json_string_value(value)) != json_string_length(value)) {
        snprintf(why, FRAME_WHY_SIZE, "a HELLO whose '%s' is not of 1 to %d bytes", key,
                 NAME_MAX_BYTES);
        return NULL;
    }
    return json_string_value(value);
}

static bool get_unsigned(const json_t *map, const char *key, uint64_t *number, char *why)
{
    const json_t *value = json_object_get(map, key);

    /* Negative integers do not occur, and what is above 2^53 has become a string. */
    if (!json_is_integer(value)) {
        snprintf(why, FRAME_WHY_SIZE, "a HELLO without the integer '%s' below 2^53", key);
        return false;
    }
    *number = (uint64_t)json_integer_value(value);
    return true;
}

struct hello *hello_read(const json_t *map, char why[FRAME_WHY_SIZE])
{
    struct hello *hello = memory_zeroed(sizeof(*hello));
    const char *incarnation, *name, *host, *otp;

    if ((incarnation = get_text(map, "incarnation", why)) == NULL ||
        (name = get_text(map, "name", why)) == NULL ||
        (host = get_text(map, "host", why)) == NULL || (otp = get_text(map, "otp", why)) == NULL ||
        !get_unsigned(map, "os_pid", &hello->os_pid, why) ||
        !get_unsigned(map, "first_held", &hello->first_held, why) ||
        !get_unsigned(map, "made", &hello->made, why))
        goto error;
    if (strlen(incarnation) != HELLO_INCARNATION ||
        strspn(incarnation, "0123456789abcdef") != HELLO_INCARNATION) {
        snprintf(why, FRAME_WHY_SIZE, "a HELLO whose incarnation is not %d hex digits (0-9a-f)",
                 HELLO_INCARNATION);
        goto error;
    }

    memcpy(hello->incarnation, incarnation, HELLO_INCARNATION + 1);
    hello->name = memory_string(name);
    hello->host = memory_string(host);
    hello->otp = memory_string(otp);
    hello->node =
        memory_check(json_pack("{ss ss ss sI ss}", "name", name, "host", host, "incarnation",
                               incarnation, "os_pid", (json_int_t)hello->os_pid, "otp", otp));
    /* It stands in every line, and control characters take six bytes each there. */
    if (json_dumpb(hello->node, NULL, 0, JSON_COMPACT) > HELLO_NODE_MAX) {
        snprintf(why, FRAME_WHY_SIZE, "a HELLO whose names take more than %d bytes as JSON",
                 HELLO_NODE_MAX);
        goto error;
    }
    hello->line = memory_check(json_dumps(hello->node, JSON_COMPACT));
    return hello;

error:
    hello_free(hello);
    return NULL;
}

void hello_free(struct hello *hello)
{
    if (hello == NULL)
        return;
    json_decref(hello->node);
    free(hello->line);
    free(hello->otp);
    free(hello->host);
    free(hello->name);
    free(hello);
}
