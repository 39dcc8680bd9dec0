%% Takes a client, starts its session, hands the socket over, takes the next.
-module(ump_proxy_acceptor).

-export([start_link/0, init/0]).

-include_lib("kernel/include/logger.hrl").

-spec start_link() -> {ok, pid()}.
start_link() ->
    {ok, proc_lib:spawn_link(?MODULE, init, [])}.

-spec init() -> no_return().
init() ->
    accept(ump_proxy_listener:socket()).

accept(Listen) ->
    case gen_tcp:accept(Listen) of
        {ok, Socket} -> serve(Socket);
        {error, econnaborted} -> ok;
        {error, Reason} -> exit({accept, Reason})
    end,
    accept(Listen).

serve(Socket) ->
    {ok, Session} = ump_proxy_session_sup:start_session(),
    case gen_tcp:controlling_process(Socket, Session) of
        ok ->
            ump_proxy_session:serve(Session, Socket);
        {error, Reason} ->
            ?LOG_NOTICE("ump_proxy: a client left at once: ~p", [Reason]),
            gen_tcp:close(Socket),
            ump_proxy_session:leave(Session)
    end.
