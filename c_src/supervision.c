#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "supervision.h"

#define BUCKETS (1 << SUPERVISORS_BUCKET_BITS)
#define SUPERVISORS_MAX 16384 /* past this no more are entered: their signals show no `why` */

/* What a supervisor did last. */
enum doing { IDLE, RESTARTING, ENDING_SIBLINGS, SIGNIFICANT_ENDED, ASKED, STOPPING };

struct supervisor {
    struct supervisor *next;
    term_word pid;
    uint8_t doing; /* enum doing */
    uint8_t why;   /* enum why; of STOPPING */
    struct who subject; /* the child of RESTARTING, ENDING_SIBLINGS and SIGNIFICANT_ENDED; the asker of ASKED */
    uint64_t subject_seq;
    term_word application;
    term_word target;            /* of the signals to come; NO_WORD: all dynamic children */
    struct supervision *current; /* for them; held */
};

struct supervisors {
    struct supervisors_head head;
    pthread_mutex_t lock;
    unsigned count;
    struct supervisor *buckets[BUCKETS];
};

const char *why_name(enum why why)
{
    static const char *const names[] = {
#define X(symbol, name) [WHY_##symbol] = name,
        SUPERVISION_WHYS(X)
#undef X
    };

    return names[why];
}

struct supervision *supervision_hold(struct supervision *supervision)
{
    if (supervision != NULL)
        atomic_fetch_add_explicit(&supervision->holders, 1, memory_order_relaxed);
    return supervision;
}

void supervision_drop(struct supervision *supervision)
{
    if (supervision == NULL ||
        atomic_fetch_sub_explicit(&supervision->holders, 1, memory_order_acq_rel) != 1)
        return;
    text_drop(supervision->child);
    memory_free(supervision);
}

struct supervisors *supervisors_new(void)
{
    struct supervisors *supervisors = memory_zalloc(sizeof(*supervisors));

    if (supervisors == NULL)
        return NULL;
    if (pthread_mutex_init(&supervisors->lock, NULL) != 0) {
        memory_free(supervisors);
        return NULL;
    }
    return supervisors;
}

void supervisors_clear(struct supervisors *supervisors)
{
    struct supervisor *buckets[BUCKETS];

    pthread_mutex_lock(&supervisors->lock);
    memcpy(buckets, supervisors->buckets, sizeof(buckets));
    memset(supervisors->buckets, 0, sizeof(supervisors->buckets));
    supervisors->count = 0;
    for (size_t b = 0; b < BUCKETS; b++)
        atomic_store_explicit(&supervisors->head.held[b], 0, memory_order_relaxed);
    pthread_mutex_unlock(&supervisors->lock);
    for (size_t b = 0; b < BUCKETS; b++)
        for (struct supervisor *one = buckets[b], *next; one != NULL; one = next) {
            next = one->next;
            supervision_drop(one->current);
            memory_free(one);
        }
}

void supervisors_free(struct supervisors *supervisors)
{
    if (supervisors == NULL)
        return;
    supervisors_clear(supervisors);
    pthread_mutex_destroy(&supervisors->lock);
    memory_free(supervisors);
}

static size_t bucket_of(term_word pid)
{
    return word_spread(pid) >> (64 - SUPERVISORS_BUCKET_BITS);
}

static struct supervisor **place_of(struct supervisors *supervisors, term_word pid)
{
    struct supervisor **at = &supervisors->buckets[bucket_of(pid)];

    while (*at != NULL && (*at)->pid != pid)
        at = &(*at)->next;
    return at;
}

/* The entry of `pid`, made if there is none; NULL without memory or room. The lock is held. */
static struct supervisor *enter(struct supervisors *supervisors, term_word pid)
{
    struct supervisor **at = place_of(supervisors, pid);

    if (*at == NULL && supervisors->count < SUPERVISORS_MAX &&
        (*at = memory_zalloc(sizeof(**at))) != NULL) {
        (*at)->pid = pid;
        atomic_fetch_add_explicit(&supervisors->head.held[bucket_of(pid)], 1, memory_order_relaxed);
        supervisors->count++;
    }
    return *at;
}

/* Notes what `pid` does now, and about whom. */
static void note(struct supervisors *supervisors, term_word pid, enum doing doing,
                 struct who subject, uint64_t seq)
{
    struct supervision *gone = NULL;
    struct supervisor *one;

    pthread_mutex_lock(&supervisors->lock);
    if ((one = enter(supervisors, pid)) != NULL) {
        one->doing = (uint8_t)doing;
        one->subject = subject;
        one->subject_seq = seq;
        gone = one->current;
        one->current = NULL;
    }
    pthread_mutex_unlock(&supervisors->lock);
    supervision_drop(gone);
}

void supervisors_restart(struct supervisors *supervisors, term_word pid, struct who child,
                         uint64_t seq)
{
    note(supervisors, pid, RESTARTING, child, seq);
}

