/*
 * Calls: of the functions that end a process, that stop or purge something, or that tell why a supervisor does what it
 * does. Each comes before what it leads to: the call of exit/2 before its signal is sent (call_bif's trace, OTP 25 .. 29).
 */
#include "alloc.h"
#include "atoms.h"
#include "callbacks.h"
#include "clock.h"
#include "term.h"

#define CHILD_ID_ROOM 200 /* bytes of a child's id as text */

/* One call as the functions below need it. */
struct call {
    struct coroner *coroner;
    ErlNifEnv *env;
    ERL_NIF_TERM caller; /* the process */
    ERL_NIF_TERM module, name;
    ERL_NIF_TERM argument[4];
    uint32_t count; /* of arguments, up to 4 */
    ERL_NIF_TERM options;
};

/* The place of the call, as {caller_line} gave it: {M, F, A, {File, Line}}, {M, F, A}, or undefined. */
static struct site site_of(const struct call *call)
{
    struct site site = {.function = INTERN_NONE};
    const ERL_NIF_TERM *caller, *place;
    ERL_NIF_TERM result;
    unsigned arity_of_caller, line;
    int arity;

    if (!enif_get_map_value(call->env, call->options, atoms.match_spec_result, &result) ||
        !enif_get_tuple(call->env, result, &arity, &caller) || arity < 3 ||
        !word_is_atom(caller[0]) || !word_is_atom(caller[1]) ||
        !enif_get_uint(call->env, caller[2], &arity_of_caller))
        return site;
    site.function = intern_function(
        call->coroner->intern,
        (struct function){.module = caller[0], .name = caller[1], .arity = arity_of_caller});
    if (arity == 4 && enif_get_tuple(call->env, caller[3], &arity, &place) && arity == 2 &&
        enif_get_uint(call->env, place[1], &line)) {
        char name[256];
        struct text_writer writer = text_writer_on(name, sizeof(name));

        if (term_chars(call->env, place[0], &writer) && writer.used > 0) {
            site.file = intern_file(call->coroner->intern, name, writer.used);
            site.line = line;
        }
    }
    return site;
}

static uint32_t called_function(const struct call *call)
{
    return intern_function(
        call->coroner->intern,
        (struct function){.module = call->module, .name = call->name, .arity = call->count});
}

/* Also one outside the scope is named, if it is registered. */
static struct who who_is(struct coroner *coroner, term_word pid)
{
    struct who who = ledger_who(coroner->ledger, pid);

    if (who.initial_call == INTERN_NONE)
        (void)bystanders_find(coroner->bystanders, &who);
    return who;
}

/* An act of the caller: who, and from where. NULL without memory. */
static struct act *act_of(const struct call *call)
{
    struct act *act = act_new();

    if (act == NULL)
        return NULL;
    act->by = who_is(call->coroner, call->caller);
    act->by_node = ledger_node_behind(call->coroner->ledger, call->caller);
    act->site = site_of(call);
    act->function = called_function(call);
    return act;
}

/* A call that asks for something which others do: from where, about what. */
static struct asked_from asked_from_of(const struct call *call, term_word subject)
{
    return (struct asked_from){.pid = call->caller,
                               .subject = subject,
                               .function = called_function(call),
                               .site = site_of(call)};
}

/* --- exit signals ------------------------------------------------------------------------------------- */

/* The application that the caller, its master or the master's starter, ends. */
static term_word application_of(const struct call *call)
{
    struct stops *stops = call->coroner->stops;
    term_word application = stops_application(stops, call->caller);

    return application != NO_WORD
               ? application
               : stops_application(stops, ledger_parent(call->coroner->ledger, call->caller));
}

/* The application, or the node, stops: who asked for that goes into the act, if it is known. */
static void name_stopper(const struct call *call, struct evidence *evidence, term_word application)
{
    struct act *act = evidence->act, *node = stops_node_act(call->coroner->stops);

    evidence->as = node != NULL || application == NO_WORD ? CORONER_SOURCE_NODE_STOP
                                                          : CORONER_SOURCE_APPLICATION_STOP;
    if (node != NULL) {
        act->by = node->by;
        act->by_node = node->by_node;
        act->by_sigterm = node->by_sigterm;
        act->site = node->site;
        act->function = node->function;
        act_drop(node);
    } else if (application != NO_WORD) {
        struct asked_from asked =
            stops_asked(call->coroner->stops, application);

        if (asked.pid != NO_WORD) {
            act->by = who_is(call->coroner, asked.pid);
            act->by_node = ledger_node_behind(call->coroner->ledger, asked.pid);
            act->site = asked.site;
            act->function = asked.function;
        }
    }
    act->application = application;
}

