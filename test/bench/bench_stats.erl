%% What the benches make of their times, and how they print it: one JSON object a line, with the same keys for all.
%%
%% The 95 % interval is that of a median by the order of the values (the binomial's tails), which takes no distribution for
%% granted.
-module(bench_stats).

-export([rounds/1, scaled/1, median/1, interval/1, summary/1, single/1, ratio/2, at_most/4, print/1]).

-export_type([pair/0]).

-type pair() :: {Key :: atom(), boolean() | number() | string() | null | [pair()]}.

%% A bar below this is judged by the interval, of so many rounds at least.
-define(BY_INTERVAL, 1.10).
-define(INTERVAL_ROUNDS, 15).

%% @doc How many rounds: the environment variable BENCH_ROUNDS, or so many.
-spec rounds(pos_integer()) -> pos_integer().
rounds(Default) ->
    number("BENCH_ROUNDS", Default).

%% @doc A count, divided by BENCH_SCALE: what only shows that the bench works need not take long.
-spec scaled(pos_integer()) -> pos_integer().
scaled(Count) ->
    max(1, Count div number("BENCH_SCALE", 1)).

number(Variable, Default) ->
    case os:getenv(Variable, "") of
        "" -> Default;
        Text -> list_to_integer(Text)
    end.

-spec median([number(), ...]) -> number().
median(Values) ->
    Sorted = lists:sort(Values),
    N = length(Sorted),
    case N rem 2 of
        1 -> lists:nth(N div 2 + 1, Sorted);
        0 -> (lists:nth(N div 2, Sorted) + lists:nth(N div 2 + 1, Sorted)) / 2
    end.

%% @doc Between which the median lies with a probability of 95 %; of few values the least and the largest.
-spec interval([number(), ...]) -> {Low :: number(), High :: number()}.
interval(Values) ->
    Sorted = lists:sort(Values),
    N = length(Sorted),
    Skip = skipped(N, 0, math:pow(0.5, N), math:pow(0.5, N)),
    {lists:nth(Skip + 1, Sorted), lists:nth(N - Skip, Sorted)}.

skipped(N, K, Tail, _) when Tail > 0.025; K >= N div 2 -> max(0, K - 1);
skipped(N, K, Tail, Term) ->
    Next = Term * (N - K) / (K + 1),
    skipped(N, K + 1, Tail + Next, Next).

%% @doc The keys that every line has, but for name, unit and ratio.
-spec summary([number(), ...]) -> [pair()].
summary(Values) ->
    [{value, median(Values)}, {runs, length(Values)}, {min, lists:min(Values)}, {median, median(Values)},
     {max, lists:max(Values)}, {otp, erlang:system_info(otp_release)}, {schedulers, erlang:system_info(schedulers_online)}].

%% @doc The same of what was measured once, or is counted and not timed.
-spec single(number()) -> [pair()].
single(Value) ->
    summary([Value]).

%% @doc The median of ratios, with its interval.
-spec ratio(atom(), [number(), ...]) -> [pair()].
ratio(Key, Ratios) ->
    {Low, High} = interval(Ratios),
    [{Key, median(Ratios)}, {list_to_atom(atom_to_list(Key) ++ "_low"), Low}, {list_to_atom(atom_to_list(Key) ++ "_high"), High}].

%% @doc A bar, what is held against it (the median), and whether it is met. A small ratio's bar is met when the interval reaches
%% down to it.
-spec at_most(number(), Text :: string(), [number(), ...], ratio | figure) -> [pair()].
at_most(Bar, Text, Values, What) ->
    {Low, High} = interval(Values),
    ByInterval = What =:= ratio andalso Bar < ?BY_INTERVAL andalso length(Values) >= ?INTERVAL_ROUNDS,
    Reached = case ByInterval of true -> Low; false -> median(Values) end,
    [{bar, Text}, {figure, median(Values)}, {figure_low, Low}, {figure_high, High}, {met, Reached =< Bar}].

%% @doc Prints a line.
-spec print([pair()]) -> ok.
print(Pairs) ->
    io:put_chars([json(Pairs), $\n]).

json(null) -> "null";
json(Value) when is_boolean(Value) -> atom_to_list(Value);
json(Value) when is_integer(Value) -> integer_to_list(Value);
json(Value) when is_float(Value), abs(Value) >= 1000 -> integer_to_list(round(Value));
json(Value) when is_float(Value) -> io_lib:format("~.3f", [Value]);
json([{_, _} | _] = Pairs) -> ["{", lists:join(",", [["\"", atom_to_list(Key), "\":", json(Value)] || {Key, Value} <- Pairs]), "}"];
json(Text) -> ["\"", Text, "\""].
