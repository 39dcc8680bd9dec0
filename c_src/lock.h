/*
 * A lock of four bytes, so that what it guards fits the same cache line (a pthread_mutex_t takes 40 of the 64). For places
 * where nobody holds it for longer than a few steps, and two seldom meet: who finds it taken tries for a while, then sleeps in
 * the kernel (futex(2)) until it is given back.
 */
#ifndef CORONER_LOCK_H
#define CORONER_LOCK_H

#include <stdatomic.h>

enum { LOCK_FREE, LOCK_TAKEN, LOCK_AWAITED /* taken, and somebody sleeps */ };

struct lock {
    atomic_uint state; /* 0, as in zeroed memory, is free */
};

/** lock_await(lock), lock_wake(lock): what is left of lock_take and lock_give when two meet. */
void lock_await(struct lock *lock);
void lock_wake(struct lock *lock);

/** lock_take(lock): waits until ${lock} is free, and takes it. Not by one who has it. */
static inline void lock_take(struct lock *lock)
{
    unsigned state = LOCK_FREE;

    if (!atomic_compare_exchange_strong_explicit(&lock->state, &state, LOCK_TAKEN,
                                                 memory_order_acquire, memory_order_relaxed))
        lock_await(lock);
}

/** lock_give(lock): gives back what lock_take took. */
static inline void lock_give(struct lock *lock)
{
    if (atomic_exchange_explicit(&lock->state, LOCK_FREE, memory_order_release) == LOCK_AWAITED)
        lock_wake(lock);
}

#endif
