/*
 * A tracer that does nothing: what the VM itself takes for the same flags and patterns. It says yes
 * and no to the same events as c_src/tracer.c does, by the same comparison, and takes those it said
 * yes to without a look.
 */
#include <erl_nif.h>

static ERL_NIF_TERM atom_trace, atom_discard, atom_spawn, atom_gc_max_heap_size, atom_ok;

static ERL_NIF_TERM enabled(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env;
    (void)argc;
    (void)argv;
    return atom_trace;
}

static ERL_NIF_TERM enabled_procs(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env;
    (void)argc;
    return argv[0] == atom_spawn ? atom_discard : atom_trace;
}

static ERL_NIF_TERM enabled_garbage_collection(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env;
    (void)argc;
    return argv[0] == atom_gc_max_heap_size ? atom_trace : atom_discard;
}

static ERL_NIF_TERM trace(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env;
    (void)argc;
    (void)argv;
    return atom_ok;
}

static int load(ErlNifEnv *env, void **priv_data, ERL_NIF_TERM info)
{
    (void)priv_data;
    (void)info;
    atom_trace = enif_make_atom(env, "trace");
    atom_discard = enif_make_atom(env, "discard");
    atom_spawn = enif_make_atom(env, "spawn");
    atom_gc_max_heap_size = enif_make_atom(env, "gc_max_heap_size");
    atom_ok = enif_make_atom(env, "ok");
    return 0;
}

static ErlNifFunc functions[] = {
    {"enabled", 3, enabled, 0},
    {"enabled_procs", 3, enabled_procs, 0},
    {"enabled_garbage_collection", 3, enabled_garbage_collection, 0},
    {"trace", 5, trace, 0},
};

ERL_NIF_INIT(floor_tracer, functions, load, NULL, NULL, NULL)
