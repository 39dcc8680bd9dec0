%% Supervises the servers that own the backend connections.
-module(ump_proxy_cherly_sup).
-behaviour(supervisor).

-export([start_link/0, start_server/1, servers/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Starts a server with a backend connection of its own, linked to Session.
-spec start_server(pid()) -> {ok, pid()} | {error, term()}.
start_server(Session) ->
    supervisor:start_child(?MODULE, [Session]).

-spec servers() -> [pid()].
servers() ->
    [Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE), is_pid(Pid)].

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one},
          [#{id => ump_proxy_cherly_server,
             start => {ump_proxy_cherly_server, start_link, []},
             restart => temporary}]}}.
