%% Tracing before OTP 27: a process and a function can have one tracer each, whoever sets it, and anybody can take it
%% off. So nothing is taken that another tool holds, and coroner_watch looks whether we still hold what we took.
%%
%% Functions have meta patterns: they see every caller, traced or not, and put no flag on any process.
-module(coroner_trace_shared).
-behaviour(coroner_trace).

-export([open/1, whose/2, set/2, take/2, silent/1, close/1, disarm/0]).

-spec open(State) -> State when State :: pos_integer().
open(State) ->
    State.

-spec whose(coroner_trace:what(), State :: pos_integer()) -> coroner_trace:whose().
whose({_, _, _} = MFA, State) ->
    case erlang:trace_info(MFA, meta) of
        {meta, {coroner_nif, State}} -> ours;
        {meta, {coroner_nif, _Earlier}} -> nobodys;
        {meta, Nobody} when Nobody =:= false; Nobody =:= []; Nobody =:= undefined -> without_meta(MFA);
        {meta, Tracer} -> {anothers, Tracer}
    end;
whose(Who, State) ->
    case info(Who, tracer) of
        {tracer, {coroner_nif, State}} -> with_flags(info(Who, flags), flags_of(Who));
        {tracer, []} -> nobodys;
        {tracer, {coroner_nif, _Earlier}} -> nobodys;
        {tracer, Tracer} -> {anothers, Tracer};
        undefined -> dead
    end.

with_flags({flags, Flags}, Wanted) ->
    case Wanted -- Flags of
        [] -> ours;
        _ -> nobodys
    end;
with_flags(undefined, _Wanted) ->
    dead.

%% Of a port that is closed it is badarg on some OTPs.
info(Who, Item) ->
    try erlang:trace_info(Who, Item)
    catch error:badarg -> undefined
    end.

flags_of(Who) when is_port(Who); Who =:= new_ports -> coroner_patterns:port_flags();
flags_of(_) -> coroner_patterns:flags().

%% A global pattern and a meta pattern exclude each other: ours would silently end the other's.
without_meta(MFA) ->
    case erlang:trace_info(MFA, traced) of
        {traced, global} -> {anothers, undefined};
        _ -> nobodys
    end.

-spec set(new_processes | new_ports | pid() | port() | coroner_patterns:pattern(), State :: pos_integer()) -> boolean().
set({MFA, Spec}, State) ->
    erlang:trace_pattern(MFA, Spec, [{meta, coroner_nif, State}]) =:= 1;
set(Who, State) ->
    %% Never `all': it stops the node while the VM walks its table.
    try erlang:trace(Who, true, flags_of(Who) ++ [{tracer, coroner_nif, State}]) of
        1 -> true;
        0 -> is_atom(Who) % of those to come there is none yet
    catch
        error:badarg -> false % it has died
    end.

%% A process is asked for its tracer by a signal, which takes two microseconds and one more schedule; whether it has any trace
%% flag at all, the VM just looks up.
-spec take(pid() | port(), State :: pos_integer()) -> boolean().
take(Who, State) ->
    case is_pid(Who) andalso process_info(Who, trace) of
        {trace, 0} ->
            set(Who, State);
        undefined ->
            false;
        _ ->
            case whose(Who, State) of
                ours -> true;
                nobodys -> set(Who, State);
                _ -> false
            end
    end.

%% What holds a pattern here, is what gets its calls.
-spec silent([coroner_patterns:pattern()]) -> [].
silent(_Patterns) ->
    [].

-spec close(State :: pos_integer()) -> ok.
close(_State) ->
    ok.

-spec disarm() -> ok.
disarm() ->
    untrace(new_processes),
    untrace(new_ports),
    lists:foreach(fun(MFA) -> erlang:trace_pattern(MFA, false, [meta]) end,
                  [MFA || {MFA, _} <- coroner_patterns:all(), is_our_pattern(MFA)]),
    lists:foreach(fun untrace/1, erlang:ports()),
    Pool = coroner_sweep:pool(fun untrace_process/1),
    _ = coroner_sweep:finish(coroner_sweep:each(fun coroner_sweep:give/2, Pool)),
    ok.

%% [] is what is left of a pattern whose tracer module was unloaded.
is_our_pattern(MFA) ->
    case erlang:trace_info(MFA, meta) of
        {meta, {coroner_nif, _}} -> true;
        {meta, []} -> true;
        _ -> false
    end.

%% Workers do it: each is asked for its tracer.
untrace_process(Pid) ->
    case process_info(Pid, trace) of
        {trace, 0} -> false;
        _ -> untrace(Pid) =:= 1
    end.

untrace(Who) ->
    case info(Who, tracer) of
        {tracer, {coroner_nif, _}} ->
            try erlang:trace(Who, false, flags_of(Who))
            catch error:badarg -> 0 % it has died
            end;
        _ ->
            0
    end.
