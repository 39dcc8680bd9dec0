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
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "atoms.h"
#include "coroner.h"
#include "term.h"
#include "tracer.h"

#define PUSHES_MAX 64        /* peers that an exit writes to; with more links it goes to the wide table */
#define FREED_AT_ONCE 256    /* links whose set a callback frees itself; a larger one goes to the reaper */
#define EVIDENCE_LIFE_NS (UINT64_C(60) * 1000 * 1000 * 1000)
#define PULLS 8              /* deaths out of the wide table that one exit weighs */
#define HALT_WAIT_MS 200

/* An exit this soon after arming, of a process that lived before, may have a cause that was not seen. */
#define BLIND_NS (UINT64_C(1) * 1000 * 1000 * 1000)

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct coroner *coroner_of(ErlNifEnv *env)
{
    return enif_priv_data(env);
}

static bool is_armed(const struct coroner *coroner, ERL_NIF_TERM state)
{
    return atomic_load_explicit(&coroner->armed_state, memory_order_acquire) == state;
}

static bool is_local_pid(ErlNifEnv *env, ERL_NIF_TERM term)
{
    ErlNifPid pid;

    return enif_get_local_pid(env, term, &pid) != 0;
}

ERL_NIF_TERM tracer_enabled(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    /* remove only ever answers trace_status; an event of an earlier start's flags is discarded. */
    if (!is_armed(coroner_of(env), argv[1]))
        return argv[0] == atoms.trace_status ? atoms.remove : atoms.discard;
    return atoms.trace;
}

ERL_NIF_TERM tracer_enabled_procs(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    /* `spawned` of the child tells all that `spawn` of its parent does. */
    if (argv[0] == atoms.spawn || !is_armed(coroner_of(env), argv[1]))
        return atoms.discard;
    return atoms.trace;
}

/* --- births ------------------------------------------------------------------------------------------- */

static uint32_t list_length(ErlNifEnv *env, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head;
    uint32_t length = 0;

    while (length < 256 && enif_get_list_cell(env, list, &head, &list))
        length++;
    return length;
}

/* Copies up to `room` elements of `list`. Returns how many it has, up to `room`. */
static uint32_t list_elements(ErlNifEnv *env, ERL_NIF_TERM list, ERL_NIF_TERM *elements,
                              uint32_t room)
{
    uint32_t count = 0;

    while (count < room && enif_get_list_cell(env, list, &elements[count], &list))
        count++;
    return count;
}

/* The initial call that proc_lib would show: trans_init/3 of proc_lib.erl, the same in OTP 25 .. 29. */
static struct function translate_init(ErlNifEnv *env, ERL_NIF_TERM module, ERL_NIF_TERM name,
                                      ERL_NIF_TERM arguments)
{
    struct function call = {.module = module, .name = name, .arity = 0};
    ERL_NIF_TERM argument[8], head, tail;
    const ERL_NIF_TERM *tuple;
    uint32_t count;
    int arity;

    if (module != atoms.gen || name != atoms.init_it) {
        call.arity = list_length(env, arguments);
        return call;
    }
    count = list_elements(env, arguments, argument, 8);
    if (count > 0 && argument[0] == atoms.gen_event)
        return (struct function){.module = atoms.gen_event, .name = atoms.init_it, .arity = 6};
    if (count == 6 || count == 7) {
        /* The callback module stands after [GenModule, Starter, Parent] or [.., Name]. */
        ERL_NIF_TERM callback = argument[count - 3], init = argument[count - 2];

        if (argument[0] == atoms.gen_server && callback == atoms.supervisor &&
            enif_get_tuple(env, init, &arity, &tuple) && arity == 3 && enif_is_atom(env, tuple[1]))
            return (struct function){.module = atoms.supervisor, .name = tuple[1], .arity = 1};
        if (argument[0] == atoms.gen_server && callback == atoms.supervisor_bridge &&
            enif_get_list_cell(env, init, &head, &tail) && enif_is_atom(env, head))
            return (struct function){.module = atoms.supervisor_bridge, .name = head, .arity = 1};
        if (enif_is_atom(env, callback))
            return (struct function){.module = callback, .name = atoms.init, .arity = 1};
    }
    if (count > 4 && enif_is_atom(env, argument[4]))
        return (struct function){.module = argument[4], .name = atoms.init, .arity = 1};
    call.arity = count;
    return call;
}

