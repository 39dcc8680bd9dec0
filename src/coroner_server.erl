%% The process that arms the node and takes care that it stays armed. All it knows of exits it asks the NIF.
-module(coroner_server).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([check/0, pause/0, resume/0]).

-record(state, {watch :: coroner_watch:watch(),
                node :: node()}).

-define(DRAIN_MS, 1000).
-define(TICK_MS, 1000).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Looks now whether all is traced that should be, and says how it stands.
-spec check() -> #{trace := term(), gaps := non_neg_integer(), foreign := non_neg_integer(),
                   snapshot := non_neg_integer(), tracer := session | shared}.
check() ->
    gen_server:call(?MODULE, check, infinity).

%% @doc Takes all trace flags and patterns off.
-spec pause() -> ok.
pause() ->
    gen_server:call(?MODULE, pause, infinity).

%% @doc Sets them again.
-spec resume() -> ok | {error, {disarmed, term()}}.
resume() ->
    gen_server:call(?MODULE, resume, infinity).

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
        {ok, Tracer} ->
            case coroner_watch:start(Tracer) of
                {ok, Watch} ->
                    erlang:send_after(?TICK_MS, self(), tick),
                    {ok, #state{watch = Watch, node = node()}};
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

-spec handle_call(check | pause | resume, gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(check, _From, State) ->
    Watch = coroner_watch:check(State#state.watch),
    {reply, coroner_watch:info(Watch), State#state{watch = Watch}};
handle_call(pause, _From, State) ->
    {reply, ok, State#state{watch = coroner_watch:pause(State#state.watch)}};
handle_call(resume, _From, State) ->
    {Result, Watch} = coroner_watch:resume(State#state.watch),
    {reply, Result, State#state{watch = Watch}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(tick, State) ->
    erlang:send_after(?TICK_MS, self(), tick),
    {noreply, renamed(State#state{watch = coroner_watch:check(State#state.watch)})};
handle_info(_Message, State) ->
    {noreply, State}.

%% A node can be given a name while it runs (net_kernel:start/2); the daemon knows it by that.
renamed(#state{node = Node} = State) when Node =:= node() ->
    State;
renamed(State) ->
    ok = coroner_nif:rename(atom_to_binary(node())),
    State#state{node = node()}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{watch = Watch}) ->
    ok = coroner_watch:stop(Watch),
    coroner_nif:stop(?DRAIN_MS).
