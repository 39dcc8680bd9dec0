/*
 * The ledger: one entry for every live process, with its links, its names and the evidence that others
 * left on it.
 *
 * A process's own entry is written from its own trace events, which the VM emits one at a time (it holds
 * the process's main lock); evidence is written by whoever may end it, from their callbacks. Both take the
 * lock of the entry's shard. That lock is the only one these functions hold, no two shards are ever locked
 * at once, and nothing of the VM is called under it but the allocator; so a callback may call them while
 * the VM holds process locks or the registry's.
 *
 * The VM emits the call event of exit/2 before it sends the signal, and the exit event of a process before
 * its links are told. So by the time ledger_exit hands out an entry, all evidence there will be is on it.
 */
#ifndef CORONER_LEDGER_H
#define CORONER_LEDGER_H

#include "attribution.h"
#include "linkset.h"
#include "record.h"
#include "supervision.h"

#define LEDGER_PARTS 1024  /* in which ledger_members gives them */
#define LEDGER_EVIDENCE 16 /* pieces kept on one process; an older one makes room, and that is marked */

struct evidence {
    struct evidence *next; /* older */
    uint8_t kind;          /* enum evidence_kind */
    uint8_t as;            /* SIGNAL: see struct evidence_facts */
    bool is_kill;
    bool may_be_lost;
    bool from_parent; /* EXIT, RAISE */
    bool from_stop;   /* EXIT, RAISE */
    uint8_t shape;    /* enum reason_shape */
    struct fingerprint print;
    uint64_t time_ns;
    term_word from;        /* who sent the signal, or the linked peer */
    struct act *act;       /* SIGNAL, EXIT, RAISE; held */
    struct record *record; /* LINKED, TRAPPED: the peer's; held */
    struct text *stack;    /* RAISE; held */
    struct detail *detail; /* PORT, HEAP; held */
};

/** evidence_new(kind, time_ns): an empty piece of evidence, or NULL without memory. */
struct evidence *evidence_new(enum evidence_kind kind, uint64_t time_ns);

/** evidence_free(evidence): frees it and drops what it holds. NULL is a no-op. */
void evidence_free(struct evidence *evidence);

enum entry_flag {
    ENTRY_TRAPS = 1,      /* process_flag(trap_exit, true) */
    ENTRY_TRAP_KNOWN = 2, /* the flag was seen being set: a snapshot does not overrule it */
    ENTRY_NAME_KNOWN = 4, /* likewise the registered name */
    ENTRY_UNSEEDED = 8,   /* it lived before tracing began and its snapshot is not in yet */
    ENTRY_SEEDED = 16,    /* it lived before tracing began */
    ENTRY_PROC_LIB = 32,  /* started by proc_lib */
    ENTRY_PORT = 64,      /* it is a port: its name is the driver's or the command, its parent the owner */
    ENTRY_REMOTE = 128    /* another node started it: its parent is that node's name */
};

/*
 * 80 bytes: with what its block (see ledger.c) and the table (4 to 8 an entry) take, a live process costs at most 96. Names are
 * atoms, whose words fit 32 bits (the number of an atom is below 2^26: atom.h, OTP 25 .. 29).
 */
struct entry {
    term_word pid;
    struct entry *next; /* in the shard's chain */
    term_word parent;
    union {
        struct ancestors *ancestors; /* held; may be NULL */
        struct linkset *removed;     /* while UNSEEDED: links seen broken, which a snapshot may still show */
    } of;
    struct evidence *evidence; /* newest first */
    struct linkset links;      /* its `owners` is evicted_s: see ledger.c */
    uint64_t begun_us : 49; /* monotonic: its spawn, or for one that lived before, when it was first seen */
    uint64_t flags : 8;     /* enum entry_flag */
    uint64_t evidence_count : 5;
    uint64_t index : 2; /* in its block */
    uint32_t name; /* NO_WORD: none */
    uint32_t initial_call;
};

#define ENTRY_SURE_NEVER UINT32_MAX

/** entry_evicted_s(entry): when evidence last had to make room, monotonic seconds; 0 never; ENTRY_SURE_NEVER: a link was lost. */
static inline uint32_t entry_evicted_s(const struct entry *entry)
{
    return entry->links.owners;
}

struct ledger;

/** ledger_new(): an empty ledger, or NULL without memory. */
struct ledger *ledger_new(void);

/** ledger_free(ledger): frees it; nobody may use it any more. NULL is a no-op. */
void ledger_free(struct ledger *ledger);

