/*
 * The library as the VM sees it: load, upgrade, unload, and the functions of the module coroner_nif.
 *
 * The VM calls load, upgrade and unload one at a time (it holds the code modification permission). The other
 * functions run in any process; `start` and `stop` exclude each other, the rest may run at the same time as
 * those, as each other and as all callbacks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <erl_nif.h>

#include "alloc.h"
#include "atoms.h"
#include "cells.h"
#include "clock.h"
#include "coroner.h"
#include "term.h"
#include "terms.h"
#include "tracer.h"
#include "unaligned.h"
#include "wire.h"

struct coroner_atoms atoms;

/* Instances of the module that use this copy of the library: a reload of the same file shares its statics. */
static uint32_t instances;

/* Its address tells this copy of the library from another. */
static const char this_code;

#define LINKS_AT_ONCE 64
#define LINGER_MS 2 /* a storm's records are fetched 500 times a second, and those who die wake nobody */
#define RECENT_MAX 1000
#define TEXT_ROOM 256

static void make_atoms(ErlNifEnv *env)
{
#define X(symbol, name) atoms.symbol = enif_make_atom(env, name);
    CORONER_ATOMS(X)
#undef X
}

/* Whether the VM's words look as word.h has them; `env` is that of the process which loads the module. */
static bool has_known_words(ErlNifEnv *env)
{
    ErlNifPid self;

    return enif_self(env, &self) != NULL && word_is_pid(self.pid) && !word_is_pid(atoms.ok) &&
           !word_is_pid(enif_make_int(env, 3)) && word_is_small(enif_make_int(env, -7)) &&
           word_small(enif_make_int(env, -7)) == -7 && !word_is_small(atoms.ok) && !word_is_small(self.pid) &&
           word_is_atom(atoms.ok) && !word_is_atom(self.pid) && !word_is_atom(enif_make_list(env, 0));
}

static int enter_library(ErlNifEnv *env, ERL_NIF_TERM info)
{
    if (instances == 0) {
        (void)unaligned_learn(env, info); /* status() tells */
        (void)cells_learn(env);           /* else the VM is asked for each */
        make_atoms(env);
        if (!has_known_words(env) || term_load(env) != 0)
            return -1;
    }
    instances++;
    return 0;
}

static void leave_library(void)
{
    if (--instances == 0)
        term_unload();
}

static void coroner_free(struct coroner *coroner)
{
    if (coroner == NULL)
        return;
    uplink_free(coroner->uplink);
    ledger_free(coroner->ledger);
    wide_free(coroner->wide);
    journal_free(coroner->journal);
    purge_free(coroner->purge);
    stops_free(coroner->stops);
    supervisors_free(coroner->supervisors);
    remotes_free(coroner->remotes);
    scope_free(coroner->scope);
    bystanders_free(coroner->bystanders);
    intern_free(coroner->intern);
    pthread_mutex_destroy(&coroner->lifecycle);
    memory_free(coroner);
}

/* A record makes room: coroner:why/1 of its process answers `expired` from now on. */
static void on_evicted(void *cookie, const struct record *record)
{
    struct coroner *coroner = cookie;

    if (record->gap != NULL)
        return;
    ledger_quiet(coroner->ledger, record->who.pid, record->who.initial_call, QUIET_EXPIRED);
}

static struct coroner *coroner_new(void)
{
    struct coroner *coroner = memory_zalloc(sizeof(*coroner));

    if (coroner == NULL)
        return NULL;
    if (pthread_mutex_init(&coroner->lifecycle, NULL) != 0) {
        memory_free(coroner);
        return NULL;
    }
    coroner->abi = CORONER_ABI;
    coroner->users = 1;
    coroner->code = &this_code;
    coroner->intern = intern_new();
    coroner->ledger = ledger_new();
    coroner->wide = wide_new();
    coroner->journal = journal_new();
    coroner->purge = purge_new();
    coroner->stops = stops_new();
    coroner->supervisors = supervisors_new();
    coroner->remotes = remotes_new();
    coroner->scope = scope_new();
    coroner->bystanders = bystanders_new();
    coroner->uplink = uplink_new();
    if (coroner->intern == NULL || coroner->ledger == NULL || coroner->wide == NULL ||
        coroner->journal == NULL || coroner->purge == NULL || coroner->stops == NULL ||
        coroner->supervisors == NULL || coroner->remotes == NULL || coroner->scope == NULL ||
        coroner->bystanders == NULL || coroner->uplink == NULL) {
        coroner_free(coroner);
        return NULL;
    }
    journal_on_evicted(coroner->journal, on_evicted, coroner);
    return coroner;
}

#if ERL_NIF_MAJOR_VERSION == 2 && ERL_NIF_MINOR_VERSION < 17
/*
 * OTP 26 and later have it (erl_nif.h, NIF 2.17), the header that we build with need not. Weak: it is NULL in a VM without,
 * and the call of erlang:halt/2, which is traced in every VM, has to do.
 */
extern int enif_set_option(ErlNifEnv *env, int option, ...) __attribute__((weak));
#define ERL_NIF_OPT_ON_HALT 2
#define HAS_SET_OPTION (enif_set_option != NULL)
#else
#define HAS_SET_OPTION true
#endif

/* The VM halts, on whatever way it came to that; no function of the VM may be called any more. */
static void on_halt(void *priv_data)
{
    coroner_last_words(priv_data);
}

