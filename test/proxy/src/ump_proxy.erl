%% The application, and what its operator types in a shell.
-module(ump_proxy).
-behaviour(application).

-export([port/0, sessions/0, session_of/1, await_end/2]).
-export([start/2, stop/1]).

%% The loopback port on which the proxy takes MySQL clients.
-spec port() -> inet:port_number().
port() ->
    ump_proxy_listener:port().

%% The sessions of now: the session process, the server that owns its backend connection, and the
%% MySQL user who logged in (undefined until then).
-spec sessions() -> [#{session := pid(), server := pid(), user := binary() | undefined}].
sessions() ->
    lists:append([info(Server) || Server <- ump_proxy_cherly_sup:servers()]).

%% The one session of a MySQL user.
-spec session_of(binary()) -> #{session := pid(), server := pid(), user := binary() | undefined}.
session_of(User) ->
    [Session] = [S || S = #{user := U} <- sessions(), U =:= User],
    Session.

%% Waits until every one of the processes has ended; says which did not within the time.
-spec await_end([pid()], timeout()) -> ok | {still_alive, [pid()]}.
await_end(Pids, Timeout) ->
    Timer = erlang:start_timer(Timeout, self(), await_end),
    Monitors = maps:from_list([{monitor(process, Pid), Pid} || Pid <- Pids]),
    Alive = await_down(Monitors, Timer),
    _ = erlang:cancel_timer(Timer),
    case maps:values(Alive) of
        [] -> ok;
        Rest -> {still_alive, Rest}
    end.

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, []) ->
    ump_proxy_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    ok.

await_down(Monitors, _Timer) when map_size(Monitors) =:= 0 ->
    Monitors;
await_down(Monitors, Timer) ->
    receive
        {'DOWN', Monitor, process, _, _} when is_map_key(Monitor, Monitors) ->
            await_down(maps:remove(Monitor, Monitors), Timer);
        {timeout, Timer, await_end} ->
            Monitors
    end.

%% A server may end while it is being asked.
info(Server) ->
    try
        [ump_proxy_cherly_server:info(Server)]
    catch
        exit:{_, {gen_server, call, _}} -> []
    end.
