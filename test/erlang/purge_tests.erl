%% Purges: which module, which operation, who asked, and from where; by the real code server and purger.
-module(purge_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, why/1, text/1]).

-define(VICTIM, purge_victim).

purge_test_() ->
    testlib:armed([{"code:purge/1", fun purge/0},
                   {"a load purges implicitly", fun load/0},
                   {"code:load_file/1 through the path", fun load_file/0},
                   {"code:load_abs/1", fun load_abs/0},
                   {"c:l/1 in the shell's way", fun shell_load/0},
                   {"code:atomic_load/1", fun atomic_load/0},
                   {"a failed on_load", fun on_load/0},
                   {"erlang:purge_module/1", fun purge_module/0},
                   {"a soft purge kills nobody", fun soft_purge/0},
                   {"a cascade out of a purge", fun cascade/0},
                   {"a kill while a purge goes on is a kill", fun kill_meanwhile/0},
                   {"many processes", {timeout, 60, fun many/0}},
                   {"the requester by name", fun named_requester/0}]).

%% A process that runs in the old code of the module, which has a newer version.
in_old_code() ->
    in_old_code(1).

in_old_code(Count) ->
    _ = code:purge(?VICTIM),
    load_new(1),
    Pids = [spawn(?VICTIM, loop, []) || _ <- lists:seq(1, Count)],
    [begin Pid ! {self(), ping}, receive {Pid, pong} -> ok end end || Pid <- Pids],
    load_new(2),
    2 = ?VICTIM:version(),
    case Pids of
        [Pid] -> Pid;
        _ -> Pids
    end.

load_new(Version) ->
    {module, ?VICTIM} = code:load_binary(?VICTIM, "purge_victim.beam", testlib:load_version(?VICTIM, Version)).

