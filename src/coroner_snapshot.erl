%% The processes that lived before tracing began: what process_info/2 tells of them goes to the ledger.
%%
%% process_info/2 is answered by the process itself, in order with its signals, so what it tells is exact for
%% one moment of that process, though not a moment we can name. Tracing is on before it is asked; what the
%% trace events have shown since then has precedence (ledger.c).
%%
%% A busy process answers when it is next scheduled, a suspended one not before it is resumed. So several are asked at
%% once (coroner_sweep's pool), and who does not answer in time stays without a snapshot: an exit of it is then told with
%% less certainty.
-module(coroner_snapshot).

-export([take/1, initial_call/1]).

%% A dictionary is copied whole; on OTP 25 one key alone cannot be asked for. On a heap of this many words
%% that takes some 50 microseconds at most.
-define(DICTIONARY_HEAP_WORDS, 50_000).
-define(LINKS_AT_ONCE, 500).

%% @doc Takes the snapshot of a process. Returns whether it answered.
-spec take(pid()) -> boolean().
take(Pid) ->
    Items = [links, trap_exit, registered_name, initial_call, parent, total_heap_size, garbage_collection],
    case process_info(Pid, Items) of
        undefined ->
            coroner_nif:forget(Pid),
            false;
        [{links, Links}, {trap_exit, Traps}, {registered_name, Name}, {initial_call, Call},
         {parent, Parent}, {total_heap_size, Words}, {garbage_collection, Collection}] ->
            Dictionary = dictionary(Pid, Call, Words),
            seed_links(Pid, Links, length(Links)),
            seed_limit(Pid, Collection),
            {ProcLib, InitialCall} =
                case lists:keyfind('$initial_call', 1, Dictionary) of
                    {_, {M, F, A}} when is_atom(M), is_atom(F), is_integer(A) -> {true, {M, F, A}};
                    _ -> {element(1, Call) =:= proc_lib, Call}
                end,
            coroner_nif:seed(Pid, Traps, name(Name), InitialCall, pid_or_undefined(Parent), ProcLib,
                             ancestors(Dictionary)),
            true
    end.

%% @doc The initial call of a process that proc_lib started, as that has it; undefined where it is not to be had.
-spec initial_call(pid()) -> mfa() | undefined.
initial_call(Pid) ->
    case process_info(Pid, [initial_call, total_heap_size]) of
        [{initial_call, Call}, {total_heap_size, Words}] ->
            case lists:keyfind('$initial_call', 1, dictionary(Pid, Call, Words)) of
                {_, {M, F, A}} when is_atom(M), is_atom(F), is_integer(A) -> {M, F, A};
                _ -> undefined
            end;
        undefined ->
            undefined
    end.

seed_links(_Pid, [], 0) ->
    ok;
seed_links(Pid, Links, Count) when Count =< ?LINKS_AT_ONCE ->
    coroner_nif:seed_links(Pid, Links);
seed_links(Pid, Links, Count) ->
    {Some, Rest} = lists:split(?LINKS_AT_ONCE, Links),
    ok = coroner_nif:seed_links(Pid, Some),
    seed_links(Pid, Rest, Count - ?LINKS_AT_ONCE).

%% A limit of its own, as process_flag or spawn_opt set it.
seed_limit(Pid, Collection) ->
    case proplists:get_value(max_heap_size, Collection) of
        #{size := Words} when Words > 0 -> coroner_nif:limit(Pid, Words);
        _ -> ok
    end.

%% What is looked for in there, only proc_lib puts there.
dictionary(_Pid, Call, Words) when element(1, Call) =/= proc_lib; Words > ?DICTIONARY_HEAP_WORDS ->
    [];
dictionary(Pid, _Call, _Words) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} -> Dictionary;
        undefined -> []
    end.

ancestors(Dictionary) ->
    case lists:keyfind('$ancestors', 1, Dictionary) of
        {_, [_ | _] = Ancestors} -> Ancestors;
        _ -> []
    end.

name([]) -> undefined;
name(Name) -> Name.

pid_or_undefined(Parent) when is_pid(Parent) -> Parent;
pid_or_undefined(_) -> undefined.