/* Only load() and upgrade() may set it. */
static void hear_of_halt(ErlNifEnv *env)
{
    if (HAS_SET_OPTION)
        (void)enif_set_option(env, ERL_NIF_OPT_ON_HALT, on_halt); /* without it the traced call has to do */
}

static int load(ErlNifEnv *env, void **priv_data, ERL_NIF_TERM info)
{
    if (enter_library(env, info) != 0)
        return 1;
    if ((*priv_data = coroner_new()) == NULL) {
        leave_library();
        return 2;
    }
    tracer_serve(*priv_data);
    hear_of_halt(env);
    return 0;
}

/* Exits that were only counted: source normal. */
static uint64_t normal_exits(struct coroner *coroner)
{
    return atomic_load_explicit(&coroner->normal, memory_order_relaxed) + ledger_normal(coroner->ledger);
}

static void read_counters(void *cookie, uint64_t *normal, uint64_t *unrecorded)
{
    struct coroner *coroner = cookie;

    *normal = normal_exits(coroner);
    *unrecorded = atomic_load_explicit(&coroner->unrecorded, memory_order_relaxed) +
                  atomic_load_explicit(&coroner->without_memory, memory_order_relaxed);
}

struct notice {
    ErlNifEnv *env;
    ErlNifPid to;
    ERL_NIF_TERM reference;
};

/* On the uplink's thread, which is none of the VM's: enif_send takes no caller's environment there. */
static void send_notice(void *cookie, bool settled)
{
    struct notice *notice = cookie;
    ERL_NIF_TERM message = enif_make_tuple3(notice->env, atoms.coroner_flushed, notice->reference,
                                            settled ? atoms.true_ : atoms.false_);

    (void)enif_send(NULL, &notice->to, notice->env, message); /* it may be gone: then nobody waits */
    enif_free_env(notice->env);
    memory_free(notice);
}

static const struct uplink_calls uplink_calls = {.counters = read_counters, .flushed = send_notice};

/*
 * Another copy of the library takes over: the old one's code goes away with the old instance, so nothing may run in it,
 * nor may there be a pointer to it. Returns 0, or an errno.
 */
static int take_over(struct coroner *coroner)
{
    int error;

    /* A stop on a dirty scheduler may be joining the thread at this moment. */
    pthread_mutex_lock(&coroner->lifecycle);
    if ((error = uplink_restart(coroner->uplink, &uplink_calls)) == 0) {
        journal_on_evicted(coroner->journal, on_evicted, coroner);
        coroner->code = &this_code;
    }
    pthread_mutex_unlock(&coroner->lifecycle);
    return error;
}

/* The module is loaded again while an older instance is there: they share everything. */
static int upgrade(ErlNifEnv *env, void **priv_data, void **old_priv_data, ERL_NIF_TERM info)
{
    struct coroner *coroner = *old_priv_data;

    if (coroner == NULL || coroner->abi != CORONER_ABI)
        return 1;
    if (enter_library(env, info) != 0)
        return 2;
    if (coroner->code != &this_code && take_over(coroner) != 0) {
        leave_library();
        return 3;
    }
    tracer_serve(coroner);
    hear_of_halt(env);
    coroner->users++;
    *priv_data = coroner;
    return 0;
}

static void unload(ErlNifEnv *env, void *priv_data)
{
    struct coroner *coroner = priv_data;

    (void)env;
    if (--coroner->users == 0) {
        coroner_free(coroner);
    } else if (instances == 1 && coroner->code == &this_code) {
        /*
         * This copy took over from another, and now it goes and the other stays: the on_load of the module failed
         * after all. The other's functions are not known here; what is left is to have none called.
         */
        pthread_mutex_lock(&coroner->lifecycle);
        uplink_stop(coroner->uplink, 0);
        journal_on_evicted(coroner->journal, NULL, NULL);
        coroner->code = NULL;
        pthread_mutex_unlock(&coroner->lifecycle);
    }
    leave_library();
}

static struct coroner *coroner_of(ErlNifEnv *env)
{
    return enif_priv_data(env);
}

static bool is_armed(const struct coroner *coroner)
{
    return atomic_load_explicit(&coroner->armed_state, memory_order_acquire) != NO_WORD;
}

/* Copies the binary `term` as a C string. Returns false when it is none, is too long, or holds a NUL. */
static bool get_string(ErlNifEnv *env, ERL_NIF_TERM term, char *buffer, size_t room)
{
    ErlNifBinary binary;

    if (!enif_inspect_binary(env, term, &binary) || binary.size >= room ||
        memchr(binary.data, 0, binary.size) != NULL)
        return false;
    memcpy(buffer, binary.data, binary.size);
    buffer[binary.size] = '\0';
    return true;
}

static term_word get_pid_word(ErlNifEnv *env, ERL_NIF_TERM term)
{
    ErlNifPid pid;

    return enif_get_local_pid(env, term, &pid) ? term : NO_WORD;
}

static ERL_NIF_TERM make_text(ErlNifEnv *env, const char *text)
{
    ERL_NIF_TERM term;
    size_t length = strlen(text);

    memcpy(enif_make_new_binary(env, length, &term), text, length);
    return term;
}

static ERL_NIF_TERM make_error(ErlNifEnv *env, ERL_NIF_TERM reason)
{
    return enif_make_tuple2(env, atoms.error, reason);
}

