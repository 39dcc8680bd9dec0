%% The session of one MySQL client: owns the client's socket, is linked to the
%% ump_proxy_cherly_server that owns the backend's.
%%
%% A session with no command in flight waits in gen_server's loop and holds no reference to this
%% module's code: an upgrade finds it idle. A session whose client waits for an answer waits in
%% await_answer/1, in whichever version of this module the command found: a hot upgrade that purges
%% that version kills it.
-module(ump_proxy_session).
-behaviour(gen_server).

-export([start_link/0, serve/2, leave/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {client :: gen_tcp:socket() | undefined,
                server :: pid() | undefined,
                wire = ump_proxy_wire:new() :: ump_proxy_wire:state()}).

-define(COM_QUIT, 16#01).
-define(COM_STMT_SEND_LONG_DATA, 16#18).
-define(COM_STMT_CLOSE, 16#19).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link(?MODULE, [], []).

%% Gives the session its client. The session must own the socket already.
-spec serve(pid(), gen_tcp:socket()) -> ok.
serve(Session, Client) ->
    gen_server:cast(Session, {serve, Client}).

%% There is no client.
-spec leave(pid()) -> ok.
leave(Session) ->
    gen_server:cast(Session, leave).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, not_understood}, #state{}}.
handle_call(_, _From, State) ->
    {reply, {error, not_understood}, State}.

-spec handle_cast({serve, gen_tcp:socket()} | leave, #state{}) ->
          {noreply, #state{}} | {stop, normal, #state{}}.
handle_cast({serve, Client}, State) ->
    case ump_proxy_cherly_sup:start_server(self()) of
        {ok, Server} ->
            %% The server speaks first in MySQL, but what a hasty client says must not get lost.
            _ = inet:setopts(Client, [{active, once}]),
            {noreply, State#state{client = Client, server = Server}};
        {error, {shutdown, {backend, Reason}}} ->
            Text = io_lib:format("ump_proxy: no connection to the backend: ~0p", [Reason]),
            _ = gen_tcp:send(Client, ump_proxy_wire:error_packet(Text)),
            {stop, normal, State#state{client = Client}}
    end;
handle_cast(leave, State) ->
    {stop, normal, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({tcp, Client, Data}, #state{client = Client} = State) ->
    from_client(Data, State);
handle_info({from_backend, Server, Data}, #state{server = Server} = State) ->
    to_client(Data, State);
handle_info({tcp_closed, Client}, #state{client = Client} = State) ->
    {stop, normal, State};
handle_info({tcp_error, Client, _Reason}, #state{client = Client} = State) ->
    {stop, normal, State};
handle_info({backend_closed, Server}, #state{server = Server} = State) ->
    {stop, normal, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{client = undefined}) ->
    ok;
terminate(_Reason, #state{client = Client}) ->
    gen_tcp:close(Client).

%% Passes on what the client said. Once that is a whole command, the session is busy until the
%% answer begins.
from_client(Data, #state{client = Client, server = Server, wire = Before} = State) ->
    %% An error here is followed by {backend_closed, Server}, which ends the session.
    _ = ump_proxy_cherly_server:forward(Server, Data),
    _ = inet:setopts(Client, [{active, once}]),
    Wire = ump_proxy_wire:client(Data, Before),
    tell_user(ump_proxy_wire:user(Before), ump_proxy_wire:user(Wire), Server),
    Next = State#state{wire = Wire},
    case has_answer(ump_proxy_wire:pending(Wire)) of
        true -> await_answer(Next);
        false -> {noreply, Next}
    end.

%% Waits for the answer to begin; the client may go on talking or go away meanwhile.
await_answer(#state{client = Client, server = Server} = State) ->
    receive
        {from_backend, Server, Data} -> to_client(Data, State);
        {tcp, Client, Data} -> from_client(Data, State);
        {tcp_closed, Client} -> {stop, normal, State};
        {tcp_error, Client, _Reason} -> {stop, normal, State};
        {backend_closed, Server} -> {stop, normal, State}
    end.

to_client(Data, #state{client = Client, server = Server} = State) ->
    case gen_tcp:send(Client, Data) of
        ok ->
            ump_proxy_cherly_server:more(Server),
            {noreply, State};
        {error, _Reason} ->
            {stop, normal, State}
    end.

tell_user(Same, Same, _Server) -> ok;
tell_user(undefined, User, Server) -> ump_proxy_cherly_server:user(Server, User).

-ifdef(UMP_PROXY_1_1).
has_answer(none) -> false;
has_answer(opaque) -> false;
has_answer(login) -> true;
has_answer({command, ?COM_QUIT}) -> false;
has_answer({command, ?COM_STMT_CLOSE}) -> false;
has_answer({command, ?COM_STMT_SEND_LONG_DATA}) -> false;
has_answer({command, _}) -> true.
-else.
%% 1.0 waits for an answer to COM_STMT_SEND_LONG_DATA, which has none: such a session looks busy
%% until the statement is executed.
has_answer(none) -> false;
has_answer(opaque) -> false;
has_answer(login) -> true;
has_answer({command, ?COM_QUIT}) -> false;
has_answer({command, ?COM_STMT_CLOSE}) -> false;
has_answer({command, _}) -> true.
-endif.
