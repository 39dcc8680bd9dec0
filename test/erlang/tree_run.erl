%% Runs one script: makes its processes, gives the commands of each batch all at once, waits until nothing moves any
%% more, and asks coroner of every process that died.
%%
%% How it knows that nothing moves: a local exit signal stands in the receiver's queue when exit/2 returns, and a
%% dying process has told its links before it tells its monitors (erts_continue_exit_process). So when everybody
%% has answered a message that was sent after the last 'DOWN', and nobody died meanwhile, there is no more to come.
-module(tree_run).

-export([run/2, modules/1, plain/0]).

-export_type([script/0, command/0, result/0]).

%% The processes, by their place in the list, and the batches of commands. A target is such a place, or the nth child
%% of the supervisor in that place.
-type script() :: {[[{atom(), term()}]], [[command()]]}.
-type target() :: pos_integer() | {child, pos_integer(), pos_integer()}.
-type command() :: {{actor, target()} | driver | helper, term()}.
-type result() :: {right, #{atom() => non_neg_integer()}} | {wrong, [term()]}.

-record(process, {spec, parent, died = false, reason, links = [], trap = false, links_before = [],
                  trap_before = false, trapped = none, name,
                  born = 0, generation = 0, evidence = []}).

-record(run, {worker, ids = #{}, table = #{}, batch = 0, waiting = #{}, done = #{}, orders = #{}, deaths = [],
              changed = false, started = #{}, generation = 0, counts = #{}, wrong = []}).

-define(NOT_KNOWN, '$not_known').
-define(STUCK_MS, 60_000).

%% @doc The module whose code worker N's processes run in, and two versions of it.
-spec modules(pos_integer()) -> {module(), binary(), binary()}.
modules(Worker) ->
    Module = list_to_atom("tree_code_" ++ integer_to_list(Worker)),
    Key = {?MODULE, Module},
    case persistent_term:get(Key, none) of
        none ->
            Made = {Module, code_of(Module, 1), code_of(Module, 2)},
            persistent_term:put(Key, Made),
            Made;
        Made -> Made
    end.

code_of(Module, Version) ->
    Source = ["-module(" ++ atom_to_list(Module) ++ ").", "-export([start/2, version/0]).",
              "version() -> " ++ integer_to_list(Version) ++ ".",
              "start(Driver, Spec) -> loop(tree_actor:begins(Driver, Spec)).",
              "loop(State) -> receive Message -> case tree_actor:handle(Message, State) of "
              "stop -> ok; {stop, Reason} -> exit(Reason); Next -> loop(Next) end end."],
    Forms = [begin {ok, Tokens, _} = erl_scan:string(Line), {ok, Form} = erl_parse:parse_form(Tokens), Form end
             || Line <- Source],
    {ok, Module, Binary} = compile:forms(Forms),
    Binary.

%% @doc Runs a script in a process of its own. However it ends, all that it started is dead then.
-spec run(script(), pos_integer()) -> result().
run(Script, Worker) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           try script(Script, Worker) of
                                               Result -> exit({result, Result})
                                           catch
                                               error:Reason:Stack ->
                                                   kill_all(get(started)),
                                                   exit({Reason, Stack})
                                           end
                                   end),
    receive
        {'DOWN', Monitor, process, Pid, {result, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> {wrong, [{driver, Reason}]}
    end.

%% In the order in which they were started: a supervisor before its children.
kill_all(undefined) -> ok;
kill_all(Pids) ->
    Monitors = [begin exit(Pid, kill), monitor(process, Pid) end || Pid <- lists:reverse(Pids)],
    [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors],
    ok.

script({Specs, Batches}, Worker) ->
    process_flag(trap_exit, true), % a supervisor that it starts is linked to it for a moment
    Run = batches(Batches, setup([spec(Spec) || Spec <- Specs], #run{worker = Worker})),
    #run{counts = Counts, wrong = Wrong} = sweep(Run),
    case Wrong of
        [] -> {right, Counts};
        _ -> {wrong, lists:reverse(Wrong)}
    end.

%% @doc What a process of a script is unless it says otherwise.
-spec plain() -> [{atom(), term()}].
plain() ->
    [{type, plain}, {trap, false}, {react, survive}, {priority, normal}, {port, false}, {named, false}, {parent, 0},
     {fan, 0}].

%% PropEr makes lists of pairs, not maps.
spec(Pairs) ->
    maps:map(fun(flags, Flags) -> maps:from_list(Flags);
                (children, Children) -> [spec(Child) || Child <- Children];
                (_, Value) -> Value
             end, maps:from_list(plain() ++ Pairs)).

batches([], Run) -> Run;
batches([Batch | Batches], #run{wrong = []} = Run) -> batches(Batches, batch(Batch, Run));
batches(_, Run) -> Run.

%% --- the processes --------------------------------------------------------------------------------------------

setup(Specs, #run{worker = Worker} = Run) ->
    {Module, Code, _} = modules(Worker),
    %% Once is enough: that nobody is left in its old code is all that matters.
    _ = erlang:module_loaded(Module) orelse code:load_binary(Module, "tree_code.beam", Code),
    Made = lists:foldl(fun({Id, Spec}, Acc) -> make(Id, Spec, Module, Acc) end, Run,
                       lists:zip(lists:seq(1, length(Specs)), Specs)),
    settled(Made).

make(Id, #{parent := Wanted, fan := Fan} = Spec0, Module, #run{ids = Ids, table = Table} = Run0) ->
    Spec = Spec0#{module => Module},
    Parent = case Wanted > 0 andalso Id > 1 andalso maps:get((Wanted - 1) rem (Id - 1) + 1, Ids) of
                 false -> none;
                 P -> case maps:get(P, Table) of
                          #process{spec = #{type := supervisor}} -> none;
                          _ -> P
                      end
             end,
    {Pid, Run1} = started(Parent, Spec, Run0),
    Run2 = register_name(Id, Spec, Pid, Run1#run{ids = Ids#{Id => Pid}}),
    lists:foldl(fun(_, Acc) ->
                        {_, Next} = started(Pid, #{type => plain, trap => false, react => survive,
                                                   priority => normal, port => false}, Acc),
                        Next
                end, Run2, lists:seq(1, Fan)).

started(none, Spec, Run) ->
    Pid = tree_actor:start_unlinked(self(), Spec),
    %% What gen_server:start/3 starts takes itself for its parent.
    Parent = case Spec of #{type := server} -> Pid; _ -> self() end,
    {Pid, entered(Pid, Spec, Parent, [], Run)};
started(Parent, Spec, Run) ->
    Reference = make_ref(),
    Parent ! {start, Reference, Spec},
    #run{started = Started} = Run1 = until({started, Reference}, Run),
    {Pid, Rest} = maps:take(Reference, Started),
    {Pid, entered(Pid, Spec, Parent, [Parent], Run1#run{started = Rest})}.

entered(Pid, #{trap := Trap} = Spec, Parent, Links, #run{table = Table, batch = Batch} = Run) ->
    monitor(process, Pid),
    put(started, [Pid | case get(started) of undefined -> []; Pids -> Pids end]),
    Run#run{table = Table#{Pid => #process{spec = Spec, parent = Parent, trap = Trap, links = Links,
                                           trap_before = Trap, links_before = Links, born = Batch,
                                           generation = Run#run.generation}},
            changed = true}.

register_name(Id, #{named := true, type := Type}, Pid, #run{worker = Worker, table = Table} = Run)
  when Type =/= supervisor ->
    Name = list_to_atom(lists:concat([tree_, Worker, '_', Id])),
    true = register(Name, Pid),
    Run#run{table = Table#{Pid => (maps:get(Pid, Table))#process{name = Name}}};
register_name(_, _, _, Run) ->
    Run.

%% --- what comes in --------------------------------------------------------------------------------------------

%% Takes what comes until Key is not waited for any more.
until(Key, #run{waiting = Waiting} = Run) ->
    wait(Run#run{waiting = Waiting#{Key => true}}).

wait(#run{waiting = Waiting} = Run) when map_size(Waiting) =:= 0 -> Run;
wait(Run) -> wait(take(Run)).

take(#run{table = Table, done = Done, waiting = Waiting, started = Started} = Run) ->
    receive
        {did, Pid, Number} ->
            arrived({do, Pid, Number}, Run#run{done = Done#{Pid => Number}});
        {synced, Pid, Info} ->
            arrived({sync, Pid}, informed(Pid, Info, Run));
        {{sync, Pid}, _Children} ->
            arrived({sync, Pid}, informed(Pid, process_info(Pid, [links, trap_exit]), Run));
        {follows, Pid, From, Reason} ->
            trapped(Pid, {follows, From, Reason}, Run);
        {survived, Pid, From, Reason} ->
            trapped(Pid, {survived, From, Reason}, Run);
        {born, Pid, Spec, Supervisor} ->
            entered(Pid, Spec, Supervisor, [Supervisor], Run);
        {started, Reference, Pid} ->
            arrived({started, Reference}, Run#run{started = Started#{Reference => Pid}});
        {'DOWN', _, process, Pid, Reason} when is_map_key(Pid, Table) ->
            #{Pid := #process{spec = Spec} = Process} = Table,
            %% A child that died before its birth was heard of: with what reason is not known.
            Known = case Reason of
                        noproc when is_map_key(supervisor, Spec) -> ?NOT_KNOWN;
                        _ -> Reason
                    end,
            Left = maps:filter(fun(Key, _) -> element(2, Key) =/= Pid end, Waiting),
            Run#run{table = Table#{Pid := Process#process{died = true, reason = Known}}, waiting = Left,
                    deaths = [Pid | Run#run.deaths], changed = true};
        {'DOWN', _, process, _Helper, _Reason} ->
            Run;
        {'EXIT', _, _} ->
            Run
    after ?STUCK_MS ->
            error({stuck, [{Key, maps:get(element(2, Key), Run#run.orders, none),
                            is_pid(element(2, Key)) andalso process_info(element(2, Key), current_stacktrace)}
                           || Key <- maps:keys(Waiting)]})
    end.

arrived(Key, #run{waiting = Waiting} = Run) ->
    Run#run{waiting = maps:remove(Key, Waiting)}.

%% One that has no more to tell is dead, and its 'DOWN' on the way.
informed(_Pid, undefined, Run) ->
    Run#run{changed = true};
informed(Pid, [{links, Links}, {trap_exit, Trap}], #run{table = Table} = Run) ->
    #{Pid := Process} = Table,
    Run#run{table = Table#{Pid := Process#process{links = Links, trap = Trap}}}.

%% It may have told its links before this: they are asked for again, or the signal would be waited for once more.
trapped(Pid, What, #run{table = Table} = Run) ->
    #{Pid := Process} = Table,
    arrived({signal, Pid, element(2, What)},
            Run#run{table = Table#{Pid := Process#process{trapped = What}}, changed = true}).

%% Waits until nothing moves any more.
settled(Run) ->
    case wait(asked(Run#run{changed = false})) of
        #run{changed = true} = Moved -> settled(Moved);
        Quiet ->
            case unanswered(Quiet) of
                [] -> Quiet;
                Keys -> settled(wait(Quiet#run{waiting = maps:from_keys(Keys, true)}))
            end
    end.

asked(#run{table = Table} = Run) ->
    Waiting = maps:fold(fun(Pid, #process{died = false, spec = #{type := supervisor}}, Acc) ->
                                Pid ! {'$gen_call', {self(), {sync, Pid}}, which_children},
                                Acc#{{sync, Pid} => true};
                           (Pid, #process{died = false}, Acc) ->
                                Pid ! sync,
                                Acc#{{sync, Pid} => true};
                           (_, _, Acc) -> Acc
                        end, #{}, Table),
    Run#run{waiting = Waiting}.

%% But for one thing: who linked to a process that was dying gets its answer, noproc, after the monitors have got
%% theirs. Until then the link stands.
unanswered(#run{table = Table}) ->
    [{signal, Pid, Peer} || {Pid, #process{died = false, links = Links}} <- maps:to_list(Table), Peer <- Links,
                            is_map_key(Peer, Table), (map_get(Peer, Table))#process.died].

%% --- a batch of commands --------------------------------------------------------------------------------------

batch(Commands, #run{batch = Batch} = Run0) ->
    Run = Run0#run{batch = Batch + 1, done = #{}, orders = #{}, deaths = [], waiting = #{}},
    Resolved = [Command || Command0 <- Commands, Command <- resolve(Command0, Run)],
    executed(Resolved, Run).

executed(Commands, #run{table = Table} = Run0) ->
    %% What is known between two batches is what is true then.
    Run = Run0#run{table = maps:map(fun(_, #process{links = Links, trap = Trap} = Process) ->
                                            Process#process{links_before = Links, trap_before = Trap}
                                    end, Table)},
    ByActor = maps_of(lists:reverse(Commands)),
    {Helpers, Actors} = lists:partition(fun({{helper, _}, _}) -> true; (_) -> false end, maps:to_list(ByActor)),
    {Own, Others} = lists:partition(fun({Who, _}) -> Who =:= self() end, Actors),
    Started = [begin
                   {Pid, _} = spawn_monitor(tree_actor, helper, [self(), Actions]),
                   {Pid, Actions}
               end || {_, Actions} <- Helpers],
    [Pid ! {do, Actions} || {Pid, Actions} <- Others],
    [exit(Target, Reason) || {_, Actions} <- Own, {_, Target, Reason} <- Actions],
    Orders = Started ++ Others ++ Own,
    Run1 = wait(Run#run{waiting = maps:from_list([{{do, Pid, length(Actions)}, true} || {Pid, Actions} <- Started ++ Others]),
                        done = maps:from_list([{Pid, length(Actions)} || {Pid, Actions} <- Own]),
                        orders = maps:from_list(Orders)}),
    All = lists:append([Actions || {_, Actions} <- Orders]),
    %% Whatever was sent to a port before is done when it has answered; and what the code server was asked by
    %% somebody who has died since is done when it has.
    _ = [erlang:port_info(Port, id) || {exit_port, Port, _} <- All],
    _ = lists:any(fun is_code_action/1, All) andalso code:get_path(),
    judged(settled(Run1)).

is_code_action({load, _, _}) -> true;
is_code_action({purge, _}) -> true;
is_code_action(_) -> false.

%% What it did for certain, and what it may have done: the next thing it was told it may have been at when it died.
done(Pid, #run{orders = Orders, done = Done}) ->
    lists:sublist(maps:get(Pid, Orders, []), maps:get(Pid, Done, 0)).

attempted(Pid, #run{orders = Orders, done = Done}) ->
    lists:sublist(maps:get(Pid, Orders, []), maps:get(Pid, Done, 0) + 1).

resolve({Who, Action}, Run) ->
    [{Doer, Act} || Doer <- doer(Who, Run), Act <- action(Action, Run), is_able(Doer, Act, Run)].

doer({actor, Target}, Run) -> target(Target, Run);
doer(driver, _) -> [self()];
doer(helper, _) -> [{helper, make_ref()}].

target({child, Id, Number}, #run{ids = Ids, table = Table}) ->
    case Ids of
        #{Id := Supervisor} ->
            Children = [Pid || {Pid, #process{parent = Parent, died = false}} <- maps:to_list(Table),
                               Parent =:= Supervisor],
            case lists:sort(Children) of
                [] -> [];
                Sorted -> [lists:nth((Number - 1) rem length(Sorted) + 1, Sorted)]
            end;
        _ -> []
    end;
target(Id, #run{ids = Ids, table = Table}) ->
    case Ids of
        #{Id := Pid} when not (map_get(Pid, Table))#process.died -> [Pid];
        _ -> []
    end.

action({signal, Target, Reason}, Run) -> [{signal, Pid, reason(Reason, Run)} || Pid <- target(Target, Run)];
action({link, Target}, Run) -> [{link, Pid} || Pid <- target(Target, Run)];
action({unlink, Target}, Run) -> [{unlink, Pid} || Pid <- target(Target, Run)];
action({stop_server, Target, Reason}, Run) ->
    [{stop_server, Pid, reason(Reason, Run)} || Pid <- target(Target, Run)];
action({terminate_child, Target}, #run{table = Table} = Run) ->
    [{terminate_child, Parent, case Flags of #{strategy := simple_one_for_one} -> Pid; _ -> Id end}
     || Pid <- target(Target, Run), #process{parent = Parent, spec = #{id := Id}} <- [maps:get(Pid, Table)],
        #process{spec = #{flags := Flags}} <- [maps:get(Parent, Table, none)]];
action({exit_port, Target, Reason}, #run{table = Table} = Run) ->
    [{exit_port, Port, reason(Reason, Run)} || Pid <- target(Target, Run),
                                               Port <- (maps:get(Pid, Table))#process.links, is_port(Port)];
action(Code, #run{worker = Worker, table = Table}) when Code =:= load; Code =:= purge ->
    {Module, _, Binary} = modules(Worker),
    [case Code of load -> {load, Module, Binary}; purge -> {purge, Module} end
     || lists:any(fun(#process{spec = #{type := Type}, died = Died}) -> Type =:= code andalso not Died end,
                  maps:values(Table))];
action({Name, Reason}, Run) when Name =/= trap -> [{Name, reason(Reason, Run)}];
action(Other, _) -> [Other].

%% `fresh' is a reason that no other batch has.
reason(fresh, #run{batch = Batch}) -> {fresh, Batch};
reason(Reason, _) -> Reason.

%% Who may do what without waiting for those who wait for it.
is_able({helper, _}, {stop_server, Pid, _}, Run) -> lists:member(type(Pid, Run), [server, supervisor]);
is_able({helper, _}, Action, _) ->
    is_code_action(Action) orelse lists:member(element(1, Action), [signal, terminate_child, exit_port]);
is_able(_, {Name, _, _}, _) when Name =:= stop_server; Name =:= terminate_child -> false;
%% A child that trapped would never end for its supervisor, which would wait for ever.
is_able(Pid, {trap, _}, #run{table = Table} = Run) when is_map_key(Pid, Table) ->
    not is_map_key(supervisor, (map_get(Pid, Table))#process.spec) andalso type(Pid, Run) =/= supervisor;
is_able(Driver, Action, _) when Driver =:= self() -> lists:member(element(1, Action), [signal, exit_port]);
is_able(Pid, _, Run) -> type(Pid, Run) =/= supervisor.

type(Pid, #run{table = Table}) ->
    case Table of
        #{Pid := #process{spec = #{type := Type}}} -> Type;
        _ -> none
    end.

%% Kills what is left: the supervisors first, so that they start nothing again.
sweep(#run{wrong = [], table = Table} = Run) ->
    Alive = [{tree_actor:is_supervisor(Spec), Pid} || {Pid, #process{died = false, spec = Spec}} <- maps:to_list(Table)],
    case Alive of
        [] -> Run;
        _ ->
            {Supervisors, Others} = lists:partition(fun({IsSupervisor, _}) -> IsSupervisor end, Alive),
            Kills = [{self(), {signal, Pid, kill}} || {_, Pid} <- Supervisors ++ Others],
            sweep(executed(Kills, Run#run{batch = Run#run.batch + 1, done = #{}, orders = #{}, deaths = [],
                                          waiting = #{}}))
    end;
sweep(#run{table = Table} = Run) ->
    case [Pid || {Pid, #process{died = false}} <- maps:to_list(Table)] of
        [] -> Run;
        Alive ->
            [exit(Pid, kill) || Pid <- Alive],
            sweep(settled(Run#run{waiting = #{}}))
    end.

%% --- who can have done it -------------------------------------------------------------------------------------

judged(#run{deaths = Deaths, generation = Generation} = Run0) ->
    Context = context(Run0),
    Run1 = lists:foldl(fun(Pid, Run) -> judge(Pid, Context, Run) end, Run0, lists:reverse(Deaths)),
    %% What this batch left on those who survived it may be taken for a cause later.
    #run{table = Table} = Run1,
    Loads = length([load || {_, load} <- maps:get(code, Context)]),
    Run1#run{table = maps:map(fun(Pid, #process{died = false} = Process) ->
                                      Process#process{evidence = evidence(Pid, Process, Context, Run1)
                                                      ++ Process#process.evidence,
                                                      trapped = none};
                                 (_, Process) -> Process
                              end, Table),
             generation = Generation + Loads}.

judge(Pid, Context, #run{table = Table, counts = Counts, wrong = Wrong} = Run) ->
    #{Pid := #process{reason = Reason, name = Name} = Process} = Table,
    case Process of
        #process{reason = ?NOT_KNOWN} ->
            counted(unwatched, Run);
        _ ->
            Now = evidence(Pid, Process, Context, Run),
            Possible = lists:usort(possible(Pid, Process, Now, Context, Run)),
            Facts = #{pid => Pid, reason => Reason, possible => Possible, name => Name,
                      doubts => lists:usort(doubts(Pid, Now ++ Process#process.evidence, Process)),
                      crowded => length(Now) + length(Process#process.evidence) >= 14},
            Answer = coroner:why(Pid),
            case tree_oracle:judge(Facts, Answer, fun coroner:why/1) of
                {right, Kind} ->
                    Run#run{counts = maps:update_with(Kind, fun(N) -> N + 1 end, 1, Counts)};
                {wrong, What} ->
                    Described = #{wrong => What, batch => Run#run.batch, process => label(Pid, Run), facts => Facts,
                                  spec => Process#process.spec, trapped => Process#process.trapped,
                                  answer => answer(Answer), labels => labels(Possible, Run)},
                    Run#run{wrong = [Described | Wrong]}
            end
    end.

counted(Kind, #run{counts = Counts} = Run) ->
    Run#run{counts = maps:update_with(Kind, fun(N) -> N + 1 end, 1, Counts)}.

answer({ok, #{exit := Exit, origin := Origin}}) -> {maps:remove(stack, Exit), maps:remove(by_stack, Origin)};
answer(Error) -> Error.

label(Pid, #run{ids = Ids}) ->
    case [Id || {Id, P} <- maps:to_list(Ids), P =:= Pid] of
        [Id] -> {Id, Pid};
        [] -> {child, Pid}
    end.

labels(Causes, Run) ->
    [label(element(2, Cause), Run) || Cause <- Causes, is_tuple(Cause), is_pid(element(2, Cause))].

%% What the commands of a batch and the deaths in it come down to.
context(#run{orders = Orders, table = Table, deaths = Deaths} = Run) ->
    Attempted = [{Pid, Action} || Pid <- maps:keys(Orders), Action <- attempted(Pid, Run)],
    Done = [{Pid, Action} || Pid <- maps:keys(Orders), Action <- done(Pid, Run)],
    #{signals => maps_of([{Target, {By, Reason}} || {By, {signal, Target, Reason}} <- Attempted]),
      stops => maps_of([{Target, {By, Reason}} || {By, {stop_server, Target, Reason}} <- Attempted]),
      terminated => [{Supervisor, Child} || {_, {terminate_child, Supervisor, Child}} <- Attempted],
      code => [{By, case Action of {load, _, _} -> load; _ -> purge end} || {By, Action} <- Attempted,
                                                                             is_code_action(Action)],
      linked => [{By, Target} || {By, {link, Target}} <- Attempted],
      unlinked => [{By, Target} || {By, {unlink, Target}} <- Done],
      ports => [{Port, Reason} || {_, {exit_port, Port, Reason}} <- Attempted],
      dead => maps:from_list([{Pid, (maps:get(Pid, Table))#process.reason} || Pid <- Deaths]),
      dead_children => maps_of([{(maps:get(Pid, Table))#process.parent, Pid} || Pid <- Deaths])}.

maps_of(Pairs) ->
    lists:foldl(fun({Key, Value}, Acc) -> maps:update_with(Key, fun(L) -> [Value | L] end, [Value], Acc) end, #{}, Pairs).

%% What a batch left on a process that can be taken for the cause of its end: {Kind, Who, Reason}.
evidence(Pid, #process{links_before = Links}, #{signals := Signals, linked := Linked, dead := Dead, ports := Ports}, Run) ->
    [{signal, By, Reason} || {By, Reason} <- maps:get(Pid, Signals, [])]
        ++ [{link, Peer, Reason} || {Peer, Reason} <- maps:to_list(Dead), Peer =/= Pid,
                                    was_linked(Pid, Links, Peer, Linked, Run)]
        ++ [{link, Peer, (maps:get(Peer, Run#run.table))#process.reason} || {By, Peer} <- Linked, By =:= Pid,
                                                                            not is_map_key(Peer, Dead),
                                                                            (maps:get(Peer, Run#run.table))#process.died]
        ++ [{port, Port, over_link(Reason)} || {Port, Reason} <- Ports, lists:member(Port, Links)]
        ++ [Own || Action <- attempted(Pid, Run), Own <- case Action of
                                                             {caught, Reason} -> [{own, Pid, Reason}];
                                                             {self_signal, Reason} -> [{signal, Pid, Reason}];
                                                             _ -> []
                                                         end].

was_linked(Pid, Links, Peer, Linked, #run{table = Table}) ->
    lists:member(Peer, Links) orelse lists:member(Pid, (maps:get(Peer, Table))#process.links_before)
        orelse lists:member({Pid, Peer}, Linked) orelse lists:member({Peer, Pid}, Linked).

%% A link whose breaking was done can only have come back by being made again.
was_linked_to_the_end(Pid, Peer, #{linked := Linked, unlinked := Unlinked}) ->
    lists:member({Pid, Peer}, Linked) orelse lists:member({Peer, Pid}, Linked)
        orelse not (lists:member({Pid, Peer}, Unlinked) orelse lists:member({Peer, Pid}, Unlinked)).

doubts(Pid, Evidence, #process{reason = Reason, trapped = Trapped}) ->
    [case Kind of
         signal -> by_signal(trapped_signal, Pid, Who);
         link -> {link_trapped, Who};
         port -> port_trapped;
         own -> {self, exit}
     end || {Kind, Who, OfReason} <- Evidence, same(OfReason, Reason)]
        %% A link to one that has just died, but whose death is not told yet, looks as if it had been made too late.
        ++ [noproc_signal || Reason =:= noproc, [] =/= [Who || {link, Who, _} <- Evidence]]
        ++ [{self, exit} || {follows, _, Followed} <- [Trapped], Followed =:= Reason]
        %% Where several fit, what it said itself is listed as well.
        ++ [{self, Class} || Class <- [exit, error, throw],
                             is_own_choice(Reason)
                                 orelse length([Who || {_, Who, OfReason} <- Evidence, same(OfReason, Reason)]) > 1].

same(?NOT_KNOWN, _) -> true;
same(Reason, OtherReason) -> Reason =:= OtherReason.

%% With these a process may have ended by its own will whatever it trapped.
is_own_choice(shutdown) -> true;
is_own_choice({shutdown, _}) -> true;
is_own_choice({_, [{_, _, _, _} | _]}) -> true; % an uncaught error, which makes no event of its own
is_own_choice(_) -> false.

possible(Pid, #process{reason = Reason, trap_before = Trap, spec = #{type := Type, trap := WillTrap}, trapped = Trapped,
                       parent = Parent, born = Born} = Process, Evidence,
         #{stops := Stops} = Context, #run{batch = Batch} = Run) ->
    Own = attempted(Pid, Run),
    Traps = [Trap || Born =/= Batch] ++ [Is || Born =:= Batch, Is <- [false, WillTrap]] ++ [Is || {trap, Is} <- Own],
    Passes = lists:member(false, Traps),
    %% The message of a trapped exit stays, whatever becomes of the link.
    Trappable = [Peer || {link, Peer, OfReason} <- Evidence, same(OfReason, Reason)],
    Links = [Peer || Peer <- Trappable, was_linked_to_the_end(Pid, Peer, Context)],
    Signals = [By || {signal, By, OfReason} <- Evidence, OfReason =:= Reason, OfReason =/= kill],
    Kills = [By || {signal, By, kill} <- Evidence, Reason =:= killed],
    [by_signal(kill, Pid, By) || By <- Kills]
        %% `normal' passes from nobody but itself.
        ++ [by_signal(signal, Pid, By) || Passes, By <- Signals, Reason =/= normal orelse By =:= Pid]
        ++ [{link, Peer} || Passes, Reason =/= normal, Peer <- Links]
        ++ [port || Passes, Reason =/= normal, {port, _, OfReason} <- Evidence, OfReason =:= Reason]
        ++ case Trapped of
               {follows, From, Reason} -> followed(Pid, From, Reason, Signals, Trappable, Own);
               _ -> []
           end
        %% What a gen_server's parent sends or dies of, it follows without asking its module.
        ++ [by_signal(trapped_signal, Pid, Parent) || is_behaviour(Type), lists:member(true, Traps),
                                                      lists:member(Parent, Signals)]
        ++ [{link_trapped, Parent} || is_behaviour(Type), lists:member(true, Traps), lists:member(Parent, Trappable)]
        ++ [noproc_trapped || Reason =:= noproc, is_behaviour(Type), lists:member(true, Traps),
                              lists:member({link, Parent}, Own)]
        ++ [normal || Reason =:= normal]
        ++ [Cause || Action <- Own, Cause <- by_itself(Action, Reason)]
        ++ by_purge(Process, Context, Run)
        ++ by_supervisor(Pid, Process, Context, Run)
        ++ [{stop_request, By} || {By, OfReason} <- maps:get(Pid, Stops, []), OfReason =:= Reason]
        %% Too many restarts.
        ++ [{self, exit} || Type =:= supervisor, Reason =:= shutdown,
                            is_map_key(Pid, maps:get(dead_children, Context))
                                orelse is_map_key(Pid, maps:get(signals, Context))].

by_signal(trapped_signal, Pid, Pid) -> {self, trapped_signal};
by_signal(_, Pid, Pid) -> {self, exit};
by_signal(Kind, _, By) -> {Kind, By}.

%% A port that is ended with `kill' tells its links `killed'.
over_link(kill) -> killed;
over_link(Reason) -> Reason.

is_behaviour(Type) -> Type =:= server orelse Type =:= supervisor.

followed(Pid, Pid, _Reason, _Signals, _Links, _Own) -> [{self, trapped_signal}];
followed(_Pid, From, _Reason, _Signals, _Links, _Own) when is_port(From) -> [port_trapped];
followed(_Pid, From, Reason, Signals, Links, Own) ->
    [{trapped_signal, From} || lists:member(From, Signals)]
        ++ [{link_trapped, From} || lists:member(From, Links)]
        ++ [noproc_trapped || Reason =:= noproc, lists:member({link, From}, Own)].

by_itself({exit, Reason}, Reason) -> [{self, exit}];
by_itself({error, Term}, {Term, _Stack}) -> [{self, error}];
by_itself({throw, Term}, {{nocatch, Term}, _Stack}) -> [{self, throw}];
by_itself({throw, Term}, {bad_return_value, Term}) -> [{self, exit}];
by_itself({link, _}, {noproc, [{erlang, link, _, _} | _]}) -> [noproc_error];
by_itself({link, _}, noproc) -> [noproc_signal];
by_itself(heap, killed) -> [max_heap_size];
by_itself(_, _) -> [].

%% In old code, a purge or a load ends it; in current code, what comes after a load does.
by_purge(#process{reason = killed, spec = #{type := code, module := Module}, generation = Generation}, #{code := Code},
         #run{generation = Now}) ->
    Loads = length([load || {_, load} <- Code]),
    Deadly = if Now > Generation; Loads > 1 -> Code;
                Loads =:= 1 -> [{By, purge} || {By, purge} <- Code];
                true -> []
             end,
    [{purge, By, Module, [atom_to_binary(Operation) || Operation <- Operations]}
     || {By, Operations} <- maps:to_list(maps_of(Deadly))];
by_purge(_, _, _) ->
    [].

%% A supervisor ends a child when it is told to, when another child or itself ended, or while it starts it.
by_supervisor(Pid, #process{reason = Reason, parent = Supervisor, born = Born,
                            spec = #{supervisor := Supervisor, id := Id, shutdown := Shutdown}},
              #{terminated := Terminated, dead := Dead, dead_children := DeadChildren, signals := Signals},
              #run{batch = Batch}) ->
    Acts = lists:member({Supervisor, Id}, Terminated) orelse lists:member({Supervisor, Pid}, Terminated)
        orelse maps:get(Supervisor, DeadChildren, []) -- [Pid] =/= [] orelse is_map_key(Supervisor, Dead)
        orelse Born =:= Batch
        %% What a child sends it is taken for the end of that child, which lives on.
        orelse is_map_key(Supervisor, Signals),
    [{Kind, Supervisor} || Acts, {Kind, OfReason} <- case Shutdown of
                                                         brutal_kill -> [{supervisor_brutal_kill, killed}];
                                                         infinity -> [{supervisor_shutdown, shutdown}];
                                                         _ -> [{supervisor_shutdown, shutdown},
                                                               {supervisor_timeout_kill, killed}]
                                                     end,
                           OfReason =:= Reason];
by_supervisor(_, _, _, _) ->
    [].
