/*
 * A Unix stream socket that the daemon listens on.
 */
#ifndef CORONER_ENDPOINT_H
#define CORONER_ENDPOINT_H

#include <stdbool.h>
#include <sys/types.h>

#include "settings.h"

#define ENDPOINT_WHY_SIZE 256

struct endpoint {
    char *path;
    int fd;      /* listens; the owner of the endpoint hands it on or closes it */
    bool passed; /* made by systemd: its file is not ours */
    dev_t device;
    ino_t inode;
};

/*
 * endpoint_open(settings, exit_code, why):
 * Listen on a Unix stream socket with the path, mode and group of ${settings}. One that a dead
 * daemon left there is replaced; one that somebody listens on, or a file of another kind, is an
 * error. Of daemons that start at the same moment one gets it. Return the endpoint, or NULL, then
 * ${why} says what is wrong, the path included, and *${exit_code} is the one of sysexits.h that
 * fits.
 */
struct endpoint *endpoint_open(const struct socket_settings *settings, int *exit_code,
                               char why[ENDPOINT_WHY_SIZE]);

/*
 * endpoint_passed(fd):
 * Take the socket ${fd}, on which systemd listens for us.
 */
struct endpoint *endpoint_passed(int fd);

/*
 * endpoint_permit(endpoint, settings, why):
 * Give the socket's file the mode and the group of ${settings}; one that systemd made is left as it
 * is. Return 0, or -1 and say in ${why} what is wrong.
 */
int endpoint_permit(const struct endpoint *endpoint, const struct socket_settings *settings,
                    char why[ENDPOINT_WHY_SIZE]);

/*
 * endpoint_close(endpoint):
 * Remove the socket's file if it is still the one that was made, close the descriptor unless it is
 * -1, and free ${endpoint}, which may be NULL.
 */
void endpoint_close(struct endpoint *endpoint);

#endif
