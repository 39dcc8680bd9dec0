%% How the suites are reported: a line for each test, and at the end "N passed, N failed" alone on a line.
-module(coroner_report).
-behaviour(eunit_listener).

-export([start/0, start/1, run/1]).
-export([init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

-record(state, {passed = 0, failed = 0}).

%% @doc Runs these test modules and ends the node: 0 when all passed.
-spec run([module()]) -> no_return().
run(Modules) ->
    Result = eunit:test(Modules, [no_tty, {report, {?MODULE, []}}]),
    halt(case Result of ok -> 0; _ -> 1 end).

start() -> start([]).
start(Options) -> eunit_listener:start(?MODULE, Options).

init(_Options) ->
    receive {start, _Reference} -> #state{} end.

handle_begin(_Kind, _Data, State) -> State.

handle_end(test, Data, State) ->
    case proplists:get_value(status, Data) of
        ok ->
            io:format("ok ~ts~n", [name(Data)]),
            State#state{passed = State#state.passed + 1};
        {skipped, Why} ->
            io:format("not ok ~ts: skipped, ~tp~n", [name(Data), Why]),
            State#state{failed = State#state.failed + 1};
        {error, {Class, Reason, Stack}} ->
            io:format("not ok ~ts: ~0tP~n", [name(Data), {Class, Reason, lists:sublist(Stack, 3)}, 60]),
            State#state{failed = State#state.failed + 1}
    end;
handle_end(_Group, _Data, State) ->
    State.

handle_cancel(Kind, Data, State) ->
    case proplists:get_value(reason, Data) of
        undefined -> State;
        Reason ->
            io:format("not ok ~ts ~ts: cancelled, ~0tP~n", [Kind, name(Data), Reason, 60]),
            State#state{failed = State#state.failed + 1}
    end.

terminate({ok, _Data}, #state{passed = Passed, failed = Failed}) ->
    io:format("~b passed, ~b failed~n", [Passed, Failed]),
    sync_end(case Failed of 0 -> ok; _ -> error end);
terminate({error, Reason}, #state{passed = Passed, failed = Failed}) ->
    io:format("not ok: ~tp~n~b passed, ~b failed~n", [Reason, Passed, Failed + 1]),
    sync_end(error).

sync_end(Result) ->
    receive {stop, Reference, ReplyTo} -> ReplyTo ! {result, Reference, Result}, ok end.

name(Data) ->
    case {proplists:get_value(source, Data), proplists:get_value(desc, Data)} of
        {{M, F, _}, Text} when Text =:= undefined; Text =:= ""; Text =:= <<>> -> io_lib:format("~s:~s", [M, F]);
        {{M, F, _}, Text} -> io_lib:format("~s:~s ~ts", [M, F, Text]);
        {_, Text} -> io_lib:format("~tp", [Text])
    end.
