%% Less than all is traced: who is inside is known as well as ever, who ends him is named wherever he is, and who is outside has
%% no trace flag and leaves no record.
-module(scope_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, why/1, text/1]).

-export([log/2, init/1, handle_call/3, handle_cast/2, loop/0]).

-define(A, scope_app_a).
-define(B, scope_app_b).

scope_test_() ->
    [{"options", fun options/0},
     {"what the node does not have is told", fun unknown/0},
     {"an application: who is traced", in(apps(), fun who_is_traced/0)},
     {"an application: killed from outside", in(apps(), fun killed/0)},
     {"an application: an exit signal from outside", in(apps(), fun signalled/0)},
     {"an application: purged from outside", in(apps(), fun purged/0)},
     {"an application: asked to stop from outside", in(apps(), fun asked_to_stop/0)},
     {"an application: its supervisor told to end a child", in(apps(), fun supervised/0)},
     {"an application: stopped", in(apps(), fun stopped/0)},
     {"an application: its own doing", in(apps(), fun own_doing/0)},
     {"an application: links inside", in(apps(), fun links_inside/0)},
     {"an application: outside no exit is seen", in(apps(), fun outside/0)},
     {"an application that is started later", in(#{applications => [?A, ?B]}, fun started_later/0)},
     {"a link over the border", in(apps(), fun link_over_border/0)},
     {"a link over the border that was trapped", in(apps(), fun link_trapped/0)},
     {"a link over the border that holds", in(apps(), fun link_holds/0)},
     {"a normal end outside", in(apps(), fun normal_end/0)},
     {"a parent outside that ends", in(apps(), fun parent_outside/0)},
     {"noproc is told from outside", in(apps(), fun noproc/0)},
     {"an end inside that makes no record", in(apps(), #{record => [link]}, fun unrecorded/0)},
     {"excluded by name", in(#{exclude => [an_excluded_name]}, fun by_name/0)},
     {"excluded by pid", in(all, fun by_pid/0)},
     {"excluded by module", in(#{exclude => [{module, ?MODULE}]}, fun by_module/0)},
     {"an application excluded", in(#{exclude => [{application, ?A}]}, fun by_application/0)},
     {"an excluded application that is started later", in(#{exclude => [{application, ?B}]}, fun excluded_later/0)},
     {"a supervisor outside", in(all, fun supervisor_outside/0)},
     {"what one starts that another tool traces", in(all, fun of_another_tools/0)},
     {"back to all", in(apps(), fun back_to_all/0)},
     {"changed under storms", in(all, fun changed_in_storms/0)},
     {"flags that somebody takes off", in(apps(), fun robbed/0)},
     {"the scope outlives the server", in(all, fun server_killed/0)},
     {"pause and resume", in(apps(), fun paused/0)},
     {"what an outsider starts inside is found", in(apps(), fun found_later/0)},
     {"stop leaves nothing", in(apps(), fun leaves_nothing/0)}].

apps() ->
    #{applications => [?A]}.

in(Scope, Test) ->
    in(Scope, #{}, Test).

in(Scope, Options, Test) ->
    {timeout, 120,
     fun() ->
             ok = scope_app:start(?A),
             ok = coroner:start(Options#{ingest => none, scope => Scope, memory => 1 bsl 28}),
             %% What lives at the start may be ended by what was not seen, for a second.
             second_is_over(),
             try Test()
             after
                 ok = coroner:stop(),
                 scope_app:stop(?B),
                 ok = scope_app:stop(?A)
             end
     end}.

second_is_over() ->
    _ = erlang:send_after(1001, self(), second_is_over),
    receive second_is_over -> ok end.

%% A process of the application.
inside() ->
    scope_app:run(?A, fun testlib:spawn_waiting/0).

traced() ->
    {Traced, _, _} = testlib:own_trace(),
    Traced.

is_traced(Pid) ->
    lists:member(Pid, traced()).

of_application(Application) ->
    [Pid || Pid <- processes(), application:get_application(Pid) =:= {ok, Application}].

told(Pid, Message) ->
    Pid ! Message,
    receive {Pid, done} -> ok end.

ends_with(Pid, Reason) ->
    Monitor = monitor(process, Pid),
    fun() -> receive {'DOWN', Monitor, process, Pid, Got} -> ?assertEqual(Reason, Got) end end.

%% --- options ----------------------------------------------------------------------------------------------

options() ->
    Bad = [x, [], #{}, #{applications => x}, #{applications => [1]}, #{applications => [a | b]}, #{exclude => [{m, x}]},
           #{exclude => [1]}, #{applications => [], exclude => []}, #{exclude => lists:duplicate(65, a)},
           #{exclude => [{module, 1}]}],
    [?assertMatch({error, {bad_option, scope, _}}, coroner:start(#{ingest => none, scope => Scope})) || Scope <- Bad],
    ?assertEqual({error, not_armed}, coroner:scope(all)),
    ?assertEqual({error, not_armed}, coroner:scope()),
    ok = application:set_env(coroner, scope, #{exclude => [logger]}),
    try
        ok = coroner:start(#{ingest => none}),
        ?assertEqual({ok, #{exclude => [logger]}}, coroner:scope()),
        [?assertMatch({error, {bad_option, scope, _}}, coroner:scope(Scope)) || Scope <- Bad],
        ?assertMatch(#{scope := #{exclude := [logger]}}, coroner:status()),
        ?assertNot(is_traced(whereis(logger))),
        ?assert(is_traced(whereis(code_server)))
    after
        application:unset_env(coroner, scope),
        ok = coroner:stop()
    end.

%% A slip of the pen is said once, in the log, and stands in the status for as long as it holds.
unknown() ->
    ok = scope_app:start(?A),
    ok = logger:set_module_level(coroner_server, all), % the suites' node logs nothing else
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
    try
        ok = coroner:start(#{ingest => none, scope => #{applications => [?A, stdlib, scope_app_typo]}}),
        ?assertEqual([["[scope_app_typo]"]], logged()),
        ?assertMatch(#{scope_unknown := [scope_app_typo]}, coroner:status()),
        ok = coroner:scope(#{exclude => [no_such_name, self(), {module, no_such_module}, {module, lists}, {application, kernel},
                                         {application, eunit}, {application, no_such_application}]}),
        Wanted = [{module, no_such_module}, {application, no_such_application}],
        ?assertEqual([[lists:flatten(io_lib:format("~0tp", [Wanted]))]], logged()),
        ?assertMatch(#{scope_unknown := Wanted}, coroner:status()),
        {ok, Same} = coroner:scope(),
        ok = coroner:scope(Same),
        {ok, no_such_module, Beam} = compile:forms([{attribute, 1, module, no_such_module}]),
        {module, no_such_module} = code:load_binary(no_such_module, "", Beam),
        ?assertMatch(#{scope_unknown := [{application, no_such_application}]}, coroner:status()),
        ok = coroner:scope(#{applications => [?A]}),
        ?assertMatch(#{scope_unknown := []}, coroner:status()),
        ok = coroner:scope(all),
        ?assertMatch(#{scope_unknown := []}, coroner:status()),
        ?assertEqual([], logged())
    after
        logger:remove_handler(?MODULE),
        logger:unset_module_level(coroner_server),
        code:delete(no_such_module),
        code:purge(no_such_module),
        ok = coroner:stop(),
        scope_app:stop(?A)
    end.

log(#{level := warning, msg := {"coroner: the scope names " ++ _, Arguments}}, #{config := Test}) ->
    Test ! {logged, [lists:flatten(io_lib:format("~0tp", [Argument])) || Argument <- Arguments]}.

%% The handler is called by who logs, and that was done before the answer came.
logged() ->
    receive {logged, Arguments} -> [Arguments | logged()] after 0 -> [] end.

%% --- some applications ------------------------------------------------------------------------------------

who_is_traced() ->
    Pid = inside(),
    Child = scope_app:child(?A),
    Grandchild = testlib:as(scope_app:run(?A, fun() -> testlib:elsewhere(fun() -> ok end) end), fun testlib:spawn_waiting/0),
    Outside = testlib:spawn_waiting(),
    Traced = traced(),
    ?assertEqual([], [Pid, Child, Grandchild] -- of_application(?A)),
    ?assertEqual(lists:sort([whereis(coroner_server) | of_application(?A)]), lists:sort(Traced)),
    ?assertEqual(lists:sort(Traced), lists:sort(testlib:ledger())),
    {_, {flags, New}, _} = testlib:own_trace(),
    ?assertEqual([], New),
    exit(Outside, kill),
    testlib:ended(Outside).

killed() ->
    Record = end_of(inside(), fun(Pid) -> exit(Pid, kill) end),
    ?assertEqual({<<"kill">>, <<"observed">>, text(self()), <<"erlang:exit/2">>},
                 {get("exit.source", Record), get("exit.confidence", Record), get("origin.by", Record),
                  get("origin.by_function", Record)}),
    ?assertNotEqual(true, get("exit.evidence_lost", Record)),
    %% One with a name, which it has when coroner looks.
    Victim = inside(),
    Killer = testlib:register_waiting(killer_outside),
    _ = coroner:status(),
    Named = end_of(Victim, fun(Pid) -> told(Killer, {self(), exit2, Pid, kill}) end),
    ?assertEqual({text(Killer), <<"killer_outside">>, <<"testlib:waiting/0">>},
                 {get("origin.by", Named), get("origin.by_name", Named), get("origin.by_initial_call", Named)}),
    Killer ! stop,
    testlib:ended(Killer).

signalled() ->
    Record = end_of(scope_app:child(?A), fun(Pid) -> exit(Pid, go_away) end),
    ?assertEqual({<<"exit_signal">>, <<"observed">>, text(self())},
                 {get("exit.source", Record), get("exit.confidence", Record), get("origin.by", Record)}).

purged() ->
    Load = fun(Version) ->
                   {module, M} = code:load_binary(scope_purged, "scope_purged.erl", testlib:load_version(scope_purged, Version)),
                   M
           end,
    Module = Load(1),
    Pid = scope_app:run(?A, fun() -> spawn(Module, loop, []) end),
    Module = Load(2),
    Record = end_of(Pid, fun(_) -> code:purge(Module) end),
    ?assertEqual({<<"purge">>, <<"observed">>, <<"scope_purged">>, text(self())},
                 {get("exit.source", Record), get("exit.confidence", Record), get("origin.module", Record),
                  get("origin.by", Record)}),
    true = code:delete(Module),
    _ = code:purge(Module).

asked_to_stop() ->
    {ok, Pid} = scope_app:run(?A, fun() -> gen_server:start(?MODULE, [], []) end),
    Record = end_of(Pid, fun(_) -> gen_server:stop(Pid, shutdown, infinity) end),
    ?assertEqual({<<"stop_request">>, text(self())}, {get("exit.source", Record), get("origin.by", Record)}).

supervised() ->
    Pid = scope_app:child(?A),
    Supervisor = scope_app:supervisor(?A),
    [Id] = [Id || {Id, Child, _, _} <- supervisor:which_children(Supervisor), Child =:= Pid],
    Record = end_of(Pid, fun(_) -> supervisor:terminate_child(Supervisor, Id) end),
    ?assertEqual({<<"supervisor_shutdown">>, <<"terminate_child">>, text(self()), atom_to_binary(Supervisor)},
                 {get("exit.source", Record), get("origin.why", Record), get("origin.asked_by", Record),
                  get("origin.by_name", Record)}).

stopped() ->
    Pid = inside(),
    Record = end_of(Pid, fun(_) -> ok = application:stop(?A) end),
    ?assertEqual({<<"application_stop">>, atom_to_binary(?A), text(self())},
                 {get("exit.source", Record), get("origin.application", Record), get("origin.by", Record)}).

own_doing() ->
    [?assertEqual({Source, <<"observed">>},
                  begin
                      Record = end_of(inside(), fun(Pid) -> Pid ! Message end),
                      {get("exit.source", Record), get("exit.confidence", Record)}
                  end) || {Message, Source} <- [{{exit, r}, <<"self_exit">>}, {{error, r}, <<"self_error">>},
                                                {{throw, r}, <<"self_throw">>}]].

links_inside() ->
    One = inside(),
    Other = inside(),
    told(One, {self(), link, Other}),
    Record = end_of(One, fun(_) -> exit(Other, boom) end),
    ?assertEqual({<<"link">>, <<"observed">>, text(Other), <<"exit_signal">>},
                 {get("exit.source", Record), get("exit.confidence", Record), get("exit.via", Record),
                  get("origin.source", Record)}).

outside() ->
    Pid = testlib:spawn_waiting(),
    ?assertEqual({error, alive}, coroner:why(Pid)),
    #{made := Made, normal := Normal} = coroner:status(),
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    ?assertEqual({error, not_seen}, coroner:why(Pid)),
    testlib:ended(spawn(fun() -> ok end)),
    ?assertMatch(#{made := Made, normal := Normal}, coroner:status()).

started_later() ->
    ok = scope_app:start(?B),
    ?assertEqual([], of_application(?B) -- traced()),
    ?assertEqual([], of_application(?B) -- testlib:ledger()),
    Record = end_of(scope_app:child(?B), fun(Pid) -> exit(Pid, kill) end),
    ?assertEqual({<<"kill">>, <<"observed">>, text(self()), text(whereis(scope_app:supervisor(?B)))},
                 {get("exit.source", Record), get("exit.confidence", Record), get("origin.by", Record),
                  get("process.parent", Record)}),
    Stopped = end_of(whereis(?B), fun(_) -> ok = application:stop(?B) end),
    ?assertEqual({<<"supervisor_shutdown">>, <<"application_stop">>, atom_to_binary(?B)},
                 {get("exit.source", Stopped), get("origin.why", Stopped), get("origin.application", Stopped)}).

%% --- the border -------------------------------------------------------------------------------------------

%% {Inside, Outside}, linked.
pair() ->
    Outside = testlib:spawn_waiting(),
    Inside = inside(),
    told(Inside, {self(), link, Outside}),
    {Inside, Outside}.

link_over_border() ->
    {Inside, Outside} = pair(),
    Record = end_of(Inside, fun(_) -> exit(Outside, boom) end),
    ?assertEqual({<<"link">>, <<"inferred">>, text(Outside), true},
                 {get("exit.source", Record), get("exit.confidence", Record), get("exit.via", Record),
                  get("exit.evidence_lost", Record)}),
    ?assert(is_list(unicode:characters_to_list(coroner_text:story(Record)))),
    %% From the other side: who is outside was linked to, and dies of it, unseen.
    {Dying, Unseen} = pair(),
    Ended = ends_with(Unseen, boom),
    _ = end_of(Dying, fun(_) -> exit(Dying, boom) end),
    Ended(),
    ?assertEqual({error, not_seen}, coroner:why(Unseen)).

link_trapped() ->
    {Inside, Outside} = pair(),
    told(Inside, {self(), trap, true}),
    Record = end_of(Inside, fun(_) -> exit(Outside, boom) end),
    ?assertEqual({<<"ambiguous">>, true, [<<"self_exit">>, <<"link_trapped">>]},
                 {get("exit.confidence", Record), get("exit.evidence_lost", Record),
                  [Source || #{source := Source} <- get("exit.candidates", Record)]}),
    %% It unlinked: nobody has ended.
    {Survivor, Unlinking} = pair(),
    told(Survivor, {self(), trap, true}),
    told(Unlinking, {self(), unlink, Survivor}),
    Later = end_of(Survivor, fun(_) -> Survivor ! {exit, boom} end),
    ?assertEqual({<<"self_exit">>, <<"observed">>}, {get("exit.source", Later), get("exit.confidence", Later)}),
    Unlinking ! stop,
    testlib:ended(Unlinking).

link_holds() ->
    {Inside, Outside} = pair(),
    Ended = ends_with(Outside, killed),
    Record = end_of(Inside, fun(_) -> exit(Inside, kill) end),
    ?assertEqual({<<"kill">>, <<"observed">>}, {get("exit.source", Record), get("exit.confidence", Record)}),
    Ended().

%% Who does not trap exits outlives only a normal one.
normal_end() ->
    {Inside, Outside} = pair(),
    Outside ! stop,
    testlib:ended(Outside),
    told(Inside, {self(), trap, false}),
    Record = end_of(Inside, fun(_) -> exit(Inside, kill) end),
    ?assertEqual({<<"kill">>, <<"observed">>}, {get("exit.source", Record), get("exit.confidence", Record)}).

%% A gen_server shows in its stack that its parent's end was it; of what that died is not known.
parent_outside() ->
    Self = self(),
    Parent = spawn(fun() ->
                           {ok, Pid} = gen_server:start_link(?MODULE, trap, []),
                           Self ! {server, Pid},
                           receive {exit, Reason} -> exit(Reason) end
                   end),
    Pid = receive {server, Started} -> Started end,
    ?assertNot(is_traced(Pid)),
    %% It comes inside, its parent does not.
    true = group_leader(scope_app:run(?A, fun group_leader/0), Pid),
    ok = coroner:scope(all),
    ok = coroner:scope(apps()),
    ?assertEqual({true, false}, {is_traced(Pid), is_traced(Parent)}),
    second_is_over(),
    Record = end_of(Pid, fun(_) -> Parent ! {exit, boom} end),
    ?assertEqual({<<"link_trapped">>, <<"inferred">>, text(Parent), true},
                 {get("exit.source", Record), get("exit.confidence", Record), get("exit.via", Record),
                  get("exit.evidence_lost", Record)}).

noproc() ->
    Dead = testlib:spawn_waiting(),
    Dead ! stop,
    testlib:ended(Dead),
    Record = end_of(inside(), fun(Pid) -> Pid ! {self(), link, Dead} end),
    ?assertEqual(<<"noproc">>, get("exit.source", Record)).

%% Its exit was seen: whom it takes along is not ended by somebody unknown.
unrecorded() ->
    One = inside(),
    Other = inside(),
    told(One, {self(), link, Other}),
    Record = end_of(One, fun(_) -> exit(Other, boom) end),
    ?assertEqual({error, not_seen}, coroner:why(Other)),
    ?assertEqual({<<"link">>, <<"observed">>, text(Other), undefined, undefined},
                 {get("exit.source", Record), get("exit.confidence", Record), get("exit.via", Record),
                  get("exit.candidates", Record), get("exit.evidence_lost", Record)}).

%% --- all but some -----------------------------------------------------------------------------------------

is_seen(Pid) ->
    _ = end_of_any(Pid),
    case coroner:why(Pid) of
        {ok, _} -> true;
        {error, not_seen} -> false
    end.

end_of_any(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

by_name() ->
    Named = testlib:register_waiting(an_excluded_name),
    Other = testlib:spawn_waiting(),
    %% It is noticed at the next look.
    _ = coroner:status(),
    ?assertEqual({false, true}, {is_traced(Named), is_traced(Other)}),
    ?assertNot(lists:member(Named, testlib:ledger())),
    %% As a killer it is named.
    Record = end_of(Other, fun(_) -> told(Named, {self(), exit2, Other, kill}) end),
    ?assertEqual({text(Named), <<"an_excluded_name">>}, {get("origin.by", Record), get("origin.by_name", Record)}),
    ?assertNot(is_seen(Named)),
    %% What has it at the start, too.
    Again = testlib:register_waiting(an_excluded_name),
    ok = coroner:scope(all),
    ?assert(is_traced(Again)),
    ok = coroner:scope(#{exclude => [an_excluded_name]}),
    ?assertNot(is_traced(Again)),
    ?assertNot(is_seen(Again)).

by_pid() ->
    Tool = testlib:elsewhere(fun() -> ok end),
    ok = coroner:scope(#{exclude => [Tool]}),
    ?assertNot(is_traced(Tool)),
    %% What it starts is outside as well, from its first step on.
    Born = testlib:as(Tool, fun testlib:spawn_waiting/0),
    testlib:as(Tool, fun() -> Born ! {Tool, trap, true}, receive {Born, done} -> ok end end),
    ?assertNot(is_traced(Born)),
    ?assertNot(lists:member(Born, testlib:ledger())),
    ?assertNot(is_seen(Born)),
    ?assert(is_seen(testlib:spawn_waiting())),
    #{trace := intact, gaps := 0} = coroner:status(),
    testlib:leave(Tool).

loop() ->
    receive stop -> ok; {From, ping} -> From ! {self(), pong}, loop() end.

by_module() ->
    Plain = spawn(?MODULE, loop, []),
    {ok, Server} = gen_server:start(?MODULE, [], []),
    Plain ! {self(), ping},
    receive {Plain, pong} -> ok end,
    ok = gen_server:call(Server, hello),
    ?assertEqual([], [Pid || Pid <- [Plain, Server], is_traced(Pid)]),
    Other = testlib:spawn_waiting(),
    ?assert(is_traced(Other)),
    ?assert(is_seen(Other)),
    %% There before.
    ok = coroner:scope(all),
    ?assertEqual([], [Plain, Server] -- traced()),
    ok = coroner:scope(#{exclude => [{module, ?MODULE}]}),
    ?assertEqual([], [Pid || Pid <- [Plain, Server], is_traced(Pid)]),
    ?assertEqual([false, false], [is_seen(Pid) || Pid <- [Plain, Server]]).

by_application() ->
    ?assertEqual([], [Pid || Pid <- of_application(?A), is_traced(Pid)]),
    Born = inside(),
    Child = scope_app:child(?A),
    ?assertEqual([], [Pid || Pid <- of_application(?A), is_traced(Pid)]),
    ?assertEqual([false, false], [is_seen(Pid) || Pid <- [Born, Child]]),
    ?assert(is_seen(testlib:spawn_waiting())).

excluded_later() ->
    ?assertEqual([], of_application(?A) -- traced()),
    ok = scope_app:start(?B),
    ?assert(length(of_application(?B)) >= 4),
    ?assertEqual([], [Pid || Pid <- of_application(?B), is_traced(Pid)]),
    ?assertNot(is_seen(scope_app:child(?B))),
    #{trace := intact, gaps := 0} = coroner:status().

supervisor_outside() ->
    Supervisor = scope_app:supervisor(?A),
    Before = scope_app:child(?A),
    ?assert(is_traced(Before)),
    ok = coroner:scope(#{exclude => [Supervisor]}),
    After = scope_app:child(?A),
    ?assertEqual([], [Pid || Pid <- [whereis(Supervisor), whereis(?A), Before, After], is_traced(Pid)]),
    ?assertEqual([false, false], [is_seen(Pid) || Pid <- [Before, After]]).

%% Its parent has ended, so it belongs inside; but another tool has it. What it starts is inside all the same.
of_another_tools() ->
    case coroner_trace:kind() of
        session ->
            ok;
        shared ->
            Parent = testlib:elsewhere(fun() -> ok end),
            ok = coroner:scope(#{exclude => [Parent]}),
            Child = testlib:as(Parent, fun() -> testlib:elsewhere(fun() -> ok end) end),
            Tool = testlib:elsewhere(fun() -> 1 = erlang:trace(Child, true, [call]) end),
            testlib:leave(Parent),
            try
                found_foreign(100),
                Born = testlib:as(Child, fun testlib:spawn_waiting/0),
                ?assert(is_traced(Born)),
                ?assert(is_seen(Born)),
                %% Where the tool has gone, all who are inside are known again: it is as before.
                testlib:leave(Tool),
                found(Child, 100)
            after
                [end_of_any(Pid) || Pid <- [Tool, Child]]
            end
    end.

%% Not at each look.
found_foreign(Looks) when Looks > 0 ->
    case coroner_server:check() of
        #{trace := intact, foreign := 1} -> ok;
        #{trace := intact, foreign := 0} -> found_foreign(Looks - 1)
    end.

%% --- changes ----------------------------------------------------------------------------------------------

is_whole() ->
    Traced = traced(),
    ?assertEqual([], processes() -- Traced),
    ?assertEqual([], processes() -- testlib:ledger()).

back_to_all() ->
    ok = coroner:scope(all),
    is_whole(),
    Pid = testlib:spawn_waiting(),
    ?assert(is_traced(Pid)),
    ?assert(is_seen(Pid)),
    ok = coroner:scope(apps()),
    ok = coroner:scope(apps()),
    ?assertEqual({ok, apps()}, coroner:scope()),
    ?assertEqual(lists:sort([whereis(coroner_server) | of_application(?A)]), lists:sort(traced())),
    #{trace := intact, gaps := 0} = coroner:status().

changed_in_storms() ->
    Storms = storm:start(3),
    Inside = scope_app:run(?A, fun() -> [Storm || Storm <- storm:start(1)] end),
    try
        lists:foreach(fun(Scope) ->
                              ok = coroner:scope(Scope),
                              #{trace := intact, gaps := 0} = coroner:status()
                      end, lists:append(lists:duplicate(5, [apps(), #{exclude => [{module, storm}]}, all,
                                                             #{exclude => [{application, ?A}]}, apps(), all]))),
        Members = storm:settle(Storms),
        _ = [Pid ! {self(), links} || Pid <- Members],
        [receive {Pid, links, {Vm, Ledger}} -> ?assertEqual({Pid, Vm}, {Pid, Ledger}) end || Pid <- Members],
        ?assertEqual([], Members -- traced()),
        [?assertEqual({Pid, text(self())}, {Pid, get("origin.by", end_of(Pid, fun(_) -> exit(Pid, kill) end))})
         || Pid <- Members]
    after
        storm:stop(Storms),
        scope_app:run(?A, fun() -> storm:stop(Inside) end)
    end,
    ok = coroner:scope(apps()),
    ?assertEqual([], [Pid || Pid <- traced(), Pid =/= whereis(coroner_server),
                             application:get_application(Pid) =/= {ok, ?A}]).

robbed() ->
    case coroner_trace:kind() of
        session ->
            ok;
        shared ->
            testlib:leave(testlib:elsewhere(fun() -> erlang:trace(all, false, [all]) end)),
            %% Two, where a look of its own came in the middle of it.
            #{trace := intact, gaps := Gaps} = coroner_server:check(),
            ?assert(Gaps >= 1),
            ?assertEqual(lists:sort([whereis(coroner_server) | of_application(?A)]), lists:sort(traced())),
            ?assert(is_traced(inside()))
    end.

server_killed() ->
    ok = coroner:scope(apps()),
    Server = whereis(coroner_server),
    exit(Server, kill),
    testlib:ended(Server),
    %% The supervisor answers when it has started the server again.
    _ = supervisor:which_children(coroner_sup),
    ?assertEqual({ok, apps()}, coroner:scope()),
    ?assertEqual(lists:sort([whereis(coroner_server) | of_application(?A)]), lists:sort(traced())),
    ok = coroner:stop(),
    ok = coroner:start(#{ingest => none}),
    ?assertEqual({ok, all}, coroner:scope()).

paused() ->
    ok = coroner:pause(),
    ?assertEqual([], traced()),
    Born = inside(),
    ok = coroner:resume(),
    ?assertEqual(lists:sort([whereis(coroner_server) | of_application(?A)]), lists:sort(traced())),
    ?assert(is_traced(Born)),
    ok = coroner:pause(),
    ok = coroner:scope(all),
    ok = coroner:resume(),
    is_whole().

%% Its group leader makes it one of the application, and nobody hands it flags on.
found_later() ->
    Pid = testlib:spawn_waiting(),
    true = group_leader(scope_app:run(?A, fun group_leader/0), Pid),
    ?assertNot(is_traced(Pid)),
    found(Pid, 100),
    ?assert(is_seen(Pid)).

found(Pid, Looks) when Looks > 0 ->
    #{trace := intact} = coroner_server:check(),
    case is_traced(Pid) of
        true -> ok;
        false -> found(Pid, Looks - 1)
    end.

leaves_nothing() ->
    Pid = inside(),
    ok = coroner:stop(),
    ?assertMatch({[], {flags, []}, []}, testlib:own_trace()),
    case coroner_trace:kind() of
        shared -> [?assertEqual({meta, false}, erlang:trace_info({application_master, init, Arity}, meta))
                   || {init, Arity} <- application_master:module_info(functions)];
        session -> ok
    end,
    Pid ! stop,
    testlib:ended(Pid).

%% --- a gen_server -----------------------------------------------------------------------------------------

init(trap) -> process_flag(trap_exit, true), {ok, []};
init([]) -> {ok, []}.
handle_call(_, _, State) -> {reply, ok, State}.
handle_cast(_, State) -> {noreply, State}.
