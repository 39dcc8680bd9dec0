/*
 * What the node's C does, for callgrind to count: each case is done many times between two marks,
 * and the counts since the last mark are dumped under its name. Terms are those of the model of the
 * VM (test/fuzz/nif_shim.c); counts.py counts c_src alone, so the model's own work is not in them.
 *
 * Prints for each case "NAME TIMES" on a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#include "alloc.h"
#include "atoms.h"
#include "attribution.h"
#include "bytes.h"
#include "callbacks.h"
#include "cells.h"
#include "clock.h"
#include "nif_shim.h"
#include "term.h"
#include "tracer.h"

#define TIMES 1000
#define BYTES_MAX (32 * 1024 * 1024)
#define INCARNATION "6a1f0c2be5d94c11"
#define STATE ((ERL_NIF_TERM)0x1f) /* a small integer, as nif.c makes it */
#define CALLER 10
#define FIRST_PID 1000

static struct coroner coroner;
static ErlNifEnv *env;

/* --- what of the VM nif_shim.c does not have: it models what term.c calls --- */

void *enif_priv_data(ErlNifEnv *of)
{
    (void)of;
    return &coroner;
}

int enif_get_map_value(ErlNifEnv *of, ERL_NIF_TERM map, ERL_NIF_TERM key, ERL_NIF_TERM *value)
{
    const struct shim_box *box;

    (void)of;
    if ((map & 3) != 2 || (box = shim_box(map))->kind != SHIM_MAP)
        return 0;
    for (size_t i = 0; i < box->length; i++)
        if (box->terms[2 * i] == key) {
            *value = box->terms[2 * i + 1];
            return 1;
        }
    return 0;
}

ERL_NIF_TERM enif_make_list_cell(ErlNifEnv *of, ERL_NIF_TERM head, ERL_NIF_TERM tail)
{
    return shim_cons(of, head, tail);
}

int enif_is_port_alive(ErlNifEnv *of, ErlNifPort *port)
{
    (void)of;
    (void)port;
    return 0;
}

/* --- terms --- */

static ERL_NIF_TERM atom(const char *name)
{
    return shim_atom(name, strlen(name));
}

static ERL_NIF_TERM tuple(size_t count, const ERL_NIF_TERM *elements)
{
    return shim_tuple(env, elements, count, (int)count);
}

#define TUPLE(...)                                                                                 \
    tuple(sizeof((ERL_NIF_TERM[]){__VA_ARGS__}) / sizeof(ERL_NIF_TERM),                            \
          (ERL_NIF_TERM[]){__VA_ARGS__})

static ERL_NIF_TERM list(size_t count, const ERL_NIF_TERM *elements)
{
    ERL_NIF_TERM tail = SHIM_NIL;

    while (count-- > 0)
        tail = shim_cons(env, elements[count], tail);
    return tail;
}

#define LIST(...)                                                                                  \
    list(sizeof((ERL_NIF_TERM[]){__VA_ARGS__}) / sizeof(ERL_NIF_TERM),                             \
         (ERL_NIF_TERM[]){__VA_ARGS__})

static ERL_NIF_TERM string(const char *text)
{
    size_t length = strlen(text);
    ERL_NIF_TERM tail = SHIM_NIL;

    while (length-- > 0)
        tail = shim_cons(env, shim_integer(env, text[length]), tail);
    return tail;
}

static ERL_NIF_TERM options(ERL_NIF_TERM key, ERL_NIF_TERM value)
{
    ERL_NIF_TERM pairs[] = {key, value};

    return shim_map(env, pairs, 1, 1);
}

/* {Module, Function, 2, [{file, "f.erl"}, {line, 1}]} */
static ERL_NIF_TERM frame(const char *module, const char *function)
{
    return TUPLE(atom(module), atom(function), shim_integer(env, 2),
                 LIST(TUPLE(atom("file"), string("/src/some_module.erl")),
                      TUPLE(atom("line"), shim_integer(env, 321))));
}

/* --- events, as the VM tells them: it asks first --- */

static void event(ERL_NIF_TERM tag, ERL_NIF_TERM pid, ERL_NIF_TERM term, ERL_NIF_TERM more)
{
    ERL_NIF_TERM argv[] = {tag, STATE, pid, term, more};

    if (tracer_enabled_procs(env, 3, argv) == atoms.trace)
        (void)tracer_trace(env, 5, argv);
}

static void called(ERL_NIF_TERM pid, ERL_NIF_TERM call, ERL_NIF_TERM more)
{
    ERL_NIF_TERM argv[] = {atoms.call, STATE, pid, call, more};

    (void)tracer_enabled(env, 3, argv);
    (void)tracer_trace(env, 5, argv);
}

