#include <string.h>
#include <time.h>

#include "alloc.h"
#include "ledger.h"
#include "lock.h"

/*
 * 256 shards of a cache line each: so many that two schedulers seldom meet, and so few that the
 * shards, the entry that each has for the next birth and the end of what it remembers, some 64 KB
 * together, are in a core's cache when they are needed, whatever the processes do in between. To
 * make a shard's table larger is the longest thing that happens under a lock: at half a million
 * processes 2,000 entries move, some 60 microseconds.
 */
#define SHARD_BITS 8
#define SHARDS (1 << SHARD_BITS)
#define SHARD_PARTS (LEDGER_PARTS / SHARDS)
#define BUCKETS_FIRST 4
#define BUCKET_ENTRIES 2 /* on average at most */
#define QUIET_SLOTS 256
#define CLOSE_AT_ONCE 1000 /* entries after which ledger_close gives way */
#define CLOSE_PAUSE_NS 50000
#define BLOCK_ENTRIES 4 /* that are allocated at once: each alone takes 96 bytes in the VM's allocator, so 88 */
#define SPARES_KEPT 32 /* entries that a shard has for the next births; a block too many is given back */
#define LINE 64        /* bytes of a cache line */
#define MOVED_AHEAD 8  /* buckets whose entries are fetched before they move */

struct quiet_slot {
    term_word pid;
    uint32_t initial_call;
    uint8_t quiet;
};

/* One cache line. What a birth and an exit take is memory that is not in the cache more than all they compute. */
struct shard {
    _Alignas(LINE) struct lock lock; /* over all of the shard, the entries and their evidence */
    /* Written with the lock; ledger_prefetch looks at them without. */
    _Atomic uint32_t bucket_count;      /* a power of two */
    _Atomic(struct entry **) buckets;   /* of a few entries, `first` alone */
    struct entry *first;                /* this one is not */
    _Atomic(struct entry *) spares;     /* unused ones: `next`, and `parent` is the one before; their pid is NO_WORD */
    _Atomic(struct quiet_slot *) quiet; /* QUIET_SLOTS of them, or NULL until the first; the oldest is written over */
    /* Written with the lock, read without: no line is written by all schedulers. */
    _Atomic uint64_t normal;    /* exits that were only counted */
    _Atomic uint32_t processes; /* of the entries; the others are ports */
    uint32_t entries;
    uint32_t spare_count;
    _Atomic uint16_t quiet_made; /* modulo QUIET_SLOTS the place of the next */
    bool open;
};

_Static_assert(sizeof(struct shard) == LINE, "a shard is one line");

struct ledger {
    void *memory;           /* of this struct, which begins with a cache line */
    _Atomic uint64_t heaps; /* entries with evidence of a heap too large */
    struct shard shards[SHARDS];
};

/* Given back when none of its entries is used any more, be it in the table or by whoever took it out. */
struct block {
    struct shard *shard;
    struct entry entries[BLOCK_ENTRIES];
};

_Static_assert(sizeof(struct entry) == 80, "ledger.h says what an entry takes");

struct evidence *evidence_new(enum evidence_kind kind, uint64_t time_ns)
{
    struct evidence *evidence = memory_zalloc(sizeof(*evidence));

    if (evidence == NULL)
        return NULL;
    evidence->kind = (uint8_t)kind;
    evidence->time_ns = time_ns;
    return evidence;
}

void evidence_free(struct evidence *evidence)
{
    if (evidence == NULL)
        return;
    act_drop(evidence->act);
    record_drop(evidence->record);
    text_drop(evidence->stack);
    detail_drop(evidence->detail);
    memory_free(evidence);
}

static struct block *block_of(struct entry *entry)
{
    return (void *)((char *)(entry - entry->index) - offsetof(struct block, entries));
}

static struct entry *spare_before(const struct entry *spare)
{
    return (struct entry *)(uintptr_t)spare->parent;
}

static struct entry *first_spare(const struct shard *shard)
{
    return atomic_load_explicit(&shard->spares, memory_order_relaxed);
}

static void set_first_spare(struct shard *shard, struct entry *entry)
{
    atomic_store_explicit(&shard->spares, entry, memory_order_relaxed);
}

static inline void push_spare(struct shard *shard, struct entry *entry)
{
    entry->pid = NO_WORD;
    entry->parent = NO_WORD;
    entry->next = first_spare(shard);
    if (entry->next != NULL)
        entry->next->parent = (uintptr_t)entry;
    set_first_spare(shard, entry);
    shard->spare_count++;
}

static inline void pull_spare(struct shard *shard, struct entry *entry)
{
    struct entry *before = spare_before(entry);

    if (before != NULL)
        before->next = entry->next;
    else
        set_first_spare(shard, entry->next);
    if (entry->next != NULL)
        entry->next->parent = entry->parent;
    shard->spare_count--;
}

/* A new block's entries become spares. Returns the first of all spares; NULL without memory. The
 * lock is held. */