static int make_incarnation(char *incarnation)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[8];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -1;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        incarnation[2 * i] = hex[bytes[i] >> 4];
        incarnation[2 * i + 1] = hex[bytes[i] & 15];
    }
    incarnation[16] = '\0';
    return 0;
}

/* The lock is held and the arguments are good: begins a new incarnation. */
static ERL_NIF_TERM start_locked(ErlNifEnv *env, struct coroner *coroner,
                                 struct uplink_settings *settings, const char *node_name,
                                 uint64_t bytes)
{
    ERL_NIF_TERM state;
    int error;

    if (make_incarnation(coroner->incarnation) != 0)
        return make_error(env, enif_make_atom(env, "getrandom"));
    journal_reset(coroner->journal, bytes);
    wide_clear(coroner->wide);
    stops_clear(coroner->stops);
    supervisors_clear(coroner->supervisors);
    atomic_store(&coroner->normal, 0);
    atomic_store(&coroner->unrecorded, 0);
    atomic_store(&coroner->without_memory, 0);
    for (size_t i = 0; i < CORONER_SOURCE_COUNT; i++)
        atomic_store(&coroner->by_source[i], 0);
    settings->incarnation = coroner->incarnation;
    settings->linger_ms = LINGER_MS;
    settings->intern = coroner->intern;
    settings->journal = coroner->journal;
    settings->calls = uplink_calls;
    settings->cookie = coroner;
    if ((error = uplink_start(coroner->uplink, settings, node_name)) != 0)
        return make_error(env, enif_make_tuple2(env, enif_make_atom(env, "uplink"),
                                                make_text(env, strerror(error))));
    atomic_store(&coroner->blind_until_ns, 0);
    ledger_open(coroner->ledger);
    state = enif_make_uint64(env, ++coroner->starts); /* small: an immediate term */
    atomic_store(&coroner->armed_ns, monotonic_ns());
    atomic_store_explicit(&coroner->armed_state, state, memory_order_release);
    return enif_make_tuple2(env, atoms.ok, state);
}

/*
 * start(Ingest :: binary() | undefined, Node, Host, Otp :: binary(), Bytes :: pos_integer(),
 *       {SourceBits, ShapeBits, OnlyClass}, Purger :: pid(), CodeServer :: pid()) -> {ok, State} | {error, _}
 */
static ERL_NIF_TERM nif_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    char path[TEXT_ROOM], node[TEXT_ROOM], host[TEXT_ROOM], otp[TEXT_ROOM];
    struct uplink_settings settings = {.path = NULL, .host = host, .otp = otp};
    const ERL_NIF_TERM *record;
    ErlNifUInt64 bytes;
    unsigned sources, shapes;
    ERL_NIF_TERM result;
    int arity;

    (void)argc;
    if (argv[0] != atoms.undefined) {
        if (!get_string(env, argv[0], path, sizeof(path)))
            return enif_make_badarg(env);
        settings.path = path;
    }
    if (!get_string(env, argv[1], node, sizeof(node)) ||
        !get_string(env, argv[2], host, sizeof(host)) ||
        !get_string(env, argv[3], otp, sizeof(otp)) || !enif_get_uint64(env, argv[4], &bytes) ||
        !enif_get_tuple(env, argv[5], &arity, &record) || arity != 3 ||
        !enif_get_uint(env, record[0], &sources) || !enif_get_uint(env, record[1], &shapes) ||
        get_pid_word(env, argv[6]) == NO_WORD || get_pid_word(env, argv[7]) == NO_WORD)
        return enif_make_badarg(env);

    pthread_mutex_lock(&coroner->lifecycle);
    if (is_armed(coroner)) {
        result = make_error(env, atoms.armed);
    } else {
        coroner->record_sources = sources;
        coroner->record_shapes = shapes;
        coroner->only_class = record[2] == atoms.true_;
        purge_reset(coroner->purge, argv[6], argv[7]);
        (void)snprintf(coroner->host, sizeof(coroner->host), "%s", host);
        result = start_locked(env, coroner, &settings, node, bytes);
    }
    pthread_mutex_unlock(&coroner->lifecycle);
    return result;
}

/* stop(DrainMs) -> ok. On a dirty scheduler: it waits for the uplink. The trace flags and patterns are gone by then. */
static ERL_NIF_TERM nif_stop(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    unsigned drain_ms;

    (void)argc;
    if (!enif_get_uint(env, argv[0], &drain_ms))
        return enif_make_badarg(env);
    pthread_mutex_lock(&coroner->lifecycle);
    atomic_store_explicit(&coroner->armed_state, NO_WORD, memory_order_release);
    uplink_stop(coroner->uplink, drain_ms);
    ledger_close(coroner->ledger);
    wide_clear(coroner->wide);
    stops_clear(coroner->stops);
    supervisors_clear(coroner->supervisors);
    purge_reset(coroner->purge, NO_WORD, NO_WORD);
    scope_set(coroner->scope, SCOPE_ALL, NULL, 0, NULL, 0);
    scope_forget(coroner->scope);
    bystanders_set(coroner->bystanders, NULL, 0);
    journal_reset(coroner->journal, 0);
    pthread_mutex_unlock(&coroner->lifecycle);
    return atoms.ok;
}

