%% Processes that crash at an even rate in a node that coroner watches: the other end of the way to coronerd's outputs.
-module(exit_bench).

-export([main/3]).

%% @doc Lets so many processes a second crash, for so many seconds, and waits until the daemon has acknowledged them all.
-spec main(string(), pos_integer(), pos_integer()) -> ok.
main(Ingest, Rate, Seconds) ->
    ok = coroner:start(#{ingest => Ingest}),
    ok = coroner:sync(10_000),
    ok = crash(0, Rate * Seconds, Rate, erlang:monotonic_time(microsecond)),
    ok = coroner:sync(10_000),
    ok = coroner:stop().

crash(Count, Count, _Rate, _Begin) ->
    ok;
crash(Done, Count, Rate, Begin) ->
    Elapsed = erlang:monotonic_time(microsecond) - Begin,
    Due = min(Count, Elapsed * Rate div 1_000_000),
    _ = [spawn(fun() -> exit({bench, [some, reason]}) end) || _ <- lists:seq(Done + 1, Due)],
    receive after 1 -> crash(max(Done, Due), Count, Rate, Begin) end.
