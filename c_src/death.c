/* Exits: what is known of the process is weighed, its record made, and those linked to it told. */
#include "alloc.h"
#include "atoms.h"
#include "callbacks.h"
#include "clock.h"
#include "housekeeping.h"
#include "term.h"

#define PUSHES_MAX 64        /* peers that an exit writes to; with more links it goes to the wide table */
#define FREED_AT_ONCE 256    /* links whose set a callback frees itself; a larger one goes to the reaper */
#define LINKS_LOOKED_AT 64   /* links that an exit looks through for the dead and the remote */
#define EVIDENCE_LIFE_NS (UINT64_C(60) * 1000 * 1000 * 1000)
#define WALL_AGE_NS 1000000 /* so soon a wall clock that is set, or that went on while the machine was stopped, is followed */
#define PULLS 8              /* deaths out of the wide table that one exit weighs */
#define SUPPOSED 8           /* causes that links alone suggest */

/* An exit this soon after arming, of a process that lived before, may have a cause that was not seen. */
#define BLIND_NS (UINT64_C(1) * 1000 * 1000 * 1000)

/* One piece of evidence as the exit sees it: from its entry, out of the wide table, or supposed from its links. */
struct weighed {
    struct evidence *evidence; /* NULL when not from its entry */
    struct record *peer;       /* of a linked peer; borrowed from the evidence, or held for a pull */
    struct detail *detail;     /* borrowed from the evidence, or held */
};

struct weighing {
    struct evidence_facts facts[LEDGER_EVIDENCE + PULLS + SUPPOSED];
    struct weighed of[LEDGER_EVIDENCE + PULLS + SUPPOSED];
    size_t count;
    size_t held_from; /* index of the first one that is not from its entry */
    bool unseen_left_out; /* a link to one that died outside the scope found no place here */
};