/* Copies up to SCOPE_NAMED atoms of `list`. Returns how many, or SCOPE_NAMED + 1 when it is no list of atoms. */
static size_t get_atoms(ErlNifEnv *env, ERL_NIF_TERM list, term_word *words)
{
    ERL_NIF_TERM head;
    size_t count = 0;

    while (enif_get_list_cell(env, list, &head, &list)) {
        if (!enif_is_atom(env, head) || count == SCOPE_NAMED)
            return SCOPE_NAMED + 1;
        words[count++] = head;
    }
    return count;
}

/*
 * scope(all | applications | exclude, Modules, Applications, Settled) -> ok: what is traced. The lists are what is excluded,
 * SCOPE_NAMED atoms at most; Settled: all who are inside are in the ledger.
 */
static ERL_NIF_TERM nif_scope(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    term_word modules[SCOPE_NAMED], applications[SCOPE_NAMED];
    size_t module_count = get_atoms(env, argv[1], modules);
    size_t application_count = get_atoms(env, argv[2], applications);

    (void)argc;
    if (module_count > SCOPE_NAMED || application_count > SCOPE_NAMED)
        return enif_make_badarg(env);
    scope_settle(coroner->scope, false);
    scope_set(coroner->scope,
              argv[0] == atoms.exclude        ? SCOPE_EXCLUDE
              : argv[0] == atoms.applications ? SCOPE_APPLICATIONS
                                              : SCOPE_ALL,
              modules, module_count, applications, application_count);
    if (argv[3] != atoms.true_)
        scope_forget(coroner->scope);
    scope_settle(coroner->scope, argv[3] == atoms.true_);
    return atoms.ok;
}

/* The function {M, F, A} as its number in the intern tables; INTERN_NONE for what is none. */
static uint32_t get_function(ErlNifEnv *env, struct coroner *coroner, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *mfa;
    unsigned arity_of_call;
    int arity;

    if (!enif_get_tuple(env, term, &arity, &mfa) || arity != 3 || !enif_is_atom(env, mfa[0]) ||
        !enif_is_atom(env, mfa[1]) || !enif_get_uint(env, mfa[2], &arity_of_call))
        return INTERN_NONE;
    return intern_function(coroner->intern, (struct function){.module = mfa[0],
                                                              .name = mfa[1],
                                                              .arity = arity_of_call});
}

/* bystanders([{Pid, Name, {M, F, A}}]) -> ok: these registered processes are outside the scope, and no others. */
static ERL_NIF_TERM nif_bystanders(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ERL_NIF_TERM head, tail = argv[0];
    const ERL_NIF_TERM *of;
    struct who *who;
    unsigned length;
    size_t count = 0;
    int arity;

    (void)argc;
    if (!enif_get_list_length(env, argv[0], &length))
        return enif_make_badarg(env);
    if (length == 0) {
        bystanders_set(coroner->bystanders, NULL, 0);
        return atoms.ok;
    }
    if ((who = memory_alloc(length * sizeof(*who))) == NULL)
        return enif_raise_exception(env, atoms.enomem);
    while (enif_get_list_cell(env, tail, &head, &tail))
        if (enif_get_tuple(env, head, &arity, &of) && arity == 3 &&
            get_pid_word(env, of[0]) != NO_WORD && enif_is_atom(env, of[1]))
            who[count++] = (struct who){
                .pid = of[0], .name = of[1], .initial_call = get_function(env, coroner, of[2])};
    bystanders_set(coroner->bystanders, who, count);
    return atoms.ok;
}

/* initial_call(Pid) -> {M, F, A} | undefined: what the ledger has of Pid. */
static ERL_NIF_TERM nif_initial_call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    const struct function *call = intern_function_of(
        coroner->intern, ledger_who(coroner->ledger, argv[0]).initial_call);

    (void)argc;
    return call == NULL ? atoms.undefined
                        : enif_make_tuple3(env, (ERL_NIF_TERM)call->module, (ERL_NIF_TERM)call->name,
                                           enif_make_uint(env, call->arity));
}

/* expect(Pids) -> NewPids: enters those that are not known yet; their snapshots are to come. */
static ERL_NIF_TERM nif_expect(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ERL_NIF_TERM head, tail = argv[0], fresh = enif_make_list(env, 0);
    uint64_t now = monotonic_ns();

    (void)argc;
    while (enif_get_list_cell(env, tail, &head, &tail))
        if (get_pid_word(env, head) != NO_WORD && ledger_expect(coroner->ledger, head, now)) {
            (void)scope_left(coroner->scope, head); /* whoever was to leave stays */
            fresh = enif_make_list_cell(env, head, fresh);
        }
    return fresh;
}

/* seed_links(Pid, Links) -> ok: links that a snapshot shows. */
static ERL_NIF_TERM nif_seed_links(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    term_word words[LINKS_AT_ONCE];
    ERL_NIF_TERM head, tail = argv[1];
    struct remote_pid remote;
    size_t count = 0;
    ErlNifPort port;

    (void)argc;
    while (enif_get_list_cell(env, tail, &head, &tail)) {
        if (get_pid_word(env, head) != NO_WORD || enif_get_local_port(env, head, &port))
            words[count++] = head;
        else if (remote_pid_of(env, head, &remote))
            words[count++] = remotes_enter(coroner->remotes, remote);
        else
            continue;
        if (count == LINKS_AT_ONCE) {
            ledger_seed_links(coroner->ledger, argv[0], words, count);
            count = 0;
        }
    }
    ledger_seed_links(coroner->ledger, argv[0], words, count);
    return atoms.ok;
}

