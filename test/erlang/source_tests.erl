%% Every source of this version, each brought about for real, asked for the moment 'DOWN' has arrived.
-module(source_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, why/1, text/1]).

-export([init/1, handle_info/2, handle_call/3, handle_cast/2, kill_here/1, signal_here/2]).

-define(SOURCE(Source, Record), ?assertEqual({Source, <<"observed">>},
                                             {get("exit.source", Record), get("exit.confidence", Record)})).

source_test_() ->
    testlib:armed(
      [{"kill", fun kill/0},
       {"kill of a process that traps exits", fun kill_trapping/0},
       {"kill by a registered process", fun kill_by_name/0},
       {"kill through apply and a fun", fun kill_indirect/0},
       {"exit signal", fun exit_signal/0},
       {"exit signal that is trapped, then followed", fun exit_signal_trapped/0},
       {"exit signal `normal` ends nobody", fun exit_signal_normal/0},
       {"exit of itself with exit/1", fun self_exit/0},
       {"exit signal to itself", fun self_signal/0},
       {"a gen_server that stops", fun gen_server_stops/0},
       {"a gen_server that crashes", fun gen_server_crashes/0},
       {"error", fun self_error/0},
       {"error of a BIF", fun self_error_bif/0},
       {"error(shutdown) is an error", fun self_error_shutdown/0},
       {"throw", fun self_throw/0},
       {"normal", fun normal/0},
       {"link", fun link/0},
       {"a link that was broken in time is none", fun unlinked/0},
       {"link with reason kill", fun link_kill/0},
       {"a trapped exit and the same reason", fun link_trapped/0},
       {"a trapped exit and another reason", fun link_trapped_other/0},
       {"shutdown after a trapped shutdown may be its own will", fun link_trapped_shutdown/0},
       {"a child whose supervisor stops it", fun supervisor_child/0},
       {"a parent's exit, proven by the stack", fun parent_exit/0},
       {"a parent's signal, trapped before it stopped trapping", fun parent_signal/0},
       {"unknown", fun unknown/0},
       {"names, ancestors, parent, age", fun identity/0},
       {"an erpc worker that answered is no crash", fun rpc_worker/0},
       {"normal to another", fun normal_to_another/0},
       {"a kill of a dead pid", fun kill_dead/0}]).

%% Who calls, and from which line, is what these are for.
kill_here(Pid) -> exit(Pid, kill), {{?MODULE, kill_here, 1}, ?LINE}.
signal_here(Pid, Reason) -> exit(Pid, Reason), {{?MODULE, signal_here, 2}, ?LINE}.

