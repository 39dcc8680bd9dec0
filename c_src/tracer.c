/*
 * The tracer: what the VM calls, inside the schedulers of the user's node.
 *
 * Which thread: a normal scheduler's; trace_status also on dirty schedulers. Which locks the VM holds: of a
 * procs event the tracee's main lock, for spawn the parent's and the child's, for register and unregister the
 * registry's write lock. What we take: one lock at a time of the ledger's shards, the journal, the wide table or
 * the purge, each for a few steps in which the VM is called for memory only. What we never do here: send,
 * whereis, make a term that lives on, make an atom, wait (but for the call of erlang:halt/2).
 * Who runs at the same time: the callbacks of every other process, the NIFs, the uplink. For one process the
 * VM runs one callback at a time, and its later ones see what its earlier ones wrote.
 * If the module is unloaded now: the VM calls no callback once it has begun to unload (erl_trace.c,
 * lookup_tracer_nif); unload() frees what these functions use.
 */
#include "alloc.h"
#include "atoms.h"
#include "callbacks.h"
#include "clock.h"
#include "tracer.h"

/*
 * What the callbacks work on. All instances of the module that use this copy of the library share
 * it, as they do the atoms; so the VM need not be asked for each event.
 */
static _Atomic(struct coroner *) served;

void tracer_serve(struct coroner *coroner)
{
    atomic_store_explicit(&served, coroner, memory_order_release);
}

static inline struct coroner *coroner_of(ErlNifEnv *env)
{
    (void)env;
    return atomic_load_explicit(&served, memory_order_relaxed);
}

static bool is_armed(const struct coroner *coroner, ERL_NIF_TERM state)
{
    return atomic_load_explicit(&coroner->armed_state, memory_order_acquire) == state;
}

ERL_NIF_TERM tracer_enabled(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);

    (void)argc;
    /* remove only ever answers trace_status; an event of an earlier start's flags is discarded. */
    if (!is_armed(coroner, argv[1]))
        return argv[0] == atoms.trace_status ? atoms.remove : atoms.discard;
    /* One that was born outside the scope: it is asked here before its first step, and the VM takes its flags off. */
    if (scope_is_being_left(coroner->scope) && argv[0] == atoms.trace_status &&
        scope_left(coroner->scope, argv[2]))
        return atoms.remove;
    return atoms.trace;
}

ERL_NIF_TERM tracer_enabled_procs(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner;

    (void)argc;
    /* `spawned` of the child tells all that `spawn` of its parent does. */
    if (argv[0] == atoms.spawn)
        return atoms.discard;
    coroner = coroner_of(env);
    if (!is_armed(coroner, argv[1]))
        return atoms.discard;
    /* The VM makes the event's terms now: time for the memory to come. */
    if (argv[0] == atoms.spawned || argv[0] == atoms.exit)
        ledger_prefetch(coroner->ledger, argv[2]);
    return atoms.trace;
}

ERL_NIF_TERM tracer_enabled_garbage_collection(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);

    (void)argc;
    if (!is_armed(coroner, argv[1]))
        return atoms.discard;
    if (argv[0] == atoms.gc_max_heap_size)
        return atoms.trace;
    /* The end of a collection: whose heap was found too large before it has survived that. Nearly always none. */
    if (ledger_has_heaps(coroner->ledger) &&
        (argv[0] == atoms.gc_minor_end || argv[0] == atoms.gc_major_end))
        on_garbage_collected(coroner, argv[2]);
    return atoms.discard;
}

/* --- links -------------------------------------------------------------------------------------------- */

/* The word under which a link to `peer`, no process of this node, stands in a link set; NO_WORD for
 * what cannot be linked to. */
static term_word other_word(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM peer)
{
    struct remote_pid remote;

    if (is_local_port(env, peer))
        return peer;
    return remote_pid_of(env, peer, &remote) ? remotes_enter(coroner->remotes, remote) : NO_WORD;
}

