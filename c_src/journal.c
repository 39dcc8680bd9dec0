#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "journal.h"

#define BUCKETS 16384
#define CLASSES 2 /* 0: severity info, which makes room first; 1: the rest */

struct class_list {
    struct record *oldest, *newest;
};

struct journal {
    pthread_mutex_t lock;
    struct journal_counts counts;
    size_t bytes_max;
    void (*on_evicted)(void *cookie, const struct record *record);
    void *cookie;

    struct record *oldest, *newest;    /* all, by seq */
    struct record *unacknowledged;     /* the first not acknowledged; all after it are not either */
    struct record *unsent;             /* the first not sent yet; all after it are not either */
    struct class_list classes[CLASSES]; /* of the unsent, by seq */
    struct record *by_pid[BUCKETS];    /* newest first */
    struct record *by_name[BUCKETS];
};

struct journal *journal_new(void)
{
    struct journal *journal = memory_zalloc(sizeof(*journal));

    if (journal == NULL)
        return NULL;
    if (pthread_mutex_init(&journal->lock, NULL) != 0) {
        memory_free(journal);
        return NULL;
    }
    return journal;
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

    pthread_mutex_lock(&journal->lock);
    record = journal->oldest;
    journal->oldest = journal->newest = NULL;
    journal->unacknowledged = journal->unsent = NULL;
    memset(journal->classes, 0, sizeof(journal->classes));
    memset(journal->by_pid, 0, sizeof(journal->by_pid));
    memset(journal->by_name, 0, sizeof(journal->by_name));
    journal->counts = (struct journal_counts){0};
    journal->bytes_max = bytes_max;
    pthread_mutex_unlock(&journal->lock);
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
    pthread_mutex_destroy(&journal->lock);
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

static struct record **pid_bucket(struct journal *journal, term_word pid)
{
    return &journal->by_pid[word_hash(pid) % BUCKETS];
}

static struct record **name_bucket(struct journal *journal, term_word name)
{
    return &journal->by_name[word_hash(name) % BUCKETS];
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

void journal_add(struct journal *journal, struct record *record)
{
    struct record *evicted = NULL, *next;
    struct record **bucket;
    size_t bytes = record_bytes(record);

    pthread_mutex_lock(&journal->lock);
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
    pthread_mutex_unlock(&journal->lock);

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

    pthread_mutex_lock(&journal->lock);
    for (record = *pid_bucket(journal, pid); record != NULL; record = record->pid_next)
        if (record->who.pid == pid)
            break;
    record_hold(record);
    pthread_mutex_unlock(&journal->lock);
    return record;
}

struct record *journal_by_name(struct journal *journal, term_word name)
{
    struct record *record;

    pthread_mutex_lock(&journal->lock);
    for (record = *name_bucket(journal, name); record != NULL; record = record->name_next)
        if (record->who.name == name)
            break;
    record_hold(record);
    pthread_mutex_unlock(&journal->lock);
    return record;
}

size_t journal_recent(struct journal *journal, struct record **records, size_t room)
{
    size_t count = 0;

    pthread_mutex_lock(&journal->lock);
    for (struct record *record = journal->newest; record != NULL && count < room;
         record = record->previous)
        records[count++] = record_hold(record);
    pthread_mutex_unlock(&journal->lock);
    return count;
}

size_t journal_take(struct journal *journal, struct record **records, size_t room)
{
    size_t count = 0;

    pthread_mutex_lock(&journal->lock);
    for (; journal->unsent != NULL && count < room; journal->unsent = journal->unsent->next) {
        class_remove(journal, journal->unsent);
        records[count++] = record_hold(journal->unsent);
    }
    pthread_mutex_unlock(&journal->lock);
    return count;
}

bool journal_has_unsent(struct journal *journal)
{
    bool has;

    pthread_mutex_lock(&journal->lock);
    has = journal->unsent != NULL;
    pthread_mutex_unlock(&journal->lock);
    return has;
}

bool journal_acknowledge(struct journal *journal, uint64_t seq)
{
    bool sane;

    pthread_mutex_lock(&journal->lock);
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
    pthread_mutex_unlock(&journal->lock);
    return sane;
}

void journal_rewind(struct journal *journal)
{
    struct record *record;

    pthread_mutex_lock(&journal->lock);
    record = journal->unsent != NULL ? journal->unsent->previous : journal->newest;
    for (; record != NULL && record->seq > journal->counts.acknowledged; record = record->previous) {
        class_prepend(journal, record);
        journal->unsent = record;
    }
    pthread_mutex_unlock(&journal->lock);
}

bool journal_is_settled(struct journal *journal, uint64_t seq)
{
    bool settled;

    pthread_mutex_lock(&journal->lock);
    settled = journal->unacknowledged == NULL || journal->unacknowledged->seq > seq;
    pthread_mutex_unlock(&journal->lock);
    return settled;
}

struct journal_counts journal_counts(struct journal *journal)
{
    struct journal_counts counts;

    pthread_mutex_lock(&journal->lock);
    counts = journal->counts;
    counts.first_held =
        journal->unacknowledged != NULL ? journal->unacknowledged->seq : counts.made + 1;
    pthread_mutex_unlock(&journal->lock);
    return counts;
}
