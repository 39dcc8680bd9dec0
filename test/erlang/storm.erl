%% Processes that are spawned, link, unlink, end and kill each other for as long as a storm goes on.
%%
%% A storm is a process with a pool of members, whom it tells at random what to do. It counts how they end, so a
%% suite can hold coroner's counts against it. Asked to settle, it stops telling them; its members then trap
%% exits, so that nobody ends any more.
-module(storm).

-export([start/1, start/2, feed/2, settle/1, stop/1, with/2]).
-export([storm/3, member/0]).

-export_type([count/0]).

-type count() :: #{crashed := non_neg_integer(), normal := non_neg_integer()}.

-define(POOL, 24).

%% @doc This many storms. They end with the caller.
-spec start(pos_integer()) -> [pid()].
start(Count) ->
    start(Count, infinity).

%% @doc Storms that rage for this many commands, and on when they are fed more. So much goes on at any time as a
%% suite wants, and it need not share the node with all that two schedulers can do.
-spec start(pos_integer(), pos_integer() | infinity) -> [pid()].
start(Count, Food) ->
    Self = self(),
    [spawn_link(?MODULE, storm, [Self, Seed, Food]) || Seed <- lists:seq(1, Count)].

%% @doc Lets them rage for so many commands more.
-spec feed([pid()], pos_integer()) -> ok.
feed(Storms, Food) ->
    lists:foreach(fun(Storm) -> Storm ! {feed, Food} end, Storms).

%% @doc Does something in a number of storms, and ends them whatever comes of it.
-spec with(pos_integer(), fun(() -> Result)) -> Result.
with(Count, Do) ->
    Storms = start(Count),
    try Do()
    after
        stop(Storms)
    end.

%% @doc Ends the commotion. Returns the members that live; none of them will die by itself.
-spec settle([pid()]) -> [pid()].
settle(Storms) ->
    _ = [Storm ! settle || Storm <- Storms],
    lists:append([receive {settled, Storm, Members} -> Members end || Storm <- Storms]).

%% @doc Ends storms and members. Returns how many members have ended since the start, and how.
-spec stop([pid()]) -> count().
stop(Storms) ->
    _ = [begin unlink(Storm), Storm ! stop end || Storm <- Storms],
    Counts = [receive {stopped, Storm, Count} -> testlib:ended(Storm), Count end || Storm <- Storms],
    lists:foldl(fun(#{crashed := C, normal := N}, #{crashed := Crashed, normal := Normal}) ->
                        #{crashed => Crashed + C, normal => Normal + N}
                end, #{crashed => 0, normal => 0}, Counts).

storm(Owner, Seed, Food) ->
    process_flag(trap_exit, true),
    _ = rand:seed(exsss, Seed),
    commotion(Owner, Food, [], #{crashed => 0, normal => 0}).

commotion(Owner, Food, Pool, Count) ->
    Wait = case Food of 0 -> infinity; _ -> 0 end,
    receive
        {'DOWN', _, process, Pid, Reason} ->
            commotion(Owner, Food, lists:delete(Pid, Pool), counted(Reason, Count));
        {feed, More} ->
            commotion(Owner, Food + More, Pool, Count);
        settle ->
            {Members, After} = calm(Pool, Count),
            Owner ! {settled, self(), Members},
            receive stop -> finish(Owner, Members, After) end;
        stop ->
            {Members, After} = calm(Pool, Count),
            finish(Owner, Members, After);
        {'EXIT', Owner, _} ->
            [exit(Pid, kill) || Pid <- Pool]
    after Wait ->
            {Next, Counted} = next(Pool, Count),
            commotion(Owner, eaten(Food), Next, Counted)
    end.

eaten(infinity) -> infinity;
eaten(Food) -> Food - 1.

counted(normal, #{normal := Normal} = Count) -> Count#{normal := Normal + 1};
counted(_, #{crashed := Crashed} = Count) -> Count#{crashed := Crashed + 1}.

next(Pool, Count) when length(Pool) < ?POOL ->
    {Pid, _} = spawn_monitor(?MODULE, member, []),
    {[Pid | Pool], Count};
next(Pool, Count) ->
    One = any(Pool),
    Another = any(Pool),
    One ! {self(), case rand:uniform(12) of
              N when N =< 5 -> {link, Another};
              N when N =< 7 -> {unlink, Another};
              8 -> {kill, Another};
              9 -> {trap, rand:uniform(2) =:= 1};
              10 -> {exit, crash};
              11 -> {exit, normal};
              12 -> spawn
          end},
    %% One at a time: else the commands pile up, and the node has nothing to do but to take them in.
    receive
        {done, One} -> {Pool, Count};
        {'DOWN', _, process, One, Reason} -> {lists:delete(One, Pool), counted(Reason, Count)}
    end.

any(Pool) -> lists:nth(rand:uniform(length(Pool)), Pool).

%% Twice: what one did before it settled may have ended another that had settled.
calm(Pool, Count) ->
    {Once, AfterOnce} = calm_all(Pool, Count),
    calm_all(Once, AfterOnce).

calm_all(Pool, Count) ->
    _ = [Pid ! {self(), settle} || Pid <- Pool],
    lists:foldl(fun(Pid, {Members, Counted}) ->
                        receive
                            {settled, Pid} -> {[Pid | Members], Counted};
                            {'DOWN', _, process, Pid, Reason} -> {Members, counted(Reason, Counted)}
                        end
                end, {[], Count}, Pool).

finish(Owner, Members, Count) ->
    _ = [exit(Pid, kill) || Pid <- Members],
    Owner ! {stopped, self(),
             lists:foldl(fun(Pid, Counted) ->
                                 receive {'DOWN', _, process, Pid, Reason} -> counted(Reason, Counted) end
                         end, Count, Members)}.

member() ->
    receive
        {From, {Do, What}} -> do(Do, What), From ! {done, self()}, member();
        {From, spawn} -> spawn(fun() -> ok end), From ! {done, self()}, member();
        {From, settle} -> process_flag(trap_exit, true), From ! {settled, self()}, member();
        {From, links} -> From ! {self(), links, testlib:own_links()}, member();
        _ -> member()
    end.

do(link, Pid) ->
    try link(Pid)
    catch error:noproc -> exit(noproc) % an error would be logged
    end;
do(unlink, Pid) -> unlink(Pid);
do(kill, Pid) -> exit(Pid, kill);
do(trap, Trap) -> process_flag(trap_exit, Trap);
do(exit, Reason) -> exit(Reason).
