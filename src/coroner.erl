%% coroner: who killed this process, and why?
%%
%%     1> coroner:start().
%%     ok
%%     2> coroner:explain(Pid).
%%
%% These functions may be called from a remote shell. None of them slows the node down for longer than it
%% takes to look one record up, but for start and stop, which switch tracing on and off process by process.
-module(coroner).

-export([start/0, start/1, stop/0, why/1, explain/1, recent/1, recent/2, status/0, pause/0, resume/0, sync/1, help/0,
         is_started/0]).

-export_type([why_error/0]).

-type why_error() :: alive     % the process lives
                   | not_seen  % it ended before coroner was started, or never was
                   | expired   % its record had to make room for newer ones; ask the daemon
                   | not_armed. % coroner is not started

%% @doc As start(#{}).
-spec start() -> ok | {error, term()}.
start() ->
    start(#{}).

%% @doc Arms the node: from now on every exit is seen. It returns once all processes that live are traced.
%% Idempotent: when it is started already, the options are those of the first start. See
%% `coroner_options:options()' for what they are.
-spec start(coroner_options:options()) -> ok | {error, term()}.
start(Options) when is_map(Options) ->
    case is_started() of
        true ->
            ok;
        false ->
            case coroner_options:check(Options) of
                {ok, _} ->
                    ok = coroner_options:to_environment(Options),
                    started(supervisor:start_child(kernel_safe_sup, coroner_sup:child_spec()));
                {error, _} = Error ->
                    Error
            end
    end.

%% Started by hand, coroner's supervisor stands under kernel's safe one, as OTP's own servers do that are
%% started when they are first needed (timer_server): unlike an application it then stops without a line on
%% the user's console.
started({ok, _}) -> ok;
started({error, {already_started, _}}) -> ok;
started({error, {shutdown, {failed_to_start_child, coroner_server, Reason}}}) -> {error, Reason};
started({error, {{shutdown, {failed_to_start_child, coroner_server, Reason}}, _Child}}) -> {error, Reason};
started({error, Reason}) -> {error, Reason}.

%% @doc Whether coroner runs, started by hand or as an application.
-spec is_started() -> boolean().
is_started() ->
    whereis(coroner_server) =/= undefined.

%% @doc Leaves the node as it was: no trace flag, no pattern, no thread, no process. Waits up to a second for
%% the daemon to take what is unsent. Idempotent.
-spec stop() -> ok | {error, term()}.
stop() ->
    Stopped = case lists:keymember(coroner, 1, application:which_applications()) of
                  true ->
                      application:stop(coroner);
                  false ->
                      case supervisor:terminate_child(kernel_safe_sup, coroner_sup) of
                          ok -> ok;
                          {error, not_found} -> ok
                      end
              end,
    ok = coroner_options:clear_environment(),
    Stopped.

%% @doc Why a process ended: its record, by its pid, or the newest one by its registered name. Right the moment
%% its 'DOWN' has arrived.
-spec why(pid() | atom()) -> {ok, coroner_record:record()} | {error, why_error()}.
why(PidOrName) when is_atom(PidOrName); is_pid(PidOrName), node(PidOrName) =:= node() ->
    case is_loaded() andalso coroner_nif:why(PidOrName) of
        false -> {error, not_armed};
        {_, _, _} = Record -> {ok, coroner_record:to_map(Record)};
        {normal, InitialCall} -> {ok, coroner_record:normal(PidOrName, InitialCall)};
        not_seen when is_atom(PidOrName) -> by_name(PidOrName);
        alive -> still_alive(PidOrName);
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
        {ok, Record} -> io:put_chars(coroner_text:story(Record));
        {error, Reason} -> io:put_chars(coroner_text:no_story(PidOrName, Reason))
    end.

%% @doc The newest N records, the newest first; at most 1000. Among them stand the gaps: times in which exits were not
%% seen, or not all.
-spec recent(non_neg_integer()) -> {ok, [coroner_record:record() | coroner_record:gap()]} | {error, not_armed}.
recent(Count) ->
    recent(Count, #{}).

%% @doc As recent/1, of those that have these values: #{source => kill, name => "x", module => m}. `source',
%% `severity', `name', `initial_call', `module' (the purged one) and `by_name' may be given, as text or atom.
-spec recent(non_neg_integer(), #{atom() => atom() | string() | binary()}) ->
          {ok, [coroner_record:record() | coroner_record:gap()]} | {error, not_armed | {unknown_field, atom()}}.
recent(Count, Wanted) when is_integer(Count), Count >= 0, is_map(Wanted) ->
    case [Key || Key <- maps:keys(Wanted), not is_map_key(Key, fields())] of
        [Unknown | _] ->
            {error, {unknown_field, Unknown}};
        [] ->
            %% With a filter all that is held is gone through.
            Ask = case map_size(Wanted) of 0 -> Count; _ -> 1000 end,
            case is_loaded() andalso coroner_nif:recent(Ask) of
                Records when is_list(Records) ->
                    Maps = lists:map(fun coroner_record:to_map/1, Records),
                    {ok, lists:sublist([Map || Map <- Maps, matches(Map, Wanted)], Count)};
                _ ->
                    {error, not_armed}
            end
    end.

fields() ->
    #{source => [exit, source], severity => [severity], name => [process, name],
      initial_call => [process, initial_call], module => [origin, module], by_name => [origin, by_name]}.

matches(Map, Wanted) ->
    maps:fold(fun(Key, Value, Matches) ->
                      Matches andalso value(Map, maps:get(Key, fields())) =:= text(Value)
              end, true, Wanted).

value(Value, []) -> Value;
value(Map, [Key | Keys]) when is_map_key(Key, Map) -> value(maps:get(Key, Map), Keys);
value(_, _) -> undefined.

text(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
text(Chars) -> unicode:characters_to_binary(Chars).

%% @doc How coroner stands: whether it is armed, how many processes it knows, how many records it made, how many
%% the daemon has, how many were lost, whether all it traces is still traced (`trace': intact, paused, or {disarmed, What}
%% with what is not ours and whose it is), and in how many gaps it was not (`gaps').
-spec status() -> #{armed := boolean(), atom() => term()}.
status() ->
    case is_loaded() andalso maps:from_list(coroner_nif:status()) of
        #{armed := true} = Status ->
            maps:merge(Status#{by_source := maps:from_list(maps:get(by_source, Status))}, coroner_server:check());
        _ ->
            #{armed => false}
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

%% @doc Waits until the daemon has acknowledged (that is: committed) all records made so far.
-spec sync(timeout()) -> ok | {error, timeout | not_armed}.
sync(Timeout) ->
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
      "coroner:start()        arm this node; start(#{ingest => \"/path/ingest.sock\"})\n"
      "coroner:explain(Pid)   print why a process ended; a registered name will do as well\n"
      "coroner:why(Pid)       the same as a map: {ok, Map} | {error, alive | not_seen | expired | not_armed}\n"
      "coroner:recent(N)      the newest N records; recent(N, #{source => kill})\n"
      "coroner:status()       how it stands: processes, records, losses, the daemon\n"
      "coroner:sync(Ms)       wait until the daemon has all records\n"
      "coroner:pause()        hand the tracer to another tool; coroner:resume() takes it back\n"
      "coroner:stop()         leave the node as it was\n"
      "\n"
      "While armed, starting and ending a process costs about a microsecond more; a process that is scheduled\n"
      "in, about 100 ns. docs/ tells more.\n").