/* What the signal is more than exit/2, as the calling module and the sender tell. */
static void classify_signal(const struct call *call, struct evidence *evidence, term_word target)
{
    struct coroner *coroner = call->coroner;
    const struct function *from = intern_function_of(coroner->intern, evidence->act->site.function);

    if (from == NULL)
        return;
    if (from->module == atoms.supervisor &&
        (evidence->is_kill || evidence->shape == REASON_SHUTDOWN)) {
        evidence->act->supervision =
            supervisors_behind(coroner->supervisors, call->caller, target);
        if (!evidence->is_kill)
            evidence->as = CORONER_SOURCE_SUPERVISOR_SHUTDOWN;
        else if (ledger_shutdown_time(coroner->ledger, target, call->caller) != 0)
            evidence->as = CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL;
        else
            evidence->as = CORONER_SOURCE_SUPERVISOR_BRUTAL_KILL;
    } else if (from->module == atoms.application_master) {
        name_stopper(call, evidence, application_of(call));
    } else if (from->module == atoms.init) {
        name_stopper(call, evidence, NO_WORD);
    }
}

/* exit(Pid, Reason), and its like: written onto the target before the signal is sent. */
static void on_signal_call(const struct call *call)
{
    struct coroner *coroner = call->coroner;
    term_word target = call->argument[0];
    ERL_NIF_TERM reason = call->argument[1];
    bool is_alias = enif_is_ref(call->env, call->argument[0]);
    enum reason_shape shape;
    struct evidence *evidence;

    if (is_alias)
        target = alias_target(call->env, call->argument[0]);
    if (target == NO_WORD || !is_local_pid(call->env, (ERL_NIF_TERM)target) ||
        !ledger_knows(coroner->ledger, target))
        return; /* a port, another node's, or dead: it ends nobody here */
    shape = term_reason_shape(call->env, reason);
    /* Nor does `normal`, and it shall not push out what does. The parent's tells a supervisor to end its children. */
    if (shape == REASON_NORMAL && target != call->caller &&
        ledger_parent(coroner->ledger, target) != call->caller)
        return;
    if ((evidence = evidence_new(EVIDENCE_SIGNAL, monotonic_ns())) == NULL)
        return;
    evidence->from = call->caller;
    evidence->is_kill = reason == atoms.kill;
    evidence->may_be_lost = is_alias;
    evidence->shape = (uint8_t)shape;
    evidence->print = term_fingerprint(call->env, reason);
    if (evidence->is_kill && (evidence->act = purge_behind(coroner->purge, call->caller)) != NULL)
        evidence->as = CORONER_SOURCE_PURGE;
    else if ((evidence->act = act_of(call)) != NULL)
        classify_signal(call, evidence, target);
    (void)ledger_evidence(coroner->ledger, target, evidence);
}

/* --- what a process says of its own end --------------------------------------------------------------- */

/*
 * What the stack with which a behaviour ends shows. The parent's exit: the function that receives for a gen_server
 * (decode_msg) or a gen_statem (loop_receive) ends it itself then. A request to stop: system_terminate of either.
 */
static void read_stack(const struct call *call, struct evidence *evidence, ERL_NIF_TERM stack)
{
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *frame;
    int arity;

    for (int i = 0; i < 3 && enif_get_list_cell(call->env, stack, &head, &stack); i++) {
        if (!enif_get_tuple(call->env, head, &arity, &frame) || arity != 4)
            return;
        if ((frame[0] == atoms.gen_server && frame[1] == atoms.decode_msg) ||
            (frame[0] == atoms.gen_statem && frame[1] == atoms.loop_receive))
            evidence->from_parent = true;
        else if ((frame[0] == atoms.gen_server || frame[0] == atoms.gen_statem) &&
                 frame[1] == atoms.system_terminate)
            evidence->from_stop = true;
    }
}