static __attribute__((noinline)) struct entry *add_block(struct shard *shard)
{
    struct block *block = memory_alloc(sizeof(*block));

    if (block == NULL)
        return NULL;
    block->shard = shard;
    for (unsigned i = 0; i < BLOCK_ENTRIES; i++) {
        block->entries[i].index = i;
        push_spare(shard, &block->entries[i]);
    }
    return first_spare(shard);
}

/* An entry for a birth; NULL without memory. What is in it but `index` is old. The lock is held. */
static inline struct entry *take_spare(struct shard *shard)
{
    struct entry *entry = first_spare(shard);

    if (entry == NULL && (entry = add_block(shard)) == NULL)
        return NULL;
    pull_spare(shard, entry);
    return entry;
}

/* Gives the block back if none of its entries is used. The lock is held. */
static __attribute__((noinline)) bool release(struct shard *shard, struct block *block)
{
    for (unsigned i = 0; i < BLOCK_ENTRIES; i++)
        if (block->entries[i].pid != NO_WORD)
            return false;
    for (unsigned i = 0; i < BLOCK_ENTRIES; i++)
        pull_spare(shard, &block->entries[i]);
    memory_free(block);
    return true;
}

/* Takes back an entry that holds nothing any more. The lock is held. */
static inline void give_spare(struct shard *shard, struct entry *entry)
{
    push_spare(shard, entry);
    if (!shard->open || shard->spare_count > SPARES_KEPT)
        (void)release(shard, block_of(entry));
}

/* Gives back what was kept for births. The lock is held. */
static void release_spares(struct shard *shard)
{
    struct entry *entry = first_spare(shard);

    while (entry != NULL)
        entry = release(shard, block_of(entry)) ? first_spare(shard) : entry->next;
}

void entry_free(struct entry *entry)
{
    struct shard *shard;

    if (entry == NULL)
        return;
    for (struct evidence *evidence = entry->evidence, *next; evidence != NULL; evidence = next) {
        next = evidence->next;
        evidence_free(evidence);
    }
    if (entry->flags & ENTRY_UNSEEDED) {
        if (entry->of.removed != NULL)
            linkset_clear(entry->of.removed);
        memory_free(entry->of.removed);
    } else {
        ancestors_drop(entry->of.ancestors);
    }
    linkset_clear(&entry->links);
    shard = block_of(entry)->shard;
    lock_take(&shard->lock);
    give_spare(shard, entry);
    lock_give(&shard->lock);
}

static inline struct entry **buckets_of(const struct shard *shard)
{
    return atomic_load_explicit(&shard->buckets, memory_order_relaxed);
}

static inline uint32_t bucket_count_of(const struct shard *shard)
{
    return atomic_load_explicit(&shard->bucket_count, memory_order_relaxed);
}

static void set_buckets(struct shard *shard, struct entry **buckets, uint32_t count)
{
    atomic_store_explicit(&shard->buckets, buckets, memory_order_relaxed);
    atomic_store_explicit(&shard->bucket_count, count, memory_order_relaxed);
}

static void reset_buckets(struct shard *shard)
{
    shard->first = NULL;
    set_buckets(shard, &shard->first, 1);
    shard->entries = 0;
}

struct ledger *ledger_new(void)
{
    char *memory = memory_zalloc(sizeof(struct ledger) + LINE);
    struct ledger *ledger;

    if (memory == NULL)
        return NULL;
    ledger = (void *)(memory + (LINE - (uintptr_t)memory % LINE));
    ledger->memory = memory;
    for (size_t i = 0; i < SHARDS; i++)
        reset_buckets(&ledger->shards[i]);
    return ledger;
}

void ledger_open(struct ledger *ledger)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &ledger->shards[i];

        lock_take(&shard->lock);
        shard->open = true;
        atomic_store_explicit(&shard->normal, 0, memory_order_relaxed);
        lock_give(&shard->lock);
    }
}

/* There is at most one such piece: see on_heap_too_large. */
static bool has_heap(const struct entry *entry)
{
    const struct evidence *evidence = entry->evidence;

    while (evidence != NULL && evidence->kind != EVIDENCE_HEAP)
        evidence = evidence->next;
    return evidence != NULL;
}