static ERL_NIF_TERM pid_of(size_t number)
{
    return shim_pid(FIRST_PID + number);
}

/* What a case needs is made once, before the marks: only c_src is counted, but callgrind is slow.
 */
static struct {
    ERL_NIF_TERM caller, spawned, proc_lib, kill_call, kill_options, error, shutdown_call,
        child_call, none;
} terms;

static void make_terms(void)
{
    ERL_NIF_TERM caller = TUPLE(atom("some_module"), atom("some_function"), shim_integer(env, 2),
                                TUPLE(string("some_module.erl"), shim_integer(env, 123)));

    terms.none = options(atom("none"), SHIM_NIL);
    terms.caller = shim_pid(CALLER);
    terms.spawned =
        options(atoms.extra, TUPLE(atoms.erlang, atom("apply"), LIST(SHIM_NIL, SHIM_NIL)));
    terms.proc_lib =
        options(atoms.extra, TUPLE(atoms.proc_lib, atoms.init_p,
                                   LIST(terms.caller, LIST(atom("some_sup"), atom("top_sup")),
                                        atoms.gen, atoms.init_it,
                                        LIST(atoms.gen_server, terms.caller, terms.caller,
                                             atom("some_server"), SHIM_NIL, SHIM_NIL))));
    terms.kill_options = options(atoms.match_spec_result, caller);
    terms.error =
        TUPLE(TUPLE(atom("badmatch"),
                    TUPLE(atom("error"), atom("enoent"), string("/some/where/that/is/not"))),
              LIST(frame("some_module", "some_function"), frame("some_module", "another_function"),
                   frame("gen_server", "try_handle_call"), frame("gen_server", "handle_msg"),
                   frame("proc_lib", "init_p_do_apply")));
}

static void born(size_t number)
{
    event(atoms.spawn, terms.caller, pid_of(number), terms.spawned);
    event(atoms.spawned, pid_of(number), terms.caller, terms.spawned);
}

/* --- the cases --- */

static void spawn_and_exit(size_t i)
{
    born(i);
    event(atoms.exit, pid_of(i), atoms.normal, terms.none);
}

static void spawn_link_and_exit(size_t i)
{
    born(i);
    event(atoms.link, terms.caller, pid_of(i), terms.none);
    event(atoms.getting_linked, pid_of(i), terms.caller, terms.none);
    event(atoms.exit, pid_of(i), atoms.normal, terms.none);
    event(atoms.getting_unlinked, terms.caller, pid_of(i), terms.none);
}

static void gen_server_and_exit(size_t i)
{
    event(atoms.spawned, pid_of(i), terms.caller, terms.proc_lib);
    event(atoms.exit, pid_of(i), atoms.normal, terms.none);
}

static void link_and_unlink(size_t i)
{
    (void)i;
    event(atoms.link, terms.caller, shim_pid(CALLER + 1), terms.none);
    event(atoms.getting_linked, shim_pid(CALLER + 1), terms.caller, terms.none);
    event(atoms.unlink, terms.caller, shim_pid(CALLER + 1), terms.none);
    event(atoms.getting_unlinked, shim_pid(CALLER + 1), terms.caller, terms.none);
}

static void register_and_unregister(size_t i)
{
    (void)i;
    event(atoms.register_, terms.caller, atoms.supervisor, terms.none);
    event(atoms.unregister, terms.caller, atoms.supervisor, terms.none);
}

static void schedule_in(size_t i)
{
    ERL_NIF_TERM argv[] = {atoms.trace_status, STATE, terms.caller};

    (void)i;
    (void)tracer_enabled(env, 3, argv);
}

/* The call of exit(Pid, kill), and the death, with its record. */
static void kill_and_death(size_t i)
{
    born(i);
    called(terms.caller, TUPLE(atoms.erlang, atoms.exit, LIST(pid_of(i), atoms.kill)),
           terms.kill_options);
    event(atoms.exit, pid_of(i), atoms.killed, terms.none);
}

static void crash(size_t i)
{
    born(i);
    event(atoms.exit, pid_of(i), terms.error, terms.none);
}

/* Of one in a cascade: its birth is not counted, its hub's death is. */
static void cascade_begin(void)
{
    born(0);
    for (size_t i = 1; i <= TIMES; i++) {
        born(i);
        event(atoms.link, pid_of(0), pid_of(i), terms.none);
        event(atoms.getting_linked, pid_of(i), pid_of(0), terms.none);
    }
}

static void cascade(size_t i)
{
    if (i == 0)
        event(atoms.exit, pid_of(0), terms.error, terms.none);
    event(atoms.exit, pid_of(i + 1), terms.error, terms.none);
}

static struct linkset links;

