%% An application for tests of what belongs to one. Its server, registered under the application's name, does what it is told to;
%% its supervisor starts processes that wait.
-module(scope_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/1, stop/1, run/2, supervisor/1, child/1]).
-export([start/2, init/1, start_server/1, server/1, start_waiting/0]).

%% @doc Starts an application of this name.
start(Name) ->
    ok = application:load({application, Name, [{description, ""}, {vsn, "1"}, {modules, []}, {registered, []},
                                               {applications, [kernel, stdlib]}, {mod, {?MODULE, Name}}]}),
    application:start(Name).

stop(Name) when is_atom(Name) ->
    _ = application:stop(Name),
    application:unload(Name);
stop(_State) ->
    ok.

%% @doc What Do returns, done by the server of the application.
run(Name, Do) ->
    Monitor = monitor(process, Name),
    Name ! {self(), Monitor, Do},
    receive
        {Monitor, Result} -> demonitor(Monitor, [flush]), Result;
        {'DOWN', Monitor, process, _, Reason} -> exit(Reason)
    end.

supervisor(Name) ->
    list_to_atom(atom_to_list(Name) ++ "_sup").

%% @doc A process that waits, started by the supervisor of the application.
child(Name) ->
    {ok, Pid} = supervisor:start_child(supervisor(Name), #{id => make_ref(), start => {?MODULE, start_waiting, []},
                                                           restart => temporary}),
    Pid.

start(_Type, Name) ->
    supervisor:start_link({local, supervisor(Name)}, ?MODULE, Name).

init(Name) ->
    {ok, {#{}, [#{id => server, start => {?MODULE, start_server, [Name]}}]}}.

start_server(Name) ->
    proc_lib:start_link(?MODULE, server, [Name]).

server(Name) ->
    true = register(Name, self()),
    proc_lib:init_ack({ok, self()}),
    serve().

serve() ->
    receive {From, Tag, Do} -> From ! {Tag, Do()}, serve() end.

start_waiting() ->
    {ok, proc_lib:spawn_link(testlib, waiting, [])}.
