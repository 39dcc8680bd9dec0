%% Where there is one tracer for all tools: each thing that another one can do to us is done for real, by another
%% process, and is noticed, put right as soon as it can be, and told.
-module(sharing_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, why/1, gaps/0, elsewhere/1, as/2, leave/1]).

%% The backend is asked, not the version.
sharing_test_() ->
    case coroner_trace:kind() of
        session -> [];
        shared -> [{"intact", armed(fun intact/0)},
                   {"all flags taken off", armed(fun all_off/0)},
                   {"the flags of existing processes taken off", armed(fun existing_off/0)},
                   {"the flags of one process taken off", armed(fun one_off/0)},
                   {"new processes taken over", armed(fun new_taken/0)},
                   {"the flags of ports taken off", armed(fun ports/0)},
                   {"processes of another tool", armed(fun foreign/0)},
                   {"a tool that traces all", armed(fun all_foreign/0)},
                   {"processes of another tool that live for a moment", armed(fun foreign_dead/0)},
                   {"any pattern taken off", armed(fun patterns/0)},
                   {"a pattern that another tool holds", armed(fun pattern_held/0)},
                   {"dbg", armed(fun dbg/0)},
                   {"verdicts after a gap", armed(fun verdicts/0)},
                   {"links made in a gap", armed(fun links/0)},
                   {"at start another tool has it", fun held_at_start/0}]
    end.

