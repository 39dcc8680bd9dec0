#include "ctl_cookie.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Check and keep the cookie ${value}, which came from ${place}. */
static enum ctl_exit keep(const char *value, const char *place, char cookie[CTL_COOKIE_SIZE])
{
    size_t length = strlen(value);

    if (length == 0) {
        CTL_COMPLAIN("the cookie from ", place, " is empty");
        return CTL_USAGE;
    }
    if (length >= CTL_COOKIE_SIZE) {
        CTL_COMPLAIN("the cookie from ", place,
                     " is longer than 255 bytes: no node has such a one");
        return CTL_USAGE;
    }
    memcpy(cookie, value, length + 1);
    return CTL_OK;
}

/* Read the first line of ${path}. If it does not exist and ${optional}, return CTL_NOTHING. */
static enum ctl_exit read_file(const char *path, bool optional, char cookie[CTL_COOKIE_SIZE])
{
    char line[CTL_COOKIE_SIZE + 1]; /* one byte too many fits, so that a long cookie is seen */
    size_t length = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        if (error == ENOENT && optional)
            return CTL_NOTHING;
        CTL_COMPLAIN("cannot read the cookie file ", path, ": ", strerror(error),
                     error == EACCES
                         ? ". Run as the user who runs the node, or name another file with "
                           "--cookie-file"
                         : "");
        return error == EACCES || error == EPERM ? CTL_NOPERM : CTL_USAGE;
    }
    while (length < sizeof(line) - 1) {
        ssize_t got = read(fd, line + length, sizeof(line) - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            CTL_COMPLAIN("cannot read the cookie file ", path, ": ", strerror(errno));
            close(fd);
            return CTL_USAGE;
        }
        if (got == 0)
            break;
        length += (size_t)got;
    }
    close(fd);
    line[length] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return keep(line, path, cookie);
}

enum ctl_exit ctl_cookie_read(const struct ctl_options *options, char cookie[CTL_COOKIE_SIZE])
{
    static const char *const hint = "; name one with --cookie-file FILE or CORONER_COOKIE";
    char path[PATH_MAX];

    if (options->cookie != NULL) {
        CTL_COMPLAIN(
            "warning: --cookie shows the cookie to everybody who runs ps; --cookie-file and "
            "CORONER_COOKIE do not");
        return keep(options->cookie, "--cookie", cookie);
    }
    if (options->cookie_file != NULL)
        return read_file(options->cookie_file, false, cookie);

    const char *value = getenv("CORONER_COOKIE");
    if (value != NULL)
        return keep(value, "CORONER_COOKIE", cookie);

    const char *home = getenv("HOME");
    if (home == NULL || home[0] == '\0') {
        const struct passwd *user = getpwuid(getuid());
        home = user != NULL ? user->pw_dir : "/";
    }
    int written = snprintf(path, sizeof(path), "%s/.erlang.cookie", home);
    if (written < 0 || (size_t)written >= sizeof(path)) {
        CTL_COMPLAIN("the home directory's path is too long", "", hint);
        return CTL_USAGE;
    }
    enum ctl_exit result = read_file(path, true, cookie);
    if (result != CTL_NOTHING)
        return result;

    const char *config = getenv("XDG_CONFIG_HOME");
    char second[PATH_MAX];
    if (config != NULL && config[0] != '\0')
        written = snprintf(second, sizeof(second), "%s/erlang/.erlang.cookie", config);
    else
        written = snprintf(second, sizeof(second), "%s/.config/erlang/.erlang.cookie", home);
    if (written > 0 && (size_t)written < sizeof(second)) {
        result = read_file(second, true, cookie);
        if (result != CTL_NOTHING)
            return result;
    }
    CTL_COMPLAIN("there is no cookie file ", path, hint);
    return CTL_USAGE;
}
