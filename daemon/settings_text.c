#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "settings.h"
#include "settings_text.h"

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISSOCK(mode))
        return "a socket";
    return "a device";
}

/* Read all of a file that may grow meanwhile. Return the number of bytes, or -1. */
static ssize_t read_all(int fd, char *text, size_t size)
{
    size_t used = 0;

    while (used < size) {
        ssize_t got = read(fd, text + used, size - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        used += (size_t)got;
    }
    return (ssize_t)used;
}

char *settings_text_read(const char *path, size_t *length, char *why, size_t size)
{
    struct stat status;
    char *text = NULL;
    ssize_t used;
    /* A FIFO would wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &status) != 0) {
        snprintf(why, size, "%s: cannot read the config file: %s", path, strerror(errno));
        goto error;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(why, size, "%s: is %s, not a config file", path, kind_of(status.st_mode));
        goto error;
    }
    if (status.st_mode & S_IWOTH) {
        snprintf(why, size,
                 "%s: everybody may write to this file (mode %04o), and so run commands as the "
                 "daemon; chmod o-w it",
                 path, status.st_mode & 07777);
        goto error;
    }
    text = memory_get(SETTINGS_FILE_MAX + 1);
    used = read_all(fd, text, SETTINGS_FILE_MAX + 1);
    if (used < 0) {
        snprintf(why, size, "%s: cannot read the config file: %s", path, strerror(errno));
        goto error;
    }
    if ((size_t)used > SETTINGS_FILE_MAX) {
        snprintf(why, size, "%s: a config file has at most %zu bytes", path, SETTINGS_FILE_MAX);
        goto error;
    }
    close(fd);
    *length = (size_t)used;
    return text;

error:
    free(text);
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* A walk over the text. */
struct walk {
    char *text;
    size_t length;
    size_t at;
    unsigned line;
    const char *name;
    char *why;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static int fail(struct walk *walk, unsigned line,
                                                      const char *format, ...)
{
    va_list arguments;
    int used = snprintf(walk->why, walk->size, "%s:%u: ", walk->name, line);

    if (used >= 0 && (size_t)used < walk->size) {
        va_start(arguments, format);
        vsnprintf(walk->why + used, walk->size - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return -1;
}

/* Bytes that are no text: a NUL would end it, and an escape would steer a terminal. */
static int find_binary(struct walk *walk)
{
    unsigned line = 1;

    for (size_t i = 0; i < walk->length; i++) {
        unsigned char c = (unsigned char)walk->text[i];

        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
            return fail(walk, line, "a byte 0x%02x is no text", c);
        line += c == '\n';
    }
    return 0;
}

static char peek(const struct walk *walk, size_t ahead)
{
    return walk->at + ahead < walk->length ? walk->text[walk->at + ahead] : '\0';
}

static void blank_comment(struct walk *walk)
{
    while (walk->at < walk->length && walk->text[walk->at] != '\n')
        walk->text[walk->at++] = ' ';
}

/* The length of what stands after a backslash in double quotes, 0 if that is nothing known. */
static size_t escape_length(const struct walk *walk)
{
    char next = peek(walk, 1);

    if (next != '\0' && strchr("\"\\$nt", next) != NULL)
        return 1;
    if (next == 'x' && isxdigit((unsigned char)peek(walk, 2)) &&
        isxdigit((unsigned char)peek(walk, 3)) && (peek(walk, 2) != '0' || peek(walk, 3) != '0'))
        return 3;
    return 0;
}

static int pass_string(struct walk *walk)
{
    char quote = walk->text[walk->at++];

    for (; walk->at < walk->length && walk->text[walk->at] != '\n'; walk->at++) {
        char c = walk->text[walk->at];
        size_t escape;

        if (c == quote) {
            walk->at++;
            return 0;
        }
        if (quote == '\'') {
            if (c == '\\' && (peek(walk, 1) == '\'' || peek(walk, 1) == '\\'))
                walk->at++;
            continue;
        }
        if (c == '$' && peek(walk, 1) == '{')
            return fail(walk, walk->line,
                        "variables are not replaced; '${' in a text is written \\${");
        if (c != '\\')
            continue;
        escape = escape_length(walk);
        if (escape == 0)
            return fail(walk, walk->line,
                        "after a backslash stands one of \" \\ $ n t, or x and two hex digits");
        walk->at += escape;
    }
    return fail(walk, walk->line, "the text that begins with %c is not closed in this line", quote);
}

/* What may stand outside of quotes, besides blanks and what the loop below knows. */
static int pass_plain(struct walk *walk)
{
    char c = walk->text[walk->at];
    bool begins = walk->at == 0 || strchr(" \t\r\n{}(),=+\"'", walk->text[walk->at - 1]) != NULL;

    if (begins && c == '/' && (peek(walk, 1) == '/' || peek(walk, 1) == '*'))
        return fail(walk, walk->line, "a comment begins with #");
    if (strchr("*|\\$()", c) != NULL)
        return fail(walk, walk->line, "a text with '%c' in it stands in quotes", c);
    walk->at++;
    return 0;
}

int settings_text_clean(char *text, size_t length, const char *name, char *why, size_t size)
{
    struct walk walk = {
        .text = text, .length = length, .line = 1, .name = name, .why = why, .size = size};
    unsigned opened[8]; /* the lines of the braces that are open */
    size_t depth = 0;

    if (find_binary(&walk) != 0)
        return -1;
    while (walk.at < length) {
        unsigned char c = (unsigned char)text[walk.at];

        if (c == '"' || c == '\'') {
            if (pass_string(&walk) != 0)
                return -1;
        } else if (c == '#') {
            blank_comment(&walk);
        } else if (c == '{') {
            if (depth == sizeof(opened) / sizeof(opened[0]))
                return fail(&walk, walk.line, "too many braces");
            opened[depth++] = walk.line;
            walk.at++;
        } else if (c == '}') {
            if (depth == 0)
                return fail(&walk, walk.line, "a closing brace that none opens");
            depth--;
            walk.at++;
        } else if (c <= ' ') {
            walk.line += c == '\n';
            walk.at++;
        } else if (pass_plain(&walk) != 0) {
            return -1;
        }
    }
    if (depth > 0)
        return fail(&walk, opened[depth - 1], "the brace that is opened here is not closed");
    return 0;
}
