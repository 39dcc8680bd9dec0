#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access.h"
#include "memory.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

/* Of the connections, one in so many, and at least two, is kept for root and the daemon's user. */
#define RESERVE_PART 16
#define RESERVE_LEAST 2

struct user {
    uid_t uid;
    unsigned count;
};

struct access {
    const char *section;
    const struct socket_settings *settings;
    const unsigned *most;
    const unsigned *most_per_user;
    unsigned count;     /* connections */
    struct user *users; /* those that have connections: no more than these */
    size_t user_count;
};

struct access *access_new(const char *section, const struct socket_settings *settings,
                          const unsigned *most, const unsigned *most_per_user)
{
    struct access *access = memory_zeroed(sizeof(*access));

    access->section = section;
    access->settings = settings;
    access->most = most;
    access->most_per_user = most_per_user;
    return access;
}

__attribute__((format(printf, 3, 4))) static enum access_verdict
refuse(enum access_verdict verdict, char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, ACCESS_WHY_SIZE, format, arguments);
    va_end(arguments);
    return verdict;
}

/* Who is never locked out: whoever can end the daemon anyway. */
static bool is_master(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

static bool has_gid(const struct socket_settings *settings, gid_t gid)
{
    for (size_t i = 0; i < settings->gid_count; i++) {
        if (settings->gids[i] == gid)
            return true;
    }
    return false;
}

static bool is_allowed(const struct socket_settings *settings, const struct ucred *peer,
                       const gid_t *groups, size_t count)
{
    if (settings->uid_count == 0 && settings->gid_count == 0)
        return true;
    for (size_t i = 0; i < settings->uid_count; i++) {
        if (settings->uids[i] == peer->uid)
            return true;
    }
    if (has_gid(settings, peer->gid))
        return true;
    for (size_t i = 0; i < count; i++) {
        if (has_gid(settings, groups[i]))
            return true;
    }
    return false;
}

static struct user *find_user(struct access *access, uid_t uid)
{
    for (size_t i = 0; i < access->user_count; i++) {
        if (access->users[i].uid == uid)
            return &access->users[i];
    }
    return NULL;
}

static void enter(struct access *access, struct access_guest *guest)
{
    struct user *user = find_user(access, guest->peer.uid);

    if (user == NULL) {
        access->users =
            memory_resize(access->users, (access->user_count + 1) * sizeof(*access->users));
        user = &access->users[access->user_count++];
        *user = (struct user){.uid = guest->peer.uid};
    }
    user->count++;
    access->count++;
    guest->entered = true;
}

static unsigned open_to_all(const struct access *access)
{
    unsigned reserve = *access->most / RESERVE_PART;

    if (reserve < RESERVE_LEAST)
        reserve = RESERVE_LEAST;
    return *access->most > reserve ? *access->most - reserve : 0;
}

enum access_verdict access_judge(struct access *access, struct access_guest *guest,
                                 const gid_t *groups, size_t count, char why[ACCESS_WHY_SIZE])
{
    uid_t uid = guest->peer.uid;
    const struct user *user = find_user(access, uid);
    const char *section = access->section;

    if (!is_master(uid)) {
        if (!is_allowed(access->settings, &guest->peer, groups, count))
            return refuse(ACCESS_DENIED, why,
                          "uid %u may not use this socket: add it to %s.allow_users, or its group "
                          "to %s.allow_groups, in coronerd.conf, then SIGHUP coronerd",
                          (unsigned)uid, section, section);
        if (user != NULL && user->count >= *access->most_per_user)
            return refuse(ACCESS_FULL, why,
                          "uid %u has %u connections already, and a user may have %u "
                          "(limits.%s_connections_per_user in coronerd.conf)",
                          (unsigned)uid, user->count, *access->most_per_user, section);
        if (access->count >= open_to_all(access))
            return refuse(ACCESS_FULL, why,
                          "there are %u connections already, and the rest is kept for root "
                          "(limits.%s_connections in coronerd.conf)",
                          access->count, section);
    }
    if (access->count >= *access->most)
        return refuse(ACCESS_FULL, why,
                      "there are %u connections already (limits.%s_connections in coronerd.conf)",
                      access->count, section);
    enter(access, guest);
    return ACCESS_GRANTED;
}

/* The peer's supplementary groups, none if the kernel does not tell. */
static gid_t *peer_groups(int fd, size_t *count)
{
    socklen_t size = 0;
    gid_t *groups = NULL;

    *count = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
        return NULL;
    groups = memory_get(size);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
        *count = size / sizeof(gid_t);
    return groups;
}

enum access_verdict access_enter(struct access *access, int fd, struct access_guest *guest,
                                 char why[ACCESS_WHY_SIZE])
{
    socklen_t size = sizeof(guest->peer);
    enum access_verdict verdict;
    gid_t *groups = NULL;
    size_t count = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &guest->peer, &size) != 0)
        return refuse(ACCESS_DENIED, why, "the kernel does not say whose connection this is: %s",
                      strerror(errno));
    if (access->settings->gid_count > 0)
        groups = peer_groups(fd, &count);
    verdict = access_judge(access, guest, groups, count, why);
    free(groups);
    return verdict;
}

void access_leave(struct access *access, struct access_guest *guest)
{
    struct user *user;

    if (!guest->entered)
        return;
    guest->entered = false;
    access->count--;
    user = find_user(access, guest->peer.uid);
    if (--user->count == 0)
        *user = access->users[--access->user_count];
}

void access_free(struct access *access)
{
    if (access == NULL)
        return;
    free(access->users);
    free(access);
}
