#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "endpoint.h"
#include "memory.h"

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

struct endpoint *endpoint_open(const char *path, char why[ENDPOINT_WHY_SIZE])
{
    struct endpoint *endpoint = memory_zeroed(sizeof(*endpoint));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    mode_t mask;

    endpoint->fd = -1;
    if (strlen(path) >= sizeof(address.sun_path)) {
        fail(why, "%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
        goto error;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (make_way(&address, why) != 0)
        goto error;
    endpoint->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (endpoint->fd < 0) {
        fail(why, "%s: cannot create the socket: %s", path, strerror(errno));
        goto error;
    }
    /* The socket has its mode from the first moment on. */
    mask = umask(0117);
    if (bind(endpoint->fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        umask(mask);
        fail(why, "%s: cannot create the socket: %s%s", path, strerror(errno),
             errno == ENOENT ? "; its directory must be there" : "");
        goto error;
    }
    umask(mask);
    endpoint->path = memory_string(path);
    if (lstat(path, &status) == 0) {
        endpoint->device = status.st_dev;
        endpoint->inode = status.st_ino;
    }
    return endpoint;

error:
    endpoint_close(endpoint);
    return NULL;
}

void endpoint_close(struct endpoint *endpoint)
{
    struct stat status;

    if (endpoint == NULL)
        return;
    if (endpoint->path != NULL && lstat(endpoint->path, &status) == 0 &&
        status.st_dev == endpoint->device && status.st_ino == endpoint->inode)
        unlink(endpoint->path);
    if (endpoint->fd >= 0)
        close(endpoint->fd);
    free(endpoint->path);
    free(endpoint);
}
