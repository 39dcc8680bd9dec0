%% The ways to trace a node that are compared, switched on and off. With each the processes to come are traced, and those
%% there are.
-module(node_tracing).

-export([variants/0, on/1, off/1, counts/0]).

-export_type([variant/0]).

-type variant() :: none     % no tracing
                 | floor    % a tracer that does nothing, armed by the code that arms coroner (floor_tracer.c)
                 | coroner  % records stay in the node: what the daemon costs is measured elsewhere
                 | process. % OTP's own tracing to a process, with the same flags and patterns

-spec variants() -> [variant()].
variants() ->
    [none, floor, coroner, process].

-spec on(variant()) -> term().
on(none) ->
    none;
on(floor) ->
    Trace = floor_trace:open(1, all),
    ok = floor_trace:arm(Trace),
    [] = floor_trace:trace(processes(), Trace),
    Trace;
on(coroner) ->
    ok = coroner:start(#{ingest => none}),
    coroner;
on(process) ->
    Tracer = spawn(fun swallow/0),
    _ = [1 = erlang:trace_pattern(MFA, Spec, [{meta, Tracer}]) || {MFA, Spec} <- coroner_patterns:all()],
    _ = erlang:trace(new_processes, true, coroner_patterns:flags() ++ [{tracer, Tracer}]),
    _ = [erlang:trace(Pid, true, coroner_patterns:flags() ++ [{tracer, Tracer}]) || Pid <- processes(), Pid =/= Tracer],
    {process, Tracer}.

swallow() ->
    receive _ -> swallow() end.

-spec off(term()) -> ok.
off(none) ->
    ok;
off(coroner) ->
    coroner:stop();
off({process, Tracer}) ->
    _ = erlang:trace(all, false, [all]),
    _ = [erlang:trace_pattern(MFA, false, [meta]) || {MFA, _} <- coroner_patterns:all()],
    Monitor = erlang:monitor(process, Tracer),
    exit(Tracer, kill),
    receive {'DOWN', Monitor, process, Tracer, _} -> ok end;
off(Trace) ->
    floor_trace:close(Trace).

%% @doc Exits that coroner has recorded, counted, and lost.
-spec counts() -> #{made := integer(), counted := integer(), lost := integer()}.
counts() ->
    Status = coroner:status(),
    #{made => maps:get(made, Status), lost => maps:get(lost, Status),
      counted => maps:get(normal, Status) + maps:get(unrecorded, Status)}.
