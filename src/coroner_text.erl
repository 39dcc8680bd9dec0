%% A record as people read it: the exit, and below it what led to it, back to the origin.
-module(coroner_text).

-export([story/1, no_story/2]).

%% @doc The story of a record, as lines.
-spec story(coroner_record:record()) -> unicode:chardata().
story(#{chain := Chain} = Record) ->
    Hops = lists:reverse(Chain), % from the exit back to the origin
    [who(hd(Hops)), "  exited: ", reason(Record), $\n, branches(Hops, Record, 0), certainty(Record),
     stack(Record), foot(Record)].

reason(#{exit := #{reason := Reason}}) -> Reason.

%% One line for each hop, each further in.
branches([_], Record, Depth) ->
    Origin = maps:get(origin, Record),
    [branch(Depth, cause(Origin)) | requester(Origin, Depth + 1)];
branches([Hop, Peer | Rest], Record, Depth) ->
    Sentence = case Hop of
                   #{source := <<"link_trapped">>} ->
                       ["trapped the exit of linked process ", who(Peer), " and stopped with the same reason"];
                   _ ->
                       ["was linked to ", who(Peer), ", which exited with that reason"]
               end,
    [branch(Depth, Sentence), omitted(Peer, Rest, Record, Depth) | branches([Peer | Rest], Record, Depth + 1)].

%% A long chain is left out in the middle: its two halves are of the same length.
omitted(_Peer, Rest, #{chain := Chain, chain_length := Length}, Depth)
  when Length > length(Chain), length(Rest) + 1 =:= length(Chain) div 2 ->
    branch(Depth + 1, ["... ", integer_to_list(Length - length(Chain)), " more"]);
omitted(_, _, _, _) ->
    [].

branch(Depth, Sentence) ->
    [lists:duplicate(Depth * 3, $\s), unicode:characters_to_list(<<"└─ "/utf8>>), Sentence, $\n].

cause(#{source := <<"purge">>, module := Module} = Origin) ->
    Purge = case Origin of
                #{operation := <<"load">>} -> "the purge that came with loading ";
                #{operation := <<"on_load">>} -> "the purge after the failed on_load of ";
                _ -> "the purge of old code of "
            end,
    [who(Origin), " was killed by ", Purge, "module ", Module];
cause(#{source := <<"kill">>} = Origin) ->
    [who(Origin), " was killed by ", by(Origin), call(Origin)];
cause(#{source := <<"exit_signal">>} = Origin) ->
    [who(Origin), " was sent an exit signal by ", by(Origin), call(Origin)];
cause(#{source := <<"self_exit">>} = Origin) ->
    [who(Origin), " exited by itself", call(Origin)];
cause(#{source := <<"self_error">>} = Origin) ->
    [who(Origin), " crashed with an error of its own"];
cause(#{source := <<"self_throw">>} = Origin) ->
    [who(Origin), " threw what nobody caught"];
cause(#{source := <<"normal">>} = Origin) ->
    [who(Origin), " was done"];
cause(#{source := Source} = Origin) when Source =:= <<"link">>; Source =:= <<"link_trapped">> ->
    [who(Origin), " followed a linked process whose record is gone"];
cause(Origin) ->
    [who(Origin), " ended for a cause that was not seen"].

requester(#{source := <<"purge">>, by := _} = Origin, Depth) ->
    [branch(Depth, ["purge requested by ", by(Origin), call(Origin)])];
requester(_, _) ->
    [].

who(#{pid := Pid} = Process) ->
    case Process of
        #{name := Name} when is_binary(Name) -> [Pid, $\s, Name];
        #{initial_call := Call} -> [Pid, $\s, short(Call)];
        _ -> Pid
    end.

by(Origin) ->
    case Origin of
        #{by := Pid, by_name := Name} -> [Pid, $\s, Name];
        #{by := Pid, by_initial_call := Call} -> [Pid, $\s, short(Call)];
        #{by := Pid} -> Pid;
        _ -> "a process that is not known"
    end.

%% Module:init/1 is how every behaviour begins: there the module says it all.
short(Call) ->
    case binary:split(Call, <<":init/1">>) of
        [Module, <<>>] -> Module;
        _ -> Call
    end.

call(#{by_call := Call} = Origin) ->
    Place = case Origin of
                #{by_file := File, by_line := Line} -> [$\s, File, $:, integer_to_list(Line)];
                _ -> ""
            end,
    Function = case Origin of
                   #{by_function := Called} -> [unicode:characters_to_list(<<" → "/utf8>>), Called];
                   _ -> ""
               end,
    ["  (", Call, Place, Function, $)];
call(_) ->
    "".

certainty(#{exit := #{confidence := <<"ambiguous">>} = Exit}) ->
    ["   ambiguous: ", lists:join(", or ", [candidate(C) || C <- maps:get(candidates, Exit, [])]), lost(Exit), $\n];
certainty(#{exit := #{confidence := Confidence} = Exit}) when Confidence =/= <<"observed">> ->
    ["   ", Confidence, lost(Exit), $\n];
certainty(_) ->
    [].

lost(#{evidence_lost := true}) -> " (some evidence was lost)";
lost(_) -> "".

candidate(#{source := Source} = Candidate) ->
    case Candidate of
        #{via := Pid} -> [Source, $\s, who(Candidate#{pid => Pid})];
        #{by := _} -> [Source, " by ", by(Candidate), call(Candidate)];
        _ -> [Source, call(Candidate)]
    end.

stack(#{exit := #{stack := Frames}}) -> [["   ", Frame, $\n] || Frame <- Frames];
stack(_) -> [].

foot(Record) ->
    case Record of
        #{id := Id, time := Time} -> ["   ", Time, "  ", Id, $\n];
        _ -> []
    end.

%% @doc What there is to say when there is no record.
-spec no_story(pid() | atom(), coroner:why_error()) -> unicode:chardata().
no_story(PidOrName, Error) ->
    io_lib:format("~tp ~ts~n",
                  [PidOrName,
                   case Error of
                       alive -> "is alive";
                       not_seen -> "was not seen to end: it did so before coroner was started, or never was";
                       other_node -> "is a process of another node: ask there, or coronerctl why";
                       expired -> "ended too long ago: its record made room for newer ones; ask coronerctl why";
                       not_armed -> "cannot be told of: coroner is not started, see coroner:start/0"
                   end]).
