%% Tracing before OTP 27: a process and a function can have one tracer each, whoever sets it, and anybody can take it
%% off. So nothing is taken that another tool holds, and coroner_watch looks whether we still hold what we took.
%%
%% Functions have meta patterns: they see every caller, traced or not, and put no flag on any process.
-module(coroner_trace_shared).
-behaviour(coroner_trace).

-export([open/2, with_flags/2, action_flags/1, whose/2, set/2, take/2, clear/2, release/2, silent/1, close/1, disarm/0]).

-type handle() :: {State :: pos_integer(), Flags :: [atom()]}.

-spec open(State :: pos_integer(), Flags :: [atom()]) -> handle().
open(State, Flags) ->
    {State, Flags}.

-spec with_flags([atom()], handle()) -> handle().
with_flags(Flags, {State, _}) ->
    {State, Flags}.

-spec action_flags(handle()) -> [term()].
action_flags({State, Flags}) ->
    [{{tracer, coroner_nif, State}} | Flags]. % as a match specification writes a tuple

-spec whose(coroner_trace:what(), handle()) -> coroner_trace:whose().
whose({_, _, _} = MFA, {State, _}) ->
    case erlang:trace_info(MFA, meta) of
        {meta, {coroner_nif, State}} -> ours;
        {meta, {coroner_nif, _Earlier}} -> nobodys;
        {meta, Nobody} when Nobody =:= false; Nobody =:= []; Nobody =:= undefined -> without_meta(MFA);
        {meta, Tracer} -> {anothers, Tracer}
    end;
whose(Who, {State, _} = Handle) ->
    case info(Who, tracer) of
        {tracer, {coroner_nif, State}} -> having(info(Who, flags), flags_of(Who, Handle));
        {tracer, []} -> nobodys;
        {tracer, {coroner_nif, _Earlier}} -> nobodys;
        {tracer, Tracer} -> {anothers, Tracer};
        undefined -> dead
    end.

having({flags, Flags}, Wanted) ->
    case Wanted -- Flags of
        [] -> ours;
        _ -> nobodys
    end;
having(undefined, _Wanted) ->
    dead.

%% Of a port that is closed it is badarg on some OTPs.
info(Who, Item) ->
    try erlang:trace_info(Who, Item)
    catch error:badarg -> undefined
    end.

flags_of(Who, _) when is_port(Who); Who =:= new_ports -> coroner_patterns:port_flags();
flags_of(_, {_, Flags}) -> Flags.

%% All that we may ever have set.
all_flags(Who) when is_port(Who); Who =:= new_ports -> coroner_patterns:port_flags();
all_flags(_) -> [set_on_spawn | coroner_patterns:flags()].

%% A global pattern and a meta pattern exclude each other: ours would silently end the other's.
without_meta(MFA) ->
    case erlang:trace_info(MFA, traced) of
        {traced, global} -> {anothers, undefined};
        _ -> nobodys
    end.

-spec set(new_processes | new_ports | pid() | port() | coroner_patterns:pattern(), handle()) -> boolean().
set({MFA, Spec}, {State, _}) ->
    erlang:trace_pattern(MFA, Spec, [{meta, coroner_nif, State}]) =:= 1;
set(Who, {State, _} = Handle) ->
    %% Never `all': it stops the node while the VM walks its table.
    try erlang:trace(Who, true, flags_of(Who, Handle) ++ [{tracer, coroner_nif, State}]) of
        1 -> true;
        0 -> is_atom(Who) % of those to come there is none yet
    catch
        error:badarg -> false % it has died
    end.

%% A process is asked for its tracer by a signal, which takes two microseconds and one more schedule; whether it has any trace
%% flag at all, the VM just looks up.
-spec take(pid() | port(), handle()) -> boolean().
take(Who, Handle) ->
    case is_pid(Who) andalso process_info(Who, trace) of
        {trace, 0} ->
            set(Who, Handle);
        undefined ->
            false;
        _ ->
            case whose(Who, Handle) of
                ours -> true;
                nobodys -> set(Who, Handle);
                _ -> false
            end
    end.

-spec clear(new_processes | mfa(), handle()) -> ok.
clear(new_processes, _Handle) ->
    _ = untrace(new_processes),
    ok;
clear(MFA, _Handle) ->
    _ = is_our_pattern(MFA) andalso erlang:trace_pattern(MFA, false, [meta]),
    ok.

-spec release(pid(), handle()) -> boolean().
release(Pid, _Handle) ->
    untrace_process(Pid).

%% What holds a pattern here, is what gets its calls.
-spec silent([coroner_patterns:pattern()]) -> [].
silent(_Patterns) ->
    [].

-spec close(handle()) -> ok.
close(_Handle) ->
    ok.

-spec disarm() -> ok.
disarm() ->
    untrace(new_processes),
    untrace(new_ports),
    lists:foreach(fun(MFA) -> erlang:trace_pattern(MFA, false, [meta]) end,
                  [MFA || MFA <- coroner_patterns:functions(), is_our_pattern(MFA)]),
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
            try erlang:trace(Who, false, all_flags(Who))
            catch error:badarg -> 0 % it has died
            end;
        _ ->
            0
    end.
