%% The process that arms the node and takes care that it stays armed. All it knows of exits it asks the NIF.
-module(coroner_server).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([trace_state/0]).

-record(state, {trace :: coroner_trace:state(),
                node :: node(),
                processes :: non_neg_integer(), % traced ones that lived before
                foreign :: non_neg_integer()}). % processes that another tool traces

-define(CHUNK, 1000).
-define(DRAIN_MS, 1000).
-define(TICK_MS, 1000).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc The tracer state of this start, and what was found at it.
-spec trace_state() -> #{trace := coroner_trace:state(), snapshot := non_neg_integer(),
                         foreign := non_neg_integer()}.
trace_state() ->
    gen_server:call(?MODULE, trace_state, infinity).

-spec init([]) -> {ok, #state{}} | {stop, term()}.
init([]) ->
    process_flag(trap_exit, true),
    case coroner_options:from_environment() of
        {ok, Options} -> arm(Options);
        {error, Reason} -> {stop, Reason}
    end.

arm(Options) ->
    %% An earlier server that was killed could not disarm.
    ok = coroner_nif:stop(0),
    case start_nif(Options) of
        {ok, Trace} ->
            case coroner_trace:arm(Trace) of
                ok ->
                    {Seen, Foreign} = existing(processes(), Trace, 0, 0),
                    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
                    ok = coroner_surroundings:take(),
                    erlang:send_after(?TICK_MS, self(), tick),
                    {ok, #state{trace = Trace, node = node(), processes = Seen, foreign = Foreign}};
                {error, Reason} ->
                    ok = coroner_nif:stop(0),
                    {stop, Reason}
            end;
        {error, Reason} ->
            {stop, Reason}
    end.

start_nif(#{ingest := Ingest, memory := Bytes, record := Record}) ->
    {ok, Host} = inet:gethostname(),
    coroner_nif:start(Ingest, atom_to_binary(node()), list_to_binary(Host),
                      list_to_binary(erlang:system_info(otp_release)), Bytes, Record,
                      whereis(erts_code_purger), whereis(code_server)).

%% Those that lived before: entered in the ledger, then traced, then asked, so that nothing falls between.
existing([], _Trace, Seen, Foreign) ->
    {Seen, Foreign};
existing(Pids, Trace, Seen, Foreign) ->
    {Chunk, Rest} = split(Pids),
    New = coroner_nif:expect(Chunk),
    Untraced = coroner_trace:trace_processes(New, Trace),
    _ = [coroner_nif:forget(Pid) || Pid <- Untraced],
    Traced = New -- Untraced,
    Answered = coroner_snapshot:take(Traced),
    Theirs = length([Pid || Pid <- Untraced, is_process_alive(Pid)]),
    %% The schedulers have others to run.
    receive after 1 -> ok end,
    existing(Rest, Trace, Seen + Answered, Foreign + Theirs).

split(Pids) when length(Pids) =< ?CHUNK -> {Pids, []};
split(Pids) -> lists:split(?CHUNK, Pids).

-spec handle_call(trace_state, gen_server:from(), #state{}) -> {reply, map(), #state{}}.
handle_call(trace_state, _From, State) ->
    {reply, #{trace => State#state.trace, snapshot => State#state.processes,
              foreign => State#state.foreign}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({nodeup, _, _}, State) ->
    %% A node that goes is known until the next tick: what it did may still show.
    ok = coroner_surroundings:tell_nodes(),
    {noreply, State};
handle_info(tick, State) ->
    erlang:send_after(?TICK_MS, self(), tick),
    ok = coroner_surroundings:tell_nodes(),
    {noreply, renamed(State)};
handle_info(_Message, State) ->
    {noreply, State}.

%% A node can be given a name while it runs (net_kernel:start/2); the daemon knows it by that.
renamed(#state{node = Node} = State) when Node =:= node() ->
    State;
renamed(State) ->
    ok = coroner_nif:rename(atom_to_binary(node())),
    State#state{node = node()}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{trace = Trace}) ->
    ok = coroner_trace:disarm(Trace),
    coroner_nif:stop(?DRAIN_MS).