void ledger_close(struct ledger *ledger)
{
    uint64_t freed = 0;

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &ledger->shards[i];
        struct entry **buckets, *first;
        uint32_t bucket_count;
        uint64_t heaps = 0;

        /* The table is taken out under the lock and freed without it: a callback never waits for that. */
        lock_take(&shard->lock);
        shard->open = false;
        first = shard->first;
        buckets = buckets_of(shard) == &shard->first ? &first : buckets_of(shard);
        bucket_count = bucket_count_of(shard);
        reset_buckets(shard);
        atomic_store_explicit(&shard->processes, 0, memory_order_relaxed);
        memory_free(atomic_load_explicit(&shard->quiet, memory_order_relaxed));
        atomic_store_explicit(&shard->quiet, NULL, memory_order_relaxed);
        release_spares(shard);
        lock_give(&shard->lock);

        for (uint32_t b = 0; b < bucket_count; b++)
            for (struct entry *entry = buckets[b], *next; entry != NULL; entry = next) {
                next = entry->next;
                heaps += has_heap(entry);
                entry_free(entry);
                /*
                 * On a machine with no core to spare this thread takes turns with a scheduler's,
                 * and the kernel's turns are milliseconds: of a million entries the user's
                 * processes would notice. So it gives way by itself.
                 */
                if (++freed % CLOSE_AT_ONCE == 0)
                    nanosleep(&(struct timespec){.tv_nsec = CLOSE_PAUSE_NS}, NULL);
            }
        if (buckets != &first)
            memory_free(buckets);
        atomic_fetch_sub_explicit(&ledger->heaps, heaps, memory_order_relaxed);
    }
}

void ledger_free(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    ledger_close(ledger);
    memory_free(ledger->memory);
}

/* The first bits of the spread word tell the shard, the 32 after them the bucket. */
static inline size_t shard_of(term_word pid)
{
    return (size_t)(word_spread(pid) >> (64 - SHARD_BITS));
}

static inline struct shard *lock_shard(struct ledger *ledger, term_word pid)
{
    struct shard *shard = &ledger->shards[shard_of(pid)];

    lock_take(&shard->lock);
    return shard;
}

static inline void unlock_shard(struct shard *shard)
{
    lock_give(&shard->lock);
}

static inline uint32_t bits_of(term_word pid)
{
    return (uint32_t)(word_spread(pid) >> (32 - SHARD_BITS));
}

static inline uint32_t bucket_at(const struct shard *shard, uint32_t bits)
{
    return (uint32_t)((uint64_t)bits * bucket_count_of(shard) >> 32);
}

static inline uint32_t bucket_of(const struct shard *shard, term_word pid)
{
    return bucket_at(shard, bits_of(pid));
}

/* Finds the place that points to the entry of `pid`, or NULL. */
static inline struct entry **find_place(const struct shard *shard, term_word pid)
{
    for (struct entry **at = &buckets_of(shard)[bucket_of(shard, pid)]; *at != NULL;
         at = &(*at)->next)
        if ((*at)->pid == pid)
            return at;
    return NULL;
}

static inline struct entry *find(const struct shard *shard, term_word pid)
{
    struct entry **place = find_place(shard, pid);

    return place == NULL ? NULL : *place;
}

/* Makes room for one more entry. Without memory the chains only get longer. */
static __attribute__((noinline)) void make_room(struct shard *shard)
{
    struct entry **old = buckets_of(shard);
    uint32_t old_count = bucket_count_of(shard);
    uint32_t wanted = old_count == 1 ? BUCKETS_FIRST : old_count * 2;
    struct entry **fresh;

    if ((fresh = memory_zalloc(wanted * sizeof(struct entry *))) == NULL)
        return;
    set_buckets(shard, fresh, wanted);
    for (uint32_t b = 0; b < old_count; b++) {
        /* Most of them are in no cache: what comes is fetched meanwhile. */
        if (b + MOVED_AHEAD < old_count)
            __builtin_prefetch(old[b + MOVED_AHEAD], 1);
        for (struct entry *entry = old[b], *next; entry != NULL; entry = next) {
            uint32_t bucket = bucket_of(shard, entry->pid);

            next = entry->next;
            entry->next = fresh[bucket];
            fresh[bucket] = entry;
        }
    }
    if (old == &shard->first)
        shard->first = NULL;
    else
        memory_free(old);
}

static inline void count_process(struct shard *shard, const struct entry *entry, uint32_t more)
{
    uint32_t processes = atomic_load_explicit(&shard->processes, memory_order_relaxed);

    if (!(entry->flags & ENTRY_PORT))
        atomic_store_explicit(&shard->processes, processes + more, memory_order_relaxed);
}

/* Enters `entry`, unless the shard is closed: then it returns false and the caller keeps it. */
static inline bool insert(struct shard *shard, struct entry *entry)
{
    struct entry **bucket;

    if (!shard->open)
        return false;
    if (shard->entries >= bucket_count_of(shard) * BUCKET_ENTRIES)
        make_room(shard);
    bucket = &buckets_of(shard)[bucket_of(shard, entry->pid)];
    entry->next = *bucket;
    *bucket = entry;
    shard->entries++;
    count_process(shard, entry, 1);
    return true;
}

/* Takes the entry at `place` out of the table. */
static inline void unchain(struct ledger *ledger, struct shard *shard, struct entry **place)
{
    struct entry *entry = *place;

    *place = entry->next;
    shard->entries--;
    if (entry->evidence != NULL && has_heap(entry))
        atomic_fetch_sub_explicit(&ledger->heaps, 1, memory_order_relaxed);
    count_process(shard, entry, UINT32_MAX);
}