static void links_of_many(size_t i)
{
    must(linkset_add(&links, pid_of(i)) == 1);
}

static void links_of_many_looked_for(size_t i)
{
    must(linkset_contains(&links, pid_of(i)));
}

static void links_of_many_removed(size_t i)
{
    must(linkset_remove(&links, pid_of(i)));
}

static void attribution(size_t i)
{
    struct fingerprint killed = {.hash = atoms.killed, .whole = true};
    struct exit_facts facts = {.reason = killed, .shape = REASON_KILLED, .time_ns = 1000};
    struct evidence_facts evidence[4] = {
        {.kind = EVIDENCE_SIGNAL, .is_kill = true, .shape = REASON_KILL, .time_ns = 900 + i % 2},
        {.kind = EVIDENCE_LINKED, .shape = REASON_ERROR, .time_ns = 800},
        {.kind = EVIDENCE_TRAPPED, .shape = REASON_SHUTDOWN, .time_ns = 700},
        {.kind = EVIDENCE_EXIT, .shape = REASON_OTHER, .time_ns = 600}};

    must(attribute(&facts, evidence, 4).source == CORONER_SOURCE_KILL);
}

static void encoding(size_t i)
{
    static uint8_t bytes[RECORD_CBOR_MAX];
    struct cbor_writer cbor = cbor_writer_on(bytes, sizeof(bytes));
    struct record *records[1];

    (void)i;
    must(journal_recent(coroner.journal, records, 1) == 1);
    record_encode(records[0], coroner.intern, INCARNATION, &cbor);
    must(!cbor.full);
    record_drop(records[0]);
}

/* --- running them --- */

static void count(const char *name, void (*begin)(void), void (*one)(size_t), void (*end)(void))
{
    if (begin != NULL)
        begin();
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    for (size_t i = 0; i < TIMES; i++)
        one(i);
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(name);
    if (end != NULL)
        end();
    printf("%s %d\n", name, TIMES);
}

static void links_clear(void)
{
    must(links.count == 0);
    linkset_clear(&links);
}

int main(void)
{
    env = shim_begin();
    must(cells_learn(env));
    must(term_load(env) == 0);
    tracer_serve(&coroner);
    coroner.intern = intern_new();
    coroner.ledger = ledger_new();
    coroner.wide = wide_new();
    coroner.journal = journal_new();
    coroner.purge = purge_new();
    coroner.stops = stops_new();
    coroner.supervisors = supervisors_new();
    coroner.remotes = remotes_new();
    coroner.scope = scope_new();
    coroner.bystanders = bystanders_new();
    coroner.uplink = uplink_new();
    journal_reset(coroner.journal, BYTES_MAX);
    ledger_open(coroner.ledger);
    coroner.record_sources = UINT32_MAX & ~(1U << CORONER_SOURCE_NORMAL);
    atomic_store(&coroner.armed_state, STATE);
    make_terms();
    event(atoms.spawned, terms.caller, terms.caller, terms.spawned);
    event(atoms.spawned, shim_pid(CALLER + 1), terms.caller, terms.spawned);
    /* What is allocated once is not what one costs. */
    for (size_t i = 0; i < 8 * TIMES; i++)
        spawn_and_exit(i);

    count("schedule_in", NULL, schedule_in, NULL);
    count("spawn_and_exit", NULL, spawn_and_exit, NULL);
    count("spawn_link_and_exit", NULL, spawn_link_and_exit, NULL);
    count("gen_server_and_exit", NULL, gen_server_and_exit, NULL);
    count("link_and_unlink", NULL, link_and_unlink, NULL);
    count("register_and_unregister", NULL, register_and_unregister, NULL);
    count("kill_and_death", NULL, kill_and_death, NULL);
    count("encode_kill", NULL, encoding, NULL);
    count("crash", NULL, crash, NULL);
    count("encode_crash", NULL, encoding, NULL);
    count("cascade", cascade_begin, cascade, NULL);
    count("encode_cascade", NULL, encoding, NULL);
    count("link_added_to_many", NULL, links_of_many, NULL);
    count("link_of_many_found", NULL, links_of_many_looked_for, NULL);
    count("link_of_many_removed", NULL, links_of_many_removed, links_clear);
    count("attribution", NULL, attribution, NULL);

    uplink_free(coroner.uplink);
    ledger_free(coroner.ledger);
    wide_free(coroner.wide);
    journal_free(coroner.journal);
    purge_free(coroner.purge);
    stops_free(coroner.stops);
    supervisors_free(coroner.supervisors);
    remotes_free(coroner.remotes);
    scope_free(coroner.scope);
    bystanders_free(coroner.bystanders);
    intern_free(coroner.intern);
    term_unload();
    shim_end(env);
    return 0;
}
