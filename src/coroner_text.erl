%% A record as people read it: the exit, and below it what led to it, back to the origin.
-module(coroner_text).

-export([story/1, no_story/2, ascii/1, sentences/1]).

-export_type([cause/0]).

%% What is known of a cause: the fields of a hop, of the origin or of a candidate, as the record has them; and `peer', the
%% linked process it came from, in words.
-type cause() :: #{source := binary(), peer => unicode:chardata(), atom() => term()}.

%% @doc The story of a record, as lines.
-spec story(coroner_record:record() | coroner_record:gap()) -> unicode:chardata().
story(#{gap := #{from := From, why := Why} = Gap} = Record) ->
    ["exits may not have been seen from ", From, " ",
     case Gap of
         #{to := To} -> ["to ", To];
         _ -> "on"
     end, $\n, branch(0, Why), [["   ", Detail, $\n] || #{detail := Detail} <- [Gap]], foot(Record)];
story(#{chain := Chain} = Record) ->
    Hops = lists:reverse(Chain), % from the exit back to the origin
    [who(hd(Hops)), "  exited: ", reason(Record), $\n, branches("", Hops, Record, 0), certainty(Record),
     stack(Record), foot(Record)].

reason(#{exit := #{reason := Reason}}) -> Reason.

%% One line for each hop, each further in, and below it what else is known of its cause. That the exit itself is meant
%% goes without saying; the name of another stands in the line above it, but where hops are left out.
branches(Subject, [Hop | Rest], Record, Depth) ->
    Gap = gap(Rest, Record),
    {Happened, Because} = sentences(cause(Hop, Rest, Gap, Record, Depth)),
    [branch(Depth, [Subject, Happened]),
     facts(Because, Depth + 1),
     case Rest of
         [] -> [];
         [Next | _] when Gap > 0 ->
             [branch(Depth + 1, [16#2026, $\s, integer_to_list(Gap), more(Gap)]),
              branches([who(Next), $\s], Rest, Record, Depth + 2)];
         [#{pid := Pid} | _] ->
             branches([Pid, $\s], Rest, Record, Depth + 1)
     end].

more(1) -> " more hop";
more(_) -> " more hops".

%% How many hops are left out before the rest: a long chain is cut in the middle, where both halves are of one length.
gap(Rest, #{chain := Chain, chain_length := Length})
  when Length > length(Chain), length(Rest) =:= length(Chain) div 2 ->
    Length - length(Chain);
gap(_, _) ->
    0.

%% What is known of the cause of a hop.
cause(Hop, Rest, Gap, #{exit := Exit} = Record, Depth) ->
    OfExit = case Depth of 0 -> maps:with([source, via], Exit); _ -> #{} end,
    OfOrigin = case Rest of [] -> maps:get(origin, Record); _ -> #{} end,
    Cause = maps:merge(OfOrigin, maps:merge(Hop, OfExit)),
    case {Cause, Rest} of
        {#{via := Pid}, [#{pid := Pid} = Peer | _]} -> Cause#{peer => who(Peer)};
        {#{via := Pid}, _} -> Cause#{peer => Pid};
        {_, [Peer | _]} when Gap =:= 0 -> Cause#{peer => who(Peer)};
        _ -> Cause
    end.

facts([], _Depth) -> [];
facts([Last], Depth) -> branch(Depth, Last);
facts([Fact | Facts], Depth) -> [branch(Depth, <<"├─ "/utf8>>, Fact) | facts(Facts, Depth)].

branch(Depth, Sentence) -> branch(Depth, <<"└─ "/utf8>>, Sentence).

branch(Depth, Line, Sentence) ->
    [lists:duplicate(Depth * 3, $\s), unicode:characters_to_list(Line), Sentence, $\n].

%% --- what each source is in words -------------------------------------------------------------------------
%%
%% coronerctl has the same sentences (daemon/ctl_cause.c), in the same words. {field} is a value of the cause; a
%% sentence that lacks one is not told. [a|b|c] is the first of them that lacks nothing, or nothing. Some fields are
%% made up of several: {by} who did it, with their name and the node that they did it for; {boss} the supervisor that
%% did it; {asked_by} who asked the supervisor for it; {sibling} the child whose end made the supervisor do it;
%% {peer} the linked process; {site} where in the code it was done, in parentheses after two spaces, maybe nothing.

-define(BOSS, "its supervisor[ {boss}]").
-define(RECORD, "[ (record {sibling_id})]").
-define(GAVE_UP, "gave up: its children ended more often than its restart intensity allows").
-define(LAST_CHILD, "the last of them to end was {sibling}" ?RECORD).

%% @doc What happened to the process, as the rest of a sentence that begins with it; and further facts, each a sentence.
-spec sentences(cause()) -> {unicode:chardata(), [unicode:chardata()]}.
sentences(#{source := Source} = Cause) ->
    {Happened, _} = told(happened(Source, Cause), Cause),
    {Happened, [Fact || Template <- because(Source, Cause), {Fact, true} <- [told(Template, Cause)]]}.

happened(<<"unknown">>, _) -> "died, and nothing that was seen explains it";
happened(<<"normal">>, _) -> "was done and returned";
happened(<<"self_exit">>, _) -> "ended by its own decision{site}";
happened(<<"self_error">>, _) -> "crashed with an error of its own{site}";
happened(<<"self_throw">>, _) -> "crashed with a throw of its own that nobody caught{site}";
happened(<<"purge">>, #{operation := <<"load">>}) ->
    "was killed by the load of a new version of [module {module}|a module], which purged the old code it was running";
happened(<<"purge">>, #{operation := <<"on_load">>}) ->
    "was killed because the on_load function of [module {module}|a module] failed while it ran that code";
happened(<<"purge">>, _) -> "was killed by the purge of old code of [module {module}|a module]";
happened(<<"kill">>, _) -> "was killed[ by {by}] with exit(Pid, kill){site}";
happened(<<"exit_signal">>, _) -> "was ended[ by {by}] with exit(Pid, Reason){site}";
happened(<<"link">>, _) -> "was taken down by its link to [{peer}|a process]";
happened(<<"link_trapped">>, _) ->
    "trapped the exit of [linked process {peer}|a linked process] and stopped with the same reason";
happened(<<"supervisor_shutdown">>, _) -> "was shut down by " ?BOSS;
happened(<<"supervisor_brutal_kill">>, _) -> "was killed by " ?BOSS ", without a warning (shutdown brutal_kill)";
happened(<<"supervisor_timeout_kill">>, _) ->
    "was killed by " ?BOSS ": it did not stop [within {timeout_ms} ms|in time]";
happened(<<"port">>, _) -> "was taken down by its linked port[ {port}][ ({driver})| ({command})], which closed";
happened(<<"noproc">>, _) -> "linked itself to [{target}|a process], which was dead already";
happened(<<"noconnection">>, _) ->
    "was linked to [{target}|a process] on [node {node}|another node], and the connection to it was lost";
happened(<<"max_heap_size">>, _) ->
    "was killed by the VM because its heap grew too large[: {size_words} words, and its limit is "
        "[{limit_words} words|not known]]";
happened(<<"stop_request">>, _) -> "was asked to stop[ by {by}]{site}";
happened(<<"application_stop">>, _) -> "ended because [application {application}|its application] was stopping";
happened(<<"node_stop">>, _) -> "ended because its node was stopping";
happened(<<"remote_signal">>, _) ->
    "was ended by an exit signal from [{target}|a process] on [node {node}|another node]";
happened(<<"remote_link">>, _) ->
    "was taken down by its link to [{target}|{peer}|a process] on [node {node}|another node]";
happened(_, _) -> "ended by what this version of coroner does not know: {source}".

because(<<"self_exit">>, #{why := <<"intensity">>}) -> ["it " ?GAVE_UP, ?LAST_CHILD];
because(<<"self_exit">>, #{why := <<"sibling">>}) -> ["its significant child[ {sibling}] had ended" ?RECORD];
because(<<"purge">>, #{operation := Load}) when Load =:= <<"load">>; Load =:= <<"on_load">> ->
    ["load requested by {by}{site}"];
because(<<"purge">>, _) -> ["purge requested by {by}{site}"];
because(<<"supervisor_shutdown">>, Cause) ->
    why(Cause) ++ ["it was the supervisor's child {child}[, which had {timeout_ms} ms to stop]"];
because(Kill, Cause) when Kill =:= <<"supervisor_brutal_kill">>; Kill =:= <<"supervisor_timeout_kill">> ->
    why(Cause) ++ ["it was the supervisor's child {child}"];
because(<<"application_stop">>, #{by_name := <<"SIGTERM">>}) -> ["the node was sent SIGTERM"];
because(<<"application_stop">>, _) -> ["stop requested by {by}{site}"];
because(<<"node_stop">>, #{by_name := <<"SIGTERM">>}) ->
    ["the node was sent SIGTERM", "it was of application {application}"];
because(<<"node_stop">>, _) -> ["stop requested by {by}{site}", "it was of application {application}"];
because(_, _) -> [].

%% Why a supervisor did it.
why(#{why := <<"terminate_child">>}) -> ["terminate_child was called for it[ by {asked_by}]"];
why(#{why := <<"sibling">>}) ->
    ["its sibling[ {sibling}] had ended" ?RECORD ", and the supervisor ends them together"];
why(#{why := <<"intensity">>}) -> ["the supervisor " ?GAVE_UP, ?LAST_CHILD];
why(#{why := <<"parent">>}) -> ["the supervisor was itself told to stop by its parent"];
why(#{why := <<"application_stop">>}) -> ["[application {application}|its application] was stopping"];
why(_) -> [].

%% A sentence filled in, and whether it lacks nothing.
told(Template, Cause) ->
    {Chars, Whole, []} = expand(Template, Cause),
    {Chars, Whole}.

%% Up to the end, to "|" or to "]".
expand([$| | _] = Rest, _) -> {[], true, Rest};
expand([$] | _] = Rest, _) -> {[], true, Rest};
expand([], _) -> {[], true, []};
expand([${ | More], Cause) ->
    {Field, [$} | After]} = lists:splitwith(fun(Char) -> Char =/= $} end, More),
    {Chars, Whole, Rest} = expand(After, Cause),
    case field(list_to_atom(Field), Cause) of
        none -> {Chars, false, Rest};
        Value -> {[Value | Chars], Whole, Rest}
    end;
expand([$[ | More], Cause) ->
    {First, After} = first_whole(More, Cause),
    {Chars, Whole, Rest} = expand(After, Cause),
    {[First | Chars], Whole, Rest};
expand([Char | More], Cause) ->
    {Chars, Whole, Rest} = expand(More, Cause),
    {[Char | Chars], Whole, Rest}.

%% The first alternative that lacks nothing, and what comes after all of them.
first_whole(Template, Cause) ->
    {Chars, Whole, [End | Rest]} = expand(Template, Cause),
    Told = case Whole of true -> Chars; false -> [] end,
    case End of
        $] -> {Told, Rest};
        $| ->
            {Other, After} = first_whole(Rest, Cause),
            {case Whole of true -> Told; false -> Other end, After}
    end.

field(by, Cause) ->
    case {process(by, by_name, by_initial_call, Cause), Cause} of
        {none, _} -> none;
        {By, #{by_node := Node}} when is_binary(Node) -> [By, " of node ", Node];
        {By, _} -> By
    end;
field(boss, Cause) ->
    case process(by, by_name, by_initial_call, Cause) of
        none -> process(supervisor, by_name, by_initial_call, Cause);
        Boss -> Boss
    end;
field(asked_by, Cause) -> process(asked_by, asked_by_name, none, Cause);
field(sibling, Cause) -> process(sibling, sibling_name, none, Cause);
field(site, Cause) -> site(Cause);
field(Field, Cause) ->
    case Cause of
        #{Field := Number} when is_integer(Number) -> integer_to_list(Number);
        #{Field := Text} when Text =/= null, Text =/= <<>> -> Text;
        _ -> none
    end.

process(Pid, Name, Call, Cause) ->
    case Cause of
        #{Pid := Text, Name := Text} -> Text;
        #{Pid := Text, Name := Known} when is_binary(Text), is_binary(Known) -> [Text, $\s, Known];
        #{Pid := Text, Call := Known} when is_binary(Text), is_binary(Known) -> [Text, $\s, short(Known)];
        #{Pid := Text} when is_binary(Text) -> Text;
        _ -> none
    end.

site(Cause) ->
    Function = function(Cause),
    case Cause of
        #{by_call := Call} ->
            ["  (", Call, place(Cause), [[" ", 16#2192, " ", Function] || Function =/= []], $)];
        _ ->
            [["  (", Function, $)] || Function =/= []]
    end.

%% That exit/2 was called is in the sentence. (No pattern for the beginning of a binary: what OTP 25's compiler makes of it
%% does not load into OTP 29.)
function(#{source := Source, by_function := Function}) when Source =:= <<"kill">>; Source =:= <<"exit_signal">> ->
    case binary:match(Function, <<"erlang:exit/">>) of
        {0, _} -> [];
        _ -> Function
    end;
function(#{by_function := Function}) -> Function;
function(_) -> [].

place(#{by_file := File, by_line := Line}) -> [", ", File, $:, integer_to_list(Line)];
place(#{by_file := File}) -> [", ", File];
place(_) -> "".

who(#{pid := Pid} = Process) ->
    case Process of
        #{name := Name} when is_binary(Name) -> [Pid, $\s, Name];
        #{initial_call := Call} -> [Pid, $\s, short(Call)];
        _ -> Pid
    end.

%% Module:init/1 is how every behaviour begins: there the module says it all.
short(Call) ->
    case binary:split(Call, <<":init/1">>) of
        [Module, <<>>] -> Module;
        _ -> Call
    end.

%% --- below the story --------------------------------------------------------------------------------------

certainty(#{exit := #{confidence := <<"ambiguous">>, candidates := [_, _ | _] = Candidates} = Exit}) ->
    ["   ambiguous: ", lists:join(", or ", [candidate(C) || C <- Candidates]), lost(Exit), $\n];
%% A single candidate is what the story tells already.
certainty(#{exit := #{confidence := Confidence} = Exit}) when Confidence =/= <<"observed">> ->
    ["   ", Confidence, lost(Exit), $\n];
certainty(_) ->
    [].

lost(#{evidence_lost := true}) -> " (some evidence was lost)";
lost(_) -> "".

candidate(#{via := Pid} = Candidate) ->
    {Happened, _} = sentences(Candidate#{peer => who(Candidate#{pid => Pid})}),
    Happened;
candidate(Candidate) ->
    {Happened, _} = sentences(Candidate),
    Happened.

stack(#{exit := #{stack := Frames}}) -> [["   ", Frame, $\n] || Frame <- Frames];
stack(_) -> [].

foot(Record) ->
    case Record of
        #{id := Id, time := Time} -> ["   ", Time, "  ", Id, $\n];
        _ -> []
    end.

%% @doc The same with the signs that a terminal without Unicode has, as coronerctl draws them there.
-spec ascii(unicode:chardata()) -> unicode:chardata().
ascii(Text) ->
    [case Char of
         16#2514 -> $`;
         16#251C -> $|;
         16#2500 -> $-;
         16#2192 -> "->";
         16#2026 -> "...";
         _ -> Char
     end || Char <- unicode:characters_to_list(Text)].

%% @doc What there is to say when there is no record.
-spec no_story(pid() | atom(), coroner:why_error()) -> unicode:chardata().
no_story(PidOrName, Error) ->
    io_lib:format("~tp ~ts~n",
                  [PidOrName,
                   case Error of
                       alive -> "is alive";
                       not_seen -> "was not seen to end: it did so before coroner was started, while it was paused or outside its scope, or never was";
                       other_node -> "is a process of another node: ask there, or coronerctl why";
                       expired -> "ended too long ago: its record made room for newer ones; ask coronerctl why";
                       not_armed -> "cannot be told of: coroner is not started, see coroner:start/0"
                   end]).