static void weigh_entry(struct weighing *weighing, const struct entry *entry)
{
    for (struct evidence *evidence = entry->evidence;
         evidence != NULL && weighing->count < LEDGER_EVIDENCE; evidence = evidence->next) {
        size_t i = weighing->count++;

        weighing->of[i] = (struct weighed){
            .evidence = evidence, .peer = evidence->record, .detail = evidence->detail};
        weighing->facts[i] = (struct evidence_facts){
            .kind = evidence->kind,
            .as = evidence->as,
            .is_kill = evidence->is_kill,
            .may_be_lost = evidence->may_be_lost,
            .is_self = evidence->from == entry->pid,
            .is_parent = evidence->from == entry->parent && entry->parent != NO_WORD,
            .still_linked =
                (evidence->kind == EVIDENCE_LINKED || evidence->kind == EVIDENCE_PORT) &&
                linkset_contains(&entry->links, evidence->from),
            .from_parent = evidence->from_parent,
            .from_stop = evidence->from_stop,
            .by_call = (evidence->kind == EVIDENCE_EXIT || evidence->kind == EVIDENCE_RAISE) &&
                       evidence->act != NULL,
            .shape = evidence->shape,
            .reason = evidence->print,
            .time_ns = evidence->time_ns,
        };
    }
    weighing->held_from = weighing->count;
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
    for (size_t p = 0; p < count; p++) {
        struct record *peer = pulled[p];
        size_t i = weighing->count++;

        weighing->of[i] = (struct weighed){.peer = peer};
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

bool died_outside(struct coroner *coroner, ErlNifEnv *env, term_word pid)
{
    uint32_t initial_call;
    struct record *record;
    ErlNifPid process;

    if (scope_kind_of(coroner->scope) == SCOPE_ALL || !enif_get_local_pid(env, (ERL_NIF_TERM)pid, &process) ||
        ledger_knows(coroner->ledger, pid) || enif_is_process_alive(env, &process) ||
        ledger_quiet_of(coroner->ledger, pid, &initial_call) != QUIET_NONE)
        return false;
    if ((record = journal_by_pid(coroner->journal, pid)) == NULL)
        return true;
    record_drop(record);
    return false;
}

void on_outside_gone(struct coroner *coroner, term_word pid, term_word peer, uint64_t now_ns)
{
    struct evidence *evidence;

    /* Without trapping it would have died of it, unless that was `normal`. */
    if (!ledger_traps(coroner->ledger, pid) ||
        (evidence = evidence_new(EVIDENCE_UNSEEN, now_ns)) == NULL)
        return;
    evidence->from = peer;
    (void)ledger_evidence(coroner->ledger, pid, evidence);
}

static struct weighed *suppose(struct weighing *weighing, enum evidence_kind kind)
{
    size_t i = weighing->count;
    struct detail *detail;

    if (i - weighing->held_from >= PULLS + SUPPOSED || (detail = detail_new()) == NULL)
        return NULL;
    weighing->count++;
    weighing->of[i] = (struct weighed){.detail = detail};
    weighing->facts[i] = (struct evidence_facts){.kind = (uint8_t)kind};
    return &weighing->of[i];
}

/* Supposes that a link to a process that was dead already ended it: the VM then answers with noproc. */
static void suppose_dead(struct coroner *coroner, ErlNifEnv *env, struct weighing *weighing,
                         const term_word *links, size_t count)
{
    for (size_t l = 0; l < count; l++) {
        struct weighed *dead;
        ErlNifPort port;
        ErlNifPid process;
        bool told = false;

        if (remotes_is_word(links[l]) || ledger_knows(coroner->ledger, links[l]) ||
            (enif_get_local_port(env, links[l], &port) && enif_is_port_alive(env, &port)))
            continue;
        /* It may live outside the scope. */
        if (enif_get_local_pid(env, links[l], &process) && enif_is_process_alive(env, &process))
            continue;
        /* Of one that died while it was linked there is evidence; out of the wide table it may be older. */
        for (size_t i = 0; i < weighing->count && !told; i++)
            told = (weighing->facts[i].kind == EVIDENCE_LINKED ||
                    weighing->facts[i].kind == EVIDENCE_PORT) &&
                   (weighing->of[i].evidence != NULL
                        ? weighing->of[i].evidence->from == links[l]
                        : weighing->of[i].peer->who.pid == links[l] &&
                              weighing->of[i].peer->shape == REASON_NOPROC);
        if (!told && (dead = suppose(weighing, EVIDENCE_DEAD)) != NULL)
            dead->detail->target = links[l];
    }
}

/* Supposes that a link to another node's process, or the loss of that node, ended it. */
static void suppose_remote(struct coroner *coroner, struct weighing *weighing, enum reason_shape shape,
                           const term_word *links, size_t count)
{
    for (size_t l = 0; l < count; l++) {
        struct remote_pid remote = {.node = NO_WORD};
        struct weighed *one = NULL;
        bool known;

        if (!remotes_is_word(links[l]))
            continue;
        known = remotes_find(coroner->remotes, links[l], &remote);
        /* A lost connection is one cause, however many links went over it. */
        for (size_t i = weighing->held_from; shape == REASON_NOCONNECTION && i < weighing->count; i++)
            if (weighing->facts[i].kind == EVIDENCE_REMOTE &&
                weighing->of[i].detail->node == remote.node)
                one = &weighing->of[i];
        if (one != NULL) {
            one->detail->has_remote_target = false;
        } else if ((one = suppose(weighing, EVIDENCE_REMOTE)) != NULL) {
            one->detail->node = remote.node;
            one->detail->has_remote_target = known;
            one->detail->target_number = remote.number;
            one->detail->target_serial = remote.serial;
        }
    }
}

/* Supposes that a linked process that died outside the scope ended it: with which reason that did, was not seen. */
static void suppose_unseen(struct coroner *coroner, ErlNifEnv *env, struct weighing *weighing,
                           const struct entry *entry, const term_word *links, size_t count)
{
    for (size_t l = 0; l < count; l++) {
        struct weighed *unseen;

        if (remotes_is_word(links[l]) || !died_outside(coroner, env, links[l]))
            continue;
        if ((unseen = suppose(weighing, EVIDENCE_UNSEEN)) == NULL) {
            weighing->unseen_left_out = true;
            continue;
        }
        unseen->detail->target = links[l];
        weighing->facts[weighing->count - 1].still_linked = true;
        weighing->facts[weighing->count - 1].is_parent = links[l] == entry->parent;
    }
}

/* What is outside the scope may have ended it. */
static bool is_lost_to_scope(const struct coroner *coroner, const struct weighing *weighing,
                             const struct entry *entry, uint64_t time_ns)
{
    if (scope_kind_of(coroner->scope) == SCOPE_ALL)
        return false;
    for (size_t i = 0; i < weighing->count; i++)
        if (weighing->facts[i].kind == EVIDENCE_UNSEEN &&
            (weighing->facts[i].still_linked || weighing->facts[i].time_ns > time_ns ||
             time_ns - weighing->facts[i].time_ns <= ATTRIBUTION_TRAPPED_AGE_NS))
            return true;
    return weighing->unseen_left_out || entry->links.count > LINKS_LOOKED_AT;
}

static void weigh_links(struct coroner *coroner, ErlNifEnv *env, struct weighing *weighing,
                        const struct entry *entry, const struct exit_facts *facts)
{
    term_word links[LINKS_LOOKED_AT];
    size_t count;

    /* Neither can have ended one that traps exits, nor makes it `normal`. */
    if (facts->trapping || facts->shape == REASON_NORMAL || facts->shape == REASON_RPC_REPLY ||
        entry->links.count == 0)
        return;
    count = linkset_list(&entry->links, links, LINKS_LOOKED_AT);
    /* The VM says the bare atom then; {noproc, {gen_server, call, ..}} and the like a process says itself. */
    if (fingerprint_same(facts->reason, (struct fingerprint){.hash = atoms.noproc, .whole = true}))
        suppose_dead(coroner, env, weighing, links, count);
    suppose_remote(coroner, weighing, (enum reason_shape)facts->shape, links, count);
    if (scope_kind_of(coroner->scope) != SCOPE_ALL)
        suppose_unseen(coroner, env, weighing, entry, links, count);
}

/* Of a linked process that died outside the scope its pid is known; else NO_WORD. */
static struct who unseen_peer(struct coroner *coroner, const struct weighing *weighing, int index)
{
    struct who who = {.pid = NO_WORD};

    if (weighing->facts[index].kind != EVIDENCE_UNSEEN)
        return who;
    who.pid = weighing->of[index].evidence != NULL ? weighing->of[index].evidence->from
                                                   : weighing->of[index].detail->target;
    (void)bystanders_find(coroner->bystanders, &who);
    return who;
}

static void weighing_end(struct weighing *weighing)
{
    for (size_t i = weighing->held_from; i < weighing->count; i++) {
        record_drop(weighing->of[i].peer);
        detail_drop(weighing->of[i].detail);
    }
}

static bool evidence_may_be_lost(struct coroner *coroner, const struct entry *entry, uint64_t now)
{
    uint64_t evicted = wide_evicted_ns(coroner->wide);

    if (entry->flags & ENTRY_UNSEEDED)
        return true;
    if (now < atomic_load_explicit(&coroner->blind_until_ns, memory_order_relaxed))
        return true;
    if ((entry->flags & ENTRY_SEEDED) && now - entry->begun_us * 1000 < BLIND_NS)
        return true;
    if (entry_evicted_s(entry) != 0 &&
        (entry_evicted_s(entry) == ENTRY_SURE_NEVER ||
         now < (uint64_t)entry_evicted_s(entry) * 1000000000 + EVIDENCE_LIFE_NS))
        return true;
    /* A linked death may have left the wide table before we looked. */
    return evicted != 0 && entry->links.count > 0 && now - evicted < EVIDENCE_LIFE_NS;
}

static void fill_candidates(struct coroner *coroner, struct record *record,
                            const struct verdict *verdict, const struct weighing *weighing)
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
        if ((candidate->via = unseen_peer(coroner, weighing, index)).pid != NO_WORD)
            continue;
        candidate->detail = detail_hold(weighing->of[index].detail);
        if (weighing->of[index].peer != NULL) {
            candidate->via = weighing->of[index].peer->who;
            candidate->seq = weighing->of[index].peer->seq;
        } else if (weighing->of[index].evidence != NULL) {
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
           source == CORONER_SOURCE_SELF_THROW || source == CORONER_SOURCE_NOPROC;
}

static void fill_stack(struct record *record, ErlNifEnv *env, const struct entry *entry,
                       ERL_NIF_TERM reason, const struct term_bytes *bytes)
{
    struct evidence *own = own_word(entry);
    const ERL_NIF_TERM *pair;
    int arity;

    if (record->shape == REASON_ERROR || record->shape == REASON_THROW ||
        record->source == CORONER_SOURCE_NOPROC) {
        if (!is_own_source(record->source))
            return;
        if (bytes->whole && record->reason != NULL)
            record->stack_in_reason = true;
        else if (enif_get_tuple(env, reason, &arity, &pair) && arity > 1)
            record->stack = term_stack(env, pair[1]);
    } else if (own != NULL && fingerprint_same(own->print, record->print)) {
        record->stack = text_hold(own->stack);
    }
}

/* {noproc, [{erlang, link, [Pid], _} | _]}: link/1 of a process that was dead (OTP 25 .. 29). Returns that, or NO_WORD. */
static term_word dead_target(ErlNifEnv *env, ERL_NIF_TERM reason)
{
    const ERL_NIF_TERM *pair, *frame;
    ERL_NIF_TERM head, tail, target;
    int arity;

    if (enif_get_tuple(env, reason, &arity, &pair) && arity == 2 && pair[0] == atoms.noproc &&
        enif_get_list_cell(env, pair[1], &head, &tail) &&
        enif_get_tuple(env, head, &arity, &frame) && arity == 4 && frame[0] == atoms.erlang &&
        frame[1] == atoms.link && enif_get_list_cell(env, frame[2], &target, &tail))
        return is_local_pid(env, target) ? target : NO_WORD;
    return NO_WORD;
}

static bool is_crasher(const struct coroner *coroner, const struct entry *entry)
{
    const struct function *call = intern_function_of(coroner->intern, entry->initial_call);

    return call != NULL && call->module == atoms.erts_internal && call->name == atoms.crasher;
}

/* Fills in what is known of a cause that left no evidence with the entry. */
static void fill_detail(struct coroner *coroner, struct record *record, const struct entry *entry,
                        term_word target)
{
    size_t nodes;

    if ((record->detail = detail_new()) == NULL)
        return;
    switch (record->source) {
    case CORONER_SOURCE_NOPROC:
        record->detail->target = target;
        break;
    case CORONER_SOURCE_NOCONNECTION:
        record->detail->node = entry->name; /* of a crasher: see on_spawned */
        break;
    case CORONER_SOURCE_REMOTE_SIGNAL:
        record->detail->node = remotes_only_node(coroner->remotes, &nodes);
        break;
    default:
        break;
    }
}

/* Takes what caused the exit into its record. `held`: the hold on the peer is ours; it is handed
 * over where it can be. */
static void fill_cause(struct record *record, struct weighed *cause, bool held)
{
    record->detail = detail_hold(cause->detail);
    if (cause->peer != NULL) {
        record->via = cause->peer->who;
        /* Over a link the reason is the same term: its text need not be made again. */
        record->reason = text_hold(cause->peer->reason);
        record->reason_atom = cause->peer->reason_atom;
        if (held && cause->peer->root == NULL) {
            /* Of a hub, whose record all that were linked to it hold, and whose memory is written
             * by all schedulers then. */
            record->depth = 1;
            record->root = cause->peer;
            cause->peer = NULL;
        } else {
            record_follow(record, cause->peer);
        }
    } else if (cause->evidence != NULL) {
        record->act = act_hold(cause->evidence->act);
    }
    if (record->source == CORONER_SOURCE_PORT)
        record->via = (struct who){.pid = cause->detail == NULL ? NO_WORD : cause->detail->port};
}

/*
 * What the wall clock shows at `now`, which the monotonic one does. Of many records in a
 * millisecond one looks at both clocks.
 */
static uint64_t wall_of(struct coroner *coroner, uint64_t now)
{
    uint64_t asked = atomic_load_explicit(&coroner->wall_asked_ns, memory_order_acquire);

    if (asked == 0 || (int64_t)(now - asked) > WALL_AGE_NS) { /* another may have asked since `now` */
        /* Whoever sees the new time below sees this offset, or a newer one. */
        atomic_store_explicit(&coroner->wall_offset_ns, wall_ns() - monotonic_ns(),
                              memory_order_relaxed);
        atomic_store_explicit(&coroner->wall_asked_ns, now, memory_order_release);
    }
    return now + atomic_load_explicit(&coroner->wall_offset_ns, memory_order_relaxed);
}

/* Makes the record of an exit, with its verdict. NULL without memory. */
static struct record *make_record(struct coroner *coroner, ErlNifEnv *env,
                                  const struct entry *entry, ERL_NIF_TERM reason,
                                  enum reason_shape shape, uint64_t now)
{
    struct record *record = record_new();
    struct term_bytes bytes;
    struct weighing weighing;
    struct exit_facts facts;
    struct verdict verdict;
    term_word target = NO_WORD;

    if (record == NULL)
        return NULL;
    if (shape == REASON_ERROR)
        target = dead_target(env, reason);
    weighing.count = 0;
    weighing.unseen_left_out = false;
    term_flatten(env, reason, &bytes);
    facts = (struct exit_facts){.reason = term_print_of(reason, &bytes),
                                .shape = (uint8_t)shape,
                                .trapping = (entry->flags & ENTRY_TRAPS) != 0,
                                .evidence_lost = evidence_may_be_lost(coroner, entry, now),
                                .in_proc_lib = (entry->flags & ENTRY_PROC_LIB) != 0,
                                .linked_to_dead = target != NO_WORD,
                                .is_crasher = is_crasher(coroner, entry),
                                .time_ns = now};
    record->supervision = supervisors_gone(coroner->supervisors, entry->pid);
    facts.has_decided = record->supervision != NULL;
    facts.is_distributed = remotes_has_nodes(coroner->remotes);
    weigh_entry(&weighing, entry);
    weigh_wide(coroner, &weighing, entry, facts.reason);
    weigh_links(coroner, env, &weighing, entry, &facts);
    facts.evidence_lost = facts.evidence_lost || is_lost_to_scope(coroner, &weighing, entry, facts.time_ns);
    verdict = attribute(&facts, weighing.facts, weighing.count);

    record->source = verdict.source;
    record->confidence = verdict.confidence;
    record->severity = (uint8_t)record_severity((enum coroner_source)verdict.source, shape);
    record->shape = (uint8_t)shape;
    record->trapping = facts.trapping;
    record->evidence_lost = facts.evidence_lost;
    record->only_class = coroner->only_class;
    record->who = (struct who){.pid = entry->pid,
                               .name = facts.is_crasher ? NO_WORD : entry->name,
                               .initial_call = entry->initial_call};
    record->parent = entry->flags & ENTRY_REMOTE ? NO_WORD : entry->parent;
    if (!(entry->flags & ENTRY_UNSEEDED))
        record->ancestors = ancestors_hold(entry->of.ancestors);
    record->monotonic_ns = now;
    record->time_ns = wall_of(coroner, now);
    record->age_known = !(entry->flags & ENTRY_SEEDED);
    record->age_us = now / 1000 - entry->begun_us;
    record->print = facts.reason;
    fill_candidates(coroner, record, &verdict, &weighing);
    if (verdict.evidence >= 0)
        record->via = unseen_peer(coroner, &weighing, verdict.evidence);
    if (verdict.evidence >= 0 && record->via.pid == NO_WORD)
        fill_cause(record, &weighing.of[verdict.evidence],
                   (size_t)verdict.evidence >= weighing.held_from);
    if (record->detail == NULL && (record->source == CORONER_SOURCE_NOPROC ||
                                   record->source == CORONER_SOURCE_NOCONNECTION ||
                                   record->source == CORONER_SOURCE_REMOTE_SIGNAL))
        fill_detail(coroner, record, entry, target);
    if (record->reason == NULL && record->reason_atom == NO_WORD && !record->only_class) {
        if (word_is_atom(reason))
            record->reason_atom = reason;
        else
            record->reason = flat_new(bytes.bytes, bytes.length);
    }
    if (!record->only_class)
        fill_stack(record, env, entry, reason, &bytes);
    record->severity = (uint8_t)housekeeping_severity(coroner, record, reason);
    weighing_end(&weighing);
    return record;
}

void tell_peers(struct coroner *coroner, const struct entry *entry, struct record *record)
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

        if (remotes_is_word(peers[i]) || !ledger_knows(coroner->ledger, peers[i]))
            continue; /* dead already, or another node's */
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

/* Evidence that only one kind of exit needs: whether the entry has any of it. */
static bool has_evidence(const struct entry *entry, enum evidence_kind kind)
{
    const struct evidence *evidence = entry->evidence;

    while (evidence != NULL && evidence->kind != kind)
        evidence = evidence->next;
    return evidence != NULL;
}

/* Ends an exit of which no record is made. */
static void count_normal(struct coroner *coroner, ERL_NIF_TERM pid, const struct entry *of)
{
    atomic_fetch_add_explicit(&coroner->normal, 1, memory_order_relaxed);
    ledger_quiet(coroner->ledger, pid, of->initial_call, QUIET_NORMAL);
}

static bool records_normal(const struct coroner *coroner)
{
    return coroner->record_sources & 1U << CORONER_SOURCE_NORMAL;
}

/* An exit that is more than one with `normal` and no evidence. `entry` is NULL where the process
 * was not known. */
static __attribute__((noinline)) void weigh_exit(struct coroner *coroner, ErlNifEnv *env,
                                                 ERL_NIF_TERM pid, ERL_NIF_TERM reason,
                                                 struct entry *entry)
{
    struct entry unknown = {.pid = pid, .flags = ENTRY_UNSEEDED | ENTRY_SEEDED};
    const struct entry *of;
    enum reason_shape shape;
    bool is_harmless;
    struct record *record;

    /* Outside the scope, and its flags are not off yet. */
    if (entry == NULL && scope_kind_of(coroner->scope) != SCOPE_ALL) {
        (void)scope_left(coroner->scope, pid);
        return;
    }
    of = entry != NULL ? entry : &unknown;
    shape = term_reason_shape(env, reason);
    if (shape == REASON_RPC_REPLY && !is_rpc_worker(coroner, of))
        shape = REASON_OTHER;
    /*
     * `normal` ends nobody over a link; the reply of an rpc worker does: what the call had linked to it. Where somebody
     * asked it to stop, that is worth a record.
     */
    is_harmless = (shape == REASON_NORMAL && !has_evidence(of, EVIDENCE_STOP)) || (shape == REASON_RPC_REPLY && of->links.count == 0 &&
                                             !(of->flags & ENTRY_UNSEEDED));
    if (is_harmless && !records_normal(coroner)) {
        supervision_drop(supervisors_gone(coroner->supervisors, pid));
        count_normal(coroner, pid, of);
        if (entry != NULL)
            drop_entry(coroner, entry);
        return;
    }
    journal_prefetch(coroner->journal, pid);
    if ((record = make_record(coroner, env, of, reason, shape, monotonic_ns())) == NULL) {
        atomic_fetch_add_explicit(&coroner->without_memory, 1, memory_order_relaxed);
        if (entry != NULL)
            drop_entry(coroner, entry);
        return;
    }
    atomic_fetch_add_explicit(&coroner->by_source[record->source], 1, memory_order_relaxed);
    if ((coroner->record_sources & 1U << record->source) || (coroner->record_shapes & 1U << shape)) {
        journal_add(coroner->journal, record);
        uplink_wake(coroner->uplink);
    } else if (record->source == CORONER_SOURCE_NORMAL) {
        count_normal(coroner, pid, of);
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

void on_exited(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM reason)
{
    struct normal_exit normal;

    if (reason != atoms.normal || records_normal(coroner)) {
        weigh_exit(coroner, env, pid, reason, ledger_exit(coroner->ledger, pid));
        return;
    }
    /* Most exits are such, and nearly all of them are done with this. */
    normal = ledger_exit_normal(coroner->ledger, pid);
    if (!normal.is_all)
        weigh_exit(coroner, env, pid, reason, normal.entry);
    else if (supervisors_may_have(coroner->supervisors, pid))
        supervision_drop(supervisors_gone(coroner->supervisors, pid));
}
