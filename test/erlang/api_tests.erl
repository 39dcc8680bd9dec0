%% What people type: coroner's functions, with what they should be given and with what they should not.
-module(api_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, text/1]).

-export([elsewhere/0]).

%% --- not armed --------------------------------------------------------------------------------------------

not_armed_test_() ->
    [{"errors", fun not_armed/0},
     {"the module of the library is not loaded for asking", fun not_loaded/0},
     {"help", fun() -> ?assertMatch({ok, <<"coroner:start()", _/binary>>}, printed(fun coroner:help/0)) end}].

not_armed() ->
    ?assertNot(coroner:is_started()),
    ?assertEqual({error, not_armed}, coroner:why(self())),
    ?assertEqual({error, not_armed}, coroner:why(a_name)),
    ?assertEqual({error, not_armed}, coroner:recent(1)),
    ?assertEqual({error, not_armed}, coroner:recent(0, #{source => kill})),
    ?assertEqual({error, {unknown_field, sauce}}, coroner:recent(1, #{sauce => kill})),
    ?assertEqual({error, not_armed}, coroner:sync(0)),
    ?assertEqual({error, not_armed}, coroner:sync(infinity)),
    ?assertEqual(#{armed => false}, coroner:status()),
    Self = self(),
    {ok, Text} = printed(fun() -> coroner:explain(Self) end),
    ?assertEqual(<<(text(Self))/binary, " cannot be told of: coroner is not started, see coroner:start/0\n">>, Text).

not_loaded() ->
    testlib:unload(),
    not_armed(),
    ok = coroner:stop(),
    ?assertNot(erlang:module_loaded(coroner_nif)).

%% --- armed ------------------------------------------------------------------------------------------------

armed_test_() ->
    testlib:armed([{"why of a pid and of a name", fun why/0},
                   {"why of another node's process", {timeout, 30, fun other_node/0}},
                   {"why of what is neither", fun why_of_nonsense/0},
                   {"explain a kill", fun explain_kill/0},
                   {"explain a cascade", fun explain_cascade/0},
                   {"explain a crash", fun explain_crash/0},
                   {"explain by name, and what is odd in one", fun explain_name/0},
                   {"explain what has no record", fun explain_none/0},
                   {"explain what is ambiguous", fun explain_ambiguous/0},
                   {"recent: order and bounds", fun recent/0},
                   {"recent: filters", fun filters/0},
                   {"recent: what cannot be asked", fun recent_errors/0},
                   {"status", fun status/0},
                   {"sync without a daemon", fun sync/0},
                   {"sync ends with a stop", fun sync_stopped/0},
                   {"from a remote shell's group leader", fun help/0}]).

killed() ->
    killed(testlib:spawn_waiting()).

killed(Pid) ->
    _ = end_of(Pid, fun(P) -> exit(P, kill) end),
    Pid.

why() ->
    Pid = killed(testlib:register_waiting(api_test_name)),
    {ok, Record} = coroner:why(Pid),
    ?assertEqual({ok, Record}, coroner:why(api_test_name)),
    #{schema := <<"coroner.exit/1">>, id := Id, time := Time, severity := <<"error">>, message := Message,
      node := #{name := Node, os_pid := OsPid, incarnation := Incarnation, otp := Otp, host := _},
      process := #{pid := _, name := <<"api_test_name">>}, exit := #{source := <<"kill">>, truncated := false},
      origin := #{by := _}, chain := [_], chain_length := 1} = Record,
    ?assertEqual({atom_to_binary(node()), list_to_integer(os:getpid()), list_to_binary(erlang:system_info(otp_release))},
                 {Node, OsPid, Otp}),
    ?assertMatch(#{incarnation := Incarnation}, coroner:status()),
    ?assertEqual(byte_size(Incarnation), 16),
    ?assertMatch({0, _}, binary:match(Id, Incarnation)),
    ?assertMatch({match, _}, re:run(Time, "^20\\d\\d-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{9}Z$")),
    ?assertNotEqual(nomatch, binary:match(Message, text(Pid))),
    %% The newest one of that name; while one lives under it, the last that died is still told of.
    Second = killed(testlib:register_waiting(api_test_name)),
    ?assertEqual(text(Second), get("process.pid", element(2, coroner:why(api_test_name)))),
    ?assertEqual({error, alive}, coroner:why(self())),
    ?assertEqual({error, alive}, coroner:why(kernel_sup)),
    ?assertEqual({error, not_seen}, coroner:why('a name that nobody had')),
    ?assertEqual({error, not_seen}, coroner:why(list_to_pid("<0.4711.88>"))).

%% A pid of a node that there is, and of one that there never was.
other_node() ->
    Peer = testlib:peer([]),
    Text = peer:call(Peer, erlang, apply, [fun ?MODULE:elsewhere/0, []]),
    peer:stop(Peer),
    ?assertEqual({error, other_node}, Text),
    Pid = foreign_pid(),
    ?assertNotEqual(node(), node(Pid)),
    ?assertEqual({error, other_node}, coroner:why(Pid)),
    {ok, Printed} = printed(fun() -> coroner:explain(Pid) end),
    ?assertEqual(<<(text(Pid))/binary, " is a process of another node: ask there, or coronerctl why\n">>, Printed).

%% Asked over there, where coroner is not started: whose process it is comes first.
elsewhere() -> coroner:why(foreign_pid()).

%% In the external term format (NEW_PID_EXT): node, number, serial, creation.
foreign_pid() ->
    Node = <<"nobody@nowhere">>,
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, 77:32, 0:32, 1:32>>).

why_of_nonsense() ->
    [?assertError(function_clause, coroner:why(Nonsense)) || Nonsense <- ["<0.1.0>", 17, <<"name">>, make_ref()]],
    Port = open_port({spawn, "cat"}, []),
    ?assertError(function_clause, coroner:why(Port)),
    true = port_close(Port).

%% --- explain ----------------------------------------------------------------------------------------------

%% What is printed goes to the caller's group leader, as in a remote shell: {What it returned, the text}.
printed(Do) -> printed(Do, unicode).

printed(Do, Encoding) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           group_leader(Self, self()),
                                           exit({returned, Do()})
                                   end),
    output(Pid, Monitor, Encoding, []).

output(Pid, Monitor, Encoding, Printed) ->
    receive
        {io_request, From, ReplyAs, getopts} ->
            From ! {io_reply, ReplyAs, [{encoding, Encoding}]},
            output(Pid, Monitor, Encoding, Printed);
        {io_request, From, ReplyAs, {put_chars, unicode, Chars}} ->
            From ! {io_reply, ReplyAs, ok},
            output(Pid, Monitor, Encoding, [Printed, Chars]);
        {io_request, From, ReplyAs, {put_chars, unicode, M, F, A}} ->
            From ! {io_reply, ReplyAs, ok},
            output(Pid, Monitor, Encoding, [Printed, apply(M, F, A)]);
        {'DOWN', Monitor, process, Pid, {returned, Result}} ->
            {Result, unicode:characters_to_binary(Printed)}
    end.

lines(PidOrName) ->
    {ok, Text} = printed(fun() -> coroner:explain(PidOrName) end),
    ?assertEqual($\n, binary:last(Text)),
    string:split(string:trim(Text, trailing), "\n", all).

explain_kill() ->
    Pid = killed(),
    {ok, #{id := Id, time := Time, origin := #{by_line := Line}}} = coroner:why(Pid),
    [First, Second, Foot] = lines(Pid),
    ?assertEqual(<<(text(Pid))/binary, " testlib:waiting/0  exited: killed">>, First),
    ?assertEqual({0, 0}, {count(First, <<"  └─"/utf8>>), count(Foot, <<"└─"/utf8>>)}),
    ?assertMatch({0, _}, binary:match(Second, <<"└─ was killed by "/utf8, (text(self()))/binary>>)),
    ?assertEqual(1, count(Second, <<" with exit(Pid, kill)  (api_tests:'-killed/1-fun-0-'/1, ">>)),
    ?assertEqual(1, count(Second, <<"api_tests.erl:", (integer_to_binary(Line))/binary, ")">>)),
    ?assertEqual(<<"   ", Time/binary, "  ", Id/binary>>, Foot),
    {ok, Plain} = printed(fun() -> coroner:explain(Pid) end, latin1),
    ?assertEqual(1, count(Plain, <<"\n`- was killed by ">>)),
    ?assertEqual([], [Byte || <<Byte>> <= Plain, Byte > 127]).

count(Text, Part) -> length(binary:matches(Text, Part)).

explain_cascade() ->
    First = testlib:spawn_waiting(),
    Second = testlib:spawn_waiting(),
    Third = testlib:spawn_waiting(),
    _ = [begin Pid ! Order, receive {Pid, done} -> ok end end
         || {Pid, Order} <- [{Second, {self(), link, First}}, {Third, {self(), link, Second}},
                             {Third, {self(), trap, true}}]],
    Monitor = monitor(process, Third),
    exit(First, kill),
    receive {'DOWN', Monitor, process, Third, killed} -> ok end,
    Indent = fun(Depth) -> <<(binary:copy(<<"   ">>, Depth))/binary, "└─ "/utf8>> end,
    Name = fun(Pid) -> <<(text(Pid))/binary, " testlib:waiting/0">> end,
    [One, Two, Three, Four, <<"   inferred">>, _Foot] = lines(Third),
    ?assertEqual(<<(Name(Third))/binary, "  exited: killed">>, One),
    ?assertEqual(<<(Indent(0))/binary, "trapped the exit of linked process ", (Name(Second))/binary,
                   " and stopped with the same reason">>, Two),
    ?assertEqual(<<(Indent(1))/binary, (text(Second))/binary, " was taken down by its link to ", (Name(First))/binary>>, Three),
    ?assertMatch({0, _}, binary:match(Four, <<(Indent(2))/binary, (text(First))/binary, " was killed by ",
                                              (text(self()))/binary>>)).

explain_crash() ->
    Pid = testlib:spawn_waiting(),
    _ = end_of(Pid, fun(P) -> P ! {error, {"a reason", 42}} end),
    [First, Second | Rest] = lines(Pid),
    ?assertEqual(1, count(First, <<"  exited: ">>)),
    ?assertEqual(<<"└─ crashed with an error of its own"/utf8>>, Second),
    ?assertNotEqual([], [Line || Line <- Rest, count(Line, <<"   testlib:waiting/0 (">>) =:= 1]).

explain_name() ->
    Odd = list_to_atom("näme\n" ++ [16#4e16] ++ " with spaces"),
    Pid = killed(testlib:register_waiting(Odd)),
    ?assertEqual(lines(Pid), lines(Odd)),
    {ok, Text} = printed(fun() -> coroner:explain(Odd) end),
    ?assert(is_binary(Text)), % not {error, _, _}: it is valid UTF-8
    ?assertEqual(1, count(hd(lines(Odd)), unicode:characters_to_binary([16#4e16]))).

explain_none() ->
    Normal = testlib:spawn_waiting(),
    Normal ! stop,
    testlib:ended(Normal),
    ?assertEqual([<<(text(Normal))/binary, " testlib:waiting/0  exited: normal">>,
                  <<"└─ was done and returned"/utf8>>], lines(Normal)),
    ?assertEqual([<<(text(self()))/binary, " is alive">>], lines(self())),
    ?assertEqual([<<"kernel_sup is alive">>], lines(kernel_sup)),
    NotSeen = <<" was not seen to end: it did so before coroner was started, while it was paused or outside its scope, or never was">>,
    ?assertEqual([<<"<0.4711.88>", NotSeen/binary>>], lines(list_to_pid("<0.4711.88>"))),
    ?assertEqual([<<"'no one'", NotSeen/binary>>], lines('no one')),
    ?assertEqual([<<"expired">>, <<"not_armed">>],
                 [Error || Error <- [<<"expired">>, <<"not_armed">>],
                           iolist_size(coroner_text:no_story(self(), binary_to_atom(Error))) > 0]).

%% A process may follow a trapped `shutdown', or mean it itself.
explain_ambiguous() ->
    Peer = testlib:spawn_waiting(),
    Pid = testlib:spawn_waiting(),
    _ = [begin Pid ! Order, receive {Pid, done} -> ok end end
         || Order <- [{self(), trap, true}, {self(), link, Peer}]],
    _ = end_of(Pid, fun(_) -> exit(Peer, shutdown) end),
    [Line] = [Line || Line <- lines(Pid), count(Line, <<"   ambiguous: ">>) =:= 1],
    ?assertEqual(1, count(Line, <<"trapped the exit of linked process ", (text(Peer))/binary>>)),
    ?assertEqual(1, count(Line, <<", or ended by its own decision">>)).

%% --- recent -----------------------------------------------------------------------------------------------

pids({ok, Records}) -> [get("process.pid", Record) || Record <- Records].

recent() ->
    Pids = [text(killed()) || _ <- lists:seq(1, 5)],
    Newest = lists:reverse(Pids),
    ?assertEqual({ok, []}, coroner:recent(0)),
    ?assertEqual([hd(Newest)], pids(coroner:recent(1))),
    ?assertEqual(Newest, pids(coroner:recent(5))),
    {ok, [One | _] = Records} = coroner:recent(5),
    ?assertEqual({ok, One}, coroner:why(list_to_pid(binary_to_list(hd(Newest))))),
    Times = [Time || #{time := Time} <- Records],
    ?assertEqual(lists:reverse(lists:sort(Times)), Times),
    %% At most 1000, whatever is asked for and held.
    _ = [killed() || _ <- lists:seq(1, 1001)],
    #{held := Held} = coroner:status(),
    ?assert(Held > 1000),
    ?assertEqual([1000, 1000, 1000, 999],
                 [length(pids(coroner:recent(N))) || N <- [1 bsl 31, 1001, 1000, 999]]),
    %% Numbers that no C integer holds mean as many as there are.
    ?assertEqual(1000, length(pids(coroner:recent(1 bsl 100)))),
    ?assertEqual(1000, length(pids(coroner:recent(1 bsl 100, #{source => kill})))).

filters() ->
    Name = 'api filter',
    Named = text(killed(testlib:register_waiting(Name))),
    Crashed = testlib:spawn_waiting(),
    _ = end_of(Crashed, fun(P) -> P ! {error, because} end),
    Signalled = testlib:spawn_waiting(),
    _ = end_of(Signalled, fun(P) -> exit(P, shutdown) end),
    true = register(api_test_killer, self()),
    ByName = text(killed()),
    true = unregister(api_test_killer),
    ?assertEqual([ByName, Named], pids(coroner:recent(2, #{source => kill}))),
    ?assertEqual([Named], pids(coroner:recent(5, #{name => Name}))),
    ?assertEqual([Named], pids(coroner:recent(5, #{name => "api filter", source => "kill"}))),
    ?assertEqual([Named], pids(coroner:recent(5, #{name => <<"api filter">>}))),
    ?assertEqual([], pids(coroner:recent(5, #{name => Name, source => self_error}))),
    ?assertEqual([text(Crashed)], pids(coroner:recent(1, #{source => self_error}))),
    ?assertEqual([text(Signalled)], pids(coroner:recent(1, #{severity => info}))),
    ?assertEqual([ByName], pids(coroner:recent(5, #{by_name => api_test_killer}))),
    ?assertEqual([ByName], pids(coroner:recent(1, #{initial_call => "testlib:waiting/0"}))),
    ?assertEqual([], pids(coroner:recent(5, #{module => no_such_module}))),
    ?assertEqual([], pids(coroner:recent(0, #{source => kill}))),
    ?assertEqual([], pids(coroner:recent(5, #{source => nonsense}))).

recent_errors() ->
    ?assertEqual({error, {unknown_field, sauce}}, coroner:recent(5, #{sauce => kill})),
    ?assertEqual({error, {unknown_field, "source"}}, coroner:recent(5, #{"source" => kill})),
    ?assertEqual({error, {bad_value, source}}, coroner:recent(5, #{source => 17})),
    ?assertEqual({error, {bad_value, name}}, coroner:recent(5, #{name => {a, tuple}})),
    ?assertEqual({error, {bad_value, name}}, coroner:recent(5, #{name => [a | b]})),
    ?assertError(function_clause, coroner:recent(-1)),
    ?assertError(function_clause, coroner:recent(many)),
    ?assertError(function_clause, coroner:recent(1, [{source, kill}])).

%% --- status, sync, help -----------------------------------------------------------------------------------

status() ->
    #{made := Made, by_source := Sources} = coroner:status(),
    Kills = maps:get(kill, Sources, 0),
    _ = killed(),
    Normal = testlib:spawn_waiting(),
    #{normal := Normals} = coroner:status(),
    Normal ! stop,
    testlib:ended(Normal),
    #{armed := true, trace := intact, made := Now, by_source := #{kill := KillsNow}, held := Held, lost := Lost,
      normal := NormalsNow, processes := Processes, snapshot := Snapshot, foreign := 0, unacknowledged := Unacknowledged,
      acknowledged := 0, bytes := Bytes, unrecorded := 0, without_memory := 0, encode_failures := 0,
      connected := false, connects := 0, uplink_error := Error, incarnation := _} = coroner:status(),
    ?assertEqual({Made + 1, Kills + 1, Normals + 1}, {Now, KillsNow, NormalsNow}),
    ?assertEqual(Now, Held + Lost),
    ?assert(Unacknowledged =< Held),
    ?assert(Bytes > 0),
    ?assert(Snapshot > 20),
    ?assertEqual(length(processes()), Processes),
    ?assertEqual(<<"no ingest socket is set">>, Error),
    %% Another tool takes a pattern, where it can: it is taken back, and it shows.
    1 = erlang:trace_pattern({erlang, exit, 2}, false, [meta]),
    #{trace := intact, gaps := Gaps} = coroner:status(),
    ?assert(Gaps =:= 1 orelse coroner_trace:kind() =:= session),
    ok = coroner:stop(),
    testlib:start_armed().

sync() ->
    _ = killed(),
    ?assertEqual({error, timeout}, coroner:sync(0)),
    ?assertEqual({error, timeout}, coroner:sync(20)),
    %% With the stop those waits end; nothing of that reaches the one who gave up.
    ok = coroner:stop(),
    testlib:start_armed(),
    ?assertEqual({messages, []}, process_info(self(), messages)),
    %% Nothing was made yet, so there is nothing to wait for.
    ?assertEqual(ok, coroner:sync(infinity)).

sync_stopped() ->
    _ = killed(),
    Reference = make_ref(),
    ok = coroner_nif:notify(Reference),
    ok = coroner:stop(),
    ?assertEqual(false, receive {coroner_flushed, Reference, Settled} -> Settled end),
    ?assertEqual({error, not_armed}, coroner:sync(infinity)),
    testlib:start_armed().

help() ->
    {ok, Text} = printed(fun coroner:help/0),
    Lines = string:split(string:trim(Text), "\n", all),
    ?assert(length(Lines) < 24),
    ?assertEqual([], [Line || Line <- Lines, string:length(Line) > 110]),
    %% Every function it names is there.
    {match, Names} = re:run(Text, "coroner:([a-z_]+)\\(", [global, {capture, [1], list}]),
    ?assertEqual([], [Name || [Name] <- Names,
                              not lists:keymember(list_to_atom(Name), 1, coroner:module_info(exports))]).