static inline struct entry *take_out(struct ledger *ledger, struct shard *shard, term_word pid)
{
    struct entry **place = find_place(shard, pid);
    struct entry *entry;

    if (place == NULL)
        return NULL;
    entry = *place;
    unchain(ledger, shard, place);
    return entry;
}

void ledger_spawned(struct ledger *ledger, const struct birth *birth)
{
    struct shard *shard = lock_shard(ledger, birth->pid);
    struct entry *stale = take_out(ledger, shard, birth->pid);
    struct entry *entry = take_spare(shard);
    bool entered = false;

    if (entry != NULL) {
        *entry = (struct entry){.pid = birth->pid,
                                .parent = birth->parent,
                                .of.ancestors = birth->ancestors,
                                .begun_us = birth->time_ns / 1000,
                                .flags = birth->flags,
                                .index = entry->index,
                                .name = (uint32_t)birth->name,
                                .initial_call = birth->initial_call};
        entered = insert(shard, entry);
    }
    unlock_shard(shard);
    entry_free(stale);
    if (entry == NULL)
        ancestors_drop(birth->ancestors);
    else if (!entered)
        entry_free(entry);
}

/* Returns NULL without memory, or while the shard is closed. The lock is held. */
static __attribute__((noinline)) struct quiet_slot *make_quiet(struct shard *shard)
{
    struct quiet_slot *slots = shard->open ? memory_zalloc(QUIET_SLOTS * sizeof(*slots)) : NULL;

    atomic_store_explicit(&shard->quiet, slots, memory_order_relaxed);
    return slots;
}

static inline void put_quiet(struct shard *shard, term_word pid, uint32_t initial_call,
                             enum quiet quiet)
{
    struct quiet_slot *slots = atomic_load_explicit(&shard->quiet, memory_order_relaxed);
    uint16_t made = atomic_load_explicit(&shard->quiet_made, memory_order_relaxed);

    if (slots == NULL && (slots = make_quiet(shard)) == NULL)
        return;
    slots[made % QUIET_SLOTS] = (struct quiet_slot){
        .pid = pid, .initial_call = initial_call, .quiet = (uint8_t)quiet};
    atomic_store_explicit(&shard->quiet_made, made + 1, memory_order_relaxed);
}

/*
 * Until there is a record of it, or for ever where none is made, this alone tells an exit that was seen from the end of a
 * process that nobody traced. The lock that takes the entry out is held.
 */
static void put_seen(struct shard *shard, const struct entry *entry)
{
    if (!(entry->flags & ENTRY_PORT))
        put_quiet(shard, entry->pid, entry->initial_call, QUIET_SEEN);
}

struct entry *ledger_exit(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = take_out(ledger, shard, pid);

    if (entry != NULL)
        put_seen(shard, entry);
    unlock_shard(shard);
    return entry;
}

struct normal_exit ledger_exit_normal(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry **place = find_place(shard, pid);
    struct ancestors *ancestors;
    struct entry *gone;

    /* Without evidence nobody asked it to stop, and there is nothing to free but what is in the set itself. */
    if (place == NULL || (gone = *place)->evidence != NULL || !linkset_is_inline(&gone->links) ||
        (gone->flags & ENTRY_UNSEEDED)) {
        gone = place == NULL ? NULL : *place;
        if (gone != NULL) {
            unchain(ledger, shard, place);
            put_seen(shard, gone);
        }
        unlock_shard(shard);
        return (struct normal_exit){.is_all = false, .entry = gone};
    }
    *place = gone->next;
    shard->entries--;
    count_process(shard, gone, UINT32_MAX);
    ancestors = gone->of.ancestors;
    put_quiet(shard, pid, gone->initial_call, QUIET_NORMAL);
    atomic_store_explicit(&shard->normal,
                          atomic_load_explicit(&shard->normal, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    give_spare(shard, gone);
    unlock_shard(shard);
    if (ancestors != NULL)
        ancestors_drop(ancestors);
    return (struct normal_exit){.is_all = true};
}

uint64_t ledger_normal(const struct ledger *ledger)
{
    uint64_t normal = 0;

    for (size_t i = 0; i < SHARDS; i++)
        normal += atomic_load_explicit(&ledger->shards[i].normal, memory_order_relaxed);
    return normal;
}

void ledger_link(struct ledger *ledger, term_word pid, term_word peer)
{
    struct shard *shard;
    struct entry *entry;

    if (pid == peer)
        return; /* link(self()) does nothing, but has its event (OTP 25) */
    shard = lock_shard(ledger, pid);
    if ((entry = find(shard, pid)) != NULL) {
        if ((entry->flags & ENTRY_UNSEEDED) && entry->of.removed != NULL)
            (void)linkset_remove(entry->of.removed, peer);
        if (linkset_add(&entry->links, peer) < 0)
            entry->links.owners = ENTRY_SURE_NEVER; /* no memory for the link: never again sure */
    }
    unlock_shard(shard);
}

/* The snapshot of it is to come, and may still show the link. */
static __attribute__((noinline)) void remember_removed(struct entry *entry, term_word peer)
{
    if (entry->of.removed == NULL)
        entry->of.removed = memory_zalloc(sizeof(*entry->of.removed));
    if (entry->of.removed == NULL || linkset_add(entry->of.removed, peer) < 0)
        entry->links.owners = ENTRY_SURE_NEVER;
}

/* Takes `peer` out of the links; while the snapshot is to come, remembers that it was. */
static inline void drop_link(struct entry *entry, term_word peer)
{
    (void)linkset_remove(&entry->links, peer);
    if (entry->flags & ENTRY_UNSEEDED)
        remember_removed(entry, peer);
}

/* Takes evidence of this kind and from `from` off the entry. */
static struct evidence *take_evidence(struct entry *entry, enum evidence_kind kind, term_word from)
{
    for (struct evidence **at = &entry->evidence; *at != NULL; at = &(*at)->next)
        if ((*at)->kind == kind && (*at)->from == from) {
            struct evidence *found = *at;

            *at = found->next;
            entry->evidence_count--;
            return found;
        }
    return NULL;
}

void ledger_unlink(struct ledger *ledger, term_word pid, term_word peer)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);
    struct evidence *void_now = NULL;

    if (entry != NULL) {
        drop_link(entry, peer);
        if ((void_now = take_evidence(entry, EVIDENCE_LINKED, peer)) == NULL)
            void_now = take_evidence(entry, EVIDENCE_PORT, peer);
    }
    unlock_shard(shard);
    evidence_free(void_now);
}