%% A busy machine takes its time.
armed(Test) ->
    {timeout, 120,
     fun() ->
             ok = coroner:start(#{ingest => none}),
             try Test()
             after
                 ok = coroner:stop()
             end
     end}.

check() ->
    coroner_server:check().

intact() ->
    #{trace := intact, gaps := 0, tracer := shared} = check(),
    [] = gaps(),
    is_whole().

%% Everything that lives is traced and in the ledger, and nothing else is in it.
is_whole() ->
    {Traced, Flags, Functions} = testlib:own_trace(),
    ?assertEqual([], processes() -- Traced),
    {flags, Set} = Flags,
    ?assertEqual([], coroner_patterns:flags() -- Set),
    ?assertEqual(length(coroner_patterns:all()), length(Functions)),
    Dead = [Pid || Pid <- testlib:ledger(), not is_process_alive(Pid)],
    ?assertEqual([], Dead),
    ?assertEqual([], processes() -- testlib:ledger()).

one_gap(Why) ->
    #{trace := intact, gaps := 1} = coroner:status(),
    [#{gap := #{from := From, to := To, why := Text}, severity := <<"warning">>}] = gaps(),
    ?assert(From < To),
    ?assertMatch({match, _}, re:run(Text, Why)),
    is_whole().

all_off() ->
    Unseen = testlib:spawn_waiting(),
    leave(elsewhere(fun() -> erlang:trace(all, false, [all]) end)),
    exit(Unseen, kill),
    testlib:ended(Unseen),
    Born = testlib:spawn_waiting(),
    ?assertEqual({error, not_seen}, coroner:why(Unseen)), % in the ledger it is, still
    #{trace := intact} = check(),
    one_gap("new processes was switched off"),
    ?assertEqual({error, not_seen}, coroner:why(Unseen)),
    ?assertEqual({error, alive}, coroner:why(Born)).

existing_off() ->
    leave(elsewhere(fun() -> erlang:trace(existing, false, [all]) end)),
    #{trace := intact} = check(),
    one_gap("flags of processes").

one_off() ->
    Pid = testlib:spawn_waiting(),
    leave(elsewhere(fun() -> erlang:trace(Pid, false, [all]) end)),
    %% The sample of so few processes is all of them.
    #{trace := intact} = check(),
    one_gap("flags of processes").

new_taken() ->
    Tool = elsewhere(fun() -> erlang:trace(new, true, [procs]) end),
    ?assertMatch(#{trace := {disarmed, [{new_processes, {anothers, Tool}}]}, gaps := 1}, check()),
    Born = testlib:spawn_waiting(),
    ?assertMatch(#{trace := {disarmed, _}, gaps := 1}, coroner:status()),
    [#{gap := #{from := From} = Open}] = gaps(),
    ?assertNot(is_map_key(to, Open)),
    %% It holds the process that was born, and goes on holding it.
    as(Tool, fun() -> erlang:trace(new, false, [all]) end),
    ?assertMatch(#{trace := intact, gaps := 1, foreign := 1}, check()),
    ?assertMatch([_, #{gap := #{from := From, to := _, detail := <<"1 processes", _/binary>>}}], gaps()),
    %% Once it goes, we have that one as well.
    leave(Tool),
    ?assertMatch(#{trace := intact, gaps := 1, foreign := 0}, check()),
    ?assertEqual({error, alive}, coroner:why(Born)),
    is_whole().

ports() ->
    Open = fun() -> open_port({spawn, "cat"}, []) end,
    Closed = Open(),
    leave(elsewhere(fun() -> erlang:trace(ports, false, [all]) end)),
    true = port_close(Closed),
    Port = Open(),
    #{trace := intact} = check(),
    one_gap("ports"),
    ?assertEqual([], [P || P <- erlang:ports(), {tracer, []} =:= erlang:trace_info(P, tracer)]),
    ?assertEqual(lists:sort(erlang:ports()), lists:sort([P || P <- element(2, coroner_nif:members(0, 1_000_000)), is_port(P)])),
    true = port_close(Port).

foreign() ->
    ok = coroner:stop(),
    Theirs = testlib:spawn_waiting(),
    Tool = elsewhere(fun() -> erlang:trace(Theirs, true, [procs, set_on_spawn]) end),
    ok = coroner:start(#{ingest => none}),
    #{trace := intact, foreign := 1} = coroner:status(),
    leave(Tool),
    #{trace := intact, foreign := 0, gaps := 0} = coroner:status(),
    is_whole().

%% While it does, nothing can be taken back, and so nothing is asked anew.
all_foreign() ->
    Many = [testlib:spawn_waiting() || _ <- lists:seq(1, 2000)],
    ok = coroner:pause(),
    Tool = elsewhere(fun() -> erlang:trace(all, true, [procs]) end),
    {error, {disarmed, _}} = coroner:resume(),
    _ = check(), % a tick may have come in between
    ?assert(reductions(fun check/0) < 20_000),
    leave(Tool),
    #{trace := intact, foreign := 0, gaps := 1} = check(),
    is_whole(),
    [Pid ! stop || Pid <- Many].

foreign_dead() ->
    ok = coroner:stop(),
    Many = [testlib:spawn_waiting() || _ <- lists:seq(1, 2000)],
    [Lives, Dies] = Theirs = [testlib:spawn_waiting(), testlib:spawn_waiting()],
    Tool = elsewhere(fun() -> [erlang:trace(Pid, true, [procs]) || Pid <- Theirs] end),
    ok = coroner:start(#{ingest => none}),
    Dies ! stop,
    testlib:ended(Dies),
    %% Of so many looks one is at all; the clock looks, too.
    Costs = [reductions(fun check/0) || _ <- lists:seq(1, 8)],
    ?assert(length([Cost || Cost <- Costs, Cost > 20_000]) =< 2),
    leave(Tool),
    #{trace := intact, foreign := 0} = check(),
    is_whole(),
    [Pid ! stop || Pid <- [Lives | Many]].

%% What the server does for it.
reductions(Do) ->
    {reductions, Before} = process_info(whereis(coroner_server), reductions),
    _ = Do(),
    {reductions, After} = process_info(whereis(coroner_server), reductions),
    After - Before.

patterns() ->
    lists:foreach(
      fun({{MFA, _}, Count}) ->
              leave(elsewhere(fun() -> take_pattern(MFA) end)),
              #{trace := intact, gaps := Count} = check()
      end, lists:zip(coroner_patterns:all(), lists:seq(1, length(coroner_patterns:all())))),
    is_whole().

%% A global pattern ends ours by the way; one that is not exported has none.
take_pattern({M, F, A} = MFA) ->
    case erlang:function_exported(M, F, A) orelse erlang:is_builtin(M, F, A) of
        true ->
            1 = erlang:trace_pattern(MFA, true, [global]),
            1 = erlang:trace_pattern(MFA, false, [global]);
        false ->
            1 = erlang:trace_pattern(MFA, false, [meta])
    end.

pattern_held() ->
    MFA = {erlang, exit, 2},
    Tool = elsewhere(fun() -> 1 = erlang:trace_pattern(MFA, true, [global]) end),
    #{trace := {disarmed, [{MFA, {anothers, _}}]}} = check(),
    %% Theirs is left alone.
    {traced, global} = erlang:trace_info(MFA, traced),
    Pid = testlib:spawn_waiting(),
    Record = testlib:end_of(Pid, fun(P) -> exit(P, kill) end),
    ?assertEqual({<<"unknown">>, true}, {get("exit.source", Record), get("exit.evidence_lost", Record)}),
    as(Tool, fun() -> erlang:trace_pattern(MFA, false, [global]) end),
    leave(Tool),
    #{trace := intact, gaps := 1} = check(),
    is_whole().

dbg() ->
    {ok, _} = dbg:tracer(process, {fun(_, N) -> N end, 0}),
    {ok, _} = dbg:p(new, [call]),
    {ok, _} = dbg:tp(erlang, exit, 2, []),
    #{trace := {disarmed, Lost}} = check(),
    ?assertMatch({anothers, _}, proplists:get_value(new_processes, Lost)),
    {ok, _} = dbg:ctp(),
    testlib:dbg_stop(),
    #{trace := intact, gaps := 1} = check(),
    is_whole().

verdicts() ->
    Kill = fun() -> testlib:end_of(testlib:spawn_waiting(), fun(P) -> exit(P, kill) end) end,
    ?assertEqual({<<"kill">>, <<"observed">>}, verdict(Kill())),
    Tool = elsewhere(fun() -> erlang:trace(existing, false, [all]) end),
    leave(Tool),
    #{trace := intact} = check(),
    ?assertEqual({<<"kill">>, <<"ambiguous">>}, verdict(Kill())),
    Old = whereis(code_server),
    ?assertEqual(lists:sort(element(2, process_info(Old, links))), lists:sort(coroner_nif:links(Old))).

verdict(Record) -> {get("exit.source", Record), get("exit.confidence", Record)}.

links() ->
    [A, B, C] = [testlib:spawn_waiting() || _ <- [1, 2, 3]],
    Do = fun(Pid, Message) -> Pid ! Message, receive {Pid, done} -> ok end end,
    Do(A, {self(), link, B}),
    leave(elsewhere(fun() -> erlang:trace(existing, false, [all]) end)),
    Do(A, {self(), unlink, B}),
    Do(A, {self(), link, C}),
    Do(A, {self(), trap, true}),
    #{trace := intact} = check(),
    ?assertEqual([C], coroner_nif:links(A)),
    ?assertEqual([], coroner_nif:links(B)),
    Record = testlib:end_of(A, fun(_) -> C ! {exit, together} end),
    ?assertEqual({<<"link_trapped">>, true}, {get("exit.source", Record), get("process.trap_exit", Record)}).

held_at_start() ->
    Tool = elsewhere(fun() -> erlang:trace(new, true, [procs]) end),
    Result = coroner:start(#{ingest => none}),
    leave(Tool),
    ?assertEqual({error, {other_tracer, Tool}}, Result),
    ok = coroner:start(#{ingest => none}),
    ok = coroner:stop().
