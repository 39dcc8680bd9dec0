/*
 * The uplink: the one thread that owns the socket to coronerd.
 *
 * It connects (again and again, with a pause that grows to a second), says hello, sends what the journal
 * holds unsent, and moves the journal's acknowledgement on as the daemon commits. It encodes the records,
 * so a scheduler never does. It also frees what is too large to be freed in a callback.
 *
 * The thread has all signals blocked, uses no function of the VM but enif_send and the pure ones of
 * names.h, and is joined by uplink_stop: nothing of it outlives the library.
 */
#ifndef CORONER_UPLINK_H
#define CORONER_UPLINK_H

#include "journal.h"
#include "linkset.h"

struct uplink;

/*
 * What the uplink calls. All its pointers to functions are in here: when another copy of the library takes over,
 * they are replaced as one, for those of the old copy may be unmapped next.
 */
struct uplink_calls {
    /* Counters for the COUNTERS frame, read when one is sent. Called on the uplink's thread. */
    void (*counters)(void *cookie, uint64_t *normal, uint64_t *unrecorded);
    /* Ends a wait that uplink_notify began. Called on the uplink's thread, or by whoever ends that. */
    void (*flushed)(void *cookie, bool settled);
};

struct uplink_settings {
    const char *path;        /* of the daemon's ingest socket; NULL: there is none, only reap */
    const char *incarnation; /* 16 hex digits */
    const char *host;
    const char *otp;
    unsigned linger_ms;      /* records that come so soon after others are sent only then, and wake nobody; 0: at once */
    const struct intern *intern;
    struct journal *journal;
    struct uplink_calls calls;
    void *cookie; /* of calls.counters */
};

struct uplink_state {
    bool connected;          /* and greeted by the daemon */
    uint64_t connects;       /* how many times */
    uint64_t encode_failures;
    char error[200];         /* why it is not connected; empty when it is */
};

/** uplink_new(): an uplink without a thread, or NULL, with errno set. It stays usable by callbacks until it is freed. */
struct uplink *uplink_new(void);

/** uplink_free(uplink): frees it; its thread is stopped, and nobody may use it any more. NULL is a no-op. */
void uplink_free(struct uplink *uplink);

/**
 * uplink_start(uplink, settings, node_name): starts the thread. Copies what ${settings} point to, but for intern and
 * journal. Returns 0, or an errno. Never called twice without uplink_stop between, nor at the same time as that.
 */
int uplink_start(struct uplink *uplink, const struct uplink_settings *settings,
                 const char *node_name);

/**
 * uplink_stop(uplink, drain_ms): waits up to ${drain_ms} for what is unsent to be committed, but not for a daemon that is
 * not there; says bye, ends and joins the thread. A no-op without a thread.
 */
void uplink_stop(struct uplink *uplink, unsigned drain_ms);

/**
 * uplink_restart(uplink, calls): ends the thread and starts another with the same settings but for ${calls}, running the
 * code of the library that calls this: the old one's may be unmapped next. What was under way is sent again, and who waits
 * goes on waiting. Returns 0, or an errno, and then there is no thread; a no-op without a thread. Never called at the same
 * time as uplink_start or uplink_stop.
 */
int uplink_restart(struct uplink *uplink, const struct uplink_calls *calls);

/** uplink_wake(uplink): there is something unsent. Cheap when the thread is awake. Any thread. */
void uplink_wake(struct uplink *uplink);

/** uplink_rename(uplink, node_name): the node has a new name; says hello again. */
void uplink_rename(struct uplink *uplink, const char *node_name);

/* What is not as it should be with the tracing, as bits. */
enum uplink_standing {
    UPLINK_PAUSED = 1,   /* nothing is traced, because somebody wants it so */
    UPLINK_DISARMED = 2, /* not all is traced that should be: another tool has it */
    UPLINK_SCOPED = 4    /* not all that lives is to be traced */
};

/** uplink_standing(uplink, standing): tells the daemon with the counters, from now on, these bits of uplink_standing. */
void uplink_standing(struct uplink *uplink, unsigned standing);

/**
 * uplink_drain(uplink, milliseconds): waits until all made so far is committed. Returns whether it is. Blocks, but not
 * where there is no daemon to wait for.
 */
bool uplink_drain(struct uplink *uplink, unsigned milliseconds);

/**
 * uplink_leave(uplink, milliseconds): the node is about to end: tells the daemon the counters, says goodbye and hangs up,
 * waiting up to ${milliseconds} for that. Should the node live on, it connects again after some seconds. Blocks.
 */
void uplink_leave(struct uplink *uplink, unsigned milliseconds);

/**
 * uplink_notify(uplink, seq, cookie): calls the settings' calls.flushed with ${cookie} once nothing up to ${seq} is
 * unacknowledged; with false when the thread ends for good before that. Returns false, calling nothing, without memory
 * or without a thread.
 */
bool uplink_notify(struct uplink *uplink, uint64_t seq, void *cookie);

/** uplink_reap(uplink, links): frees what ${links} holds, on the uplink's thread if there is one, and empties it. */
void uplink_reap(struct uplink *uplink, struct linkset *links);

/** uplink_state_of(uplink): how it stands. */
struct uplink_state uplink_state_of(struct uplink *uplink);

#endif