check(Pid, Operation, Function, Site) ->
    testlib:ended(Pid),
    Record = why(Pid),
    ?assertEqual({<<"purge">>, <<"observed">>}, {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(<<"killed">>, get("exit.reason", Record)),
    ?assertEqual(<<"purge_victim">>, get("origin.module", Record)),
    ?assertEqual(Operation, get("origin.operation", Record)),
    ?assertEqual(text(self()), get("origin.by", Record)),
    ?assertEqual(Function, get("origin.by_function", Record)),
    ?assertEqual(Site, get("origin.by_call", Record)),
    Record.

purge() ->
    Pid = in_old_code(),
    true = code:purge(?VICTIM),
    Record = check(Pid, <<"purge">>, <<"code:purge/1">>, <<"purge_tests:purge/0">>),
    ?assertEqual(<<"purge_tests.erl">>, filename:basename(get("origin.by_file", Record))).

load() ->
    Pid = in_old_code(),
    load_new(3),
    check(Pid, <<"load">>, <<"code:load_binary/3">>, <<"purge_tests:load_new/1">>).

in_folder(Do) ->
    Folder = string:trim(os:cmd("mktemp -d")),
    ok = file:write_file(filename:join(Folder, "purge_victim.beam"), testlib:load_version(?VICTIM, 3)),
    try Do(Folder)
    after
        ok = file:del_dir_r(Folder)
    end.

load_file() ->
    Pid = in_old_code(),
    in_folder(fun(Folder) ->
                      true = code:add_patha(Folder),
                      %% load_file/1 alone purges nobody: the code server refuses while there is old code.
                      _ = code:load_file(?VICTIM),
                      true = code:del_path(Folder)
              end),
    true = is_process_alive(Pid),
    true = code:purge(?VICTIM),
    check(Pid, <<"purge">>, <<"code:purge/1">>, <<"purge_tests:load_file/0">>).

load_abs() ->
    Pid = in_old_code(),
    in_folder(fun(Folder) -> _ = code:load_abs(filename:join(Folder, "purge_victim")) end),
    true = is_process_alive(Pid),
    true = code:purge(?VICTIM),
    check(Pid, <<"purge">>, <<"code:purge/1">>, <<"purge_tests:load_abs/0">>).

shell_load() ->
    Pid = in_old_code(),
    in_folder(fun(Folder) ->
                      true = code:add_patha(Folder),
                      {module, ?VICTIM} = c:l(?VICTIM),
                      true = code:del_path(Folder)
              end),
    check(Pid, <<"purge">>, <<"code:purge/1">>, <<"c:l/1">>).

atomic_load() ->
    Pid = in_old_code(),
    Result = code:atomic_load([{?VICTIM, "purge_victim.beam", testlib:load_version(?VICTIM, 3)}]),
    ?assertMatch({error, [{?VICTIM, not_purged}]}, Result),
    true = is_process_alive(Pid),
    true = code:purge(?VICTIM),
    check(Pid, <<"purge">>, <<"code:purge/1">>, <<"purge_tests:atomic_load/0">>).

on_load() ->
    _ = code:purge(?VICTIM),
    _ = code:delete(?VICTIM),
    _ = code:purge(?VICTIM),
    %% Its on_load function leaves a process in the module's code behind, and fails.
    Self = self(),
    register(on_load_asker, Self),
    Source = ["-module(purge_victim).", "-on_load(start/0).", "-export([loop/0]).",
              "start() -> P = spawn(fun loop/0), P ! {whereis(on_load_asker), ping}, "
              "receive after 0 -> ok end, on_load_asker ! {started, P}, failed.",
              "loop() -> receive {F, ping} -> F ! {self(), pong}, loop() end."],
    Forms = [begin {ok, Tokens, _} = erl_scan:string(Line), {ok, Form} = erl_parse:parse_form(Tokens), Form end
             || Line <- Source],
    {ok, ?VICTIM, Binary} = compile:forms(Forms),
    {error, on_load_failure} = code:load_binary(?VICTIM, "purge_victim.beam", Binary),
    unregister(on_load_asker),
    Pid = receive {started, P} -> P end,
    receive {Pid, pong} -> ok end,
    check(Pid, <<"on_load">>, <<"code:load_binary/3">>, <<"purge_tests:on_load/0">>).

purge_module() ->
    Pid = in_old_code(),
    true = erlang:purge_module(?VICTIM),
    check(Pid, <<"purge">>, <<"erlang:purge_module/1">>, <<"purge_tests:purge_module/0">>).

soft_purge() ->
    Pid = in_old_code(),
    false = code:soft_purge(?VICTIM),
    true = is_process_alive(Pid),
    %% And it leaves no trace on a kill that comes after it.
    Record = testlib:end_of(Pid, fun(P) -> exit(P, kill) end),
    ?assertEqual(<<"kill">>, get("exit.source", Record)).

cascade() ->
    Pid = in_old_code(),
    Linked = testlib:spawn_waiting(),
    Linked ! {self(), link, Pid},
    receive {Linked, done} -> ok end,
    Server = spawn(fun() -> process_flag(trap_exit, true), link(Linked), Linked ! {linked, self()}, testlib:waiting() end),
    Server ! {self(), trap, true},
    receive {Server, done} -> ok end,
    Monitor = monitor(process, Server),
    true = code:purge(?VICTIM),
    receive {'DOWN', Monitor, process, Server, killed} -> ok end,
    Record = why(Server),
    ?assertEqual(<<"link_trapped">>, get("exit.source", Record)),
    ?assertEqual(<<"purge">>, get("origin.source", Record)),
    ?assertEqual(<<"purge_victim">>, get("origin.module", Record)),
    ?assertEqual([<<"purge">>, <<"link">>, <<"link_trapped">>], [Source || #{source := Source} <- get("chain", Record)]),
    ?assertMatch({match, _}, re:run(get("message", Record), "killed by purge of purge_victim requested by")).

kill_meanwhile() ->
    %% Another process is killed by hand from within the time of the purge: as the victim's 'DOWN' arrives.
    Pid = in_old_code(),
    Bystander = testlib:spawn_waiting(),
    Self = self(),
    Avenger = spawn(fun() -> Monitor = monitor(process, Pid), Self ! {self(), ready},
                             receive {'DOWN', Monitor, process, Pid, _} -> exit(Bystander, kill) end end),
    receive {Avenger, ready} -> ok end,
    true = code:purge(?VICTIM),
    testlib:ended(Bystander),
    ?assertEqual({<<"kill">>, text(Avenger)},
                 {get("exit.source", why(Bystander)), get("origin.by", why(Bystander))}).

many() ->
    Pids = in_old_code(1000),
    true = code:purge(?VICTIM),
    lists:foreach(fun testlib:ended/1, Pids),
    ?assertEqual([], [Pid || Pid <- Pids, {get("exit.source", why(Pid)), get("origin.by", why(Pid))}
                                 =/= {<<"purge">>, text(self())}]).

named_requester() ->
    Pid = in_old_code(),
    Self = self(),
    Upgrader = spawn(fun() -> register(the_upgrader, self()), true = code:purge(?VICTIM), Self ! purged end),
    receive purged -> ok end,
    testlib:ended(Pid),
    ?assertEqual({<<"the_upgrader">>, text(Upgrader)},
                 {get("origin.by_name", why(Pid)), get("origin.by", why(Pid))}).
