%% Owns the listening socket, so that acceptors come and go without closing it.
-module(ump_proxy_listener).
-behaviour(gen_server).

-export([start_link/0, port/0, socket/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-include_lib("kernel/include/logger.hrl").

-record(state, {socket :: gen_tcp:socket(), port :: inet:port_number()}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec port() -> inet:port_number().
port() ->
    gen_server:call(?MODULE, port).

-spec socket() -> gen_tcp:socket().
socket() ->
    gen_server:call(?MODULE, socket).

-spec init([]) -> {ok, #state{}} | {stop, term()}.
init([]) ->
    {ok, Ip} = application:get_env(ump_proxy, listen_ip),
    {ok, WantedPort} = application:get_env(ump_proxy, listen_port),
    %% {buffer, _} is the most that one message of a socket in {active, once} carries.
    Options = [binary, {packet, raw}, {active, false}, {ip, Ip}, {reuseaddr, true}, {backlog, 1024},
               {nodelay, true}, {keepalive, true}, {buffer, 131072}],
    case gen_tcp:listen(WantedPort, Options) of
        {ok, Socket} ->
            {ok, Port} = inet:port(Socket),
            ?LOG_NOTICE("ump_proxy listens on ~s:~b", [inet:ntoa(Ip), Port]),
            {ok, #state{socket = Socket, port = Port}};
        {error, Reason} ->
            {stop, {listen, WantedPort, Reason}}
    end.

-spec handle_call(port | socket, gen_server:from(), #state{}) ->
          {reply, inet:port_number() | gen_tcp:socket(), #state{}}.
handle_call(port, _From, State) ->
    {reply, State#state.port, State};
handle_call(socket, _From, State) ->
    {reply, State#state.socket, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.
