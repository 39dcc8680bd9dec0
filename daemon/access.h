/*
 * Who may use a socket: by user and group as the kernel tells them, and no more connections than
 * are allowed to one user, so that no user takes them all.
 */
#ifndef CORONER_ACCESS_H
#define CORONER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "settings.h"

#define ACCESS_WHY_SIZE 256

struct access;

/* What a connection keeps of its peer; zero before access_enter. */
struct access_guest {
    struct ucred peer;
    bool entered;
};

enum access_verdict {
    ACCESS_GRANTED,
    ACCESS_DENIED, /* not for this user */
    ACCESS_FULL    /* too many connections */
};

/*
 * access_new(section, settings, most, most_per_user):
 * Watch over the socket that the section ${section} of the config file is about. ${settings} and
 * the limits on connections, *${most} and *${most_per_user}, are looked at for each peer, so that
 * they can change. All must live longer than what is returned, which access_free frees.
 */
struct access *access_new(const char *section, const struct socket_settings *settings,
                          const unsigned *most, const unsigned *most_per_user);

/*
 * access_enter(access, fd, guest, why):
 * Ask the kernel who is at the other end of ${fd}, and decide. If access is granted, the connection
 * counts until access_leave. Otherwise ${why} says what is missing and how to get it. The peer is
 * filled in in any case, unless the kernel does not tell it, which is ACCESS_DENIED.
 */
enum access_verdict access_enter(struct access *access, int fd, struct access_guest *guest,
                                 char why[ACCESS_WHY_SIZE]);

/*
 * access_judge(access, guest, groups, count, why):
 * The same for a peer that is known, and is in the ${count} ${groups} besides its own.
 */
enum access_verdict access_judge(struct access *access, struct access_guest *guest,
                                 const gid_t *groups, size_t count, char why[ACCESS_WHY_SIZE]);

/*
 * access_leave(access, guest):
 * The connection has ended. Nothing happens if it did not enter.
 */
void access_leave(struct access *access, struct access_guest *guest);

/*
 * access_free(access):
 * Free ${access}, which may be NULL.
 */
void access_free(struct access *access);

#endif