static struct ancestors *ancestors_from(ErlNifEnv *env, ERL_NIF_TERM parent, ERL_NIF_TERM list)
{
    term_word words[RECORD_ANCESTORS];
    ERL_NIF_TERM head = parent;
    size_t count = 0;

    do {
        if (!enif_is_atom(env, head) && !is_local_pid(env, head))
            break;
        words[count++] = head;
    } while (count < RECORD_ANCESTORS && enif_get_list_cell(env, list, &head, &list));
    return count == 0 ? NULL : ancestors_new(words, count);
}

/* Options is a map with `extra` => {Module, Function, Arguments}. */
static void on_spawned(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid,
                       ERL_NIF_TERM parent, ERL_NIF_TERM options)
{
    struct birth birth = {.pid = pid,
                          .parent = is_local_pid(env, parent) ? parent : NO_WORD,
                          .time_ns = monotonic_ns()};
    ERL_NIF_TERM extra, argument[5];
    const ERL_NIF_TERM *mfa;
    struct function call;
    int arity;

    if (enif_get_map_value(env, options, atoms.extra, &extra) &&
        enif_get_tuple(env, extra, &arity, &mfa) && arity == 3 && enif_is_atom(env, mfa[0]) &&
        enif_is_atom(env, mfa[1])) {
        uint32_t count = 0;

        if (mfa[0] == atoms.proc_lib && mfa[1] == atoms.init_p)
            count = list_elements(env, mfa[2], argument, 5);
        if (count >= 3) {
            birth.proc_lib = true;
            birth.ancestors = ancestors_from(env, argument[0], argument[1]);
        }
        if (count == 5 && enif_is_atom(env, argument[2]) && enif_is_atom(env, argument[3]))
            call = translate_init(env, argument[2], argument[3], argument[4]);
        else
            call = (struct function){
                .module = mfa[0], .name = mfa[1], .arity = list_length(env, mfa[2])};
        birth.initial_call = intern_function(coroner->intern, call);
    }
    ledger_spawned(coroner->ledger, &birth);
}

/* --- exits -------------------------------------------------------------------------------------------- */

/* One piece of evidence as the exit sees it: from its entry, or out of the wide table. */
struct weighed {
    struct evidence *evidence; /* NULL when out of the wide table */
    struct record *peer;       /* of a linked peer; borrowed from the evidence, or held for a pull */
};

struct weighing {
    struct evidence_facts facts[LEDGER_EVIDENCE + PULLS];
    struct weighed of[LEDGER_EVIDENCE + PULLS];
    size_t count;
    size_t pulled_from; /* index of the first one out of the wide table */
};

static void weigh_entry(struct weighing *weighing, const struct entry *entry)
{
    for (struct evidence *evidence = entry->evidence;
         evidence != NULL && weighing->count < LEDGER_EVIDENCE; evidence = evidence->next) {
        size_t i = weighing->count++;

        weighing->of[i] = (struct weighed){.evidence = evidence, .peer = evidence->record};
        weighing->facts[i] = (struct evidence_facts){
            .kind = evidence->kind,
            .is_kill = evidence->is_kill,
            .is_purge = evidence->is_purge,
            .is_self = evidence->from == entry->pid,
            .is_parent = evidence->from == entry->parent && entry->parent != NO_WORD,
            .still_linked = evidence->kind == EVIDENCE_LINKED &&
                            linkset_contains(&entry->links, evidence->from),
            .from_parent = evidence->from_parent,
            .by_call = (evidence->kind == EVIDENCE_EXIT || evidence->kind == EVIDENCE_RAISE) &&
                       evidence->act != NULL,
            .shape = evidence->shape,
            .reason = evidence->print,
            .time_ns = evidence->time_ns,
        };
    }
}