/* There is more to it: evidence that the peer has died, or a death that was not told to each. */
static __attribute__((noinline)) void weigh_link_gone(struct coroner *coroner, ErlNifEnv *env,
                                                      ERL_NIF_TERM pid, term_word peer)
{
    struct record *dead = wide_find(coroner->wide, peer);

    if (dead != NULL || !ledger_link_dropped(coroner->ledger, pid, peer))
        ledger_link_gone(coroner->ledger, pid, peer, monotonic_ns(), dead);
    if (dead == NULL && died_outside(coroner, env, peer))
        on_outside_gone(coroner, pid, peer, monotonic_ns());
    record_drop(dead);
}

static inline void on_link_gone(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid,
                                term_word peer)
{
    /* Nearly always that is all: it unlinked, or ended with `normal`. */
    if (!wide_is_empty(coroner->wide) || scope_kind_of(coroner->scope) != SCOPE_ALL ||
        !ledger_link_dropped(coroner->ledger, pid, peer))
        weigh_link_gone(coroner, env, pid, peer);
}

/* Kept apart: what it has on its stack is not to be paid for by every event. */
static __attribute__((noinline)) void on_other_link(struct coroner *coroner, ErlNifEnv *env,
                                                    const ERL_NIF_TERM argv[])
{
    term_word peer = other_word(coroner, env, argv[3]);

    if (peer == NO_WORD)
        return;
    if (argv[0] == atoms.link || argv[0] == atoms.getting_linked)
        ledger_link(coroner->ledger, argv[2], peer);
    else if (argv[0] == atoms.unlink)
        ledger_unlink(coroner->ledger, argv[2], peer);
    else
        on_link_gone(coroner, env, argv[2], peer);
}

static __attribute__((noinline)) void on_traced_call(struct coroner *coroner, ErlNifEnv *env,
                                                     const ERL_NIF_TERM argv[])
{
    if (argv[2] == atomic_load_explicit(&coroner->probing, memory_order_relaxed))
        atomic_fetch_add_explicit(&coroner->probes_seen, 1, memory_order_relaxed);
    else
        on_call(coroner, env, argv);
}

/* A port's events; a process that is not of this node is never traced. */
static __attribute__((noinline)) void on_other_event(struct coroner *coroner, ErlNifEnv *env,
                                                     const ERL_NIF_TERM argv[])
{
    if (is_local_port(env, argv[2]))
        on_port_event(coroner, env, argv);
}

/* Each way ends in one call, so that none of them pays for what another has to keep. */
ERL_NIF_TERM tracer_trace(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ERL_NIF_TERM tag = argv[0], pid = argv[2], term = argv[3];

    (void)argc;
    if (!is_armed(coroner, argv[1]))
        return atoms.ok;
    if (!word_is_pid(pid))
        on_other_event(coroner, env, argv);
    else if (tag == atoms.exit)
        on_exited(coroner, env, pid, term);
    else if (tag == atoms.spawned)
        on_spawned(coroner, env, pid, term, argv[4]);
    else if (tag == atoms.call)
        on_traced_call(coroner, env, argv);
    else if (tag == atoms.register_)
        ledger_name(coroner->ledger, pid, term);
    else if (tag == atoms.unregister)
        ledger_name(coroner->ledger, pid, NO_WORD);
    else if (tag == atoms.gc_max_heap_size)
        on_heap_too_large(coroner, env, pid, term);
    else if (tag != atoms.link && tag != atoms.getting_linked && tag != atoms.unlink &&
             tag != atoms.getting_unlinked)
        return atoms.ok;
    else if (!word_is_pid(term))
        on_other_link(coroner, env, argv);
    else if (tag == atoms.link || tag == atoms.getting_linked)
        ledger_link(coroner->ledger, pid, term);
    else if (tag == atoms.unlink)
        ledger_unlink(coroner->ledger, pid, term);
    else
        on_link_gone(coroner, env, pid, term);
    return atoms.ok;
}
