#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_address.h"
#include "http_listen.h"
#include "memory.h"

#define BACKLOG 64

__attribute__((format(printf, 2, 3))) static int fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, ENDPOINT_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

/* Write down where it listens, with the port that it really has. */
static void say_where(struct http_listen *listen, const union http_address *address)
{
    char host[INET6_ADDRSTRLEN];

    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->four.sin_addr, host, sizeof(host));
        snprintf(listen->at, sizeof(listen->at), "%s:%d", host, ntohs(address->four.sin_port));
    } else {
        inet_ntop(AF_INET6, &address->six.sin6_addr, host, sizeof(host));
        snprintf(listen->at, sizeof(listen->at), "[%s]:%d", host, ntohs(address->six.sin6_port));
    }
}

static int open_tcp(struct http_listen *listen, const char *text, char *why)
{
    union http_address address;
    socklen_t size = sizeof(address);
    int on = 1;

    if (http_address_read(text, &address, why) != 0)
        return -1;
    listen->tcp = true;
    listen->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listen->fd < 0 || setsockopt(listen->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(listen->fd, &address.any,
             address.any.sa_family == AF_INET ? sizeof(address.four) : sizeof(address.six)) != 0 ||
        getsockname(listen->fd, &address.any, &size) != 0)
        return fail(why, "%.120s: cannot listen for HTTP: %s", text, strerror(errno));
    say_where(listen, &address);
    return 0;
}

static struct endpoint *open_unix(const char *path, char *why)
{
    char *copy = memory_string(path);
    struct socket_settings settings = {.path = copy, .mode = 0660, .group = (gid_t)-1};
    int exit_code; /* that of an output that cannot be created will do */
    struct endpoint *endpoint = endpoint_open(&settings, &exit_code, why);

    free(copy);
    return endpoint;
}

struct http_listen *http_listen_open(const char *address, char why[ENDPOINT_WHY_SIZE])
{
    struct http_listen *opened = memory_zeroed(sizeof(*opened));

    opened->fd = -1;
    if (http_address_check(address, why) != 0)
        goto error;
    if (http_address_is_unix(address)) {
        opened->endpoint = open_unix(address + strlen(HTTP_UNIX_PREFIX), why);
        if (opened->endpoint == NULL)
            goto error;
        opened->fd = opened->endpoint->fd;
        opened->endpoint->fd = -1;
        snprintf(opened->at, sizeof(opened->at), "%s", address);
    } else if (open_tcp(opened, address, why) != 0) {
        goto error;
    }
    if (listen(opened->fd, BACKLOG) != 0) {
        fail(why, "%.120s: cannot listen for HTTP: %s", address, strerror(errno));
        goto error;
    }
    return opened;

error:
    http_listen_close(opened);
    return NULL;
}

struct http_listen *http_listen_passed(int fd, char why[ENDPOINT_WHY_SIZE])
{
    struct http_listen *passed = memory_zeroed(sizeof(*passed));
    union http_address address = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t size = sizeof(address);

    passed->fd = fd;
    /* A Unix socket's name is longer than there is room for, and not needed. */
    if (getsockname(fd, &address.any, &size) != 0) {
        fail(why, "the socket passed for HTTP: %s", strerror(errno));
        goto error;
    }
    if (address.any.sa_family == AF_UNIX) {
        snprintf(passed->at, sizeof(passed->at), "a Unix socket that was passed");
        return passed;
    }
    passed->tcp = true;
    say_where(passed, &address);
    if (http_address_check(passed->at, why) == 0)
        return passed;

error:
    http_listen_close(passed);
    return NULL;
}

void http_listen_close(struct http_listen *listen)
{
    if (listen == NULL)
        return;
    if (listen->fd >= 0)
        close(listen->fd);
    endpoint_close(listen->endpoint);
    free(listen);
}
