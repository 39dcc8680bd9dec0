#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "alloc.h"
#include "bystanders.h"

struct bystanders {
    pthread_mutex_t lock; /* held for one search, or to swap the list */
    struct who *who;      /* in order of the pid's word */
    _Atomic size_t count;
};

struct bystanders *bystanders_new(void)
{
    struct bystanders *bystanders = memory_zalloc(sizeof(*bystanders));

    if (bystanders == NULL)
        return NULL;
    if (pthread_mutex_init(&bystanders->lock, NULL) != 0) {
        memory_free(bystanders);
        return NULL;
    }
    return bystanders;
}

void bystanders_free(struct bystanders *bystanders)
{
    if (bystanders == NULL)
        return;
    memory_free(bystanders->who);
    pthread_mutex_destroy(&bystanders->lock);
    memory_free(bystanders);
}

static int compare(const void *left, const void *right)
{
    term_word a = ((const struct who *)left)->pid, b = ((const struct who *)right)->pid;

    return (a > b) - (a < b);
}

void bystanders_set(struct bystanders *bystanders, struct who *who, size_t count)
{
    struct who *before;

    if (count > 0)
        qsort(who, count, sizeof(*who), compare);
    pthread_mutex_lock(&bystanders->lock);
    before = bystanders->who;
    bystanders->who = who;
    atomic_store_explicit(&bystanders->count, count, memory_order_relaxed);
    pthread_mutex_unlock(&bystanders->lock);
    memory_free(before);
}

bool bystanders_find(struct bystanders *bystanders, struct who *who)
{
    const struct who *found = NULL;
    size_t count;

    if (atomic_load_explicit(&bystanders->count, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&bystanders->lock);
    count = atomic_load_explicit(&bystanders->count, memory_order_relaxed);
    if (count > 0)
        found = bsearch(who, bystanders->who, count, sizeof(*who), compare);
    if (found != NULL)
        *who = *found;
    pthread_mutex_unlock(&bystanders->lock);
    return found != NULL;
}
