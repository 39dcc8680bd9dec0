%% What else of a node that was there before coroner the NIF has to know: its ports, its applications, the other nodes.
-module(coroner_surroundings).

-export([take/0, tell_nodes/0]).

%% @doc Tells the NIF of the ports that are open and traced, the applications that run, the nodes there are, and the
%% limit that heaps have.
-spec take() -> ok.
take() ->
    lists:foreach(fun port/1, erlang:ports()),
    lists:foreach(fun application/1, application:which_applications()),
    coroner_nif:limit(default, default_limit()),
    tell_nodes().

%% @doc Tells the NIF which nodes there are.
-spec tell_nodes() -> ok.
tell_nodes() ->
    coroner_nif:nodes(erlang:nodes([visible, hidden])).

port(Port) ->
    case [erlang:port_info(Port, Item) || Item <- [name, links, connected]] of
        [{name, Name}, {links, Links}, {connected, Owner}] ->
            coroner_nif:seed_port(Port, existing_atom(Name), Owner, Links),
            %% It may have closed meanwhile, before it was entered.
            case erlang:port_info(Port, id) of
                undefined -> coroner_nif:drop(Port);
                _ -> ok
            end;
        _ ->
            ok
    end.

%% The VM's own event of a port that opens has the name as an atom; here none is made.
existing_atom(Name) ->
    try list_to_existing_atom(Name) catch error:_ -> undefined end.

application({Application, _, _}) ->
    case application_controller:get_master(Application) of
        Master when is_pid(Master) -> coroner_nif:application(Master, Application);
        _ -> ok
    end.

default_limit() ->
    case erlang:system_info(max_heap_size) of
        {max_heap_size, #{size := Words}} -> Words;
        {max_heap_size, Words} when is_integer(Words) -> Words;
        #{size := Words} -> Words;
        _ -> 0
    end.
