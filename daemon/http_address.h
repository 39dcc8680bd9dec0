/*
 * Where HTTP may be served: at an address of this host alone, or a Unix socket.
 */
#ifndef CORONER_HTTP_ADDRESS_H
#define CORONER_HTTP_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>

#include "endpoint.h"

#define HTTP_UNIX_PREFIX "unix:"

union http_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/*
 * http_address_check(address, why):
 * Return 0 if ${address} is 127.x.y.z:PORT, [::1]:PORT or unix:PATH; or -1, and say in ${why} what
 * is wrong, ${address} included. Port 0 is any that is free.
 */
int http_address_check(const char *address, char why[ENDPOINT_WHY_SIZE]);

/*
 * http_address_is_unix(address):
 * Return whether ${address} names a Unix socket, whose path follows HTTP_UNIX_PREFIX.
 */
bool http_address_is_unix(const char *address);

/*
 * http_address_read(text, address, why):
 * Read an address that names no Unix socket. Return as http_address_check does.
 */
int http_address_read(const char *text, union http_address *address, char why[ENDPOINT_WHY_SIZE]);

#endif
