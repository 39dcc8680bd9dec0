/*
 * Measures the tracer's callbacks: linked with the library's objects in place of the functions that
 * it wraps (ld's --wrap). Built twice:
 *
 * Timed: how long each took, in nanoseconds: the thread's own time, and what it waited for our
 * locks. After each the thread does nothing of use for as long again, and the longest of that is
 * kept, too: what interrupts and the host of a virtual machine add shows there as well as in the
 * callbacks.
 *
 * COUNTED: how much work each was, which depends on nothing else: basic blocks of c_src (the
 * compiler's -fsanitize-coverage=trace-pc), and a block for each 64 bytes that are copied or set.
 *
 * The file that the environment variable CORONER_BENCH_CALLBACKS names holds the cells, one for
 * each kind of callback. Who reads it fills it with zeros to begin anew.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "atoms.h"
#include "lock.h"
#include "tracer.h"

#define CELLS 64
#define NAME_LENGTH 40
#ifdef COUNTED
#define ANSWERS_A_MEASURED 1
#else
#define ANSWERS_A_MEASURED 16
#endif
#define BUCKETS 256 /* eight for each doubling; longest_bench.erl reads them so */

struct cell {
    atomic_size_t key; /* 0: free */
    char name[NAME_LENGTH];
    atomic_uint_fast64_t count, longest, own, control, sum;
    atomic_uint_fast64_t buckets[BUCKETS], control_buckets[BUCKETS];
};

static struct cell *cells;
static pthread_once_t opened = PTHREAD_ONCE_INIT;

static void open_cells(void)
{
    const char *path = getenv("CORONER_BENCH_CALLBACKS");
    int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd < 0 || ftruncate(fd, CELLS * sizeof(struct cell)) != 0)
        abort();
    cells = mmap(NULL, CELLS * sizeof(struct cell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (cells == MAP_FAILED)
        abort();
    close(fd);
}

/* --- what is measured --- */

#ifdef COUNTED

static __thread uint64_t blocks;

void __sanitizer_cov_trace_pc(void);
void *__real_memcpy(void *to, const void *from, size_t size);
void *__real_memmove(void *to, const void *from, size_t size);
void *__real_memset(void *to, int byte, size_t size);
void *__wrap_memcpy(void *to, const void *from, size_t size);
void *__wrap_memmove(void *to, const void *from, size_t size);
void *__wrap_memset(void *to, int byte, size_t size);

void __sanitizer_cov_trace_pc(void)
{
    blocks++;
}

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
    blocks += size / 64;
    return __real_memcpy(to, from, size);
}

void *__wrap_memmove(void *to, const void *from, size_t size)
{
    blocks += size / 64;
    return __real_memmove(to, from, size);
}

void *__wrap_memset(void *to, int byte, size_t size)
{
    blocks += size / 64;
    return __real_memset(to, byte, size);
}

static uint64_t measure_now(void)
{
    return blocks;
}

static uint64_t take_waited(void)
{
    return 0;
}

static uint64_t measure_control(uint64_t begin, uint64_t mean)
{
    (void)begin;
    (void)mean;
    return 0;
}

#else

static __thread uint64_t waited_ns;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t own_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* What is waited for a lock is neither the thread's own time nor somebody else's doing. */
static void note_wait(uint64_t wall_ns, uint64_t own)
{
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - wall_ns;

    own = own_ns() - own;
    waited_ns += wall > own ? wall - own : 0;
}

void __real_lock_await(struct lock *lock);
void __wrap_lock_await(struct lock *lock);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

void __wrap_lock_await(struct lock *lock)
{
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), own = own_ns();

    __real_lock_await(lock);
    note_wait(wall, own);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    uint64_t wall, own;
    int error;

    if (pthread_mutex_trylock(mutex) == 0)
        return 0;
    wall = clock_ns(CLOCK_MONOTONIC);
    own = own_ns();
    error = __real_pthread_mutex_lock(mutex);
    note_wait(wall, own);
    return error;
}

static void do_nothing(uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++)
        __asm__ volatile("" ::: "memory");
}

/* Turns that take a millisecond. */
static uint64_t turns_a_ms;