/* Adds the deaths of linked processes that had too many links to tell each peer. */
static void weigh_wide(struct coroner *coroner, struct weighing *weighing,
                       const struct entry *entry, struct fingerprint reason)
{
    struct record *pulled[PULLS];
    size_t count;

    if (entry->flags & ENTRY_UNSEEDED)
        count = wide_find_reason(coroner->wide, reason, pulled, PULLS);
    else
        count = wide_find_linked(coroner->wide, &entry->links, pulled, PULLS);
    weighing->pulled_from = weighing->count;
    for (size_t p = 0; p < count; p++) {
        struct record *peer = pulled[p];
        size_t i = weighing->count++;

        weighing->of[i] = (struct weighed){.evidence = NULL, .peer = peer};
        weighing->facts[i] = (struct evidence_facts){
            .kind = EVIDENCE_LINKED,
            .still_linked = true,
            .is_parent = peer->who.pid == entry->parent,
            .shape = peer->shape,
            .reason = peer->print,
            .time_ns = peer->monotonic_ns,
        };
    }
}

static void weighing_end(struct weighing *weighing)
{
    for (size_t i = weighing->pulled_from; i < weighing->count; i++)
        record_drop(weighing->of[i].peer);
}

static bool evidence_may_be_lost(struct coroner *coroner, const struct entry *entry, uint64_t now)
{
    uint64_t evicted = wide_evicted_ns(coroner->wide);

    if (entry->flags & ENTRY_UNSEEDED)
        return true;
    if (now < atomic_load_explicit(&coroner->blind_until_ns, memory_order_relaxed))
        return true;
    if ((entry->flags & ENTRY_SEEDED) && now - entry->begun_ns < BLIND_NS)
        return true;
    if (entry->evicted_s != 0 &&
        (entry->evicted_s == UINT32_MAX ||
         now < (uint64_t)entry->evicted_s * 1000000000 + EVIDENCE_LIFE_NS))
        return true;
    /* A linked death may have left the wide table before we looked. */
    return evicted != 0 && entry->links.count > 0 && now - evicted < EVIDENCE_LIFE_NS;
}

static void fill_candidates(struct record *record, const struct verdict *verdict,
                            const struct weighing *weighing)
{
    if (verdict->candidates == 0)
        return;
    record->candidates = memory_zalloc(verdict->candidates * sizeof(*record->candidates));
    if (record->candidates == NULL)
        return;
    for (size_t c = 0; c < verdict->candidates && c < RECORD_CANDIDATES; c++) {
        struct record_candidate *candidate = &record->candidates[record->candidate_count++];
        int index = verdict->candidate[c].evidence;

        candidate->source = verdict->candidate[c].source;
        if (index < 0)
            continue;
        if (weighing->of[index].peer != NULL) {
            candidate->via = weighing->of[index].peer->who;
            candidate->seq = weighing->of[index].peer->seq;
        } else {
            candidate->act = act_hold(weighing->of[index].evidence->act);
        }
    }
}

/* Where the process itself said how it ends: its last exit/1 or raise/3. */
static struct evidence *own_word(const struct entry *entry)
{
    for (struct evidence *evidence = entry->evidence; evidence != NULL; evidence = evidence->next)
        if (evidence->kind == EVIDENCE_EXIT || evidence->kind == EVIDENCE_RAISE)
            return evidence;
    return NULL;
}

static bool is_own_source(uint8_t source)
{
    return source == CORONER_SOURCE_SELF_EXIT || source == CORONER_SOURCE_SELF_ERROR ||
           source == CORONER_SOURCE_SELF_THROW;
}

