/*
 * Who asked for the purge that is going on.
 *
 * erts_code_purger is one process and takes one request at a time (erts_code_purger.erl, OTP 25 .. 29): from its
 * handle_request/2 to its purge_module(_, complete | abort) every exit(P, kill) it calls is for that request's
 * module. The request names code_server nearly always; whom code_server did it for stands in the call of its
 * handle_call/3, and from where in the requester's own call of code:purge/1 and the like. Calls like these are
 * rare, so a few of each are kept under one lock.
 */
#ifndef CORONER_PURGE_H
#define CORONER_PURGE_H

#include "act.h"
#include "ledger.h"

struct purge;

/** purge_new(): knows of no purge. NULL without memory. */
struct purge *purge_new(void);

/** purge_free(purge): frees it; nobody may use it any more. NULL is a no-op. */
void purge_free(struct purge *purge);

/** purge_reset(purge, purger, code_server): forgets everything; these are the pids of the two processes. */
void purge_reset(struct purge *purge, term_word purger, term_word code_server);

/**
 * purge_code_call(purge, pid, module, function, site, inner): ${pid} called ${function}, which may lead to a purge of
 * ${module} (NO_WORD where the call does not tell). ${inner}: others of these functions call it in turn, so it is
 * taken for a part of such a call of ${pid} if there is one.
 */
void purge_code_call(struct purge *purge, term_word pid, term_word module, uint32_t function,
                     struct site site, bool inner);

/** purge_asked(purge, requester, module, operation): code_server handles a request of ${requester} for ${module}. */
void purge_asked(struct purge *purge, term_word requester, term_word module,
                 enum operation operation);

/** purge_begin(purge, ledger, module, from, operation): the purger begins; ${from} asked it. OPERATION_NONE: it will not kill. */
void purge_begin(struct purge *purge, struct ledger *ledger, term_word module, term_word from,
                 enum operation operation);

/** purge_end(purge): the purger is through with that. */
void purge_end(struct purge *purge);

/** purge_behind(purge, killer): the purge for which ${killer} kills now, held for the caller; NULL when it is none. */
struct act *purge_behind(struct purge *purge, term_word killer);

#endif