/** ledger_open(ledger), ledger_close(ledger): a closed ledger takes no new entries; closing empties it. */
void ledger_open(struct ledger *ledger);
void ledger_close(struct ledger *ledger);

struct birth {
    term_word pid; /* or a port */
    term_word parent;
    term_word name;
    uint32_t initial_call;
    uint8_t flags; /* ENTRY_PROC_LIB, ENTRY_PORT, ENTRY_REMOTE */
    struct ancestors *ancestors; /* handed over */
    uint64_t time_ns;            /* monotonic */
};

/** ledger_spawned(ledger, birth): enters a new process. An entry under the same pid is a dead one's and goes. */
void ledger_spawned(struct ledger *ledger, const struct birth *birth);

/**
 * ledger_exit(ledger, pid): takes the entry of ${pid}, whose exit is seen, out and hands it to the caller; NULL when there is
 * none. From then on ledger_quiet_of has it, so that nobody takes it for one that ended unseen.
 */
struct entry *ledger_exit(struct ledger *ledger, term_word pid);

/* What ledger_exit_normal did. */
struct normal_exit {
    bool is_all;         /* its entry has gone, it is counted and remembered */
    struct entry *entry; /* else: what ledger_exit would give */
};

/** ledger_exit_normal(ledger, pid): ${pid} has exited with `normal`. Nearly always that is all
 * there is to it. */
struct normal_exit ledger_exit_normal(struct ledger *ledger, term_word pid);

/** ledger_normal(ledger): how many exits ledger_exit_normal has counted since ledger_open. */
uint64_t ledger_normal(const struct ledger *ledger);

/** entry_free(entry): frees an entry that ledger_exit gave, with what it holds. NULL is a no-op. */
void entry_free(struct entry *entry);

/** ledger_link(ledger, pid, peer): ${peer} (a local pid or port) is in the link set of ${pid}. */
void ledger_link(struct ledger *ledger, term_word pid, term_word peer);

/** ledger_unlink(ledger, pid, peer): ${pid} called unlink/1: a signal of ${peer} under way will be dropped. */
void ledger_unlink(struct ledger *ledger, term_word pid, term_word peer);

/**
 * ledger_link_dropped(ledger, pid, peer): as ledger_link_gone of a peer without a record; returns false where there is evidence
 * of its death on ${pid}: then ledger_link_gone is still to be called.
 */
bool ledger_link_dropped(struct ledger *ledger, term_word pid, term_word peer);

/**
 * ledger_link_gone(ledger, pid, peer, now_ns, dead): ${pid} survived the end of its link to ${peer}: the peer
 * unlinked, or it died and the exit became a message. ${dead} is the peer's record where the caller has it
 * and it may not be on the entry as evidence; it may be NULL.
 */
void ledger_link_gone(struct ledger *ledger, term_word pid, term_word peer, uint64_t now_ns,
                      struct record *dead);

/** ledger_name(ledger, pid, name): the registered name of ${pid} is ${name}, or none (NO_WORD). */
void ledger_name(struct ledger *ledger, term_word pid, term_word name);

/** ledger_trap(ledger, pid, trapping): ${pid} called process_flag(trap_exit, ${trapping}). */
void ledger_trap(struct ledger *ledger, term_word pid, bool trapping);

/** ledger_traps(ledger, pid): whether ${pid} traps exits, as far as is known. */
bool ledger_traps(struct ledger *ledger, term_word pid);

/**
 * ledger_evidence(ledger, pid, evidence): leaves ${evidence} on ${pid}; it is handed over, also when there is no
 * such process (then it is freed). Of EXIT and RAISE only the newest is kept. Returns whether it was left.
 */
bool ledger_evidence(struct ledger *ledger, term_word pid, struct evidence *evidence);

/** ledger_who(ledger, pid): ${pid} with its name and initial call, as far as they are known. */
struct who ledger_who(struct ledger *ledger, term_word pid);

/** ledger_node_behind(ledger, pid): the node on which the parent of ${pid}, or the parent's parent, is; NO_WORD: this one. */
term_word ledger_node_behind(struct ledger *ledger, term_word pid);

/** ledger_parent(ledger, pid): the parent of ${pid}; NO_WORD when it has none, or on another node. */
term_word ledger_parent(struct ledger *ledger, term_word pid);

/** ledger_limit(ledger, pid, words): ${pid} set its max_heap_size to ${words}; 0 is none. */
void ledger_limit(struct ledger *ledger, term_word pid, uint64_t words);

