#include <string.h>

#include "alloc.h"
#include "journal.h"
#include "lock.h"

/* As many as 32 MiB of records have pids, and a quarter of that of names: fewer have one. */
#define PID_BUCKET_BITS 17
#define NAME_BUCKETS 16384
#define LINE 64   /* bytes of a cache line */
#define CLASSES 2 /* 0: severity info, which makes room first; 1: the rest */

struct class_list {
    struct record *oldest, *newest;
};

struct journal {
    struct lock lock;
    struct journal_counts counts;
    size_t bytes_max;
    void (*on_evicted)(void *cookie, const struct record *record);
    void *cookie;

    struct record *oldest, *newest;    /* all, by seq */
    struct record *unacknowledged;     /* the first not acknowledged; all after it are not either */
    struct record *unsent;             /* the first not sent yet; all after it are not either */
    struct class_list classes[CLASSES]; /* of the unsent, by seq */
    struct record *by_pid[1 << PID_BUCKET_BITS]; /* newest first */
    struct record *by_name[NAME_BUCKETS];
};

struct journal *journal_new(void)
{
    return memory_zalloc(sizeof(struct journal));
}

void journal_on_evicted(struct journal *journal, void (*call)(void *cookie, const struct record *record),
                        void *cookie)
{
    journal->on_evicted = call;
    journal->cookie = cookie;
}

void journal_reset(struct journal *journal, size_t bytes_max)
{
    struct record *record;

    lock_take(&journal->lock);
    record = journal->oldest;
    journal->oldest = journal->newest = NULL;
    journal->unacknowledged = journal->unsent = NULL;
    memset(journal->classes, 0, sizeof(journal->classes));
    memset(journal->by_pid, 0, sizeof(journal->by_pid));
    memset(journal->by_name, 0, sizeof(journal->by_name));
    journal->counts = (struct journal_counts){0};
    journal->bytes_max = bytes_max;
    lock_give(&journal->lock);
    while (record != NULL) {
        struct record *next = record->next;

        record_drop(record);
        record = next;
    }
}

void journal_free(struct journal *journal)
{
    if (journal == NULL)
        return;
    journal_reset(journal, 0);
    memory_free(journal);
}

static struct class_list *class_of(struct journal *journal, const struct record *record)
{
    return &journal->classes[record->severity == CORONER_SEVERITY_INFO ? 0 : 1];
}

static void class_append(struct journal *journal, struct record *record)
{
    struct class_list *list = class_of(journal, record);

    record->class_next = NULL;
    record->class_previous = list->newest;
    if (list->newest != NULL)
        list->newest->class_next = record;
    else
        list->oldest = record;
    list->newest = record;
    record->in_class = true;
}

static void class_prepend(struct journal *journal, struct record *record)
{
    struct class_list *list = class_of(journal, record);

    record->class_previous = NULL;
    record->class_next = list->oldest;
    if (list->oldest != NULL)
        list->oldest->class_previous = record;
    else
        list->newest = record;
    list->oldest = record;
    record->in_class = true;
}

static void class_remove(struct journal *journal, struct record *record)
{
    struct class_list *list = class_of(journal, record);

    if (!record->in_class)
        return;
    if (record->class_previous != NULL)
        record->class_previous->class_next = record->class_next;
    else
        list->oldest = record->class_next;
    if (record->class_next != NULL)
        record->class_next->class_previous = record->class_previous;
    else
        list->newest = record->class_previous;
    record->class_next = record->class_previous = NULL;
    record->in_class = false;
}

/* Pids that follow each other stand side by side: most of what dies is young, and so the bucket is
 * in the cache. */
static size_t pid_place(term_word pid)
{
    uint64_t number = pid >> 4; /* without the tag */
    uint64_t above = word_spread(number >> PID_BUCKET_BITS) >> (64 - PID_BUCKET_BITS);

    return (number ^ above) & ((1 << PID_BUCKET_BITS) - 1);
}

