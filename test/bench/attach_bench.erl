%% What it costs to take a node with very many idle processes, and to let it go: how long it takes, and how long anybody has to
%% wait meanwhile. One JSON object a line.
%%
%% Two processes that have nothing to do with coroner call each other all the time; the longest call is the stall. The same
%% is measured for as long without coroner: what the machine does to them when others use it, too.
-module(attach_bench).
-behaviour(gen_server).

-export([main/0, init/1, handle_call/3, handle_cast/2]).

-define(PROCESSES, 1_000_000).
-define(STALL_NS, 5_000_000).

%% @doc Of PROCESSES idle processes (an environment variable): start, pause, resume and stop.
-spec main() -> ok.
main() ->
    Count = case os:getenv("PROCESSES") of
                false -> ?PROCESSES;
                Text -> list_to_integer(Text)
            end,
    Idle = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
    {ok, Server} = gen_server:start(?MODULE, [], []),
    %% The first calls find nothing in any cache.
    _ = measured(Server, fun() -> receive after 200 -> ok end end),
    {ok, Start} = step("start", Count, Server, fun() -> coroner:start(#{ingest => none}) end),
    all_known(),
    {ok, _} = step("pause", Count, Server, fun coroner:pause/0),
    {ok, _} = step("resume", Count, Server, fun coroner:resume/0),
    all_known(),
    {ok, _} = step("stop", Count, Server, fun coroner:stop/0),
    %% As long without coroner: nobody does anything; and somebody does, as coroner would.
    Wait = fun() -> receive after Start div 1_000_000 -> ok end end,
    {ok, _} = step("control", Count, Server, Wait),
    Busy = spawn(fun busy/0),
    {ok, _} = step("control with another process that is busy", Count, Server, Wait),
    exit(Busy, kill),
    ok = gen_server:stop(Server),
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Idle).

%% Nothing is measured that is not done.
all_known() ->
    #{trace := intact, processes := Known, snapshot := Seen} = coroner:status(),
    Living = erlang:system_info(process_count),
    true = Known >= Living - 10 andalso Seen >= Living - 10.

idle() ->
    receive stop -> ok end.

busy() ->
    busy().

step(Name, Count, Server, Do) ->
    {Result, Took, Calls, Longest, Slow} = measured(Server, Do),
    Fields = [{"processes", integer_to_list(Count)}, {"calls", integer_to_list(Calls)},
              {"otp", ["\"", erlang:system_info(otp_release), "\""]}],
    line([Name, ", time"], "s", [io_lib:format("~.3f", [Took / 1.0e9])], Fields),
    line([Name, ", longest gen_server:call meanwhile"], "ms", [io_lib:format("~.3f", [Longest / 1.0e6])], Fields),
    line([Name, ", calls of more than 5 ms"], "calls", integer_to_list(Slow), Fields),
    {Result, Took}.

line(Name, Unit, Value, Fields) ->
    io:format("{\"name\":\"~ts\",\"unit\":\"~ts\",\"value\":~ts~ts}~n",
              [Name, Unit, Value, [[",\"", Key, "\":", Field] || {Key, Field} <- Fields]]).

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
            called(Server, Calls + 1, max(Took, Longest), Slow + case Took > ?STALL_NS of true -> 1; false -> 0 end)
    end.

now_ns() ->
    erlang:monotonic_time(nanosecond).

-spec init([]) -> {ok, []}.
init([]) -> {ok, []}.

-spec handle_call(hello, gen_server:from(), []) -> {reply, ok, []}.
handle_call(hello, _From, State) -> {reply, ok, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_, State) -> {noreply, State}.