/* seed(Pid, TrapExit, Name | undefined, {M, F, A} | undefined, Parent | undefined, ProcLib, Ancestors) -> ok. */
static ERL_NIF_TERM nif_seed(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    struct snapshot snapshot = {.pid = argv[0],
                                .trapping = argv[1] == atoms.true_,
                                .name = argv[2] == atoms.undefined ? NO_WORD : argv[2],
                                .parent = get_pid_word(env, argv[4]),
                                .proc_lib = argv[5] == atoms.true_};
    term_word ancestors[RECORD_ANCESTORS];
    ERL_NIF_TERM head, tail = argv[6];
    const ERL_NIF_TERM *mfa;
    size_t count = 0;
    unsigned arity_of_call;
    int arity;

    (void)argc;
    if (get_pid_word(env, argv[0]) == NO_WORD || !enif_is_atom(env, argv[2]))
        return enif_make_badarg(env);
    if (enif_get_tuple(env, argv[3], &arity, &mfa) && arity == 3 && enif_is_atom(env, mfa[0]) &&
        enif_is_atom(env, mfa[1]) && enif_get_uint(env, mfa[2], &arity_of_call))
        snapshot.initial_call = intern_function(
            coroner->intern,
            (struct function){.module = mfa[0], .name = mfa[1], .arity = arity_of_call});
    while (count < RECORD_ANCESTORS && enif_get_list_cell(env, tail, &head, &tail)) {
        if (!enif_is_atom(env, head) && get_pid_word(env, head) == NO_WORD)
            break;
        ancestors[count++] = head;
    }
    if (count > 0)
        snapshot.ancestors = ancestors_new(ancestors, count);
    ledger_seed(coroner->ledger, &snapshot);
    return atoms.ok;
}

/* seed_port(Port, Name, Owner | undefined, Pids) -> ok: a port that was open before, with those linked to it. */
static ERL_NIF_TERM nif_seed_port(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    struct birth birth = {.pid = argv[0],
                          .parent = get_pid_word(env, argv[2]),
                          .name = enif_is_atom(env, argv[1]) ? argv[1] : NO_WORD,
                          .flags = ENTRY_PORT,
                          .time_ns = monotonic_ns()};
    ERL_NIF_TERM head, tail = argv[3];
    ErlNifPort port;

    (void)argc;
    if (!enif_get_local_port(env, argv[0], &port))
        return enif_make_badarg(env);
    if (ledger_knows(coroner->ledger, argv[0]))
        return atoms.ok; /* its opening has been seen, and its links with that */
    ledger_spawned(coroner->ledger, &birth);
    while (enif_get_list_cell(env, tail, &head, &tail))
        if (get_pid_word(env, head) != NO_WORD)
            ledger_link(coroner->ledger, argv[0], head);
    return atoms.ok;
}

/* limit(Pid, Words) -> ok: the max_heap_size of Pid. limit(default, Words) -> ok: the system's. */
static ERL_NIF_TERM nif_limit(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ErlNifUInt64 words;

    (void)argc;
    if (!enif_get_uint64(env, argv[1], &words))
        return enif_make_badarg(env);
    if (enif_is_atom(env, argv[0]))
        coroner->default_limit_words = words;
    else
        ledger_limit(coroner->ledger, argv[0], words);
    return atoms.ok;
}

/* application(Master, Application) -> ok: the application master of an application that runs. */
static ERL_NIF_TERM nif_application(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    if (get_pid_word(env, argv[0]) == NO_WORD || !enif_is_atom(env, argv[1]))
        return enif_make_badarg(env);
    stops_master(coroner_of(env)->stops, argv[0], argv[1]);
    return atoms.ok;
}

/* nodes(Nodes) -> ok: the nodes that this one is connected to, hidden ones too. */
static ERL_NIF_TERM nif_nodes(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    term_word first[1];
    ERL_NIF_TERM head, tail = argv[0];
    size_t count = 0;

    (void)argc;
    while (enif_get_list_cell(env, tail, &head, &tail)) {
        if (count == 0)
            first[0] = head;
        count++;
    }
    remotes_set_nodes(coroner_of(env)->remotes, first, count);
    return atoms.ok;
}

/* forget(Pid) -> ok: it was gone before its snapshot was taken. */
static ERL_NIF_TERM nif_forget(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    ledger_forget(coroner_of(env)->ledger, argv[0]);
    return atoms.ok;
}

/* renew(Pids) -> ok: what is known of them may be wrong; their snapshots are to come. Those not known are entered. */
static ERL_NIF_TERM nif_renew(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ERL_NIF_TERM head, tail = argv[0];
    uint64_t now = monotonic_ns();

    (void)argc;
    while (enif_get_list_cell(env, tail, &head, &tail))
        if (get_pid_word(env, head) != NO_WORD) {
            (void)scope_left(coroner->scope, head);
            ledger_renew(coroner->ledger, head, now);
        }
    return atoms.ok;
}

/* drop(Pid | Port) -> ok: it ended unseen. */
static ERL_NIF_TERM nif_drop(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);

    (void)argc;
    ledger_drop(coroner->ledger, argv[0]);
    (void)scope_left(coroner->scope, argv[0]);
    supervision_drop(supervisors_gone(coroner->supervisors, argv[0]));
    return atoms.ok;
}

/*
 * members(Shard, Wanted) -> {NextShard, [Pid | Port]}: of the ledger's parts from Shard on, until
 * there are Wanted; NextShard 0: all seen.
 */
