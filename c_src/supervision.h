/*
 * What supervisors are doing, and why they end their children.
 *
 * A supervisor's calls of its own functions tell (supervisor.erl, the same names in OTP 25 .. 29): restart/2 tries to
 * restart a child and restart/3 does it, so a terminate/2 right after the first means that the restart intensity was
 * reached; restart_multiple_children/3 ends the siblings of a child; handle_call({terminate_child, _}, _, _) is somebody's
 * wish; shutdown/1 and terminate_dynamic_children/1 name the child and its time limit. One supervisor makes its calls one at
 * a time, so what its last ones were says why it sends the next exit signal. Only supervisors that do such things are in
 * here; one lock, held for a few steps.
 */
#ifndef CORONER_SUPERVISION_H
#define CORONER_SUPERVISION_H

#include <stdbool.h>

#include "act.h"

/* X(symbol, value of origin.why) */
#define SUPERVISION_WHYS(X)                                                                        \
    X(UNKNOWN, "unknown")                                                                          \
    X(TERMINATE_CHILD, "terminate_child")                                                          \
    X(SIBLING, "sibling")                                                                          \
    X(INTENSITY, "intensity")                                                                      \
    X(PARENT, "parent")                                                                            \
    X(APPLICATION_STOP, "application_stop")

enum why {
#define X(symbol, name) WHY_##symbol,
    SUPERVISION_WHYS(X)
#undef X
};

#define TIMEOUT_NONE UINT64_MAX /* brutal_kill, infinity, or not known */

/* Why a supervisor ends a child, or itself. Immutable once made; shared by all acts of one termination. */
struct supervision {
    atomic_uint holders;
    uint8_t why;            /* enum why */
    struct text *child;     /* the child's id in Erlang syntax; may be NULL */
    uint64_t timeout_ms;    /* between shutdown and kill, or TIMEOUT_NONE */
    struct who sibling;     /* whose exit it was, for SIBLING and INTENSITY */
    uint64_t sibling_seq;   /* of its record; 0 when it has none */
    struct who asked_by;    /* for TERMINATE_CHILD; pid NO_WORD when not known */
    term_word application;  /* for APPLICATION_STOP */
};

/** supervision_hold(supervision), supervision_drop(supervision): as act_hold and act_drop. */
struct supervision *supervision_hold(struct supervision *supervision);
void supervision_drop(struct supervision *supervision);

struct supervisors;

/** supervisors_new(): knows of none. NULL without memory. */
struct supervisors *supervisors_new(void);

/** supervisors_clear(supervisors): forgets all. */
void supervisors_clear(struct supervisors *supervisors);

/** supervisors_free(supervisors): frees it; nobody may use it any more. NULL is a no-op. */
void supervisors_free(struct supervisors *supervisors);

/** supervisors_restart(supervisors, pid, child, seq): ${pid} is about to restart its ${child}, whose record is ${seq}. */
void supervisors_restart(struct supervisors *supervisors, term_word pid, struct who child,
                         uint64_t seq);

/** supervisors_restarts(supervisors, pid): the intensity allows it. */
void supervisors_restarts(struct supervisors *supervisors, term_word pid);

/** supervisors_siblings(supervisors, pid, child, seq): ${pid} ends the siblings of ${child}. */
void supervisors_siblings(struct supervisors *supervisors, term_word pid, struct who child,
                          uint64_t seq);

/** supervisors_significant(supervisors, pid, child, seq): a significant ${child} has ended; it may be the end of ${pid}. */
void supervisors_significant(struct supervisors *supervisors, term_word pid, struct who child,
                             uint64_t seq);

/** supervisors_asked(supervisors, pid, by): ${by} wants a child terminated. */
void supervisors_asked(struct supervisors *supervisors, term_word pid, struct who by);

/* What is known of a supervisor's parent when it terminates. */
struct parent_signal {
    bool seen;             /* the parent told it to end, or has ended */
    uint8_t why;           /* PARENT, or APPLICATION_STOP with the application */
    term_word application;
};

/** supervisors_stops(supervisors, pid, parent): ${pid} ends all its children, and then itself. */
void supervisors_stops(struct supervisors *supervisors, term_word pid, struct parent_signal parent);

/**
 * supervisors_child(supervisors, pid, child, id, timeout_ms): the next signals of ${pid} are for ${child}, or for all its dynamic
 * children when that is NO_WORD. ${id} is handed over and may be NULL.
 */
void supervisors_child(struct supervisors *supervisors, term_word pid, term_word child,
                       struct text *id, uint64_t timeout_ms);

/** supervisors_behind(supervisors, pid, child): why ${pid} sends a signal to ${child} now, held for the caller; may be NULL. */
struct supervision *supervisors_behind(struct supervisors *supervisors, term_word pid,
                                       term_word child);

/*
 * What it begins with: how many a bucket has, read without the lock: every process that exits asks,
 * nearly all of them in vain. A process enters only itself, so it sees here that it did.
 */
#define SUPERVISORS_BUCKET_BITS 10
struct supervisors_head {
    atomic_uint held[1 << SUPERVISORS_BUCKET_BITS];
};

/** supervisors_may_have(supervisors, pid): false where nothing is known of ${pid}. Takes no lock.
 */
static inline bool supervisors_may_have(const struct supervisors *supervisors, term_word pid)
{
    const struct supervisors_head *head = (const struct supervisors_head *)supervisors;

    return atomic_load_explicit(&head->held[word_spread(pid) >> (64 - SUPERVISORS_BUCKET_BITS)],
                                memory_order_relaxed) > 0;
}

/**
 * supervisors_gone(supervisors, pid): ${pid} ends. Why it did so by itself (INTENSITY, SIBLING), held for the caller, or
 * NULL.
 */
struct supervision *supervisors_gone(struct supervisors *supervisors, term_word pid);

/** why_name(why): the value of origin.why. */
const char *why_name(enum why why);

#endif
