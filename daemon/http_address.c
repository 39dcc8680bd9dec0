#include <arpa/inet.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_address.h"

#define FORMS "127.0.0.1:PORT, [::1]:PORT or unix:PATH"

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

int http_address_read(const char *text, union http_address *address, char why[ENDPOINT_WHY_SIZE])
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

bool http_address_is_unix(const char *address)
{
    return strncmp(address, HTTP_UNIX_PREFIX, strlen(HTTP_UNIX_PREFIX)) == 0;
}

int http_address_check(const char *address, char why[ENDPOINT_WHY_SIZE])
{
    union http_address parsed;

    if (!http_address_is_unix(address))
        return http_address_read(address, &parsed, why);
    if (address[strlen(HTTP_UNIX_PREFIX)] != '/')
        return fail(why, "%.120s: the path of a Unix socket begins with /", address);
    return 0;
}