static ERL_NIF_TERM nif_members(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ERL_NIF_TERM list = enif_make_list(env, 0);
    unsigned shard, wanted, seen = 0;
    term_word words[4096]; /* a part of this many is one of a node with four million processes */

    (void)argc;
    if (!enif_get_uint(env, argv[0], &shard) || !enif_get_uint(env, argv[1], &wanted))
        return enif_make_badarg(env);
    for (; shard < LEDGER_PARTS && seen < wanted; shard++) {
        size_t count;

        ledger_members(coroner->ledger, shard, words, sizeof(words) / sizeof(words[0]), &count);
        seen += (unsigned)count;
        while (count-- > 0)
            list = enif_make_list_cell(env, (ERL_NIF_TERM)words[count], list);
    }
    return enif_make_tuple2(env, enif_make_uint(env, shard < LEDGER_PARTS ? shard : 0), list);
}

/* blind(Ms | infinity) -> ok: until then no verdict is certain. */
static ERL_NIF_TERM nif_blind(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    uint64_t until = UINT64_MAX;
    unsigned ms;

    (void)argc;
    if (enif_get_uint(env, argv[0], &ms))
        until = monotonic_ns() + (uint64_t)ms * 1000000;
    else if (!enif_is_atom(env, argv[0]))
        return enif_make_badarg(env);
    atomic_store_explicit(&coroner_of(env)->blind_until_ns, until, memory_order_relaxed);
    return atoms.ok;
}

/*
 * probe(Pid | undefined) -> Seen: from now on traced calls of Pid are only counted, or those of nobody any more. Seen is
 * how many have been counted altogether.
 */
static ERL_NIF_TERM nif_probe(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);

    (void)argc;
    atomic_store_explicit(&coroner->probing, get_pid_word(env, argv[0]), memory_order_relaxed);
    return enif_make_uint64(env, atomic_load_explicit(&coroner->probes_seen, memory_order_relaxed));
}

/*
 * gap(FromNs, ToNs | undefined, Why :: binary(), Detail :: binary()) -> ok | not_armed: makes a record of a gap, which
 * lasts still where there is no end of it.
 */
