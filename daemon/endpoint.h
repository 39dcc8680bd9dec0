/*
 * A Unix stream socket that the daemon listens on.
 */
#ifndef CORONER_ENDPOINT_H
#define CORONER_ENDPOINT_H

#include <sys/types.h>

#define ENDPOINT_WHY_SIZE 256

struct endpoint {
    char *path;
    int fd; /* bound, not yet listening; the owner of the endpoint hands it on or closes it */
    dev_t device;
    ino_t inode;
};

/*
 * endpoint_open(path, why):
 * Bind a Unix stream socket (mode 0660) at ${path}. One that a dead daemon left there is replaced;
 * one that somebody listens on, or a file of another kind, is an error. Return the endpoint, or
 * NULL and say in ${why} what is wrong, ${path} included.
 */
struct endpoint *endpoint_open(const char *path, char why[ENDPOINT_WHY_SIZE]);

/*
 * endpoint_close(endpoint):
 * Remove the socket's file if it is still the one that was made, close the descriptor unless it is
 * -1, and free ${endpoint}, which may be NULL.
 */
void endpoint_close(struct endpoint *endpoint);

#endif
