/* Small looks at terms that several callbacks share; term.h has the larger ones. Valid during the callback only. */
#ifndef CORONER_TERMS_H
#define CORONER_TERMS_H

#include <erl_nif.h>
#include <stdbool.h>

#include "coroner.h"
#include "remote.h"

/** is_local_pid(env, term): whether ${term} is a process of this node. load() has seen to it that the VM's pids look so. */
static inline bool is_local_pid(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    return word_is_pid(term);
}

/** is_local_port(env, term): whether ${term} is a port of this node. */
static inline bool is_local_port(ErlNifEnv *env, ERL_NIF_TERM term)
{
    ErlNifPort port;

    return enif_get_local_port(env, term, &port) != 0;
}

/** list_elements(env, list, elements, room): copies up to ${room} elements of ${list}. Returns how many. */
uint32_t list_elements(ErlNifEnv *env, ERL_NIF_TERM list, ERL_NIF_TERM *elements, uint32_t room);

/** list_length(env, list): the length of ${list}, up to 256. */
uint32_t list_length(ErlNifEnv *env, ERL_NIF_TERM list);

/** remote_pid_of(env, term, pid): whether ${term} is another node's process; then its parts are in ${pid}. */
bool remote_pid_of(ErlNifEnv *env, ERL_NIF_TERM term, struct remote_pid *pid);

/**
 * alias_target(env, reference): the process that the alias ${reference} was made for, if it can be told; else NO_WORD. Whether
 * it is an alias, and still one, cannot be told.
 */
term_word alias_target(ErlNifEnv *env, ERL_NIF_TERM reference);

#endif
