%% Tracing since OTP 27: in a session of our own, in which no other tool sets or clears anything, and of which nothing
%% shows in dbg or erlang:trace_info/2.
%%
%% The session lives as long as its handle: coroner_server keeps that, and when the server is killed, the session goes
%% with it. Only somebody who looks for sessions, or reloads a module, can take something of it away; and the VM itself:
%% in OTP 27, when any session clears its pattern on a BIF, the patterns that others have on it see no call any more,
%% though trace:info/3 shows them as before (seen on ERTS 15.2.7; not on 17.1.1). Setting them again helps. So BIFs are
%% called now and then, to see whether that is seen.
%%
%% The patterns are meta patterns, as before OTP 27: their tracer is the session's, and they see every caller, traced or not.
-module(coroner_trace_session).
-behaviour(coroner_trace).

-export([open/2, with_flags/2, action_flags/1, whose/2, set/2, take/2, clear/2, release/2, silent/1, close/1, disarm/0]).

-define(NAME, coroner).

%% Kept beside the session: OTP 25 has no such module, and what checks calls there shall not look for it.
-type handle() :: {Module :: module(), Session :: term(), Flags :: [atom()]}.

-spec open(State :: pos_integer(), Flags :: [atom()]) -> handle().
open(State, Flags) ->
    Module = trace,
    %% A session does not load its tracer.
    {module, coroner_nif} = code:ensure_loaded(coroner_nif),
    {Module, Module:session_create(?NAME, {coroner_nif, State}, []), Flags}.

-spec with_flags([atom()], handle()) -> handle().
with_flags(Flags, {Module, Session, _}) ->
    {Module, Session, Flags}.

%% The tracer is the session's.
-spec action_flags(handle()) -> [atom()].
action_flags({_, _, Flags}) ->
    Flags.

-spec whose(coroner_trace:what(), handle()) -> coroner_trace:whose().
whose({_, _, _} = MFA, {Module, Session, _}) ->
    try Module:info(Session, MFA, meta) of
        {meta, {coroner_nif, _}} -> ours;
        {meta, _} -> nobodys
    catch
        error:badarg -> gone
    end;
whose(Who, {Module, Session, _} = Handle) ->
    try Module:info(Session, Who, flags) of
        {flags, Flags} ->
            case flags_of(Who, Handle) -- Flags of
                [] -> ours;
                _ -> nobodys
            end;
        undefined -> dead
    catch
        error:badarg -> gone
    end.

flags_of(Who, _) when is_port(Who); Who =:= new_ports -> coroner_patterns:port_flags();
flags_of(_, {_, _, Flags}) -> Flags.

-spec set(new_processes | new_ports | pid() | port() | coroner_patterns:pattern(), handle()) -> boolean().
set({MFA, Spec}, {Module, Session, _}) ->
    try Module:function(Session, MFA, Spec, [meta]) =:= 1
    catch error:badarg -> false
    end;
set(Who, {Module, Session, _} = Handle) ->
    %% Never `all': it stops the node while the VM walks its table.
    try
        _ = case Who of
                new_processes -> Module:process(Session, new, true, flags_of(Who, Handle));
                new_ports -> Module:port(Session, new, true, flags_of(Who, Handle));
                _ when is_pid(Who) -> Module:process(Session, Who, true, flags_of(Who, Handle));
                _ when is_port(Who) -> Module:port(Session, Who, true, flags_of(Who, Handle))
            end,
        true
    catch
        error:badarg -> false % it has died
    end.

%% Nobody else's is in our session.
-spec take(pid() | port(), handle()) -> boolean().
take(Who, Handle) ->
    set(Who, Handle).

-spec clear(new_processes | mfa(), handle()) -> ok.
clear(new_processes, {Module, Session, _}) ->
    try Module:process(Session, new, false, [set_on_spawn | coroner_patterns:flags()]) of
        _ -> ok
    catch
        error:badarg -> ok % the session is gone
    end;
clear(MFA, {Module, Session, _}) ->
    try Module:function(Session, MFA, false, [meta]) of
        _ -> ok
    catch
        error:badarg -> ok
    end.

-spec release(pid(), handle()) -> boolean().
release(Pid, {Module, Session, _}) ->
    try
        {flags, [_ | _]} = Module:info(Session, Pid, flags),
        1 =:= Module:process(Session, Pid, false, [set_on_spawn | coroner_patterns:flags()])
    catch
        error:_ -> false % it has none, has died, or the session is gone
    end.

%% A call with arguments that it refuses is traced like any other.
-spec silent([coroner_patterns:pattern()]) -> [mfa()].
silent(Patterns) ->
    [MFA || {{M, F, A} = MFA, _} <- Patterns, erlang:is_builtin(M, F, A), not is_seen(MFA)].

is_seen(MFA) ->
    Before = coroner_nif:probe(self()),
    try call(MFA, coroner_probe)
    catch _:_ -> ok
    end,
    coroner_nif:probe(undefined) > Before.

%% Each written out: of calls through apply/3 the VM forgets nothing. The arguments are such that the pattern lets them
%% through.
call({erlang, exit, 1}, No) -> erlang:exit(No);
call({erlang, exit, 2}, No) -> erlang:exit(No, No);
call({erlang, exit, 3}, No) -> erlang:exit(No, No, No);
call({erlang, exit_signal, 2}, No) -> erlang:exit_signal(No, No);
call({erlang, exit_signal, 3}, No) -> erlang:exit_signal(No, No, No);
call({erlang, raise, 3}, No) -> erlang:raise(exit, No, No);
call({erlang, process_flag, 2}, No) -> erlang:process_flag(trap_exit, No);
call({erlang, halt, 2}, No) -> erlang:halt(No, No);
call({erts_internal, purge_module, 2}, No) -> erts_internal:purge_module(No, No);
call({M, F, A}, No) -> apply(M, F, lists:duplicate(A, No)).

-spec close(handle()) -> ok.
close({Module, Session, _}) ->
    _ = Module:session_destroy(Session), % false: somebody has done that
    ok.

%% One whose tracer was unloaded cannot be told from another's any more: that close/1 ends, or the end of its owner.
-spec disarm() -> ok.
disarm() ->
    Module = trace,
    _ = [Module:session_destroy(Session) || {?NAME, _} = Session <- Module:session_info(all),
                                            is_ours(Module, Session)],
    ok.

%% Another may call a session of his the same.
is_ours(Module, Session) ->
    try Module:info(Session, new, tracer) of
        {tracer, {coroner_nif, _}} -> true;
        {tracer, []} -> false;
        _ -> false
    catch
        error:badarg -> false
    end.