static void fill_stack(struct record *record, ErlNifEnv *env, const struct entry *entry,
                       ERL_NIF_TERM reason)
{
    struct evidence *own = own_word(entry);
    const ERL_NIF_TERM *pair;
    int arity;

    if (record->shape == REASON_ERROR || record->shape == REASON_THROW) {
        if (is_own_source(record->source) && enif_get_tuple(env, reason, &arity, &pair))
            record->stack = term_stack_text(env, pair[1]);
    } else if (own != NULL && fingerprint_same(own->print, record->print)) {
        record->stack = text_hold(own->stack);
    }
}

/* Makes the record of an exit, with its verdict. NULL without memory. */
static struct record *make_record(struct coroner *coroner, ErlNifEnv *env,
                                  const struct entry *entry, ERL_NIF_TERM reason,
                                  enum reason_shape shape, uint64_t now)
{
    struct record *record = record_new();
    struct weighing weighing = {.count = 0};
    struct exit_facts facts;
    struct verdict verdict;

    if (record == NULL)
        return NULL;
    facts = (struct exit_facts){.reason = term_fingerprint(env, reason),
                                .shape = (uint8_t)shape,
                                .trapping = (entry->flags & ENTRY_TRAPS) != 0,
                                .evidence_lost = evidence_may_be_lost(coroner, entry, now),
                                .time_ns = now};
    weigh_entry(&weighing, entry);
    weigh_wide(coroner, &weighing, entry, facts.reason);
    verdict = attribute(&facts, weighing.facts, weighing.count);

    record->source = verdict.source;
    record->confidence = verdict.confidence;
    record->severity = (uint8_t)record_severity(shape);
    record->shape = (uint8_t)shape;
    record->trapping = facts.trapping;
    record->evidence_lost = facts.evidence_lost;
    record->only_class = coroner->only_class;
    record->who = (struct who){
        .pid = entry->pid, .name = entry->name, .initial_call = entry->initial_call};
    record->parent = entry->parent;
    if (!(entry->flags & ENTRY_UNSEEDED))
        record->ancestors = ancestors_hold(entry->of.ancestors);
    record->monotonic_ns = now;
    record->time_ns = wall_ns();
    record->age_known = !(entry->flags & ENTRY_SEEDED);
    record->age_us = (now - entry->begun_ns) / 1000;
    record->print = facts.reason;
    fill_candidates(record, &verdict, &weighing);
    if (verdict.evidence >= 0) {
        struct weighed *cause = &weighing.of[verdict.evidence];

        if (cause->peer != NULL) {
            record->via = cause->peer->who;
            record_follow(record, cause->peer);
            /* Over a link the reason is the same term: its text need not be made again. */
            record->reason = text_hold(cause->peer->reason);
        } else {
            record->act = act_hold(cause->evidence->act);
        }
    }
    if (record->reason == NULL && !record->only_class)
        record->reason = term_text(env, reason);
    if (!record->only_class)
        fill_stack(record, env, entry, reason);
    weighing_end(&weighing);
    return record;
}

/* Leaves the death on the entries of those it was linked to, before the VM tells them. */
static void tell_peers(struct coroner *coroner, struct entry *entry, struct record *record)
{
    term_word peers[PUSHES_MAX];
    size_t count;

    if (entry->links.count > PUSHES_MAX || (entry->flags & ENTRY_UNSEEDED)) {
        wide_add(coroner->wide, record);
        return;
    }
    count = linkset_list(&entry->links, peers, PUSHES_MAX);
    for (size_t i = 0; i < count; i++) {
        struct evidence *evidence;

        if (!ledger_knows(coroner->ledger, peers[i]))
            continue; /* a port, or dead already */
        if ((evidence = evidence_new(EVIDENCE_LINKED, record->monotonic_ns)) == NULL) {
            wide_add(coroner->wide, record);
            return;
        }
        evidence->from = entry->pid;
        evidence->shape = record->shape;
        evidence->print = record->print;
        evidence->record = record_hold(record);
        (void)ledger_evidence(coroner->ledger, peers[i], evidence);
    }
}

