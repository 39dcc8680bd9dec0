%% What holds whichever way we trace: pause and resume, gaps, leaving the node as it was; and what a trace session of
%% our own gives, where there is one.
-module(session_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, why/1, gaps/0, elsewhere/1, as/2, leave/1]).

%% The module of the sessions, not to be looked for where there are none.
-define(TRACE, (list_to_atom("trace"))).

session_test_() ->
    case coroner_trace:kind() of
        shared -> [];
        session -> [{"no other tool sees us", armed(fun unseen/0)},
                    {"no other tool disturbs us", armed(fun undisturbed/0)},
                    {"the VM forgets a pattern of ours", armed(fun silenced/0)},
                    {"we disturb no other tool", armed(fun undisturbing/0)},
                    {"every process is traced, the VM's own too", armed(fun everybody/0)},
                    {"the session goes with the server", armed(fun server_killed/0)},
                    {"the session is destroyed by somebody", armed(fun destroyed/0)},
                    {"another session is called the same", armed(fun namesake/0)}]
    end.

both_test_() ->
    [{"pause and resume", armed(fun pause/0)},
     {"pause in a gap", armed(fun pause_taken/0)},
     {"not armed", fun() -> ?assertEqual({error, not_armed}, coroner:pause()),
                            ?assertEqual({error, not_armed}, coroner:resume()) end},
     {"a module with a pattern is reloaded", {timeout, 60, fun reload/0}},
     {"it is noticed by itself", {timeout, 60, fun by_itself/0}},
     {"a gap's text", armed(fun text/0)},
     {"the daemon's line", {timeout, 60, fun line/0}},
     {"stop leaves nothing", {timeout, 60, fun leaves_nothing/0}},
     {"a thousand times", {timeout, 600, fun thousand/0}}].

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

kill() ->
    testlib:end_of(testlib:spawn_waiting(), fun(P) -> exit(P, kill) end).

verdict(Record) -> {get("exit.source", Record), get("exit.confidence", Record)}.

sessions() ->
    [Session || {coroner, _} = Session <- ?TRACE:session_info(all)].

unseen() ->
    ?assertEqual({flags, []}, erlang:trace_info(new_processes, flags)),
    ?assertEqual([], [Pid || Pid <- processes(), {tracer, [_ | _]} <- [erlang:trace_info(Pid, tracer)]]),
    ?assertEqual({traced, false}, erlang:trace_info({erlang, exit, 2}, traced)),
    ?assertEqual({meta, false}, erlang:trace_info({erlang, exit, 2}, meta)).

undisturbed() ->
    Pattern = {lists, reverse, 2},
    Tool = elsewhere(fun() ->
                             erlang:trace(all, true, [procs, call]),
                             erlang:trace_pattern({code, purge, 1}, true, [global]),
                             erlang:trace_pattern({code, purge, 1}, false, [global]),
                             erlang:trace(all, false, [all])
                     end),
    {ok, _} = dbg:tracer(process, {fun(_, N) -> N end, 0}),
    {ok, _} = dbg:p(all, [call, procs]),
    {ok, _} = dbg:tpl(Pattern, []),
    {ok, _} = dbg:tpl(erlang, exit, 2, []),
    ?assertEqual({<<"kill">>, <<"observed">>}, verdict(kill())),
    {ok, _} = dbg:ctpl(Pattern),
    leave(Tool),
    ?assertEqual({<<"kill">>, <<"observed">>}, verdict(kill())),
    #{trace := intact, gaps := 0, foreign := 0, tracer := session} = coroner:status(),
    %% This clears every pattern there is: on OTP 27 every BIF of ours with it.
    testlib:dbg_stop(),
    #{trace := intact} = coroner:status(),
    ?assertMatch({<<"kill">>, _}, verdict(kill())).

