/*
 * All of coroner inside one node. Made in the library's load(), freed in its unload(); a callback of the VM can
 * run at any moment between the two, so nothing in here is freed while the library is loaded: stop() empties
 * what it can and leaves the rest in place.
 */
#ifndef CORONER_CORONER_H
#define CORONER_CORONER_H

#include <pthread.h>

#include "bystanders.h"
#include "intern.h"
#include "journal.h"
#include "ledger.h"
#include "purge.h"
#include "remote.h"
#include "scope.h"
#include "stops.h"
#include "supervision.h"
#include "uplink.h"
#include "wide.h"

struct coroner {
    uint32_t abi;         /* of this struct: a library of another layout must not take it over */
    uint32_t users;       /* instances of the module that share it; changed in load, upgrade, unload only */
    const void *code;     /* tells one copy of the library from another */

    /*
     * The tracer state that our trace flags and patterns carry: a new number for every start. Flags that were
     * left by an earlier one are told apart by it. 0 while not armed. Written by start and stop, read by every
     * callback.
     */
    _Atomic term_word armed_state;

    struct intern *intern;
    struct ledger *ledger;
    struct wide *wide;
    struct journal *journal;
    struct purge *purge;
    struct stops *stops;
    struct supervisors *supervisors;
    struct remotes *remotes;
    struct scope *scope;
    struct bystanders *bystanders;
    struct uplink *uplink;

    pthread_mutex_t lifecycle; /* start and stop exclude each other; no callback takes it */
    uint64_t starts;
    char incarnation[17];
    char host[256]; /* the host's name, as start was told */
    _Atomic uint64_t armed_ns; /* monotonic, of the last start */

    /* The wall clock less the monotonic one, and when (monotonic) that was asked last: see wall_of
     * in death.c. */
    _Atomic uint64_t wall_offset_ns, wall_asked_ns;

    /* Until then (monotonic) no verdict is certain: not everybody is traced, or was a moment ago. */
    _Atomic uint64_t blind_until_ns;

    /* Calls of this process are only counted: the watchdog makes some to see whether they are seen. */
    _Atomic term_word probing; /* NO_WORD: of none */
    _Atomic uint64_t probes_seen;

    /* What is recorded; written by start before it is armed. */
    uint32_t record_sources; /* bit by enum coroner_source */
    uint32_t record_shapes;  /* bit by enum reason_shape: recorded whatever the source */
    bool only_class;         /* reason_detail = class */
    uint64_t default_limit_words; /* the system's max_heap_size; 0: none */

    _Atomic uint64_t spoken_at; /* records made when the last words were said, and 1; 0: never */

    _Atomic uint64_t normal;     /* exits that were only counted: source normal. Most of them the ledger counts */
    _Atomic uint64_t unrecorded; /* others that `record` does not select */
    _Atomic uint64_t without_memory; /* exits of which no record could be made */
    _Atomic uint64_t by_source[CORONER_SOURCE_COUNT];
};

/*
 * Goes up with each change of what struct coroner leads to, and the second number of the application's version with it: see
 * coroner.appup.src. The tests build a library that has another.
 */
#ifndef CORONER_ABI
#define CORONER_ABI 5
#endif

/**
 * coroner_last_words(coroner): the node is about to end. Waits up to 200 ms for what is in the journal to get out, and says
 * goodbye. Called again without a record made meanwhile it does nothing. Any thread.
 */
void coroner_last_words(struct coroner *coroner);

#endif
