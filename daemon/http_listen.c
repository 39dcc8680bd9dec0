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

#include "http_listen.h"
#include "memory.h"

#define BACKLOG 64
#define UNIX_PREFIX "unix:"
#define FORMS "127.0.0.1:PORT, [::1]:PORT or unix:PATH"

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

__attribute__((format(printf, 2, 3))) static int fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, ENDPOINT_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

static int read_port(const char *text, uint16_t *port)
{
    char *end;
    unsigned long number;

    if (text[0] < '0' || text[0] > '9')
        return -1;
    number = strtoul(text, &end, 10);
    if (*end != '\0' || number > UINT16_MAX)
        return -1;
    *port = htons((uint16_t)number);
    return 0;
}

/* The host and the port of HOST:PORT, brackets removed. */
static int split(const char *text, char host[INET6_ADDRSTRLEN], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    size_t length;

    if (colon == NULL || read_port(colon + 1, port) != 0)
        return -1;
    length = (size_t)(colon - text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= INET6_ADDRSTRLEN)
        return -1;
    memcpy(host, text, length);
    host[length] = '\0';
    return 0;
}

static int read_address(const char *text, union address *address, char *why)
{
    char host[INET6_ADDRSTRLEN];
    uint16_t port;

    memset(address, 0, sizeof(*address));
    if (split(text, host, &port) != 0)
        return fail(why, "%.120s: no address for HTTP: %s", text, FORMS);
    if (inet_pton(AF_INET, host, &address->four.sin_addr) == 1) {
        address->four.sin_family = AF_INET;
        address->four.sin_port = port;
        if (ntohl(address->four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
            return 0;
    } else if (text[0] == '[' && inet_pton(AF_INET6, host, &address->six.sin6_addr) == 1) {
        address->six.sin6_family = AF_INET6;
        address->six.sin6_port = port;
        if (IN6_IS_ADDR_LOOPBACK(&address->six.sin6_addr))
            return 0;
    } else {
        return fail(why, "%.120s: no address for HTTP: %s", text, FORMS);
    }
    return fail(why,
                "%.120s: not an address of this host alone: HTTP has no access control, so it is "
                "served at %s; to reach it from elsewhere, put a proxy with access control before "
                "it",
                text, FORMS);
}

static bool is_unix(const char *address)
{
    return strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
}

int http_address_check(const char *address, char why[ENDPOINT_WHY_SIZE])
{
    union address parsed;

    if (!is_unix(address))
        return read_address(address, &parsed, why);
    if (address[strlen(UNIX_PREFIX)] != '/')
        return fail(why, "%.120s: the path of a Unix socket begins with /", address);
    return 0;
}

static int open_tcp(struct http_listen *listen, const char *text, char *why)
{
    union address address;
    socklen_t size = sizeof(address);
    char host[INET6_ADDRSTRLEN];
    int on = 1;

    if (read_address(text, &address, why) != 0)
        return -1;
    listen->tcp = true;
    listen->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listen->fd < 0 || setsockopt(listen->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(listen->fd, &address.any,
             address.any.sa_family == AF_INET ? sizeof(address.four) : sizeof(address.six)) != 0 ||
        getsockname(listen->fd, &address.any, &size) != 0)
        return fail(why, "%.120s: cannot listen for HTTP: %s", text, strerror(errno));
    if (address.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address.four.sin_addr, host, sizeof(host));
        snprintf(listen->at, sizeof(listen->at), "%s:%d", host, ntohs(address.four.sin_port));
    } else {
        inet_ntop(AF_INET6, &address.six.sin6_addr, host, sizeof(host));
        snprintf(listen->at, sizeof(listen->at), "[%s]:%d", host, ntohs(address.six.sin6_port));
    }
    return 0;
}

struct http_listen *http_listen_open(const char *address, char why[ENDPOINT_WHY_SIZE])
{
    struct http_listen *opened = memory_zeroed(sizeof(*opened));

    opened->fd = -1;
    if (http_address_check(address, why) != 0)
        goto error;
    if (is_unix(address)) {
        opened->endpoint = endpoint_open(address + strlen(UNIX_PREFIX), why);
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

void http_listen_close(struct http_listen *listen)
{
    if (listen == NULL)
        return;
    if (listen->fd >= 0)
        close(listen->fd);
    endpoint_close(listen->endpoint);
    free(listen);
}
