%% The scope: which processes are traced.
%%
%% `all'; or those of some applications and what these start; or all but some, and but for what those start. A process is one
%% of an application if that one's master is its group leader, as application:get_application/1 has it, or it is the master
%% itself. What started it counts as long as that lives: the VM tells the parent of a process.
%%
%% Outside, a process has no trace flag: neither a message nor anything else it does costs anything more. How that is kept up
%% for processes that are born later, docs/decisions.md says (17 to 20).
-module(coroner_scope).

-export([check/1, tell/2, new_processes/1, hands_on/1, masters_pattern/2, sight/1, split/2, bystanders/1, named/1, unknown/1]).

-export_type([scope/0, excluded/0, sight/0]).

-type scope() :: all | #{applications => [atom()]} | #{exclude => [excluded()]}.
-type excluded() :: Name :: atom() | pid() | {module, module()} | {application, atom()}.
%% Name: the process that is registered so; module: of the initial call, as proc_lib has it.

-define(NAMED, 64). % scope.h, SCOPE_NAMED
-define(BYSTANDERS, 4096).
-define(GENERATIONS, 32).
-define(KNOWN, 10_000).

-record(sight, {marked_is_inside :: boolean(),
                masters = #{} :: #{pid() => true},
                pids = #{} :: #{pid() => true},
                modules = #{} :: #{module() => true},
                known = #{} :: #{pid() => boolean()}}). % of parents: whether they are marked

%% What is needed to tell who is inside, as it is now.
-opaque sight() :: all | #sight{}.

%% @doc Whether this is a scope. Lists have 64 elements at most.
-spec check(term()) -> boolean().
check(all) -> true;
check(#{applications := List} = Scope) when map_size(Scope) =:= 1 -> is_list_of(fun is_atom/1, List);
check(#{exclude := List} = Scope) when map_size(Scope) =:= 1 -> is_list_of(fun is_excluded/1, List);
check(_) -> false.

is_list_of(Is, List) ->
    is_list(List) andalso length_of(List) =< ?NAMED andalso lists:all(Is, List).

%% An improper list has none.
length_of(List) ->
    try length(List) catch error:badarg -> infinity end.

is_excluded({module, Module}) -> is_atom(Module);
is_excluded({application, Application}) -> is_atom(Application);
is_excluded(Pid) when is_pid(Pid) -> node(Pid) =:= node();
is_excluded(Name) -> is_atom(Name).

%% @doc What the scope names and the node does not have: applications and modules that are neither loaded nor in the code path. A
%% registered name or a pid may come and go.
-spec unknown(scope()) -> [Application :: atom() | {application, atom()} | {module, module()}].
unknown(all) ->
    [];
unknown(#{applications := Applications}) ->
    [Application || Application <- Applications, not node_has(application, Application)];
unknown(#{exclude := Excluded}) ->
    [Spec || {Kind, Name} = Spec <- Excluded,
             not node_has(Kind, Name)].

node_has(application, Application) ->
    application:get_key(Application, vsn) =/= undefined
        orelse code:where_is_file(atom_to_list(Application) ++ ".app") =/= non_existing;
node_has(module, Module) ->
    erlang:module_loaded(Module) orelse code:where_is_file(atom_to_list(Module) ++ code:objfile_extension()) =/= non_existing.

%% @doc Tells the NIF. Settled: all who are inside are in its ledger.
-spec tell(scope(), Settled :: boolean()) -> ok.
tell(all, Settled) ->
    coroner_nif:scope(all, [], [], Settled);
tell(#{applications := _}, Settled) ->
    coroner_nif:scope(applications, [], [], Settled);
tell(#{exclude := Excluded}, Settled) ->
    coroner_nif:scope(exclude, [Module || {module, Module} <- Excluded],
                      [Application || {application, Application} <- Excluded], Settled).

%% @doc Whether the VM is to trace all processes to come.
-spec new_processes(scope()) -> boolean().
new_processes(#{applications := _}) -> false;
new_processes(_) -> true.

%% @doc Whether processes hand their trace flags on to those they start.
-spec hands_on(scope()) -> boolean().
hands_on(Scope) ->
    not new_processes(Scope).

%% @doc The pattern by which the master of an application that is started later traces itself, before it starts anything: with
%% these flags, and with all that its process starts.
-spec masters_pattern(scope(), Flags :: [term()]) -> [coroner_patterns:pattern()].
masters_pattern(#{applications := [_ | _] = Applications}, Flags) ->
    Is = [{'=:=', {element, 2, '$1'}, {const, Application}} || Application <- Applications],
    Guards = [{is_tuple, '$1'}, list_to_tuple(['orelse', false | Is])],
    [{MFA, [{Head, Guards, [{trace, [], Flags}]}]}
     || {MFA, Head} <- [{{application_master, init, 3}, ['_', '$1', '_']},        % OTP 27 and 29
                        {{application_master, init, 4}, ['_', '_', '$1', '_']}],
        coroner_patterns:exists(MFA)];
masters_pattern(_, _Flags) ->
    [].

%% @doc What is to be known of the node to tell who is inside.
-spec sight(scope()) -> sight().
sight(all) ->
    all;
sight(#{applications := Applications}) ->
    #sight{marked_is_inside = true, masters = masters(Applications)};
sight(#{exclude := Excluded} = Scope) ->
    #sight{marked_is_inside = false,
           masters = masters([Application || {application, Application} <- Excluded]),
           pids = maps:from_keys(named(Scope) ++ [Pid || Pid <- Excluded, is_pid(Pid)], true),
           modules = maps:from_keys([Module || {module, Module} <- Excluded], true)}.

masters(Applications) ->
    maps:from_keys([Master || Application <- Applications,
                              Master <- [application_controller:get_master(Application)], is_pid(Master)], true).

%% @doc The processes that are registered under names that are excluded.
-spec named(scope()) -> [pid()].
named(#{exclude := Excluded}) -> [Pid || Name <- Excluded, is_atom(Name), Pid <- [whereis(Name)], is_pid(Pid)];
named(_) -> [].

%% @doc Those of these processes that are inside, and those that are outside.
-spec split([pid()], sight()) -> {Inside :: [pid()], Outside :: [pid()], sight()}.
split(Pids, all) ->
    {Pids, [], all};
split(Pids, Sight) ->
    split(Pids, [], [], Sight).

split([], Inside, Outside, Sight) ->
    {Inside, Outside, Sight};
split([Pid | Pids], Inside, Outside, #sight{marked_is_inside = MarkedIsInside} = Sight) ->
    {Marked, Next} = marked(Pid, ?GENERATIONS, Sight),
    %% The watchdog sees by its own flags whether somebody takes them.
    case Marked =:= MarkedIsInside orelse Pid =:= self() of
        true -> split(Pids, [Pid | Inside], Outside, Next);
        false -> split(Pids, Inside, [Pid | Outside], Next)
    end.

%% Whether the scope names it, or what started it. All of this the VM looks up without asking the process, unless that is
%% running.
marked(Pid, Generations, #sight{masters = Masters, pids = Pids, known = Known} = Sight) ->
    case Known of
        #{Pid := Marked} ->
            {Marked, Sight};
        _ ->
            case process_info(Pid, [group_leader, initial_call, parent]) of
                undefined ->
                    {false, Sight};
                [_, _, {parent, Parent}] when Parent =:= self() ->
                    %% The watchdog's own, for this pass.
                    {Sight#sight.marked_is_inside, Sight};
                [{group_leader, Leader}, {initial_call, Call}, {parent, Parent}] ->
                    case is_map_key(Leader, Masters) orelse is_map_key(Pid, Masters) orelse is_map_key(Pid, Pids)
                        orelse has_module(Pid, Call, Sight) of
                        true -> {true, Sight};
                        false -> parent_marked(Parent, Generations, Sight)
                    end
            end
    end.

parent_marked(Parent, Generations, Sight) when is_pid(Parent), node(Parent) =:= node(), Generations > 0 ->
    case marked(Parent, Generations - 1, Sight) of
        {Marked, #sight{known = Known} = Next} when map_size(Known) < ?KNOWN ->
            {Marked, Next#sight{known = Known#{Parent => Marked}}};
        Marked ->
            Marked
    end;
parent_marked(_Parent, _Generations, Sight) ->
    {false, Sight}.

has_module(_Pid, _Call, #sight{modules = Modules}) when map_size(Modules) =:= 0 ->
    false;
has_module(Pid, {Module, _, _}, #sight{modules = Modules}) ->
    is_map_key(Module, Modules) orelse
        (Module =:= proc_lib andalso
         case initial_call(Pid) of
             {M, _, _} -> is_map_key(M, Modules);
             undefined -> false
         end).

%% The ledger has it of those that are traced.
initial_call(Pid) ->
    case coroner_nif:initial_call(Pid) of
        undefined -> coroner_snapshot:initial_call(Pid);
        Call -> Call
    end.

%% @doc Tells the NIF of the registered processes that are outside, for it to name them when they end somebody.
-spec bystanders(scope()) -> ok.
bystanders(all) ->
    coroner_nif:bystanders([]);
bystanders(_) ->
    coroner_nif:bystanders([{Pid, Name, call_of(Pid)} || Name <- lists:sublist(registered(), ?BYSTANDERS),
                                                         Pid <- [whereis(Name)], is_pid(Pid),
                                                         coroner_nif:initial_call(Pid) =:= undefined]).

%% As a process of proc_lib says itself, it would have to be asked for that.
call_of(Pid) ->
    case process_info(Pid, initial_call) of
        {initial_call, {proc_lib, _, _}} -> undefined;
        {initial_call, Call} -> Call;
        undefined -> undefined
    end.