static bool is_erpc(const struct coroner *coroner, uint32_t number)
{
    const struct function *function = intern_function_of(coroner->intern, number);

    return function != NULL && function->module == atoms.erpc;
}

/*
 * An erpc worker that answered ends with {Ref, return, Result}: erpc:execute_call/4 (OTP 23 and later), in which
 * it was started or from which it calls exit/1. Where neither is known it is taken for one: its reason is
 * somebody's data.
 */
static bool is_rpc_worker(const struct coroner *coroner, const struct entry *entry)
{
    const struct evidence *own = own_word(entry);

    if (entry->initial_call == INTERN_NONE || is_erpc(coroner, entry->initial_call))
        return true;
    return own != NULL && own->act != NULL && is_erpc(coroner, own->act->site.function);
}

static void drop_entry(struct coroner *coroner, struct entry *entry)
{
    if (entry->links.count > FREED_AT_ONCE)
        uplink_reap(coroner->uplink, &entry->links);
    entry_free(entry);
}

static void on_exited(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM reason)
{
    struct entry *entry = ledger_exit(coroner->ledger, pid);
    enum reason_shape shape = term_reason_shape(env, reason);
    struct entry unknown = {.pid = pid, .flags = ENTRY_UNSEEDED | ENTRY_SEEDED};
    const struct entry *of = entry != NULL ? entry : &unknown;
    uint64_t now = monotonic_ns();
    bool is_harmless;
    struct record *record;

    if (shape == REASON_RPC_REPLY && !is_rpc_worker(coroner, of))
        shape = REASON_OTHER;
    /* `normal` ends nobody over a link; the reply of an rpc worker does: what the call had linked to it. */
    is_harmless = shape == REASON_NORMAL || (shape == REASON_RPC_REPLY && of->links.count == 0 &&
                                             !(of->flags & ENTRY_UNSEEDED));
    if (is_harmless && !(coroner->record_sources & 1U << CORONER_SOURCE_NORMAL)) {
        atomic_fetch_add_explicit(&coroner->normal, 1, memory_order_relaxed);
        ledger_quiet(coroner->ledger, pid, of->initial_call, QUIET_NORMAL);
        if (entry != NULL)
            drop_entry(coroner, entry);
        return;
    }
    if ((record = make_record(coroner, env, of, reason, shape, now)) == NULL) {
        atomic_fetch_add_explicit(&coroner->without_memory, 1, memory_order_relaxed);
        if (entry != NULL)
            drop_entry(coroner, entry);
        return;
    }
    atomic_fetch_add_explicit(&coroner->by_source[record->source], 1, memory_order_relaxed);
    if ((coroner->record_sources & 1U << record->source) || (coroner->record_shapes & 1U << shape)) {
        journal_add(coroner->journal, record);
        uplink_wake(coroner->uplink);
    } else {
        atomic_fetch_add_explicit(&coroner->unrecorded, 1, memory_order_relaxed);
    }
    if (entry != NULL) {
        if (shape != REASON_NORMAL)
            tell_peers(coroner, entry, record);
        drop_entry(coroner, entry);
    } else {
        wide_add(coroner->wide, record);
    }
    record_drop(record);
}

/* --- links -------------------------------------------------------------------------------------------- */

/* A local pid or port is kept; external pids are boxed and are not. */
static bool is_peer_word(ErlNifEnv *env, ERL_NIF_TERM peer)
{
    ErlNifPort port;

    return is_local_pid(env, peer) || enif_get_local_port(env, peer, &port);
}

static void on_link_gone(struct coroner *coroner, ERL_NIF_TERM pid, ERL_NIF_TERM peer)
{
    struct record *dead = wide_find(coroner->wide, peer);

    ledger_link_gone(coroner->ledger, pid, peer, monotonic_ns(), dead);
    record_drop(dead);
}

