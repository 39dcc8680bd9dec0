%% The process that arms the node and takes care that it stays armed. All it knows of exits it asks the NIF.
-module(coroner_server).
-behaviour(gen_server).

-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([check/0, pause/0, resume/0, scope/1, forget_scope/0, is_armed/0, start_again/1, disarm/0]).

-include_lib("kernel/include/logger.hrl").

-record(state, {options :: coroner_options:options(), % as they were given
                in_force :: coroner_options:options(), % all of them
                watch :: coroner_watch:watch(),
                node :: node()}).

-define(DRAIN_MS, 1000).
-define(TICK_MS, 1000).
-define(SCOPE_NOW, scope_now). % in the application's environment: a server that takes over from one that was killed goes on with it

-spec start_link(coroner_options:options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Options, []).

%% @doc Looks now whether all is traced that should be, and says how it stands.
-spec check() -> #{trace := term(), gaps := non_neg_integer(), foreign := non_neg_integer(),
                   snapshot := non_neg_integer(), tracer := session | shared, scope := coroner_scope:scope(),
                   options := coroner_options:options()}.
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

%% @doc Changes what is traced. It is checked already.
-spec scope(coroner_scope:scope()) -> ok.
scope(Scope) ->
    gen_server:call(?MODULE, {scope, Scope}, infinity).

%% @doc Forgets the scope that was set last: a server that starts begins with that of its options.
-spec forget_scope() -> ok.
forget_scope() ->
    application:unset_env(coroner, ?SCOPE_NOW).

%% @doc Arms the node again if it is no more: somebody has unloaded the library. If it is armed with other options than
%% these, says which: they stay.
-spec start_again(coroner_options:options()) -> ok | {error, {already_started, coroner_options:options()} | term()}.
start_again(Options) ->
    gen_server:call(?MODULE, {start_again, Options}, infinity).

%% @doc Leaves nothing traced and no thread, whoever armed the node. Waits for the daemon to take what is unsent.
-spec disarm() -> ok.
disarm() ->
    ok = coroner_trace:disarm(),
    stop_nif().

%% Where it was unloaded there is nothing to stop, and it must not be loaded for that.
stop_nif() ->
    case erlang:module_loaded(coroner_nif) of
        true -> coroner_nif:stop(?DRAIN_MS);
        false -> ok
    end.

-spec init(coroner_options:options()) -> {ok, #state{}} | {stop, term()}.
init(Given) ->
    process_flag(trap_exit, true),
    Options = case application:get_env(coroner, ?SCOPE_NOW) of
                  {ok, Scope} -> Given#{scope => Scope};
                  undefined -> Given
              end,
    case arm(Options) of
        {ok, State} ->
            erlang:send_after(?TICK_MS, self(), tick),
            {ok, State};
        {error, Reason} ->
            {stop, Reason}
    end.

arm(Given) ->
    %% An earlier server that was killed could not disarm; what it made the daemon is still to have.
    ok = coroner_nif:stop(?DRAIN_MS),
    arm(coroner_options:complete(Given), Given, coroner_options:in_force(Given)).

arm({error, Reason}, _Given, _InForce) ->
    {error, Reason};
arm({ok, #{scope := Scope} = Options}, Given, InForce) ->
    case start_nif(Options) of
        {ok, Tracer} ->
            case coroner_watch:start(Tracer, Scope) of
                {ok, Watch} ->
                    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
                    ok = coroner_surroundings:take(),
                    ok = coroner_watch:announce(Watch),
                    ok = warn(Scope),
                    {ok, #state{options = Given, in_force = InForce, watch = Watch, node = node()}};
                {error, Reason} ->
                    ok = coroner_nif:stop(0),
                    {error, Reason}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Whether the library is loaded and armed. One that was unloaded is not armed when it comes back.
-spec is_armed() -> boolean().
is_armed() ->
    erlang:module_loaded(coroner_nif) andalso lists:member({armed, true}, coroner_nif:status()).

rearmed(State) ->
    case is_armed() of
        true -> {ok, State};
        false ->
            ok = coroner_watch:close(State#state.watch),
            arm(State#state.options)
    end.

start_nif(#{ingest := Ingest, memory := Bytes, record := Record}) ->
    {ok, Host} = inet:gethostname(),
    coroner_nif:start(Ingest, atom_to_binary(node()), list_to_binary(Host),
                      list_to_binary(erlang:system_info(otp_release)), Bytes, Record,
                      whereis(erts_code_purger), whereis(code_server)).

%% A slip of the pen traces nothing, or excludes nobody; but what is named may be about to be loaded.
warn(Scope) ->
    case coroner_scope:unknown(Scope) of
        [] -> ok;
        Unknown -> ?LOG_WARNING("coroner: the scope names what this node does not have (yet): ~0tp", [Unknown])
    end.

-spec handle_call(check | pause | resume | {start_again, coroner_options:options()} | {scope, coroner_scope:scope()}, gen_server:from(), #state{}) ->
          {reply, term(), #state{}} | {stop, term(), term(), #state{}}.
handle_call(check, _From, State) ->
    Watch = coroner_watch:check(State#state.watch),
    {reply, (coroner_watch:info(Watch))#{options => State#state.in_force}, keep(Watch, State)};
handle_call(pause, _From, State) ->
    {reply, ok, keep(coroner_watch:pause(State#state.watch), State)};
handle_call(resume, _From, State) ->
    {Result, Watch} = coroner_watch:resume(State#state.watch),
    {reply, Result, keep(Watch, State)};
handle_call({scope, Scope}, _From, #state{options = Options, in_force = InForce, watch = Watch} = State) ->
    ok = application:set_env(coroner, ?SCOPE_NOW, Scope),
    case InForce of
        #{scope := Scope} -> ok;
        _ -> ok = warn(Scope)
    end,
    {reply, ok, keep(coroner_watch:scope(Scope, Watch),
                     State#state{options = Options#{scope => Scope}, in_force = InForce#{scope => Scope}})};
handle_call({start_again, Options}, _From, State) ->
    case rearmed(State) of
        {ok, #state{in_force = InForce} = Armed} ->
            Differing = coroner_options:differing(Options, InForce),
            {reply, case map_size(Differing) of
                        0 -> ok;
                        _ -> {error, {already_started, Differing}}
                    end, Armed};
        {error, Reason} -> {stop, {shutdown, Reason}, {error, Reason}, State}
    end.

keep(Watch, State) ->
    ok = coroner_watch:announce(Watch),
    State#state{watch = Watch}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({nodeup, _, _}, State) ->
    %% A node that goes is known until the next tick: what it did may still show.
    ok = coroner_surroundings:tell_nodes(),
    {noreply, State};
handle_info(tick, State) ->
    case rearmed(State) of
        {ok, Armed} ->
            ok = coroner_surroundings:tell_nodes(),
            Looked = renamed(keep(coroner_watch:check(Armed#state.watch), Armed)),
            %% Only now: where a look takes seconds (all of a million processes have to be taken back, and another tool takes
            %% them off again and again), a second of rest follows each.
            erlang:send_after(?TICK_MS, self(), tick),
            {noreply, Looked};
        {error, Reason} ->
            {stop, {shutdown, Reason}, State}
    end;
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
    ok = case is_armed() of
             true -> coroner_watch:stop(Watch);
             false -> coroner_watch:close(Watch)
         end,
    stop_nif().

%% What an upgrade calls while this process is suspended: without it OTP takes the upgrade for failed.
-spec code_change(term(), #state{}, term()) -> {ok, #state{}}.
code_change(_Version, State, _Extra) ->
    {ok, State}.
