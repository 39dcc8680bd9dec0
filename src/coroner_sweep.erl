%% Goes through all processes of a node that may have a million of them, and that must not stand still meanwhile.
%%
%% Three things stop others: a long time slice, for calls of the VM count as next to nothing (4,000 of a microsecond each fit
%% into one); a large heap, whose collection takes a core for tens of milliseconds; and tens of thousands of signals at once. So
%% whoever works through a list gives way after each 0.2 ms (breathe/1); the list of all processes stands in a process that
%% has room for it from the beginning and never collects; and what has to wait for an answer of each process is done by a few
%% workers (a pool), each of which waits for one at a time.
-module(coroner_sweep).

-export([each/2, pool/1, give/2, finish/1, breath/0, breathe/1]).
-export([list/1, work/4]).

-export_type([pool/0, breath/0]).

-define(CHUNK, 200). % processes: some 0.1 ms in the NIF
-define(SLICE_NS, 200_000).
-define(WORKERS, 8).
-define(JOB, 50). % processes that a worker is given at once
-define(PATIENCE_MS, 5000).
-define(PATIENCE_LEAST_MS, 20).

-record(worker, {monitor :: reference(), place :: pos_integer(), job = [] :: [pid()]}). % []: it has nothing to do
-record(pool, {work :: fun((pid()) -> boolean()),
               %% Of each worker two counters: how many of its job are done, and of how many of them the work was true.
               progress :: atomics:atomics_ref(),
               workers = #{} :: #{pid() => #worker{}},
               stuck = 0 :: non_neg_integer(),
               count = 0 :: non_neg_integer()}).

-opaque pool() :: #pool{}.
-opaque breath() :: integer().

%%% All processes

%% @doc Do(Pids, Accumulator) for all processes there are, some at a time.
-spec each(fun(([pid()], Accumulator) -> Accumulator), Accumulator) -> Accumulator.
each(Do, Accumulator) ->
    Room = 2 * erlang:system_info(process_count) + 4096, % words: a list takes two an element
    Lister = spawn_opt(?MODULE, list, [self()], [monitor, {min_heap_size, Room + Room div 8}]),
    each(Lister, Do, Accumulator).

each({Pid, Monitor} = Lister, Do, Accumulator) ->
    Pid ! {more, self()},
    receive
        {Pid, []} ->
            receive {'DOWN', Monitor, process, Pid, _} -> Accumulator end;
        {Pid, Pids} ->
            Next = Do(Pids, Accumulator),
            erlang:yield(),
            each(Lister, Do, Next);
        {'DOWN', Monitor, process, Pid, _} ->
            %% Somebody killed it. What is done twice does no harm.
            each(Do, Accumulator)
    end.

%% @private
-spec list(pid()) -> ok.
list(Owner) ->
    Monitor = monitor(process, Owner),
    list(processes(), Owner, Monitor).

list(Pids, Owner, Monitor) ->
    receive
        {more, Owner} ->
            {Some, Rest} = split(?CHUNK, Pids),
            Owner ! {self(), Some},
            case Some of
                [] -> ok;
                _ -> list(Rest, Owner, Monitor)
            end;
        {'DOWN', Monitor, process, Owner, _} ->
            ok
    end.

%% Of a million it is not counted each time how many are left: that takes three seconds.
split(Count, Pids) ->
    try lists:split(Count, Pids)
    catch error:badarg -> {Pids, []}
    end.

%%% A pool

%% @doc Workers that do this for each process they are given. It may take as long as the process wants: one that does not
%% answer is given up after seconds, and after less the more of them there are.
-spec pool(fun((pid()) -> boolean())) -> pool().
pool(Work) ->
    lists:foldl(fun(Place, Pool) -> hire(Place, [], Pool) end,
                #pool{work = Work, progress = atomics:new(2 * ?WORKERS, [])},
                lists:seq(1, ?WORKERS)).

