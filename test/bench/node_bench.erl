%% What coroner costs inside the node. Each workload runs in turn without tracing, with a tracer that does nothing, with
%% coroner, and with OTP's own tracing to a process; one JSON object a line for each.
%%
%% The machine may have others to serve: so a round is short, the variants follow each other within it, each round begins
%% with another, and what is compared is compared within a round. `value' is the median over the rounds, `ratio' the median
%% of the rounds' ratios to `none', `to_floor' the same to the floor; `low' and `high' bound a ratio's 95 % interval, by
%% the order of the rounds (which takes no distribution for granted). `to_floor_of_least' compares the shortest rounds: what
%% others do to a round only makes it longer.
-module(node_bench).

-export([main/1]).

-define(ROUNDS, 15).
-define(MEMORY_PROCESSES, 200_000).
-define(MEMORY_LINKS, 200_000).

%% @doc Runs the workloads whose names begin with one of these, or all.
-spec main([string()]) -> ok.
main(Names) ->
    ok = logger:set_primary_config(level, none),
    [Rounds] = [case os:getenv("BENCH_ROUNDS") of false -> ?ROUNDS; Text -> list_to_integer(Text) end],
    Wanted = fun(Name) -> Names =:= [] orelse lists:any(fun(N) -> lists:prefix(N, Name) end, Names) end,
    Schedulers = erlang:system_info(schedulers_online),
    _ = [workload(Workload, Parallel, Rounds)
         || #{name := Name} = Workload <- node_workloads:all(), Wanted(Name),
            Parallel <- lists:usort([1 | [Schedulers || maps:get(many, Workload, false)]])],
    _ = [memory() || Wanted("memory")],
    ok.

workload(#{name := Name, count := Count, run := Run} = Workload, Parallel, Rounds) ->
    Variants = node_tracing:variants(),
    _ = measured(Run, max(1, Count div 10), Parallel),
    Times = [round(Run, Count, Parallel, turned(Variants, Round))
             || Round <- lists:seq(1, min(Rounds, maps:get(rounds, Workload, Rounds)))],
    lists:foreach(fun(Variant) -> report(Name, Parallel, Variant, Times, Workload) end, Variants).

turned(Variants, Round) ->
    {Last, First} = lists:split(Round rem length(Variants), Variants),
    First ++ Last.

round(Run, Count, Parallel, Variants) ->
    maps:from_list([{Variant, traced(Variant, Run, Count, Parallel)} || Variant <- Variants]).

traced(Variant, Run, Count, Parallel) ->
    Tracing = node_tracing:on(Variant),
    Time = measured(Run, Count, Parallel),
    Lost = [node_tracing:counts() || Variant =:= coroner],
    ok = node_tracing:off(Tracing),
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    {Time, Lost}.

%% Nanoseconds an operation, done by so many processes at once. Each has a heap of its own, and traps exits.
measured(Run, Count, Parallel) ->
    Pids = [spawn_monitor(fun() -> runner(Run, Count) end) || _ <- lists:seq(1, Parallel)],
    Begin = erlang:monotonic_time(nanosecond),
    _ = [Pid ! go || {Pid, _} <- Pids],
    Own = [receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result end || {Pid, Monitor} <- Pids],
    case Own of
        [{nanoseconds, Nanoseconds}] -> Nanoseconds / Count;
        _ -> (erlang:monotonic_time(nanosecond) - Begin) / (Count * Parallel)
    end.

runner(Run, Count) ->
    process_flag(trap_exit, true),
    receive go -> ok end,
    exit({result, Run(Count)}).

%%% What is printed

report(Name, Parallel, Variant, Times, Workload) ->
    Own = [time(Variant, Round) || Round <- Times],
    print([{name, [Name, " / ", atom_to_list(Variant)]}, {variant, atom_to_list(Variant)}, {processes, Parallel}, {unit, "ns"}]
          ++ summary(Own)
          ++ ratio(ratio, paired(Variant, none, Times))
          ++ ratio(to_floor, paired(Variant, floor, Times))
          ++ [{to_floor_of_least, lists:min(Own) / lists:min([time(floor, Round) || Round <- Times])}]
          ++ [{above_floor, round(median([time(Variant, Round) - time(floor, Round) || Round <- Times]))}]
          ++ [Item || Variant =:= coroner, Item <- bar(maps:get(bar, Workload, none), Times) ++ share(Times) ++ counts(Times)]).

time(Variant, Round) ->
    {Time, _} = maps:get(Variant, Round),
    Time.

paired(Variant, Other, Times) ->
    [time(Variant, Round) / time(Other, Round) || Round <- Times].

summary(Values) ->
    [{value, round(median(Values))}, {runs, length(Values)}, {min, round(lists:min(Values))},
     {median, round(median(Values))}, {max, round(lists:max(Values))}, {otp, erlang:system_info(otp_release)}].

ratio(Key, Ratios) ->
    {Low, High} = interval(Ratios),
    [{Key, median(Ratios)}, {atom_to_list(Key) ++ "_low", Low}, {atom_to_list(Key) ++ "_high", High}].

%% A bar below 1.10 is met when the interval reaches down to it.
bar({Of, Bar}, Times) when Of =:= floor; Of =:= none ->
    Ratios = paired(coroner, Of, Times),
    {Low, _} = interval(Ratios),
    Reached = case Bar < 1.10 of true -> Low; false -> median(Ratios) end,
    [{bar, io_lib:format("~.2f x ~s", [Bar, Of])}, {met, Reached =< Bar}];
bar({above_floor, Nanoseconds}, Times) ->
    Above = median([time(coroner, Round) - time(floor, Round) || Round <- Times]),
    [{bar, io_lib:format("floor + ~b ns", [Nanoseconds])}, {met, Above =< Nanoseconds}];
bar(none, _Times) ->
    [].

%% What coroner adds, as a share of what a tracing process adds.
share(Times) ->
    Added = fun(Variant) -> median([time(Variant, Round) - time(none, Round) || Round <- Times]) end,
    case Added(process) of
        Process when Process > 0 -> [{of_process, Added(coroner) / Process}];
        _ -> []
    end.

counts(Times) ->
    Counts = [Count || #{coroner := {_, [Count]}} <- Times],
    [{Key, lists:max([maps:get(Key, Count) || Count <- Counts])} || Key <- [made, counted, lost]].

%% The median's 95 % interval: the order statistics between which it lies with that probability (the binomial's tails).
interval(Values) ->
    Sorted = lists:sort(Values),
    N = length(Sorted),
    Skip = skipped(N, 0, math:pow(0.5, N), math:pow(0.5, N)),
    {lists:nth(Skip + 1, Sorted), lists:nth(N - Skip, Sorted)}.

skipped(N, K, Tail, _) when Tail + 0.0 > 0.025; K >= N div 2 -> max(0, K - 1);
skipped(N, K, Tail, Term) ->
    Next = Term * (N - K) / (K + 1),
    skipped(N, K + 1, Tail + Next, Next).

median(Values) ->
    Sorted = lists:sort(Values),
    N = length(Sorted),
    case N rem 2 of
        1 -> lists:nth(N div 2 + 1, Sorted);
        0 -> (lists:nth(N div 2, Sorted) + lists:nth(N div 2 + 1, Sorted)) / 2
    end.

print(Pairs) ->
    io:put_chars(["{", lists:join(",", [["\"", key(Key), "\":", json(Value)] || {Key, Value} <- Pairs]), "}\n"]).

key(Key) when is_atom(Key) -> atom_to_list(Key);
key(Key) -> Key.

json(Value) when is_boolean(Value) -> atom_to_list(Value);
json(Value) when is_integer(Value) -> integer_to_list(Value);
json(Value) when is_float(Value) -> io_lib:format("~.3f", [Value]);
json(Value) -> ["\"", Value, "\""].

%%% Memory: what the VM's allocators gave, with coroner and with the floor, for the same processes.

memory() ->
    Process = held(fun processes_held/0, ?MEMORY_PROCESSES),
    Hub = held(fun links_held/0, ?MEMORY_LINKS),
    Few = held(fun few_links_held/0, ?MEMORY_PROCESSES),
    print([{name, "memory a live process"}, {unit, "bytes"}, {bar, "96"}, {met, Process =< 96}] ++ summary([Process])),
    print([{name, "memory a link, of one process with 200,000"}, {unit, "bytes"}, {bar, "16"}, {met, Hub - Process =< 16}]
          ++ summary([Hub - Process])),
    print([{name, "memory a live process with 4 links"}, {unit, "bytes"}, {bar, "160"}, {met, Few =< 160}] ++ summary([Few])).

held(Hold, Count) ->
    [Floor, Coroner] = [begin
                            Tracing = node_tracing:on(Variant),
                            Bytes = Hold(),
                            ok = node_tracing:off(Tracing),
                            Bytes
                        end || Variant <- [floor, coroner]],
    (Coroner - Floor) / Count.

processes_held() ->
    grown(fun() -> [spawn(fun wait/0) || _ <- lists:seq(1, ?MEMORY_PROCESSES)] end).

%% One process linked to all of them, each of them to it.
links_held() ->
    grown(fun() ->
                  Me = self(),
                  Hub = spawn(fun() ->
                                      Pids = [spawn_link(fun wait/0) || _ <- lists:seq(1, ?MEMORY_LINKS)],
                                      Me ! {ready, self()},
                                      wait(),
                                      Pids
                              end),
                  receive {ready, Hub} -> [Hub] end
          end).

%% Rings in which each is linked to the two on both sides.
few_links_held() ->
    grown(fun() ->
                  Pids = [spawn(fun() -> linking() end) || _ <- lists:seq(1, ?MEMORY_PROCESSES)],
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
    Before = driver_bytes(),
    {Keeper, Monitor} = spawn_monitor(fun() -> exit({kept, Do()}) end),
    Pids = receive {'DOWN', Monitor, process, Keeper, {kept, Kept}} -> Kept end,
    Grown = driver_bytes() - Before,
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

driver_bytes() ->
    lists:sum([Bytes || {instance, _, Items} <- erlang:system_info({allocator, driver_alloc}),
                        Kind <- [mbcs, sbcs, mbcs_pool], {blocks, Blocks} <- proplists:get_value(Kind, Items, []),
                        {_, Sizes} <- Blocks, {size, Bytes, _, _} <- Sizes]).
