%% Cascades: over links from process to process, and out of one process with very many links.
-module(chain_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, why/1, text/1]).

-define(MANY, 100_000).

chain_test_() ->
    testlib:armed([{integer_to_list(Depth), fun() -> chain(Depth) end} || Depth <- [1, 2, 3, 5, 16, 17, 1000]]).

%% A line of linked processes; the first is killed, and the last has Depth links between itself and the kill.
chain(Depth) ->
    Line = line(Depth),
    Last = lists:last(Line),
    First = hd(Line),
    Monitor = monitor(process, Last),
    exit(First, kill),
    receive {'DOWN', Monitor, process, Last, killed} -> ok end,
    Record = why(Last),
    ?assertEqual({<<"link">>, <<"observed">>}, {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(text(lists:nth(Depth, Line)), get("exit.via", Record)),
    ?assertEqual(text(First), get("origin.pid", Record)),
    ?assertEqual(<<"kill">>, get("origin.source", Record)),
    ?assertEqual(text(self()), get("origin.by", Record)),
    ?assertEqual(get("id", why(First)), get("origin.id", Record)),
    ?assertEqual(Depth + 1, get("chain_length", Record)),
    Chain = [Pid || #{pid := Pid} <- get("chain", Record)],
    case length(Line) =:= length(Chain) of
        true ->
            ?assertEqual([text(Pid) || Pid <- Line], Chain);
        false ->
            %% A long one is left out in the middle.
            Half = length(Chain) div 2,
            ?assert(length(Chain) >= 6),
            ?assertEqual([text(Pid) || Pid <- lists:sublist(Line, Half)], lists:sublist(Chain, Half)),
            ?assertEqual([text(Pid) || Pid <- lists:nthtail(length(Line) - Half, Line)], lists:nthtail(Half, Chain))
    end,
    %% Every one on the way tells the same origin.
    lists:foreach(fun(Pid) ->
                          testlib:ended(Pid),
                          ?assertEqual(text(First), get("origin.pid", why(Pid)))
                  end, Line).

line(Depth) ->
    First = testlib:spawn_waiting(),
    lists:reverse(lists:foldl(fun(_, [Before | _] = Line) ->
                                      Next = testlib:spawn_waiting(),
                                      Next ! {self(), link, Before},
                                      receive {Next, done} -> [Next | Line] end
                              end, [First], lists:seq(1, Depth))).

many_links_test_() ->
    %% All records are to be held, so that each can be asked for.
    testlib:armed(#{memory => 512 * 1024 * 1024},
                  [{"a process with 100,000 links is killed", {timeout, 120, fun hub_dies/0}},
                   {"a process with 100,000 links that loses one", {timeout, 120, fun hub_survives/0}},
                   {"one of 100,000 linked processes takes all with it", {timeout, 120, fun leaf_kills_hub/0}}]).

hub_dies() ->
    {Hub, Leaves} = hub(false),
    exit(Hub, kill),
    lists:foreach(fun(Leaf) -> testlib:ended(Leaf) end, Leaves),
    Wrong = [Leaf || Leaf <- Leaves, not is_linked_to(Hub, <<"kill">>, <<"killed">>, why(Leaf))],
    ?assertEqual([], Wrong).

is_linked_to(Hub, Origin, Reason, Record) ->
    {get("exit.source", Record), get("exit.via", Record), get("exit.reason", Record), get("origin.source", Record),
     get("exit.confidence", Record)}
        =:= {<<"link">>, text(Hub), Reason, Origin, <<"observed">>}.

hub_survives() ->
    {Hub, [Leaf | Leaves]} = hub(true),
    Links = fun() -> {links, List} = process_info(Hub, links), length(List) end,
    ?assertEqual(?MANY, Links()),
    exit(Leaf, {ignore, it}),
    testlib:ended(Leaf),
    ?assertEqual(?MANY - 1, Links()),
    Monitor = monitor(process, Hub),
    Hub ! {exit, enough},
    receive {'DOWN', Monitor, process, Hub, enough} -> ok end,
    ?assertEqual(<<"self_exit">>, get("exit.source", why(Hub))),
    lists:foreach(fun(Pid) -> testlib:ended(Pid) end, Leaves),
    ?assertEqual([], [Pid || Pid <- Leaves, not is_linked_to(Hub, <<"self_exit">>, <<"enough">>, why(Pid))]).

leaf_kills_hub() ->
    {Hub, [Leaf | Leaves]} = hub(false),
    Monitor = monitor(process, Hub),
    Leaf ! {exit, infectious},
    receive {'DOWN', Monitor, process, Hub, infectious} -> ok end,
    ?assertEqual({<<"link">>, text(Leaf)}, {get("exit.source", why(Hub)), get("exit.via", why(Hub))}),
    lists:foreach(fun(Pid) -> testlib:ended(Pid) end, Leaves),
    ?assertEqual([], [Pid || Pid <- Leaves,
                             {get("exit.via", why(Pid)), get("origin.pid", why(Pid)), get("chain_length", why(Pid))}
                                 =/= {text(Hub), text(Leaf), 3}]).

%% A process with very many links; the leaves do not trap exits.
hub(Trapping) ->
    Self = self(),
    Hub = spawn(fun() ->
                        process_flag(trap_exit, Trapping),
                        Self ! {leaves, [spawn_link(testlib, waiting, []) || _ <- lists:seq(1, ?MANY)]},
                        testlib:waiting()
                end),
    receive {leaves, Leaves} -> {Hub, Leaves} end.