hire(Place, Job, #pool{workers = Workers, work = Work, progress = Progress} = Pool) ->
    {Pid, Monitor} = spawn_monitor(?MODULE, work, [self(), Work, Progress, Place]),
    Worker = #worker{monitor = Monitor, place = Place},
    case Job of
        [] -> Pool#pool{workers = Workers#{Pid => Worker}};
        _ -> start(Pid, Worker, Job, Pool)
    end.

start(Pid, #worker{place = Place} = Worker, Job, #pool{workers = Workers, progress = Progress} = Pool) ->
    ok = atomics:put(Progress, 2 * Place - 1, 0),
    ok = atomics:put(Progress, 2 * Place, 0),
    Pid ! {work, self(), Job},
    Pool#pool{workers = Workers#{Pid => Worker#worker{job = Job}}}.

%% @doc Has the work done for these. Returns as soon as all of them are being worked on.
-spec give([pid()], pool()) -> pool().
give([], Pool) ->
    Pool;
give(Pids, #pool{workers = Workers} = Pool) ->
    case [Idle || {_, #worker{job = []}} = Idle <- maps:to_list(Workers)] of
        [{Pid, Worker} | _] ->
            {Job, Rest} = split(?JOB, Pids),
            give(Rest, start(Pid, Worker, Job, Pool));
        [] ->
            give(Pids, wait(Pool))
    end.

%% @doc Waits until all is done, and ends the workers. Returns for how many processes the work was true.
-spec finish(pool()) -> non_neg_integer().
finish(#pool{workers = Workers, count = Count} = Pool) ->
    case lists:all(fun(#worker{job = Job}) -> Job =:= [] end, maps:values(Workers)) of
        false ->
            finish(wait(Pool));
        true ->
            maps:foreach(fun(Pid, #worker{monitor = Monitor}) ->
                                 Pid ! {leave, self()},
                                 receive {'DOWN', Monitor, process, Pid, _} -> ok end
                         end, Workers),
            Count
    end.

%% Until one of the workers has done its job, or some of them have been too long at one process.
wait(#pool{workers = Workers, stuck = Stuck} = Pool) ->
    Before = progress(Pool),
    receive
        {done, Pid} when is_map_key(Pid, Workers) ->
            #worker{place = Place} = Worker = map_get(Pid, Workers),
            Pool#pool{workers = Workers#{Pid := Worker#worker{job = []}}, count = Pool#pool.count + done_well(Place, Pool)};
        {'DOWN', _, process, Pid, _} when is_map_key(Pid, Workers) ->
            replace(Pid, Pool)
    after max(?PATIENCE_LEAST_MS, ?PATIENCE_MS div (Stuck + 1)) ->
            lists:foldl(fun give_up/2, Pool, [Pid || {Pid, _} = Unmoved <- progress(Pool), lists:member(Unmoved, Before)])
    end.

progress(#pool{workers = Workers, progress = Progress}) ->
    [{Pid, atomics:get(Progress, 2 * Place - 1)} || {Pid, #worker{place = Place, job = [_ | _]}} <- maps:to_list(Workers)].

done_well(Place, #pool{progress = Progress}) ->
    atomics:get(Progress, 2 * Place).

give_up(Pid, #pool{workers = Workers} = Pool) ->
    #worker{monitor = Monitor} = map_get(Pid, Workers),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    %% It may have got to the end just now.
    receive {done, Pid} -> ok after 0 -> ok end,
    replace(Pid, Pool#pool{stuck = Pool#pool.stuck + 1}).

%% Another goes on behind the process that the worker was at when it ended.
replace(Pid, #pool{workers = Workers, progress = Progress} = Pool) ->
    {#worker{place = Place, job = Job}, Rest} = maps:take(Pid, Workers),
    Left = try lists:nthtail(atomics:get(Progress, 2 * Place - 1) + 1, Job) catch error:_ -> [] end,
    hire(Place, Left, Pool#pool{workers = Rest, count = Pool#pool.count + done_well(Place, Pool)}).

%% @private
-spec work(pid(), fun((pid()) -> boolean()), atomics:atomics_ref(), pos_integer()) -> ok.
work(Owner, Work, Progress, Place) ->
    Monitor = monitor(process, Owner),
    working(Owner, Monitor, Work, Progress, Place).

working(Owner, Monitor, Work, Progress, Place) ->
    receive
        {work, Owner, Job} ->
            lists:foreach(fun(Pid) ->
                                  _ = Work(Pid) andalso atomics:add(Progress, 2 * Place, 1),
                                  atomics:add(Progress, 2 * Place - 1, 1)
                          end, Job),
            Owner ! {done, self()},
            working(Owner, Monitor, Work, Progress, Place);
        {leave, Owner} ->
            ok;
        {'DOWN', Monitor, process, Owner, _} ->
            ok
    end.

%%% Giving way

%% @doc The beginning of a piece of work.
-spec breath() -> breath().
breath() ->
    erlang:monotonic_time(nanosecond).

%% @doc Gives way to others if this has gone on for long enough since the last time.
-spec breathe(breath()) -> breath().
breathe(Breath) ->
    case breath() - Breath > ?SLICE_NS of
        true -> erlang:yield(), breath();
        false -> Breath
    end.
