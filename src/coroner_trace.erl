%% How tracing is switched on and off, whichever way this OTP has: with a trace session of our own, or with the one
%% tracer that all tools share. Which of the two, is found out here, and nowhere else.
%%
%% What can be traced: `new_processes' and `new_ports', a process, a port, a function (whose calls are seen). Whose each
%% is can be asked: nothing is taken that another tool holds.
-module(coroner_trace).

-export([open/2, rescope/2, kind/0, arm/1, lost/1, regain/2, whose/2, trace/2, release/2, close/1, disarm/0]).

-export_type([trace/0, what/0, whose/0]).

-record(trace, {backend :: module(), handle :: term(), state :: pos_integer(), scope :: coroner_scope:scope(),
                patterns :: [coroner_patterns:pattern()]}).

-opaque trace() :: #trace{}.
-type what() :: new_processes | new_ports | pid() | port() | mfa().
-type whose() :: ours
               | nobodys
               | {anothers, Tracer :: term()}
               | dead  % a process, or a port that is closed
               | gone. % the whole session

%% Makes ready to trace; nothing is traced yet. State is what the callbacks get. Flags are those of a process.
-callback open(State :: pos_integer(), Flags :: [atom()]) -> Handle :: term().
%% The same with other flags for processes.
-callback with_flags([atom()], Handle :: term()) -> Handle :: term().
%% The flags as a match specification gives them to the process it is evaluated in.
-callback action_flags(Handle :: term()) -> [term()].
%% Switches off what is ours of new processes, or of a function.
-callback clear(new_processes | mfa(), Handle :: term()) -> ok.
%% Takes our flags off a process. False if there were none.
-callback release(pid(), Handle :: term()) -> boolean().
%% Whose it is.
-callback whose(what(), Handle :: term()) -> whose().
%% Makes it ours: one that is ours or nobody's. False if it cannot be traced.
-callback set(new_processes | new_ports | pid() | port() | coroner_patterns:pattern(), Handle :: term()) -> boolean().
%% Makes a process or a port ours if it is nobody's. False if it is not ours then.
-callback take(pid() | port(), Handle :: term()) -> boolean().
%% Ends what open/1 began.
-callback close(Handle :: term()) -> ok.
%% Switches off what is ours, of whatever start.
-callback disarm() -> ok.
%% Those of these patterns that are ours, and yet no call is seen of. Only asked by a process that is traced.
-callback silent([coroner_patterns:pattern()]) -> [mfa()].

-define(SESSION, session).

%% @doc Makes ready to trace with this tracer state. What is traced with the result stays traced as long as that is kept,
%% and no longer.
-spec open(State :: pos_integer(), coroner_scope:scope()) -> trace().
open(State, Scope) ->
    Backend = backend(),
    ok = coroner_patterns:load(),
    with_patterns(#trace{backend = Backend, handle = Backend:open(State, flags(Scope)), state = State, scope = Scope,
                         patterns = []}).

flags(Scope) ->
    [set_on_spawn || coroner_scope:hands_on(Scope)] ++ coroner_patterns:flags().

