%% The longest callback of each kind (timed_callbacks.c), with what is hard on each: a process with 1,000,000 links, in both
%% directions, which dies of it; reasons of 100 MB; a storm of births and kills; a supervisor with 100,000 children.
-module(longest_bench).

-export([main/0]).

-define(LINKS, 1_000_000).

-spec main() -> ok.
main() ->
    ok = logger:set_primary_config(level, none),
    ok = coroner:start(#{ingest => none}),
    Begin = fun(Name) -> {_, Bad} = longest(), io:format(standard_error, "~s: longest so far ~b ns~n", [Name, Bad]) end,
    hub(),
    Begin("a process with 1,000,000 links"),
    lists:foreach(fun(#{name := Name, count := Count, run := Run}) ->
                          {Pid, Monitor} = spawn_monitor(fun() -> process_flag(trap_exit, true), Run(Count) end),
                          receive {'DOWN', Monitor, process, Pid, _} -> ok end,
                          Begin(Name)
                  end, node_workloads:all()),
    {Kinds, Longest} = longest(),
    ok = coroner:stop(),
    io:format("{\"name\":\"longest callback\",\"unit\":\"ns\",\"value\":~b,\"ratio\":~.3f,\"runs\":~b,\"min\":~b,\"median\":~b,\"max\":~b,"
              "\"otp\":\"~s\",\"bar\":\"1000000 ns\",\"met\":~p,\"kinds\":{~s}}~n",
              [Longest, Longest / 1_000_000, lists:sum([Count || {_, Count, _} <- Kinds]), Longest, Longest, Longest,
               erlang:system_info(otp_release), Longest =< 1_000_000,
               lists:join(",", [io_lib:format("\"~s\":~b", [Kind, Ns]) || {Kind, _, Ns} <- Kinds])]).

longest() ->
    {ok, File} = file:read_file(os:getenv("CORONER_BENCH_TIMES")),
    Kinds = [{Kind, binary_to_integer(Count), binary_to_integer(Ns)}
             || Line <- binary:split(File, <<"\n">>, [global]),
                [Kind, Count, Ns] <- [string:lexemes(Line, [$\s, 0])]],
    {Kinds, lists:max([Ns || {_, _, Ns} <- Kinds])}.

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
