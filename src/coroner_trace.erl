%% What is traced, and how it is switched on and off. What differs between OTP releases is found out here,
%% at start: which functions there are, and whether there are trace sessions.
%%
%% On OTP 25 a process and a function can have one tracer each. So nothing is taken that another tool holds.
-module(coroner_trace).

-export([arm/1, disarm/0, trace_processes/2, intact/1, patterns/0]).

-export_type([state/0]).

-type state() :: pos_integer().
-type pattern() :: {mfa(), ets:match_spec() | true}.

-define(CHUNK, 1000).

%% @doc Sets the patterns and the flag for processes to come.
-spec arm(state()) -> ok | {error, {other_tracer, term()} | {no_pattern, [mfa()]}}.
arm(State) ->
    case foreign_tracer(new_processes) of
        {true, Tracer} ->
            {error, {other_tracer, Tracer}};
        false ->
            Patterns = patterns(),
            case [MFA || {MFA, Spec} <- Patterns, set_pattern(MFA, Spec, State) =/= 1] of
                [] ->
                    %% `new' first, then pid by pid: `all' stops the node while the VM walks its table.
                    _ = erlang:trace(new_processes, true, flags(State)),
                    ok;
                Missing ->
                    clear_patterns(Patterns),
                    {error, {no_pattern, Missing}}
            end
    end.

%% @doc Takes off what arm/1 and trace_processes/2 set, of whatever start, and nothing of anybody else's.
-spec disarm() -> ok.
disarm() ->
    case foreign_tracer(new_processes) of
        false -> _ = erlang:trace(new_processes, false, [procs]), ok;
        {true, _} -> ok
    end,
    clear_patterns([Pattern || {MFA, _} = Pattern <- patterns(), is_ours(MFA) orelse is_nobodys(MFA)]),
    untrace(processes(), 0).

untrace([], _Count) ->
    ok;
untrace(Pids, ?CHUNK) ->
    pause(),
    untrace(Pids, 0);
untrace([Pid | Pids], Count) ->
    try erlang:trace_info(Pid, tracer) of
        {tracer, {coroner_nif, _}} -> erlang:trace(Pid, false, [procs]);
        _ -> 0
    catch
        error:badarg -> 0 % it has died
    end,
    untrace(Pids, Count + 1).

%% The scheduler this runs on has others to run.
pause() ->
    receive after 1 -> ok end.

%% @doc Traces these processes. Returns those that cannot be: they have died, or another tool traces them.
-spec trace_processes([pid()], state()) -> [pid()].
trace_processes(Pids, State) ->
    Flags = flags(State),
    [Pid || Pid <- Pids, not trace_process(Pid, Flags)].

trace_process(Pid, Flags) ->
    %% erlang:trace/3 logs an error when somebody else traces Pid, so ask first.
    try erlang:trace_info(Pid, flags) =:= {flags, []} andalso erlang:trace(Pid, true, Flags) =:= 1
    catch error:badarg -> false
    end.

flags(State) ->
    [procs, {tracer, coroner_nif, State}].

foreign_tracer(What) ->
    case erlang:trace_info(What, tracer) of
        {tracer, []} -> false;
        {tracer, {coroner_nif, _}} -> false;
        {tracer, Other} -> {true, Other}
    end.

%% @doc Whether everything that arm/1 set is still there.
-spec intact(state()) -> boolean().
intact(State) ->
    erlang:trace_info(new_processes, tracer) =:= {tracer, {coroner_nif, State}}
        andalso lists:all(fun({MFA, _}) -> is_ours(MFA) end, patterns()).

is_ours(MFA) ->
    case erlang:trace_info(MFA, meta) of
        {meta, {coroner_nif, _}} -> true;
        _ -> false
    end.

%% What is left of a pattern whose tracer module was unloaded.
is_nobodys(MFA) ->
    erlang:trace_info(MFA, meta) =:= {meta, []}.

%% Meta patterns see every caller, traced or not, and put no flag on any process.
set_pattern(MFA, Spec, State) ->
    case erlang:trace_info(MFA, meta) of
        {meta, Nobody} when Nobody =:= false; Nobody =:= []; Nobody =:= undefined ->
            erlang:trace_pattern(MFA, Spec, [{meta, coroner_nif, State}]);
        {meta, {coroner_nif, _}} ->
            erlang:trace_pattern(MFA, Spec, [{meta, coroner_nif, State}]);
        {meta, _SomebodyElse} ->
            0
    end.

clear_patterns(Patterns) ->
    _ = [erlang:trace_pattern(MFA, false, [meta]) || {MFA, _} <- Patterns],
    ok.

%% @doc The functions whose calls are traced, as far as this OTP has them.
-spec patterns() -> [pattern()].
patterns() ->
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