with_patterns(#trace{backend = Backend, handle = Handle, scope = Scope} = Trace) ->
    Trace#trace{patterns = coroner_patterns:all() ++ coroner_scope:masters_pattern(Scope, Backend:action_flags(Handle))}.

%% @doc Changes what is traced of processes to come. Those that there are stay as they are.
-spec rescope(coroner_scope:scope(), trace()) -> trace().
rescope(Scope, #trace{backend = Backend, handle = Before, patterns = Old} = Trace) ->
    Handle = Backend:with_flags(flags(Scope), Before),
    #trace{patterns = New} = Rescoped = with_patterns(Trace#trace{handle = Handle, scope = Scope}),
    _ = [set(Pattern, Rescoped) || {MFA, _} = Pattern <- New -- Old, whose(MFA, Trace) =:= ours orelse whose(MFA, Trace) =:= nobodys],
    _ = [Backend:clear(MFA, Handle) || {MFA, _} <- Old, not lists:keymember(MFA, 1, New)],
    case {coroner_scope:new_processes(Scope), whose(new_processes, Trace)} of % by the flags they had
        {false, ours} -> ok = Backend:clear(new_processes, Handle);
        {true, nobodys} -> _ = set(new_processes, Rescoped);
        {_, _} -> ok
    end,
    Rescoped.

%% The module `trace' is kernel's from OTP 27 on; before that somebody's own may be called so, and is left alone.
backend() ->
    _ = erlang:function_exported(erts_internal, trace_session_create, 3) andalso code:ensure_loaded(trace),
    case erlang:function_exported(erts_internal, trace_session_create, 3)
        andalso erlang:function_exported(trace, session_create, 3) of
        true -> coroner_trace_session;
        false -> coroner_trace_shared
    end.

%% @doc Whether tracing is all our own (session) or shared with other tools.
-spec kind() -> session | shared.
kind() ->
    case backend() of
        coroner_trace_session -> session;
        coroner_trace_shared -> shared
    end.

%% @doc Sets the patterns and the flags of processes and ports to come: all of it or nothing.
-spec arm(trace()) -> ok | {error, {other_tracer, term()} | {no_pattern, [mfa()]}}.
arm(Trace) ->
    {_, Left} = regain(lost(Trace), Trace),
    case {[Tracer || {_, {anothers, Tracer}} <- tracees(Left)], Left} of
        {[], []} ->
            ok;
        {[], _} ->
            ok = close(Trace),
            {error, {no_pattern, [MFA || {MFA, _} <- Left]}};
        {[Tracer | _], _} ->
            ok = close(Trace),
            {error, {other_tracer, Tracer}}
    end.

tracees(Items) ->
    [Item || {What, _} = Item <- Items, is_atom(What)].

%% @doc What of the patterns and the flags of processes and ports to come is not ours, and whose it is.
-spec lost(trace()) -> [{session | what(), whose()}].
lost(#trace{patterns = Patterns, scope = Scope} = Trace) ->
    case whose(new_processes, Trace) of
        gone ->
            [{?SESSION, gone}];
        New ->
            All = [{new_processes, New} || coroner_scope:new_processes(Scope)]
                ++ [{new_ports, whose(new_ports, Trace)} | [{MFA, whose(MFA, Trace)} || {MFA, _} <- Patterns]],
            case [Item || {_, Whose} = Item <- All, Whose =/= ours] of
                [] -> [{MFA, nobodys} || MFA <- silent(Trace)];
                Lost -> Lost
            end
    end.

silent(#trace{backend = Backend, patterns = Patterns} = Trace) ->
    case whose(self(), Trace) of
        ours -> Backend:silent(Patterns);
        _ -> []
    end.

%% @doc Takes back what is lost and nobody's. Returns what still is not ours.
-spec regain([{session | what(), whose()}], trace()) -> {trace(), [{session | what(), whose()}]}.
regain([{?SESSION, gone}], #trace{state = State, scope = Scope}) ->
    Trace = open(State, Scope),
    regain(lost(Trace), Trace);
regain(Lost, #trace{patterns = Patterns} = Trace) ->
    %% Patterns first: who is born traced shall have its calls seen.
    New = tracees(Lost),
    MFAs = Lost -- New,
    Left = [Item || {MFA, Whose} = Item <- MFAs,
                    not (Whose =:= nobodys andalso set(lists:keyfind(MFA, 1, Patterns), Trace))],
    {Trace, [Item || {What, Whose} = Item <- New, not (Whose =:= nobodys andalso set(What, Trace))] ++ Left}.

%% @doc Whose it is.
-spec whose(what(), trace()) -> whose().
whose(What, #trace{backend = Backend, handle = Handle}) ->
    Backend:whose(What, Handle).

set(What, #trace{backend = Backend, handle = Handle}) ->
    Backend:set(What, Handle).

%% @doc Traces these processes and ports. Returns those that cannot be: they have died, or another tool traces them.
-spec trace([Tracee], trace()) -> [Tracee] when Tracee :: pid() | port().
trace(Tracees, Trace) ->
    trace(Tracees, coroner_sweep:breath(), Trace).

trace([], _Breath, _Trace) ->
    [];
trace([Tracee | Tracees], Breath, #trace{backend = Backend, handle = Handle} = Trace) ->
    case Backend:take(Tracee, Handle) of
        true -> trace(Tracees, coroner_sweep:breathe(Breath), Trace);
        false -> [Tracee | trace(Tracees, coroner_sweep:breathe(Breath), Trace)]
    end.

%% @doc Takes our flags off these processes. Returns those that had any.
-spec release([pid()], trace()) -> [pid()].
release(Pids, Trace) ->
    release(Pids, coroner_sweep:breath(), Trace).

release([], _Breath, _Trace) ->
    [];
release([Pid | Pids], Breath, #trace{backend = Backend, handle = Handle} = Trace) ->
    case Backend:release(Pid, Handle) of
        true -> [Pid | release(Pids, coroner_sweep:breathe(Breath), Trace)];
        false -> release(Pids, coroner_sweep:breathe(Breath), Trace)
    end.

%% @doc Takes off all that is ours.
-spec close(trace()) -> ok.
close(#trace{backend = Backend, handle = Handle}) ->
    ok = Backend:close(Handle),
    Backend:disarm().

%% @doc Takes off all that is ours, of whatever start, and nothing of anybody else's.
-spec disarm() -> ok.
disarm() ->
    (backend()):disarm().
