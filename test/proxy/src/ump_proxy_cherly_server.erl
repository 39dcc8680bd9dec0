%% Owns the backend connection of one session.
%%
%% It is linked to the session and traps exits, so that the backend connection is closed in order
%% whatever the session ended of; it ends with the session's reason.
-module(ump_proxy_cherly_server).
-behaviour(gen_server).

-export([start_link/1, forward/2, more/1, user/2, info/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {session :: pid(), socket :: gen_tcp:socket(), user :: binary() | undefined}).

-define(CONNECT_TIMEOUT_MS, 5000).

-spec start_link(pid()) -> {ok, pid()} | {error, term()}.
start_link(Session) ->
    gen_server:start_link(?MODULE, Session, []).

%% Writes what the client said to the backend. Returns when it is written, which is the back-pressure
%% of the client's direction: MySQL is half duplex, the backend reads a command before it answers.
-spec forward(pid(), binary()) -> ok | {error, inet:posix() | closed}.
forward(Server, Data) ->
    gen_server:call(Server, {forward, Data}, infinity).

%% The session has written the last {from_backend, Server, Data}: send the next. Back-pressure of the
%% other direction.
-spec more(pid()) -> ok.
more(Server) ->
    gen_server:cast(Server, more).

%% Tells the MySQL user's name, for ump_proxy:sessions/0.
-spec user(pid(), binary()) -> ok.
user(Server, User) ->
    gen_server:cast(Server, {user, User}).

-spec info(pid()) -> #{session := pid(), server := pid(), user := binary() | undefined}.
info(Server) ->
    gen_server:call(Server, info).

-spec init(pid()) -> {ok, #state{}} | {stop, term()}.
init(Session) ->
    process_flag(trap_exit, true),
    link(Session),
    {ok, Backend} = application:get_env(ump_proxy, backend),
    case connect(Backend) of
        {ok, Socket} ->
            {ok, #state{session = Session, socket = Socket}};
        {error, Reason} ->
            %% The session is told by the supervisor's answer; it has a client to answer to.
            unlink(Session),
            {stop, {shutdown, {backend, Reason}}}
    end.

-spec handle_call({forward, binary()} | info, gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({forward, Data}, _From, State) ->
    {reply, gen_tcp:send(State#state.socket, Data), State};
handle_call(info, _From, #state{session = Session, user = User} = State) ->
    {reply, #{session => Session, server => self(), user => User}, State}.

-spec handle_cast(more | {user, binary()}, #state{}) -> {noreply, #state{}}.
handle_cast(more, State) ->
    %% An error is told by {tcp_closed, _}.
    _ = inet:setopts(State#state.socket, [{active, once}]),
    {noreply, State};
handle_cast({user, User}, State) ->
    {noreply, State#state{user = User}}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({tcp, Socket, Data}, #state{session = Session, socket = Socket} = State) ->
    Session ! {from_backend, self(), Data},
    {noreply, State};
handle_info({tcp_closed, Socket}, #state{session = Session, socket = Socket} = State) ->
    %% It is for the session to end: it may still be writing to its client.
    Session ! {backend_closed, self()},
    {noreply, State};
handle_info({tcp_error, Socket, _Reason}, #state{socket = Socket} = State) ->
    {noreply, State};
handle_info({'EXIT', Session, Reason}, #state{session = Session} = State) ->
    {stop, Reason, State};
handle_info({'EXIT', Socket, _Reason}, #state{socket = Socket} = State) ->
    %% {tcp_closed, Socket} came before.
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    gen_tcp:close(State#state.socket).

connect(Backend) ->
    Options = [binary, {packet, raw}, {active, once}, {buffer, 131072}],
    case Backend of
        {local, _Path} ->
            gen_tcp:connect(Backend, 0, [local | Options], ?CONNECT_TIMEOUT_MS);
        {Host, Port} ->
            gen_tcp:connect(Host, Port, [{nodelay, true}, {keepalive, true} | Options], ?CONNECT_TIMEOUT_MS)
    end.
