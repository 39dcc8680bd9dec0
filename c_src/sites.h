/*
 * From where a process asked for something that another process then does: a purge, a stop. The call of the
 * public function (code:purge/1, gen_server:stop/1) shows the caller's own code; what comes of it is seen in
 * other functions, or other processes, a moment later. A call leads to one thing and is not taken for the cause
 * of another. Calls like these are rare, so a few are kept. Not locked: the owner has a lock.
 */
#ifndef CORONER_SITES_H
#define CORONER_SITES_H

#include "act.h"

#define SITES_KEPT 64

struct asked_from {
    term_word pid;     /* of the caller; NO_WORD once it is taken */
    term_word subject; /* a module, a process, an application; NO_WORD where the call does not tell */
    uint32_t function; /* that was called, intern number */
    struct site site;
};

struct sites {
    uint32_t made; /* ever; the newest is at (made - 1) % SITES_KEPT */
    struct asked_from calls[SITES_KEPT];
};

/**
 * sites_add(sites, call, inner): remembers ${call}. ${inner}: others of these functions call it in turn, so it is a part of
 * such a call of the same process if there is one.
 */
void sites_add(struct sites *sites, struct asked_from call, bool inner);

/**
 * sites_take(sites, pid, subject): the newest call of ${pid} for ${subject}, or for one it does not tell, which is taken by it;
 * or an empty one.
 */
struct asked_from sites_take(struct sites *sites, term_word pid, term_word subject);

/** sites_newest(sites, subject): the newest call of anybody for just this ${subject}, or an empty one. It is not taken. */
struct asked_from sites_newest(const struct sites *sites, term_word subject);

#endif