static void on_process_event(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM tag = argv[0], pid = argv[2], term = argv[3];

    if (!is_local_pid(env, pid))
        return; /* a port's link events, should another have set the flag `ports` with our tracer */
    if (tag == atoms.exit)
        on_exited(coroner, env, pid, term);
    else if (tag == atoms.spawned)
        on_spawned(coroner, env, pid, term, argv[4]);
    else if (tag == atoms.register_)
        ledger_name(coroner->ledger, pid, term);
    else if (tag == atoms.unregister)
        ledger_name(coroner->ledger, pid, NO_WORD);
    else if (!is_peer_word(env, term))
        return;
    else if (tag == atoms.link || tag == atoms.getting_linked)
        ledger_link(coroner->ledger, pid, term);
    else if (tag == atoms.unlink)
        ledger_unlink(coroner->ledger, pid, term);
    else if (tag == atoms.getting_unlinked)
        on_link_gone(coroner, pid, term);
}

/* --- calls -------------------------------------------------------------------------------------------- */

/* The place of the call, as {caller_line} gave it: {M, F, A, {File, Line}}, {M, F, A}, or undefined. */
static struct site site_of(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM options)
{
    struct site site = {.function = INTERN_NONE};
    const ERL_NIF_TERM *caller, *place;
    ERL_NIF_TERM result;
    unsigned arity_of_caller, line;
    int arity;

    if (!enif_get_map_value(env, options, atoms.match_spec_result, &result) ||
        !enif_get_tuple(env, result, &arity, &caller) || arity < 3 ||
        !enif_is_atom(env, caller[0]) || !enif_is_atom(env, caller[1]) ||
        !enif_get_uint(env, caller[2], &arity_of_caller))
        return site;
    site.function = intern_function(
        coroner->intern,
        (struct function){.module = caller[0], .name = caller[1], .arity = arity_of_caller});
    if (arity == 4 && enif_get_tuple(env, caller[3], &arity, &place) && arity == 2 &&
        enif_get_uint(env, place[1], &line)) {
        char name[256];
        struct text_writer writer = text_writer_on(name, sizeof(name));

        if (term_chars(env, place[0], &writer) && writer.used > 0) {
            site.file = intern_file(coroner->intern, name, writer.used);
            site.line = line;
        }
    }
    return site;
}

static uint32_t called_function(struct coroner *coroner, const ERL_NIF_TERM *mfa, uint32_t arity)
{
    return intern_function(coroner->intern,
                           (struct function){.module = mfa[0], .name = mfa[1], .arity = arity});
}

/* exit(Pid, Reason), and its like: written onto the target before the signal is sent. */
static void on_signal_call(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM caller,
                           const ERL_NIF_TERM *mfa, const ERL_NIF_TERM *argument, uint32_t count,
                           ERL_NIF_TERM options)
{
    ERL_NIF_TERM target = argument[0], reason = argument[1];
    struct evidence *evidence;

    if (!is_local_pid(env, target) || !ledger_knows(coroner->ledger, target))
        return; /* a port, another node's, or dead: it ends nobody here */
    if ((evidence = evidence_new(EVIDENCE_SIGNAL, monotonic_ns())) == NULL)
        return;
    evidence->from = caller;
    evidence->is_kill = reason == atoms.kill;
    evidence->shape = (uint8_t)term_reason_shape(env, reason);
    evidence->print = term_fingerprint(env, reason);
    if (evidence->is_kill)
        evidence->act = purge_behind(coroner->purge, caller);
    evidence->is_purge = evidence->act != NULL;
    if (evidence->act == NULL && (evidence->act = act_new()) != NULL) {
        evidence->act->by = ledger_who(coroner->ledger, caller);
        evidence->act->site = site_of(coroner, env, options);
        evidence->act->function = called_function(coroner, mfa, count);
    }
    (void)ledger_evidence(coroner->ledger, target, evidence);
}

