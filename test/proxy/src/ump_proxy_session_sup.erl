%% Supervises the sessions, one process for each client connection.
-module(ump_proxy_session_sup).
-behaviour(supervisor).

-export([start_link/0, start_session/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_session() -> {ok, pid()} | {error, term()}.
start_session() ->
    supervisor:start_child(?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => ump_proxy_session,
             start => {ump_proxy_session, start_link, []},
             restart => temporary}]}}.