/* exit(Reason), or raise(exit, Reason, Stack): what the process itself says it ends with. */
static void on_own_call(const struct call *call)
{
    struct coroner *coroner = call->coroner;
    bool raised = call->count == 3;
    ERL_NIF_TERM reason = call->argument[raised ? 1 : 0];
    enum reason_shape shape = term_reason_shape(call->env, reason);
    struct evidence *evidence;

    /* `normal` needs no proof, see on_exited; but whether somebody asked for it shows here. */
    if (shape == REASON_NORMAL && !(raised && ledger_has_stop(coroner->ledger, call->caller)))
        return;
    evidence = evidence_new(raised ? EVIDENCE_RAISE : EVIDENCE_EXIT, monotonic_ns());
    if (evidence == NULL)
        return;
    evidence->from = call->caller;
    evidence->shape = (uint8_t)shape;
    evidence->print = term_fingerprint(call->env, reason);
    if (raised) {
        read_stack(call, evidence, call->argument[2]);
        if (shape != REASON_SHUTDOWN && shape != REASON_ERROR && shape != REASON_THROW &&
            shape != REASON_NORMAL && !coroner->only_class)
            evidence->stack = term_stack(call->env, call->argument[2]);
    } else if ((evidence->act = act_new()) != NULL) {
        evidence->act->by.pid = call->caller;
        evidence->act->site = site_of(call);
        evidence->act->function = called_function(call);
    }
    (void)ledger_evidence(coroner->ledger, call->caller, evidence);
}

/* max_heap_size: an integer, or a map with `size`; 0 is no limit. */
static bool limit_of(ErlNifEnv *env, ERL_NIF_TERM value, uint64_t *words)
{
    ErlNifUInt64 number;
    ERL_NIF_TERM size = value;

    if (enif_is_map(env, value) && !enif_get_map_value(env, value, atoms.size, &size))
        return false;
    if (!enif_get_uint64(env, size, &number))
        return false;
    *words = number;
    return true;
}

static void on_process_flag(const struct call *call)
{
    struct ledger *ledger = call->coroner->ledger;
    uint64_t words;

    if (call->argument[0] == atoms.trap_exit &&
        (call->argument[1] == atoms.true_ || call->argument[1] == atoms.false_))
        ledger_trap(ledger, call->caller, call->argument[1] == atoms.true_);
    else if (call->argument[0] == atoms.max_heap_size &&
             limit_of(call->env, call->argument[1], &words))
        ledger_limit(ledger, call->caller, words);
}

/* --- purges ------------------------------------------------------------------------------------------- */

/* erts_code_purger:handle_request({purge, Module, From, Ref}, _), or {finish_after_on_load, {Module, Keep}, ..}. */
static void on_purger_request(const struct call *call)
{
    struct coroner *coroner = call->coroner;
    ErlNifEnv *env = call->env;
    ERL_NIF_TERM request = call->argument[0];
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
    if (!word_is_atom(module))
        return;
    purge_begin(coroner->purge, coroner->ledger, module, is_local_pid(env, from) ? from : NO_WORD,
                operation);
}

/* code_server:handle_call(Request, Requester, _); newer code servers have {Requester, Tag} there. */
static void on_code_server_request(const struct call *call)
{
    ErlNifEnv *env = call->env;
    const ERL_NIF_TERM *argument = call->argument;
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
        if (word_is_atom(request[i]))
            module = request[i];
    purge_asked(call->coroner->purge, requester, module,
                request[0] == atoms.purge ? OPERATION_PURGE : OPERATION_LOAD);
}

/* code:purge/1, code:load_file/1 and the rest of what can lead to a purge, in the context of who wants it. */
static void on_code_call(const struct call *call)
{
    term_word module = word_is_atom(call->argument[0]) ? call->argument[0] : NO_WORD;

    purge_code_call(call->coroner->purge, call->caller, module, called_function(call), site_of(call),
                    call->module == atoms.erts_code_purger);
}

/* --- requests to stop --------------------------------------------------------------------------------- */

/* gen_server:stop(Process, ..) and its like, which call proc_lib:stop(Process, ..), which calls sys:terminate(..). */
static void on_stop_call(const struct call *call)
{
    term_word target = is_local_pid(call->env, call->argument[0]) ? call->argument[0] : NO_WORD;

    stops_call(call->coroner->stops, asked_from_of(call, target), call->module == atoms.proc_lib);
}

