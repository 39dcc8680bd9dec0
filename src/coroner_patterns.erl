%% What is traced: the flags of every process, and the functions whose calls are seen. What differs between OTP
%% releases is found out here: which functions there are.
-module(coroner_patterns).

-export([all/0, flags/0]).

-export_type([pattern/0]).

-type pattern() :: {mfa(), ets:match_spec() | true}.

%% @doc The trace flags of a process.
-spec flags() -> [atom()].
flags() ->
    [procs].

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
             {{erlang, process_flag, 2}, [{[trap_exit, '_'], [], []}]},
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
