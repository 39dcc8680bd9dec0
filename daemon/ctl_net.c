#include "ctl_net.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>

int64_t ctl_net_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until ${fd} is ready for ${events}. Return 0 or an errno value. */
static int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd ready = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline - ctl_net_now();
        if (left < 0)
            left = 0;
        if (left > INT_MAX)
            left = INT_MAX;
        int count = poll(&ready, 1, (int)left);
        if (count > 0)
            return 0;
        if (count == 0)
            return ETIMEDOUT;
        if (errno != EINTR)
            return errno;
    }
}

int ctl_net_connect(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline)
{
    int error = 0;
    socklen_t size = sizeof(error);

    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return errno;
    int waited = wait_for(fd, POLLOUT, deadline);
    if (waited != 0)
        return waited;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        return errno;
    return error;
}

int ctl_net_read(int fd, void *buffer, size_t size, int64_t deadline, size_t *got)
{
    for (;;) {
        ssize_t count = recv(fd, buffer, size, MSG_DONTWAIT);
        if (count >= 0) {
            *got = (size_t)count;
            return 0;
        }
        if (errno == EAGAIN) {
            int waited = wait_for(fd, POLLIN, deadline);
            if (waited != 0)
                return waited;
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

int ctl_net_read_all(int fd, void *buffer, size_t size, int64_t deadline)
{
    char *at = buffer;

    while (size > 0) {
        size_t got = 0;
        int error = ctl_net_read(fd, at, size, deadline, &got);
        if (error != 0)
            return error;
        if (got == 0)
            return ECONNRESET;
        at += got;
        size -= got;
        if (size > 0 && ctl_net_now() > deadline)
            return ETIMEDOUT;
    }
    return 0;
}

int ctl_net_write_all(int fd, const void *bytes, size_t length, int64_t deadline)
{
    const char *at = bytes;

    while (length > 0) {
        ssize_t count = send(fd, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count >= 0) {
            at += count;
            length -= (size_t)count;
        } else if (errno == EAGAIN) {
            int waited = wait_for(fd, POLLOUT, deadline);
            if (waited != 0)
                return waited;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}
