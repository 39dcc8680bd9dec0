%% The library comes into a node and leaves it, in whatever way and amidst whatever goes on, and the node never
%% notices: it survives, nothing of coroner is left, and while it is armed nothing is lost.
-module(lifecycle_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, text/1]).

-define(STORMS, 4).
-define(ROUNDS, 200).
-define(FOOD, 50). % commands to each storm for a part of a round
-define(WARM, 40). % rounds after which memory is looked at first
-define(GROWTH, 6_000_000). % bytes: in the rounds after those, a leak of 40 kilobytes a round is seen

lifecycle_test_() ->
    [{"loaded and unloaded again and again", {timeout, 300, fun rounds/0}},
     {"reloaded while armed", {timeout, 300, fun reload/0}},
     {"another copy of the library takes over", {timeout, 300, fun another_copy/0}},
     {"another copy takes over and fails", {timeout, 300, fun copy_fails/0}},
     {"a library of another layout is refused", {timeout, 300, fun other_layout/0}},
     {"the daemon and a wait outlive the library's old copy", {timeout, 300, fun copy_and_daemon/0}},
     {"unloaded while armed", {timeout, 300, fun unload_armed/0}},
     {"unloaded while armed, and noticed by itself", {timeout, 300, fun unload_noticed/0}},
     {"unloaded while armed, then stopped", {timeout, 300, fun unload_and_stop/0}},
     {"the server is killed", {timeout, 300, fun kill_server/0}},
     {"the server is killed too often", {timeout, 300, fun kill_server_often/0}},
     {"the supervisor is killed", {timeout, 300, fun kill_supervisor/0}},
     {"all are killed", {timeout, 300, fun kill_all/0}},
     {"started and stopped by fifty at once", {timeout, 300, fun races/0}},
     {"a start waits for another's", {timeout, 300, fun concurrent_starts/0}},
     {"starting is idempotent", fun idempotent/0},
     {"other options than those in force are named", fun other_options/0},
     {"bad options are named", fun bad_options/0},
     {"as an application", fun application/0},
     {"the application's environment stays as it was", fun environment/0}].

%% --- what all of them hold to -----------------------------------------------------------------------------

%% Whatever a test leaves behind is an error of it, and must not disturb the next.
clean(Test) ->
    Threads = testlib:os_threads(),
    try Test()
    after
        _ = application:stop(coroner),
        _ = coroner:stop(),
        _ = application:unload(coroner)
    end,
    assert_nothing_left(Threads).

assert_nothing_left(Threads) ->
    ?assertEqual({[], [], []}, {element(1, testlib:own_trace()), new_flags(), element(3, testlib:own_trace())}),
    ?assertEqual([], [Name || Name <- registered(), lists:prefix("coroner", atom_to_list(Name))]),
    assert_threads(Threads, 1000).

new_flags() ->
    {flags, Flags} = erlang:trace_info(new_processes, flags),
    Flags.

%% A thread that has been joined stands in /proc for some microseconds more, and the kernel tells nobody when it
%% is gone.
assert_threads(Threads, Looks) ->
    case testlib:os_threads() of
        Threads -> ok;
        _ when Looks > 0 -> assert_threads(Threads, Looks - 1);
        More -> ?assertEqual(Threads, More)
    end.

%% Armed means: what dies from now on is told of.
assert_attributes() ->
    Victim = testlib:spawn_waiting(),
    Record = end_of(Victim, fun(Pid) -> exit(Pid, kill) end),
    ?assertEqual({<<"kill">>, <<"observed">>, text(self())},
                 {get("exit.source", Record), get("exit.confidence", Record), get("origin.by", Record)}).

