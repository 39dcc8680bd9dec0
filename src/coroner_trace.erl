%% How tracing is switched on and off. What differs between OTP releases is found out here,
%% at start: which functions there are, and whether there are trace sessions.
%%
%% On OTP 25 a process and a function can have one tracer each. So nothing is taken that another tool holds.
-module(coroner_trace).

-export([arm/1, disarm/0, trace_processes/2, intact/1]).

-export_type([state/0]).

-type state() :: pos_integer().

-define(CHUNK, 1000).

%% @doc Sets the patterns and the flag for processes to come.
-spec arm(state()) -> ok | {error, {other_tracer, term()} | {no_pattern, [mfa()]}}.
arm(State) ->
    case foreign_tracer(new_processes) of
        {true, Tracer} ->
            {error, {other_tracer, Tracer}};
        false ->
            ok = coroner_patterns:load(),
            Patterns = coroner_patterns:all(),
            case [MFA || {MFA, Spec} <- Patterns, set_pattern(MFA, Spec, State) =/= 1] of
                [] ->
                    %% `new' first, then pid by pid: `all' stops the node while the VM walks its table.
                    _ = erlang:trace(new_processes, true, flags(State)),
                    _ = [trace_port(Port, State) || Port <- [new_ports | erlang:ports()]],
                    ok;
                Missing ->
                    clear_patterns(Patterns),
                    {error, {no_pattern, Missing}}
            end
    end.

trace_port(Port, State) ->
    try erlang:trace(Port, true, coroner_patterns:port_flags() ++ [{tracer, coroner_nif, State}])
    catch error:badarg -> 0 % it has closed, or somebody else traces it
    end.

%% @doc Takes off what arm/1 and trace_processes/2 set, of whatever start, and nothing of anybody else's.
-spec disarm() -> ok.
disarm() ->
    case foreign_tracer(new_processes) of
        false -> _ = erlang:trace(new_processes, false, coroner_patterns:flags()), ok;
        {true, _} -> ok
    end,
    clear_patterns([Pattern || {MFA, _} = Pattern <- coroner_patterns:all(), is_ours(MFA) orelse is_nobodys(MFA)]),
    _ = [untrace_port(Port) || Port <- [new_ports | erlang:ports()]],
    untrace(processes(), 0).

untrace_port(Port) ->
    try erlang:trace_info(Port, tracer) of
        {tracer, {coroner_nif, _}} -> erlang:trace(Port, false, coroner_patterns:port_flags());
        _ -> 0
    catch
        error:badarg -> 0
    end.

untrace([], _Count) ->
    ok;
untrace(Pids, ?CHUNK) ->
    pause(),
    untrace(Pids, 0);
untrace([Pid | Pids], Count) ->
    try erlang:trace_info(Pid, tracer) of
        {tracer, {coroner_nif, _}} -> erlang:trace(Pid, false, coroner_patterns:flags());
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
    coroner_patterns:flags() ++ [{tracer, coroner_nif, State}].

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
        andalso lists:all(fun({MFA, _}) -> is_ours(MFA) end, coroner_patterns:all()).

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