%% OTP 27 forgets our pattern on a BIF when another session clears its own. Where it does, that is noticed and told.
silenced() ->
    clear_other({erlang, exit, 2}),
    Forgets = verdict(kill()) =/= {<<"kill">>, <<"observed">>},
    #{trace := intact, gaps := First} = coroner:status(),
    ?assertEqual(Forgets, First =:= 1),
    BIFs = [MFA || {{M, F, A} = MFA, _} <- coroner_patterns:all(), erlang:is_builtin(M, F, A)],
    lists:foreach(
      fun({{M, F, A} = MFA, Count}) ->
              clear_other(MFA),
              #{trace := intact, gaps := Gaps} = coroner:status(),
              case Forgets of
                  false ->
                      ?assertEqual(0, Gaps);
                  true ->
                      ?assertEqual({MFA, Count}, {MFA, Gaps}),
                      Why = io_lib:format("hold on ~w:~w/~w$", [M, F, A]),
                      Told = get("gap.why", lists:last(gaps())),
                      ?assertMatch({{match, _}, _}, {re:run(Told, iolist_to_binary(Why)), Told})
              end
      end, lists:zip(BIFs, lists:seq(2, 1 + length(BIFs)))),
    %% And then it is well.
    #{gaps := Last} = coroner:status(),
    #{trace := intact, gaps := Last} = coroner:status(),
    ?assertMatch({<<"kill">>, _}, verdict(kill())).

clear_other(MFA) ->
    leave(elsewhere(fun() -> 1 = erlang:trace_pattern(MFA, true, [local]),
                             1 = erlang:trace_pattern(MFA, false, [local]) end)).

