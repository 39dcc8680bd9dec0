%% What test/e2e/real_node.py tells a node to do: expressions in lines on stdin, their values as JSON in lines on
%% stdout. Nothing in here waits for time to pass, but steady/2, which is about a rate.
-module(driver).

-export([main/0, sync/0, until/1, crash/1, storm/1, storm/2, steady/2, in_storms/1, reasons/0, hostile/0, chain/1]).

%% @doc Evaluates a line, answers with a line, until stdin ends: then the test has, and the node ends too.
-spec main() -> no_return().
main() ->
    ok = io:setopts([{encoding, unicode}]),
    answer(ready),
    loop().

loop() ->
    case io:get_line("") of
        Line when is_list(Line) ->
            answer(evaluate(Line)),
            loop();
        _ ->
            erlang:halt(0, [{flush, false}])
    end.

%% In a process of its own that ends normally, so that what a command leaves behind ends with it.
evaluate(Line) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           {ok, Tokens, _} = erl_scan:string(Line),
                                           {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                                           {value, Value, _} = erl_eval:exprs(Expressions, []),
                                           persistent_term:put({?MODULE, self()}, Value)
                                   end),
    receive
        {'DOWN', Monitor, process, Pid, normal} ->
            Value = persistent_term:get({?MODULE, Pid}),
            persistent_term:erase({?MODULE, Pid}),
            Value;
        {'DOWN', Monitor, process, Pid, Reason} ->
            #{failed => iolist_to_binary(io_lib:format("~0tP", [Reason, 20]))}
    end.

answer(Value) ->
    io:put_chars(["answer ", json(Value), "\n"]).

json(Value) when is_integer(Value) -> integer_to_binary(Value);
json(Value) when is_boolean(Value); Value =:= null -> atom_to_binary(Value);
json(undefined) -> <<"null">>;
json(Value) when is_atom(Value) -> json(atom_to_binary(Value));
json(Value) when is_binary(Value) -> [$", [escape(C) || C <- unicode:characters_to_list(Value)], $"];
json(Value) when is_list(Value) -> [$[, lists:join($,, [json(Item) || Item <- Value]), $]];
json(Value) when is_tuple(Value) -> json(tuple_to_list(Value));
json(Value) when is_map(Value) ->
    [${, lists:join($,, [[json(Key), $:, json(Item)] || {Key, Item} <- maps:to_list(Value)]), $}].

escape(C) when C < 32; C =:= $"; C =:= $\\ -> io_lib:format("\\u~4.16.0b", [C]);
escape(C) -> C.

sync() ->
    coroner:sync(60_000).

%% @doc Asks for the status again and again until it holds.
until(Holds) ->
    Status = coroner:status(),
    case Holds(Status) of
        true -> Status;
        false -> erlang:yield(), until(Holds)
    end.

