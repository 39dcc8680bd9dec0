%% Who can have ended a process of a random tree, as known by who gave the commands; and whether coroner's answer
%% is one of them.
%%
%% A cause is *possible* if it can have ended the process, given what was done at the same time. It is a *doubt* if
%% it cannot, but no tool could tell that from outside: an exit with the very same reason that was trapped, or an
%% exit/1 with it that was caught, before the process ended otherwise.
-module(tree_oracle).

-export([judge/3]).

-export_type([cause/0, facts/0]).

-type cause() :: {signal | kill | trapped_signal | link | link_trapped | stop_request | supervisor_shutdown
                  | supervisor_brutal_kill | supervisor_timeout_kill, pid()}
               | {self, exit | error | throw | trapped_signal}
               | {purge, pid(), module(), [Operation :: binary()]}
               | port | port_trapped | noproc_error | noproc_signal | noproc_trapped | max_heap_size | normal.

%% What is known of one dead process. `crowded' says that there was more evidence than is kept.
-type facts() :: #{pid := pid(), reason := term(), possible := [cause()], doubts := [cause()], crowded := boolean(),
                   name := atom()}.

%% The sources of the causes that are told by more than what they are.
sources(normal)         -> [<<"normal">>];
sources(port)           -> [<<"port">>];
sources(port_trapped)   -> [<<"port">>, <<"link_trapped">>];
sources(noproc_error)   -> [<<"noproc">>];
sources(noproc_signal)  -> [<<"noproc">>];
%% That the one it linked to was dead it is told by a message, which makes no event (OTP 25, 27).
sources(noproc_trapped) -> [<<"noproc">>, <<"link_trapped">>, <<"self_exit">>];
sources(max_heap_size)  -> [<<"max_heap_size">>].

%% @doc Whether what coroner says of a process can be true. {right, Kind} counts it as one of a kind.
-spec judge(facts(), {ok, map()} | {error, term()}, fun((pid()) -> {ok, map()} | {error, term()})) ->
          {right, one | several | ambiguous | inferred_otherwise | crowded | forgotten} | {wrong, term()}.
judge(#{reason := normal}, {error, not_seen}, _Why) ->
    {right, forgotten}; % a normal exit is remembered until another one needs its place
judge(_Facts, {error, Error}, _Why) ->
    {wrong, {why, Error}};
judge(#{possible := []}, _, _Why) ->
    {wrong, oracle_knows_no_cause};
judge(#{possible := Possible, doubts := Doubts, crowded := Crowded} = Facts, {ok, Record}, Why) ->
    #{exit := #{source := Source, confidence := Confidence} = Exit} = Record,
    Given = given(Record),
    IsPossible = fits_any(Possible, Given),
    IsDoubt = fits_any(Doubts, Given),
    Verdict =
        case Confidence of
            <<"observed">> when IsPossible -> right(Possible);
            <<"inferred">> ->
                Inferred = fits_any([Cause || Cause <- Possible, is_inferred(Cause)], Given),
                if Inferred; IsPossible, IsDoubt -> right(Possible);
                   IsPossible -> {wrong, inferred_what_can_be_observed};
                   IsDoubt -> {right, inferred_otherwise};
                   true -> {wrong, impossible}
                end;
            <<"ambiguous">> when not is_map_key(candidates, Exit) -> {wrong, ambiguous_without_candidates};
            <<"ambiguous">> ->
                ambiguous(Facts, [candidate(Candidate) || Candidate <- maps:get(candidates, Exit)],
                          maps:get(evidence_lost, Exit, false));
            _ when Crowded, Source =:= <<"unknown">> -> {right, crowded};
            _ -> {wrong, impossible}
        end,
    case Verdict of
        {right, _} ->
            case details(Facts, Record, Why) of
                ok -> Verdict;
                Wrong -> {wrong, Wrong}
            end;
        _ -> Verdict
    end.

right([_]) -> {right, one};
right(_) -> {right, several}.

ambiguous(#{possible := Possible, doubts := Doubts, crowded := Crowded}, Candidates, Lost) ->
    Impossible = [Candidate || Candidate <- Candidates, not fits_any(Possible ++ Doubts, Candidate)],
    TrueOnes = [Candidate || Candidate <- Candidates, fits_any(Possible, Candidate)],
    if Impossible =/= [] -> {wrong, {impossible_candidates, Impossible}};
       %% No more than eight are listed.
       TrueOnes =:= [], length(Candidates) < 8, not Crowded -> {wrong, truth_is_no_candidate};
       length(Candidates) > 1 -> {right, ambiguous};
       Lost, Crowded -> {right, crowded};
       Lost -> {wrong, evidence_lost};
       true -> {wrong, ambiguous_though_one}
    end.

%% What a verdict, or a candidate, comes down to.
given(#{exit := Exit, origin := Origin}) ->
    #{source => maps:get(source, Exit), via => maps:get(via, Exit, none), by => maps:get(by, Origin, none),
      module => maps:get(module, Origin, none), operation => maps:get(operation, Origin, none),
      supervisor => maps:get(supervisor, Origin, none)}.

candidate(Candidate) ->
    #{source => maps:get(source, Candidate), via => maps:get(via, Candidate, none),
      by => maps:get(by, Candidate, none), module => maps:get(module, Candidate, none),
      operation => maps:get(operation, Candidate, none), supervisor => maps:get(supervisor, Candidate, none)}.

fits_any(Causes, Given) ->
    lists:any(fun(Cause) -> fits(Cause, Given) end, Causes).

fits({signal, By}, Given) -> is_by(<<"exit_signal">>, By, Given);
fits({trapped_signal, By}, Given) -> is_by(<<"exit_signal">>, By, Given);
fits({kill, By}, Given) -> is_by(<<"kill">>, By, Given);
fits({link, Peer}, #{source := Source, via := Via}) -> Source =:= <<"link">> andalso Via =:= text(Peer);
fits({link_trapped, Peer}, #{source := Source, via := Via}) ->
    Source =:= <<"link_trapped">> andalso Via =:= text(Peer);
fits({self, trapped_signal}, #{source := Source}) -> Source =:= <<"self_exit">>;
fits({self, Class}, #{source := Source}) -> Source =:= <<"self_", (atom_to_binary(Class))/binary>>;
fits({purge, By, Module, Operations}, #{module := InModule, operation := Operation} = Given) ->
    is_by(<<"purge">>, By, Given) andalso (InModule =:= none orelse InModule =:= atom_to_binary(Module))
        andalso (Operation =:= none orelse lists:member(Operation, Operations));
fits({Kind, Supervisor}, #{source := Source, by := By, supervisor := Name})
  when Kind =:= supervisor_shutdown; Kind =:= supervisor_brutal_kill; Kind =:= supervisor_timeout_kill ->
    Source =:= atom_to_binary(Kind) andalso lists:member(text(Supervisor), [By, Name]);
fits({stop_request, By}, Given) -> is_by(<<"stop_request">>, By, Given);
fits(Kind, #{source := Source}) -> lists:member(Source, sources(Kind)).

is_by(Source, By, #{source := Given, by := GivenBy}) ->
    Given =:= Source andalso GivenBy =:= text(By).

%% What can only be concluded from an equal reason.
is_inferred({self, trapped_signal}) -> true;
is_inferred({Kind, _}) -> lists:member(Kind, [link_trapped, trapped_signal, stop_request]);
is_inferred(Kind) -> is_atom(Kind) andalso Kind =/= normal.

%% What else the record tells: of whom, the reason, and the origin, which is that of the peer that it names.
details(#{pid := Pid, reason := Reason, name := Name}, #{exit := Exit, process := Process, origin := Origin} = Record,
        Why) ->
    Text = text(Pid),
    Via = maps:get(via, Exit, none),
    Checks = [{pid, fun() -> maps:get(pid, Process) =:= Text end},
              %% Normal exits are counted, not recorded: no name is kept.
              {name, fun() -> Name =:= undefined orelse Reason =:= normal orelse maps:get(name, Process, null) =:= atom_to_binary(Name) end},
              {reason, fun() -> is_text_of(Reason, maps:get(reason, Exit)) end},
              {chain, fun() -> maps:get(pid, lists:last(maps:get(chain, Record))) =:= Text end},
              {origin, fun() when Via =:= none -> maps:get(pid, Origin) =:= Text;
                          () -> is_origin_of(catch list_to_pid(binary_to_list(Via)), Origin, Why)
                       end}],
    case [What || {What, IsRight} <- Checks, not IsRight()] of
        [] -> ok;
        Wrong -> {details, Wrong}
    end.

is_origin_of(Peer, Origin, Why) when is_pid(Peer) ->
    {ok, #{origin := OfPeer}} = Why(Peer),
    Same = [source, pid, by, id, module],
    maps:with(Same, Origin) =:= maps:with(Same, OfPeer);
is_origin_of(_Port, _Origin, _Why) ->
    true.

is_text_of(Reason, Text) when is_atom(Reason) -> Text =:= atom_to_binary(Reason);
is_text_of({Key, Value}, Text) when is_atom(Key), is_atom(Value); is_atom(Key), is_integer(Value) ->
    Text =:= iolist_to_binary(io_lib:format("~0p", [{Key, Value}]));
is_text_of(_, _) -> true.

text(Pid) -> list_to_binary(pid_to_list(Pid)).
