%% What coroner costs inside the node: each workload without and with it, in turn, in one node. One JSON object a line.
-module(node_bench).

-export([main/0, init/1, handle_call/3, handle_cast/2]).

-define(ROUNDS, 9).

%% @doc Runs all workloads; prints nanoseconds an operation, without and with, and the ratio of the medians.
-spec main() -> ok.
main() ->
    lists:foreach(fun workload/1, workloads()).

workloads() ->
    [{"spawn and exit", 20_000, fun(N) -> repeat(N, fun() -> ended(spawn_monitor(fun() -> ok end)) end) end},
     {"spawn_link and exit", 20_000, fun(N) -> repeat(N, fun() -> linked() end) end},
     {"link and unlink", 100_000, fun link_unlink/1},
     {"gen_server:call", 50_000, fun calls/1},
     {"kill, with a record made", 20_000, fun(N) -> repeat(N, fun() -> killed() end) end}].

workload({Name, Count, Run}) ->
    Run(Count),
    {Without, With} = lists:unzip([round(Run, Count) || _ <- lists:seq(1, ?ROUNDS)]),
    [MedianWithout, MedianWith] = [lists:nth(?ROUNDS div 2 + 1, lists:sort(Times)) || Times <- [Without, With]],
    io:format("{\"name\":\"~s\",\"unit\":\"ns\",\"without\":~b,\"with\":~b,\"ratio\":~.2f,\"runs\":~b,\"min\":~b,\"max\":~b,"
              "\"otp\":\"~s\"}~n",
              [Name, MedianWithout, MedianWith, MedianWith / MedianWithout, ?ROUNDS, lists:min(With), lists:max(With),
               erlang:system_info(otp_release)]).

round(Run, Count) ->
    Without = measured(Run, Count),
    ok = coroner:start(#{ingest => none}),
    With = measured(Run, Count),
    ok = coroner:stop(),
    {Without, With}.

%% In a process of its own: its heap is its own affair.
measured(Run, Count) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           process_flag(trap_exit, true),
                                           Begin = erlang:monotonic_time(nanosecond),
                                           Run(Count),
                                           exit({took, (erlang:monotonic_time(nanosecond) - Begin) div Count})
                                   end),
    receive {'DOWN', Monitor, process, Pid, {took, Nanoseconds}} -> Nanoseconds end.

repeat(0, _) -> ok;
repeat(N, Do) -> Do(), repeat(N - 1, Do).

ended({Pid, Monitor}) ->
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

linked() ->
    Pid = spawn_link(fun() -> ok end),
    receive {'EXIT', Pid, _} -> ok end.

killed() ->
    {Pid, _} = Both = spawn_monitor(fun() -> receive never -> ok end end),
    exit(Pid, kill),
    ended(Both).

link_unlink(N) ->
    Pid = spawn(fun() -> receive stop -> ok end end),
    repeat(N, fun() -> link(Pid), unlink(Pid) end),
    Pid ! stop.

calls(N) ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    repeat(N, fun() -> gen_server:call(Pid, hello) end),
    exit(Pid, kill).

init([]) -> {ok, []}.
handle_call(_, _, State) -> {reply, ok, State}.
handle_cast(_, State) -> {noreply, State}.
