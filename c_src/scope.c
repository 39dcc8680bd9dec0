#include <pthread.h>
#include <stdatomic.h>

#include "alloc.h"
#include "linkset.h"
#include "scope.h"

struct scope {
    struct scope_head head; /* first: see scope_is_being_left */
    _Atomic bool settled;
    _Atomic term_word modules[SCOPE_NAMED + 1];
    _Atomic term_word applications[SCOPE_NAMED + 1];

    pthread_mutex_t lock; /* over the set */
    struct linkset leaving;
};

struct scope *scope_new(void)
{
    struct scope *scope = memory_zalloc(sizeof(*scope));

    if (scope == NULL)
        return NULL;
    if (pthread_mutex_init(&scope->lock, NULL) != 0) {
        memory_free(scope);
        return NULL;
    }
    return scope;
}

void scope_free(struct scope *scope)
{
    if (scope == NULL)
        return;
    linkset_clear(&scope->leaving);
    pthread_mutex_destroy(&scope->lock);
    memory_free(scope);
}

static void set_words(_Atomic term_word *to, const term_word *words, size_t count)
{
    for (size_t i = 0; i < SCOPE_NAMED; i++)
        atomic_store_explicit(&to[i], i < count ? words[i] : NO_WORD, memory_order_relaxed);
}

void scope_set(struct scope *scope, enum scope_kind kind, const term_word *modules,
               size_t module_count, const term_word *applications, size_t application_count)
{
    set_words(scope->modules, modules, module_count);
    set_words(scope->applications, applications, application_count);
    atomic_store_explicit(&scope->head.kind, (uint8_t)kind, memory_order_release);
}

void scope_settle(struct scope *scope, bool settled)
{
    atomic_store_explicit(&scope->settled, settled, memory_order_release);
}

static bool is_among(const _Atomic term_word *words, term_word word)
{
    term_word at;

    if (word == NO_WORD)
        return false;
    for (; (at = atomic_load_explicit(words, memory_order_relaxed)) != NO_WORD; words++)
        if (at == word)
            return true;
    return false;
}

bool scope_excludes(const struct scope *scope, term_word module, term_word application)
{
    return scope_kind_of(scope) == SCOPE_EXCLUDE &&
           (is_among(scope->modules, module) || is_among(scope->applications, application));
}

bool scope_excludes_children(const struct scope *scope)
{
    return scope_kind_of(scope) == SCOPE_EXCLUDE &&
           atomic_load_explicit(&scope->settled, memory_order_relaxed);
}

void scope_leave(struct scope *scope, term_word pid)
{
    pthread_mutex_lock(&scope->lock);
    if (linkset_add(&scope->leaving, pid) >= 0)
        atomic_store_explicit(&scope->head.leaving_count, scope->leaving.count,
                              memory_order_release);
    pthread_mutex_unlock(&scope->lock);
}

void scope_forget(struct scope *scope)
{
    pthread_mutex_lock(&scope->lock);
    linkset_clear(&scope->leaving);
    atomic_store_explicit(&scope->head.leaving_count, 0, memory_order_release);
    pthread_mutex_unlock(&scope->lock);
}

bool scope_left(struct scope *scope, term_word pid)
{
    bool left;

    if (!scope_is_being_left(scope))
        return false;
    pthread_mutex_lock(&scope->lock);
    left = linkset_remove(&scope->leaving, pid);
    atomic_store_explicit(&scope->head.leaving_count, scope->leaving.count, memory_order_release);
    pthread_mutex_unlock(&scope->lock);
    return left;
}
