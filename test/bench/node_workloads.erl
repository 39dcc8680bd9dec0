%% The workloads. Each is run by one process, or by as many at once as there are schedulers; one that gives its own times says
%% itself what counts of what it did, by parts that the name is continued with.
-module(node_workloads).

-export([all/0]).
-export([init/1, handle_call/3, handle_cast/2, child/0]).

-export_type([workload/0]).

%% count: how often it does it in a round, by each process. many: whether it is also run by all schedulers. rounds: fewer
%% where one takes seconds. events: whether it makes any but that of being scheduled. bar: of the ratio to the floor, or to
%% `none', or nanoseconds above the floor.
-type workload() :: #{name := string(), count := pos_integer(), run := fun((pos_integer()) -> own_time() | term()),
                      many => boolean(), rounds => pos_integer(), events => boolean(),
                      bar => {floor | none, Ratio :: float()} | {above_floor, Nanoseconds :: pos_integer()}}.
-type own_time() :: {nanoseconds, #{Part :: string() => integer()}}.

-define(CASCADE, 100_000).
-define(CHILDREN, 100_000).

-spec all() -> [workload()].
all() ->
    [#{name => "spawn and exit", count => 10_000, many => true, bar => {floor, 1.12},
       run => repeated(fun() -> ended(spawn_monitor(fun() -> ok end)) end)},
     #{name => "spawn_link and exit", count => 10_000, many => true, bar => {floor, 1.12}, run => repeated(fun linked/0)},
     #{name => "link and unlink", count => 30_000, many => true, bar => {floor, 1.20}, run => fun link_unlink/1},
     #{name => "gen_server:call", events => false, count => 15_000, many => true, bar => {floor, 1.03}, run => fun calls/1},
     #{name => "ping-pong", events => false, count => 30_000, many => true, bar => {floor, 1.03}, run => fun ping_pong/1},
     #{name => "register and unregister", count => 30_000, bar => {floor, 1.12}, run => fun registered/1},
     #{name => "kill and DOWN, with a record", count => 10_000, many => true, bar => {above_floor, 3_000},
       run => repeated(fun killed/0)},
     #{name => "crash with a stacktrace", count => 3_000, many => true, run => repeated(fun crashed/0)},
     #{name => "exit with a reason of 100 MB, in binaries", count => 100, bar => {above_floor, 30_000}, run => fun binaries/1},
     #{name => "exit with a reason of 100 MB, in lists", count => 1, bar => {above_floor, 30_000}, run => fun lists/1},
     #{name => "a cascade over 100,000 links", count => ?CASCADE, bar => {none, 2.0}, run => fun cascade/1},
     #{name => "a supervisor with 100,000 children", count => ?CHILDREN, rounds => 7, run => fun supervised/1}].

repeated(Do) ->
    fun(Count) -> repeat(Count, Do) end.

repeat(0, _) -> ok;
repeat(Count, Do) -> Do(), repeat(Count - 1, Do).

timed(Do) ->
    {nanoseconds, #{"" => nanoseconds(Do)}}.

nanoseconds(Do) ->
    Begin = erlang:monotonic_time(nanosecond),
    _ = Do(),
    erlang:monotonic_time(nanosecond) - Begin.

ended({Pid, Monitor}) ->
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% The runner traps exits.
linked() ->
    Pid = spawn_link(fun() -> ok end),
    receive {'EXIT', Pid, _} -> ok end.

wait() ->
    receive never -> ok end.

killed() ->
    {Pid, _} = Both = spawn_monitor(fun wait/0),
    exit(Pid, kill),
    ended(Both).

crashed() ->
    ended(spawn_monitor(fun() -> lists:map(fun(X) -> X + no_number end, [1]) end)).

link_unlink(Count) ->
    Pid = spawn(fun() -> receive stop -> ok end end),
    repeat(Count, fun() -> link(Pid), unlink(Pid) end),
    Pid ! stop.

registered(Count) ->
    repeat(Count, fun() -> register(?MODULE, self()), unregister(?MODULE) end).

ping_pong(Count) ->
    Me = self(),
    Pid = spawn_link(fun() -> pong(Me) end),
    repeat(Count, fun() -> Pid ! ping, receive pong -> ok end end),
    unlink(Pid),
    Pid ! stop.

pong(To) ->
    receive
        ping -> To ! pong, pong(To);
        stop -> ok
    end.

calls(Count) ->
    {ok, Pid} = gen_server:start(?MODULE, server, []),
    repeat(Count, fun() -> gen_server:call(Pid, hello) end),
    exit(Pid, kill).

%% The reason is not copied for the monitor: the binaries in it are shared.
binaries(Count) ->
    Reason = {data, [binary:copy(<<$x>>, 1_000_000) || _ <- lists:seq(1, 100)]},
    timed(fun() -> repeat(Count, fun() -> ended(spawn_monitor(fun() -> exit(Reason) end)) end) end).

%% Nobody is told the reason, for that would copy it. The answer to is_process_alive/1 comes when the process is no more.
lists(_Count) ->
    Me = self(),
    Pid = spawn(fun() ->
                        Reason = {data, lists:seq(1, 6_500_000)},
                        Me ! {ready, self()},
                        receive go -> exit(Reason) end
                end),
    receive {ready, Pid} -> ok end,
    timed(fun() -> Pid ! go, gone(Pid) end).

gone(Pid) ->
    case is_process_alive(Pid) of
        true -> gone(Pid);
        false -> ok
    end.

cascade(Count) ->
    Before = erlang:system_info(process_count),
    Me = self(),
    Hub = spawn(fun() ->
                        repeat(Count, fun() -> spawn_link(fun wait/0) end),
                        Me ! {ready, self()},
                        receive go -> exit(boom) end
                end),
    receive {ready, Hub} -> ok end,
    timed(fun() -> Hub ! go, fewer_than(Before + 1) end).

%% So many deaths are not waited for one by one: that would be the larger part of it.
fewer_than(Count) ->
    case erlang:system_info(process_count) < Count of
        true -> ok;
        false -> receive after 1 -> fewer_than(Count) end
    end.

supervised(Count) ->
    {ok, Supervisor} = supervisor:start_link(?MODULE, supervisor),
    Start = nanoseconds(fun() -> repeat(Count, fun() -> {ok, _} = supervisor:start_child(Supervisor, []) end) end),
    unlink(Supervisor),
    Monitor = erlang:monitor(process, Supervisor),
    Shutdown = nanoseconds(fun() -> exit(Supervisor, shutdown), ended({Supervisor, Monitor}) end),
    {nanoseconds, #{", start" => Start, ", shutdown" => Shutdown}}.

child() ->
    {ok, spawn_link(fun wait/0)}.

init(server) ->
    {ok, []};
init(supervisor) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => child, start => {?MODULE, child, []}, restart => temporary}]}}.

handle_call(_, _, State) -> {reply, ok, State}.
handle_cast(_, State) -> {noreply, State}.