static ERL_NIF_TERM nif_gap(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    ErlNifBinary why, detail;
    ErlNifUInt64 from, to = 0;
    struct record *record;
    struct timespec now;

    (void)argc;
    if (!enif_get_uint64(env, argv[0], &from) ||
        (argv[1] != atoms.undefined && !enif_get_uint64(env, argv[1], &to)) ||
        !enif_inspect_binary(env, argv[2], &why) || !enif_inspect_binary(env, argv[3], &detail))
        return enif_make_badarg(env);
    if (!is_armed(coroner))
        return atoms.not_armed;
    if ((record = record_new()) == NULL)
        return enif_raise_exception(env, atoms.enomem);
    if ((record->gap = gap_new(from, to, why.data, why.size, detail.data, detail.size)) == NULL) {
        record_drop(record);
        return enif_raise_exception(env, atoms.enomem);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    record->severity = CORONER_SEVERITY_WARNING;
    record->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    record->monotonic_ns = monotonic_ns();
    journal_add(coroner->journal, record);
    uplink_wake(coroner->uplink);
    record_drop(record);
    return atoms.ok;
}

/* {Sequence, TimeNs, Map as CBOR} of a record, which is dropped. */
static ERL_NIF_TERM make_record(ErlNifEnv *env, struct coroner *coroner, struct record *record)
{
    uint8_t buffer[RECORD_CBOR_MAX];
    struct cbor_writer cbor = cbor_writer_on(buffer, sizeof(buffer));
    ERL_NIF_TERM binary, result;

    record_encode(record, coroner->intern, coroner->incarnation, &cbor);
    memcpy(enif_make_new_binary(env, cbor.used, &binary), buffer, cbor.used);
    result = enif_make_tuple3(env, enif_make_uint64(env, record->seq),
                              enif_make_uint64(env, record->time_ns), binary);
    record_drop(record);
    return result;
}

/* why(PidOrName) -> {Seq, TimeNs, Cbor} | {normal, {M, F, A} | undefined} | alive | expired | not_seen | not_armed. */
static ERL_NIF_TERM nif_why(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    const struct function *call;
    struct record *record;
    uint32_t initial_call = INTERN_NONE;

    (void)argc;
    if (!is_armed(coroner))
        return atoms.not_armed;
    if (enif_is_atom(env, argv[0])) {
        record = journal_by_name(coroner->journal, argv[0]);
        return record == NULL ? atoms.not_seen : make_record(env, coroner, record);
    }
    if (get_pid_word(env, argv[0]) == NO_WORD)
        return enif_make_badarg(env);
    /* A live one under this pid comes first: the record would be of an earlier process. */
    if (ledger_knows(coroner->ledger, argv[0]))
        return atoms.alive;
    if ((record = journal_by_pid(coroner->journal, argv[0])) != NULL)
        return make_record(env, coroner, record);
    switch (ledger_quiet_of(coroner->ledger, argv[0], &initial_call)) {
    case QUIET_NORMAL:
        call = intern_function_of(coroner->intern, initial_call);
        return enif_make_tuple2(
            env, atoms.normal,
            call == NULL ? atoms.undefined
                         : enif_make_tuple3(env, (ERL_NIF_TERM)call->module,
                                            (ERL_NIF_TERM)call->name, enif_make_uint(env, call->arity)));
    case QUIET_EXPIRED:
        return atoms.expired;
    default:
        return atoms.not_seen;
    }
}

/* recent(N) -> [{Seq, TimeNs, Cbor}], the newest first; at most 1000. On a dirty scheduler: it may take milliseconds. */
static ERL_NIF_TERM nif_recent(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    struct record **records;
    ERL_NIF_TERM *terms, list;
    unsigned wanted;
    size_t count;

    (void)argc;
    if (!enif_get_uint(env, argv[0], &wanted))
        return enif_make_badarg(env);
    if (!is_armed(coroner))
        return atoms.not_armed;
    if (wanted > RECENT_MAX)
        wanted = RECENT_MAX;
    if (wanted == 0)
        return enif_make_list(env, 0);
    records = memory_alloc(wanted * sizeof(struct record *));
    terms = memory_alloc(wanted * sizeof(*terms));
    if (records == NULL || terms == NULL) {
        memory_free(records);
        memory_free(terms);
        return enif_raise_exception(env, atoms.enomem);
    }
    count = journal_recent(coroner->journal, records, wanted);
    for (size_t i = 0; i < count; i++)
        terms[i] = make_record(env, coroner, records[i]);
    list = enif_make_list_from_array(env, terms, (unsigned)count);
    memory_free(records);
    memory_free(terms);
    return list;
}

static ERL_NIF_TERM pair(ErlNifEnv *env, const char *name, ERL_NIF_TERM value)
{
    return enif_make_tuple2(env, enif_make_atom(env, name), value);
}

/* status() -> [{Name, Value}]: how it stands, for coroner:status/0. */
static ERL_NIF_TERM nif_status(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    struct journal_counts counts = journal_counts(coroner->journal);
    struct uplink_state uplink = uplink_state_of(coroner->uplink);
    ERL_NIF_TERM sources = enif_make_list(env, 0);
    static const char *const names[] = {
#define X(symbol, name) name,
        CORONER_SOURCES(X)
#undef X
    };

    (void)argc;
    (void)argv;
    for (size_t i = CORONER_SOURCE_COUNT; i-- > 0;) {
        uint64_t exits = atomic_load_explicit(&coroner->by_source[i], memory_order_relaxed);

        if (exits > 0)
            sources = enif_make_list_cell(env, pair(env, names[i], enif_make_uint64(env, exits)),
                                          sources);
    }
    ERL_NIF_TERM pairs[] = {
        pair(env, "armed", is_armed(coroner) ? atoms.true_ : atoms.false_),
        pair(env, "incarnation", make_text(env, coroner->incarnation)),
        pair(env, "host", make_text(env, coroner->host)),
        pair(env, "processes", enif_make_uint64(env, ledger_count(coroner->ledger))),
        pair(env, "made", enif_make_uint64(env, counts.made)),
        pair(env, "held", enif_make_uint64(env, counts.held)),
        pair(env, "unacknowledged", enif_make_uint64(env, counts.unacknowledged)),
        pair(env, "acknowledged", enif_make_uint64(env, counts.acknowledged)),
        pair(env, "lost", enif_make_uint64(env, counts.lost)),
        pair(env, "bytes", enif_make_uint64(env, counts.bytes)),
        pair(env, "normal", enif_make_uint64(env, normal_exits(coroner))),
        pair(env, "unrecorded", enif_make_uint64(env, atomic_load(&coroner->unrecorded))),
        pair(env, "without_memory", enif_make_uint64(env, atomic_load(&coroner->without_memory))),
        pair(env, "unaligned_known", unaligned_is_known() ? atoms.true_ : atoms.false_),
        pair(env, "encode_failures", enif_make_uint64(env, uplink.encode_failures)),
        pair(env, "by_source", sources),
        pair(env, "connected", uplink.connected ? atoms.true_ : atoms.false_),
        pair(env, "connects", enif_make_uint64(env, uplink.connects)),
        pair(env, "uplink_error",
             uplink.error[0] == '\0' ? atoms.undefined : make_text(env, uplink.error)),
    };
    return enif_make_list_from_array(env, pairs, sizeof(pairs) / sizeof(pairs[0]));
}

/*
 * notify(Reference) -> ok | not_armed: the caller gets {coroner_flushed, Reference, true} once the daemon has
 * acknowledged all records made so far, false if coroner is stopped before that.
 */
static ERL_NIF_TERM nif_notify(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);
    struct notice *notice;

    (void)argc;
    if (!enif_is_ref(env, argv[0]))
        return enif_make_badarg(env);
    if (!is_armed(coroner))
        return atoms.not_armed;
    if ((notice = memory_alloc(sizeof(*notice))) == NULL)
        return enif_raise_exception(env, atoms.enomem);
    if ((notice->env = enif_alloc_env()) == NULL) {
        memory_free(notice);
        return enif_raise_exception(env, atoms.enomem);
    }
    (void)enif_self(env, &notice->to);
    notice->reference = enif_make_copy(notice->env, argv[0]);
    if (!uplink_notify(coroner->uplink, journal_counts(coroner->journal).made, notice)) {
        enif_free_env(notice->env);
        memory_free(notice);
        return atoms.not_armed;
    }
    return atoms.ok;
}