/* sys:terminate(Process, Reason, ..): the request itself. By now a name has been turned into a pid. */
static void on_terminate_request(const struct call *call)
{
    struct coroner *coroner = call->coroner;
    term_word target = call->argument[0];
    struct asked_from asked;
    struct evidence *evidence;

    if (!is_local_pid(call->env, call->argument[0]) || !ledger_knows(coroner->ledger, target) ||
        (evidence = evidence_new(EVIDENCE_STOP, monotonic_ns())) == NULL)
        return;
    evidence->from = call->caller;
    evidence->shape = (uint8_t)term_reason_shape(call->env, call->argument[1]);
    evidence->print = term_fingerprint(call->env, call->argument[1]);
    asked = stops_taken(coroner->stops, call->caller, target);
    if ((evidence->act = act_of(call)) != NULL && asked.pid != NO_WORD) {
        evidence->act->site = asked.site;
        evidence->act->function = asked.function;
    }
    (void)ledger_evidence(coroner->ledger, target, evidence);
}

/* init:stop/0,1, restart/0, reboot/0: from here on all that ends may end for this. */
static void on_node_stop(const struct call *call)
{
    struct act *act = act_of(call);
    const struct function *from;

    if (act == NULL)
        return;
    from = intern_function_of(call->coroner->intern, act->site.function);
    act->by_sigterm = from != NULL && from->module == atoms.erl_signal_handler;
    stops_node(call->coroner->stops, act);
    act_drop(act);
}

/* --- supervisors -------------------------------------------------------------------------------------- */

/* #child{pid, id, mfargs, restart_type, significant, shutdown, child_type, modules} (supervisor.erl, OTP 25 .. 29). */
static const ERL_NIF_TERM *child_of(ErlNifEnv *env, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *child;
    int arity;

    return enif_get_tuple(env, term, &arity, &child) && arity == 9 && child[0] == atoms.child
               ? child
               : NULL;
}

/* The pid of a child; of one that could not be restarted, {restarting, Pid}, the last it had. */
static term_word pid_of_child(ErlNifEnv *env, const ERL_NIF_TERM *child)
{
    const ERL_NIF_TERM *pair;
    int arity;

    if (is_local_pid(env, child[1]))
        return child[1];
    if (enif_get_tuple(env, child[1], &arity, &pair) && arity == 2 && is_local_pid(env, pair[1]))
        return pair[1];
    return NO_WORD;
}

/* A child that has ended: its record is there by now, if one was made. */
static struct who dead_child(const struct call *call, const ERL_NIF_TERM *child, uint64_t *seq)
{
    struct who who = {.pid = pid_of_child(call->env, child)};
    struct record *record =
        who.pid == NO_WORD ? NULL : journal_by_pid(call->coroner->journal, who.pid);

    *seq = 0;
    if (record != NULL) {
        who = record->who;
        *seq = record->seq;
    }
    record_drop(record);
    return who;
}

static uint64_t timeout_of_child(ErlNifEnv *env, const ERL_NIF_TERM *child)
{
    ErlNifUInt64 timeout;

    return enif_get_uint64(env, child[6], &timeout) ? timeout : TIMEOUT_NONE;
}

static void expect_signals_for(const struct call *call, const ERL_NIF_TERM *child, term_word pid)
{
    char buffer[CHILD_ID_ROOM];
    struct text_writer writer = text_writer_on(buffer, sizeof(buffer));

    term_format(call->env, child[2], &writer);
    supervisors_child(call->coroner->supervisors, call->caller, pid,
                      text_new(buffer, writer.used, writer.cut),
                      timeout_of_child(call->env, child));
}

/* terminate_dynamic_children(#state{children = {[Id], #{Id => Child}}}): the specification that all of them have. */
static void expect_signals_for_all(const struct call *call)
{
    const ERL_NIF_TERM *state, *children, *child = NULL;
    ErlNifMapIterator iterator;
    ERL_NIF_TERM key, value;
    int arity;

    if (!enif_get_tuple(call->env, call->argument[0], &arity, &state) || arity < 4 ||
        !enif_get_tuple(call->env, state[3], &arity, &children) || arity != 2 ||
        !enif_map_iterator_create(call->env, children[1], &iterator, ERL_NIF_MAP_ITERATOR_FIRST))
        return;
    if (enif_map_iterator_get_pair(call->env, &iterator, &key, &value))
        child = child_of(call->env, value);
    enif_map_iterator_destroy(call->env, &iterator);
    if (child != NULL)
        expect_signals_for(call, child, NO_WORD);
}

