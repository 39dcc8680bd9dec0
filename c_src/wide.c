#include <string.h>

#include "alloc.h"
#include "lock.h"
#include "wide.h"

#define BUCKETS 2048
#define NOTHING UINT16_MAX

struct slot {
    struct record *record; /* held; NULL while unused */
    uint16_t next;         /* in the bucket's chain */
};

struct wide {
    struct wide_head head; /* read without the lock: nearly always 0, and then nobody waits */
    struct lock lock;
    _Atomic uint64_t evicted_ns;
    uint32_t newest; /* the slot written last */
    uint16_t buckets[BUCKETS];
    struct slot slots[WIDE_DEATHS];
};

static uint32_t bucket_of(term_word pid)
{
    return (uint32_t)word_hash(pid) % BUCKETS;
}

static void reset(struct wide *wide)
{
    memset(wide->buckets, 0xff, sizeof(wide->buckets));
    memset(wide->slots, 0, sizeof(wide->slots));
    wide->newest = WIDE_DEATHS - 1;
    atomic_store(&wide->head.count, 0);
    atomic_store(&wide->evicted_ns, 0);
}

struct wide *wide_new(void)
{
    struct wide *wide = memory_zalloc(sizeof(*wide));

    if (wide == NULL)
        return NULL;
    reset(wide);
    return wide;
}

void wide_clear(struct wide *wide)
{
    struct record *gone[WIDE_DEATHS];

    lock_take(&wide->lock);
    for (size_t i = 0; i < WIDE_DEATHS; i++)
        gone[i] = wide->slots[i].record;
    reset(wide);
    lock_give(&wide->lock);
    for (size_t i = 0; i < WIDE_DEATHS; i++)
        record_drop(gone[i]);
}

void wide_free(struct wide *wide)
{
    if (wide == NULL)
        return;
    wide_clear(wide);
    memory_free(wide);
}

void wide_add(struct wide *wide, struct record *record)
{
    struct record *evicted;
    struct slot *slot;
    uint32_t at, bucket;

    lock_take(&wide->lock);
    at = (wide->newest + 1) % WIDE_DEATHS;
    slot = &wide->slots[at];
    if ((evicted = slot->record) != NULL) {
        uint16_t *link = &wide->buckets[bucket_of(evicted->who.pid)];

        while (*link != at)
            link = &wide->slots[*link].next;
        *link = slot->next;
        atomic_store_explicit(&wide->evicted_ns, record->monotonic_ns, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&wide->head.count, 1, memory_order_release);
    }
    bucket = bucket_of(record->who.pid);
    slot->record = record_hold(record);
    slot->next = wide->buckets[bucket];
    wide->buckets[bucket] = (uint16_t)at;
    wide->newest = at;
    lock_give(&wide->lock);
    record_drop(evicted);
}

static struct record *find(const struct wide *wide, term_word pid)
{
    for (uint16_t at = wide->buckets[bucket_of(pid)]; at != NOTHING; at = wide->slots[at].next)
        if (wide->slots[at].record->who.pid == pid)
            return wide->slots[at].record;
    return NULL;
}

struct record *wide_find(struct wide *wide, term_word pid)
{
    struct record *record;

    if (wide_is_empty(wide))
        return NULL;
    lock_take(&wide->lock);
    record = record_hold(find(wide, pid));
    lock_give(&wide->lock);
    return record;
}

/* Goes through the newest deaths; `links` or, when that is NULL, `print` says which are wanted. */
static size_t scan(const struct wide *wide, const struct linkset *links, struct fingerprint print,
                   struct record **records, size_t room)
{
    size_t found = 0;

    for (uint32_t i = 0; i < WIDE_LOOKS && found < room; i++) {
        struct record *record =
            wide->slots[(wide->newest + WIDE_DEATHS - i) % WIDE_DEATHS].record;

        if (record == NULL)
            break;
        if (links != NULL ? linkset_contains(links, record->who.pid)
                          : fingerprint_same(record->print, print))
            records[found++] = record_hold(record);
    }
    return found;
}

size_t wide_find_linked(struct wide *wide, const struct linkset *links, struct record **records,
                        size_t room)
{
    term_word words[WIDE_LOOKS];
    size_t found = 0;

    if (wide_is_empty(wide) || links->count == 0)
        return 0;
    lock_take(&wide->lock);
    if (links->count <= WIDE_LOOKS) {
        size_t count = linkset_list(links, words, WIDE_LOOKS);

        for (size_t i = 0; i < count && found < room; i++) {
            struct record *record = find(wide, words[i]);

            if (record != NULL)
                records[found++] = record_hold(record);
        }
    } else {
        found = scan(wide, links, (struct fingerprint){0}, records, room);
    }
    lock_give(&wide->lock);
    return found;
}

size_t wide_find_reason(struct wide *wide, struct fingerprint print, struct record **records,
                        size_t room)
{
    size_t found;

    if (wide_is_empty(wide))
        return 0;
    lock_take(&wide->lock);
    found = scan(wide, NULL, print, records, room);
    lock_give(&wide->lock);
    return found;
}

uint64_t wide_evicted_ns(struct wide *wide)
{
    return atomic_load_explicit(&wide->evicted_ns, memory_order_relaxed);
}