assert_armed() ->
    ?assertMatch(#{armed := true, trace := intact}, coroner:status()),
    assert_attributes().

start() ->
    ok = coroner:start(#{ingest => none}).

%% --- load, start, stop, unload ----------------------------------------------------------------------------

rounds() ->
    testlib:unload(),
    Threads = testlib:os_threads(),
    Storms = storm:start(?STORMS, ?FOOD),
    Memory = try
                 _ = [turn(Storms) || _ <- lists:seq(1, ?WARM)],
                 Early = memory(),
                 _ = [turn(Storms) || _ <- lists:seq(?WARM + 1, ?ROUNDS)],
                 {Early, memory()}
             after
                 storm:stop(Storms)
             end,
    ?assertEqual([], [Module || Module <- testlib:modules(), erlang:module_loaded(Module)]),
    assert_nothing_left(Threads),
    {{EarlySystem, EarlyResident}, {LateSystem, LateResident}} = Memory,
    ?assert(LateSystem - EarlySystem < ?GROWTH),
    ?assert(LateResident - EarlyResident < 4 * ?GROWTH).

turn(Storms) ->
    storm:feed(Storms, ?FOOD),
    false = erlang:module_loaded(coroner_nif),
    start(),
    storm:feed(Storms, ?FOOD),
    assert_attributes(),
    ok = coroner:stop(),
    storm:feed(Storms, ?FOOD),
    testlib:unload().

%% What the VM says it has allocated but for processes, and what the kernel says the node has, in bytes.
memory() ->
    erlang:garbage_collect(),
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Resident | _] = binary:split(Text, <<" ">>, [global]),
    {erlang:memory(system), binary_to_integer(Resident) * 4096}.

%% --- reload -----------------------------------------------------------------------------------------------

reload() ->
    clean(fun() ->
                  ok = coroner:start(#{ingest => none, memory => 1 bsl 30}),
                  reload_in_storm(fun(Module) ->
                                          {module, Module} = code:load_file(Module),
                                          _ = code:purge(Module)
                                  end, 20, 1)
          end).

%% Every exit of the storm is in the records, under numbers without a gap.
reload_in_storm(Reload, Rounds, Loads) ->
    #{made := Before, incarnation := Incarnation} = coroner:status(),
    Storms = storm:start(?STORMS, ?FOOD),
    try
        Victims = [begin
                       storm:feed(Storms, 8 * ?FOOD),
                       _ = [Reload(Module) || Module <- testlib:modules()],
                       Victim = testlib:spawn_waiting(),
                       testlib:end_of(Victim, fun(Pid) -> exit(Pid, kill) end),
                       Victim
                   end || _ <- lists:seq(1, Rounds)],
        #{crashed := Crashed} = storm:stop(Storms),
        ?assertMatch(#{armed := true, trace := intact, incarnation := Incarnation, without_memory := 0,
                       encode_failures := 0}, coroner:status()),
        #{made := Made, held := Held, lost := Lost} = coroner:status(),
        ?assertEqual(Made, Held + Lost),
        %% The code server runs on_load in a process that exits with its result, which is another reason than `normal'.
        ?assertEqual(Crashed + (1 + Loads) * Rounds, Made - Before),
        ?assertEqual([], [Pid || Pid <- Victims, not is_killed_by_us(Pid)]),
        {ok, Records} = coroner:recent(1000),
        Numbers = [number(Record) || Record <- Records],
        ?assertEqual(lists:seq(Made, Made - length(Numbers) + 1, -1), Numbers)
    after
        _ = [exit(Storm, kill) || Storm <- Storms, unlink(Storm)]
    end,
    assert_armed().

is_killed_by_us(Pid) ->
    case coroner:why(Pid) of
        {ok, Record} -> get("origin.by", Record) =:= text(self());
        {error, _} -> false
    end.

number(#{id := Id}) ->
    [_, Number] = binary:split(Id, <<"-">>),
    binary_to_integer(Number).

%% --- another copy of the library --------------------------------------------------------------------------

%% The module looks for the library beside the folder that the application's environment names.
with_copies(Do) ->
    Folder = string:trim(os:cmd("mktemp -d")),
    Library = coroner_nif:file() ++ ".so",
    Copies = [begin
                  Copy = filename:join(Folder, Name),
                  File = filename:join([Copy, "priv", "coroner_nif.so"]),
                  ok = filelib:ensure_dir(File),
                  {ok, _} = file:copy(Library, File),
                  filename:join(Copy, "ebin")
              end || Name <- ["one", "two"]],
    try Do(Copies)
    after
        ok = application:unset_env(coroner, ebin),
        ok = file:del_dir_r(Folder),
        %% The copies go; the library at its own place comes back.
        testlib:unload()
    end.

load_copy(Ebin) ->
    ok = application:set_env(coroner, ebin, Ebin),
    {module, coroner_nif} = code:load_file(coroner_nif),
    _ = code:purge(coroner_nif),
    ?assertNotEqual(nomatch, string:find(maps_of_node(), filename:join([filename:dirname(Ebin), "priv", "coroner_nif.so"]))).

maps_of_node() ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    Maps.

another_copy() ->
    clean(fun() ->
                  start(),
                  with_copies(fun(Copies) ->
                                      Own = unicode:characters_to_binary(coroner_nif:file() ++ ".so"),
                                      reload_in_storm(fun(coroner_nif) ->
                                                              _ = [load_copy(Ebin) || Ebin <- Copies];
                                                         (Module) ->
                                                              {module, Module} = code:load_file(Module),
                                                              _ = code:purge(Module)
                                                      end, 20, length(Copies)),
                                      ?assertEqual(nomatch, string:find(maps_of_node(), Own)),
                                      ok = coroner:stop()
                              end)
          end).

%% The on_load function loads the library and fails then: the older instance stays, the copy is unmapped.
copy_fails() ->
    clean(fun() ->
                  start(),
                  with_copies(fun([Ebin | _]) ->
                                      #{incarnation := Incarnation} = coroner:status(),
                                      ok = application:set_env(coroner, ebin, Ebin),
                                      {error, on_load_failure} =
                                          code:load_binary(coroner_nif, "coroner_nif.beam", failing()),
                                      _ = code:purge(coroner_nif),
                                      ?assertEqual(nomatch, string:find(maps_of_node(), Ebin)),
                                      ?assertMatch(#{armed := true, trace := intact, incarnation := Incarnation},
                                                   coroner:status()),
                                      storm:with(?STORMS, fun assert_attributes/0),
                                      ok = coroner:stop(),
                                      start(),
                                      assert_armed(),
                                      ok = coroner:stop()
                              end)
          end).

%% What an upgrade must not try (coroner.appup.src). It harms nothing.
other_layout() ->
    clean(fun() ->
                  start(),
                  with_copies(fun(_) ->
                                      #{incarnation := Incarnation} = coroner:status(),
                                      Other = filename:join([testlib:project(), "_build", "test", "other_layout", "ebin"]),
                                      ok = application:set_env(coroner, ebin, Other),
                                      {error, on_load_failure} = code:load_file(coroner_nif),
                                      _ = code:purge(coroner_nif),
                                      ?assertEqual(nomatch, string:find(maps_of_node(), "other_layout")),
                                      ?assertMatch(#{armed := true, trace := intact, incarnation := Incarnation},
                                                   coroner:status()),
                                      storm:with(?STORMS, fun assert_attributes/0),
                                      ok = coroner:stop(),
                                      %% With nothing to take over from it is as good as any.
                                      testlib:unload(coroner_nif),
                                      start(),
                                      ?assertNotEqual(nomatch, string:find(maps_of_node(), "other_layout")),
                                      assert_armed(),
                                      ok = coroner:stop()
                              end)
          end).

failing() ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(coroner_nif), [abstract_code]),
    Failing = [case Form of
                   {function, Line, load, 0, [{clause, _, [], [], Body}]} ->
                       {function, Line, load, 0, [{clause, Line, [], [], Body ++ [{atom, Line, failed}]}]};
                   _ -> Form
               end || Form <- Forms],
    {ok, coroner_nif, Binary} = compile:forms(Failing, [nowarn_export_all]),
    Binary.

%% A daemon as the uplink sees one: here it only reads, and acknowledges when it is told to.
copy_and_daemon() ->
    clean(fun() ->
                  Folder = string:trim(os:cmd("mktemp -d")),
                  Path = filename:join(Folder, "ingest.sock"),
                  {ok, Listen} = gen_tcp:listen(0, [local, {ifaddr, {local, Path}}, binary, {packet, 4},
                                                    {active, false}]),
                  try
                      ok = coroner:start(#{ingest => Path}),
                      with_copies(fun(Copies) -> talk(Listen, Copies) end)
                  after
                      gen_tcp:close(Listen),
                      ok = file:del_dir_r(Folder)
                  end
          end).

-define(HELLO, 1).
-define(RECORD, 2).
-define(COUNTERS, 3).
-define(ACK, 16).

talk(Listen, Copies) ->
    First = greeted(Listen),
    assert_attributes(),
    record_comes(First),
    Reference = make_ref(),
    ok = coroner_nif:notify(Reference),
    %% With each copy a connection ends and another begins; what was not acknowledged comes again.
    Last = lists:foldl(fun(Ebin, Socket) ->
                               load_copy(Ebin),
                               drained(Socket),
                               Next = greeted(Listen),
                               record_comes(Next),
                               Next
                       end, First, Copies ++ Copies),
    #{made := Made} = coroner:status(),
    ok = gen_tcp:send(Last, ack(Made)),
    ?assertEqual(true, receive {coroner_flushed, Reference, Settled} -> Settled end),
    ?assertEqual(ok, coroner:sync(infinity)),
    ?assertMatch(#{connected := true, acknowledged := Made, unacknowledged := 0}, coroner:status()),
    ok = coroner:stop(),
    drained(Last).

%% Takes the next connection up to the answer to its hello.
greeted(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    <<_, ?HELLO, _/binary>> = frame(Socket),
    ok = gen_tcp:send(Socket, ack(0)),
    Socket.

%% Before it there may be a frame of counters.
record_comes(Socket) ->
    case frame(Socket) of
        <<_, ?RECORD, _/binary>> -> ok;
        <<_, ?COUNTERS, _/binary>> -> record_comes(Socket)
    end.

frame(Socket) ->
    {ok, Frame} = gen_tcp:recv(Socket, 0),
    Frame.

drained(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, _} -> drained(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.

ack(Seq) when Seq < 24 -> <<16#82, ?ACK, Seq>>;
ack(Seq) -> <<16#82, ?ACK, 16#1a, Seq:32>>.

%% --- unloaded under it ------------------------------------------------------------------------------------

unload_armed() ->
    clean(fun() ->
                  in_storm(fun(Feed) ->
                                   _ = [begin
                                            Feed(),
                                            start(),
                                            assert_attributes(),
                                            Feed(),
                                            testlib:unload(coroner_nif),
                                            ?assertEqual({error, not_armed}, coroner:why(self())),
                                            ?assertEqual(#{armed => false}, coroner:status())
                                        end || _ <- lists:seq(1, 20)],
                                   start(),
                                   assert_armed(),
                                   %% All of it.
                                   Feed(),
                                   testlib:unload(),
                                   start(),
                                   assert_armed()
                           end)
          end).

%% In storms that go on with each call of Feed.
in_storm(Do) ->
    Storms = storm:start(?STORMS, ?FOOD),
    try Do(fun() -> storm:feed(Storms, 4 * ?FOOD) end)
    after
        storm:stop(Storms)
    end.

unload_noticed() ->
    clean(fun() ->
                  start(),
                  testlib:unload(coroner_nif),
                  %% The server looks once a second; a call after the tick finds it armed.
                  Server = whereis(coroner_server),
                  1 = erlang:trace(Server, true, ['receive']),
                  receive {trace, Server, 'receive', tick} -> ok end,
                  1 = erlang:trace(Server, false, ['receive']),
                  _ = coroner_server:check(),
                  assert_armed()
          end).

unload_and_stop() ->
    clean(fun() ->
                  start(),
                  testlib:unload(coroner_nif),
                  ok = coroner:stop(),
                  ?assertNot(erlang:module_loaded(coroner_nif)),
                  ?assertEqual({[], [], []}, {element(1, testlib:own_trace()), new_flags(),
                                              element(3, testlib:own_trace())}),
                  start(),
                  assert_armed()
          end).

%% --- processes of coroner's are killed --------------------------------------------------------------------

%% Once the supervisor answers, what it restarts has started.
kill_server() ->
    clean(fun() ->
                  start(),
                  in_storm(fun(Feed) ->
                                   _ = [begin
                                            Feed(),
                                            kill(coroner_server),
                                            _ = supervisor:count_children(coroner_sup),
                                            assert_armed()
                                        end || _ <- [1, 2, 3]]
                           end)
          end).

kill_server_often() ->
    clean(fun() ->
                  Threads = testlib:os_threads(),
                  start(),
                  Supervisor = monitor(process, coroner_sup),
                  _ = [begin
                           kill(coroner_server),
                           try supervisor:count_children(coroner_sup) catch exit:_ -> gone end
                       end || _ <- [1, 2, 3, 4]],
                  receive {'DOWN', Supervisor, process, _, _} -> ok end,
                  ?assertEqual(#{armed => false}, coroner:status()),
                  assert_nothing_left(Threads),
                  start(),
                  assert_armed()
          end).

kill_supervisor() ->
    clean(fun() ->
                  Threads = testlib:os_threads(),
                  start(),
                  Guard = monitor(process, coroner_guard),
                  kill(coroner_sup),
                  receive {'DOWN', Guard, process, _, _} -> ok end,
                  ?assertEqual(#{armed => false}, coroner:status()),
                  assert_nothing_left(Threads),
                  start(),
                  %% And started again before it has disarmed.
                  kill(coroner_sup),
                  start(),
                  assert_armed(),
                  %% The server first, so that nobody but the guard is left.
                  _ = [exit(whereis(Name), kill) || Name <- [coroner_server, coroner_sup]],
                  start(),
                  assert_armed()
          end).

kill_all() ->
    clean(fun() ->
                  Threads = testlib:os_threads(),
                  Names = [coroner_sup, coroner_guard, coroner_server],
                  KillAll = fun() ->
                                    Monitors = [{Name, monitor(process, Name)} || Name <- Names],
                                    _ = [exit(whereis(Name), kill) || Name <- Names],
                                    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || {_, Monitor} <- Monitors]
                            end,
                  start(),
                  KillAll(),
                  ok = coroner:stop(),
                  assert_nothing_left(Threads),
                  start(),
                  KillAll(),
                  start(),
                  assert_armed()
          end).

kill(Name) ->
    Pid = whereis(Name),
    exit(Pid, kill),
    testlib:ended(Pid).

%% --- start and stop ---------------------------------------------------------------------------------------

races() ->
    clean(fun() ->
                  Threads = testlib:os_threads(),
                  Turns = fun() -> [case rand:uniform(2) of
                                        1 -> coroner:start(#{ingest => none});
                                        2 -> coroner:stop()
                                    end || _ <- lists:seq(1, 5)]
                          end,
                  Results = storm:with(1, fun() -> all_at_once(50, Turns) end),
                  ?assertEqual([ok], lists:usort(lists:append(Results))),
                  start(),
                  assert_armed(),
                  ok = coroner:stop(),
                  assert_nothing_left(Threads)
          end).

all_at_once(Count, Do) ->
    Self = self(),
    Pids = [spawn_link(fun() -> receive go -> Self ! {self(), Do()} end end) || _ <- lists:seq(1, Count)],
    _ = [Pid ! go || Pid <- Pids],
    [receive {Pid, Result} -> Result end || Pid <- Pids].

concurrent_starts() ->
    clean(fun() ->
                  lists:foreach(
                    fun(_) ->
                            Armed = all_at_once(10, fun() ->
                                                            start(),
                                                            maps:with([armed, trace], coroner:status())
                                                    end),
                            ?assertEqual([#{armed => true, trace => intact}], lists:usort(Armed)),
                            ok = coroner:stop()
                    end, lists:seq(1, 10))
          end).

idempotent() ->
    clean(fun() ->
                  start(),
                  #{incarnation := Incarnation} = coroner:status(),
                  Server = whereis(coroner_server),
                  ok = coroner:start(),
                  ok = coroner:start(#{ingest => none, reason_detail => full, scope => all}),
                  ?assertMatch(#{incarnation := Incarnation}, coroner:status()),
                  ?assertEqual(Server, whereis(coroner_server)),
                  ?assert(coroner:is_started()),
                  ok = coroner:stop(),
                  ok = coroner:stop(),
                  ?assertNot(coroner:is_started()),
                  start(),
                  #{incarnation := Next} = coroner:status(),
                  ?assertNotEqual(Incarnation, Next)
          end).

%% Options that do not take effect are not answered with ok; what is in force is told, and stays.
other_options() ->
    clean(fun() ->
                  ok = coroner:start(#{ingest => "/no/such.sock", memory => 100_000, record => [kill, link]}),
                  #{incarnation := Incarnation, options := InForce} = coroner:status(),
                  ?assertEqual(#{ingest => "/no/such.sock", memory => 100_000, record => [kill, link], reason_detail => full,
                                 scope => all}, InForce),
                  %% The same, said otherwise.
                  _ = [?assertEqual(ok, coroner:start(Same))
                       || Same <- [#{}, #{ingest => <<"/no/such.sock">>}, #{record => [link, kill, link]}, #{memory => 100_000},
                                   #{reason_detail => full}, #{scope => all}]],
                  _ = [?assertEqual({error, {already_started, maps:with(Differing, InForce)}}, coroner:start(Other))
                       || {Other, Differing} <- [{#{ingest => none}, [ingest]}, {#{record => default}, [record]},
                                                 {#{memory => 200_000, reason_detail => class, record => [kill, link]},
                                                  [memory, reason_detail]},
                                                 {#{scope => #{exclude => [a_name]}}, [scope]}]],
                  ?assertMatch(#{incarnation := Incarnation, options := InForce}, coroner:status()),
                  %% The scope can be changed while it runs; then that is what is in force.
                  ok = coroner:scope(#{exclude => [a_name]}),
                  ok = coroner:start(#{scope => #{exclude => [a_name]}}),
                  ?assertEqual({error, {already_started, #{scope => #{exclude => [a_name]}}}}, coroner:start(#{scope => all})),
                  ok = coroner:stop(),
                  ok = coroner:start(#{ingest => none}),
                  ?assertMatch(#{options := #{ingest := none, memory := 33_554_432, scope := all}}, coroner:status())
          end).

bad_options() ->
    clean(fun() ->
                  lists:foreach(
                    fun({Name, Options}) ->
                            ?assertMatch({error, {bad_option, Name, [_ | _]}}, coroner:start(Options)),
                            ?assertNot(coroner:is_started()),
                            ?assertEqual(#{armed => false}, coroner:status())
                    end,
                    [{memory, #{memory => 0}}, {memory, #{memory => lots}}, {memory, #{memory => 1 bsl 50}},
                     {ingest, #{ingest => lists:duplicate(200, $x)}}, {ingest, #{ingest => ""}},
                     {ingest, #{ingest => {a, b}}}, {ingest, #{ingest => "nul\0in it"}}, {ingest, #{ingest => 17}},
                     {record, #{record => [nonsense]}}, {record, #{record => nonsense}},
                     {record, #{record => [kill | link]}}, {record, #{record => ["kill"]}},
                     {reason_detail, #{reason_detail => none}}, {memroy, #{memroy => 100_000}},
                     {"memory", #{"memory" => 100_000}}]),
                  ?assertError(function_clause, coroner:start([{memory, 100_000}])),
                  %% Also when it is started already.
                  start(),
                  ?assertMatch({error, {bad_option, memory, _}}, coroner:start(#{memory => 0})),
                  assert_armed()
          end).

application() ->
    clean(fun() ->
                  Threads = testlib:os_threads(),
                  ok = application:load(coroner),
                  ok = application:set_env(coroner, ingest, none),
                  _ = [begin
                           ok = application:start(coroner),
                           assert_armed(),
                           ok = coroner:start(),
                           {error, {already_started, coroner}} = application:start(coroner),
                           case Stop of
                               coroner -> ok = coroner:stop();
                               application -> ok = application:stop(coroner)
                           end,
                           assert_nothing_left(Threads)
                       end || Stop <- [coroner, application, coroner]],
                  %% An environment that is wrong is named, and nothing is left of the attempt.
                  ok = application:set_env(coroner, memory, few),
                  {error, Reason} = application:start(coroner),
                  ?assertNotEqual(nomatch, string:find(io_lib:format("~p", [Reason]), "bad_option,memory")),
                  ?assertMatch({error, {bad_option, memory, _}}, coroner:start()),
                  assert_nothing_left(Threads),
                  %% Started by hand first: the application does not start a second one.
                  ok = coroner:start(#{ingest => none, memory => 100_000}),
                  {error, _} = application:start(coroner),
                  assert_armed()
          end).

environment() ->
    clean(fun() ->
                  ok = application:load(coroner),
                  ok = application:set_env(coroner, ingest, none),
                  ok = application:set_env(coroner, memory, 123_456),
                  ok = application:set_env(coroner, record, [kill]),
                  Before = lists:sort(application:get_all_env(coroner)),
                  %% What is given has precedence, the rest comes from the environment.
                  ok = coroner:start(#{record => [exit_signal]}),
                  Signalled = testlib:spawn_waiting(),
                  Record = end_of(Signalled, fun(Pid) -> exit(Pid, because) end),
                  ?assertEqual(<<"exit_signal">>, get("exit.source", Record)),
                  Killed = testlib:spawn_waiting(),
                  exit(Killed, kill),
                  testlib:ended(Killed),
                  ?assertMatch({error, _}, coroner:why(Killed)),
                  ?assertMatch(#{uplink_error := <<"no ingest socket is set">>}, coroner:status()),
                  ok = coroner:stop(),
                  ?assertEqual(Before, lists:sort(application:get_all_env(coroner))),
                  {error, _} = coroner:start(#{memory => 1}),
                  ?assertEqual(Before, lists:sort(application:get_all_env(coroner)))
          end).

%% --- the end of a node ------------------------------------------------------------------------------------

exit_test_() ->
    Stop = "init:stop()",
    Halt = "halt()",
    None = "#{ingest => none}",
    Nowhere = "#{ingest => \"/nowhere/there\"}",
    Storm = "storm:start(4), ",
    [{Name, {timeout, 300, fun() ->
                                  ends_cleanly(["-eval", "ok = coroner:start(" ++ Options ++ "), " ++ End ++ "."])
                          end}}
     || {Name, Options, End} <-
            [{"init:stop/0", None, Stop},
             {"init:stop/0 in a storm", None, Storm ++ Stop},
             {"init:stop/0 without a daemon", Nowhere, "exit(spawn(fun() -> receive never -> ok end end), kill), " ++ Stop},
             {"halt/0", None, Halt},
             {"halt/0 in a storm", None, Storm ++ Halt},
             {"halt/0 without a daemon", Nowhere, Storm ++ Halt},
             {"halt/0 by another process", None, "spawn(fun() -> halt() end)"},
             {"halt/2 without flushing", None, Storm ++ "erlang:halt(0, [{flush, false}])"},
             {"SIGTERM in a storm", None, Storm ++ "os:cmd(\"kill -TERM \" ++ os:getpid())"}]]
        ++ [{"-s init stop", {timeout, 300, fun() -> ends_cleanly(["-eval", "ok = coroner:start().", "-s", "init", "stop"]) end}},
            {"the end of a script", {timeout, 300, fun script/0}}].

ends_cleanly(Arguments) ->
    in_folder(fun(Folder) ->
                      run(os:find_executable("erl"),
                          ["-noshell", "-kernel", "logger_level", "critical", "-pa", testlib:ebin(), filename:dirname(code:which(?MODULE)) | Arguments],
                          Folder)
              end).

script() ->
    in_folder(fun(Folder) ->
                      Script = filename:join(Folder, "script"),
                      ok = file:write_file(Script,
                                           ["#!/usr/bin/env escript\n"
                                            "%%! -pa ", testlib:ebin(), "\n"
                                            "main([]) -> ok = coroner:start(#{ingest => none}),\n"
                                            "P = spawn(fun() -> exit(because) end), M = monitor(process, P),\n"
                                            "receive {'DOWN', M, process, P, _} -> ok end.\n"]),
                      run(os:find_executable("escript"), [Script], Folder)
              end).

in_folder(Do) ->
    Folder = string:trim(os:cmd("mktemp -d")),
    try Do(Folder)
    after
        ok = file:del_dir_r(Folder)
    end.

%% Status 0, not a word, no crash dump.
run(Program, Arguments, Folder) ->
    Dump = filename:join(Folder, "crash.dump"),
    Port = open_port({spawn_executable, Program},
                     [{args, Arguments}, {cd, Folder}, exit_status, stderr_to_stdout, binary,
                      {env, [{"ERL_CRASH_DUMP", Dump}]}]),
    ?assertEqual({0, <<>>}, output(Port, <<>>)),
    ?assertNot(filelib:is_file(Dump)).

output(Port, Text) ->
    receive
        {Port, {data, More}} -> output(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.
