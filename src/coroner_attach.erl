%% Brings coroner into a node that was started without it, and takes it out again.
%%
%% coronerctl sends this one module over distribution and calls it; the rest it loads itself, from a folder on
%% this host. The code path stays as it is, so it works in embedded mode too, and nothing of it is left after
%% detach/0.
-module(coroner_attach).

-export([attach/2, detach/0]).

-type failure() :: {Code :: atom(), Text :: binary()}.

-type owner() :: attach        % attach/2 brought it
               | application   % it runs as an application of the node's release
               | start.        % somebody called coroner:start there

%% @doc Loads the application from Ebin and starts it with these options (see coroner:start/1).
-spec attach(Ebin :: file:filename(), coroner_options:options()) ->
          {ok, #{processes := non_neg_integer(), incarnation := binary(), already := boolean(), owner := owner(),
                 ingest => binary() | none, uplink_error => binary()}}
              | {error, failure()}.
attach(Ebin, Options) ->
    %% Of a coroner that runs, the modules are there.
    case whereis(coroner_server) of
        undefined -> attach_new(Ebin, Options);
        _ -> {ok, info(true)}
    end.

info(Already) ->
    #{processes := Processes, incarnation := Incarnation} = Status = coroner:status(),
    lists:foldl(fun maps:merge/2, #{processes => Processes, incarnation => Incarnation, already => Already, owner => owner()},
                [ingest(Status), uplink(25)]).

%% Where it sends to, which attaching to one that runs does not change. One of an older release does not say.
ingest(#{options := #{ingest := none}}) -> #{ingest => none};
ingest(#{options := #{ingest := Path}}) -> #{ingest => unicode:characters_to_binary(Path)};
ingest(_) -> #{}.

%% Whose coroner it is: only what attach/2 loaded is taken out by detach/0.
owner() ->
    case {application:get_env(coroner, ebin), application_controller:get_master(coroner)} of
        {{ok, _}, _} -> attach;
        {undefined, Master} when is_pid(Master) -> application;
        {undefined, _} -> start
    end.

%% Why the daemon cannot be reached: no such socket, or this node's user may not connect. Whoever attaches would else
%% learn of it only when no record comes. The first try shows it within moments.
uplink(0) ->
    #{};
uplink(Looks) ->
    case coroner:status() of
        #{uplink_error := Error} when is_binary(Error) -> #{uplink_error => Error};
        #{connected := false} -> timer:sleep(20), uplink(Looks - 1);
        _ -> #{}
    end.

attach_new(Ebin, Options) ->
    try
        {Specification, Modules} = read_application(Ebin),
        Binaries = [read_module(Ebin, Module) || Module <- Modules],
        load_application(Specification, Ebin),
        lists:foreach(fun load_module/1, Binaries),
        case coroner:start(Options) of
            ok -> {ok, info(false)};
            {error, {already_started, _}} -> {ok, info(true)}; % by another attach at the same time
            {error, Reason} -> throw({start, text("coroner does not start: ~0tp", [Reason])})
        end
    catch
        throw:{Code, Text} ->
            _ = take_out(),
            {error, {Code, Text}}
    end.

read_application(Ebin) ->
    File = filename:join(Ebin, "coroner.app"),
    case file:consult(File) of
        {ok, [{application, coroner, Specification}]} ->
            {Specification, proplists:get_value(modules, Specification, []) -- [?MODULE]};
        {ok, _} ->
            throw({bad_application, text("~ts is not coroner's application file", [File])});
        {error, Reason} ->
            throw({no_files, text("this node cannot read ~ts: ~ts; coroner's files must be on its host and "
                                  "readable by its user", [File, file:format_error(Reason)])})
    end.

read_module(Ebin, Module) ->
    File = filename:join(Ebin, atom_to_list(Module) ++ ".beam"),
    case file:read_file(File) of
        {ok, Binary} -> {Module, File, Binary};
        {error, Reason} -> throw({no_files, text("this node cannot read ~ts: ~ts",
                                                 [File, file:format_error(Reason)])})
    end.

%% The folder tells coroner_nif where the library is: without a code path it could not know.
load_application(Specification, Ebin) ->
    _ = application:unload(coroner),
    Environment = [{ebin, filename:absname(Ebin)} | proplists:get_value(env, Specification, [])],
    case application:load({application, coroner, lists:keystore(env, 1, Specification, {env, Environment})}) of
        ok -> ok;
        {error, Reason} -> throw({load, text("the application does not load: ~tp", [Reason])})
    end.

load_module({Module, File, Binary}) ->
    case code:load_binary(Module, File, Binary) of
        {module, Module} -> ok;
        {error, on_load_failure} -> throw({nif, text("~ts does not load into this node",
                                                     [nif_file(File)])});
        {error, Reason} -> throw({load, text("~ts does not load: ~tp", [File, Reason])})
    end.

nif_file(Beam) ->
    filename:join([filename:dirname(filename:dirname(Beam)), "priv", "coroner_nif.so"]).

text(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments)).

%% @doc Stops coroner and unloads what attach/2 loaded. A coroner that the node started by itself is left alone. This module
%% itself is left to the caller.
-spec detach() -> ok | {error, failure()}.
detach() ->
    case whereis(coroner_server) =/= undefined andalso owner() of
        application -> {error, {not_attached, <<"it runs as an application of the node's release">>}};
        start -> {error, {not_attached, <<"it was started in the node, by coroner:start">>}};
        _ -> take_out()
    end.

take_out() ->
    Attached = application:get_env(coroner, ebin) =/= undefined,
    Modules = case application:get_key(coroner, modules) of
                  {ok, List} -> List;
                  undefined -> []
              end,
    case erlang:module_loaded(coroner) andalso coroner:stop() of
        {error, Reason} -> {error, {stop, text("coroner does not stop: ~tp", [Reason])}};
        _ when Attached -> unload(Modules);
        _ -> ok
    end.

unload(Modules) ->
    _ = application:unload(coroner),
    _ = [begin code:delete(Module), code:purge(Module) end
         || Module <- Modules -- [?MODULE], erlang:module_loaded(Module)],
    ok.
