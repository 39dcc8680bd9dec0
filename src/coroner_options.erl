%% The options of coroner:start/1, and of the application's environment: checked, with their defaults.
-module(coroner_options).

-export([check/1, complete/1, in_force/1, differing/2]).

-export_type([options/0]).

-type options() :: #{ingest => file:filename_all() | none,
                     memory => pos_integer(),
                     record => default | all | [atom()],
                     reason_detail => full | class,
                     scope => coroner_scope:scope()}.
%% ingest: the daemon's socket; none: records stay in the node.
%% memory: bytes of records that the node holds at most.
%% record: which exits make a record: default is all but `normal'; a list names sources and reason classes.
%% reason_detail: class: of reasons only their class leaves the process that died.
%% scope: which processes are traced: all, those of some applications, all but some.

%% Where neither the options nor the environment say anything.
-define(DEFAULTS, #{ingest => ?INGEST, memory => ?MEMORY, record => default, reason_detail => full, scope => all}).
-define(KEYS, [ingest, memory, record, reason_detail, scope]).
-define(INGEST, <<"/run/coroner/ingest.sock">>).
-define(MEMORY, 32 * 1024 * 1024).
-define(MEMORY_LEAST, 64 * 1024).
-define(SOCKET_PATH_MAX, 107). % bytes, sun_path of unix(7) without its NUL

-type checked() :: #{ingest := binary() | undefined, memory := pos_integer(),
                     record := {non_neg_integer(), non_neg_integer(), boolean()}, scope := coroner_scope:scope()}.

%% @doc These options and, for those not given, what the application's environment says; checked.
-spec complete(options()) -> {ok, checked()} | {error, {bad_option, atom(), string()}}.
complete(Options) ->
    check(in_force(Options)).

%% @doc All options as they are when these are given: those, else the environment's, else the defaults.
-spec in_force(options()) -> options().
in_force(Options) ->
    Environment = maps:from_list([Pair || {Key, _} = Pair <- application:get_all_env(coroner),
                                          lists:member(Key, ?KEYS)]),
    maps:merge(maps:merge(?DEFAULTS, Environment), Options).

%% @doc Those of the options InForce of which Wanted says something else. What Wanted does not name is not compared; a path
%% may be written as a string or as a binary, and what makes a record in any order.
-spec differing(Wanted :: options(), InForce :: options()) -> options().
differing(Wanted, InForce) ->
    maps:filter(fun(Key, Value) ->
                        case Wanted of
                            #{Key := Other} -> check(#{Key => Value}) =/= check(#{Key => Other});
                            _ -> false
                        end
                end, InForce).

%% @doc Checks options. An error names the option and what it takes.
-spec check(options()) -> {ok, checked()} | {error, {bad_option, atom(), string()}}.
check(Options) ->
    try
        _ = [throw({bad_option, Key, "there are: ingest, memory, record, reason_detail, scope"})
             || Key <- maps:keys(Options),
                not lists:member(Key, ?KEYS)],
        #{ingest := Ingest, memory := Memory, record := Record, reason_detail := Detail, scope := Scope} =
            maps:merge(?DEFAULTS, Options),
        {Sources, Shapes} = record(Record),
        {ok, #{ingest => ingest(Ingest), memory => memory(Memory),
               record => {Sources, Shapes, only_class(Detail)}, scope => scope(Scope)}}
    catch
        throw:Reason -> {error, Reason}
    end.

ingest(none) ->
    undefined;
ingest(Path) ->
    case catch unicode:characters_to_binary(Path) of
        Binary when is_binary(Binary), Binary =/= <<>>, byte_size(Binary) =< ?SOCKET_PATH_MAX ->
            _ = binary:match(Binary, <<0>>) =:= nomatch orelse bad_ingest(),
            Binary;
        _ ->
            bad_ingest()
    end.

-spec bad_ingest() -> no_return().
bad_ingest() ->
    throw({bad_option, ingest, "a path of a Unix socket, at most 107 bytes, or none"}).

memory(Bytes) when is_integer(Bytes), Bytes >= ?MEMORY_LEAST, Bytes < 1 bsl 40 -> Bytes;
memory(_) -> throw({bad_option, memory, "bytes, at least 65536"}).

scope(Scope) ->
    case coroner_scope:check(Scope) of
        true -> Scope;
        false -> throw({bad_option, scope, "all, #{applications => [Application]}, or #{exclude => [Spec]}, where Spec is a "
                        "registered name, a pid, {module, Module} or {application, Application}; at most 64 of them"})
    end.

only_class(full) -> false;
only_class(class) -> true;
only_class(_) -> throw({bad_option, reason_detail, "full or class"}).

%% Which sources and which reason classes make a record, as bits in the order of the NIF's vocabulary.
record(Wanted) ->
    {_Keys, Sources, Shapes} = coroner_nif:vocabulary(),
    case Wanted of
        all -> {bits(Sources, Sources), 0};
        default -> {bits(Sources -- [normal], Sources), 0};
        List when is_list(List), length(List) >= 0 -> % which an improper list has not
            _ = [throw({bad_option, record, "default, all, or a list of: " ++
                            lists:flatten(lists:join(", ", [atom_to_list(N) || N <- Sources ++ (Shapes -- Sources)]))})
                 || Name <- List, not lists:member(Name, Sources ++ Shapes)],
            {bits(List, Sources), bits(List, Shapes)};
        _ -> throw({bad_option, record, "default, all, or a list of sources and reason classes"})
    end.

bits(Wanted, Names) ->
    lists:sum([1 bsl Bit || {Name, Bit} <- lists:zip(Names, lists:seq(0, length(Names) - 1)),
                            lists:member(Name, Wanted)]).
