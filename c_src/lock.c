#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lock.h"

#define TRIES 100 /* some microseconds: longer than anybody holds it who is running */

static void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* An interrupted or needless wait, and a wake-up that finds nobody, do no harm; errno is the
 * caller's. */
static void futex(struct lock *lock, int operation, unsigned value)
{
    int error = errno;

    (void)syscall(SYS_futex, &lock->state, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
    errno = error;
}

void lock_await(struct lock *lock)
{
    for (int i = 0; i < TRIES; i++) {
        unsigned state = LOCK_FREE;

        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE &&
            atomic_compare_exchange_strong_explicit(&lock->state, &state, LOCK_TAKEN,
                                                    memory_order_acquire, memory_order_relaxed))
            return;
        pause_a_moment();
    }
    /* Who takes it here cannot tell whether others sleep, so it stays awaited until it is given
     * back. */
    while (atomic_exchange_explicit(&lock->state, LOCK_AWAITED, memory_order_acquire) != LOCK_FREE)
        futex(lock, FUTEX_WAIT, LOCK_AWAITED);
}

void lock_wake(struct lock *lock)
{
    futex(lock, FUTEX_WAKE, 1);
}
