/*
 * What the tracer does with each kind of event: births (birth.c), exits (death.c), calls (calls.c), ports (ports.c). They run
 * inside the user's schedulers: tracer.c says with which locks.
 */
#ifndef CORONER_CALLBACKS_H
#define CORONER_CALLBACKS_H

#include "terms.h"

/** on_spawned(coroner, env, pid, parent, options): ${pid} was started; ${options} is a map with `extra` => {M, F, Args}. */
void on_spawned(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM parent,
                ERL_NIF_TERM options);

/** on_exited(coroner, env, pid, reason): ${pid} exits. Its links have not been told. */
void on_exited(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM reason);

/** on_call(coroner, env, argv): one of the functions of coroner_patterns.erl is called; ${argv} as trace/5 has it. */
void on_call(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[]);

/** on_port_event(coroner, env, argv): a port opens or closes. */
void on_port_event(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[]);

/** on_heap_too_large(coroner, env, pid, sizes): the heap of ${pid} is over its limit. On any scheduler, also a dirty one. */
void on_heap_too_large(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid,
                       ERL_NIF_TERM sizes);

/** on_garbage_collected(coroner, pid): ${pid} goes on after all. On any scheduler, also a dirty one. */
void on_garbage_collected(struct coroner *coroner, ERL_NIF_TERM pid);

/** on_master_started(coroner, env, pid, arguments): ${pid} calls application_master:init(${arguments}); it is traced from now on. */
void on_master_started(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM arguments);

/** died_outside(coroner, env, pid): whether ${pid} has died as a process outside the scope: how is not known. */
bool died_outside(struct coroner *coroner, ErlNifEnv *env, term_word pid);

/** on_outside_gone(coroner, pid, peer, now_ns): a link of ${pid} to ${peer}, which died outside the scope, has gone. */
void on_outside_gone(struct coroner *coroner, term_word pid, term_word peer, uint64_t now_ns);

/** tell_peers(coroner, entry, record): leaves the death on the entries of those linked to it, before the VM tells them. */
void tell_peers(struct coroner *coroner, const struct entry *entry, struct record *record);

#endif
