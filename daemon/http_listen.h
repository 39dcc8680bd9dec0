/*
 * The socket that HTTP listens on: on this host alone, or a Unix socket.
 */
#ifndef CORONER_HTTP_LISTEN_H
#define CORONER_HTTP_LISTEN_H

#include <stdbool.h>

#include "endpoint.h"

#define HTTP_ADDRESS_SIZE 160

struct http_listen {
    int fd;                     /* listens; closed by whoever takes it over, then -1 */
    struct endpoint *endpoint;  /* of a Unix socket, else NULL */
    bool tcp;                   /* not a Unix socket: any page in a browser can reach it */
    char at[HTTP_ADDRESS_SIZE]; /* as text, with the port that it really has */
};

/*
 * http_listen_open(address, why):
 * Listen at ${address}; a Unix socket gets mode 0660. Return what listens, or NULL and say in
 * ${why} what is wrong.
 */
struct http_listen *http_listen_open(const char *address, char why[ENDPOINT_WHY_SIZE]);

/*
 * http_listen_passed(fd, why):
 * Take over the socket ${fd}, on which systemd listens. Return as http_listen_open does.
 */
struct http_listen *http_listen_passed(int fd, char why[ENDPOINT_WHY_SIZE]);

/*
 * http_listen_close(listen):
 * Close and free ${listen}, which may be NULL; the file of a Unix socket is removed.
 */
void http_listen_close(struct http_listen *listen);

#endif