kill() ->
    Pid = testlib:spawn_waiting(),
    Monitor = monitor(process, Pid),
    Site = kill_here(Pid),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    Record = why(Pid),
    ?SOURCE(<<"kill">>, Record),
    ?assert(testlib:by_site(Record, Site)),
    ?assertEqual(text(self()), get("origin.by", Record)),
    ?assertEqual(<<"source_tests.erl">>, filename:basename(get("origin.by_file", Record))),
    ?assertEqual(<<"erlang:exit/2">>, get("origin.by_function", Record)),
    ?assertEqual(text(Pid), get("origin.pid", Record)),
    ?assertEqual(<<"killed">>, get("exit.reason", Record)),
    ?assertEqual(<<"killed">>, get("exit.reason_class", Record)),
    ?assertEqual(<<"error">>, get("severity", Record)),
    ?assertEqual(get("id", Record), get("origin.id", Record)),
    ?assertMatch([#{source := <<"kill">>}], get("chain", Record)).

kill_trapping() ->
    Pid = testlib:spawn_waiting(),
    Pid ! {self(), trap, true},
    receive {Pid, done} -> ok end,
    Record = end_of(Pid, fun(P) -> exit(P, kill) end),
    ?SOURCE(<<"kill">>, Record),
    ?assertEqual(true, get("process.trap_exit", Record)).

kill_by_name() ->
    Killer = testlib:register_waiting(the_killer),
    Pid = testlib:register_waiting(the_victim),
    Record = end_of(Pid, fun(P) -> Killer ! {self(), exit2, P, kill} end),
    receive {Killer, done} -> ok end,
    ?SOURCE(<<"kill">>, Record),
    ?assertEqual(<<"the_killer">>, get("origin.by_name", Record)),
    ?assertEqual(<<"testlib:waiting/0">>, get("origin.by_initial_call", Record)),
    ?assertEqual(<<"testlib:waiting/0">>, get("origin.by_call", Record)),
    ?assertEqual(<<"the_victim">>, get("process.name", Record)),
    ?assertEqual(<<"the_victim">>, get("origin.name", Record)),
    ?assertMatch({ok, #{id := Id}} when Id =:= map_get(id, Record), coroner:why(the_victim)),
    Killer ! stop,
    testlib:ended(Killer).

kill_indirect() ->
    lists:foreach(
      fun(Kill) ->
              Record = end_of(testlib:spawn_waiting(), Kill),
              ?SOURCE(<<"kill">>, Record),
              ?assertEqual(<<"erlang:exit/2">>, get("origin.by_function", Record))
      end,
      [fun(P) -> apply(erlang, exit, [P, kill]) end,
       fun(P) -> (fun erlang:exit/2)(P, kill) end,
       fun(P) -> Module = list_to_existing_atom("erlang"), Module:exit(P, kill) end,
       fun(P) -> spawn(erlang, exit, [P, kill]) end]).

exit_signal() ->
    Pid = testlib:spawn_waiting(),
    Monitor = monitor(process, Pid),
    Site = signal_here(Pid, {because, 42}),
    receive {'DOWN', Monitor, process, Pid, {because, 42}} -> ok end,
    Record = why(Pid),
    ?SOURCE(<<"exit_signal">>, Record),
    ?assert(testlib:by_site(Record, Site)),
    ?assertEqual(<<"{because,42}">>, get("exit.reason", Record)).

exit_signal_trapped() ->
    Pid = testlib:spawn_waiting(),
    Pid ! {self(), trap, true},
    receive {Pid, done} -> ok end,
    Record = end_of(Pid, fun(P) -> exit(P, enough) end), % it takes the message and exits with that reason
    ?assertEqual({<<"exit_signal">>, <<"inferred">>},
                 {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(text(self()), get("origin.by", Record)).

exit_signal_normal() ->
    Pid = testlib:spawn_waiting(),
    exit(Pid, normal),
    Record = end_of(Pid, fun(P) -> P ! {exit, mine} end),
    ?SOURCE(<<"self_exit">>, Record).

self_exit() ->
    Record = end_of(testlib:spawn_waiting(), fun(P) -> P ! {exit, enough} end),
    ?SOURCE(<<"self_exit">>, Record),
    ?assertEqual(<<"testlib:waiting/0">>, get("origin.by_call", Record)),
    ?assertEqual(undefined, get("origin.by", Record)),
    ?assertEqual(<<"other">>, get("exit.reason_class", Record)).

self_signal() ->
    Killed = end_of(testlib:spawn_waiting(), fun(P) -> P ! {exit_self, kill} end),
    ?SOURCE(<<"self_exit">>, Killed),
    ?assertEqual(<<"killed">>, get("exit.reason", Killed)),
    Other = end_of(testlib:spawn_waiting(), fun(P) -> P ! {exit_self, tired} end),
    ?SOURCE(<<"self_exit">>, Other),
    Normal = end_of(testlib:spawn_waiting(), fun(P) -> P ! {exit_self, normal} end),
    ?SOURCE(<<"normal">>, Normal).

%% A gen_server that does what it is asked.
init(trap) -> process_flag(trap_exit, true), {ok, trap};
init(State) -> {ok, State}.
handle_call(Request, _From, State) -> {reply, Request, State}.
handle_cast(_, State) -> {noreply, State}.
handle_info({stop, Reason}, State) -> {stop, Reason, State};
handle_info({error, Reason}, _State) -> error(Reason);
handle_info({'EXIT', _, Reason}, State) -> {stop, Reason, State};
handle_info({link, Pid, From}, State) -> link(Pid), From ! linked, {noreply, State};
handle_info(_, State) -> {noreply, State}.

gen_server_stops() ->
    {ok, Pid} = gen_server:start(?MODULE, state, []),
    Record = end_of(Pid, fun(P) -> P ! {stop, broken} end),
    ?SOURCE(<<"self_exit">>, Record),
    ?assertEqual(<<"source_tests:init/1">>, get("process.initial_call", Record)),
    ?assertMatch([_ | _], get("exit.stack", Record)).

gen_server_crashes() ->
    {ok, Pid} = gen_server:start(?MODULE, state, []),
    Record = end_of(Pid, fun(P) -> P ! {error, oops} end),
    ?SOURCE(<<"self_error">>, Record),
    ?assertEqual(<<"error">>, get("exit.reason_class", Record)),
    ?assertMatch(<<"source_tests:handle_info/2 (", _/binary>>, hd(get("exit.stack", Record))).

self_error() ->
    Record = end_of(testlib:spawn_waiting(), fun(P) -> P ! {error, bad} end),
    ?SOURCE(<<"self_error">>, Record),
    [First | _] = get("exit.stack", Record),
    ?assertMatch({match, _}, re:run(First, "^testlib:waiting/0 \\(.*testlib.erl:[0-9]+\\)$")).

self_error_bif() ->
    Pid = spawn(fun() -> receive go -> binary_to_atom(self()) end end),
    Record = end_of(Pid, fun(P) -> P ! go end),
    ?SOURCE(<<"self_error">>, Record),
    ?assertMatch(<<"{badarg,[{erlang,binary_to_atom,[", _/binary>>, get("exit.reason", Record)).

self_error_shutdown() ->
    ?SOURCE(<<"self_error">>, end_of(testlib:spawn_waiting(), fun(P) -> P ! {error, shutdown} end)),
    ?SOURCE(<<"self_exit">>, end_of(testlib:spawn_waiting(), fun(P) -> P ! {exit, {shutdown, []}} end)).

self_throw() ->
    Record = end_of(testlib:spawn_waiting(), fun(P) -> P ! {throw, ball} end),
    ?SOURCE(<<"self_throw">>, Record),
    ?assertMatch(<<"{{nocatch,ball},", _/binary>>, get("exit.reason", Record)).

normal() ->
    #{normal := Before, made := Made} = coroner:status(),
    Record = end_of(testlib:spawn_waiting(), fun(P) -> P ! stop end),
    ?SOURCE(<<"normal">>, Record),
    ?assertEqual(<<"testlib:waiting/0">>, get("process.initial_call", Record)),
    #{normal := After, made := MadeAfter} = coroner:status(),
    ?assertEqual(Made, MadeAfter), % counted, not recorded
    ?assert(After > Before).

pair() ->
    A = testlib:spawn_waiting(),
    B = testlib:spawn_waiting(),
    A ! {self(), link, B},
    receive {A, done} -> {A, B} end.

link() ->
    {A, B} = pair(),
    Record = end_of(A, fun(_) -> B ! {exit, {boom, [1]}} end),
    ?SOURCE(<<"link">>, Record),
    ?assertEqual(text(B), get("exit.via", Record)),
    ?assertEqual(<<"{boom,[1]}">>, get("exit.reason", Record)),
    ?assertEqual(<<"self_exit">>, get("origin.source", Record)),
    ?assertEqual(text(B), get("origin.pid", Record)),
    ?assertEqual(get("id", why(B)), get("origin.id", Record)),
    ?assertEqual([text(B), text(A)], [Pid || #{pid := Pid} <- get("chain", Record)]).

unlinked() ->
    {A, B} = pair(),
    A ! {self(), unlink, B},
    receive {A, done} -> ok end,
    B ! {exit, same},
    testlib:ended(B),
    Record = end_of(A, fun(P) -> P ! {exit, same} end),
    ?SOURCE(<<"self_exit">>, Record).

link_kill() ->
    {A, B} = pair(),
    Record = end_of(A, fun(_) -> B ! {exit, kill} end),
    ?SOURCE(<<"link">>, Record),
    ?assertEqual(<<"kill">>, get("exit.reason", Record)). % over a link it is not rewritten

trapping_server(Peer) ->
    {ok, Pid} = gen_server:start(?MODULE, trap, []),
    Pid ! {link, Peer, self()},
    receive linked -> Pid end.

link_trapped() ->
    Peer = testlib:spawn_waiting(),
    Pid = trapping_server(Peer),
    Record = end_of(Pid, fun(_) -> exit(Peer, kill) end),
    ?assertEqual({<<"link_trapped">>, <<"inferred">>},
                 {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(text(Peer), get("exit.via", Record)),
    ?assertEqual(<<"kill">>, get("origin.source", Record)),
    ?assertEqual(text(self()), get("origin.by", Record)),
    ?assertMatch([#{source := <<"kill">>, reason := <<"killed">>},
                  #{source := <<"link_trapped">>, reason := <<"killed">>}], get("chain", Record)).

link_trapped_other() ->
    Peer = testlib:spawn_waiting(),
    Pid = testlib:spawn_waiting(),
    [begin Pid ! Message, receive {Pid, done} -> ok end end
     || Message <- [{self(), trap, true}, {self(), link, Peer}]],
    exit(Peer, {ignore, me}),
    testlib:ended(Peer),
    ?SOURCE(<<"self_exit">>, end_of(Pid, fun(P) -> P ! {exit, another} end)).

link_trapped_shutdown() ->
    Peer = testlib:spawn_waiting(),
    Pid = trapping_server(Peer),
    Record = end_of(Pid, fun(_) -> exit(Peer, shutdown) end),
    ?assertEqual({<<"link_trapped">>, <<"ambiguous">>},
                 {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual([<<"link_trapped">>, <<"self_exit">>],
                 [Source || #{source := Source} <- get("exit.candidates", Record)]),
    ?assertEqual(<<"info">>, get("severity", Record)).

supervisor_child() ->
    Child = #{id => child, start => {gen_server, start_link, [?MODULE, trap, []]}},
    {ok, Supervisor} = supervisor_of([Child, Child#{id => plain, start => {gen_server, start_link, [?MODULE, s, []]}}]),
    [{_, Plain, _, _}, {_, Trapping, _, _}] = lists:sort(fun({A, _, _, _}, {B, _, _, _}) -> A > B end,
                                                         supervisor:which_children(Supervisor)),
    lists:foreach(
      fun({Id, Pid}) ->
              Record = end_of(Pid, fun(_) -> supervisor:terminate_child(Supervisor, Id) end),
              ?SOURCE(<<"supervisor_shutdown">>, Record),
              ?assertEqual(text(Supervisor), get("origin.by", Record)),
              ?assertEqual(<<"supervisor:shutdown/1">>, get("origin.by_call", Record)),
              ?assertEqual([text(Supervisor)], lists:sublist(get("process.ancestors", Record), 1))
      end, [{plain, Plain}, {child, Trapping}]),
    unlink(Supervisor),
    end_of(Supervisor, fun(P) -> exit(P, kill) end).

supervisor_of(Children) ->
    supervisor:start_link(supervisor_for_test, {#{strategy => one_for_one}, Children}).

parent_exit() ->
    %% A gen_server that traps ends with its parent's reason out of the function that receives: no inference.
    Self = self(),
    Parent = spawn(fun() ->
                           {ok, Pid} = gen_server:start_link(?MODULE, trap, []),
                           Self ! {started, Pid},
                           receive {exit, Reason} -> exit(Reason) end
                   end),
    Pid = receive {started, P} -> P end,
    Record = end_of(Pid, fun(_) -> Parent ! {exit, shutdown} end),
    ?SOURCE(<<"link_trapped">>, Record),
    ?assertEqual(text(Parent), get("exit.via", Record)).

%% The signal has become a message when the server stops trapping, and the server ends of that message: as its stack shows.
parent_signal() ->
    Self = self(),
    Parent = spawn(fun() ->
                           {ok, Pid} = gen_server:start_link(?MODULE, trap, []),
                           unlink(Pid),
                           Self ! {started, Pid},
                           receive signal -> exit(Pid, boom) end,
                           testlib:wait()
                   end),
    Pid = receive {started, P} -> P end,
    Monitor = monitor(process, Pid),
    _ = sys:replace_state(Pid, fun(State) ->
                                       Parent ! signal,
                                       await_message({'EXIT', Parent, boom}),
                                       process_flag(trap_exit, false),
                                       State
                               end),
    receive {'DOWN', Monitor, process, Pid, boom} -> ok end,
    Record = why(Pid),
    ?SOURCE(<<"exit_signal">>, Record),
    ?assertEqual(text(Parent), get("origin.by", Record)),
    exit(Parent, kill).

%% Until it stands in the queue of this process.
await_message(Message) ->
    {messages, Messages} = process_info(self(), messages),
    lists:member(Message, Messages) orelse begin erlang:yield(), await_message(Message) end.

unknown() ->
    %% What a sensitive process does is hidden from all tracing.
    Pid = testlib:spawn_waiting(),
    Record = end_of(Pid, fun(P) -> spawn(fun() -> process_flag(sensitive, true), exit(P, because) end) end),
    ?assertEqual({<<"unknown">>, <<"unknown">>}, {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(<<"because">>, get("exit.reason", Record)),
    %% gen_server:call of nobody: its own doing, though a warning only.
    Caller = spawn(fun() -> gen_server:call(nobody_here, hello) end),
    testlib:ended(Caller),
    ?SOURCE(<<"self_exit">>, why(Caller)),
    ?assertEqual(<<"noproc">>, get("exit.reason_class", why(Caller))),
    ?assertEqual(<<"warning">>, get("severity", why(Caller))).

identity() ->
    {ok, Supervisor} = supervisor_of([#{id => a, start => {gen_server, start_link,
                                                           [{local, 'an odd name'}, ?MODULE, state, []]}}]),
    Pid = whereis('an odd name'),
    Record = end_of(Pid, fun(P) -> exit(P, kill) end),
    ?assertEqual(<<"an odd name">>, get("process.name", Record)),
    ?assertEqual(<<"source_tests:init/1">>, get("process.initial_call", Record)),
    ?assertEqual(text(Supervisor), get("process.parent", Record)),
    ?assertEqual([text(Supervisor), text(self())], lists:sublist(get("process.ancestors", Record), 2)),
    ?assertEqual(false, get("process.trap_exit", Record)),
    ?assert(is_integer(get("process.age_us", Record))),
    ?assert(get("process.age_us", Record) < 60_000_000),
    ?assertEqual(<<"supervisor:supervisor_for_test/1">>,
                 get("process.initial_call", begin unlink(Supervisor), end_of(Supervisor, fun(P) -> exit(P, kill) end) end)).

rpc_worker() ->
    %% With a timeout it runs in a worker of its own, which exits with {Ref, return, Result}.
    Worker = erpc:call(node(), erlang, self, [], 10_000),
    testlib:ended(Worker),
    ?assertNotEqual(self(), Worker),
    Record = why(Worker),
    ?SOURCE(<<"normal">>, Record),
    ?assertEqual(undefined, get("id", Record)). % counted, not recorded

%% exit(Pid, normal) does nothing to another, however often.
normal_to_another() ->
    Self = self(),
    Pid = spawn(fun() -> testlib:waiting() end),
    %% Not by its parent.
    Done = spawn(fun() -> [exit(Pid, normal) || _ <- lists:seq(1, 40)], Self ! {self(), done} end),
    receive {Done, done} -> ok end,
    Record = end_of(Pid, fun(P) -> exit(P, stop_it) end),
    ?SOURCE(<<"exit_signal">>, Record),
    ?assertEqual(<<"observed">>, get("exit.confidence", Record)),
    ?assertNotEqual(true, get("exit.evidence_lost", Record)).

kill_dead() ->
    Dead = testlib:spawn_waiting(),
    Dead ! stop,
    testlib:ended(Dead),
    #{made := Before} = coroner:status(),
    exit(Dead, kill),
    #{made := Before, held := Before} = coroner:status(),
    ?assertMatch({ok, #{exit := #{source := <<"normal">>}}}, coroner:why(Dead)).

%% Both kill before the victim, of low priority on the one scheduler of that node, can run.
two_killers_test() ->
    Peer = testlib:peer(["+S", "1:1"]),
    {Record, One, Two} = peer:call(Peer, erlang, apply, [fun two_killers/0, []]),
    peer:stop(Peer),
    ?assertEqual(<<"ambiguous">>, get("exit.confidence", Record)),
    ?assertEqual(<<"kill">>, get("exit.source", Record)),
    ?assertEqual([text(One), text(Two)], [By || #{by := By} <- get("exit.candidates", Record)]),
    ?assertEqual(text(One), get("origin.by", Record)).

two_killers() ->
    testlib:start_armed(),
    Self = self(),
    process_flag(priority, high),
    Victim = spawn_opt(fun() -> receive never -> ok end end, [{priority, low}]),
    Monitor = monitor(process, Victim),
    Kill = fun() -> receive go -> exit(Victim, kill), Self ! {self(), done} end end,
    [One, Two] = Killers = [spawn_opt(Kill, [{priority, high}]) || _ <- [1, 2]],
    [begin Killer ! go, receive {Killer, done} -> ok end end || Killer <- Killers],
    receive {'DOWN', Monitor, process, Victim, killed} -> ok end,
    {ok, Record} = coroner:why(Victim),
    ok = coroner:stop(),
    {Record, list_to_pid(pid_to_list(One)), list_to_pid(pid_to_list(Two))}.

errors_test_() ->
    [{"not armed", fun() -> ?assertEqual({error, not_armed}, coroner:why(self())) end},
     testlib:armed(
       [{"alive", fun() -> ?assertEqual({error, alive}, coroner:why(self())) end},
        {"a name that is alive", fun() -> ?assertEqual({error, alive}, coroner:why(kernel_sup)) end},
        {"a name nobody had", fun() -> ?assertEqual({error, not_seen}, coroner:why('no such name')) end},
        {"never was", fun() -> ?assertEqual({error, not_seen}, coroner:why(list_to_pid("<0.12345.99>"))) end}]),
     {"expired",
      fun() ->
              ok = coroner:start(#{ingest => none, memory => 65536}),
              Pid = testlib:spawn_waiting(),
              _ = end_of(Pid, fun(P) -> exit(P, kill) end),
              _ = [testlib:ended(spawn(fun() -> exit(filler) end)) || _ <- lists:seq(1, 500)],
              ?assertEqual({error, expired}, coroner:why(Pid)),
              #{lost := Lost, made := Made, held := Held} = coroner:status(),
              ?assertEqual(Made, Held + Lost),
              ok = coroner:stop()
      end}].
