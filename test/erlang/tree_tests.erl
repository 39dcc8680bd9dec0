%% Random trees of processes that end each other in every way at once, and an oracle that knows who did what, because
%% it gave the commands. coroner must never name a cause that was not possible, must be sure where only one was, and
%% must have the true one among its candidates elsewhere.
%%
%% TREE_EXITS: how many exits (20,000); TREE_SEED: the seed that a run printed, to make the same scripts again. A
%% script that fails is shrunk and printed; tree_tests:replay(Script) runs it.
-module(tree_tests).
-include_lib("eunit/include/eunit.hrl").

-export([replay/1, script/0]).

-define(WORKERS, 4).      % scripts that run at the same time
-define(CHUNK, 50).       % scripts that one seed makes
-define(ARMED_FOR, 50_000). % exits until coroner is started anew: what it keeps is bounded
-define(PROCESSES, 10).
-define(TRIES, 10).       % how often a script runs while it is shrunk: what went wrong need not each time

tree_test_() ->
    {timeout, 1800, {"random trees", fun random_trees/0}}.

random_trees() ->
    Exits = setting("TREE_EXITS", 20_000),
    Seed = setting("TREE_SEED", erlang:system_time() rem 1_000_000_007),
    io:format(user, "random trees: TREE_SEED=~b TREE_EXITS=~b~n", [Seed, Exits]),
    Begin = erlang:monotonic_time(millisecond),
    Counts = rounds(Seed, Exits, #{}, 1),
    Time = erlang:monotonic_time(millisecond) - Begin,
    io:format(user, "random trees: ~b exits in ~.1f s: ~0p~n", [total(Counts), Time / 1000, Counts]).

setting(Name, Default) ->
    case os:getenv(Name) of
        Unset when Unset =:= false; Unset =:= "" -> Default;
        Text -> list_to_integer(Text)
    end.

total(Counts) -> lists:sum(maps:values(Counts)).

rounds(Seed, Exits, Counts, Round) ->
    case total(Counts) of
        Total when Total >= Exits -> Counts;
        Total -> rounds(Seed, Exits, armed(fun() -> workers(Seed, Round, min(Exits - Total, ?ARMED_FOR), Counts) end),
                        Round + 1)
    end.

armed(Do) ->
    start(),
    try Do()
    after
        ok = coroner:stop()
    end.

start() ->
    ok = coroner:start(#{ingest => none, memory => 512 * 1024 * 1024}).

%% Each worker makes scripts of its own seed until all of them together have had enough exits.
workers(Seed, Round, Exits, Counts) ->
    %% How many exits are left to do, and which worker shrinks what failed: one is enough.
    Left = atomics:new(2, [{signed, true}]),
    atomics:put(Left, 1, Exits),
    Workers = [spawn_monitor(fun() -> exit({counts, chunks({Seed, Round, Worker}, 1, Worker, Left, #{})}) end)
               || Worker <- lists:seq(1, ?WORKERS)],
    Results = [receive {'DOWN', Monitor, process, Pid, Result} -> Result end || {Pid, Monitor} <- Workers],
    Right = [Of || {counts, Of} <- Results],
    length(Right) =:= length(Results) orelse error(a_script_failed),
    lists:foldl(fun added/2, Counts, Right).

added(Some, Others) ->
    maps:merge_with(fun(_, A, B) -> A + B end, Some, Others).

chunks(Seed, Chunk, Worker, Left, Counts) ->
    case atomics:get(Left, 1) > 0 of
        true -> chunks(Seed, Chunk + 1, Worker, Left, chunk(Seed, Chunk, Worker, Left, Counts));
        false -> Counts
    end.

chunk({Seed, Round, Worker}, Chunk, Worker, Left, Counts) ->
    put(counts, Counts),
    Property = proper:forall(script(), fun(Script) -> holds(Script, Worker, Left) end),
    %% PropEr seeds itself by the clock, so it is seeded after that.
    Seeded = proper:setup(fun() ->
                                  proper_arith:rand_restart({Seed, Round * 1000 + Chunk, Worker}),
                                  fun() -> ok end
                          end, Property),
    case proper:quickcheck(Seeded, [quiet, long_result, {numtests, ?CHUNK}, {start_size, 20}, {max_size, 20},
                                    {max_shrinks, 300}]) of
        true ->
            erase(counts);
        [Script] ->
            io:format(user, "~nTREE_SEED=~b: the smallest script that fails:~n~ts~nwhat was wrong:~n~tp~n"
                      "tree_tests:replay(~0tp).~n",
                      [Seed, described(Script), hd(get(wrong)), short(Script)]),
            exit(wrong_answer);
        Error ->
            exit({proper, Error})
    end.

holds(Script, Worker, Left) ->
    case get(wrong) of
        undefined -> once(Script, Worker, Left);
        _ -> often(Script, Worker, ?TRIES)
    end.

once(Script, Worker, Left) ->
    case atomics:get(Left, 1) > 0 andalso tree_run:run(Script, Worker) of
        false ->
            true;
        {right, Of} ->
            atomics:sub(Left, 1, total(Of)),
            put(counts, added(Of, get(counts))),
            true;
        {wrong, What} ->
            atomics:put(Left, 1, 0),
            case atomics:compare_exchange(Left, 2, 0, Worker) of
                ok -> io:format(user, "a script fails (~0P); it is being shrunk~n", [hd(What), 90]), put(wrong, What), false;
                _ -> true
            end
    end.

often(_Script, _Worker, 0) -> true;
often(Script, Worker, Tries) ->
    %% What coroner keeps is bounded: the other workers have stopped.
    Runs = case get(runs) of undefined -> 1; N -> N + 1 end,
    put(runs, Runs),
    _ = Runs rem 200 =:= 0 andalso begin ok = coroner:stop(), start() end,
    case tree_run:run(Script, Worker) of
        {right, _} -> often(Script, Worker, Tries - 1);
        {wrong, What} -> put(wrong, What), false
    end.

%% @doc Runs a script that was printed, up to a thousand times.
-spec replay(tree_run:script()) -> ok | {wrong, term()}.
replay(Script) ->
    armed(fun() ->
                  case often(Script, 1, 1000) of
                      true -> ok;
                      false -> {wrong, get(wrong)}
                  end
          end).

%% The processes that differ from a plain one, and the commands, batch by batch.
described(Script) ->
    {Specs, Batches} = short(Script),
    [[io_lib:format("  process ~b: ~0tp~n", [Id, Spec])
      || {Id, Spec} <- lists:zip(lists:seq(1, length(Specs)), Specs), Spec =/= []],
     [["  at once:\n", [io_lib:format("    ~0tp: ~0tp~n", [Who, What]) || {Who, What} <- Batch]] || Batch <- Batches]].

%% A script without what goes without saying.
short({Specs, Batches}) ->
    {[[Pair || Pair <- Spec, not lists:member(Pair, tree_run:plain())] || Spec <- Specs],
     [Batch || Batch <- Batches, Batch =/= []]}.

%% --- what is random -------------------------------------------------------------------------------------------
%% What comes first in a list of alternatives is what a failing script is shrunk to.

-spec script() -> proper_types:type().
script() ->
    {proper_types:vector(?PROCESSES, process()), proper_types:vector(6, commands())}.

process() ->
    proper_types:frequency(
      [{12, actor(plain)}, {2, actor(code)}, {5, actor(server)}, {3, supervisor()}]).

actor(Type) ->
    [{type, Type}, {trap, proper_types:frequency([{3, false}, {2, true}])},
     {react, proper_types:oneof([survive, follow])}, {priority, proper_types:frequency([{4, normal}, {1, low}])},
     {port, proper_types:frequency([{9, false}, {1, true}])}, {named, proper_types:boolean()},
     {parent, proper_types:integer(0, ?PROCESSES)},
     {fan, case Type of
               plain -> proper_types:frequency([{40, 0}, {1, proper_types:integer(65, 80)}]);
               _ -> 0
           end}].

supervisor() ->
    Base = [{type, supervisor}, {trap, true}, {react, survive}, {priority, normal}, {port, false}, {named, false},
            {parent, proper_types:integer(0, ?PROCESSES)}, {fan, 0}],
    proper_types:oneof(
      [Base ++ [{flags, flags(proper_types:oneof([one_for_one, one_for_all, rest_for_one]))},
                {children, [child(1), child(2), child(3)]}],
       Base ++ [{flags, flags(simple_one_for_one)}, {children, [child(1)]}]]).

flags(Strategy) ->
    [{strategy, Strategy}, {intensity, proper_types:oneof([0, 1, 3])}, {period, 100}].

child(Id) ->
    Restart = proper_types:oneof([temporary, permanent, transient]),
    Base = [{id, Id}, {restart, Restart}, {priority, normal}, {port, false}, {named, false}],
    proper_types:oneof(
      [Base ++ [{type, plain}, {trap, false}, {react, survive},
                {shutdown, proper_types:oneof([infinity, brutal_kill, 5000])}],
       Base ++ [{type, server}, {trap, proper_types:boolean()}, {react, proper_types:oneof([survive, follow])},
                {shutdown, proper_types:oneof([infinity, brutal_kill, 5000, 1])}],
       %% One that does not end for `shutdown'.
       Base ++ [{type, plain}, {trap, true}, {react, survive}, {shutdown, proper_types:oneof([brutal_kill, 1])}]]).

commands() ->
    proper_types:frequency([{3, proper_types:resize(1, proper_types:list(command()))},
                            {3, proper_types:resize(8, proper_types:list(command()))}]).

command() ->
    proper_types:frequency(
      [{10, {{actor, target()}, action()}},
       {2, {driver, proper_types:frequency([{4, {signal, target(), reason()}}, {1, {exit_port, target(), reason()}}])}},
       {2, {helper, proper_types:frequency([{2, {terminate_child, target()}}, {2, {stop_server, target(), reason()}},
                                            {2, load}, {4, purge}])}}]).

target() ->
    proper_types:frequency([{4, proper_types:integer(1, ?PROCESSES)},
                            {1, {child, proper_types:integer(1, ?PROCESSES), proper_types:integer(1, 3)}}]).

action() ->
    proper_types:frequency(
      [{8, {signal, target(), reason()}}, {5, {exit, reason()}}, {3, {error, reason()}}, {1, {throw, reason()}},
       {3, {caught, reason()}}, {1, {self_signal, reason()}}, {5, {link, target()}}, {3, {unlink, target()}},
       {1, {trap, proper_types:boolean()}}, {1, stop}, {2, load}, {2, purge}, {1, {exit_port, target(), reason()}},
       {1, close_port}, {1, heap}]).

%% Few, so that equal ones meet.
reason() ->
    proper_types:frequency(
      [{8, fresh}, {3, boom}, {3, kill}, {1, killed}, {2, shutdown}, {1, {shutdown, done}}, {1, normal}, {1, noproc}]).