static bool is_own_word(const struct evidence *evidence)
{
    return evidence->kind == EVIDENCE_EXIT || evidence->kind == EVIDENCE_RAISE;
}

/* The process's own last word on the entry, or where the list ends. */
static struct evidence **own_place(struct entry *entry)
{
    struct evidence **at = &entry->evidence;

    while (*at != NULL && !is_own_word(*at))
        at = &(*at)->next;
    return at;
}

/*
 * The oldest piece of a full entry that can go. A limit that was set holds until it is set anew; a kill is
 * what will end the process, whatever else it hears before it does.
 */
static struct evidence **oldest_place(struct entry *entry)
{
    struct evidence **oldest = &entry->evidence, **oldest_kill = NULL;

    for (struct evidence **at = &entry->evidence; *at != NULL; at = &(*at)->next) {
        if ((*at)->is_kill)
            oldest_kill = at;
        else if ((*at)->kind != EVIDENCE_LIMIT)
            oldest = at;
    }
    return oldest_kill != NULL && ((*oldest)->is_kill || (*oldest)->kind == EVIDENCE_LIMIT)
               ? oldest_kill
               : oldest;
}

/* Marks that evidence had to go, unless the entry is marked for ever. */
static void mark_evicted(struct entry *entry, uint64_t time_ns)
{
    if (entry->links.owners != ENTRY_SURE_NEVER)
        entry->links.owners = (uint32_t)(time_ns / 1000000000) | 1;
}

/* The older of two pieces that say that a process outside the scope has died; NULL where there are fewer. */
static struct evidence **unseen_place(struct entry *entry)
{
    struct evidence **oldest = NULL;
    unsigned count = 0;

    for (struct evidence **at = &entry->evidence; *at != NULL; at = &(*at)->next)
        if ((*at)->kind == EVIDENCE_UNSEEN) {
            oldest = at;
            count++;
        }
    return count < 2 ? NULL : oldest;
}

/* Puts `evidence` on the entry. Returns what has to go for it, to be freed without the lock; or NULL. */
static struct evidence *put_evidence(struct ledger *ledger, struct entry *entry,
                                     struct evidence *evidence)
{
    struct evidence **at = is_own_word(evidence)              ? own_place(entry)
                           : evidence->kind == EVIDENCE_UNSEEN ? unseen_place(entry)
                                                               : NULL;
    struct evidence *gone = NULL;

    /*
     * Of its own words only the last counts, so the one before goes for it; of what was not seen two, for it shall not
     * push out what was; else the oldest of a full entry.
     */
    if (at == NULL || *at == NULL) {
        at = &entry->evidence;
        if (entry->evidence_count < LEDGER_EVIDENCE) {
            at = NULL;
        } else {
            at = oldest_place(entry);
            mark_evicted(entry, evidence->time_ns);
        }
    }
    if (at != NULL) {
        gone = *at;
        *at = gone->next;
        entry->evidence_count--;
        if (gone->kind == EVIDENCE_HEAP)
            atomic_fetch_sub_explicit(&ledger->heaps, 1, memory_order_relaxed);
        /* proc_lib raises again what a call of exit/1 threw: the call is where it began. */
        if (evidence->kind == EVIDENCE_RAISE && is_own_word(gone) && evidence->act == NULL &&
            fingerprint_same(gone->print, evidence->print)) {
            evidence->act = gone->act;
            gone->act = NULL;
        }
    }
    evidence->next = entry->evidence;
    entry->evidence = evidence;
    entry->evidence_count++;
    return gone;
}