%% @doc One exit that is recorded: the id of its record.
crash(Reason) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit(Reason) end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    {ok, #{id := Id}} = coroner:why(Pid),
    Id.

%% @doc Count exits, of every severity and from several causes; returns how many microseconds they took.
storm(Count) ->
    storm(Count, none).

%% @doc The same, with an answer of its own in the middle of it. {made, N}: once N exits are made. {stored, N}: once the
%% daemon has acknowledged the first N, for which the last thousand exits wait if they have to.
storm(Count, Mark) ->
    Begin = erlang:monotonic_time(microsecond),
    storm(Count, 0, Mark),
    erlang:monotonic_time(microsecond) - Begin.

%% In small groups: their processes live at the same time, which is as it is in a node.
storm(Count, Count, _) ->
    ok;
storm(Count, Number, {made, Mark}) when Number >= Mark ->
    answer(Number),
    storm(Count, Number, none);
storm(Count, Number, {stored, Mark}) when Number >= Mark ->
    ok = coroner_nif:notify(make_ref()),
    storm(Count, Number, flushed);
storm(Count, Number, Mark) ->
    Wait = case Count - Number =< 1000 of true -> infinity; false -> 0 end,
    receive
        {coroner_flushed, _, true} ->
            answer(Number),
            storm(Count, Number, none)
    after case Mark of flushed -> Wait; _ -> 0 end ->
            Group = min(Count - Number, 20),
            Monitors = [monitored(N) || N <- lists:seq(Number, Number + Group - 1)],
            _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
            storm(Count, Number + Group, Mark)
    end.

%% @doc So many exits a second, for so many seconds; says in a line after each group of them how many the node has made
%% and how many of these the daemon has not acknowledged. Returns how many exits there were.
steady(PerSecond, Seconds) ->
    Group = PerSecond div 100,
    steady(Group, 0, Seconds * 100, erlang:monotonic_time(millisecond)).

steady(Group, Ticks, Ticks, _) ->
    Group * Ticks;
steady(Group, Tick, Ticks, Begin) ->
    Monitors = [monitored(N) || N <- lists:seq(1, Group)],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    #{made := Made, unacknowledged := Unacknowledged} = coroner:status(),
    io:format("made ~b unacknowledged ~b~n", [Made, Unacknowledged]),
    Timer = erlang:start_timer(Begin + 10 * (Tick + 1), self(), tick, [{abs, true}]),
    receive {timeout, Timer, tick} -> ok end,
    steady(Group, Tick + 1, Ticks, Begin).

monitored(Number) ->
    {Pid, Monitor} = spawn_monitor(fun() -> die(Number rem 5, Number) end),
    _ = Number rem 5 =:= 4 andalso exit(Pid, kill),
    Monitor.

die(0, Number) -> exit({gone, Number});
die(1, _) -> exit(shutdown);
die(2, Number) -> exit({shutdown, {worker, Number, <<"of no use any more">>}});
die(3, Number) -> exit({badmatch, lists:duplicate(Number rem 50, Number)});
die(4, _) -> receive never -> ok end.

%% @doc Does something in four storms (see storm.erl) that are under way: what came of it, and how many processes of theirs
%% ended meanwhile in a way that makes a record.
in_storms(Do) ->
    Storms = storm:start(4),
    try
        Result = Do(),
        #{crashed := Crashed} = storm:stop(Storms),
        {Result, Crashed}
    after
        _ = [exit(Storm, kill) || Storm <- Storms, unlink(Storm)]
    end.

%% @doc An exit with every reason that reason_tests knows, and one that comes over a link with it.
%% Returns how many reasons there are.
reasons() ->
    lists:foreach(fun({_, Make, _}) ->
                          Pid = spawn(fun() -> receive go -> exit(Make()) end end),
                          {_, Monitor} = spawn_monitor(fun() -> link(Pid), Pid ! go, receive never -> ok end end),
                          receive {'DOWN', Monitor, process, _, _} -> ok end
                  end, reason_tests:reasons()),
    length(reason_tests:reasons()).

%% Names that want to break out of wherever they are put.
names() ->
    [list_to_atom(Name) || Name <- [lists:duplicate(255, 16#1F480), lists:duplicate(255, $"), lists:duplicate(255, 1),
                                    lists:duplicate(255, $\\), lists:duplicate(255, 16#FFFD), lists:duplicate(255, 127),
                                    "a\nb\r\n", "\"}\n{\"schema\":\"coroner.exit/1\"}", "it's", "", "\0", "\e]0;x\a",
                                    [16#2028, 16#2029, 16#85, 16#202E], [16#10FFFF], "Elixir.Some.Module", "<0.1.0>"]].

%% @doc Deaths where such names stand in every place that a name can: the registered name, the module, function and
%% initial call, the ancestors, the killer's name. Returns how many exits there were.
hostile() ->
    lists:sum([hostile(Name) || Name <- names()]).

hostile(Name) ->
    Module = loaded(Name),
    Die = fun(Start) ->
                  Monitor = monitor(process, Start()),
                  receive {'DOWN', Monitor, process, _, _} -> ok end
          end,
    Registered = fun(Then) ->
                         fun() ->
                                 Self = self(),
                                 spawn(fun() -> register(Name, self()), Self ! registered, Then() end)
                         end
                 end,
    Ended = fun(Start) -> Die(Start), receive registered -> ok end end,
    Ended(Registered(fun() -> exit(Name) end)),
    Ended(Registered(fun() -> error({Name, [Name]}) end)),
    Die(fun() -> spawn(Name, Name, [Name, self()]) end), % undefined: it stands in the stack
    Die(fun() -> spawn(Module, die, [{Name, self()}]) end),
    Die(fun() -> proc_lib:spawn(fun() ->
                                        put('$ancestors', lists:duplicate(20, Name)),
                                        exit({Name, Name})
                                end) end),
    %% One registered so starts children by proc_lib, and kills one.
    Ended(Registered(fun() ->
                             Child = proc_lib:spawn(Module, wait, []),
                             Monitor = monitor(process, Child),
                             exit(Child, kill),
                             receive {'DOWN', Monitor, process, Child, _} -> exit(Name) end
                     end)),
    7.

%% A module of that name, if the compiler takes it; else its name alone.
loaded(Name) ->
    Forms = [{attribute, 1, file, {atom_to_list(Name), 1}},
             {attribute, 1, module, Name},
             {attribute, 2, export, [{die, 1}, {wait, 0}]},
             form(3, "die(Reason) -> error(Reason)."),
             form(4, "wait() -> receive never -> ok end.")],
    try
        {ok, Name, Binary} = compile:forms(Forms, []),
        {module, Name} = code:load_binary(Name, atom_to_list(Name) ++ ".erl", Binary),
        Name
    catch
        _:_ -> Name
    end.

form(Line, Text) ->
    {ok, Tokens, _} = erl_scan:string(Text, Line),
    {ok, Form} = erl_parse:parse_form(Tokens),
    Form.

%% @doc Count processes, each linked to the one before; the first is killed and takes them all with it.
chain(Count) ->
    Self = self(),
    Last = lists:foldl(fun(_, Before) ->
                               Pid = spawn(fun() ->
                                                   _ = is_pid(Before) andalso link(Before),
                                                   Self ! linked,
                                                   receive never -> ok end
                                           end),
                               receive linked -> Pid end
                       end, none, lists:seq(1, Count)),
    Monitor = monitor(process, Last),
    exit(first(Last, none), kill),
    receive {'DOWN', Monitor, process, Last, killed} -> ok end,
    Count.

%% Along the links, away from where we came from.
first(Pid, From) ->
    {links, Links} = process_info(Pid, links),
    case Links -- [From] of
        [] -> Pid;
        [Next] -> first(Next, Pid)
    end.