/* rename(Node :: binary()) -> ok: the node has been given a name, or another. */
static ERL_NIF_TERM nif_rename(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    char node[TEXT_ROOM];

    (void)argc;
    if (!get_string(env, argv[0], node, sizeof(node)))
        return enif_make_badarg(env);
    uplink_rename(coroner_of(env)->uplink, node);
    return atoms.ok;
}

/* standing(Bits :: non_neg_integer()) -> ok: what is not as it should be with the tracing, bits of enum uplink_standing. */
static ERL_NIF_TERM nif_standing(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    unsigned standing;

    (void)argc;
    if (!enif_get_uint(env, argv[0], &standing))
        return enif_make_badarg(env);
    uplink_standing(coroner_of(env)->uplink, standing);
    return atoms.ok;
}

/* vocabulary() -> {Keys :: [{Number, Name}], Sources :: [Name], ReasonClasses :: [Name]}, as common/ has them. */
static ERL_NIF_TERM nif_vocabulary(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM keys[] = {
#define X(number, name)                                                                            \
    enif_make_tuple2(env, enif_make_uint(env, number), enif_make_atom(env, #name)),
        WIRE_KEYS(X)
#undef X
    };
    ERL_NIF_TERM sources[] = {
#define X(symbol, name) enif_make_atom(env, name),
        CORONER_SOURCES(X)
#undef X
    };
    ERL_NIF_TERM shapes[] = {
#define X(symbol, name) enif_make_atom(env, name),
        REASON_SHAPES(X)
#undef X
    };

    (void)argc;
    (void)argv;
    return enif_make_tuple3(
        env, enif_make_list_from_array(env, keys, sizeof(keys) / sizeof(keys[0])),
        enif_make_list_from_array(env, sources, sizeof(sources) / sizeof(sources[0])),
        enif_make_list_from_array(env, shapes, sizeof(shapes) / sizeof(shapes[0])));
}

/* links(Pid) -> [Pid | Port] | undefined: what the ledger has as the links of Pid on this node, at most 4096. */
static ERL_NIF_TERM nif_links(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    term_word words[4096];
    ERL_NIF_TERM list = enif_make_list(env, 0);
    size_t count;

    (void)argc;
    if (!ledger_links(coroner_of(env)->ledger, argv[0], words, sizeof(words) / sizeof(words[0]),
                      &count))
        return atoms.undefined;
    while (count-- > 0)
        if (!remotes_is_word(words[count]))
            list = enif_make_list_cell(env, (ERL_NIF_TERM)words[count], list);
    return list;
}

/* format(Term) -> {Text :: binary(), Truncated :: boolean()}: a reason as the record would show it. */
static ERL_NIF_TERM nif_format(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct text *text = term_text(env, argv[0]);
    ERL_NIF_TERM result;

    (void)argc;
    if (text == NULL)
        return enif_raise_exception(env, atoms.enomem);
    result = enif_make_tuple2(env, make_text(env, text->bytes),
                              text->truncated ? atoms.true_ : atoms.false_);
    text_drop(text);
    return result;
}

/* fingerprint(Term) -> {Hash, Whole}: what a reason is compared by. */
static ERL_NIF_TERM nif_fingerprint(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct fingerprint print = term_fingerprint(env, argv[0]);

    (void)argc;
    return enif_make_tuple2(env, enif_make_uint64(env, print.hash),
                            print.whole ? atoms.true_ : atoms.false_);
}

/*
 * The VM finds the tracer's callbacks in this table (load_tracer_nif, erl_trace.c). There must be no trace_call/5:
 * with meta tracing it would be called as if it were enabled_call/3 (erts_call_trace, OTP 25 .. 29).
 */
static ErlNifFunc functions[] = {
    {"enabled", 3, tracer_enabled, 0},
    {"enabled_procs", 3, tracer_enabled_procs, 0},
    {"enabled_garbage_collection", 3, tracer_enabled_garbage_collection, 0},
    {"trace", 5, tracer_trace, 0},
    {"start", 8, nif_start, 0},
    {"stop", 1, nif_stop, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"expect", 1, nif_expect, 0},
    {"seed_links", 2, nif_seed_links, 0},
    {"seed", 7, nif_seed, 0},
    {"seed_port", 4, nif_seed_port, 0},
    {"limit", 2, nif_limit, 0},
    {"application", 2, nif_application, 0},
    {"nodes", 1, nif_nodes, 0},
    {"forget", 1, nif_forget, 0},
    {"renew", 1, nif_renew, 0},
    {"drop", 1, nif_drop, 0},
    {"members", 2, nif_members, 0},
    {"blind", 1, nif_blind, 0},
    {"probe", 1, nif_probe, 0},
    {"gap", 4, nif_gap, 0},
    {"why", 1, nif_why, 0},
    {"recent", 1, nif_recent, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"status", 0, nif_status, 0},
    {"notify", 1, nif_notify, 0},
    {"rename", 1, nif_rename, 0},
    {"standing", 1, nif_standing, 0},
    {"vocabulary", 0, nif_vocabulary, 0},
    {"links", 1, nif_links, 0},
    {"format", 1, nif_format, 0},
    {"fingerprint", 1, nif_fingerprint, 0},
    {"scope", 4, nif_scope, 0},
    {"bystanders", 1, nif_bystanders, 0},
    {"initial_call", 1, nif_initial_call, 0},
};

ERL_NIF_INIT(coroner_nif, functions, load, NULL, upgrade, unload)
