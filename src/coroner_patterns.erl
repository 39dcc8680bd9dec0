%% What is traced: the flags of every process, and the functions whose calls are seen. What differs between OTP
%% releases is found out here: which functions there are.
-module(coroner_patterns).

-export([load/0, all/0, functions/0, exists/1, flags/0, port_flags/0]).

-export_type([pattern/0]).

-type pattern() :: {mfa(), ets:match_spec() | true}.

%% @doc The trace flags of a process.
-spec flags() -> [atom()].
flags() ->
    %% Of garbage collections only gc_max_heap_size is taken: the VM asks for each of the others, and is told no.
    [procs, garbage_collection].

%% @doc The trace flags of a port.
-spec port_flags() -> [atom()].
port_flags() ->
    [ports].

%% A pattern on a module that is not loaded is lost. All of these are in every node that runs, but for `sys': it comes
%% with the first request of its kind, and that is to be seen.
-define(NEEDED, [sys]).

%% @doc Loads what has to be there for the patterns: modules of OTP's own.
-spec load() -> ok.
load() ->
    lists:foreach(fun code:ensure_loaded/1, ?NEEDED).

%% @doc All functions that may be traced, whatever the scope.
-spec functions() -> [mfa()].
functions() ->
    [{application_master, init, 3}, {application_master, init, 4} | [MFA || {MFA, _} <- all()]].

%% @doc The functions whose calls are traced, as far as this OTP has them.
-spec all() -> [pattern()].
all() ->
    Caller = [{'_', [], [{message, {caller_line}}]}],
    [{MFA, Spec}
     || {{Module, _, _} = MFA, Spec} <-
            %% Who ends whom.
            [{{erlang, exit, 1}, Caller},
             {{erlang, exit, 2}, Caller},
             {{erlang, exit, 3}, Caller},
             {{erlang, exit_signal, 2}, Caller},
             {{erlang, exit_signal, 3}, Caller},
             %% How a process of proc_lib ends itself: proc_lib:exit_p/3 raises with the stack of the cause.
             {{erlang, raise, 3}, [{[exit, '_', '_'], [], []}]},
             {{erlang, process_flag, 2}, [{[trap_exit, '_'], [], []}, {[max_heap_size, '_'], [], []}]},
             %% What a supervisor does, and so why it ends its children: see c_src/supervision.h.
             {{supervisor, shutdown, 1}, true},
             {{supervisor, terminate_dynamic_children, 1}, true},
             {{supervisor, restart, 2}, true},
             {{supervisor, restart, 3}, true},
             {{supervisor, restart_multiple_children, 3}, true},
             {{supervisor, do_auto_shutdown, 2}, [{[{child, '_', '_', '_', '_', true, '_', '_', '_'}, '_'], [], []}]},
             {{supervisor, handle_call, 3}, [{[{terminate_child, '_'}, '_', '_'], [], []}]},
             {{supervisor, terminate, 2}, true},
             %% Who wants a process to stop, and from where: the first functions call the later ones.
             {{gen_server, stop, 1}, Caller},
             {{gen_server, stop, 3}, Caller},
             {{gen_statem, stop, 1}, Caller},
             {{gen_statem, stop, 3}, Caller},
             {{gen_event, stop, 1}, Caller},
             {{gen_event, stop, 3}, Caller},
             {{proc_lib, stop, 1}, Caller},
             {{proc_lib, stop, 3}, Caller},
             {{sys, terminate, 2}, Caller},
             {{sys, terminate, 3}, Caller},
             {{application, stop, 1}, Caller},
             {{init, stop, 0}, Caller},
             {{init, stop, 1}, Caller},
             {{init, restart, 0}, Caller},
             {{init, reboot, 0}, Caller},
             %% After this there is no node.
             {{erlang, halt, 2}, true},
             %% Which module a purge is of, while it lasts; and whom code_server asked for it.
             {{erts_code_purger, handle_request, 2}, [{[{'_', '_', '_', '_'}, '_'], [], []}]},
             {{erts_internal, purge_module, 2}, true},
             {{code_server, handle_call, 3}, code_server_spec()},
             %% From where the one who wants it asked.
             {{code, purge, 1}, Caller},
             {{code, soft_purge, 1}, Caller},
             {{code, load_file, 1}, Caller},
             {{code, load_abs, 1}, Caller},
             {{code, load_binary, 3}, Caller},
             {{code, atomic_load, 1}, Caller},
             {{code, finish_loading, 1}, Caller},
             {{erlang, purge_module, 1}, Caller},
             {{erts_code_purger, purge, 1}, Caller}],
        erlang:module_loaded(Module),
        exists(MFA)].

%% @doc Whether there is such a function, in a module that is loaded.
-spec exists(mfa()) -> boolean().
exists({Module, Name, Arity}) ->
    %% handle_request/2 is not exported, but traced as a local function.
    lists:member({Name, Arity}, Module:module_info(functions))
        orelse erlang:function_exported(Module, Name, Arity)
        orelse erlang:is_builtin(Module, Name, Arity).

%% The requests that can lead to a purge: their name is the first element.
code_server_spec() ->
    Names = [purge, load_file, load_abs, load_binary, load_module, ensure_loaded, finish_loading],
    Is = [{'=:=', {element, 1, '$1'}, Name} || Name <- Names],
    [{['$1', '_', '_'], [{is_tuple, '$1'}, list_to_tuple(['orelse' | Is])], []}].