static void on_supervisor_call(const struct call *call)
{
    struct supervisors *supervisors = call->coroner->supervisors;
    const ERL_NIF_TERM *child = child_of(call->env, call->argument[0]);
    const ERL_NIF_TERM *from;
    struct who who;
    uint64_t seq;
    int arity;

    /* Of one outside the scope the end is not seen, at which what is known of it is dropped. */
    if (scope_kind_of(call->coroner->scope) != SCOPE_ALL &&
        !ledger_knows(call->coroner->ledger, call->caller))
        return;
    if (call->name == atoms.shutdown && call->count == 1) {
        if (child != NULL)
            expect_signals_for(call, child, child[1]);
    } else if (call->name == atoms.terminate_dynamic_children && call->count == 1) {
        expect_signals_for_all(call);
    } else if (call->name == atoms.restart && call->count == 2 && child != NULL) {
        who = dead_child(call, child, &seq);
        supervisors_restart(supervisors, call->caller, who, seq);
    } else if (call->name == atoms.restart && call->count == 3) {
        supervisors_restarts(supervisors, call->caller);
    } else if (call->name == atoms.restart_multiple_children && call->count == 3 && child != NULL) {
        who = dead_child(call, child, &seq);
        supervisors_siblings(supervisors, call->caller, who, seq);
    } else if (call->name == atoms.do_auto_shutdown && call->count == 2 && child != NULL) {
        who = dead_child(call, child, &seq);
        supervisors_significant(supervisors, call->caller, who, seq);
    } else if (call->name == atoms.terminate && call->count == 2) {
        supervisors_stops(supervisors, call->caller,
                          ledger_parent_signal(call->coroner->ledger, call->caller));
    } else if (call->name == atoms.handle_call && call->count == 3 &&
               enif_get_tuple(call->env, call->argument[1], &arity, &from) && arity == 2) {
        who = (struct who){.pid = NO_WORD};
        if (is_local_pid(call->env, from[0]))
            who = who_is(call->coroner, from[0]);
        supervisors_asked(supervisors, call->caller, who);
    }
}

/* --- which is which ----------------------------------------------------------------------------------- */

static void on_erlang_call(const struct call *call)
{
    if (call->name == atoms.exit && call->count == 1)
        on_own_call(call);
    else if ((call->name == atoms.exit || call->name == atoms.exit_signal) && call->count >= 2)
        on_signal_call(call);
    else if (call->name == atoms.raise && call->count == 3 && call->argument[0] == atoms.exit)
        on_own_call(call);
    else if (call->name == atoms.process_flag && call->count == 2)
        on_process_flag(call);
    else if (call->name == atoms.halt)
        coroner_last_words(call->coroner); /* after this there is no node */
    else if (call->name == atoms.purge_module && call->count == 1)
        on_code_call(call);
}

void on_call(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    struct call call = {.coroner = coroner, .env = env, .caller = argv[2], .options = argv[4]};
    const ERL_NIF_TERM *mfa;
    int arity;

    if (!enif_get_tuple(env, argv[3], &arity, &mfa) || arity != 3)
        return;
    call.module = mfa[0];
    call.name = mfa[1];
    call.count = list_elements(env, mfa[2], call.argument, 4);
    if (call.module == atoms.erlang) {
        on_erlang_call(&call);
    } else if (call.module == atoms.supervisor) {
        on_supervisor_call(&call);
    } else if (call.module == atoms.erts_code_purger && call.name == atoms.handle_request) {
        on_purger_request(&call);
    } else if (call.module == atoms.erts_internal && call.name == atoms.purge_module) {
        if (call.argument[1] == atoms.complete || call.argument[1] == atoms.abort)
            purge_end(coroner->purge);
    } else if (call.module == atoms.code_server && call.name == atoms.handle_call) {
        on_code_server_request(&call);
    } else if (call.module == atoms.sys && call.name == atoms.terminate && call.count >= 2) {
        on_terminate_request(&call);
    } else if (call.module == atoms.application_master) {
        on_master_started(coroner, env, call.caller, mfa[2]);
    } else if (call.module == atoms.init) {
        on_node_stop(&call);
    } else if (call.name == atoms.stop && call.count >= 1 && call.module == atoms.application) {
        stops_call(coroner->stops, asked_from_of(&call, call.argument[0]), false);
    } else if (call.name == atoms.stop && call.count >= 1) {
        on_stop_call(&call);
    } else if (call.count >= 1) {
        on_code_call(&call);
    }
}
