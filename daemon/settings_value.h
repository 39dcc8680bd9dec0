/*
 * The values of a config file: text to what it means, and back.
 */
#ifndef CORONER_SETTINGS_VALUE_H
#define CORONER_SETTINGS_VALUE_H

#include <stdbool.h>
#include <stdio.h>

/* What a value means, and what it is kept as. */
enum value_kind {
    VALUE_PATH,         /* char *: absolute */
    VALUE_SOCKET,       /* char *: absolute, and short enough for a socket */
    VALUE_TEXT,         /* char *: printable; NULL for "" */
    VALUE_FILE,         /* char *: absolute; NULL for "" */
    VALUE_HTTP,         /* char *: a loopback address with a port, or unix:PATH; NULL for "off" */
    VALUE_SIZE,         /* uint64_t: bytes */
    VALUE_AGE,          /* uint64_t: seconds */
    VALUE_SECONDS,      /* unsigned */
    VALUE_MILLISECONDS, /* unsigned */
    VALUE_COUNT,        /* unsigned */
    VALUE_NUMBER,       /* uint64_t */
    VALUE_SWITCH,       /* bool */
    VALUE_MODE,         /* mode_t */
    VALUE_GROUP,        /* gid_t: (gid_t)-1 for "" */
    VALUE_WORD,         /* an enum: the place in `words` */
    VALUE_USERS,        /* struct value_users */
    VALUE_GROUPS,       /* struct value_groups */
    VALUE_ARGUMENTS,    /* char **, NULL-terminated */
};

/* How lists are kept: in struct socket_settings, too, in this order. */
struct value_users {
    uid_t *uids;
    size_t count;
};
struct value_groups {
    gid_t *gids;
    size_t count;
};

struct value_type {
    enum value_kind kind;
    unsigned long long least, most; /* of numbers */
    const char *const *words;       /* NULL-terminated */
};

#define VALUE_WHY_SIZE 512
#define VALUE_LIST_MAX 256 /* of a list */

/*
 * value_is_list(kind):
 * Return whether a value of ${kind} is a list, of which value_set adds one element.
 */
bool value_is_list(enum value_kind kind);

/*
 * value_set(type, text, value, why):
 * Read ${text} as ${type} into *${value}, which is zero or holds an earlier value; that is freed,
 * unless the type is a list: then ${text} is added to it. Return 0, or -1 and say in ${why} what
 * would be right; then *${value} is as it was.
 */
int value_set(const struct value_type *type, const char *text, void *value,
              char why[VALUE_WHY_SIZE]);

/*
 * value_print(type, value, out):
 * Write *${value} to ${out} as it would stand in a config file.
 */
void value_print(const struct value_type *type, const void *value, FILE *out);

/*
 * value_clear(type, value):
 * Free what *${value} holds, and make it zero.
 */
void value_clear(const struct value_type *type, void *value);

/*
 * value_swap(type, a, b):
 * Exchange *${a} and *${b}.
 */
void value_swap(const struct value_type *type, void *a, void *b);

#endif
