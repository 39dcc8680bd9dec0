%% The story of a death for people: every source in the words that coronerctl has, and real deaths told.
-module(text_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [end_of/2, text/1]).

%% --- the same words as coronerctl's ------------------------------------------------------------------------

same_words_test() ->
    {ok, Wanted} = file:read_file(filename:join([testlib:project(), "test", "c", "stories", "sources.txt"])),
    {_, Sources, _} = coroner_nif:vocabulary(),
    Told = [[[told(Source, "", #{}), told(Source, "", rich())] || Source <- Sources],
            [[told(Source, Special, #{Field => atom_to_binary(Special)}),
              told(Source, Special, (rich())#{Field => atom_to_binary(Special)})]
             || {Source, Field, Special} <- special()]],
    ?assertEqual(lines(Wanted), lines(unicode:characters_to_binary(Told))).

%% As test/c/test_ctl_story.c has it.
rich() ->
    #{by => <<"<0.41.0>">>, by_name => <<"boss">>, by_call => <<"m:f/1">>, by_file => <<"m.erl">>, by_line => 7,
      by_function => <<"x:y/2">>, by_node => <<"ops@db4">>, module => <<"mod">>, limit_words => 100, size_words => 233,
      port => <<"#Port<0.6>">>, driver => <<"tcp_inet">>, target => <<"<0.9.0>">>, node => <<"far@db5">>,
      application => <<"app">>, supervisor => <<"<0.41.0>">>, child => <<"worker_1">>, timeout_ms => 5000,
      operation => <<"purge">>, asked_by => <<"<0.6.0>">>, asked_by_name => <<"asker">>, sibling => <<"<0.7.0>">>,
      sibling_name => <<"brother">>, sibling_id => <<"6a1f0c2be5d94c11-48211">>, peer => <<"<0.5.0>">>}.

special() ->
    [{self_exit, why, intensity}, {self_exit, why, sibling}, {purge, operation, load}, {purge, operation, on_load}]
        ++ [{supervisor_shutdown, why, Why} || Why <- [terminate_child, sibling, intensity, parent, application_stop]]
        ++ [{supervisor_brutal_kill, why, sibling}, {supervisor_timeout_kill, why, terminate_child},
            {application_stop, by_name, 'SIGTERM'}, {node_stop, by_name, 'SIGTERM'}].

told(Source, Special, Fields) ->
    {Happened, Because} = coroner_text:sentences(Fields#{source => atom_to_binary(Source)}),
    [atom_to_list(Source), [[" ", atom_to_list(Special)] || Special =/= ""], ": ", Happened, $\n,
     [[Fact, $\n] || Fact <- Because]].

lines(Text) -> binary:split(Text, <<"\n">>, [global]).

newer_test() ->
    ?assertMatch({_, []}, coroner_text:sentences(#{source => <<"moon">>})),
    ?assertEqual(<<"ended by what this version of coroner does not know: moon">>,
                 iolist_to_binary(element(1, coroner_text:sentences(#{source => <<"moon">>})))).

%% A chain that is cut in the middle says so, and names again whom no line before it has named.
elided_test() ->
    Hop = fun(Number, Source) -> #{pid => <<"<0.", (integer_to_binary(Number))/binary, ".0>">>, name => <<"w">>,
                                   source => Source, reason => <<"boom">>} end,
    Chain = [Hop(1, <<"self_exit">>), Hop(2, <<"link">>), Hop(8, <<"link">>), Hop(9, <<"link">>)],
    Record = #{chain => Chain, chain_length => 9, origin => #{source => <<"self_exit">>, pid => <<"<0.1.0>">>},
               exit => #{source => <<"link">>, reason => <<"boom">>, confidence => <<"observed">>, via => <<"<0.8.0>">>}},
    ?assertEqual([<<"<0.9.0> w  exited: boom">>,
                  <<"└─ was taken down by its link to <0.8.0> w"/utf8>>,
                  <<"   └─ <0.8.0> was taken down by its link to a process"/utf8>>,
                  <<"      └─ … 5 more hops"/utf8>>,
                  <<"         └─ <0.2.0> w was taken down by its link to <0.1.0> w"/utf8>>,
                  <<"            └─ <0.1.0> ended by its own decision"/utf8>>, <<>>],
                 lines(unicode:characters_to_binary(coroner_text:story(Record)))).

%% --- real deaths ------------------------------------------------------------------------------------------

deaths_test_() ->
    testlib:armed([{"a supervisor's child that was terminated", fun terminated/0},
                   {"a supervisor's child that did not stop in time", fun too_slow/0},
                   {"children and a supervisor that gave up", fun gave_up/0},
                   {"a port", fun port/0},
                   {"a heap", fun heap/0},
                   {"a dead process", fun noproc/0},
                   {"a request to stop", fun stop/0},
                   {"a candidate that is a port", fun candidates/0}]).

%% The story's lines but for its foot.
story({ok, Record}) ->
    Lines = lines(unicode:characters_to_binary(coroner_text:story(Record))),
    lists:droplast(lists:droplast(Lines));
story(Pid) ->
    story(coroner:why(Pid)).

supervisor_of(Flags, Children) ->
    Self = self(),
    Owner = spawn(fun() ->
                          process_flag(trap_exit, true),
                          {ok, Pid} = supervisor:start_link(supervisor_for_test, {Flags, Children}),
                          Self ! {started, Pid},
                          receive stop -> ok end
                  end),
    receive {started, Supervisor} -> {Supervisor, Owner} end.

child(Id, Kind, Shutdown) ->
    #{id => Id, start => {death_tests, start_child, [Kind]}, shutdown => Shutdown}.

children(Supervisor) ->
    maps:from_list([{Id, Pid} || {Id, Pid, _, _} <- supervisor:which_children(Supervisor)]).

%% The process that names itself so long as Do takes.
named(Name, Do) ->
    true = register(Name, self()),
    try Do() after unregister(Name) end.

terminated() ->
    {Supervisor, Owner} = supervisor_of(#{}, [child({a, <<"b">>}, trap, 5000)]),
    #{{a, <<"b">>} := Pid} = children(Supervisor),
    named(text_asker, fun() -> end_of(Pid, fun(_) -> supervisor:terminate_child(Supervisor, {a, <<"b">>}) end) end),
    ?assertEqual([<<(text(Pid))/binary, " death_tests  exited: shutdown">>,
                  <<"└─ was shut down by its supervisor "/utf8, (text(Supervisor))/binary, " supervisor:supervisor_for_test/1">>,
                  <<"   ├─ terminate_child was called for it by "/utf8, (text(self()))/binary, " text_asker">>,
                  <<"   └─ it was the supervisor's child {a,<<\"b\">>}, which had 5000 ms to stop"/utf8>>], story(Pid)),
    end_of(Supervisor, fun(_) -> Owner ! stop end).

too_slow() ->
    {Supervisor, Owner} = supervisor_of(#{}, [child(slow, stubborn, 10)]),
    #{slow := Pid} = children(Supervisor),
    end_of(Pid, fun(_) -> supervisor:terminate_child(Supervisor, slow) end),
    [_, Happened | _] = story(Pid),
    ?assertEqual(<<"└─ was killed by its supervisor "/utf8, (text(Supervisor))/binary, " supervisor:supervisor_for_test/1"
                   ": it did not stop within 10 ms">>, Happened),
    end_of(Supervisor, fun(_) -> Owner ! stop end).

gave_up() ->
    {Supervisor, Owner} = supervisor_of(#{intensity => 0, period => 60}, [child(a, plain, 5000), child(b, plain, 5000)]),
    #{a := A, b := B} = children(Supervisor),
    end_of(Supervisor, fun(_) -> gen_server:cast(B, crash) end),
    {ok, #{id := Id}} = coroner:why(B),
    Last = <<"the last of them to end was ", (text(B))/binary, " (record ", Id/binary, ")">>,
    ?assertMatch([_, _,
                  <<"   ├─ the supervisor gave up: its children ended more often than its restart intensity allows"/utf8>>,
                  <<"   ├─ "/utf8, Last/binary>>,
                  <<"   └─ it was the supervisor's child a, which had 5000 ms to stop"/utf8>>], story(A)),
    ?assertMatch([_, <<"└─ ended by its own decision"/utf8, _/binary>>,
                  <<"   ├─ it gave up: its children ended more often than its restart intensity allows"/utf8>>,
                  <<"   └─ "/utf8, Last/binary>> | _], story(Supervisor)),
    Owner ! stop.

port_owner(Trap) ->
    Self = self(),
    Pid = spawn(fun() ->
                        process_flag(trap_exit, Trap),
                        Self ! {port, open_port({spawn, "cat"}, [])},
                        receive {'EXIT', _, Reason} -> exit(Reason) end
                end),
    receive {port, Port} -> {Pid, Port} end.

port() ->
    {Pid, Port} = port_owner(false),
    end_of(Pid, fun(_) -> exit(Port, because) end),
    ?assertEqual(<<"└─ was taken down by its linked port "/utf8, (list_to_binary(port_to_list(Port)))/binary,
                   " (cat), which closed">>, lists:last(story(Pid))).

heap() ->
    Eat = fun Eat(List) -> Eat([lists:seq(1, 1000) | List]) end,
    Limit = #{size => 20_000, kill => true, error_logger => false},
    Known = spawn(fun() -> process_flag(max_heap_size, Limit), receive go -> Eat([]) end end),
    Unknown = spawn_opt(fun() -> receive go -> Eat([]) end end, [{max_heap_size, Limit}]),
    [?assertMatch({match, _}, re:run(lists:last(begin end_of(Pid, fun(_) -> Pid ! go end), story(Pid) end),
                                     ["^└─ was killed by the VM because its heap grew too large: \\d+ words, "
                                      "and its limit is ", Shown, "$"], [unicode]))
     || {Pid, Shown} <- [{Known, "20000 words"}, {Unknown, "not known"}]].

noproc() ->
    Dead = testlib:spawn_waiting(),
    Dead ! stop,
    testlib:ended(Dead),
    Pid = spawn(fun() -> receive go -> link(Dead), receive never -> ok end end end),
    end_of(Pid, fun(_) -> Pid ! go end),
    [_, Happened | _] = story(Pid),
    ?assertEqual(<<"└─ linked itself to "/utf8, (text(Dead))/binary, ", which was dead already">>, Happened).

stop() ->
    {ok, Pid} = gen_server:start(death_tests, plain, []),
    end_of(Pid, fun(_) -> gen_server:stop(Pid, enough, infinity) end),
    [_, Happened | _] = story(Pid),
    ?assertMatch({0, _}, binary:match(Happened, <<"└─ was asked to stop by "/utf8, (text(self()))/binary>>)),
    ?assertMatch({_, _}, binary:match(Happened, <<" → gen_server:stop/3)"/utf8>>)).

%% It may have followed its port, or have meant the same by itself.
candidates() ->
    {Pid, Port} = port_owner(true),
    {ok, Record} = begin end_of(Pid, fun(_) -> exit(Port, shutdown) end), coroner:why(Pid) end,
    [Line] = [Line || <<"   ambiguous: ", Line/binary>> <- story({ok, Record})],
    ?assertMatch([<<"was taken down by its linked port ", _/binary>>, <<"ended by its own decision", _/binary>>],
                 lists:sort(fun(A, B) -> A > B end, binary:split(Line, <<", or ">>, [global]))).
