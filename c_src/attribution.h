/*
 * From evidence to a verdict: who or what ended a process, and how sure that is.
 *
 * Pure: no VM, no lock, no memory, no clock. What was observed goes in, the verdict comes out, so that
 * all of it can be tested and fuzzed without a node. docs/attribution.md gives the rules in words.
 */
#ifndef CORONER_ATTRIBUTION_H
#define CORONER_ATTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"
#include "source.h"

/* What can be known of a process before it exits, that could be why it does. */
enum evidence_kind {
    EVIDENCE_SIGNAL,  /* somebody called exit/2 on it */
    EVIDENCE_LINKED,  /* a process in its link set died; the signal is on its way */
    EVIDENCE_TRAPPED, /* a linked process died and it survived that: the signal became a message */
    EVIDENCE_EXIT,    /* it called exit/1 itself */
    EVIDENCE_RAISE,   /* it called erlang:raise(exit, _, _) itself: how proc_lib's processes end */
    EVIDENCE_STOP,    /* somebody asked it to stop, as gen_server:stop/1 does */
    EVIDENCE_PORT,    /* a linked port closed */
    EVIDENCE_HEAP,    /* the VM found its heap too large, and has not gone on with it since */
    EVIDENCE_DEAD,    /* a process in its link set was dead already when it was linked to */
    EVIDENCE_REMOTE,  /* a process of another node is in its link set; nothing is known of its end */
    EVIDENCE_UNSEEN,  /* a linked process died outside the scope: nothing is known of its end */
    EVIDENCE_LIMIT    /* what it set as the limit of its heap: no cause by itself */
};

/* A trapped exit is taken for the cause of an exit with the same reason for this long. */
#define ATTRIBUTION_TRAPPED_AGE_NS (UINT64_C(60) * 1000 * 1000 * 1000)

struct evidence_facts {
    uint8_t kind;              /* enum evidence_kind */
    uint8_t as;                /* SIGNAL: enum coroner_source, what it was sent as, where that is more than exit/2 */
    bool is_kill;              /* SIGNAL: the reason is the atom kill */
    bool is_self;              /* SIGNAL: sent to itself */
    bool may_be_lost;          /* SIGNAL: sent to an alias, which may have been given up */
    bool still_linked;         /* LINKED, PORT, UNSEEN: the peer is in its link set at its exit */
    bool is_parent;            /* SIGNAL, LINKED, TRAPPED, UNSEEN: it came from its parent */
    bool from_parent;          /* EXIT, RAISE: the stack shows that the parent's exit, trapped, led to it */
    bool from_stop;            /* EXIT, RAISE: the stack shows that a request to stop led to it */
    bool by_call;              /* EXIT, RAISE: it called exit/1 with this reason, so whatever it looks like is no error */
    uint8_t shape;             /* enum reason_shape of the reason below */
    struct fingerprint reason; /* that was sent, or that the peer died of, or that it called exit/1 with */
    uint64_t time_ns;          /* monotonic clock */
};

struct exit_facts {
    struct fingerprint reason;
    uint8_t shape; /* enum reason_shape */
    bool trapping; /* process_flag(trap_exit, true) holds at its exit */
    bool evidence_lost; /* some evidence was dropped, or there may have been some before it was traced */
    bool in_proc_lib;   /* it runs in proc_lib, so an error of its own is raised once more, and seen */
    bool linked_to_dead;  /* the reason's stack shows that link/1 found nobody */
    bool has_decided;     /* a supervisor that was seen to end by its own rules */
    bool is_crasher;      /* the VM's stand-in for a process that could not be spawned on another node */
    bool is_distributed;  /* other nodes are connected: what they do to it is not seen here */
    uint64_t time_ns;   /* of the exit, monotonic clock */
};

#define ATTRIBUTION_CANDIDATES 8
#define ATTRIBUTION_EVIDENCE 64 /* pieces that are weighed at most */
#define ATTRIBUTION_NO_EVIDENCE (-1)

struct candidate {
    uint8_t source; /* enum coroner_source */
    int evidence;   /* index of the evidence, or ATTRIBUTION_NO_EVIDENCE */
};

struct verdict {
    uint8_t source;     /* enum coroner_source */
    uint8_t confidence; /* enum coroner_confidence */
    int evidence;       /* index of what caused it, or ATTRIBUTION_NO_EVIDENCE */
    size_t candidates;  /* all that fit when ambiguous, the verdict's own first; else 0 */
    struct candidate candidate[ATTRIBUTION_CANDIDATES];
};

/** attribute(facts, evidence, count): the verdict on an exit, from its ${count} pieces of evidence in any order. */
struct verdict attribute(const struct exit_facts *facts, const struct evidence_facts *evidence,
                         size_t count);

#endif
