/*
 * Any text as a config file: it is refused with the line of the fault, or what it sets can be
 * printed and read again; and whatever it was, the next file is read as if it had not been.
 */
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct settings_flags no_flags = {.out = NULL};

/* The users and groups of this host are none of its business. */
struct passwd *getpwnam(const char *name)
{
    static struct passwd user = {.pw_uid = 7};

    return strcmp(name, "user") == 0 ? &user : NULL;
}

struct group *getgrnam(const char *name)
{
    static struct group group = {.gr_gid = 8};

    return strcmp(name, "group") == 0 ? &group : NULL;
}

static void hold(int condition, const char *what, const char *text)
{
    if (condition)
        return;
    fprintf(stderr, "does not hold: %s: %s\n", what, text);
    abort();
}

static char *print(const struct settings *settings)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    hold(out != NULL, "memory", "");
    settings_print(settings, out);
    fclose(out);
    return text;
}

static void on_change(void *cookie, enum settings_change change, const char *key, const char *was,
                      const char *is)
{
    (void)cookie;
    (void)change;
    (void)was;
    (void)is;
    hold(0, "the same settings differ", key);
}

static void check_settings(const struct settings *settings)
{
    hold(settings->sink_count <= SETTINGS_SINKS_MAX, "too many sinks", "");
    hold(settings->ingest.path[0] == '/' && strlen(settings->ingest.path) < 108, "a socket's path",
         settings->ingest.path);
    hold(strcmp(settings->ingest.path, settings->query.path) != 0, "two sockets at",
         settings->query.path);
    hold((settings->ingest.mode & ~(mode_t)0777) == 0, "a mode", "");
    for (size_t i = 0; i < settings->sink_count; i++) {
        const struct sink_settings *sink = &settings->sinks[i];

        hold(sink->name[0] != '\0' && strlen(sink->name) <= 32, "a sink's name", sink->name);
        hold(sink->type != SINK_FILE || sink->path[0] == '/', "a file without a path", sink->name);
        hold(sink->type != SINK_EXEC || sink->command[0][0] == '/', "no command", sink->name);
    }
}

static void check_error(const char *why, const uint8_t *data, size_t size)
{
    unsigned long lines = 1, line;
    char *end;

    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    hold(strncmp(why, "f:", 2) == 0, "no file in", why);
    line = strtoul(why + 2, &end, 10);
    /* What is missing at the end is missing in the line after the last. */
    hold(*end == ':' && line >= 1 && line <= lines + 1, "a line in", why);
    hold(strlen(end) > 3, "no reason in", why);
}

static void check_next_file(void)
{
    static const char text[] = "# c\ndrain_timeout = 7s\n";
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_parse(text, strlen(text), "g", &no_flags, why);

    hold(settings != NULL, "the next file is refused", why);
    hold(settings->drain_timeout_s == 7 && settings->sink_count == 0, "the next file", "");
    settings_free(settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_parse((const char *)data, size, "f", &no_flags, why);

    if (settings == NULL) {
        check_error(why, data, size);
    } else {
        char *once = print(settings), *twice;
        struct settings *again = settings_parse(once, strlen(once), "p", &no_flags, why);

        check_settings(settings);
        hold(again != NULL, "what was printed is refused", why);
        twice = print(again);
        hold(strcmp(once, twice) == 0, "what was printed says something else", twice);
        settings_take(settings, again, on_change, NULL);
        free(once);
        free(twice);
        settings_free(again);
        settings_free(settings);
    }
    check_next_file();
    return 0;
}