/*
 * Whether the stack with which a behaviour ends shows that it took its parent's exit for the reason: the
 * function that receives for a gen_server (decode_msg/9) or a gen_statem (loop_receive) ends it itself then.
 */
static bool shows_parent_exit(ErlNifEnv *env, ERL_NIF_TERM stack)
{
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *frame;
    int arity;

    for (int i = 0; i < 3 && enif_get_list_cell(env, stack, &head, &stack); i++)
        if (enif_get_tuple(env, head, &arity, &frame) && arity == 4 &&
            ((frame[0] == atoms.gen_server && frame[1] == atoms.decode_msg) ||
             (frame[0] == atoms.gen_statem && frame[1] == atoms.loop_receive)))
            return true;
    return false;
}

/* exit(Reason), or raise(exit, Reason, Stack): what the process itself says it ends with. */
static void on_own_call(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM caller,
                        const ERL_NIF_TERM *mfa, const ERL_NIF_TERM *argument, uint32_t count,
                        ERL_NIF_TERM options)
{
    bool raised = count == 3;
    ERL_NIF_TERM reason = argument[raised ? 1 : 0];
    enum reason_shape shape = term_reason_shape(env, reason);
    struct evidence *evidence;

    if (shape == REASON_NORMAL)
        return; /* needs no proof: see on_exited */
    evidence = evidence_new(raised ? EVIDENCE_RAISE : EVIDENCE_EXIT, monotonic_ns());
    if (evidence == NULL)
        return;
    evidence->from = caller;
    evidence->shape = (uint8_t)shape;
    evidence->print = term_fingerprint(env, reason);
    if (raised) {
        evidence->from_parent = shows_parent_exit(env, argument[2]);
        if (shape != REASON_SHUTDOWN && shape != REASON_ERROR && shape != REASON_THROW &&
            !coroner->only_class)
            evidence->stack = term_stack_text(env, argument[2]);
    } else if ((evidence->act = act_new()) != NULL) {
        evidence->act->by.pid = caller;
        evidence->act->site = site_of(coroner, env, options);
        evidence->act->function = called_function(coroner, mfa, count);
    }
    (void)ledger_evidence(coroner->ledger, caller, evidence);
}

static void on_process_flag(struct coroner *coroner, ERL_NIF_TERM caller,
                            const ERL_NIF_TERM *argument)
{
    if (argument[0] == atoms.trap_exit &&
        (argument[1] == atoms.true_ || argument[1] == atoms.false_))
        ledger_trap(coroner->ledger, caller, argument[1] == atoms.true_);
}

/* erts_code_purger:handle_request({purge, Module, From, Ref}, _), or {finish_after_on_load, {Module, Keep}, ..}. */
static void on_purger_request(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM request)
{
    enum operation operation = OPERATION_NONE;
    const ERL_NIF_TERM *tuple, *pair;
    ERL_NIF_TERM module, from;
    int arity;

    if (!enif_get_tuple(env, request, &arity, &tuple) || arity != 4)
        return;
    module = tuple[1];
    from = tuple[2];
    if (tuple[0] == atoms.purge) {
        operation = OPERATION_PURGE;
    } else if (tuple[0] == atoms.finish_after_on_load &&
               enif_get_tuple(env, tuple[1], &arity, &pair) && arity == 2) {
        module = pair[0];
        if (pair[1] == atoms.false_)
            operation = OPERATION_ON_LOAD;
    }
    if (!enif_is_atom(env, module))
        return;
    purge_begin(coroner->purge, coroner->ledger, module, is_local_pid(env, from) ? from : NO_WORD,
                operation);
}

