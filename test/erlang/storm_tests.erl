%% Coroner is started, stopped and started again while four storms of links and kills rage and families of processes are
%% born and die, for as long as STORM_SECONDS in the environment says. Whenever the storms have calmed down, the ledger
%% is what the VM is: the same processes, with the same links.
-module(storm_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, end_of/2, text/1]).

-export([breeder/2, family/0, child/0]).

-define(STORMS, 4).
-define(SECONDS, "5").
-define(CHILDREN, 5).

storm_test_() ->
    Seconds = list_to_integer(os:getenv("STORM_SECONDS", ?SECONDS)),
    {"the ledger is what the VM is, after storms", {timeout, 60 + 2 * Seconds, fun() -> rage(Seconds) end}}.

rage(Seconds) ->
    Seed = rand:uniform(1 bsl 32),
    _ = rand:seed(exsss, Seed),
    %% Two schedulers: what one does is always in the way of what the other does.
    Online = erlang:system_flag(schedulers_online, 2),
    _ = erlang:send_after(Seconds * 1000, self(), over),
    try epochs(#{epochs => 0, starts => 0, compared => 0, exits => 0}) of
        Figures -> ?debugFmt("storm of ~b s, seed ~b: ~0p", [Seconds, Seed, Figures])
    catch
        Class:Reason:Stack -> erlang:raise(Class, {seed, Seed, Reason}, Stack)
    after
        _ = coroner:stop(),
        erlang:system_flag(schedulers_online, Online)
    end.

%% At least one, and another until the time is up.
epochs(Figures) ->
    Next = epoch(Figures),
    receive over -> Next after 0 -> epochs(Next) end.

epoch(#{epochs := Epochs, starts := Starts, compared := Compared, exits := Exits}) ->
    Storms = storm:start(?STORMS),
    Breeders = [spawn_link(?MODULE, breeder, [self(), Seed]) || Seed <- lists:seq(1, ?STORMS)],
    try
        Before = testlib:spawn_waiting(),
        Again = rand:uniform(4),
        _ = [begin start(), stop() end || _ <- lists:seq(2, Again)],
        start(),
        %% One that lived before and one that was born since: of both it is seen who kills them.
        killed(Before),
        killed(testlib:spawn_waiting()),
        _ = [begin Breeder ! stop, testlib:ended(Breeder) end || Breeder <- Breeders],
        Members = storm:settle(Storms),
        ?assert(length(Members) > ?STORMS),
        _ = [Pid ! {self(), links} || Pid <- Members],
        _ = [receive {Pid, links, {Vm, Ledger}} -> ?assertEqual({Pid, Vm}, {Pid, Ledger}) end || Pid <- Members],
        Others = compare(processes() -- Members),
        assert_count(1000),
        #{made := Made, held := Held, lost := Lost, without_memory := 0, encode_failures := 0, trace := intact} =
            coroner:status(),
        ?assertEqual(Made, Held + Lost),
        #{crashed := Crashed} = storm:stop(Storms),
        assert_count(1000),
        #{epochs => Epochs + 1, starts => Starts + Again, compared => Compared + length(Members) + Others,
          exits => Exits + Crashed}
    after
        _ = [begin unlink(Pid), exit(Pid, kill) end || Pid <- Storms ++ Breeders],
        _ = coroner:stop()
    end.

%% What is held is bounded, now tightly and now not.
start() ->
    ok = coroner:start(#{ingest => none, memory => 1 bsl (15 + rand:uniform(15))}).

stop() ->
    %% At any moment of what goes on.
    _ = [killed_somehow(testlib:spawn_waiting()) || _ <- lists:seq(1, rand:uniform(20))],
    ok = coroner:stop().

killed_somehow(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end.

killed(Pid) ->
    killed_somehow(Pid),
    case coroner:why(Pid) of
        {ok, Record} -> ?assertEqual({<<"kill">>, text(self())}, {get("exit.source", Record), get("origin.by", Record)});
        {error, expired} -> ok % the storms have filled what little may be held
    end.

%% Those that are no storm's: nothing changes their links now, unless they were alike before and after.
compare(Pids) ->
    length([?assertEqual({Pid, Before}, {Pid, Ledger})
            || Pid <- Pids, Before <- [living(Pid)], Ledger <- [ledger(Pid)], Before =:= living(Pid), Before =/= gone]).

living(Pid) ->
    case process_info(Pid, links) of
        {links, Links} -> alive(Links);
        undefined -> gone
    end.

ledger(Pid) ->
    case coroner_nif:links(Pid) of
        undefined -> unknown;
        Links -> alive(Links)
    end.

%% A link to a dead process stands in the ledger until this one ends (OTP 25 has no event for that).
alive(Links) ->
    lists:sort([Link || Link <- Links, is_alive(Link)]).

is_alive(Pid) when is_pid(Pid), node(Pid) =:= node() -> is_process_alive(Pid);
is_alive(Port) when is_port(Port) -> erlang:port_info(Port, id) =/= undefined;
is_alive(_) -> false.

%% The ledger has as many as the VM. Short-lived ones come and go, so when they are as many before as after.
assert_count(Looks) ->
    Before = length(processes()),
    #{processes := Count} = coroner:status(),
    case length(processes()) of
        _ when Count =:= Before -> ok;
        _ when Looks > 0 -> erlang:yield(), assert_count(Looks - 1);
        _ -> ?assertEqual(Before, Count)
    end.

%% --- families ---------------------------------------------------------------------------------------------

%% One family after the other: a parent, its children linked to it and to each other, and one of all that is killed.
breeder(Owner, Seed) ->
    _ = rand:seed(exsss, Seed),
    monitor(process, Owner),
    breed().

breed() ->
    receive
        stop -> ok;
        {'DOWN', _, process, _, _} -> ok
    after 0 ->
            {Parent, Monitor} = spawn_monitor(?MODULE, family, []),
            Parent ! {self(), children},
            receive
                {Parent, Children} ->
                    Monitors = [monitor(process, Child) || Child <- Children],
                    exit(lists:nth(rand:uniform(?CHILDREN), Children), kill),
                    _ = [receive {'DOWN', Each, process, _, _} -> ok end || Each <- [Monitor | Monitors]]
            end,
            breed()
    end.

family() ->
    Children = [spawn_link(?MODULE, child, []) || _ <- lists:seq(1, ?CHILDREN)],
    _ = [Child ! {siblings, Children} || Child <- Children],
    receive {From, children} -> From ! {self(), Children} end,
    receive never -> ok end.

child() ->
    receive {siblings, Siblings} -> ok end,
    _ = [link(Sibling) || Sibling <- Siblings, Sibling > self()],
    receive never -> ok end.