static struct record **pid_bucket(struct journal *journal, term_word pid)
{
    return &journal->by_pid[pid_place(pid)];
}

void journal_prefetch(const struct journal *journal, term_word pid)
{
    __builtin_prefetch(&journal->by_pid[pid_place(pid)], 1);
}

static struct record **name_bucket(struct journal *journal, term_word name)
{
    return &journal->by_name[word_hash(name) % NAME_BUCKETS];
}

/* Takes the record out of every list; the journal's hold on it passes to the caller. */
static void detach(struct journal *journal, struct record *record)
{
    *record->pid_place = record->pid_next;
    if (record->pid_next != NULL)
        record->pid_next->pid_place = record->pid_place;
    if (record->name_place != NULL) {
        *record->name_place = record->name_next;
        if (record->name_next != NULL)
            record->name_next->name_place = record->name_place;
    }
    class_remove(journal, record);
    if (journal->unsent == record)
        journal->unsent = record->next;
    if (journal->unacknowledged == record)
        journal->unacknowledged = record->next;
    if (record->previous != NULL)
        record->previous->next = record->next;
    else
        journal->oldest = record->next;
    if (record->next != NULL)
        record->next->previous = record->previous;
    else
        journal->newest = record->previous;
    record->next = record->previous = record->pid_next = record->name_next = NULL;
    record->pid_place = record->name_place = NULL;
    journal->counts.held--;
    journal->counts.bytes -= record_bytes(record);
    if (record->seq > journal->counts.acknowledged)
        journal->counts.unacknowledged--;
}

/* The next to make room, or NULL when all that is held is under way. */
static struct record *to_evict(const struct journal *journal)
{
    if (journal->oldest != NULL && journal->oldest->seq <= journal->counts.acknowledged)
        return journal->oldest;
    if (journal->classes[0].oldest != NULL)
        return journal->classes[0].oldest;
    return journal->classes[1].oldest;
}

/*
 * Once there is no more room, each record that comes makes one go that nobody has looked at for
 * long, and which is in no cache. So the one that goes after the next is asked for now; of the
 * next, which was asked for the last time, what it points to.
 */
static void prefetch_evicted(const struct journal *journal)
{
    const struct record *next = to_evict(journal), *after;

    if (next == NULL)
        return;
    __builtin_prefetch(next->act, 1);
    __builtin_prefetch(next->reason, 1);
    __builtin_prefetch(next->pid_place, 1);
    if ((after = next->next) != NULL)
        for (size_t at = 0; at < sizeof(*after); at += LINE)
            __builtin_prefetch((const char *)after + at, 1);
}

void journal_add(struct journal *journal, struct record *record)
{
    struct record *evicted = NULL, *next;
    struct record **bucket;
    size_t bytes = record_bytes(record);

    lock_take(&journal->lock);
    record->seq = ++journal->counts.made;
    record_hold(record);
    record->next = NULL;
    record->previous = journal->newest;
    if (journal->newest != NULL)
        journal->newest->next = record;
    else
        journal->oldest = record;
    journal->newest = record;
    if (journal->unsent == NULL)
        journal->unsent = record;
    class_append(journal, record);
    if (journal->unacknowledged == NULL)
        journal->unacknowledged = record;
    bucket = pid_bucket(journal, record->who.pid);
    if ((record->pid_next = *bucket) != NULL)
        record->pid_next->pid_place = &record->pid_next;
    record->pid_place = bucket;
    *bucket = record;
    if (record->who.name != NO_WORD) {
        bucket = name_bucket(journal, record->who.name);
        if ((record->name_next = *bucket) != NULL)
            record->name_next->name_place = &record->name_next;
        record->name_place = bucket;
        *bucket = record;
    }
    journal->counts.held++;
    journal->counts.unacknowledged++;
    journal->counts.bytes += bytes;
    /* The bound holds because what is under way is itself bounded (uplink.c) and the rest can go. */
    while (journal->counts.bytes > journal->bytes_max && (next = to_evict(journal)) != NULL) {
        if (next->seq > journal->counts.acknowledged)
            journal->counts.lost++;
        detach(journal, next);
        next->class_next = evicted;
        evicted = next;
    }
    if (evicted != NULL)
        prefetch_evicted(journal);
    lock_give(&journal->lock);

    for (; evicted != NULL; evicted = next) {
        next = evicted->class_next;
        evicted->class_next = NULL;
        if (journal->on_evicted != NULL)
            journal->on_evicted(journal->cookie, evicted);
        record_drop(evicted);
    }
}

