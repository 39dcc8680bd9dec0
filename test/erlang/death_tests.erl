%% Every way to die, brought about by OTP's own code doing the real thing: supervisors, applications, ports, heaps,
%% other nodes. What each row's origin has to show is in the row.
-module(death_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, why/1, text/1]).

-export([start_child/1, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, start/2, stop/1, kill_from/1,
         exit_other/2, link_to/2, spawn_there/0, connections/0]).

%% A record's fields against what is expected of them.
-define(FIELDS(Record, Wanted), ?assertEqual(Wanted, maps:map(fun(Path, _) -> field(Path, Record) end, Wanted))).

field(Path, Record) -> get(Path, Record).

supervisor_test_() ->
    testlib:armed(
      [{"terminate_child: shutdown", fun terminate_child/0},
       {"brutal_kill", fun brutal_kill/0},
       {"a child that does not end in time", fun timeout_kill/0},
       {"one_for_all: a sibling's crash", fun one_for_all/0},
       {"rest_for_one: a sibling's kill", fun rest_for_one/0},
       {"restart intensity", fun intensity/0},
       {"the supervisor's own parent", fun parent/0},
       {"a significant child", fun significant/0},
       {"simple_one_for_one: terminate_child", fun simple_child/0},
       {"simple_one_for_one: all of them, some in time", fun simple_all/0},
       {"a stop of the supervisor is nobody's parent", fun stopped_supervisor/0},
       {"a supervisor of another kind is named as a killer", fun foreign_supervisor/0}]).

child(Id, Kind) -> #{id => Id, start => {?MODULE, start_child, [Kind]}, shutdown => 5000}.

start_child(Kind) -> gen_server:start_link(?MODULE, Kind, []).

supervisor_of(Flags, Children) ->
    Self = self(),
    Owner = spawn(fun() ->
                          process_flag(trap_exit, true),
                          {ok, Pid} = supervisor:start_link(supervisor_for_test, {Flags, Children}),
                          Self ! {started, Pid},
                          receive {stop, Reason} -> exit(Reason) end
                  end),
    receive {started, Supervisor} -> {Supervisor, Owner} end.

children(Supervisor) ->
    maps:from_list([{Id, Pid} || {Id, Pid, _, _} <- supervisor:which_children(Supervisor)]).

gone({Supervisor, Owner}) ->
    end_of(Supervisor, fun(_) -> Owner ! {stop, kill} end).

terminate_child() ->
    {Supervisor, _} = Both = supervisor_of(#{}, [child(one, plain), child({two, <<"b">>}, trap)]),
    #{one := One, {two, <<"b">>} := Two} = children(Supervisor),
    register(the_asker, self()),
    [begin
         Record = end_of(Pid, fun(_) -> ok = supervisor:terminate_child(Supervisor, Id) end),
         ?FIELDS(Record, #{"exit.source" => <<"supervisor_shutdown">>, "exit.confidence" => <<"observed">>,
                           "exit.reason" => <<"shutdown">>, "origin.supervisor" => text(Supervisor),
                           "origin.by" => text(Supervisor), "origin.child" => Shown, "origin.timeout_ms" => 5000,
                           "origin.why" => <<"terminate_child">>, "origin.asked_by" => text(self()),
                           "origin.asked_by_name" => <<"the_asker">>, "severity" => <<"info">>})
     end || {Id, Pid, Shown} <- [{one, One, <<"one">>}, {{two, <<"b">>}, Two, <<"{two,<<\"b\">>}">>}]],
    unregister(the_asker),
    gone(Both).

brutal_kill() ->
    {Supervisor, _} = Both = supervisor_of(#{}, [(child(victim, trap))#{shutdown => brutal_kill}]),
    #{victim := Pid} = children(Supervisor),
    Record = end_of(Pid, fun(_) -> ok = supervisor:terminate_child(Supervisor, victim) end),
    ?FIELDS(Record, #{"exit.source" => <<"supervisor_brutal_kill">>, "exit.confidence" => <<"observed">>,
                      "exit.reason" => <<"killed">>, "origin.child" => <<"victim">>, "origin.timeout_ms" => undefined,
                      "origin.why" => <<"terminate_child">>, "severity" => <<"error">>}),
    gone(Both).

timeout_kill() ->
    {Supervisor, _} = Both = supervisor_of(#{}, [(child(slow, stubborn))#{shutdown => 10}]),
    #{slow := Pid} = children(Supervisor),
    Record = end_of(Pid, fun(_) -> ok = supervisor:terminate_child(Supervisor, slow) end),
    ?FIELDS(Record, #{"exit.source" => <<"supervisor_timeout_kill">>, "exit.confidence" => <<"observed">>,
                      "exit.reason" => <<"killed">>, "origin.child" => <<"slow">>, "origin.timeout_ms" => 10,
                      "origin.why" => <<"terminate_child">>, "origin.by" => text(Supervisor)}),
    gone(Both).

