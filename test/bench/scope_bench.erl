%% What coroner costs processes inside the scope and outside: pairs of processes that send each other messages, one after the other
%% without coroner and with it. One JSON object a line; ratios of the pairs within one run.
-module(scope_bench).
-behaviour(gen_server).

-export([main/0, init/1, handle_call/3, handle_cast/2, pong/0]).

-define(PAIRS, 15).
-define(COUNT, 100_000).

-spec main() -> ok.
main() ->
    ok = coroner:start(#{ingest => none}),
    ok = coroner:stop(), % loaded
    lists:foreach(fun bench/1,
                  [{Name, Scope, Workload}
                   || {Name, Scope} <- [{"all traced", all},
                                        {"outside, of an excluded module", #{exclude => [{module, ?MODULE}]}},
                                        {"outside, of no application", #{applications => [stdlib]}}],
                      Workload <- [ping_pong, gen_server_call]]).

bench({Name, Scope, Workload}) ->
    Pairs = [pair(Scope, Workload, Round) || Round <- lists:seq(1, bench_stats:rounds(?PAIRS))],
    Ratios = [With / Without || {Without, With} <- Pairs],
    {Low, High} = bench_stats:interval(Ratios),
    bench_stats:print(
      [{name, name(Workload) ++ ", " ++ Name}, {unit, "ns"}]
      ++ bench_stats:summary([With || {_, With} <- Pairs])
      ++ bench_stats:ratio(ratio, Ratios)
      ++ [{none, bench_stats:median([Without || {Without, _} <- Pairs])}]
      ++ [Item || Scope =/= all, Item <- [{bar, "1.00 x none, within the interval"}, {figure, bench_stats:median(Ratios)},
                                          {figure_low, Low}, {figure_high, High}, {met, Low =< 1.0}]]).

name(ping_pong) -> "ping-pong";
name(gen_server_call) -> "gen_server:call".

%% In turn, and each first in turn.
pair(Scope, Workload, Round) ->
    case Round rem 2 of
        0 -> Without = run(Workload), {Without, with(Scope, Workload)};
        1 -> With = with(Scope, Workload), {run(Workload), With}
    end.

with(Scope, Workload) ->
    ok = coroner:start(#{ingest => none, scope => Scope}),
    Took = run(Workload),
    ok = coroner:stop(),
    Took.

%% Both ends start with a function of this module, and with a heap of their own.
run(Workload) ->
    Self = self(),
    {Pid, Monitor} = spawn_monitor(?MODULE, pong, []),
    Pid ! {run, Self, Workload},
    receive {Pid, Took} -> Took end,
    receive {'DOWN', Monitor, process, Pid, _} -> Took / bench_stats:scaled(?COUNT) end.

-spec pong() -> ok.
pong() ->
    receive
        {run, Owner, Workload} -> Owner ! {self(), timed(Workload)}, ok;
        {ping, From} -> From ! pong, pong();
        stop -> ok
    end.

timed(ping_pong) ->
    Other = spawn(?MODULE, pong, []),
    Took = time(fun() -> Other ! {ping, self()}, receive pong -> ok end end),
    Other ! stop,
    Took;
timed(gen_server_call) ->
    {ok, Server} = gen_server:start(?MODULE, [], []),
    Took = time(fun() -> gen_server:call(Server, hello) end),
    ok = gen_server:stop(Server),
    Took.

time(Do) ->
    Count = bench_stats:scaled(?COUNT),
    repeat(Count div 10, Do),
    Begin = erlang:monotonic_time(nanosecond),
    repeat(Count, Do),
    erlang:monotonic_time(nanosecond) - Begin.

repeat(0, _) -> ok;
repeat(Count, Do) -> _ = Do(), repeat(Count - 1, Do).

-spec init([]) -> {ok, []}.
init([]) -> {ok, []}.

-spec handle_call(hello, gen_server:from(), []) -> {reply, ok, []}.
handle_call(hello, _From, State) -> {reply, ok, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_, State) -> {noreply, State}.