struct record *journal_by_pid(struct journal *journal, term_word pid)
{
    struct record *record;

    lock_take(&journal->lock);
    for (record = *pid_bucket(journal, pid); record != NULL; record = record->pid_next)
        if (record->who.pid == pid)
            break;
    record_hold(record);
    lock_give(&journal->lock);
    return record;
}

struct record *journal_by_name(struct journal *journal, term_word name)
{
    struct record *record;

    lock_take(&journal->lock);
    for (record = *name_bucket(journal, name); record != NULL; record = record->name_next)
        if (record->who.name == name)
            break;
    record_hold(record);
    lock_give(&journal->lock);
    return record;
}

size_t journal_recent(struct journal *journal, struct record **records, size_t room)
{
    size_t count = 0;

    lock_take(&journal->lock);
    for (struct record *record = journal->newest; record != NULL && count < room;
         record = record->previous)
        records[count++] = record_hold(record);
    lock_give(&journal->lock);
    return count;
}

size_t journal_take(struct journal *journal, struct record **records, size_t room)
{
    size_t count = 0;

    lock_take(&journal->lock);
    for (; journal->unsent != NULL && count < room; journal->unsent = journal->unsent->next) {
        class_remove(journal, journal->unsent);
        records[count++] = record_hold(journal->unsent);
    }
    lock_give(&journal->lock);
    return count;
}

bool journal_has_unsent(struct journal *journal)
{
    bool has;

    lock_take(&journal->lock);
    has = journal->unsent != NULL;
    lock_give(&journal->lock);
    return has;
}

bool journal_acknowledge(struct journal *journal, uint64_t seq)
{
    bool sane;

    lock_take(&journal->lock);
    sane = seq <= journal->counts.made;
    if (sane && seq > journal->counts.acknowledged) {
        struct record *record = journal->unacknowledged;

        for (; record != NULL && record->seq <= seq; record = record->next) {
            class_remove(journal, record);
            if (journal->unsent == record)
                journal->unsent = record->next;
            journal->counts.unacknowledged--;
        }
        journal->unacknowledged = record;
        journal->counts.acknowledged = seq;
    }
    lock_give(&journal->lock);
    return sane;
}

void journal_rewind(struct journal *journal)
{
    struct record *record;

    lock_take(&journal->lock);
    record = journal->unsent != NULL ? journal->unsent->previous : journal->newest;
    for (; record != NULL && record->seq > journal->counts.acknowledged; record = record->previous) {
        class_prepend(journal, record);
        journal->unsent = record;
    }
    lock_give(&journal->lock);
}

bool journal_is_settled(struct journal *journal, uint64_t seq)
{
    bool settled;

    lock_take(&journal->lock);
    settled = journal->unacknowledged == NULL || journal->unacknowledged->seq > seq;
    lock_give(&journal->lock);
    return settled;
}

struct journal_counts journal_counts(struct journal *journal)
{
    struct journal_counts counts;

    lock_take(&journal->lock);
    counts = journal->counts;
    counts.first_held =
        journal->unacknowledged != NULL ? journal->unacknowledged->seq : counts.made + 1;
    lock_give(&journal->lock);
    return counts;
}