undisturbing() ->
    %% A tool that was there before, and is there after.
    Self = self(),
    Tool = elsewhere(fun() -> erlang:trace(Self, true, [call]),
                              erlang:trace_pattern({erlang, exit, 2}, true, [global]) end),
    ok = coroner:stop(),
    ok = coroner:start(#{ingest => none}),
    ok = coroner:pause(),
    ok = coroner:resume(),
    ?assertEqual({tracer, Tool}, erlang:trace_info(self(), tracer)),
    ?assertEqual({traced, global}, erlang:trace_info({erlang, exit, 2}, traced)),
    as(Tool, fun() -> erlang:trace(Self, false, [call]), erlang:trace_pattern({erlang, exit, 2}, false, [global]) end),
    leave(Tool).

everybody() ->
    [Session] = sessions(),
    Flags = fun(Who) -> {flags, List} = ?TRACE:info(Session, Who, flags), lists:sort(List) end,
    Wanted = lists:sort(coroner_patterns:flags()),
    ?assertEqual([], [Pid || Pid <- processes(), Flags(Pid) =/= Wanted]),
    ?assertEqual(Wanted, Flags(new)),
    [?assert(lists:member(whereis(Name), processes())) || Name <- [init, erts_code_purger, code_server]],
    ?assertEqual([], [MFA || {MFA, _} <- coroner_patterns:all(), not is_ours(?TRACE:info(Session, MFA, meta))]).

server_killed() ->
    [Before] = sessions(),
    Server = whereis(coroner_server),
    exit(Server, kill),
    testlib:ended(Server),
    restarted(Server),
    #{trace := intact} = coroner:status(),
    [After] = sessions(),
    ?assertNotEqual(Before, After),
    ?assertEqual({<<"kill">>, <<"observed">>}, verdict(kill())).

%% Asks until the supervisor has heard of it.
restarted(Old) ->
    case [Pid || {coroner_server, Pid, _, _} <- supervisor:which_children(coroner_sup)] of
        [New] when is_pid(New), New =/= Old -> ok;
        _ -> restarted(Old)
    end.

destroyed() ->
    [Session] = sessions(),
    Unseen = testlib:spawn_waiting(),
    true = as(elsewhere(fun() -> ok end), fun() -> ?TRACE:session_destroy(Session) end),
    exit(Unseen, kill),
    testlib:ended(Unseen),
    ?assertEqual({error, not_seen}, coroner:why(Unseen)),
    #{trace := intact, gaps := 1} = coroner:status(),
    [#{gap := #{why := <<"the trace session was destroyed">>}}] = gaps(),
    ?assertEqual({<<"kill">>, <<"ambiguous">>}, verdict(kill())),
    ?assertEqual([], [Pid || Pid <- testlib:ledger(), not is_process_alive(Pid)]),
    everybody().

namesake() ->
    Session = ?TRACE:session_create(coroner, self(), []),
    1 = ?TRACE:process(Session, whereis(init), true, [procs]),
    ok = coroner:stop(),
    ?assertEqual({flags, [procs]}, ?TRACE:info(Session, whereis(init), flags)),
    true = ?TRACE:session_destroy(Session),
    testlib:start_armed().

pause() ->
    Unseen = testlib:spawn_waiting(),
    ok = coroner:pause(),
    ok = coroner:pause(),
    #{trace := paused, gaps := 1, armed := true} = coroner:status(),
    nothing_traced(),
    exit(Unseen, kill),
    testlib:ended(Unseen),
    Born = testlib:spawn_waiting(),
    ?assertEqual({error, not_seen}, coroner:why(Unseen)),
    ok = coroner:resume(),
    ok = coroner:resume(),
    #{trace := intact, gaps := 1, processes := Known} = coroner:status(),
    ?assertEqual(Known, length(testlib:ledger())),
    ?assertEqual([], [Pid || Pid <- testlib:ledger(), not is_process_alive(Pid)]),
    ?assertEqual([], processes() -- testlib:ledger()),
    ?assertEqual({error, alive}, coroner:why(Born)),
    [#{gap := #{from := From} = Open}, #{gap := #{from := From, to := To, why := Why}}] = gaps(),
    ?assertNot(is_map_key(to, Open)),
    ?assert(From < To),
    ?assertMatch(<<"paused", _/binary>>, Why),
    ?assertEqual({<<"kill">>, <<"ambiguous">>}, verdict(kill())).

nothing_traced() ->
    {Processes, New, Functions} = testlib:own_trace(),
    ?assertEqual({[], {flags, []}, []}, {Processes, New, Functions}),
    case coroner_trace:kind() of
        shared -> ok;
        session -> ?assertEqual([], sessions())
    end.

pause_taken() ->
    ok = coroner:pause(),
    case coroner_trace:kind() of
        session ->
            ok;
        shared ->
            Tool = elsewhere(fun() -> erlang:trace(new, true, [procs]) end),
            ?assertMatch({error, {disarmed, [{new_processes, {anothers, Tool}} | _]}}, coroner:resume()),
            #{trace := {disarmed, _}} = coroner:status(),
            leave(Tool)
    end,
    _ = coroner:resume(),
    #{trace := intact, gaps := 1} = coroner:status().

reload() ->
    %% In a node of its own, for `code' is no module to play with.
    Peer = testlib:peer([]),
    Result = peer:call(Peer, erlang, apply, [fun reload_there/0, []]),
    peer:stop(Peer),
    ?assertMatch({#{trace := intact, gaps := 1}, <<"the trace pattern lost its hold on code:", _/binary>>}, Result).

reload_there() ->
    ok = coroner:start(#{ingest => none}),
    true = code:unstick_mod(code),
    {module, code} = code:load_file(code),
    Status = coroner_server:check(),
    [#{gap := #{why := Why}}] = gaps(),
    ok = coroner:stop(),
    {maps:with([trace, gaps], Status), Why}.

%% Nobody asks: the watchdog looks by itself, and what it found is sent. This is the daemon.
by_itself() ->
    Folder = string:trim(os:cmd("mktemp -d")),
    Path = filename:join(Folder, "s"),
    {ok, Listener} = gen_tcp:listen(0, [{ifaddr, {local, Path}}, binary, {packet, 4}, {active, true}]),
    ok = coroner:start(#{ingest => Path}),
    {ok, Socket} = gen_tcp:accept(Listener),
    receive {tcp, Socket, <<_, 1, _/binary>>} -> ok = gen_tcp:send(Socket, <<16#82, 16, 0>>) end,
    take_away(),
    Seq = receive_gap(Socket),
    ok = gen_tcp:send(Socket, <<16#82, 16, Seq>>),
    ok = coroner:sync(infinity),
    ?assertMatch([#{gap := #{to := _}}], gaps()),
    ok = coroner:stop(),
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listener),
    ok = file:del_dir_r(Folder).

take_away() ->
    case coroner_trace:kind() of
        shared -> leave(elsewhere(fun() -> erlang:trace(all, false, [all]) end));
        session -> leave(elsewhere(fun() -> [?TRACE:session_destroy(Session) || Session <- sessions()] end))
    end.

%% [RECORD, Seq, TimeNs, LostBefore, Kind, Map]
receive_gap(Socket) ->
    receive
        {tcp, Socket, <<16#86, 2, Seq, 16#1b, _:64, 0, 1, _/binary>>} -> Seq;
        {tcp, Socket, _} -> receive_gap(Socket)
    end.

text() ->
    ok = coroner:pause(),
    [Open] = gaps(),
    ?assertMatch({match, _}, re:run(unicode:characters_to_binary(coroner_text:story(Open)),
                                    "^exits may not have been seen from [^ ]+Z on\n.*paused by coroner:pause/0\n")),
    ok = coroner:resume(),
    [_, Whole] = gaps(),
    ?assertMatch({match, _}, re:run(unicode:characters_to_binary(coroner_text:story(Whole)), "Z to 2.*Z\n")),
    ?assertMatch({match, _}, re:run(get("message", Whole), "^for [0-9]+\\.[0-9]{3} s exits may not have been seen: ")),
    %% What is asked for by a field has that field.
    {ok, []} = coroner:recent(10, #{source => kill}).

%% By the real daemon, where it can run; held against the schema, where there is something to hold it with.
line() ->
    Daemon = filename:absname("priv/coronerd"),
    Can = filelib:is_regular(Daemon) andalso os:find_executable("python3") =/= false
        andalso string:trim(os:cmd("python3 -c 'import jsonschema; print(1)' 2>&1")) =:= "1",
    case Can of
        true -> line(Daemon);
        false -> ok
    end.

line(Daemon) ->
    Folder = string:trim(os:cmd("mktemp -d")),
    File = fun(Name) -> filename:join(Folder, Name) end,
    Port = open_port({spawn_executable, Daemon},
                     [{args, ["--listen", File("i"), "--query", File("q"), "--store", File("db"), "--out", File("out")]},
                      exit_status, stderr_to_stdout, binary]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    ok = coroner:start(#{ingest => File("i")}),
    ok = coroner:pause(),
    ok = coroner:resume(),
    take_away(),
    #{trace := intact, gaps := 2} = coroner:status(),
    ok = coroner:sync(infinity),
    ok = coroner:stop(),
    _ = os:cmd("kill " ++ integer_to_list(OsPid)),
    receive {Port, {exit_status, _}} -> ok end,
    Check = "import json, jsonschema, sys\n"
        "schema = json.load(open('priv/schema/coroner.exit-1.schema.json'))\n"
        "lines = [json.loads(line) for line in open(sys.argv[1])]\n"
        "for line in lines: jsonschema.Draft7Validator(schema).validate(line)\n"
        "gaps = [line for line in lines if line['schema'] == 'coroner.gap/1']\n"
        "print(len(gaps), len([gap for gap in gaps if 'to' in gap['gap']]))\n",
    ok = file:write_file(File("check.py"), Check),
    ?assertEqual("3 2", string:trim(os:cmd("python3 " ++ File("check.py") ++ " " ++ File("out") ++ " 2>&1"))),
    ok = file:del_dir_r(Folder).

%% What a node is made of, as far as we could change it.
node_state() ->
    #{trace => testlib:own_trace(),
      sessions => case coroner_trace:kind() of shared -> []; session -> ?TRACE:session_info(all) end,
      threads => testlib:os_threads(),
      processes => length(processes()),
      ports => length(erlang:ports()),
      tables => length(ets:all()),
      terms => maps:get(count, persistent_term:info()),
      modules => length(code:all_loaded()),
      atoms => erlang:system_info(atom_count),
      environment => application:get_all_env(coroner)}.

leaves_nothing() ->
    %% Once before, so that all modules are loaded.
    ok = once(),
    Before = node_state(),
    ok = once(),
    ?assertEqual(Before, node_state()),
    nothing_traced().

once() ->
    ok = coroner:start(#{ingest => none}),
    _ = kill(),
    ok = coroner:stop().

thousand() ->
    Times = fun(N) -> lists:foreach(fun(_) -> ok = once() end, lists:seq(1, N)), memory() end,
    Warm = Times(100),
    State = node_state(),
    After = Times(1000),
    ?assertEqual(State, node_state()),
    %% A start that left a kilobyte behind would show.
    ?assert(After - Warm < 1000_000).

memory() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    erlang:memory(total).

is_ours({meta, {coroner_nif, _}}) -> true;
is_ours(_) -> false.
