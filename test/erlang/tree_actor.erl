%% The processes of the random trees: they do what the one who runs the tree tells them, and report to it what they
%% did and which exits they trapped. Plain ones, gen_servers, ones in the code of a module that is purged, children
%% of supervisors: all obey the same commands.
-module(tree_actor).
-behaviour(gen_server).

-export([start/2, start_unlinked/2, start_child/2, helper/2, is_supervisor/1]).
-export([plain/2, child/3, begins/2, handle/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([spec/0, action/0]).

%% What an actor is. `react' is what it does with an exit that it traps: follow it with the same reason, or survive.
-type spec() :: #{type := plain | code | server | supervisor, trap := boolean(), react := follow | survive,
                  priority := normal | low, port := boolean(), atom() => term()}.

-type action() :: {exit | error | throw | caught | self_signal, Reason :: term()}
                | {signal, pid(), Reason :: term()} | {exit_port, port(), Reason :: term()}
                | {link | unlink, pid()} | {trap, boolean()} | stop | heap | close_port
                | {load, module(), binary()} | {purge, module()}
                | {stop_server, pid(), Reason :: term()} | {terminate_child, pid(), term()}.

-spec is_supervisor(spec()) -> boolean().
is_supervisor(#{type := Type}) -> Type =:= supervisor.

%% @doc Starts one, linked to the caller, who is its parent.
-spec start(pid(), spec()) -> pid().
start(Driver, #{type := plain} = Spec) -> spawn_link(?MODULE, plain, [Driver, Spec]);
start(Driver, #{type := code, module := Module} = Spec) -> spawn_link(Module, start, [Driver, Spec]);
start(Driver, #{type := server} = Spec) ->
    {ok, Pid} = gen_server:start_link(?MODULE, {Driver, Spec}, []),
    Pid;
start(Driver, #{type := supervisor, flags := Flags, children := Children}) ->
    {ok, Pid} = supervisor:start_link(supervisor_for_test, {Flags, [child_spec(Driver, Child) || Child <- Children]}),
    case Flags of
        #{strategy := simple_one_for_one} -> [{ok, _} = supervisor:start_child(Pid, []) || _ <- [1, 2, 3]];
        _ -> ok
    end,
    Pid.

-spec start_unlinked(pid(), spec()) -> pid().
start_unlinked(Driver, #{type := server} = Spec) ->
    {ok, Pid} = gen_server:start(?MODULE, {Driver, Spec}, []),
    Pid;
start_unlinked(Driver, Spec) ->
    Pid = start(Driver, Spec),
    unlink(Pid),
    Pid.

child_spec(Driver, #{id := Id, restart := Restart, shutdown := Shutdown} = Spec) ->
    #{id => Id, restart => Restart, shutdown => Shutdown, start => {?MODULE, start_child, [Driver, Spec]}}.

%% @doc What a supervisor starts its children with.
-spec start_child(pid(), spec()) -> {ok, pid()}.
start_child(Driver, #{type := server} = Spec) ->
    gen_server:start_link(?MODULE, {Driver, Spec#{supervisor => self()}}, []);
start_child(Driver, #{type := plain} = Spec) ->
    proc_lib:start_link(?MODULE, child, [Driver, Spec#{supervisor => self()}, self()]).

-spec child(pid(), spec(), pid()) -> ok.
child(Driver, Spec, Parent) ->
    State = begins(Driver, Spec),
    proc_lib:init_ack(Parent, {ok, self()}),
    loop(State).

-spec plain(pid(), spec()) -> ok.
plain(Driver, Spec) -> loop(begins(Driver, Spec)).

loop(State) ->
    receive Message ->
            case handle(Message, State) of
                stop -> ok;
                {stop, Reason} -> exit(Reason);
                Next -> loop(Next)
            end
    end.

init({Driver, Spec}) -> {ok, begins(Driver, Spec)}.

handle_info(Message, State) ->
    case handle(Message, State) of
        stop -> {stop, normal, State};
        {stop, Reason} -> {stop, Reason, State};
        Next -> {noreply, Next}
    end.

handle_call(_Request, _From, State) -> {reply, ok, State}.
handle_cast(_Message, State) -> {noreply, State}.

%% @doc Its first steps, in the process itself.
-spec begins(pid(), spec()) -> map().
begins(Driver, #{trap := Trap, priority := Priority, port := Port} = Spec) ->
    _ = Trap andalso process_flag(trap_exit, true),
    _ = Priority =/= normal andalso process_flag(priority, Priority),
    State = Spec#{driver => Driver},
    case Spec of
        #{supervisor := Supervisor} -> Driver ! {born, self(), Spec, Supervisor};
        _ -> ok
    end,
    case Port of
        %% A driver that is always there and does nothing until it is told.
        true -> State#{port := open_port({spawn_driver, "ram_file_drv"}, [binary])};
        false -> State
    end.

%% @doc One message. `stop' is a normal end, {stop, Reason} one with that reason.
-spec handle(term(), map()) -> map() | stop | {stop, term()}.
handle({do, Actions}, State) ->
    act(Actions, 1, State);
handle(sync, #{driver := Driver} = State) ->
    Driver ! {synced, self(), process_info(self(), [links, trap_exit])},
    State;
handle({'EXIT', From, Reason}, #{driver := Driver, react := follow}) ->
    Driver ! {follows, self(), From, Reason},
    {stop, Reason};
handle({'EXIT', From, Reason}, #{driver := Driver} = State) ->
    Driver ! {survived, self(), From, Reason},
    State;
handle({start, Reference, Spec}, #{driver := Driver} = State) ->
    Driver ! {started, Reference, start(Driver, Spec)},
    State;
handle(_Other, State) ->
    State.

act([], _Number, State) ->
    State;
act([stop | _], _Number, _State) ->
    stop;
act([Action | Actions], Number, #{driver := Driver} = State) ->
    one(Action, State),
    Driver ! {did, self(), Number},
    act(Actions, Number + 1, State).

one({exit, Reason}, _) -> exit(Reason);
one({error, Reason}, _) -> error(Reason);
one({throw, Reason}, _) -> throw(Reason);
one({caught, Reason}, _) -> try exit(Reason) catch exit:_ -> ok end;
one({self_signal, Reason}, _) -> exit(self(), Reason);
one({signal, Pid, Reason}, _) -> exit(Pid, Reason);
one({exit_port, Port, Reason}, _) -> exit(Port, Reason);
one({link, Pid}, _) -> link(Pid);
one({unlink, Pid}, _) -> unlink(Pid);
one({trap, Trap}, _) -> process_flag(trap_exit, Trap);
one({load, Module, Binary}, _) -> code:load_binary(Module, "tree_code.beam", Binary);
one({purge, Module}, _) -> code:purge(Module);
one(close_port, #{port := Port}) -> is_port(Port) andalso catch port_close(Port);
one(heap, _) ->
    process_flag(max_heap_size, #{size => 20_000, kill => true, error_logger => false}),
    lists:sum(lists:seq(1, 200_000)).

%% @doc The body of a process that does what an actor must not, because it waits for others; then it ends.
-spec helper(pid(), [action()]) -> ok.
helper(Driver, Actions) ->
    lists:foreach(fun({stop_server, Pid, Reason}) -> catch gen_server:stop(Pid, Reason, infinity);
                     ({terminate_child, Supervisor, Child}) -> catch supervisor:terminate_child(Supervisor, Child);
                     (Action) -> one(Action, #{})
                  end, Actions),
    Driver ! {did, self(), length(Actions)},
    ok.