bool ledger_link_dropped(struct ledger *ledger, term_word pid, term_word peer)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);
    bool is_all = entry == NULL || entry->evidence == NULL;

    if (entry != NULL && is_all)
        drop_link(entry, peer);
    unlock_shard(shard);
    return is_all;
}

void ledger_link_gone(struct ledger *ledger, term_word pid, term_word peer, uint64_t now_ns,
                      struct record *dead)
{
    struct evidence *spare = NULL, *gone = NULL, *found;
    struct shard *shard;
    struct entry *entry;

    if (dead != NULL && (spare = evidence_new(EVIDENCE_TRAPPED, now_ns)) != NULL) {
        spare->from = peer;
        spare->shape = dead->shape;
        spare->print = dead->print;
        spare->record = record_hold(dead);
    }
    shard = lock_shard(ledger, pid);
    if ((entry = find(shard, pid)) != NULL) {
        drop_link(entry, peer);
        if ((found = take_evidence(entry, EVIDENCE_LINKED, peer)) != NULL) {
            found->kind = EVIDENCE_TRAPPED;
            found->time_ns = now_ns;
        } else {
            found = spare;
            spare = NULL;
        }
        if (found != NULL)
            gone = put_evidence(ledger, entry, found);
    }
    unlock_shard(shard);
    evidence_free(gone);
    evidence_free(spare);
}

void ledger_name(struct ledger *ledger, term_word pid, term_word name)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL) {
        entry->name = (uint32_t)name;
        entry->flags |= ENTRY_NAME_KNOWN;
    }
    unlock_shard(shard);
}

void ledger_trap(struct ledger *ledger, term_word pid, bool trapping)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL) {
        entry->flags |= ENTRY_TRAP_KNOWN;
        if (trapping)
            entry->flags |= ENTRY_TRAPS;
        else
            entry->flags &= ~(uint64_t)ENTRY_TRAPS;
    }
    unlock_shard(shard);
}

bool ledger_traps(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);
    bool traps = entry != NULL && (entry->flags & ENTRY_TRAPS);

    unlock_shard(shard);
    return traps;
}

bool ledger_evidence(struct ledger *ledger, term_word pid, struct evidence *evidence)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);
    struct evidence *gone = evidence;

    if (entry != NULL) {
        if (evidence->kind == EVIDENCE_HEAP)
            atomic_fetch_add_explicit(&ledger->heaps, 1, memory_order_relaxed);
        gone = put_evidence(ledger, entry, evidence);
    }
    unlock_shard(shard);
    evidence_free(gone);
    return entry != NULL;
}

struct who ledger_who(struct ledger *ledger, term_word pid)
{
    struct who who = {.pid = pid};
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL) {
        who.name = entry->name;
        who.initial_call = entry->initial_call;
    }
    unlock_shard(shard);
    return who;
}

/* The parent of `pid`: a pid, or with `*is_node` a node's name; NO_WORD when there is none known. */
static term_word parent_of(struct ledger *ledger, term_word pid, bool *is_node)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);
    term_word parent = entry == NULL ? NO_WORD : entry->parent;

    *is_node = entry != NULL && (entry->flags & ENTRY_REMOTE);
    unlock_shard(shard);
    return parent;
}

term_word ledger_node_behind(struct ledger *ledger, term_word pid)
{
    bool is_node;
    term_word parent = parent_of(ledger, pid, &is_node);

    /* An rpc's worker is started from there; the shell that evaluates a command is the child of such a one. */
    if (!is_node && parent != NO_WORD)
        parent = parent_of(ledger, parent, &is_node);
    return is_node ? parent : NO_WORD;
}

term_word ledger_parent(struct ledger *ledger, term_word pid)
{
    bool is_node;
    term_word parent = parent_of(ledger, pid, &is_node);

    return is_node ? NO_WORD : parent;
}

void ledger_limit(struct ledger *ledger, term_word pid, uint64_t words)
{
    struct evidence *limit = evidence_new(EVIDENCE_LIMIT, 0);
    struct evidence *before = NULL, *gone = limit;
    struct shard *shard;
    struct entry *entry;

    if (limit == NULL || (limit->detail = detail_new()) == NULL) {
        evidence_free(limit);
        return; /* then it is not known */
    }
    limit->detail->limit_words = words;
    shard = lock_shard(ledger, pid);
    if ((entry = find(shard, pid)) != NULL) {
        before = take_evidence(entry, EVIDENCE_LIMIT, NO_WORD);
        gone = put_evidence(ledger, entry, limit);
    }
    unlock_shard(shard);
    evidence_free(before);
    evidence_free(gone);
}

bool ledger_limit_of(struct ledger *ledger, term_word pid, uint64_t *words)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);
    const struct evidence *evidence = entry == NULL ? NULL : entry->evidence;

    while (evidence != NULL && evidence->kind != EVIDENCE_LIMIT)
        evidence = evidence->next;
    if (evidence != NULL)
        *words = evidence->detail->limit_words;
    unlock_shard(shard);
    return evidence != NULL;
}

