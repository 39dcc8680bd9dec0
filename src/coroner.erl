%% coroner: who killed this process, and why?
%%
%%     1> coroner:start().
%%     ok
%%     2> coroner:explain(Pid).
%%
%% These functions may be called from a remote shell. None of them slows the node down for longer than it
%% takes to look one record up, but for start and stop, which switch tracing on and off process by process.
-module(coroner).

-export([start/0, start/1, stop/0, why/1, explain/1, recent/1, recent/2, status/0, pause/0, resume/0, scope/0, scope/1,
         sync/1, help/0,
         is_started/0]).

-export_type([why_error/0]).

-define(RECENT_MOST, 1000).

-type why_error() :: alive       % the process lives
                   | not_seen    % it ended before coroner was started, or outside the scope, or never was
                   | expired     % its record had to make room for newer ones; ask the daemon
                   | other_node  % a process of another node: ask there, or the daemon
                   | not_armed.  % coroner is not started

%% @doc As start(#{}).
-spec start() -> ok | {error, term()}.
start() ->
    start(#{}).

%% @doc Arms the node: from now on every exit is seen. It returns once all processes that live are traced.
%% Idempotent: when it is started already with options that say the same as those given here, or nothing is given, it is
%% ok; else the error says what those are that differ, which stay in force until stop/0. See `coroner_options:options()' for
%% what there is; what is not given comes from the application's environment.
-spec start(coroner_options:options()) ->
          ok | {error, {already_started, InForce :: coroner_options:options()} | {bad_option, term(), string()} | term()}.
start(Options) when is_map(Options) ->
    case coroner_options:check(Options) of
        {ok, _} -> started(supervisor:start_child(kernel_safe_sup, coroner_sup:child_spec(Options)), Options);
        {error, _} = Error -> Error
    end.

%% Started by hand, coroner's supervisor stands under kernel's safe one, as OTP's own servers do that are
%% started when they are first needed (timer_server): unlike an application it then stops without a line on
%% the user's console.
started({ok, _}, _Options) ->
    ok;
started({error, {Reason, Child}}, Options) when element(1, Child) =:= child ->
    started({error, Reason}, Options);
started({error, {already_started, Supervisor}}, Options) ->
    %% By another who may still be at it, or the modules were unloaded under it.
    try
        _ = supervisor:count_children(Supervisor),
        coroner_server:start_again(Options)
    catch
        exit:_ -> start(Options) % it has been stopped meanwhile
    end;
started({error, {shutdown, {failed_to_start_child, _, {already_started, Earlier}}}}, Options) ->
    %% Of a supervisor that was killed: it is disarming still.
    Monitor = monitor(process, Earlier),
    receive {'DOWN', Monitor, process, Earlier, _} -> start(Options) end;
started({error, {shutdown, {failed_to_start_child, coroner_server, Reason}}}, _Options) ->
    {error, Reason};
started({error, Reason}, _Options) ->
    {error, Reason}.

%% @doc Whether coroner runs, started by hand or as an application.
-spec is_started() -> boolean().
is_started() ->
    whereis(coroner_server) =/= undefined.

%% @doc Leaves the node as it was: no trace flag, no pattern, no thread, no process. Waits up to a second for
%% the daemon to take what is unsent. Idempotent.
-spec stop() -> ok | {error, term()}.
stop() ->
    Stopped = case lists:keymember(coroner, 1, application:which_applications()) of
                  true -> application:stop(coroner);
                  false -> supervisor:terminate_child(kernel_safe_sup, coroner_sup)
              end,
    %% Where all processes of coroner were killed at once nobody was left to disarm.
    _ = not is_started() andalso coroner_server:is_armed() andalso coroner_server:disarm(),
    ok = coroner_server:forget_scope(),
    case Stopped of
        ok -> ok;
        {error, not_found} -> ok;
        {error, {not_started, coroner}} -> ok; % another stopped it at the same time
        Error -> Error
    end.

%% @doc Why a process ended: its record, by its pid, or the newest one by its registered name. Right the moment
%% its 'DOWN' has arrived.
-spec why(pid() | atom()) -> {ok, coroner_record:record()} | {error, why_error()}.
why(Pid) when is_pid(Pid), node(Pid) =/= node() ->
    {error, other_node};
why(PidOrName) when is_atom(PidOrName); is_pid(PidOrName) ->
    case is_loaded() andalso coroner_nif:why(PidOrName) of
        false -> {error, not_armed};
        {_, _, _} = Record -> {ok, coroner_record:to_map(Record)};
        {normal, InitialCall} -> {ok, coroner_record:normal(PidOrName, InitialCall)};
        not_seen when is_atom(PidOrName) -> by_name(PidOrName);
        alive -> still_alive(PidOrName);
        not_seen -> not_traced(PidOrName);
        Error -> {error, Error}
    end.

%% While tracing is paused or was taken away the ledger does not hear of exits. It may just have heard, too.
still_alive(Pid) ->
    case is_process_alive(Pid) of
        true -> {error, alive};
        false ->
            case coroner_nif:why(Pid) of
                alive -> {error, not_seen};
                _ -> why(Pid)
            end
    end.

%% Outside the scope, or another tool's.
not_traced(Pid) ->
    case is_process_alive(Pid) of
        true -> {error, alive};
        false ->
            case coroner_nif:why(Pid) of
                not_seen -> {error, not_seen};
                _ -> why(Pid)
            end
    end.

by_name(Name) ->
    case whereis(Name) of
        undefined -> {error, not_seen};
        _ -> {error, alive}
    end.

%% Without the module there is nothing to ask; it must not be loaded just for that.
is_loaded() ->
    erlang:module_loaded(coroner_nif).

%% @doc Prints why a process ended, from the exit back to its origin.
-spec explain(pid() | atom()) -> ok.
explain(PidOrName) ->
    case why(PidOrName) of
        {ok, Record} -> print(coroner_text:story(Record));
        {error, Reason} -> print(coroner_text:no_story(PidOrName, Reason))
    end.

%% A device that is not said to take Unicode (LANG=C, -noshell) would show \x{2514} for a branch.
print(Text) ->
    case io:getopts() of
        Options when is_list(Options) ->
            case proplists:get_value(encoding, Options) of
                latin1 -> io:put_chars(coroner_text:ascii(Text));
                _ -> io:put_chars(Text)
            end;
        _ ->
            io:put_chars(Text)
    end.

%% @doc The newest N records, the newest first; at most 1000. Among them stand the gaps: times in which exits were not
%% seen, or not all.
-spec recent(non_neg_integer()) -> {ok, [coroner_record:record() | coroner_record:gap()]} | {error, not_armed}.
recent(Count) ->
    recent(Count, #{}).

%% @doc As recent/1, of those that have these values: #{source => kill, name => "x", module => m}. `source',
%% `severity', `name', `initial_call', `module' (the purged one) and `by_name' may be given, as text or atom.
-spec recent(non_neg_integer(), #{atom() => atom() | string() | binary()}) ->
          {ok, [coroner_record:record() | coroner_record:gap()]}
              | {error, not_armed | {unknown_field, term()} | {bad_value, Field :: atom()}}.
recent(Count, Wanted) when is_integer(Count), Count >= 0, is_map(Wanted) ->
    case wanted(maps:to_list(Wanted), []) of
        {error, _} = Error -> Error;
        [] -> recent_of(Count, Count, []);
        %% All that is held is gone through.
        Conditions -> recent_of(?RECENT_MOST, Count, Conditions)
    end.

recent_of(Ask, Count, Conditions) ->
    case is_loaded() andalso coroner_nif:recent(min(Ask, ?RECENT_MOST)) of
        Records when is_list(Records) ->
            Matching = [Map || Map <- coroner_record:to_maps(Records),
                               lists:all(fun({Path, Text}) -> value(Map, Path) =:= Text end, Conditions)],
            {ok, lists:sublist(Matching, min(Count, ?RECENT_MOST))};
        _ ->
            {error, not_armed}
    end.

fields() ->
    #{source => [exit, source], severity => [severity], name => [process, name],
      initial_call => [process, initial_call], module => [origin, module], by_name => [origin, by_name]}.

%% Where in a record each field stands, and what is wanted there.
wanted([], Conditions) ->
    Conditions;
wanted([{Field, Value} | Rest], Conditions) ->
    case {fields(), text(Value)} of
        {#{Field := _}, error} -> {error, {bad_value, Field}};
        {#{Field := Path}, Text} -> wanted(Rest, [{Path, Text} | Conditions]);
        {_, _} -> {error, {unknown_field, Field}}
    end.

value(Value, []) -> Value;
value(Map, [Key | Keys]) when is_map_key(Key, Map) -> value(maps:get(Key, Map), Keys);
value(_, _) -> undefined.

text(Atom) when is_atom(Atom) ->
    atom_to_binary(Atom);
text(Chars) ->
    try unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        _ -> error
    catch
        error:badarg -> error
    end.

%% @doc How coroner stands: whether it is armed, how many processes it knows, how many records it made, how many
%% the daemon has, how many were lost, whether all it traces is still traced (`trace': intact, paused, or {disarmed, What}
%% with what is not ours and whose it is), and in how many gaps it was not (`gaps'). `options' are those in force;
%% `scope_unknown' tells what the scope names that the node does not have.
-spec status() -> #{armed := boolean(), atom() => term()}.
status() ->
    case is_loaded() andalso maps:from_list(coroner_nif:status()) of
        #{armed := true} = Status ->
            maps:merge(Status#{by_source := maps:from_list(maps:get(by_source, Status))}, trace_status());
        _ ->
            #{armed => false}
    end.

trace_status() ->
    try coroner_server:check() of
        #{scope := Scope} = Standing -> Standing#{scope_unknown => coroner_scope:unknown(Scope)}
    catch
        exit:_ -> #{trace => disarmed} % it is being stopped, or was killed and is not back yet
    end.

%% @doc Takes all trace flags and patterns off, so that another tool can have them. Until resume/0 no exit is seen; a
%% gap in the records tells that. Idempotent.
-spec pause() -> ok | {error, not_armed}.
pause() ->
    try coroner_server:pause()
    catch exit:{noproc, _} -> {error, not_armed}
    end.

%% @doc Takes the tracer back after pause/0. Where another tool holds what is needed, the answer says what, and it is
%% tried again every second. Idempotent.
-spec resume() -> ok | {error, not_armed | {disarmed, term()}}.
resume() ->
    try coroner_server:resume()
    catch exit:{noproc, _} -> {error, not_armed}
    end.

%% @doc Which processes are traced.
-spec scope() -> {ok, coroner_scope:scope()} | {error, not_armed}.
scope() ->
    try coroner_server:check() of
        #{scope := Scope} -> {ok, Scope}
    catch
        exit:_ -> {error, not_armed}
    end.

%% @doc Changes which processes are traced, until coroner is stopped: `all'; #{applications => [Application]}, and what their
%% processes start; #{exclude => [Spec]}, all but some and but for what those start, a Spec being a registered name, a pid,
%% {module, Module} of the initial call or {application, Application}. Returns once it is so. Processes outside cost
%% nothing; how they end is not seen, but when they end others they are named. Idempotent.
-spec scope(coroner_scope:scope()) -> ok | {error, not_armed | {bad_option, scope, string()}}.
scope(Scope) ->
    case coroner_options:check(#{scope => Scope}) of
        {ok, _} ->
            try coroner_server:scope(Scope)
            catch exit:{noproc, _} -> {error, not_armed}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Waits until the daemon has acknowledged (that is: committed) all records made so far.
-spec sync(timeout()) -> ok | {error, timeout | not_armed}.
sync(Timeout) ->
    %% In a process of its own: an answer that comes after the timeout goes to nobody's mailbox.
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Self ! {self(), wait_for_daemon(Timeout)} end),
    receive
        {Pid, Result} -> demonitor(Monitor, [flush]), Result;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.

wait_for_daemon(Timeout) ->
    Reference = make_ref(),
    case is_loaded() andalso coroner_nif:notify(Reference) of
        ok ->
            receive
                {coroner_flushed, Reference, true} -> ok;
                {coroner_flushed, Reference, false} -> {error, not_armed}
            after Timeout ->
                    {error, timeout}
            end;
        _ ->
            {error, not_armed}
    end.

%% @doc One screen of help.
-spec help() -> ok.
help() ->
    io:put_chars(
      "coroner:start()        arm this node; start(#{ingest => \"/path/ingest.sock\"}). When it is\n"
      "                       started already with other options: {error, {already_started, Those}};\n"
      "                       they stay, so stop() first\n"
      "coroner:explain(Pid)   print why a process ended; a registered name will do as well\n"
      "coroner:why(Pid)       the same as a map: {ok, Map} |\n"
      "                       {error, alive | not_seen | expired | other_node | not_armed}\n"
      "coroner:recent(N)      the newest N records; recent(N, #{source => kill})\n"
      "coroner:status()       how it stands: processes, records, losses, the daemon\n"
      "coroner:sync(Ms)       wait until the daemon has all records\n"
      "coroner:pause()        hand the tracer to another tool; coroner:resume() takes it back\n"
      "coroner:scope(Scope)   trace less: #{applications => [A]}, #{exclude => [Name]}; all\n"
      "coroner:stop()         leave the node as it was\n"
      "\n"
      "While armed, starting and ending a process costs about a microsecond more; a process that is scheduled\n"
      "in, about 100 ns. docs/ tells more.\n").