/* code_server:handle_call(Request, Requester, _); newer code servers have {Requester, Tag} there. */
static void on_code_server_request(struct coroner *coroner, ErlNifEnv *env,
                                   const ERL_NIF_TERM *argument)
{
    ERL_NIF_TERM module = NO_WORD, requester = argument[1];
    const ERL_NIF_TERM *request, *from;
    int arity, from_arity;

    if (!enif_get_tuple(env, argument[0], &arity, &request) || arity < 2)
        return;
    if (enif_get_tuple(env, requester, &from_arity, &from) && from_arity == 2)
        requester = from[0];
    if (!is_local_pid(env, requester))
        return;
    /* The module is the first atom after the name of the request ({load_abs, File, Module}, {load_module, PC, Module, ..}). */
    for (int i = 1; i < arity && i < 4 && module == NO_WORD; i++)
        if (enif_is_atom(env, request[i]))
            module = request[i];
    purge_asked(coroner->purge, requester, module,
                request[0] == atoms.purge ? OPERATION_PURGE : OPERATION_LOAD);
}

/* code:purge/1, code:load_file/1 and the rest of what can lead to a purge, in the context of who wants it. */
static void on_code_call(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM caller,
                         const ERL_NIF_TERM *mfa, const ERL_NIF_TERM *argument, uint32_t count,
                         ERL_NIF_TERM options)
{
    purge_code_call(coroner->purge, caller, enif_is_atom(env, argument[0]) ? argument[0] : NO_WORD,
                    called_function(coroner, mfa, count), site_of(coroner, env, options),
                    mfa[0] == atoms.erts_code_purger);
}

static void on_call(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM caller = argv[2], argument[4];
    const ERL_NIF_TERM *mfa;
    uint32_t count;
    int arity;

    if (!enif_get_tuple(env, argv[3], &arity, &mfa) || arity != 3)
        return;
    count = list_elements(env, mfa[2], argument, 4);
    if (mfa[0] == atoms.erlang) {
        if (mfa[1] == atoms.exit && count == 1)
            on_own_call(coroner, env, caller, mfa, argument, count, argv[4]);
        else if ((mfa[1] == atoms.exit || mfa[1] == atoms.exit_signal) && count >= 2)
            on_signal_call(coroner, env, caller, mfa, argument, count, argv[4]);
        else if (mfa[1] == atoms.raise && count == 3 && argument[0] == atoms.exit)
            on_own_call(coroner, env, caller, mfa, argument, count, argv[4]);
        else if (mfa[1] == atoms.process_flag && count == 2)
            on_process_flag(coroner, caller, argument);
        else if (mfa[1] == atoms.halt)
            /* After this there is no node: what is in the journal has one chance to get out. */
            (void)uplink_drain(coroner->uplink, HALT_WAIT_MS);
        else if (mfa[1] == atoms.purge_module && count == 1)
            on_code_call(coroner, env, caller, mfa, argument, count, argv[4]);
    } else if (mfa[0] == atoms.erts_code_purger && mfa[1] == atoms.handle_request && count == 2) {
        on_purger_request(coroner, env, argument[0]);
    } else if (mfa[0] == atoms.erts_internal && mfa[1] == atoms.purge_module && count == 2) {
        if (argument[1] == atoms.complete || argument[1] == atoms.abort)
            purge_end(coroner->purge);
    } else if (mfa[0] == atoms.code_server && mfa[1] == atoms.handle_call && count == 3) {
        on_code_server_request(coroner, env, argument);
    } else if (count >= 1) {
        on_code_call(coroner, env, caller, mfa, argument, count, argv[4]);
    }
}

ERL_NIF_TERM tracer_trace(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct coroner *coroner = coroner_of(env);

    (void)argc;
    if (!is_armed(coroner, argv[1]))
        return atoms.ok;
    if (argv[0] == atoms.call && argv[2] == atomic_load_explicit(&coroner->probing, memory_order_relaxed))
        atomic_fetch_add_explicit(&coroner->probes_seen, 1, memory_order_relaxed);
    else if (argv[0] == atoms.call)
        on_call(coroner, env, argv);
    else
        on_process_event(coroner, env, argv);
    return atoms.ok;
}