uint64_t ledger_shutdown_time(struct ledger *ledger, term_word pid, term_word from)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);
    uint64_t time_ns = 0;

    if (entry != NULL)
        for (const struct evidence *evidence = entry->evidence; evidence != NULL && time_ns == 0;
             evidence = evidence->next)
            if (evidence->kind == EVIDENCE_SIGNAL && evidence->from == from &&
                evidence->shape == REASON_SHUTDOWN)
                time_ns = evidence->time_ns;
    unlock_shard(shard);
    return time_ns;
}

bool ledger_has_stop(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);
    bool has = false;

    if (entry != NULL)
        for (const struct evidence *evidence = entry->evidence; evidence != NULL && !has;
             evidence = evidence->next)
            has = evidence->kind == EVIDENCE_STOP;
    unlock_shard(shard);
    return has;
}

struct parent_signal ledger_parent_signal(struct ledger *ledger, term_word pid)
{
    struct parent_signal parent = {.seen = false, .why = WHY_PARENT};
    struct shard *shard = lock_shard(ledger, pid);
    const struct entry *entry = find(shard, pid);

    if (entry != NULL && entry->parent != NO_WORD)
        for (const struct evidence *evidence = entry->evidence; evidence != NULL && !parent.seen;
             evidence = evidence->next) {
            const struct act *act = evidence->act;

            if (evidence->from != entry->parent ||
                (evidence->kind != EVIDENCE_SIGNAL && evidence->kind != EVIDENCE_LINKED &&
                 evidence->kind != EVIDENCE_TRAPPED))
                continue;
            parent.seen = true;
            if (act != NULL && act->application != NO_WORD) {
                parent.why = WHY_APPLICATION_STOP;
                parent.application = act->application;
            } else if (act != NULL && act->supervision != NULL &&
                       act->supervision->why == WHY_APPLICATION_STOP) {
                parent.why = WHY_APPLICATION_STOP;
                parent.application = act->supervision->application;
            }
        }
    unlock_shard(shard);
    return parent;
}

bool ledger_heap_survived(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);
    struct evidence *gone = entry == NULL ? NULL : take_evidence(entry, EVIDENCE_HEAP, pid);

    if (gone != NULL)
        atomic_fetch_sub_explicit(&ledger->heaps, 1, memory_order_relaxed);
    unlock_shard(shard);
    evidence_free(gone);
    return gone != NULL;
}

bool ledger_has_heaps(const struct ledger *ledger)
{
    return atomic_load_explicit(&ledger->heaps, memory_order_relaxed) > 0;
}

bool ledger_knows(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    bool known = find(shard, pid) != NULL;

    unlock_shard(shard);
    return known;
}

bool ledger_expect(struct ledger *ledger, term_word pid, uint64_t now_ns)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry;
    bool entered = false;

    if (find(shard, pid) == NULL && (entry = take_spare(shard)) != NULL) {
        *entry = (struct entry){.pid = pid,
                                .begun_us = now_ns / 1000,
                                .flags = ENTRY_UNSEEDED | ENTRY_SEEDED,
                                .index = entry->index};
        if (!(entered = insert(shard, entry)))
            give_spare(shard, entry);
    }
    unlock_shard(shard);
    return entered;
}

void ledger_renew(struct ledger *ledger, term_word pid, uint64_t now_ns)
{
    struct ancestors *ancestors = NULL;
    struct linkset *removed = NULL;
    struct linkset links = {0};
    struct shard *shard;
    struct entry *entry;

    if (ledger_expect(ledger, pid, now_ns))
        return;
    shard = lock_shard(ledger, pid);
    if ((entry = find(shard, pid)) != NULL) {
        if (entry->flags & ENTRY_UNSEEDED)
            removed = entry->of.removed;
        else
            ancestors = entry->of.ancestors;
        links = linkset_take(&entry->links);
        entry->of.removed = NULL;
        entry->flags &= ~(uint64_t)(ENTRY_TRAPS | ENTRY_TRAP_KNOWN | ENTRY_NAME_KNOWN);
        entry->flags |= ENTRY_UNSEEDED;
    }
    unlock_shard(shard);
    ancestors_drop(ancestors);
    linkset_clear(&links);
    if (removed != NULL)
        linkset_clear(removed);
    memory_free(removed);
}

void ledger_seed_links(struct ledger *ledger, term_word pid, const term_word *words, size_t count)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL && (entry->flags & ENTRY_UNSEEDED))
        for (size_t i = 0; i < count; i++) {
            if (entry->of.removed != NULL && linkset_contains(entry->of.removed, words[i]))
                continue;
            if (linkset_add(&entry->links, words[i]) < 0)
                entry->links.owners = ENTRY_SURE_NEVER;
        }
    unlock_shard(shard);
}

