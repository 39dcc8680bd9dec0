#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"
#include "memory.h"

#define BACKLOG 128
#define LOCK_TRIES 100
#define LOCK_PAUSE_MS 50

__attribute__((format(printf, 2, 3))) static int fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, ENDPOINT_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

/* Make way at the path: remove what a dead daemon left, and nothing else. */
static int make_way(const struct sockaddr_un *address, char *why)
{
    const char *path = address->sun_path;
    struct stat status;
    int fd, result;

    if (lstat(path, &status) != 0) {
        if (errno == ENOENT)
            return 0;
        return fail(why, "%s: cannot create the socket: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(status.st_mode))
        return fail(why, "%s: exists and is no socket", path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(why, "%s: cannot create the socket: %s", path, strerror(errno));
    result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    if (result != 0 && errno == ECONNREFUSED)
        result = unlink(path) == 0
                     ? 0
                     : fail(why, "%s: cannot remove the old socket: %s", path, strerror(errno));
    else if (result == 0 || errno == EAGAIN)
        result = fail(why, "%s: somebody is listening on this socket", path);
    else
        result =
            fail(why, "%s: cannot tell whether the socket is in use: %s", path, strerror(errno));
    close(fd);
    return result;
}

/*
 * Between the look at what stands at the path and the moment we listen there, another daemon may do
 * the same, and would take our socket for a dead one's. So the folder is locked meanwhile. Return
 * its descriptor, or -1.
 */
static int lock_folder(const char *path, int *exit_code, char *why)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000};
    const char *slash = strrchr(path, '/');
    char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)] = ".";
    int fd;

    if (slash == path)
        strcpy(folder, "/");
    else if (slash != NULL)
        snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        fail(why, "%s: cannot create the socket: its directory: %s%s", path, strerror(errno),
             errno == ENOENT ? "; its directory must be there" : "");
        return -1;
    }
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == LOCK_TRIES || errno != EWOULDBLOCK) {
            *exit_code = EX_TEMPFAIL;
            fail(why, "%s: cannot create the socket: somebody keeps its directory locked", path);
            close(fd);
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

static int listen_at(struct endpoint *endpoint, const struct sockaddr_un *address, char *why)
{
    const char *path = address->sun_path;
    struct stat status;
    mode_t mask;
    int result;

    endpoint->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (endpoint->fd < 0)
        return fail(why, "%s: cannot create the socket: %s", path, strerror(errno));
    /* At first it is for nobody else: endpoint_permit opens it. */
    mask = umask(0177);
    result = bind(endpoint->fd, (const struct sockaddr *)address, sizeof(*address));
    umask(mask);
    if (result != 0)
        return fail(why, "%s: cannot create the socket: %s", path, strerror(errno));
    endpoint->path = memory_string(path);
    if (lstat(path, &status) == 0) {
        endpoint->device = status.st_dev;
        endpoint->inode = status.st_ino;
    }
    if (listen(endpoint->fd, BACKLOG) != 0)
        return fail(why, "%s: cannot listen: %s", path, strerror(errno));
    return 0;
}

struct endpoint *endpoint_open(const struct socket_settings *settings, int *exit_code,
                               char why[ENDPOINT_WHY_SIZE])
{
    struct endpoint *endpoint = memory_zeroed(sizeof(*endpoint));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = settings->path;
    int folder = -1;

    endpoint->fd = -1;
    *exit_code = EX_CANTCREAT;
    if (strlen(path) >= sizeof(address.sun_path)) {
        fail(why, "%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
        goto error;
    }
    memcpy(address.sun_path, path, strlen(path));
    folder = lock_folder(path, exit_code, why);
    if (folder < 0 || make_way(&address, why) != 0 || listen_at(endpoint, &address, why) != 0 ||
        endpoint_permit(endpoint, settings, why) != 0)
        goto error;
    close(folder);
    return endpoint;

error:
    endpoint_close(endpoint);
    if (folder >= 0)
        close(folder);
    return NULL;
}

struct endpoint *endpoint_passed(int fd)
{
    struct endpoint *endpoint = memory_zeroed(sizeof(*endpoint));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(address) - 1; /* its end is a NUL in any case */

    endpoint->fd = fd;
    endpoint->passed = true;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0 || address.sun_path[0] == '\0')
        endpoint->path = memory_string("a socket of systemd's");
    else
        endpoint->path = memory_string(address.sun_path);
    return endpoint;
}

int endpoint_permit(const struct endpoint *endpoint, const struct socket_settings *settings,
                    char why[ENDPOINT_WHY_SIZE])
{
    struct stat status;
    char name[32];
    int fd, result = -1;

    if (endpoint->passed)
        return 0;
    /* By descriptor: what stands at the path may have been replaced by a link to something else. */
    fd = open(endpoint->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_dev != endpoint->device ||
        status.st_ino != endpoint->inode) {
        fail(why, "%s: somebody has replaced the socket", endpoint->path);
        goto done;
    }
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    if (settings->group != (gid_t)-1 && settings->group != status.st_gid &&
        fchownat(fd, "", (uid_t)-1, settings->group, AT_EMPTY_PATH) != 0) {
        fail(why, "%s: cannot give the socket to the group %u: %s; is the daemon's user in it?",
             endpoint->path, (unsigned)settings->group, strerror(errno));
        goto done;
    }
    if ((status.st_mode & 07777) != settings->mode && chmod(name, settings->mode) != 0) {
        fail(why, "%s: cannot set the mode of the socket: %s", endpoint->path, strerror(errno));
        goto done;
    }
    result = 0;

done:
    if (fd >= 0)
        close(fd);
    return result;
}

void endpoint_close(struct endpoint *endpoint)
{
    struct stat status;

    if (endpoint == NULL)
        return;
    if (endpoint->path != NULL && !endpoint->passed && lstat(endpoint->path, &status) == 0 &&
        status.st_dev == endpoint->device && status.st_ino == endpoint->inode)
        unlink(endpoint->path);
    if (endpoint->fd >= 0)
        close(endpoint->fd);
    free(endpoint->path);
    free(endpoint);
}
