%% What it costs to take a node with very many idle processes, and to let it go: how long it takes, and how long anybody has to
%% wait meanwhile. One JSON object a line.
%%
%% Two processes that have nothing to do with coroner call each other all the time; the longest call is the stall. In each cycle the
%% same is measured for as long without coroner, with nobody else and with another process that is busy, as coroner is: what the
%% machine does to them when others use it, too. A ratio is to that: the stall to the one beside the busy process.
-module(attach_bench).
-behaviour(gen_server).

-export([main/0, init/1, handle_call/3, handle_cast/2]).

-define(PROCESSES, 1_000_000).
-define(CYCLES, 3).
-define(TIME_S, 10).
-define(STALL_MS, 5).

%% @doc Of PROCESSES idle processes (an environment variable): start, pause, resume and stop.
-spec main() -> ok.
main() ->
    Count = case os:getenv("PROCESSES", "") of
                "" -> bench_stats:scaled(?PROCESSES);
                Text -> list_to_integer(Text)
            end,
    Idle = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
    {ok, Server} = gen_server:start(?MODULE, [], []),
    %% The first calls find nothing in any cache.
    _ = measured(Server, fun() -> receive after 200 -> ok end end),
    Cycles = [cycle(Server) || _ <- lists:seq(1, bench_stats:rounds(?CYCLES))],
    Controls = [maps:get("control with another process that is busy", Cycle) || Cycle <- Cycles],
    _ = [report(Step, Bars, Count, [maps:get(Step, Cycle) || Cycle <- Cycles], Controls)
         || {Step, Bars} <- [{"start", true}, {"pause", true}, {"resume", true}, {"stop", true}, {"control", false},
                             {"control with another process that is busy", false}]],
    ok = gen_server:stop(Server),
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Idle).

cycle(Server) ->
    {ok, Start} = step(Server, fun() -> coroner:start(#{ingest => none}) end),
    all_known(),
    {ok, Pause} = step(Server, fun coroner:pause/0),
    {ok, Resume} = step(Server, fun coroner:resume/0),
    all_known(),
    {ok, Stop} = step(Server, fun coroner:stop/0),
    #{took := Took} = Start,
    Wait = fun() -> receive after Took div 1_000_000 -> ok end end,
    {ok, Control} = step(Server, Wait),
    Busy = spawn(fun busy/0),
    {ok, Beside} = step(Server, Wait),
    exit(Busy, kill),
    #{"start" => Start, "pause" => Pause, "resume" => Resume, "stop" => Stop, "control" => Control,
      "control with another process that is busy" => Beside}.

%% Nothing is measured that is not done.
all_known() ->
    #{trace := intact, processes := Known, snapshot := Seen} = coroner:status(),
    Living = erlang:system_info(process_count),
    true = Known >= Living - 10 andalso Seen >= Living - 10.

idle() ->
    receive stop -> ok end.

busy() ->
    busy().

step(Server, Do) ->
    {Result, Took, Calls, Longest, Slow} = measured(Server, Do),
    {Result, #{took => Took, calls => Calls, longest => Longest, slow => Slow}}.

report(Step, Bars, Count, Runs, Controls) ->
    Times = [Took / 1.0e9 || #{took := Took} <- Runs],
    Longest = fun(Of) -> [Ns / 1.0e6 || #{longest := Ns} <- Of] end,
    Slow = [Calls || #{slow := Calls} <- Runs],
    bench_stats:print(
      [{name, Step ++ " with idle processes, time"}, {unit, "s"}] ++ bench_stats:summary(Times)
      ++ [{ratio, null}, {idle, Count}]
      ++ [Item || Bars, Item <- bar(?TIME_S, "s", bench_stats:median(Times))]),
    bench_stats:print(
      [{name, Step ++ " with idle processes, longest gen_server:call meanwhile"}, {unit, "ms"}]
      ++ bench_stats:summary(Longest(Runs))
      ++ bench_stats:ratio(ratio, [Own / Beside || {Own, Beside} <- lists:zip(Longest(Runs), Longest(Controls))])
      ++ [{idle, Count}, {calls, lists:sum([Calls || #{calls := Calls} <- Runs])}, {calls_over_5_ms, lists:sum(Slow)},
          {longest_of_control, lists:max(Longest(Controls))}]
      ++ [Item || Bars, Item <- bar(?STALL_MS, "ms", lists:max(Longest(Runs)))]).

bar(Bar, Unit, Figure) ->
    [{bar, io_lib:format("~b ~s", [Bar, Unit])}, {figure, Figure}, {met, Figure =< Bar}].

measured(Server, Do) ->
    Self = self(),
    Caller = spawn_link(fun() -> Self ! {self(), called(Server, 0, 0, 0)} end),
    Begin = now_ns(),
    Result = Do(),
    Took = now_ns() - Begin,
    Caller ! stop,
    receive {Caller, {Calls, Longest, Slow}} -> {Result, Took, Calls, Longest, Slow} end.

called(Server, Calls, Longest, Slow) ->
    receive
        stop -> {Calls, Longest, Slow}
    after 0 ->
            Begin = now_ns(),
            ok = gen_server:call(Server, hello),
            Took = now_ns() - Begin,
            called(Server, Calls + 1, max(Took, Longest), Slow + case Took > ?STALL_MS * 1_000_000 of true -> 1; false -> 0 end)
    end.

now_ns() ->
    erlang:monotonic_time(nanosecond).

-spec init([]) -> {ok, []}.
init([]) -> {ok, []}.

-spec handle_call(hello, gen_server:from(), []) -> {reply, ok, []}.
handle_call(hello, _From, State) -> {reply, ok, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_, State) -> {noreply, State}.
