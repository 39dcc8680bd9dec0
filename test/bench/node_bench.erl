%% What coroner costs inside the node. Each workload runs in turn without tracing, with a tracer that does nothing, with
%% coroner, and with OTP's own tracing to a process; one JSON object a line for each.
%%
%% The machine may have others to serve: so a round is short, the variants follow each other within it, each round begins
%% with another, and what is compared is compared within a round. `value' is the median over the rounds, `ratio' the median
%% of the rounds' ratios to `none', `to_floor' the same to the floor; `low' and `high' bound a ratio's 95 % interval, by
%% the order of the rounds. `to_floor_of_least' compares the shortest rounds: what
%% others do to a round only makes it longer.
-module(node_bench).

-export([main/1]).

-define(ROUNDS, 15).
-define(ROUNDS_LEAST, 3).
-define(BUDGET_S, 90). % of a workload
-define(MEMORY_PROCESSES, 200_000).
-define(MEMORY_LINKS, 200_000).
-define(OF_PROCESS, 0.5).

%% @doc Runs the workloads whose names begin with one of these, or all.
-spec main([string()]) -> ok.
main(Names) ->
    ok = logger:set_primary_config(level, none),
    Wanted = fun(Name) -> Names =:= [] orelse lists:any(fun(N) -> lists:prefix(N, Name) end, Names) end,
    Schedulers = erlang:system_info(schedulers_online),
    _ = [workload(Workload, Parallel)
         || #{name := Name} = Workload <- node_workloads:all(), Wanted(Name),
            Parallel <- lists:usort([1 | [Schedulers || maps:get(many, Workload, false)]])],
    _ = [memory() || Wanted("memory")],
    ok.

workload(#{count := Unscaled, run := Run} = Workload, Parallel) ->
    Variants = node_tracing:variants(),
    Count = bench_stats:scaled(Unscaled),
    _ = measured(Run, max(1, Count div 10), Parallel),
    Wanted = bench_stats:rounds(maps:get(rounds, Workload, ?ROUNDS)),
    Until = erlang:monotonic_time(second) + ?BUDGET_S,
    Rounds = rounds(fun(Round) -> round(Run, Count, Parallel, turned(Variants, Round)) end, Wanted, Until, []),
    [#{none := #{times := Parts}} | _] = Rounds,
    lists:foreach(fun(Part) -> part(Part, Parallel, Rounds, Workload) end, lists:sort(maps:keys(Parts))).

%% Fewer than wanted where they take too long, but not less than so many.
rounds(Do, Wanted, Until, Done) ->
    N = length(Done),
    case N >= Wanted orelse (N >= ?ROUNDS_LEAST andalso erlang:monotonic_time(second) >= Until) of
        true -> lists:reverse(Done);
        false -> rounds(Do, Wanted, Until, [Do(N + 1) | Done])
    end.

part(Part, Parallel, Rounds, #{name := Name} = Workload) ->
    Times = [maps:map(fun(_, #{times := Parts}) -> maps:get(Part, Parts) end, Round) || Round <- Rounds],
    Counts = [Count || #{coroner := #{counts := Count}} <- Rounds],
    _ = [report(Name ++ Part, Parallel, Variant, Times, Counts, Workload) || Variant <- node_tracing:variants()],
    _ = [share(Name ++ Part, Parallel, Times) || maps:get(events, Workload, true)],
    ok.

turned(Variants, Round) ->
    {Last, First} = lists:split(Round rem length(Variants), Variants),
    First ++ Last.

round(Run, Count, Parallel, Variants) ->
    maps:from_list([{Variant, traced(Variant, Run, Count, Parallel)} || Variant <- Variants]).

traced(Variant, Run, Count, Parallel) ->
    Tracing = node_tracing:on(Variant),
    Times = measured(Run, Count, Parallel),
    Counts = case Variant of coroner -> node_tracing:counts(); _ -> none end,
    ok = node_tracing:off(Tracing),
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    #{times => Times, counts => Counts}.

%% Nanoseconds an operation, done by so many processes at once; of each part, if the workload tells of parts. Each has a heap of
%% its own, and traps exits.
measured(Run, Count, Parallel) ->
    Pids = [spawn_monitor(fun() -> runner(Run, Count) end) || _ <- lists:seq(1, Parallel)],
    Begin = erlang:monotonic_time(nanosecond),
    _ = [Pid ! go || {Pid, _} <- Pids],
    Own = [receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result end || {Pid, Monitor} <- Pids],
    case Own of
        [{nanoseconds, Parts}] -> maps:map(fun(_, Nanoseconds) -> Nanoseconds / Count end, Parts);
        _ -> #{"" => (erlang:monotonic_time(nanosecond) - Begin) / (Count * Parallel)}
    end.

runner(Run, Count) ->
    process_flag(trap_exit, true),
    receive go -> ok end,
    exit({result, Run(Count)}).

%%% What is printed

report(Name, Parallel, Variant, Times, Counts, Workload) ->
    Own = [maps:get(Variant, Round) || Round <- Times],
    Above = [Time - maps:get(floor, Round) || #{Variant := Time} = Round <- Times],
    bench_stats:print(
      [{name, Name ++ " / " ++ atom_to_list(Variant)}, {workload, Name}, {variant, atom_to_list(Variant)}, {processes, Parallel},
       {unit, "ns"}]
      ++ bench_stats:summary(Own)
      ++ bench_stats:ratio(ratio, paired(Variant, none, Times))
      ++ bench_stats:ratio(to_floor, paired(Variant, floor, Times))
      ++ [{to_floor_of_least, lists:min(Own) / lists:min([maps:get(floor, Round) || Round <- Times])},
          {above_floor, bench_stats:median(Above)}]
      ++ [Item || Variant =:= coroner, Item <- bar(maps:get(bar, Workload, none), Times, Above) ++ most(Counts)]).

paired(Variant, Other, Times) ->
    [maps:get(Variant, Round) / maps:get(Other, Round) || Round <- Times].

bar({Of, Bar}, Times, _) when Of =:= floor; Of =:= none ->
    bench_stats:at_most(Bar, io_lib:format("~.2f x ~s", [Bar, Of]), paired(coroner, Of, Times), ratio);
bar({above_floor, Nanoseconds}, _, Above) ->
    bench_stats:at_most(Nanoseconds, io_lib:format("floor + ~b ns", [Nanoseconds]), Above, figure);
bar(none, _, _) ->
    [].

%% What coroner adds, as a share of what a tracing process adds; and what the floor adds, which is what the VM itself takes. In a
%% round in which a tracing process seems to have added nothing, others had the machine: its share is far off, the median is not.
share(Name, Parallel, Times) ->
    Shares = fun(Variant) -> [(maps:get(Variant, Round) - None) / max(1, Process - None)
                              || #{none := None, process := Process} = Round <- Times] end,
    Own = Shares(coroner),
    bench_stats:print(
      [{name, Name ++ " / of what process adds"}, {workload, Name}, {variant, "of process"}, {processes, Parallel}, {unit, "ratio"}]
      ++ bench_stats:summary(Own)
      ++ bench_stats:ratio(ratio, Own)
      ++ [{floor_of_process, bench_stats:median(Shares(floor))}]
      ++ bench_stats:at_most(?OF_PROCESS, io_lib:format("~.2f x what process adds", [?OF_PROCESS]), Own, ratio)).

most(Counts) ->
    [{Key, lists:max([maps:get(Key, Count) || Count <- Counts])} || Key <- [made, counted, lost]].

%%% Memory: what the VM's allocators gave, with coroner and with the floor, for the same processes.

memory() ->
    Count = bench_stats:scaled(?MEMORY_PROCESSES),
    Links = bench_stats:scaled(?MEMORY_LINKS),
    Process = held(fun() -> processes_held(Count) end, Count),
    Hub = held(fun() -> links_held(Links) end, Links),
    Few = held(fun() -> few_links_held(Count) end, Count),
    bytes("memory a live process", Process, 96),
    bytes("memory a link, of one process with 200,000", Hub - Process, 16),
    bytes("memory a live process with 4 links", Few, 160).

bytes(Name, Bytes, Bar) ->
    bench_stats:print([{name, Name}, {unit, "bytes"}] ++ bench_stats:single(Bytes) ++ [{ratio, null}]
                      ++ bench_stats:at_most(Bar, io_lib:format("~b bytes", [Bar]), [Bytes], figure)).

held(Hold, Count) ->
    [Floor, Coroner] = [begin
                            Tracing = node_tracing:on(Variant),
                            Bytes = Hold(),
                            ok = node_tracing:off(Tracing),
                            Bytes
                        end || Variant <- [floor, coroner]],
    (Coroner - Floor) / Count.

processes_held(Count) ->
    grown(fun() -> [spawn(fun wait/0) || _ <- lists:seq(1, Count)] end).

%% One process linked to all of them, each of them to it.
links_held(Count) ->
    grown(fun() ->
                  Me = self(),
                  Hub = spawn(fun() ->
                                      Pids = [spawn_link(fun wait/0) || _ <- lists:seq(1, Count)],
                                      Me ! {ready, self()},
                                      wait(),
                                      Pids
                              end),
                  receive {ready, Hub} -> [Hub] end
          end).

%% Rings in which each is linked to the two on both sides.
few_links_held(Count) ->
    grown(fun() ->
                  Pids = [spawn(fun() -> linking() end) || _ <- lists:seq(1, Count)],
                  ring(list_to_tuple(Pids)),
                  Pids
          end).

linking() ->
    receive
        {link, Pids, To} -> lists:foreach(fun erlang:link/1, Pids), To ! done, linking();
        never -> ok
    end.

ring(Pids) ->
    Count = tuple_size(Pids),
    _ = [element(I, Pids) ! {link, [element((I + D - 1) rem Count + 1, Pids) || D <- [1, 2]], self()}
         || I <- lists:seq(1, Count)],
    _ = [receive done -> ok end || _ <- lists:seq(1, Count)],
    %% The other side of a link comes by a signal.
    _ = [process_info(Pid, links) || Pid <- tuple_to_list(Pids)],
    ok.

wait() ->
    receive never -> ok end.

%% What the allocator of NIFs has given out meanwhile.
grown(Do) ->
    Before = settled_bytes(),
    {Keeper, Monitor} = spawn_monitor(fun() -> exit({kept, Do()}) end),
    Pids = receive {'DOWN', Monitor, process, Keeper, {kept, Kept}} -> Kept end,
    Grown = settled_bytes() - Before,
    Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
    _ = [exit(Pid, kill) || Pid <- Pids],
    _ = [receive {'DOWN', M, process, _, _} -> ok end || M <- Monitors],
    await_no_more(),
    Grown.

await_no_more() ->
    case erlang:system_info(process_count) < 1000 of
        true -> ok;
        false -> receive after 10 -> await_no_more() end
    end.

%% What one scheduler frees of another's is given out until that one has time for it: so until nothing changes any more.
settled_bytes() ->
    settled_bytes(driver_bytes()).

settled_bytes(Bytes) ->
    receive after 50 -> ok end,
    case driver_bytes() of
        Bytes -> Bytes;
        Other -> settled_bytes(Other)
    end.

driver_bytes() ->
    lists:sum([Bytes || {instance, _, Items} <- erlang:system_info({allocator, driver_alloc}),
                        Kind <- [mbcs, sbcs, mbcs_pool], {blocks, Blocks} <- proplists:get_value(Kind, Items, []),
                        {_, Sizes} <- Blocks, {size, Bytes, _, _} <- Sizes]).