/** ledger_limit_of(ledger, pid, words): whether ledger_limit was told of ${pid}; then what, in ${words}. */
bool ledger_limit_of(struct ledger *ledger, term_word pid, uint64_t *words);

/** ledger_shutdown_time(ledger, pid, from): when ${from} last sent `shutdown` to ${pid}, monotonic clock; 0 never. */
uint64_t ledger_shutdown_time(struct ledger *ledger, term_word pid, term_word from);

/** ledger_has_stop(ledger, pid): whether somebody asked ${pid} to stop. */
bool ledger_has_stop(struct ledger *ledger, term_word pid);

/** ledger_parent_signal(ledger, pid): what the parent of ${pid} sent it, or that it has died. */
struct parent_signal ledger_parent_signal(struct ledger *ledger, term_word pid);

/** ledger_heap_survived(ledger, pid): it is not its heap that ends ${pid}. Returns whether it was thought to be. */
bool ledger_heap_survived(struct ledger *ledger, term_word pid);

/** ledger_has_heaps(ledger): whether any process has evidence of a heap too large. Takes no lock. */
bool ledger_has_heaps(const struct ledger *ledger);

/** ledger_knows(ledger, pid): whether ${pid} is a live process of the ledger. */
bool ledger_knows(struct ledger *ledger, term_word pid);

/** ledger_expect(ledger, pid, now_ns): enters ${pid} as one that lived before; its snapshot is to come. True if it is new. */
bool ledger_expect(struct ledger *ledger, term_word pid, uint64_t now_ns);

/**
 * ledger_renew(ledger, pid, now_ns): of ${pid} it is not known any more what links, name and flags it has: its
 * snapshot is to come, as after ledger_expect. Its age and the evidence on it stay. One that is not known is entered.
 */
void ledger_renew(struct ledger *ledger, term_word pid, uint64_t now_ns);

struct snapshot {
    term_word pid;
    term_word parent;
    term_word name;
    uint32_t initial_call;
    bool trapping;
    bool proc_lib;
    struct ancestors *ancestors; /* handed over */
};

/**
 * ledger_seed_links(ledger, pid, words, count): adds links that a snapshot of ${pid} shows, but for those seen
 * broken since it is traced. Call it for a few at a time (it holds the shard's lock), before ledger_seed.
 */
void ledger_seed_links(struct ledger *ledger, term_word pid, const term_word *words, size_t count);

/** ledger_seed(ledger, snapshot): the rest of a ${snapshot}: with it the entry is as good as one seen being born. */
void ledger_seed(struct ledger *ledger, const struct snapshot *snapshot);

/** ledger_forget(ledger, pid): drops ${pid} if its snapshot is still to come: it died before it was traced. */
void ledger_forget(struct ledger *ledger, term_word pid);

/** ledger_drop(ledger, pid): drops ${pid}, a process or a port: it ended unseen. */
void ledger_drop(struct ledger *ledger, term_word pid);

/**
 * ledger_members(ledger, part, words, room, count): the processes and ports of ${part} (0 ..
 * LEDGER_PARTS - 1), up to
 * ${room} of them, in no order. ${count} is how many.
 */
void ledger_members(struct ledger *ledger, size_t part, term_word *words, size_t room,
                    size_t *count);

/** ledger_prefetch(ledger, pid): something will be asked or told of ${pid} in a moment. */
void ledger_prefetch(const struct ledger *ledger, term_word pid);

/** ledger_count(ledger): live processes; ports do not count. */
uint64_t ledger_count(const struct ledger *ledger);

/** ledger_links(ledger, pid, words, room, count): copies links of ${pid}; false when there is no such process. For tests. */
bool ledger_links(struct ledger *ledger, term_word pid, term_word *words, size_t room, size_t *count);

/* How a process ended, remembered until its slot is needed. */
enum quiet {
    QUIET_NONE,
    QUIET_SEEN, /* its exit was seen; what became of it, is not said here */
    QUIET_NORMAL,
    QUIET_EXPIRED /* its record had to make room */
};

/** ledger_quiet(ledger, pid, initial_call, quiet): remembers how ${pid} ended. */
void ledger_quiet(struct ledger *ledger, term_word pid, uint32_t initial_call, enum quiet quiet);

/** ledger_quiet_of(ledger, pid, initial_call): what ledger_quiet was told of ${pid}, if it is still there. */
enum quiet ledger_quiet_of(struct ledger *ledger, term_word pid, uint32_t *initial_call);

#endif
