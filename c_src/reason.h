/*
 * What is kept of a term once the callback it was valid in is over: a fingerprint to compare by, and
 * what its shape says. No VM is needed to handle these (term.h makes them).
 */
#ifndef CORONER_REASON_H
#define CORONER_REASON_H

#include <stdbool.h>
#include <stdint.h>

/* Equal terms have equal fingerprints. Different ones differ, but for one pair in 2^64, where both are whole. */
struct fingerprint {
    uint64_t hash;
    bool whole; /* the walk saw all of the term */
};

/** fingerprint_same(a, b): whether the terms behind ${a} and ${b} are taken for the same. */
static inline bool fingerprint_same(struct fingerprint a, struct fingerprint b)
{
    return a.hash == b.hash && a.whole == b.whole;
}

/* X(symbol, value of exit.reason_class): what a reason looks like, told without walking it. */
#define REASON_SHAPES(X)                                                                           \
    X(NORMAL, "normal")             /* normal */                                                   \
    X(SHUTDOWN, "shutdown")         /* shutdown, {shutdown, _} */                                  \
    X(KILLED, "killed")             /* killed */                                                   \
    X(KILL, "kill")                 /* kill: somebody's exit(kill), over a link */                 \
    X(NOPROC, "noproc")             /* noproc, {noproc, _} */                                      \
    X(NOCONNECTION, "noconnection") /* noconnection */                                             \
    X(TIMEOUT, "timeout")           /* timeout, {timeout, _} */                                    \
    X(ERROR, "error")               /* {Reason, Stacktrace}, as the VM makes it of an uncaught error */ \
    X(THROW, "throw")               /* {{nocatch, Term}, Stacktrace} */                            \
    X(RPC_REPLY, "rpc_reply")       /* {Ref, return, _}: an erpc worker that answered */           \
    X(OTHER, "other")

enum reason_shape {
#define X(symbol, name) REASON_##symbol,
    REASON_SHAPES(X)
#undef X
        REASON_SHAPE_COUNT
};

/** reason_shape_name(shape): the name of ${shape} as `exit.reason_class` has it. */
const char *reason_shape_name(enum reason_shape shape);

#endif
