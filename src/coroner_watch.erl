%% The watchdog: whether what we trace is still traced, and what is done when it is not.
%%
%% Other tools' ordinary calls take trace flags and patterns away (erlang:trace(all, false, [all]) is how most of them
%% end), and loading a module takes the patterns on it. Nobody is told. So it is looked for, every second; what is gone
%% and nobody's is taken back, and the time in which exits may not have been seen is told by a record of its own, a gap:
%% from the last moment that all was known to be well, to the moment that it is again. What another tool holds is tried
%% again every second.
%%
%% A gap makes the ledger wrong: processes were born and died, links were made and broken. So after it every process is
%% asked anew, as at the start, and the dead leave the ledger. All verdicts of a gap, from when it is noticed until a
%% second after its end, are at most `ambiguous'.
%%
%% Of the processes a look takes a sample, each time another: what takes the flags of all takes those of the sample, too.
%% It costs 100 to 170 microseconds on a node of 40 processes, 240 to 450 on one of a million, whose memory is cold; 10 to
%% 25 of them are for the functions (OTP 25, 27 and 29, medians, on a busy machine).
-module(coroner_watch).

-export([start/2, check/1, pause/1, resume/1, scope/2, stop/1, close/1, info/1, announce/1]).

-export_type([watch/0]).

-record(watch, {state :: pos_integer(), % of the tracer
                scope :: coroner_scope:scope(),
                trace :: coroner_trace:trace() | undefined, % undefined while paused
                status = intact :: status(),
                gaps = 0 :: non_neg_integer(),
                good_ns :: integer(), % since the epoch: when all was last known to be well
                gap = none :: none | gap(), % the one that goes on
                snapshot = 0 :: non_neg_integer(),
                foreign = [] :: [pid()], % known to be traced by another tool
                looks = 0 :: non_neg_integer(),
                shard = 0 :: non_neg_integer(), % of the ledger, where the next sample begins
                dead = [] :: [pid()]}). % found dead in the ledger by the last look

-type status() :: intact | paused | {disarmed, [{coroner_trace:what() | session, coroner_trace:whose()}]}.
-type gap() :: #{from := integer(), why := [unicode:chardata()], told := boolean()}.

-opaque watch() :: #watch{}.

-define(CHUNK, 1000).
-define(SAMPLE, 50).
-define(FOREIGN_SAMPLE, 1000).
-define(FOREIGN_LOOKS, 10).
-define(BLIND_MS, 1000).
-define(PASSES, 8).
%% uplink.h, enum uplink_standing
-define(PAUSED, 1).
-define(DISARMED, 2).
-define(SCOPED, 4).

%% @doc Traces everything in the scope that lives and will: State is what the tracer's callbacks get.
-spec start(State :: pos_integer(), coroner_scope:scope()) -> {ok, watch()} | {error, term()}.
start(State, Scope) ->
    ok = coroner_scope:tell(Scope, false),
    Trace = coroner_trace:open(State, Scope),
    case coroner_trace:arm(Trace) of
        ok ->
            ok = coroner_nif:blind(infinity),
            ok = take_ports(erlang:ports(), Trace),
            Watch = take_all(fun coroner_nif:expect/1,
                             #watch{state = State, scope = Scope, trace = Trace, good_ns = now_ns()}),
            ok = coroner_nif:blind(0),
            {ok, Watch#watch{good_ns = now_ns()}};
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Looks now. Takes back what is gone, if nobody else has it.
-spec check(watch()) -> watch().
check(#watch{status = paused} = Watch) ->
    Watch;
check(#watch{trace = Trace} = Watch) ->
    Now = now_ns(),
    Lost = coroner_trace:lost(Trace),
    case sample(Watch) of
        {[], Sampled} when Lost =:= [], Sampled#watch.status =:= intact ->
            adopt(look_around(Sampled#watch{good_ns = Now}));
        {Robbed, Sampled} ->
            recover(Lost, Robbed, open_gap(reasons(Lost, Robbed), Sampled))
    end.

%% @doc Takes off all flags and patterns, for another tool to have them. The gap it makes goes on until resume/1.
-spec pause(watch()) -> watch().
pause(#watch{status = paused} = Watch) ->
    Watch;
pause(#watch{status = Status, trace = Trace} = Watch) ->
    Good = case Status of intact -> Watch#watch{good_ns = now_ns()}; _ -> Watch end,
    Open = open_gap(["paused by coroner:pause/0"], Good),
    ok = coroner_trace:close(Trace),
    tell_open(Open#watch{status = paused, trace = undefined}).

%% @doc Takes the tracer back. Where another tool holds it, says so and goes on trying.
-spec resume(watch()) -> {ok | {error, {disarmed, term()}}, watch()}.
resume(#watch{status = paused, state = State, scope = Scope} = Watch) ->
    Trace = coroner_trace:open(State, Scope),
    Lost = coroner_trace:lost(Trace),
    case recover(Lost, [], Watch#watch{trace = Trace, status = {disarmed, Lost}}) of
        #watch{status = intact} = Resumed -> {ok, Resumed};
        #watch{status = Status} = Resumed -> {{error, Status}, Resumed}
    end;
resume(#watch{status = intact} = Watch) ->
    {ok, Watch};
resume(#watch{status = Status} = Watch) ->
    {{error, Status}, Watch}.

%% @doc From now on this is the scope. Those that come into it are taken as at the start, those that leave it are let go.
-spec scope(coroner_scope:scope(), watch()) -> watch().
scope(Scope, #watch{scope = Scope} = Watch) ->
    Watch;
scope(Scope, #watch{status = paused} = Watch) ->
    ok = coroner_scope:tell(Scope, false),
    Watch#watch{scope = Scope};
scope(Scope, #watch{trace = Before, gap = Gap} = Watch) ->
    ok = coroner_nif:blind(infinity), % who is outside and dies before the pass has come to it, may have taken others along
    ok = coroner_scope:tell(Scope, false),
    Trace = coroner_trace:rescope(Scope, Before),
    Enter = case coroner_scope:hands_on(Scope) of
                true -> fun(Pids) -> enter_anew(Pids, Trace) end;
                false -> fun coroner_nif:expect/1
            end,
    Taken = take_all(Enter, Watch#watch{scope = Scope, trace = Trace}),
    _ = [ok = coroner_nif:blind(?BLIND_MS) || Gap =:= none],
    Taken.

%% Those that are traced already lack the flag by which those that they start are.
enter_anew(Pids, Trace) ->
    New = coroner_nif:expect(Pids),
    _ = coroner_trace:trace(Pids -- New, Trace),
    New.

%% @doc Leaves nothing traced. A gap that goes on ends here.
-spec stop(watch()) -> ok.
stop(Watch) ->
    ok = close(Watch),
    _ = close_gap(Watch),
    ok.

%% @doc Leaves nothing traced.
-spec close(watch()) -> ok.
close(#watch{trace = undefined}) -> ok;
close(#watch{trace = Trace}) -> coroner_trace:close(Trace).

%% @doc How it stands, for coroner:status/0.
-spec info(watch()) -> #{trace := status(), gaps := non_neg_integer(), foreign := non_neg_integer(),
                         snapshot := non_neg_integer(), tracer := session | shared, scope := coroner_scope:scope()}.
info(Watch) ->
    #{trace => Watch#watch.status, gaps => Watch#watch.gaps, foreign => length(Watch#watch.foreign),
      snapshot => Watch#watch.snapshot, scope => Watch#watch.scope,
      tracer => coroner_trace:kind()}.

%% @doc Tells the daemon how it stands, if that has changed.
-spec announce(watch()) -> ok.
announce(#watch{status = Status, scope = Scope}) ->
    coroner_nif:standing(case Status of intact -> 0; paused -> ?PAUSED; {disarmed, _} -> ?DISARMED end
                         bor case Scope of all -> 0; _ -> ?SCOPED end).

now_ns() ->
    os:system_time(nanosecond).

%%% Processes

%% All processes there are. With a scope of some applications the VM hands the flags on to those that traced processes start;
%% whom one started that was not traced yet, the next pass finds, and so on. With one that excludes some, those are found then
%% that were born before it was known of all who is inside.
take_all(Enter, #watch{scope = Scope} = Watch) ->
    {Seen, Foreign, _} = pass(Enter, Watch),
    %% A process that another tool traces is not in the ledger, and what it starts is not outside for that.
    ok = coroner_scope:tell(Scope, Foreign =:= []),
    Taken = Watch#watch{snapshot = Seen, foreign = Foreign},
    case Scope of
        all -> ok = coroner_scope:bystanders(all), Taken;
        _ -> again(?PASSES, Taken)
    end.

again(0, Watch) ->
    look_around(Watch); % of a storm of births without an end some are left to the watchdog
again(Passes, #watch{snapshot = Before} = Watch) ->
    {Seen, Foreign, Changed} = pass(fun coroner_nif:expect/1, Watch),
    Taken = with_foreign(Foreign, Watch#watch{snapshot = Before + Seen}),
    case Changed of
        0 -> look_around(Taken);
        _ -> again(Passes - 1, Taken)
    end.

%% What a process starts that another tool traces is inside as that is, and would not be known to be: whose parent is not in the
%% ledger passes for outside while all who are inside are said to be there. Who was born while that was not said is in the ledger.
with_foreign(Foreign, #watch{scope = Scope, foreign = Before} = Watch) ->
    _ = [ok = coroner_scope:tell(Scope, Foreign =:= []) || (Foreign =:= []) =/= (Before =:= [])],
    Watch#watch{foreign = Foreign}.

%% Looks at all processes once. Returns how many were asked, those that another tool traces, and how many were taken or let go.
pass(Enter, #watch{trace = Trace, scope = Scope}) ->
    Pool = coroner_sweep:pool(fun coroner_snapshot:take/1),
    {After, Foreign, _, Changed} =
        coroner_sweep:each(
          fun(Pids, {Workers, Foreign, Sight, Changed}) ->
                  {Inside, Outside, Next} = coroner_scope:split(Pids, Sight),
                  Gone = let_go(Outside, Trace),
                  New = Enter(Inside),
                  Untraced = coroner_trace:trace(New, Trace),
                  _ = [coroner_nif:forget(Pid) || Pid <- Untraced],
                  Taken = case Untraced of [] -> New; _ -> New -- Untraced end,
                  {coroner_sweep:give(Taken, Workers), [Pid || Pid <- Untraced, is_anothers(Pid, Trace)] ++ Foreign, Next,
                   Changed + length(Taken) + Gone}
          end, {Pool, [], coroner_scope:sight(Scope), 0}),
    {coroner_sweep:finish(After), Foreign, Changed}.

%% First the flags, then the entry: an event of a process without one would be taken for that of an unknown process. Who has lost
%% its flags already has an entry all the same.
let_go(Pids, Trace) ->
    Released = coroner_trace:release(Pids, Trace),
    lists:foreach(fun coroner_nif:drop/1, Pids),
    length(Released).

%% What the scope wants from look to look: who has registered an excluded name goes; who is outside with a name is known by
%% it; and now and then all are looked at.
look_around(#watch{scope = all} = Watch) ->
    Watch;
look_around(#watch{scope = Scope, trace = Trace, looks = Looks} = Watch) ->
    _ = let_go(coroner_scope:named(Scope) -- [self()], Trace),
    ok = coroner_scope:bystanders(Scope),
    case Looks > 0 andalso Looks rem looks_between() =:= 0 of
        true ->
            {_, Foreign, _} = pass(fun coroner_nif:expect/1, Watch),
            with_foreign(Foreign, Watch);
        false ->
            Watch
    end.

%% Which ports there are, coroner_surroundings tells the NIF.
take_ports([], _Trace) ->
    ok;
take_ports(Ports, Trace) ->
    {Chunk, Rest} = split(Ports),
    _ = coroner_trace:trace(Chunk, Trace),
    receive after 1 -> ok end,
    take_ports(Rest, Trace).

%% Of a million it is not counted each time how many are left: that takes three seconds.
split(Pids) ->
    try lists:split(?CHUNK, Pids)
    catch error:badarg -> {Pids, []}
    end.

is_anothers(Pid, Trace) ->
    case coroner_trace:whose(Pid, Trace) of
        {anothers, _} -> true;
        _ -> false
    end.

%% Some processes and ports of the ledger, and this process: who of them is not traced. Who is dead is still in the
%% ledger if it is just exiting; whom the next look finds there again, died unseen (it may have made itself `sensitive').
sample(#watch{trace = Trace, dead = Before} = Watch) ->
    {Shard, Members} = coroner_nif:members(Watch#watch.shard, ?SAMPLE),
    Whose = [{Member, coroner_trace:whose(Member, Trace)} || Member <- [self() | some(Members, Watch#watch.looks)]],
    _ = [coroner_nif:drop(Member) || Member <- Before, coroner_trace:whose(Member, Trace) =:= dead],
    {[Member || {Member, W} <- Whose, is_robbed(Member, W, Watch#watch.foreign)],
     Watch#watch{shard = Shard, looks = Watch#watch.looks + 1, dead = [Member || {Member, dead} <- Whose]}}.

%% A port of another tool's is in the ledger as well: processes are linked to it. And who is known to be another tool's was
%% not taken just now: this process may be, where a tool traces all.
is_robbed(_Member, nobodys, _Foreign) -> true;
is_robbed(Member, {anothers, _}, Foreign) -> is_pid(Member) andalso not lists:member(Member, Foreign);
is_robbed(_Member, _, _Foreign) -> false.

%% On a node with very many processes one shard of the ledger has more than are wanted: others at each look.
some(Members, Look) ->
    lists:sublist(Members, 1 + Look rem max(1, length(Members) - ?SAMPLE + 1), ?SAMPLE).

%% Those that another tool traced and does no more become ours. It may have had their children traced as well (the
%% flag set_on_spawn), of whom we have not heard: so now and then all are looked at. Not because some of them
%% have died: of a tool that traces processes which live for a moment, some have at every look.
adopt(#watch{foreign = []} = Watch) ->
    Watch;
adopt(#watch{foreign = Foreign, trace = Trace, looks = Looks} = Watch) ->
    Looked = [coroner_trace:whose(Pid, Trace) || Pid <- lists:sublist(Foreign, ?FOREIGN_SAMPLE)],
    IsTime = Looks rem looks_between() =:= 0,
    case lists:any(fun(Whose) -> Whose =:= nobodys orelse Whose =:= ours end, Looked) of
        false when not IsTime ->
            Watch;
        _ ->
            {_, Still, _} = pass(fun coroner_nif:expect/1, Watch),
            with_foreign(Still, Watch)
    end.

%% Looking at all takes some 2 microseconds a process: it is to take a hundredth of the time at most.
looks_between() ->
    max(?FOREIGN_LOOKS, erlang:system_info(process_count) div 5000).

%%% Gaps

%% From now on no verdict is certain.
open_gap(Why, #watch{gap = none} = Watch) ->
    ok = coroner_nif:blind(infinity),
    Watch#watch{gap = #{from => Watch#watch.good_ns, why => Why, told => false}, gaps = Watch#watch.gaps + 1};
open_gap(Why, #watch{gap = #{why := Before} = Gap} = Watch) ->
    Watch#watch{gap = Gap#{why := Before ++ (Why -- Before)}}.

%% Takes back what is nobody's, and renews what the ledger knows. Then the gap is over, or is told to go on.
recover(Lost, Robbed, #watch{trace = Trace} = Watch) ->
    {Regained, Left} = coroner_trace:regain(Lost, Trace),
    Renewed = case {Robbed, Regained, length(Left)} of
                  {[], Trace, Count} when Count > 0, Count =:= length(Lost) -> Watch;
                  _ -> renew(Watch#watch{trace = Regained})
              end,
    case Left of
        [] -> close_gap(Renewed);
        _ -> tell_open((open_gap(reasons(Left, []), Renewed))#watch{status = {disarmed, Left}})
    end.

%% What died unseen goes from the ledger. A process that is just exiting is dead to the VM a moment before its exit
%% event comes, which needs the entry; so there is a pause between finding and dropping.
renew(#watch{trace = Trace, scope = Scope} = Watch) ->
    ok = coroner_scope:tell(Scope, false), % who was to leave may have been asked by nobody
    ok = take_ports(erlang:ports(), Trace),
    Renewed = take_all(fun(Pids) -> ok = coroner_nif:renew(Pids), Pids end, Watch),
    ok = bury(0),
    ok = coroner_surroundings:take(),
    Renewed#watch{dead = []}.

bury(From) ->
    {Next, Members} = coroner_nif:members(From, ?CHUNK),
    %% Ports are few: all of them are entered again.
    Gone = [Member || Member <- Members, is_port(Member) orelse not is_process_alive(Member)],
    receive after 1 -> ok end,
    _ = [coroner_nif:drop(Member) || Member <- Gone],
    case Next of
        0 -> ok;
        _ -> bury(Next)
    end.

close_gap(#watch{gap = none} = Watch) ->
    Watch;
close_gap(#watch{gap = #{from := From} = Gap} = Watch) ->
    Now = now_ns(),
    ok = coroner_nif:blind(?BLIND_MS),
    _ = coroner_nif:gap(From, max(From, Now), why(Gap), detail(Watch)),
    Watch#watch{gap = none, status = intact, good_ns = Now}.

tell_open(#watch{gap = #{told := true}} = Watch) ->
    Watch;
tell_open(#watch{gap = #{from := From} = Gap} = Watch) ->
    _ = coroner_nif:gap(From, undefined, why(Gap), detail(Watch)),
    Watch#watch{gap = Gap#{told := true}}.

why(#{why := Why}) ->
    unicode:characters_to_binary(lists:join("; ", Why)).

detail(#watch{foreign = []}) -> <<>>;
detail(#watch{foreign = Foreign}) ->
    unicode:characters_to_binary(io_lib:format("~b processes are traced by another tool", [length(Foreign)])).

%% In words; each is told once in a gap.
reasons(Lost, Robbed) ->
    ["the trace session was destroyed" || {session, gone} <- Lost]
        ++ [["the tracing of ", name(What), " was switched off"] || {What, nobodys} <- Lost, is_atom(What)]
        ++ [["another tool traces ", name(What), tool(Tracer)] || {What, {anothers, Tracer}} <- Lost, is_atom(What)]
        ++ ["the trace flags of processes were taken off" || lists:any(fun is_pid/1, Robbed)]
        ++ ["the trace flags of ports were taken off" || lists:any(fun is_port/1, Robbed)]
        ++ functions("the trace pattern lost its hold on ", [MFA || {{_, _, _} = MFA, nobodys} <- Lost])
        ++ functions("another tool traces ", [MFA || {{_, _, _} = MFA, {anothers, _}} <- Lost]).

name(new_processes) -> "new processes";
name(new_ports) -> "new ports".

functions(_Text, []) ->
    [];
functions(Text, MFAs) ->
    {Some, Rest} = case length(MFAs) > 5 of
                       true -> lists:split(4, MFAs);
                       false -> {MFAs, []}
                   end,
    Names = [io_lib:format("~w:~w/~w", [M, F, A]) || {M, F, A} <- Some],
    [[Text, lists:join(", ", Names), [io_lib:format(" and ~b functions more", [length(Rest)]) || Rest =/= []]]].

tool(Pid) when is_pid(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> io_lib:format(" (~w ~tw)", [Pid, Name]);
        _ -> io_lib:format(" (~w)", [Pid])
    end;
tool({Module, _}) when is_atom(Module) ->
    io_lib:format(" (~tw)", [Module]);
tool(Tracer) when is_port(Tracer) ->
    io_lib:format(" (~w)", [Tracer]);
tool(_) ->
    "".