static __attribute__((constructor)) void learn_turns(void)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 20; i++) {
        uint64_t begin = own_ns(), took;

        do_nothing(1000000);
        took = own_ns() - begin;
        least = took < least ? took : least;
    }
    turns_a_ms = 1000000 * (uint64_t)1000000 / (least > 0 ? least : 1);
}

static uint64_t measure_now(void)
{
    return own_ns();
}

/* Since it was last asked. */
static uint64_t take_waited(void)
{
    uint64_t waited = waited_ns;

    waited_ns = 0;
    return waited;
}

static uint64_t measure_control(uint64_t begin, uint64_t mean)
{
    do_nothing(mean * turns_a_ms / 1000000);
    return own_ns() - begin;
}

#endif

/* --- how it is kept --- */

static size_t bucket_of(uint64_t value)
{
    unsigned octave;
    size_t bucket;

    if (value < 8)
        return (size_t)value;
    octave = 63 - (unsigned)__builtin_clzll(value);
    bucket = (octave - 2) * 8 + ((value >> (octave - 3)) & 7);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static void raise_to(atomic_uint_fast64_t *most, uint64_t value)
{
    uint64_t before = atomic_load(most);

    while (value > before && !atomic_compare_exchange_weak(most, &before, value))
        ;
}

static struct cell *cell_of(const char *function, ERL_NIF_TERM tag)
{
    /* Atoms are words whose lowest bits say so; which function it was, fits there. */
    size_t key = tag ^ (size_t)(unsigned char)function[0] << 48 ^ strlen(function) << 56;

    for (size_t i = 0; i < CELLS; i++) {
        size_t found = atomic_load(&cells[i].key);

        if (found == key)
            return &cells[i];
        if (found == 0 && atomic_compare_exchange_strong(&cells[i].key, &found, key)) {
            char name[NAME_LENGTH / 2] = "";

            (void)enif_get_atom(NULL, tag, name, sizeof(name), ERL_NIF_LATIN1);
            (void)snprintf(cells[i].name, NAME_LENGTH, "%s %s", function, name);
            return &cells[i];
        }
        if (found == key)
            return &cells[i];
    }
    abort();
}

static void note(struct cell *cell, uint64_t begin, uint64_t end)
{
    uint64_t own = end - begin, took = own + take_waited();
    uint64_t count = atomic_fetch_add(&cell->count, 1) + 1;
    uint64_t control = measure_control(end, (atomic_fetch_add(&cell->sum, own) + own) / count);

    atomic_fetch_add(&cell->buckets[bucket_of(took)], 1);
    atomic_fetch_add(&cell->control_buckets[bucket_of(control)], 1);
    raise_to(&cell->longest, took);
    raise_to(&cell->own, own);
    raise_to(&cell->control, control);
}

/* Whether this one of a kind of which there are many is not to be measured. */
static bool is_left_out(void)
{
    static __thread unsigned seen;

    return ++seen % ANSWERS_A_MEASURED != 0;
}

#define WRAP(function, prefix, left_out)                                                           \
    ERL_NIF_TERM __real_##function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);           \
    ERL_NIF_TERM __wrap_##function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);           \
    ERL_NIF_TERM __wrap_##function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])            \
    {                                                                                              \
        struct cell *cell;                                                                         \
        ERL_NIF_TERM answer;                                                                       \
        uint64_t begin;                                                                            \
                                                                                                   \
        if (left_out)                                                                              \
            return __real_##function(env, argc, argv);                                             \
        pthread_once(&opened, open_cells);                                                         \
        cell = cell_of(prefix, argv[0]);                                                           \
        (void)take_waited();                                                                       \
        begin = measure_now();                                                                     \
        answer = __real_##function(env, argc, argv);                                               \
        note(cell, begin, measure_now());                                                          \
        return answer;                                                                             \
    }

WRAP(tracer_enabled, "enabled", is_left_out())
WRAP(tracer_enabled_procs, "enabled_procs", is_left_out())
WRAP(tracer_enabled_garbage_collection, "enabled_gc", is_left_out())
WRAP(tracer_trace, "trace", false)