void supervisors_restarts(struct supervisors *supervisors, term_word pid)
{
    note(supervisors, pid, IDLE, (struct who){.pid = NO_WORD}, 0);
}

void supervisors_siblings(struct supervisors *supervisors, term_word pid, struct who child,
                          uint64_t seq)
{
    note(supervisors, pid, ENDING_SIBLINGS, child, seq);
}

void supervisors_significant(struct supervisors *supervisors, term_word pid, struct who child,
                             uint64_t seq)
{
    note(supervisors, pid, SIGNIFICANT_ENDED, child, seq);
}

void supervisors_asked(struct supervisors *supervisors, term_word pid, struct who by)
{
    note(supervisors, pid, ASKED, by, 0);
}

void supervisors_stops(struct supervisors *supervisors, term_word pid, struct parent_signal parent)
{
    struct supervision *gone = NULL;
    struct supervisor *one;

    pthread_mutex_lock(&supervisors->lock);
    if ((one = enter(supervisors, pid)) != NULL) {
        /* After restart/2 comes restart/3, unless this is the end: so the first alone can be no old story. */
        if (one->doing == RESTARTING)
            one->why = WHY_INTENSITY;
        else if (one->doing == SIGNIFICANT_ENDED && !parent.seen)
            one->why = WHY_SIBLING;
        else if (one->doing == SIGNIFICANT_ENDED)
            one->why = WHY_UNKNOWN; /* either can be it */
        else
            one->why = parent.seen ? parent.why : (uint8_t)WHY_UNKNOWN;
        if (one->why != WHY_INTENSITY && one->why != WHY_SIBLING)
            one->subject.pid = NO_WORD;
        one->application = one->why == WHY_APPLICATION_STOP ? parent.application : NO_WORD;
        one->doing = STOPPING;
        gone = one->current;
        one->current = NULL;
    }
    pthread_mutex_unlock(&supervisors->lock);
    supervision_drop(gone);
}

static struct supervision *supervision_of(const struct supervisor *one)
{
    struct supervision *made = memory_zalloc(sizeof(*made));

    if (made == NULL)
        return NULL;
    atomic_init(&made->holders, 1);
    made->timeout_ms = TIMEOUT_NONE;
    switch (one->doing) {
    case ENDING_SIBLINGS:
        made->why = WHY_SIBLING;
        break;
    case ASKED:
        made->why = WHY_TERMINATE_CHILD;
        made->asked_by = one->subject;
        break;
    case STOPPING:
        made->why = one->why;
        made->application = one->application;
        break;
    default:
        made->why = WHY_UNKNOWN;
        break;
    }
    if (made->why == WHY_SIBLING || made->why == WHY_INTENSITY) {
        made->sibling = one->subject;
        made->sibling_seq = one->subject_seq;
    }
    return made;
}

void supervisors_child(struct supervisors *supervisors, term_word pid, term_word child,
                       struct text *id, uint64_t timeout_ms)
{
    struct supervision *gone = NULL;
    struct supervisor *one;

    pthread_mutex_lock(&supervisors->lock);
    if ((one = enter(supervisors, pid)) != NULL) {
        gone = one->current;
        if ((one->current = supervision_of(one)) != NULL) {
            one->current->child = id;
            one->current->timeout_ms = timeout_ms;
            id = NULL;
        }
        one->target = child;
    }
    pthread_mutex_unlock(&supervisors->lock);
    supervision_drop(gone);
    text_drop(id);
}

struct supervision *supervisors_behind(struct supervisors *supervisors, term_word pid,
                                       term_word child)
{
    struct supervision *behind = NULL;
    const struct supervisor *one;

    if (!supervisors_may_have(supervisors, pid))
        return NULL;
    pthread_mutex_lock(&supervisors->lock);
    one = *place_of(supervisors, pid);
    if (one != NULL && one->current != NULL && (one->target == child || one->target == NO_WORD))
        behind = supervision_hold(one->current);
    pthread_mutex_unlock(&supervisors->lock);
    return behind;
}

struct supervision *supervisors_gone(struct supervisors *supervisors, term_word pid)
{
    struct supervision *behind = NULL;
    struct supervisor **at, *one;

    if (!supervisors_may_have(supervisors, pid))
        return NULL;
    pthread_mutex_lock(&supervisors->lock);
    at = place_of(supervisors, pid);
    if ((one = *at) != NULL) {
        *at = one->next;
        atomic_fetch_sub_explicit(&supervisors->head.held[bucket_of(pid)], 1, memory_order_relaxed);
        supervisors->count--;
        if (one->doing == STOPPING && (one->why == WHY_INTENSITY || one->why == WHY_SIBLING))
            behind = supervision_of(one);
    }
    pthread_mutex_unlock(&supervisors->lock);
    if (one != NULL)
        supervision_drop(one->current);
    memory_free(one);
    return behind;
}