one_for_all() ->
    {Supervisor, _} = Both = supervisor_of(#{strategy => one_for_all}, [child(a, plain), child(b, plain), child(c, trap)]),
    #{a := A, b := B, c := C} = children(Supervisor),
    MonitorA = monitor(process, A),
    MonitorC = monitor(process, C),
    gen_server:cast(B, crash),
    receive {'DOWN', MonitorA, _, _, _} -> ok end,
    receive {'DOWN', MonitorC, _, _, _} -> ok end,
    [?FIELDS(why(Pid), #{"exit.source" => <<"supervisor_shutdown">>, "exit.confidence" => <<"observed">>,
                         "origin.child" => Id, "origin.why" => <<"sibling">>, "origin.sibling" => text(B),
                         "origin.sibling_id" => get("id", why(B))})
     || {Pid, Id} <- [{A, <<"a">>}, {C, <<"c">>}]],
    ?FIELDS(why(B), #{"exit.source" => <<"self_error">>}),
    gone(Both).

rest_for_one() ->
    {Supervisor, _} = Both = supervisor_of(#{strategy => rest_for_one}, [child(a, plain), child(b, plain), child(c, plain)]),
    #{a := A, b := B, c := C} = children(Supervisor),
    Monitor = monitor(process, C),
    exit(B, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?FIELDS(why(C), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"sibling">>,
                      "origin.sibling" => text(B), "origin.sibling_id" => get("id", why(B))}),
    ?assert(is_process_alive(A)),
    gone(Both).

intensity() ->
    {Supervisor, Owner} = supervisor_of(#{intensity => 1, period => 60}, [child(a, plain), child(b, plain)]),
    #{a := A, b := B} = children(Supervisor),
    %% One restart is allowed, the second is one too many.
    gen_server:cast(B, crash),
    testlib:ended(B),
    #{b := Again} = children(Supervisor),
    Monitor = monitor(process, Supervisor),
    gen_server:cast(Again, crash),
    receive {'DOWN', Monitor, _, _, shutdown} -> ok end,
    ?FIELDS(why(A), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"intensity">>,
                      "origin.sibling" => text(Again), "origin.child" => <<"a">>}),
    ?FIELDS(why(Supervisor), #{"exit.source" => <<"self_exit">>, "exit.reason" => <<"shutdown">>,
                               "origin.why" => <<"intensity">>, "origin.sibling" => text(Again)}),
    Owner ! {stop, normal}.

parent() ->
    {Supervisor, Owner} = supervisor_of(#{}, [child(a, plain)]),
    #{a := A} = children(Supervisor),
    Monitor = monitor(process, A),
    Owner ! {stop, shutdown},
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?FIELDS(why(A), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"parent">>}),
    testlib:ended(Supervisor),
    ?FIELDS(why(Supervisor), #{"exit.source" => <<"link_trapped">>, "exit.via" => text(Owner)}).

significant() ->
    {Supervisor, Owner} = supervisor_of(#{auto_shutdown => any_significant},
                                        [(child(a, plain))#{restart => temporary, significant => true}, child(b, plain)]),
    #{a := A, b := B} = children(Supervisor),
    Monitor = monitor(process, B),
    gen_server:stop(A),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?FIELDS(why(B), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"sibling">>,
                      "origin.sibling" => text(A)}),
    testlib:ended(Supervisor),
    Owner ! {stop, normal}.

simple() ->
    supervisor_of(#{strategy => simple_one_for_one},
                  [#{id => session, start => {?MODULE, start_child, []}, shutdown => 20, restart => temporary}]).

simple_child() ->
    {Supervisor, _} = Both = simple(),
    {ok, Pid} = supervisor:start_child(Supervisor, [trap]),
    Record = end_of(Pid, fun(_) -> ok = supervisor:terminate_child(Supervisor, Pid) end),
    ?FIELDS(Record, #{"exit.source" => <<"supervisor_shutdown">>, "exit.confidence" => <<"observed">>,
                      "origin.why" => <<"terminate_child">>, "origin.child" => <<"session">>, "origin.timeout_ms" => 20}),
    gone(Both).

simple_all() ->
    {Supervisor, Owner} = simple(),
    Kinds = [plain, trap, stubborn],
    Pids = [begin {ok, Pid} = supervisor:start_child(Supervisor, [Kind]), Pid end || Kind <- Kinds],
    Monitor = monitor(process, Supervisor),
    Owner ! {stop, shutdown},
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?assertEqual([<<"supervisor_shutdown">>, <<"supervisor_shutdown">>, <<"supervisor_timeout_kill">>],
                 [get("exit.source", why(Pid)) || Pid <- Pids]),
    [?FIELDS(why(Pid), #{"origin.child" => <<"session">>, "origin.why" => <<"parent">>, "origin.timeout_ms" => 20,
                         "exit.confidence" => <<"observed">>})
     || Pid <- Pids].

stopped_supervisor() ->
    {Supervisor, Owner} = supervisor_of(#{}, [child(a, plain)]),
    #{a := A} = children(Supervisor),
    Monitor = monitor(process, A),
    ok = gen_server:stop(Supervisor),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    ?FIELDS(why(A), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"unknown">>}),
    ?FIELDS(why(Supervisor), #{"exit.source" => <<"stop_request">>, "origin.by" => text(self())}),
    Owner ! {stop, normal}.

foreign_supervisor() ->
    Pid = testlib:spawn_waiting(),
    Pooler = testlib:register_waiting(a_pool),
    Record = end_of(Pid, fun(P) -> Pooler ! {self(), exit2, P, shutdown} end),
    ?FIELDS(Record, #{"exit.source" => <<"exit_signal">>, "origin.by_name" => <<"a_pool">>,
                      "origin.by_call" => <<"testlib:waiting/0">>, "origin.why" => undefined}),
    Pooler ! stop,
    testlib:ended(Pooler).

%% --- requests to stop ------------------------------------------------------------------------------------

stop_test_() ->
    testlib:armed(
      [{"gen_server:stop/1 of a process", fun() -> stop(fun(Pid) -> gen_server:stop(Pid), ok end, "gen_server:stop/1", normal) end},
       {"gen_server:stop/3 by name", fun() -> stop(fun(_) -> gen_server:stop(a_server, enough, 5000), ok end, "gen_server:stop/3", enough) end},
       {"proc_lib:stop/3", fun() -> stop(fun(Pid) -> proc_lib:stop(Pid, shutdown, infinity), ok end, "proc_lib:stop/3", shutdown) end},
       {"sys:terminate/2", fun() -> stop(fun(Pid) -> sys:terminate(Pid, {shutdown, done}), ok end, "sys:terminate/2", {shutdown, done}) end},
       {"a stop that is followed by another end", fun other_end/0}]).

stop(Stop, Function, Reason) ->
    {ok, Pid} = gen_server:start({local, a_server}, ?MODULE, plain, []),
    Record = end_of(Pid, Stop),
    ?FIELDS(Record, #{"exit.source" => <<"stop_request">>, "exit.confidence" => <<"observed">>,
                      "exit.reason" => iolist_to_binary(io_lib:format("~w", [Reason])),
                      "origin.by" => text(self()), "origin.by_function" => list_to_binary(Function),
                      "process.name" => <<"a_server">>}),
    ?assertMatch(<<"death_tests:", _/binary>>, get("origin.by_call", Record)).

other_end() ->
    %% It is busy when the request comes, and then crashes: that is its own doing.
    {ok, Pid} = gen_server:start(?MODULE, plain, []),
    Self = self(),
    gen_server:cast(Pid, {wait_for, Self}),
    receive {Pid, waiting} -> ok end,
    Stopper = spawn(fun() -> gen_server:stop(Pid, wanted, 5000) end),
    wait_until_queued(Pid, Stopper),
    Record = end_of(Pid, fun(_) -> Pid ! {Self, crash} end),
    ?FIELDS(Record, #{"exit.source" => <<"self_error">>}),
    testlib:ended(Stopper).

%% Nothing tells when a message has come to a process that does not receive, and the stopper waits for its answer: ask.
wait_until_queued(Pid, Stopper) ->
    case process_info(Pid, messages) of
        {messages, [_ | _]} -> ok;
        {messages, []} -> true = is_process_alive(Stopper), erlang:yield(), wait_until_queued(Pid, Stopper)
    end.

%% --- applications -----------------------------------------------------------------------------------------

application_test_() ->
    testlib:armed([{"application:stop/1", fun application_stop/0}]).

application_stop() ->
    ok = application:load({application, death_app, [{mod, {?MODULE, []}}, {applications, [kernel, stdlib]}]}),
    ok = application:start(death_app),
    Top = whereis(death_top),
    #{inner := Inner} = children(Top),
    #{leaf := Leaf} = children(Inner),
    Monitors = [monitor(process, Pid) || Pid <- [Top, Inner, Leaf]],
    ok = application:stop(death_app),
    [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors],
    ?FIELDS(why(Top), #{"exit.source" => <<"application_stop">>, "exit.confidence" => <<"observed">>,
                        "origin.application" => <<"death_app">>, "origin.by" => text(self()),
                        "origin.by_function" => <<"application:stop/1">>}),
    [?FIELDS(why(Pid), #{"exit.source" => <<"supervisor_shutdown">>, "origin.why" => <<"application_stop">>,
                         "origin.application" => <<"death_app">>}) || Pid <- [Inner, Leaf]],
    ok = application:unload(death_app).

start(_, _) ->
    Leaf = child(leaf, plain),
    Inner = #{id => inner, start => {supervisor, start_link, [supervisor_for_test, {#{}, [Leaf]}]}, type => supervisor},
    supervisor:start_link({local, death_top}, supervisor_for_test, {#{}, [Inner]}).

stop(_) ->
    case persistent_term:get(?MODULE, none) of
        none -> ok;
        {File, Top} -> ok = file:write_file(File, term_to_binary(coroner:why(Top)), [raw])
    end.

%% --- ports ------------------------------------------------------------------------------------------------

port_test_() ->
    testlib:armed([{"a port that is made to close", fun() -> port(because, <<"because">>) end},
                   {"a port that is killed", fun() -> port(kill, <<"killed">>) end},
                   {"a port that closes with noproc is not one that was dead", fun() -> port(noproc, <<"noproc">>) end},
                   {"nor is one that lives while its owner ends so", fun port_lives/0},
                   {"a trapped port exit", fun port_trapped/0},
                   {"the port's own end, normal, ends nobody", fun port_normal/0},
                   {"a cascade out of a port", fun port_cascade/0}]).

port_owner(Trap) ->
    Self = self(),
    Pid = spawn(fun() ->
                        process_flag(trap_exit, Trap),
                        Self ! {port, open_port({spawn, "cat"}, [])},
                        receive {'EXIT', _, Reason} -> exit(Reason); stop -> ok end
                end),
    receive {port, Port} -> {Pid, Port} end.

port_lives() ->
    Pid = spawn(fun() -> _ = open_port({spawn, "cat"}, []), exit(noproc) end),
    testlib:ended(Pid),
    ?FIELDS(why(Pid), #{"exit.source" => <<"self_exit">>, "exit.confidence" => <<"observed">>}).

port(Reason, Shown) ->
    {Pid, Port} = port_owner(false),
    Record = end_of(Pid, fun(_) -> exit(Port, Reason) end),
    ?FIELDS(Record, #{"exit.source" => <<"port">>, "exit.confidence" => <<"observed">>, "exit.reason" => Shown,
                      "origin.port" => list_to_binary(port_to_list(Port)), "origin.command" => <<"cat">>,
                      "exit.via" => list_to_binary(port_to_list(Port))}).

port_trapped() ->
    {Pid, Port} = port_owner(true),
    Record = end_of(Pid, fun(_) -> exit(Port, because) end),
    ?FIELDS(Record, #{"exit.source" => <<"port">>, "exit.confidence" => <<"inferred">>, "origin.command" => <<"cat">>}).

port_normal() ->
    Self = self(),
    Pid = spawn(fun() ->
                        Port = open_port({spawn, "true"}, [exit_status]),
                        receive {Port, {exit_status, 0}} -> ok end,
                        Self ! {self(), seen},
                        receive {exit, Reason} -> exit(Reason) end
                end),
    receive {Pid, seen} -> ok end,
    ?FIELDS(end_of(Pid, fun(_) -> Pid ! {exit, mine} end), #{"exit.source" => <<"self_exit">>}).

port_cascade() ->
    {Pid, Port} = port_owner(false),
    Linked = testlib:spawn_waiting(),
    Linked ! {self(), link, Pid},
    receive {Linked, done} -> ok end,
    Record = end_of(Linked, fun(_) -> exit(Port, because) end),
    ?FIELDS(Record, #{"exit.source" => <<"link">>, "exit.via" => text(Pid), "origin.source" => <<"port">>,
                      "origin.port" => list_to_binary(port_to_list(Port))}).

%% --- newer ways to send a signal --------------------------------------------------------------------------

%% Each where this OTP has it. An alias (OTP 28 and later) is no process; that it was not given up is an inference.
signal_test_() ->
    testlib:armed(
      [{"erlang:exit_signal/2", fun() -> signal(exit_signal, fun(Pid) -> [Pid, because] end, <<"observed">>) end}]
      ++ [{"erlang:exit/3", fun() -> signal(exit, fun(Pid) -> [Pid, because, []] end, <<"observed">>) end}
          || has(exit, 3)]
      ++ [{"erlang:exit_signal/3", fun() -> signal(exit_signal, fun(Pid) -> [Pid, because, []] end, <<"observed">>) end}
          || has(exit_signal, 3)]
      ++ [{"a priority signal", fun() -> priority_signal(exit) end} || has(exit, 3)]
      ++ [{"an alias", fun() -> signal(exit, fun alias_of/1, <<"inferred">>) end} || has(exit, 3)]
      ++ [{"link/2", fun link_with_options/0} || has(link, 2)]).

has(Function, Arity) -> erlang:function_exported(erlang, Function, Arity).

signal(Function, Arguments, Confidence) ->
    Pid = spawn(fun() -> receive {From, alias} -> From ! {alias, alias()} end, receive never -> ok end end),
    With = Arguments(Pid),
    Record = end_of(Pid, fun(_) -> apply(erlang, Function, With), ok end),
    Called = iolist_to_binary(io_lib:format("erlang:~s/~b", [Function, length(With)])),
    ?FIELDS(Record, #{"exit.source" => <<"exit_signal">>, "exit.confidence" => Confidence,
                      "origin.by" => text(self()), "origin.by_function" => Called}).

alias_of(Pid) ->
    Pid ! {self(), alias},
    receive {alias, Alias} -> [Alias, because] end.

priority_signal(Function) ->
    Self = self(),
    Pid = spawn(fun() -> Alias = apply(erlang, alias, [[priority]]), Self ! {alias, Alias}, receive never -> ok end end),
    Alias = receive {alias, A} -> A end,
    Record = end_of(Pid, fun(_) -> apply(erlang, Function, [Alias, kill, [priority]]), ok end),
    ?FIELDS(Record, #{"exit.source" => <<"kill">>, "exit.confidence" => <<"inferred">>, "origin.by" => text(self())}).

link_with_options() ->
    Peer = testlib:spawn_waiting(),
    Self = self(),
    Pid = spawn(fun() -> true = apply(erlang, link, [Peer, []]), Self ! {self(), linked}, receive never -> ok end end),
    receive {Pid, linked} -> ok end,
    Record = end_of(Pid, fun(_) -> Peer ! {exit, because} end),
    ?FIELDS(Record, #{"exit.source" => <<"link">>, "exit.via" => text(Peer)}).

%% --- noproc -----------------------------------------------------------------------------------------------

noproc_test_() ->
    testlib:armed([{"link/1 of a dead process", fun() -> link_dead(0) end},
                   {"link/1 of a dead process that had many links", fun() -> link_dead(100) end},
                   {"link/1 of a dead process that was caught", fun link_dead_caught/0}]).

link_dead(Links) ->
    Self = self(),
    Dead = spawn(fun() ->
                         Self ! {linked, [spawn_link(testlib, waiting, []) || _ <- lists:seq(1, Links)]},
                         receive stop -> exit(stopped) end
                 end),
    receive {linked, Linked} -> ok end,
    Dead ! stop,
    lists:foreach(fun testlib:ended/1, [Dead | Linked]),
    Pid = spawn(fun() -> receive go -> link(Dead), receive never -> ok end end end),
    Record = end_of(Pid, fun(_) -> Pid ! go end),
    ?FIELDS(Record, #{"exit.source" => <<"noproc">>, "exit.confidence" => <<"observed">>, "origin.target" => text(Dead),
                      "severity" => <<"warning">>}).

%% The link is in its set for ever; but the VM's answer to it is the bare noproc.
link_dead_caught() ->
    Dead = testlib:spawn_waiting(),
    Dead ! stop,
    testlib:ended(Dead),
    Pid = spawn(fun() ->
                        noproc = try link(Dead) catch error:Reason -> Reason end,
                        receive go -> gen_server:call(nobody_here, hello) end
                end),
    Record = end_of(Pid, fun(_) -> Pid ! go end),
    ?FIELDS(Record, #{"exit.source" => <<"self_exit">>, "exit.confidence" => <<"observed">>}).

%% --- heaps ------------------------------------------------------------------------------------------------

heap_test_() ->
    testlib:armed([{"a limit that it set itself", fun heap_own_limit/0},
                   {"a limit that it was spawned with is not known", fun heap_spawn_limit/0},
                   {"a limit that does not kill is no cause", fun heap_survived/0},
                   {"a cascade out of a heap", fun heap_cascade/0}]).

hungry() -> receive go -> eat([]) end.
eat(List) -> eat([List | lists:seq(1, 1000)]).

-define(LIMIT(Kill), #{size => 20_000, kill => Kill, error_logger => false}).

heap_own_limit() ->
    Pid = spawn(fun() -> process_flag(max_heap_size, ?LIMIT(true)), hungry() end),
    Record = end_of(Pid, fun(_) -> Pid ! go end),
    ?FIELDS(Record, #{"exit.source" => <<"max_heap_size">>, "exit.confidence" => <<"observed">>,
                      "exit.reason" => <<"killed">>, "origin.limit_words" => 20_000}),
    ?assert(get("origin.size_words", Record) > 20_000).

heap_spawn_limit() ->
    Pid = spawn_opt(fun hungry/0, [{max_heap_size, ?LIMIT(true)}]),
    Record = end_of(Pid, fun(_) -> Pid ! go end),
    ?FIELDS(Record, #{"exit.source" => <<"max_heap_size">>, "origin.limit_words" => null}).

heap_survived() ->
    Self = self(),
    Pid = spawn_opt(fun() ->
                            receive go -> ok end,
                            _ = length(lists:seq(1, 100_000)),
                            erlang:garbage_collect(),
                            Self ! {self(), full},
                            receive never -> ok end
                    end, [{max_heap_size, ?LIMIT(false)}]),
    Pid ! go,
    receive {Pid, full} -> ok end,
    Record = end_of(Pid, fun(_) -> exit(Pid, kill) end),
    ?FIELDS(Record, #{"exit.source" => <<"kill">>, "exit.confidence" => <<"observed">>}).

heap_cascade() ->
    Pid = spawn_opt(fun hungry/0, [{max_heap_size, ?LIMIT(true)}]),
    Linked = testlib:spawn_waiting(),
    Linked ! {self(), link, Pid},
    receive {Linked, done} -> ok end,
    Record = end_of(Linked, fun(_) -> Pid ! go end),
    ?FIELDS(Record, #{"exit.source" => <<"link">>, "origin.source" => <<"max_heap_size">>}).

%% --- other nodes ------------------------------------------------------------------------------------------

%% Two more nodes: one is armed and asked, the other does things to it. They are connected to each other alone.
remote_test_() ->
    {setup, fun start_nodes/0, fun stop_nodes/1,
     fun(Nodes) ->
             [{Name, {timeout, 60, fun() -> Test(Nodes) end}}
              || {Name, Test} <- [{"a kill by another node's process", fun remote_kill/1},
                                  {"an exit signal of another node's process", fun remote_signal/1},
                                  {"a linked process of another node", fun remote_link/1},
                                  {"a worker of erpc kills here", fun erpc_kill/1},
                                  {"a lost connection", fun noconnection/1},
                                   {"the connection of a node that leaves", fun connection/1},
                                   {"spawn_link on a node that is not there", fun crasher/1},
                                   {"one that died outside the scope, beside many links", fun unseen_among_many/1}]]
     end}.

start_nodes() ->
    {Epmd, Environment} = testlib:epmd(),
    Paths = [testlib:ebin(), filename:dirname(code:which(?MODULE))],
    [Armed, Other] =
        [begin
             {ok, Peer, Node} = peer:start_link(#{name => peer:random_name(), connection => standard_io, host => "127.0.0.1",
                                                  longnames => true, env => Environment, args => ["-pa" | Paths]}),
             {Peer, Node}
         end || _ <- [1, 2]],
    {Peer, _} = Armed,
    {_, Node} = Other,
    ok = peer:call(Peer, coroner, start, [#{ingest => none}]),
    true = peer:call(Peer, net_kernel, connect_node, [Node]),
    {Armed, Other, Epmd}.

stop_nodes({{A, _}, {B, _}, Epmd}) ->
    peer:stop(A),
    peer:stop(B),
    testlib:epmd_stop(Epmd).

%% Run on the armed node: starts a process, has the other node do something to it, and waits for its end.
on_armed({{Peer, _}, {_, Node}, _}, Do) ->
    peer:call(Peer, erlang, apply,
              [fun() ->
                       Pid = testlib:spawn_waiting(),
                       Monitor = monitor(process, Pid),
                       Do(Pid, Node),
                       receive {'DOWN', Monitor, process, Pid, _} -> why(Pid) end
               end, []], 30_000).

kill_from(Pid) -> exit(Pid, kill).
exit_other(Pid, Reason) -> exit(Pid, Reason).
link_to(Pid, From) -> link(Pid), From ! {self(), linked}, receive {exit, Reason} -> exit(Reason) end.
spawn_there() -> receive never -> ok end.

remote_kill({_, {_, Node}, _} = Nodes) ->
    Record = on_armed(Nodes, fun(Pid, Other) -> spawn(Other, ?MODULE, kill_from, [Pid]) end),
    ?FIELDS(Record, #{"exit.source" => <<"remote_signal">>, "exit.confidence" => <<"inferred">>,
                      "exit.reason" => <<"killed">>, "origin.node" => atom_to_binary(Node)}).

remote_signal({_, {_, Node}, _} = Nodes) ->
    Record = on_armed(Nodes, fun(Pid, Other) -> spawn(Other, ?MODULE, exit_other, [Pid, {from, afar}]) end),
    ?FIELDS(Record, #{"exit.source" => <<"remote_signal">>, "exit.reason" => <<"{from,afar}">>,
                      "origin.node" => atom_to_binary(Node), "severity" => <<"warning">>}).

remote_link({_, {_, Node}, _} = Nodes) ->
    Record = on_armed(Nodes, fun(Pid, Other) ->
                                     There = spawn(Other, ?MODULE, link_to, [Pid, self()]),
                                     receive {There, linked} -> There ! {exit, afar} end
                             end),
    ?FIELDS(Record, #{"exit.source" => <<"remote_link">>, "exit.confidence" => <<"ambiguous">>,
                      "origin.node" => atom_to_binary(Node)}),
    ?assertEqual([<<"remote_link">>, <<"remote_signal">>], [S || #{source := S} <- get("exit.candidates", Record)]),
    ?assertMatch({match, _}, re:run(get("origin.target", Record), ["^<", atom_to_list(Node), "\\.[0-9]+\\.[0-9]+>$"])).

erpc_kill({{Peer, Armed}, {Other, Node}, _}) ->
    Pid = peer:call(Peer, testlib, spawn_waiting, []),
    true = peer:call(Other, erpc, call, [Armed, ?MODULE, kill_from, [Pid]]),
    Record = peer:call(Peer, erlang, apply, [fun() -> testlib:ended(Pid), why(Pid) end, []]),
    ?FIELDS(Record, #{"exit.source" => <<"kill">>, "exit.confidence" => <<"observed">>,
                      "origin.by_node" => atom_to_binary(Node), "origin.by_call" => <<"death_tests:kill_from/1">>}).

noconnection({{Peer, _}, {_, Node}, _} = Nodes) ->
    Record = on_armed(Nodes, fun(Pid, Other) ->
                                     There = spawn(Other, ?MODULE, spawn_there, []),
                                     Pid ! {self(), link, There},
                                     receive {Pid, done} -> ok end,
                                     true = erlang:disconnect_node(Other)
                             end),
    ?FIELDS(Record, #{"exit.source" => <<"noconnection">>, "exit.confidence" => <<"observed">>,
                      "origin.node" => atom_to_binary(Node), "severity" => <<"warning">>}),
    true = peer:call(Peer, net_kernel, connect_node, [Node]).

%% Whoever made the connection: its process ends with a reason that is none of those that are no failure, and is none.
connection({{Peer, Armed}, {Other, Node}, _}) ->
    [begin
         true = peer:call(Connecting, net_kernel, connect_node, [To]),
         [Pid] = peer:call(Peer, ?MODULE, connections, []),
         true = peer:call(Other, erlang, disconnect_node, [Armed]),
         Record = peer:call(Peer, erlang, apply, [fun() -> testlib:ended(Pid), why(Pid) end, []]),
         ?FIELDS(Record, #{"severity" => <<"warning">>, "exit.source" => <<"self_exit">>}),
         ?assert(lists:member(get("exit.reason", Record), [<<"connection_closed">>, <<"tcp_closed">>])),
         ?assertMatch(<<"dist_util:", _/binary>>, get("origin.by_call", Record))
     end || {Connecting, To} <- [{Peer, Node}, {Other, Armed}]],
    true = peer:call(Peer, net_kernel, connect_node, [Node]).

connections() ->
    [Pid || Pid <- processes(), {initial_call, {_, Function, _}} <- [process_info(Pid, initial_call)],
            lists:member(Function, [do_setup, do_accept])].

crasher({{Peer, _}, _, _}) ->
    Record = peer:call(Peer, erlang, apply,
                       [fun() ->
                                Pid = spawn(fun() ->
                                                    spawn_link('nobody@127.0.0.1', ?MODULE, spawn_there, []),
                                                    receive never -> ok end
                                            end),
                                testlib:ended(Pid),
                                why(Pid)
                        end, []]),
    ?FIELDS(Record, #{"exit.source" => <<"link">>, "origin.source" => <<"noconnection">>,
                      "origin.node" => <<"nobody@127.0.0.1">>}).

%% Only so many causes are weighed that links alone suggest. Links to another node take all of those places, and what ended it is a
%% link to one outside the scope, with a reason that was sent to it before. That signal, which did nothing, is seen and fits.
unseen_among_many({{Peer, _}, {_, Node}, _}) ->
    Record = peer:call(Peer, erlang, apply,
                       [fun() ->
                                Outside = testlib:spawn_waiting(),
                                ok = coroner:scope(#{exclude => [Outside]}),
                                _ = erlang:send_after(1001, self(), second_is_over),
                                receive second_is_over -> ok end,
                                Victim = testlib:spawn_waiting(),
                                tell(Victim, {self(), trap, true}),
                                exit(Victim, {ignore, this}),
                                tell(Victim, {self(), trap, false}),
                                [tell(Victim, {self(), link, spawn(Node, ?MODULE, spawn_there, [])}) || _ <- lists:seq(1, 16)],
                                tell(Victim, {self(), link, Outside}),
                                end_of(Victim, fun(_) -> Outside ! {exit, {ignore, this}} end)
                        end, []], 30_000),
    ok = peer:call(Peer, coroner, scope, [all]),
    ?FIELDS(Record, #{"exit.source" => <<"exit_signal">>, "exit.confidence" => <<"ambiguous">>, "exit.evidence_lost" => true}).

tell(Pid, Message) ->
    Pid ! Message,
    receive {Pid, done} -> ok end.

%% --- a shell ----------------------------------------------------------------------------------------------

%% What OTP ends when somebody types at a shell and leaves it is no failure; what he makes fail there is one.
shell_test_() ->
    testlib:armed([{"a shell's helpers", fun shell/0},
                   {"the same reason elsewhere", fun elsewhere/0}]).

shell() ->
    Self = self(),
    {Shell, Monitor} = spawn_monitor(fun() -> group_leader(Self, self()), exit({shell, shell:start()}) end),
    receive {'DOWN', Monitor, process, Shell, {shell, Server}} -> ok end,
    type(Server, monitor(process, Server), ["1 + 1.", "exit(self(), kill)."]),
    {ok, Records} = coroner:recent(100),
    Told = [{get("severity", Record), get("exit.source", Record), get("exit.reason", Record)}
            || Record <- lists:reverse(Records), is_of_shell(Record)],
    ?assertMatch([{<<"info">>, <<"self_exit">>, <<"{ok,", _/binary>>}, {<<"info">>, <<"self_exit">>, <<"{ok,", _/binary>>},
                  {<<"error">>, <<"self_exit">>, <<"killed">>}, {<<"info">>, <<"self_exit">>, <<"{error,terminated}">>},
                  {<<"info">>, <<"kill">>, <<"killed">>}], Told).

is_of_shell(#{origin := #{by_call := Call}}) ->
    [Module, _] = string:split(Call, ":"),
    lists:member(Module, [<<"shell">>, <<"erl_eval">>]);
is_of_shell(_) ->
    false.

%% Is the terminal: gives the shell these lines, then no more.
type(Server, Monitor, Lines) ->
    receive
        {io_request, From, ReplyAs, {get_until, _, _, erl_scan, tokens, _}} ->
            case Lines of
                [] ->
                    From ! {io_reply, ReplyAs, {error, terminated}},
                    type(Server, Monitor, []);
                [Line | Rest] ->
                    {ok, Tokens, _} = erl_scan:string(Line),
                    From ! {io_reply, ReplyAs, {ok, Tokens, 1}},
                    type(Server, Monitor, Rest)
            end;
        {io_request, From, ReplyAs, getopts} ->
            From ! {io_reply, ReplyAs, [{encoding, unicode}]},
            type(Server, Monitor, Lines);
        {io_request, From, ReplyAs, Request} when element(1, Request) =:= put_chars; element(1, Request) =:= requests ->
            From ! {io_reply, ReplyAs, ok},
            type(Server, Monitor, Lines);
        {io_request, From, ReplyAs, _} ->
            From ! {io_reply, ReplyAs, {error, enotsup}},
            type(Server, Monitor, Lines);
        {'DOWN', Monitor, process, Server, _} ->
            ok
    end.

elsewhere() ->
    [begin
         Record = end_of(spawn(fun() -> receive go -> exit(Reason) end end), fun(Pid) -> Pid ! go end),
         ?FIELDS(Record, #{"severity" => <<"error">>, "exit.source" => <<"self_exit">>})
     end || Reason <- [connection_closed, tcp_closed, {ok, [{op, {1, 2}, '+', {integer, {1, 1}, 1}, {integer, {1, 3}, 1}}]},
                       {error, terminated}]].

%% --- the node ---------------------------------------------------------------------------------------------

%% An application of that node is told by its master that it has stopped: by then there is the record of its supervisor.
node_stop_test_() ->
    [{Name, {timeout, 60, fun() -> node_stop(How, Wanted) end}}
     || {Name, How, Wanted} <- [{"init:stop/0", stop, #{"exit.source" => <<"node_stop">>,
                                                        "origin.by_function" => <<"init:stop/0">>}},
                                {"SIGTERM", sigterm, #{"exit.source" => <<"node_stop">>, "origin.by_name" => <<"SIGTERM">>}}]].

node_stop(How, Wanted) ->
    File = string:trim(os:cmd("mktemp")),
    {ok, Peer, _} = peer:start(#{connection => standard_io,
                                 args => ["-pa", testlib:ebin(), filename:dirname(code:which(?MODULE))]}),
    Monitor = monitor(process, Peer),
    ok = peer:cast(Peer, erlang, apply, [fun() -> stop_node(How, File) end, []]),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    {ok, Written} = file:read_file(File),
    ok = file:delete(File),
    {ok, Record} = binary_to_term(Written),
    ?FIELDS(Record, Wanted#{"origin.application" => <<"death_app">>}).

stop_node(How, File) ->
    ok = coroner:start(#{ingest => none}),
    ok = application:load({application, death_app, [{mod, {?MODULE, []}}, {applications, [kernel, stdlib]}]}),
    ok = application:start(death_app),
    persistent_term:put(?MODULE, {File, whereis(death_top)}),
    case How of
        stop -> init:stop();
        sigterm -> os:cmd("kill -TERM " ++ os:getpid())
    end.

%% --- the gen_server and supervisor of these tests ----------------------------------------------------------

init(trap) -> process_flag(trap_exit, true), {ok, trap};
init(stubborn) -> process_flag(trap_exit, true), {ok, stubborn};
init(Kind) -> {ok, Kind}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(crash, _State) -> error(as_told);
handle_cast({wait_for, Pid}, State) ->
    Pid ! {self(), waiting},
    receive {Pid, crash} -> error(as_told) end,
    {noreply, State}.

handle_info(_, State) -> {noreply, State}.

terminate(_, stubborn) -> receive never -> ok end;
terminate(_, _) -> ok.
