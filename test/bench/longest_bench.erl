%% The longest callback of each kind (timed_callbacks.c), with what is hard on each: processes with 1,000,000 links, one that dies
%% of an error and one that its peers leave; reasons of 100 MB; a storm of kills; a supervisor with 100,000 children.
%%
%% In work, which comes out the same wherever it is run: `main([work])'. In time (`own' is without the waiting for locks): what the work itself takes comes again in each run,
%% what the machine adds does not; so of each kind the least of the runs' longest counts. There are runs until that is below the
%% bar, but not more than so many. `control' is the same of pieces of doing nothing, by the same threads, and as long in all.
-module(longest_bench).

-export([main/1]).

-define(LINKS, 1_000_000).
-define(RUNS_LEAST, 1).
-define(RUNS_MOST, 6).
-define(BUDGET_S, 150).
-define(BAR_NS, 1_000_000).
-define(WORKLOADS, ["kill and DOWN, with a record", "crash with a stacktrace", "exit with a reason of 100 MB, in binaries",
                    "exit with a reason of 100 MB, in lists", "a cascade over 100,000 links",
                    "a supervisor with 100,000 children"]).

%% struct cell of timed_callbacks.c
-define(CELL, (8 + 40 + 5 * 8 + 2 * 256 * 8)).

-spec main([work | time]) -> ok.
main([What]) ->
    ok = logger:set_primary_config(level, none),
    ok = coroner:start(#{ingest => none}),
    Links = bench_stats:scaled(?LINKS),
    Scenarios = [{"a process with 1,000,000 links that dies", fun() -> hub(Links) end},
                 {"a process that 1,000,000 link to and leave", fun() -> left(Links) end}
                 | [{Name, fun() -> run(Workload) end}
                    || #{name := Name} = Workload <- node_workloads:all(), lists:member(Name, ?WORKLOADS)]],
    Until = erlang:monotonic_time(second) + ?BUDGET_S,
    Reports = [scenario(What, Name, Do, Until) || {Name, Do} <- Scenarios],
    ok = coroner:stop(),
    report(What, "all", lists:append(Reports)).

run(#{count := Count, run := Run}) ->
    {Pid, Monitor} = spawn_monitor(fun() -> process_flag(trap_exit, true), Run(bench_stats:scaled(Count)) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

scenario(What, Name, Do, Until) ->
    Runs = runs(What, Do, Until, []),
    report(What, Name, [Runs]),
    [Runs].

runs(What, Do, Until, Done) ->
    case enough(What, Done, Until) of
        true ->
            Done;
        false ->
            begin_anew(),
            Do(),
            runs(What, Do, Until, [cells() | Done])
    end.

enough(_, [], _) -> false;
enough(work, _, _) -> true;
enough(time, Done, Until) ->
    N = length(Done),
    Least = bench_stats:rounds(?RUNS_LEAST),
    N >= Least andalso (N >= max(Least, ?RUNS_MOST) orelse longest(longest, Done) =< ?BAR_NS
                        orelse erlang:monotonic_time(second) >= Until).

%% Of each kind the least of the runs' longest; of these the longest.
longest(Which, Runs) ->
    lists:max([Ns || {_, Ns} <- kinds(Which, Runs)]).

kinds(Which, Runs) ->
    Kinds = lists:usort(lists:append([maps:keys(Run) || Run <- Runs])),
    [{Kind, lists:min([maps:get(Which, maps:get(Kind, Run, #{Which => 0})) || Run <- Runs])} || Kind <- Kinds].

%% Of several scenarios, of each kind the longest.
merged(Which, Scenarios) ->
    maps:to_list(lists:foldl(fun(Runs, All) ->
                                     maps:merge_with(fun(_, A, B) -> max(A, B) end, All, maps:from_list(kinds(Which, Runs)))
                             end, #{}, Scenarios)).

report(What, Name, Scenarios) ->
    Kinds = merged(longest, Scenarios),
    Figure = lists:max([Longest || {_, Longest} <- Kinds]),
    Each = [lists:max([Longest || #{longest := Longest} <- maps:values(Run)]) || Runs <- Scenarios, Run <- Runs],
    Common = [{runs, length(Each)}, {min, lists:min(Each)}, {median, bench_stats:median(Each)}, {max, lists:max(Each)},
              {otp, erlang:system_info(otp_release)}, {schedulers, erlang:system_info(schedulers_online)},
              {callbacks, lists:sum([Count || Runs <- Scenarios, Run <- Runs, #{count := Count} <- maps:values(Run)])},
              {p9999, percentile(buckets, Scenarios)}],
    ByKind = {kinds, [{list_to_atom(Kind), Longest} || {Kind, Longest} <- Kinds]},
    case What of
        work ->
            bench_stats:print([{name, "most work in a callback / " ++ Name}, {unit, "basic blocks"}, {value, Figure}, {ratio, null}]
                              ++ Common ++ [ByKind]);
        time ->
            Most = fun(Which) -> lists:max([Longest || {_, Longest} <- merged(Which, Scenarios)]) end,
            Control = Most(control),
            bench_stats:print([{name, "longest callback / " ++ Name}, {unit, "ns"}, {value, Figure}, {ratio, Figure / max(1, Control)}]
                              ++ Common
                              ++ [{own, Most(own)}, {over_1_ms, over(buckets, Scenarios)}, {control, Control},
                                  {control_p9999, percentile(control_buckets, Scenarios)},
                                  {control_over_1_ms, over(control_buckets, Scenarios)},
                                  {bar, "1000000 ns"}, {figure, Figure}, {met, Figure =< ?BAR_NS}, ByKind])
    end.

%%% The cells

file() ->
    os:getenv("CORONER_BENCH_CALLBACKS").

begin_anew() ->
    {ok, File} = file:open(file(), [read, write, raw]),
    ok = file:write(File, binary:copy(<<0>>, filelib:file_size(file()))),
    ok = file:close(File).

cells() ->
    {ok, Bytes} = file:read_file(file()),
    maps:from_list([cell(Cell) || <<Cell:?CELL/binary>> <= Bytes, binary:first(binary:part(Cell, 8, 1)) =/= 0]).

cell(<<_:64, Name:40/binary, Count:64/native, Longest:64/native, Own:64/native, Control:64/native, _Sum:64, Buckets:(256 * 8)/binary,
       ControlBuckets:(256 * 8)/binary>>) ->
    [Kind | _] = binary:split(Name, <<0>>),
    {binary_to_list(Kind), #{count => Count, longest => Longest, own => Own, control => Control, buckets => numbers(Buckets),
                             control_buckets => numbers(ControlBuckets)}}.

numbers(Bytes) ->
    [N || <<N:64/native>> <= Bytes].

buckets(Which, Scenarios) ->
    All = [maps:get(Which, Cell) || Runs <- Scenarios, Run <- Runs, Cell <- maps:values(Run)],
    lists:enumerate(0, lists:foldl(fun(Each, Sum) -> lists:zipwith(fun erlang:'+'/2, Each, Sum) end, hd(All), tl(All))).

%% Eight for each doubling, the first eight for themselves; the least value that is above all of a bucket's.
above(Bucket) when Bucket < 8 -> Bucket + 1;
above(Bucket) -> (8 + Bucket rem 8 + 1) bsl (Bucket div 8 - 1).

percentile(Which, Scenarios) ->
    Buckets = buckets(Which, Scenarios),
    All = lists:sum([Count || {_, Count} <- Buckets]),
    percentile(Buckets, 0, All * 0.9999).

percentile([{Bucket, Count} | Rest], Sum, Wanted) when Rest =:= []; Sum + Count >= Wanted -> above(Bucket);
percentile([{_, Count} | Rest], Sum, Wanted) -> percentile(Rest, Sum + Count, Wanted).

over(Which, Scenarios) ->
    lists:sum([Count || {Bucket, Count} <- buckets(Which, Scenarios), above(Bucket) > ?BAR_NS]).

%%% The scenarios

wait() ->
    receive never -> ok end.

%% It links to them, and they to it; then it dies, and they of it.
hub(Links) ->
    Me = self(),
    Before = erlang:system_info(process_count),
    Hub = spawn(fun() ->
                        Pids = [spawn_link(fun wait/0) || _ <- lists:seq(1, Links)],
                        {Some, _} = lists:split(min(1000, Links), Pids),
                        _ = [begin unlink(Pid), link(Pid) end || Pid <- Some],
                        Me ! {ready, self()},
                        receive go -> exit({boom, [lists:seq(1, 1000)]}) end
                end),
    receive {ready, Hub} -> ok end,
    Hub ! go,
    await_fewer(Before + 1).

%% They link to it, and end one after the other, so its set empties.
left(Links) ->
    Before = erlang:system_info(process_count),
    Hub = spawn(fun wait/0),
    Pids = [spawn(fun() -> link(Hub), receive go -> ok end end) || _ <- lists:seq(1, Links)],
    _ = [Pid ! go || Pid <- Pids],
    await_fewer(Before + 2),
    {links, []} = process_info(Hub, links),
    exit(Hub, kill),
    await_fewer(Before + 1).

await_fewer(Count) ->
    case erlang:system_info(process_count) < Count of
        true -> ok;
        false -> receive after 10 -> await_fewer(Count) end
    end.