void ledger_seed(struct ledger *ledger, const struct snapshot *snapshot)
{
    struct shard *shard = lock_shard(ledger, snapshot->pid);
    struct entry *entry = find(shard, snapshot->pid);
    struct linkset *removed = NULL;
    bool merged = entry != NULL && (entry->flags & ENTRY_UNSEEDED);

    if (merged) {
        removed = entry->of.removed;
        entry->parent = snapshot->parent;
        entry->initial_call = snapshot->initial_call;
        if (!(entry->flags & ENTRY_NAME_KNOWN))
            entry->name = (uint32_t)snapshot->name;
        if (!(entry->flags & ENTRY_TRAP_KNOWN) && snapshot->trapping)
            entry->flags |= ENTRY_TRAPS;
        if (snapshot->proc_lib)
            entry->flags |= ENTRY_PROC_LIB;
        entry->flags &= ~(uint64_t)ENTRY_UNSEEDED;
        entry->of.ancestors = snapshot->ancestors;
    }
    unlock_shard(shard);
    if (!merged)
        ancestors_drop(snapshot->ancestors);
    if (removed != NULL)
        linkset_clear(removed);
    memory_free(removed);
}

void ledger_forget(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL && (entry->flags & ENTRY_UNSEEDED))
        entry = take_out(ledger, shard, pid);
    else
        entry = NULL;
    unlock_shard(shard);
    entry_free(entry);
}

void ledger_drop(struct ledger *ledger, term_word pid)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = take_out(ledger, shard, pid);

    unlock_shard(shard);
    entry_free(entry);
}

void ledger_members(struct ledger *ledger, size_t part, term_word *words, size_t room,
                    size_t *count)
{
    struct shard *shard = &ledger->shards[part / SHARD_PARTS];
    uint32_t quarter = (uint32_t)(part % SHARD_PARTS), each = UINT32_MAX / SHARD_PARTS + 1, last;

    *count = 0;
    lock_take(&shard->lock);
    /* Buckets stand in the order of their entries' bits; the first and the last may have some of
     * other parts, too. */
    last = bucket_at(shard, quarter * each + (each - 1));
    for (uint32_t b = bucket_at(shard, quarter * each); b <= last; b++)
        for (struct entry *entry = buckets_of(shard)[b]; entry != NULL && *count < room;
             entry = entry->next)
            if (bits_of(entry->pid) / each == quarter)
                words[(*count)++] = entry->pid;
    unlock_shard(shard);
}

/* None of these need be there any more by the time they are in the cache: nothing is read. */
void ledger_prefetch(const struct ledger *ledger, term_word pid)
{
    const struct shard *shard = &ledger->shards[shard_of(pid)];
    const char *spare = (const char *)first_spare(shard);
    const struct quiet_slot *slots = atomic_load_explicit(&shard->quiet, memory_order_relaxed);

    __builtin_prefetch(shard, 1);
    __builtin_prefetch(buckets_of(shard) + bucket_of(shard, pid), 1);
    __builtin_prefetch(spare, 1);
    __builtin_prefetch(spare + LINE, 1);
    __builtin_prefetch(slots + atomic_load_explicit(&shard->quiet_made, memory_order_relaxed) % QUIET_SLOTS, 1);
}

uint64_t ledger_count(const struct ledger *ledger)
{
    uint64_t count = 0;

    for (size_t i = 0; i < SHARDS; i++)
        count += atomic_load_explicit(&ledger->shards[i].processes, memory_order_relaxed);
    return count;
}

bool ledger_links(struct ledger *ledger, term_word pid, term_word *words, size_t room, size_t *count)
{
    struct shard *shard = lock_shard(ledger, pid);
    struct entry *entry = find(shard, pid);

    if (entry != NULL)
        *count = linkset_list(&entry->links, words, room);
    unlock_shard(shard);
    return entry != NULL;
}

void ledger_quiet(struct ledger *ledger, term_word pid, uint32_t initial_call, enum quiet quiet)
{
    struct shard *shard = lock_shard(ledger, pid);

    put_quiet(shard, pid, initial_call, quiet);
    unlock_shard(shard);
}

enum quiet ledger_quiet_of(struct ledger *ledger, term_word pid, uint32_t *initial_call)
{
    struct shard *shard = lock_shard(ledger, pid);
    const struct quiet_slot *slots = atomic_load_explicit(&shard->quiet, memory_order_relaxed);
    enum quiet quiet = QUIET_NONE;

    /* The newest first: what was said last of a pid holds. */
    for (unsigned i = 1; slots != NULL && i <= QUIET_SLOTS && quiet == QUIET_NONE; i++) {
        const struct quiet_slot *slot = &slots[(uint16_t)(shard->quiet_made - i) % QUIET_SLOTS];

        if (slot->pid == pid) {
            quiet = (enum quiet)slot->quiet;
            *initial_call = slot->initial_call;
        }
    }
    unlock_shard(shard);
    return quiet;
}
