/* The erl_tracer callbacks (erl_tracer.erl, OTP 19 and later): see tracer.c. */
#ifndef CORONER_TRACER_H
#define CORONER_TRACER_H

#include <erl_nif.h>

struct coroner;

/** tracer_serve(coroner): what the callbacks of this copy of the library work on. Called in load()
 * and upgrade(), before any of them. */
void tracer_serve(struct coroner *coroner);

/** tracer_enabled(env, 3, [Tag, State, Tracee]): whether the VM shall go on with an event. */
ERL_NIF_TERM tracer_enabled(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

/** tracer_enabled_procs(env, 3, [Tag, State, Tracee]): the same for the events of processes. */
ERL_NIF_TERM tracer_enabled_procs(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

/** tracer_enabled_garbage_collection(env, 3, [Tag, State, Tracee]): the same for those of garbage collections. */
ERL_NIF_TERM tracer_enabled_garbage_collection(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

/** tracer_trace(env, 5, [Tag, State, Tracee, Term, Options]): takes an event. */
ERL_NIF_TERM tracer_trace(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

#endif
