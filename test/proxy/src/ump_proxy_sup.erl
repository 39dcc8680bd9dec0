%% The top supervisor. A client's connection is two processes: a session (client side) and a
%% ump_proxy_cherly_server (backend side), each under its own supervisor, linked to each other.
-module(ump_proxy_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, Acceptors} = application:get_env(ump_proxy, acceptors),
    Children =
        [#{id => Sup, start => {Sup, start_link, []}, type => supervisor, shutdown => infinity}
         || Sup <- [ump_proxy_cherly_sup, ump_proxy_session_sup]] ++
        [#{id => ump_proxy_listener, start => {ump_proxy_listener, start_link, []}}] ++
        [#{id => {ump_proxy_acceptor, N}, start => {ump_proxy_acceptor, start_link, []}}
         || N <- lists:seq(1, Acceptors)],
    {ok, {#{strategy => rest_for_one, intensity => 3, period => 10}, Children}}.
