%% The longest callback of each kind (timed_callbacks.c), with what is hard on each: a process with 1,000,000 links, in both
%% directions, which dies of it; reasons of 100 MB; a storm of kills; a supervisor with 100,000 children.
%%
%% The thread's time has in it what the host takes from a virtual machine: on a busy one milliseconds now and then, in any
%% callback. What the work itself takes comes again in each run; so of each kind the least of the runs' longest counts.
-module(longest_bench).

-export([main/0]).

-define(LINKS, 1_000_000).
-define(RUNS, 3).
-define(WORKLOADS, ["kill and DOWN, with a record", "exit with a reason of 100 MB, in lists", "a cascade over 100,000 links",
                    "a supervisor with 100,000 children"]).

-spec main() -> ok.
main() ->
    ok = logger:set_primary_config(level, none),
    ok = coroner:start(#{ingest => none}),
    Scenarios = [{"a process with 1,000,000 links", fun hub/0} |
                 [{Name, fun() -> run(Workload) end}
                  || #{name := Name} = Workload <- node_workloads:all(), lists:member(Name, ?WORKLOADS)]],
    Longest = lists:max([scenario(Name, Do) || {Name, Do} <- Scenarios]),
    ok = coroner:stop(),
    report("longest callback", [], Longest).

run(#{count := Count, run := Run}) ->
    {Pid, Monitor} = spawn_monitor(fun() -> process_flag(trap_exit, true), Run(Count) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

scenario(Name, Do) ->
    Runs = [begin begin_anew(), Do(), longest() end || _ <- lists:seq(1, ?RUNS)],
    Kinds = maps:fold(fun(Kind, _, Least) ->
                              [{Kind, lists:min([maps:get(Kind, Run, 0) || Run <- Runs])} | Least]
                      end, [], hd(Runs)),
    Longest = lists:max([Ns || {_, Ns} <- Kinds]),
    report("longest callback / " ++ Name, Kinds, Longest),
    Longest.

report(Name, Kinds, Longest) ->
    io:format("{\"name\":\"~s\",\"unit\":\"ns\",\"value\":~b,\"ratio\":~.3f,\"runs\":~b,\"min\":~b,\"median\":~b,\"max\":~b,"
              "\"otp\":\"~s\",\"bar\":\"1000000 ns\",\"met\":~p,\"kinds\":{~s}}~n",
              [Name, Longest, Longest / 1_000_000, ?RUNS, Longest, Longest, Longest,
               erlang:system_info(otp_release), Longest =< 1_000_000,
               lists:join(",", [io_lib:format("\"~s\":~b", [Kind, Ns]) || {Kind, Ns} <- Kinds])]).

file() ->
    os:getenv("CORONER_BENCH_TIMES").

begin_anew() ->
    {ok, File} = file:open(file(), [read, write, raw]),
    ok = file:pwrite(File, 15 * 64, <<"R">>),
    ok = file:close(File).

longest() ->
    {ok, File} = file:read_file(file()),
    maps:from_list([{Kind, binary_to_integer(Ns)}
                    || Line <- binary:split(File, <<"\n">>, [global]),
                       [Kind, _, Ns] <- [string:lexemes(Line, [$\s, 0])]]).

hub() ->
    Me = self(),
    Before = erlang:system_info(process_count),
    Hub = spawn(fun() ->
                        Pids = [spawn_link(fun() -> receive never -> ok end end) || _ <- lists:seq(1, ?LINKS)],
                        {Some, _} = lists:split(1000, Pids),
                        _ = [begin unlink(Pid), link(Pid) end || Pid <- Some],
                        Me ! {ready, self()},
                        receive go -> exit({boom, [lists:seq(1, 1000)]}) end
                end),
    receive {ready, Hub} -> ok end,
    Hub ! go,
    await_fewer(Before + 1).

await_fewer(Count) ->
    case erlang:system_info(process_count) < Count of
        true -> ok;
        false -> receive after 10 -> await_fewer(Count) end
    end.
