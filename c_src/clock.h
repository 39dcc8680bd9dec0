/* The two clocks. Both are read without a system call on Linux (vDSO), on any thread. */
#ifndef CORONER_CLOCK_H
#define CORONER_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/** monotonic_ns(): nanoseconds of CLOCK_MONOTONIC: what differences are made of. */
static inline uint64_t monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/** wall_ns(): nanoseconds since the epoch: what a record shows. */
static inline uint64_t wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

#endif
