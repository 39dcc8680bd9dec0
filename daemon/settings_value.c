#include <arpa/inet.h>
#include <ctype.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <sys/un.h>

#include "http_address.h"
#include "memory.h"
#include "settings_value.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest first: that is what is printed if it divides the number. */
static const struct unit size_units[] = {{"TiB", UINT64_C(1) << 40},
                                         {"GiB", UINT64_C(1) << 30},
                                         {"MiB", UINT64_C(1) << 20},
                                         {"KiB", UINT64_C(1) << 10},
                                         {"B", 1},
                                         {NULL, 0}};
static const struct unit time_units[] = {{"w", 604800000}, {"d", 86400000}, {"h", 3600000},
                                         {"m", 60000},     {"s", 1000},     {"ms", 1},
                                         {NULL, 0}};

__attribute__((format(printf, 2, 3))) static int fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, VALUE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- numbers ---- */

/* Digits, and nothing but digits before ${*end}. */
static bool read_number(const char *text, uint64_t most, uint64_t *number, const char **end)
{
    uint64_t value = 0;

    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (value > (most - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    *end = text;
    return true;
}

/* A number with a unit; 0 needs none. */
static bool read_measure(const char *text, const struct unit *units, uint64_t *number)
{
    const char *end;
    uint64_t value;

    if (!read_number(text, UINT64_MAX >> 1, &value, &end))
        return false;
    if (*end == '\0' && value == 0) {
        *number = 0;
        return true;
    }
    for (; units->name != NULL; units++) {
        if (strcmp(units->name, end) == 0 && value <= (UINT64_MAX >> 1) / units->factor) {
            *number = value * units->factor;
            return true;
        }
    }
    return false;
}

static void print_measure(uint64_t number, const struct unit *units, FILE *out)
{
    if (number == 0) {
        fputs("0", out);
        return;
    }
    while (number % units->factor != 0)
        units++;
    fprintf(out, "%" PRIu64 "%s", number / units->factor, units->name);
}

static int set_size(const struct value_type *type, const char *text, uint64_t *value, char *why)
{
    uint64_t size;

    if (!read_measure(text, size_units, &size))
        return fail(why, "'%s' is no size; a size is like 512MiB or 10GiB (B, KiB, MiB, GiB, TiB)",
                    text);
    if (size != 0 && size < type->least)
        return fail(why, "'%s' is too small; the least is %llu bytes", text, type->least);
    *value = size;
    return 0;
}

/* A duration, in milliseconds, that is a whole number of ${unit} milliseconds. */
static int read_time(const struct value_type *type, const char *text, uint64_t unit,
                     uint64_t *value, char *why)
{
    uint64_t time;

    if (!read_measure(text, time_units, &time))
        return fail(why, "'%s' is no duration; a duration is like 10s, 5m, 12h or 30d", text);
    if (time % unit != 0)
        return fail(why, "'%s' is not a whole number of seconds", text);
    if (time / unit < type->least || time / unit > type->most)
        return fail(why, "'%s' is not from %llu to %llu %s", text, type->least, type->most,
                    unit == 1 ? "milliseconds" : "seconds");
    *value = time / unit;
    return 0;
}

static int set_number(const struct value_type *type, const char *text, uint64_t *value, char *why)
{
    const char *end;
    uint64_t count;

    if (!read_number(text, UINT64_MAX >> 1, &count, &end) || *end != '\0' || count < type->least ||
        count > type->most)
        return fail(why, "'%s' is not a number from %llu to %llu", text, type->least, type->most);
    *value = count;
    return 0;
}

static int set_mode(const char *text, mode_t *value, char *why)
{
    mode_t mode = 0;
    size_t length = strlen(text);

    if (length < 3 || length > 4 || strspn(text, "01234567") != length ||
        (length == 4 && text[0] != '0'))
        return fail(why, "'%s' is no file mode; a mode is like 0640", text);
    for (; *text != '\0'; text++)
        mode = mode * 8 + (mode_t)(*text - '0');
    *value = mode;
    return 0;
}

static int set_switch(const char *text, bool *value, char *why)
{
    static const char *const on[] = {"on", "yes", "true", NULL};
    static const char *const off[] = {"off", "no", "false", NULL};

    for (int i = 0; on[i] != NULL; i++) {
        if (strcasecmp(text, on[i]) == 0 || strcasecmp(text, off[i]) == 0) {
            *value = strcasecmp(text, on[i]) == 0;
            return 0;
        }
    }
    return fail(why, "'%s' is neither on nor off", text);
}

static int set_word(const struct value_type *type, const char *text, unsigned *value, char *why)
{
    char list[VALUE_WHY_SIZE / 2] = "";

    for (unsigned i = 0; type->words[i] != NULL; i++) {
        size_t used = strlen(list);

        if (strcmp(type->words[i], text) == 0) {
            *value = i;
            return 0;
        }
        snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", type->words[i]);
    }
    return fail(why, "'%s' is not one of %s", text, list);
}

/* ---- users and groups ---- */

/* Ids are numbers below 2^32 - 1, which means "none" to the kernel. */
static bool read_id(const char *text, uint32_t *id)
{
    const char *end;
    uint64_t number;

    if (!read_number(text, UINT32_MAX - 1, &number, &end) || *end != '\0')
        return false;
    *id = (uint32_t)number;
    return true;
}

static int read_user(const char *text, uid_t *uid, char *why)
{
    const struct passwd *user;

    if (read_id(text, uid))
        return 0;
    user = *text != '\0' ? getpwnam(text) : NULL;
    if (user == NULL)
        return fail(why, "there is no user '%s' on this host", text);
    *uid = user->pw_uid;
    return 0;
}

static int read_group(const char *text, gid_t *gid, char *why)
{
    const struct group *group;

    if (read_id(text, gid))
        return 0;
    group = *text != '\0' ? getgrnam(text) : NULL;
    if (group == NULL)
        return fail(why, "there is no group '%s' on this host", text);
    *gid = group->gr_gid;
    return 0;
}

static int set_group(const char *text, gid_t *value, char *why)
{
    if (*text == '\0') {
        *value = (gid_t)-1;
        return 0;
    }
    return read_group(text, value, why);
}

static int full(size_t count, char *why)
{
    return count < VALUE_LIST_MAX ? 0 : fail(why, "a list has at most %d elements", VALUE_LIST_MAX);
}

static int add_user(const char *text, struct value_users *users, char *why)
{
    uid_t uid = 0;

    if (full(users->count, why) != 0 || read_user(text, &uid, why) != 0)
        return -1;
    users->uids = memory_resize(users->uids, (users->count + 1) * sizeof(uid));
    users->uids[users->count++] = uid;
    return 0;
}

static int add_group(const char *text, struct value_groups *groups, char *why)
{
    gid_t gid = 0;

    if (full(groups->count, why) != 0 || read_group(text, &gid, why) != 0)
        return -1;
    groups->gids = memory_resize(groups->gids, (groups->count + 1) * sizeof(gid));
    groups->gids[groups->count++] = gid;
    return 0;
}

/* ---- texts ---- */

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

static int replace(char **value, const char *text)
{
    free(*value);
    *value = text != NULL ? memory_string(text) : NULL;
    return 0;
}

static int check_path(const char *text, size_t most, char *why)
{
    if (text[0] != '/')
        return fail(why, "'%s' is no absolute path: the daemon's folder may be any", text);
    if (!is_printable(text))
        return fail(why, "a path has no control characters");
    if (strlen(text) > most)
        return fail(why, "the path is too long: %zu bytes, allowed are %zu", strlen(text), most);
    return 0;
}

static int set_path(const char *text, size_t most, char **value, char *why)
{
    return check_path(text, most, why) == 0 ? replace(value, text) : -1;
}

static int set_text(const char *text, char **value, char *why)
{
    if (!is_printable(text))
        return fail(why, "it has control characters");
    return replace(value, *text != '\0' ? text : NULL);
}

static int set_http(const char *text, char **value, char *why)
{
    size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

    if (strcmp(text, "off") == 0)
        return replace(value, NULL);
    if (http_address_check(text, why) != 0 ||
        (http_address_is_unix(text) && check_path(text + strlen(HTTP_UNIX_PREFIX), most, why) != 0))
        return -1;
    return replace(value, text);
}

static size_t count_arguments(char *const *arguments)
{
    size_t count = 0;

    while (arguments != NULL && arguments[count] != NULL)
        count++;
    return count;
}

static int add_argument(const char *text, char ***value, char *why)
{
    size_t count = count_arguments(*value);

    if (full(count, why) != 0)
        return -1;
    if (count == 0 && check_path(text, 4095, why) != 0)
        return -1;
    *value = memory_resize(*value, (count + 2) * sizeof(**value));
    (*value)[count] = memory_string(text);
    (*value)[count + 1] = NULL;
    return 0;
}

static void print_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (; text != NULL && *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\' || c == '$')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

/* ---- all of them ---- */

bool value_is_list(enum value_kind kind)
{
    return kind == VALUE_USERS || kind == VALUE_GROUPS || kind == VALUE_ARGUMENTS;
}

int value_set(const struct value_type *type, const char *text, void *value,
              char why[VALUE_WHY_SIZE])
{
    uint64_t number = 0;

    switch (type->kind) {
    case VALUE_PATH:
        return set_path(text, 4095, value, why);
    case VALUE_SOCKET:
        return set_path(text, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, value, why);
    case VALUE_TEXT:
        return set_text(text, value, why);
    case VALUE_FILE:
        return *text == '\0' ? replace(value, NULL) : set_path(text, 4095, value, why);
    case VALUE_HTTP:
        return set_http(text, value, why);
    case VALUE_SIZE:
        return set_size(type, text, value, why);
    case VALUE_AGE:
        return read_time(type, text, 1000, value, why);
    case VALUE_SECONDS:
    case VALUE_MILLISECONDS:
        if (read_time(type, text, type->kind == VALUE_SECONDS ? 1000 : 1, &number, why) != 0)
            return -1;
        *(unsigned *)value = (unsigned)number;
        return 0;
    case VALUE_COUNT:
        if (set_number(type, text, &number, why) != 0)
            return -1;
        *(unsigned *)value = (unsigned)number;
        return 0;
    case VALUE_NUMBER:
        return set_number(type, text, value, why);
    case VALUE_SWITCH:
        return set_switch(text, value, why);
    case VALUE_MODE:
        return set_mode(text, value, why);
    case VALUE_GROUP:
        return set_group(text, value, why);
    case VALUE_WORD:
        return set_word(type, text, value, why);
    case VALUE_USERS:
        return add_user(text, value, why);
    case VALUE_GROUPS:
        return add_group(text, value, why);
    case VALUE_ARGUMENTS:
        return add_argument(text, value, why);
    }
    abort();
}

static void print_ids(const uint32_t *ids, size_t count, FILE *out)
{
    fputc('{', out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%" PRIu32, i > 0 ? ", " : "", ids[i]);
    fputc('}', out);
}

static void print_arguments(char *const *arguments, FILE *out)
{
    fputc('{', out);
    for (size_t i = 0; i < count_arguments(arguments); i++) {
        if (i > 0)
            fputs(", ", out);
        print_text(arguments[i], out);
    }
    fputc('}', out);
}

static void print_group(gid_t gid, FILE *out)
{
    if (gid == (gid_t)-1)
        print_text(NULL, out);
    else
        fprintf(out, "%u", (unsigned)gid);
}

void value_print(const struct value_type *type, const void *value, FILE *out)
{
    switch (type->kind) {
    case VALUE_PATH:
    case VALUE_SOCKET:
    case VALUE_TEXT:
    case VALUE_FILE:
        print_text(*(char *const *)value, out);
        break;
    case VALUE_HTTP:
        if (*(char *const *)value == NULL)
            fputs("off", out);
        else
            print_text(*(char *const *)value, out);
        break;
    case VALUE_SIZE:
        print_measure(*(const uint64_t *)value, size_units, out);
        break;
    case VALUE_AGE:
        print_measure(*(const uint64_t *)value * 1000, time_units, out);
        break;
    case VALUE_SECONDS:
        print_measure((uint64_t) * (const unsigned *)value * 1000, time_units, out);
        break;
    case VALUE_MILLISECONDS:
        print_measure(*(const unsigned *)value, time_units, out);
        break;
    case VALUE_COUNT:
        fprintf(out, "%u", *(const unsigned *)value);
        break;
    case VALUE_NUMBER:
        fprintf(out, "%" PRIu64, *(const uint64_t *)value);
        break;
    case VALUE_SWITCH:
        fputs(*(const bool *)value ? "on" : "off", out);
        break;
    case VALUE_MODE:
        fprintf(out, "%04o", (unsigned)*(const mode_t *)value);
        break;
    case VALUE_GROUP:
        print_group(*(const gid_t *)value, out);
        break;
    case VALUE_WORD:
        fputs(type->words[*(const unsigned *)value], out);
        break;
    case VALUE_USERS:
        print_ids(((const struct value_users *)value)->uids,
                  ((const struct value_users *)value)->count, out);
        break;
    case VALUE_GROUPS:
        print_ids(((const struct value_groups *)value)->gids,
                  ((const struct value_groups *)value)->count, out);
        break;
    case VALUE_ARGUMENTS:
        print_arguments(*(char *const *const *)value, out);
        break;
    }
}

static size_t size_of(enum value_kind kind)
{
    switch (kind) {
    case VALUE_PATH:
    case VALUE_SOCKET:
    case VALUE_TEXT:
    case VALUE_FILE:
    case VALUE_HTTP:
        return sizeof(char *);
    case VALUE_SIZE:
    case VALUE_AGE:
    case VALUE_NUMBER:
        return sizeof(uint64_t);
    case VALUE_SECONDS:
    case VALUE_MILLISECONDS:
    case VALUE_COUNT:
    case VALUE_WORD:
        return sizeof(unsigned);
    case VALUE_SWITCH:
        return sizeof(bool);
    case VALUE_MODE:
        return sizeof(mode_t);
    case VALUE_GROUP:
        return sizeof(gid_t);
    case VALUE_USERS:
        return sizeof(struct value_users);
    case VALUE_GROUPS:
        return sizeof(struct value_groups);
    case VALUE_ARGUMENTS:
        return sizeof(char **);
    }
    abort();
}

void value_clear(const struct value_type *type, void *value)
{
    switch (type->kind) {
    case VALUE_PATH:
    case VALUE_SOCKET:
    case VALUE_TEXT:
    case VALUE_FILE:
    case VALUE_HTTP:
        free(*(char **)value);
        break;
    case VALUE_USERS:
        free(((struct value_users *)value)->uids);
        break;
    case VALUE_GROUPS:
        free(((struct value_groups *)value)->gids);
        break;
    case VALUE_ARGUMENTS:
        for (size_t i = 0; i < count_arguments(*(char ***)value); i++)
            free((*(char ***)value)[i]);
        free(*(char ***)value);
        break;
    default:
        break;
    }
    memset(value, 0, size_of(type->kind));
}

void value_swap(const struct value_type *type, void *a, void *b)
{
    unsigned char kept[sizeof(struct value_users)];
    size_t size = size_of(type->kind);

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}
