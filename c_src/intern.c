#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "flat.h"
#include "intern.h"

#define FUNCTION_SLOTS (1U << 15)
#define FILE_SLOTS (1U << 12)
/* Past this share of the slots, probing would get long: the table counts as full. */
#define FULL(slots) ((slots) / 4 * 3)

/*
 * A slot is NULL until a finished, immutable object is published in it (release); readers load it
 * (acquire) and need no lock. Writers hold `lock`, which guards nothing but insertion.
 */
struct intern {
    pthread_mutex_t lock;
    uint32_t functions;
    uint32_t files;
    _Atomic(struct function *) function_slots[FUNCTION_SLOTS];
    _Atomic(struct text *) file_slots[FILE_SLOTS];
};

struct intern *intern_new(void)
{
    struct intern *intern = memory_zalloc(sizeof(*intern));

    if (intern == NULL)
        return NULL;
    if (pthread_mutex_init(&intern->lock, NULL) != 0) {
        memory_free(intern);
        return NULL;
    }
    return intern;
}

void intern_free(struct intern *intern)
{
    if (intern == NULL)
        return;
    for (uint32_t i = 0; i < FUNCTION_SLOTS; i++)
        memory_free(atomic_load_explicit(&intern->function_slots[i], memory_order_relaxed));
    for (uint32_t i = 0; i < FILE_SLOTS; i++)
        text_drop(atomic_load_explicit(&intern->file_slots[i], memory_order_relaxed));
    pthread_mutex_destroy(&intern->lock);
    memory_free(intern);
}

static bool same_function(const struct function *a, const struct function *b)
{
    return a->module == b->module && a->name == b->name && a->arity == b->arity;
}

uint32_t intern_function(struct intern *intern, struct function function)
{
    uint32_t at =
        (uint32_t)(word_spread(function.module ^ function.name << 24) >> 40) + function.arity;
    uint32_t number = INTERN_NONE;

    for (bool locked = false;;) {
        uint32_t slot = at & (FUNCTION_SLOTS - 1);
        struct function *found =
            atomic_load_explicit(&intern->function_slots[slot], memory_order_acquire);

        if (found != NULL && same_function(found, &function)) {
            number = slot + 1;
        } else if (found != NULL) {
            at++;
            continue;
        } else if (!locked) {
            /* Not there: look again at this slot with the lock held, and insert. */
            pthread_mutex_lock(&intern->lock);
            locked = true;
            continue;
        } else if (intern->functions < FULL(FUNCTION_SLOTS) &&
                   (found = memory_alloc(sizeof(*found))) != NULL) {
            *found = function;
            intern->functions++;
            atomic_store_explicit(&intern->function_slots[slot], found, memory_order_release);
            number = slot + 1;
        }
        if (locked)
            pthread_mutex_unlock(&intern->lock);
        return number;
    }
}

const struct function *intern_function_of(const struct intern *intern, uint32_t number)
{
    if (number == INTERN_NONE || number > FUNCTION_SLOTS)
        return NULL;
    return atomic_load_explicit(&intern->function_slots[number - 1], memory_order_acquire);
}

uint32_t intern_file(struct intern *intern, const char *name, size_t length)
{
    uint32_t number = INTERN_NONE;
    uint32_t at = (uint32_t)(flat_hash((const uint8_t *)name, length) >> 32);

    for (bool locked = false;;) {
        uint32_t slot = at & (FILE_SLOTS - 1);
        struct text *found = atomic_load_explicit(&intern->file_slots[slot], memory_order_acquire);

        if (found != NULL && found->length == length && memcmp(found->bytes, name, length) == 0) {
            number = slot + 1;
        } else if (found != NULL) {
            at++;
            continue;
        } else if (!locked) {
            pthread_mutex_lock(&intern->lock);
            locked = true;
            continue;
        } else if (intern->files < FULL(FILE_SLOTS) &&
                   (found = text_new(name, length, false)) != NULL) {
            intern->files++;
            atomic_store_explicit(&intern->file_slots[slot], found, memory_order_release);
            number = slot + 1;
        }
        if (locked)
            pthread_mutex_unlock(&intern->lock);
        return number;
    }
}

const struct text *intern_file_of(const struct intern *intern, uint32_t number)
{
    if (number == INTERN_NONE || number > FILE_SLOTS)
        return NULL;
    return atomic_load_explicit(&intern->file_slots[number - 1], memory_order_acquire);
}
