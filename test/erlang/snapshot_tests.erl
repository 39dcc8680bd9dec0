%% What lived before coroner was started is known as well as what was born since: what the ledger has of it is what
%% process_info/2 tells.
-module(snapshot_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, why/1, text/1]).

-export([init/1, handle_call/3, handle_cast/2, handle_info/2, hibernating/0, busy/1, server_parent/1]).

-define(LINKS, 100_000).
-define(HEAP, 2_000_000). % elements of a list that a process holds

snapshot_test_() ->
    [{"a varied population", {timeout, 60, fun population/0}},
     {"a process with 100,000 links", {timeout, 60, fun many_links/0}},
     {"a start amidst storms", {timeout, 60, fun storms/0}},
     {"what is born and linked later joins in", {timeout, 60, fun joins/0}},
     {"processes that another tool traces are left to it", {timeout, 60, fun foreign/0}},
     {"the first second is marked", {timeout, 60, fun first_second/0}}].

armed(Options, Do) ->
    ok = coroner:start(maps:merge(#{ingest => none}, Options)),
    try Do()
    after
        ok = coroner:stop()
    end.

%% Started before coroner; ended whatever comes.
with(Starts, Do) ->
    Pids = [begin Pid = Start(), true = is_pid(Pid), Pid end || Start <- Starts],
    try Do(Pids)
    after
        _ = [begin unlink(Pid), exit(Pid, kill), testlib:ended(Pid) end || Pid <- Pids]
    end.

%% --- who there is -----------------------------------------------------------------------------------------

population() ->
    %% It takes the exits of those that are linked to it for what they are.
    Peer = spawn(storm, member, []),
    Peer ! {self(), {trap, true}},
    receive {done, Peer} -> ok end,
    Starts = [fun server/0,
              fun named_server/0,
              fun() -> told(testlib:spawn_waiting(), [{trap, true}]) end,
              fun() -> told(testlib:spawn_waiting(), [{link, Peer}]) end,
              fun() -> told(testlib:spawn_waiting(), [{link, Peer}, {trap, true}]) end,
              fun() -> told(testlib:spawn_waiting(), [{register, 'a registered one'}]) end,
              fun port_owner/0,
              fun hibernate/0,
              fun huge/0,
              fun() -> ready(fun(Self) -> spawn(?MODULE, busy, [Self]) end) end,
              fun suspended/0,
              fun() -> proc_lib:spawn(testlib, waiting, []) end,
              fun statem/0,
              fun event/0,
              fun supervisor/0,
              fun orphan/0],
    with(Starts ++ [fun() -> Peer end],
         fun(Pids) ->
                 Expected = [{Pid, expected(Pid)} || Pid <- Pids],
                 armed(#{}, fun() ->
                                    #{snapshot := Known, processes := Processes, foreign := 0} = coroner:status(),
                                    ?assertEqual(length(processes()), Processes),
                                    ?assertEqual(Processes, Known),
                                    [?assertEqual({Pid, links(Pid)}, {Pid, lists:sort(coroner_nif:links(Pid))})
                                     || Pid <- processes()],
                                    [?assertEqual({error, alive}, coroner:why(Pid)) || Pid <- Pids],
                                    lists:foreach(fun check/1, Expected)
                            end)
         end).

links(Pid) ->
    {links, Links} = process_info(Pid, links),
    lists:sort(Links).

expected(Pid) ->
    Items = [registered_name, trap_exit, initial_call, parent, dictionary, total_heap_size],
    [{_, Name}, {_, Traps}, {_, Call}, {_, Parent}, {_, Dictionary}, {_, Words}] = process_info(Pid, Items),
    %% A dictionary is copied whole, so of a large process it is not read.
    Known = case Words > 50_000 of true -> []; false -> Dictionary end,
    #{name => case Name of [] -> null; _ -> atom_to_binary(Name) end,
      trap_exit => Traps,
      initial_call => text(proplists:get_value('$initial_call', Known, Call)),
      parent => case Parent of
                    undefined -> undefined;
                    _ -> text(Parent)
                end,
      ancestors => case proplists:get_value('$ancestors', Known, []) of
                       [] -> undefined;
                       Ancestors -> [case Ancestor of
                                         Atom when is_atom(Atom) -> atom_to_binary(Atom);
                                         _ -> text(Ancestor)
                                     end || Ancestor <- Ancestors]
                   end}.

%% One after the other is killed, and its record tells the same.
check({Pid, Expected}) ->
    %% What it is linked to would take it, or be taken, before its turn.
    Record = end_of(Pid, fun(_) -> exit(Pid, kill) end),
    Told = maps:map(fun(Key, _) ->
                            case get("process." ++ atom_to_list(Key), Record) of
                                null when Key =:= parent -> undefined;
                                [] -> undefined;
                                Value -> Value
                            end
                    end, Expected),
    ?assertEqual({Pid, Expected}, {Pid, Told}),
    ?assertEqual({<<"kill">>, text(self())}, {get("exit.source", Record), get("origin.by", Record)}),
    ?assertEqual(undefined, get("process.age_us", Record)).

told(Pid, Orders) ->
    _ = [begin Pid ! {self(), Order, What}, receive {Pid, done} -> ok end end || {Order, What} <- Orders],
    Pid.

ready(Start) ->
    Pid = Start(self()),
    receive {Pid, ready} -> Pid end.

server() ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    Pid.

named_server() ->
    {ok, Pid} = gen_server:start({local, 'a named server'}, ?MODULE, trap, []),
    Pid.

init(trap) -> process_flag(trap_exit, true), {ok, state};
init(_) -> {ok, state}.
handle_call(_, _, State) -> {reply, ok, State}.
handle_cast(_, State) -> {noreply, State}.
handle_info(_, State) -> {noreply, State}.

port_owner() ->
    ready(fun(Self) ->
                  spawn(fun() ->
                                Port = open_port({spawn, "cat"}, []),
                                Self ! {self(), ready},
                                receive {Port, never} -> ok end
                        end)
          end).

%% A process in hibernation is one whose heap has been shrunk to nothing: tracing tells when.
hibernate() ->
    Pid = spawn(fun() -> receive go -> proc_lib:hibernate(?MODULE, hibernating, []) end end),
    1 = erlang:trace(Pid, true, [running]),
    Pid ! go,
    hibernated(Pid),
    1 = erlang:trace(Pid, false, [running]),
    Pid.

hibernated(Pid) ->
    receive
        {trace, Pid, out, {erlang, hibernate, 3}} -> ok;
        {trace, Pid, _, _} ->
            case process_info(Pid, current_function) of
                {current_function, {erlang, hibernate, 3}} -> ok;
                _ -> hibernated(Pid)
            end
    end.

hibernating() -> testlib:waiting().

huge() ->
    ready(fun(Self) ->
                  spawn(fun() ->
                                List = lists:seq(1, ?HEAP),
                                Self ! {self(), ready},
                                receive never -> Self ! List end
                        end)
          end).

busy(Self) ->
    Self ! {self(), ready},
    busy_loop(0).

busy_loop(Count) -> busy_loop(Count + 1).

%% With signals waiting for it that it does not take while it is suspended.
suspended() ->
    Pid = spawn(?MODULE, busy, [self()]),
    receive {Pid, ready} -> ok end,
    true = erlang:suspend_process(Pid),
    _ = [Pid ! Message || Message <- lists:seq(1, 100)],
    Pid.

statem() ->
    {ok, Pid} = gen_statem:start(statem_for_test, [], []),
    Pid.

event() ->
    {ok, Pid} = gen_event:start(),
    Pid.

supervisor() ->
    {ok, Pid} = supervisor:start_link(supervisor_for_test,
                                      {#{}, [#{id => one, start => {gen_server, start_link, [?MODULE, [], []]}}]}),
    unlink(Pid),
    Pid.

%% Its parent is dead.
orphan() ->
    Self = self(),
    Parent = spawn(?MODULE, server_parent, [Self]),
    Pid = receive {Parent, started, Started} -> Started end,
    testlib:ended(Parent),
    Pid.

server_parent(Owner) ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    Owner ! {self(), started, Pid}.

%% --- many links -------------------------------------------------------------------------------------------

many_links() ->
    Self = self(),
    Hub = spawn(fun() ->
                        process_flag(trap_exit, true),
                        Self ! {self(), [spawn_link(testlib, waiting, []) || _ <- lists:seq(1, ?LINKS)]},
                        testlib:waiting()
                end),
    Leaves = [Leaf | Rest] = receive {Hub, List} -> List end,
    try
        armed(#{memory => 1 bsl 30}, fun() -> hub(Hub, Leaf, Rest) end)
    after
        exit(Hub, kill),
        _ = [exit(Pid, kill) || Pid <- Leaves],
        lists:foreach(fun testlib:ended/1, [Hub | Leaves])
    end.

hub(Hub, Leaf, Rest) ->
    ?assertEqual(length(processes()), map_get(processes, coroner:status())),
    Some = coroner_nif:links(Hub),
    ?assertEqual(4096, length(Some)),
    Linked = sets:from_list(links(Hub)),
    ?assertEqual([], [Pid || Pid <- Some, not sets:is_element(Pid, Linked)]),
    ?assertEqual([], [Pid || Pid <- Rest, coroner_nif:links(Pid) =/= [Hub]]),
    _ = end_of(Leaf, fun(Pid) -> Pid ! {exit, {ignore, it}} end),
    %% The hub has taken the exit in when it answers.
    told(Hub, [{trap, true}]),
    ?assertEqual(?LINKS - 1, length(links(Hub))),
    ?assertEqual(<<"self_exit">>, get("exit.source", end_of(Hub, fun(Pid) -> Pid ! {exit, enough} end))),
    lists:foreach(fun testlib:ended/1, Rest),
    ?assertMatch(#{by_source := #{link := Count}} when Count =:= ?LINKS - 1, coroner:status()),
    ?assertEqual([], [Pid || Pid <- every(50, Rest), not is_linked_to(Hub, why(Pid))]).

is_linked_to(Hub, Record) ->
    {get("exit.source", Record), get("exit.via", Record)} =:= {<<"link">>, text(Hub)}.

%% Each is asked for at some length.
every(_, []) -> [];
every(N, [One | _] = List) when length(List) =< N -> [One];
every(N, [One | _] = List) -> [One | every(N, lists:nthtail(N, List))].

%% --- a start while much goes on ---------------------------------------------------------------------------

storms() ->
    lists:foreach(fun(_) -> in_storms() end, lists:seq(1, 8)).

in_storms() ->
    Storms = storm:start(4),
    Survivors = try
                    ok = coroner:start(#{ingest => none, memory => 1 bsl 30}),
                    ?assertMatch(#{foreign := 0}, coroner:status()),
                    Members = storm:settle(Storms),
                    ?assert(length(Members) > 4),
                    _ = [Pid ! {self(), links} || Pid <- Members],
                    [receive {Pid, links, {Vm, Ledger}} -> ?assertEqual({Pid, Vm}, {Pid, Ledger}) end
                     || Pid <- Members],
                    assert_count(100),
                    %% Who lived before and who was born since: of each it is known who kills it.
                    [begin
                         Record = end_of(Pid, fun(_) -> exit(Pid, kill) end),
                         ?assertEqual({Pid, text(self())}, {Pid, get("origin.by", Record)})
                     end || Pid <- Members],
                    Members
                after
                    storm:stop(Storms)
                end,
    ?assertEqual([], [Pid || Pid <- Survivors, is_process_alive(Pid)]),
    assert_count(100),
    ok = coroner:stop().

%% The ledger has as many as the VM. Short-lived ones come and go, so when they are as many before as after.
assert_count(Looks) ->
    Before = length(processes()),
    #{processes := Count} = coroner:status(),
    case lists:sort(processes()) of
        _ when Count =:= Before -> ok;
        After when length(After) =/= Before, Looks > 0 -> assert_count(Looks - 1);
        _ -> ?assertEqual(Before, Count)
    end.

joins() ->
    with([fun testlib:spawn_waiting/0, fun testlib:spawn_waiting/0],
         fun([Old, Other] = Pids) ->
                 _ = told(Old, [{link, Other}]),
                 armed(#{}, fun() ->
                                    New = told(testlib:spawn_waiting(), [{trap, true}]),
                                    [testlib:ended(told_to_link(Pid)) || Pid <- Pids],
                                    _ = told(Old, [{unlink, Other}, {link, New}]),
                                    _ = told(Other, [{register, 'a late name'}, {trap, true}]),
                                    ?assertEqual([New], coroner_nif:links(Old)),
                                    ?assertEqual([], coroner_nif:links(Other)),
                                    ?assertEqual(links(New), coroner_nif:links(New)),
                                    Record = end_of(Other, fun(Pid) -> exit(Pid, kill) end),
                                    ?assertEqual({<<"a late name">>, true},
                                                 {get("process.name", Record), get("process.trap_exit", Record)}),
                                    Monitor = monitor(process, New),
                                    exit(Old, kill),
                                    receive {'DOWN', Monitor, process, New, killed} -> ok end,
                                    ?assertEqual({<<"link_trapped">>, text(Old)},
                                                 {get("exit.source", why(New)), get("exit.via", why(New))})
                            end)
         end).

%% One that links to Pid and is done: nothing is left of it.
told_to_link(Pid) ->
    Linked = told(testlib:spawn_waiting(), [{link, Pid}]),
    Linked ! stop,
    Linked.

foreign() ->
    Self = self(),
    with([fun testlib:spawn_waiting/0],
         fun([Pid]) ->
                 1 = erlang:trace(Pid, true, [procs]),
                 armed(#{}, fun() ->
                                    {Foreign, Why} = case coroner_trace:kind() of
                                                         shared -> {1, alive};
                                                         session -> {0, alive}
                                                     end,
                                    ?assertMatch(#{foreign := Foreign, trace := intact}, coroner:status()),
                                    ?assertEqual({tracer, Self}, erlang:trace_info(Pid, tracer)),
                                    ?assertEqual({error, Why}, coroner:why(Pid)),
                                    told(Pid, [{register, 'somebody else traces it'}]),
                                    receive {trace, Pid, register, _} -> ok end
                            end),
                 ?assertEqual({tracer, Self}, erlang:trace_info(Pid, tracer))
         end).

%% --- the first second -------------------------------------------------------------------------------------

first_second() ->
    with([fun testlib:spawn_waiting/0, fun testlib:spawn_waiting/0, fun testlib:spawn_waiting/0],
         fun([Killed, Told, Later]) ->
                 armed(#{}, fun() ->
                                    %% What ended it may have been sent before anybody looked.
                                    lists:foreach(
                                      fun(Record) ->
                                              ?assertEqual(true, get("exit.evidence_lost", Record)),
                                              ?assert(lists:member(get("exit.confidence", Record),
                                                                   [<<"ambiguous">>, <<"unknown">>]))
                                      end,
                                      [end_of(Killed, fun(Pid) -> exit(Pid, kill) end),
                                       end_of(Told, fun(Pid) -> Pid ! {error, crash} end)]),
                                    %% Of one that was born since all is known.
                                    Born = end_of(testlib:spawn_waiting(), fun(Pid) -> exit(Pid, kill) end),
                                    ?assertNotEqual(true, get("exit.evidence_lost", Born)),
                                    ?assertEqual(<<"observed">>, get("exit.confidence", Born)),
                                    %% The second is the clock's: there is no other event for its end.
                                    _ = erlang:send_after(1001, self(), second_is_over),
                                    receive second_is_over -> ok end,
                                    Record = end_of(Later, fun(Pid) -> exit(Pid, kill) end),
                                    ?assertNotEqual(true, get("exit.evidence_lost", Record)),
                                    ?assertEqual(<<"observed">>, get("exit.confidence", Record))
                            end)
         end).
