/*
 * What is traced of a node: all of it, some applications, or all but some of it. The flags are set
 * from Erlang (coroner_watch.erl); here is what the callbacks have to know of it, and who has been
 * born traced and is to leave.
 *
 * What is named in a scope is read without a lock, by every birth: it stands in short arrays that
 * end with NO_WORD. While they are changed a reader may see some of the old and some of the new;
 * coroner_watch looks at all processes afterwards.
 */
#ifndef CORONER_SCOPE_H
#define CORONER_SCOPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "word.h"

#define SCOPE_NAMED 64 /* modules, or applications, that a scope can name */

enum scope_kind {
    SCOPE_ALL,
    SCOPE_APPLICATIONS, /* processes of some applications, and what they start: the VM hands the
                           flags on */
    SCOPE_EXCLUDE       /* all but some, and what they start */
};

struct scope;

/* What it begins with: the questions at each schedule-in of a process and at each event are one
 * load. */
struct scope_head {
    _Atomic size_t leaving_count;
    _Atomic uint8_t kind; /* enum scope_kind */
};

/** scope_new(): all is traced. NULL without memory. */
struct scope *scope_new(void);

/** scope_free(scope): frees it; nobody may use it any more. NULL is a no-op. */
void scope_free(struct scope *scope);

/**
 * scope_set(scope, kind, modules, module_count, applications, application_count): what is excluded
 * by the module of its initial call, and by its application; both lists are atoms, SCOPE_NAMED at
 * most, more are left out. Who was to leave stays.
 */
void scope_set(struct scope *scope, enum scope_kind kind, const term_word *modules,
               size_t module_count, const term_word *applications, size_t application_count);

/** scope_settle(scope, settled): false while not all who are inside may be in the ledger. */
void scope_settle(struct scope *scope, bool settled);

/** scope_kind_of(scope): the kind. Takes no lock. */
static inline enum scope_kind scope_kind_of(const struct scope *scope)
{
    return (enum scope_kind)atomic_load_explicit(&((const struct scope_head *)scope)->kind,
                                                 memory_order_relaxed);
}

/** scope_excludes(scope, module, application): whether a process is outside that is started with a
 * function of ${module}, or as the master of ${application} (NO_WORD: of none). Takes no lock. */
bool scope_excludes(const struct scope *scope, term_word module, term_word application);

/** scope_excludes_children(scope): whether the children of processes that are not in the ledger are
 * outside. Takes no lock. */
bool scope_excludes_children(const struct scope *scope);

/** scope_leave(scope, pid): ${pid}, just born, is outside. Without memory it stays traced until
 * coroner_watch looks. */
void scope_leave(struct scope *scope, term_word pid);

/** scope_forget(scope): nobody is to leave any more: who was stays traced until coroner_watch looks. */
void scope_forget(struct scope *scope);

/** scope_left(scope, pid): whether scope_leave was told of ${pid}; that is forgotten. Takes no lock
 * when nobody is to leave. */
bool scope_left(struct scope *scope, term_word pid);

/** scope_is_being_left(scope): whether scope_leave was told of anybody whom scope_left has not told
 * of. Takes no lock. */
static inline bool scope_is_being_left(const struct scope *scope)
{
    return atomic_load_explicit(&((const struct scope_head *)scope)->leaving_count,
                                memory_order_acquire) != 0;
}

#endif
