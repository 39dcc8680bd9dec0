/* Births: who was started by whom, with which function. */
#include "atoms.h"
#include "callbacks.h"
#include "clock.h"

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
            enif_get_tuple(env, init, &arity, &tuple) && arity == 3 && word_is_atom(tuple[1]))
            return (struct function){.module = atoms.supervisor, .name = tuple[1], .arity = 1};
        if (argument[0] == atoms.gen_server && callback == atoms.supervisor_bridge &&
            enif_get_list_cell(env, init, &head, &tail) && word_is_atom(head))
            return (struct function){.module = atoms.supervisor_bridge, .name = head, .arity = 1};
        if (word_is_atom(callback))
            return (struct function){.module = callback, .name = atoms.init, .arity = 1};
    }
    if (count > 4 && word_is_atom(argument[4]))
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
        if (!word_is_atom(head) && !is_local_pid(env, head))
            break;
        words[count++] = head;
    } while (count < RECORD_ANCESTORS && enif_get_list_cell(env, list, &head, &list));
    return count == 0 ? NULL : ancestors_new(words, count);
}

/* An application master is started with [.., ApplData, Type]; the second field of ApplData is the application. Returns that. */
static term_word note_application_master(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid,
                                         ERL_NIF_TERM arguments)
{
    ERL_NIF_TERM argument[8];
    uint32_t count = list_elements(env, arguments, argument, 8);
    const ERL_NIF_TERM *data;
    int arity;

    if (count < 2 || !enif_get_tuple(env, argument[count - 2], &arity, &data) || arity < 2 ||
        data[0] != atoms.appl_data || !word_is_atom(data[1]))
        return NO_WORD;
    stops_master(coroner->stops, pid, data[1]);
    return data[1];
}

/* The child of a process that is outside is outside; and that one is not in the ledger, as all others are. */
static bool is_born_outside(struct coroner *coroner, const struct birth *birth, term_word module,
                            term_word application)
{
    return scope_excludes(coroner->scope, module, application) ||
           (scope_excludes_children(coroner->scope) && birth->parent != NO_WORD &&
            !(birth->flags & ENTRY_REMOTE) && !ledger_knows(coroner->ledger, birth->parent));
}

void on_master_started(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM arguments)
{
    struct birth birth = {.pid = pid, .flags = ENTRY_PROC_LIB, .time_ns = monotonic_ns()};
    ERL_NIF_TERM argument[4];
    uint32_t count = list_elements(env, arguments, argument, 4);

    if (count < 3 || ledger_knows(coroner->ledger, pid))
        return;
    /* [.., Starter, ApplData, Type] (OTP 25 .. 29) */
    if (is_local_pid(env, argument[count - 3]))
        birth.parent = argument[count - 3];
    birth.initial_call = intern_function(
        coroner->intern,
        (struct function){.module = atoms.application_master, .name = atoms.init, .arity = count});
    (void)note_application_master(coroner, env, pid, arguments);
    ledger_spawned(coroner->ledger, &birth);
}

void on_spawned(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM parent,
                ERL_NIF_TERM options)
{
    struct birth birth = {.pid = pid, .parent = parent, .time_ns = monotonic_ns()};
    ERL_NIF_TERM extra, argument[5];
    const ERL_NIF_TERM *mfa;
    struct remote_pid remote;
    struct function call = {.module = NO_WORD};
    term_word application = NO_WORD;
    int arity;

    if (!is_local_pid(env, parent)) {
        birth.parent = NO_WORD;
        if (remote_pid_of(env, parent, &remote) && remote.node != NO_WORD) {
            birth.parent = remote.node;
            birth.flags |= ENTRY_REMOTE;
        }
    }
    if (enif_get_map_value(env, options, atoms.extra, &extra) &&
        enif_get_tuple(env, extra, &arity, &mfa) && arity == 3 && word_is_atom(mfa[0]) &&
        word_is_atom(mfa[1])) {
        uint32_t count = 0;

        if (mfa[0] == atoms.proc_lib && mfa[1] == atoms.init_p)
            count = list_elements(env, mfa[2], argument, 5);
        if (count >= 3) {
            birth.flags |= ENTRY_PROC_LIB;
            birth.ancestors = ancestors_from(env, argument[0], argument[1]);
        }
        if (count == 5 && word_is_atom(argument[2]) && word_is_atom(argument[3])) {
            call = translate_init(env, argument[2], argument[3], argument[4]);
            if (argument[2] == atoms.application_master)
                application = note_application_master(coroner, env, pid, argument[4]);
        } else {
            call = (struct function){
                .module = mfa[0], .name = mfa[1], .arity = list_length(env, mfa[2])};
        }
        birth.initial_call = intern_function(coroner->intern, call);
        /* The VM's stand-in for a process that could not be started on another node: its first argument. */
        if (call.module == atoms.erts_internal && call.name == atoms.crasher &&
            list_elements(env, mfa[2], argument, 1) == 1 && word_is_atom(argument[0]))
            birth.name = argument[0];
    }
    if (scope_kind_of(coroner->scope) == SCOPE_EXCLUDE &&
        is_born_outside(coroner, &birth, call.module, application)) {
        ancestors_drop(birth.ancestors);
        scope_leave(coroner->scope, pid);
        return;
    }
    ledger_spawned(coroner->ledger, &birth);
}
