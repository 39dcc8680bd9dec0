%% A record as coroner:why/1 shows it: the JSON object of the daemon (docs/protocol.md) as a map with atoms for
%% keys, binaries for texts, null for null.
-module(coroner_record).

-export([to_map/1, to_maps/1, normal/2]).

-export_type([record/0, gap/0]).

-type record() :: #{schema := binary(), exit := map(), process := map(), atom() => term()}.

-type gap() :: #{schema := binary(), gap := map(), severity := binary(), message := binary(), atom() => term()}.

%% @doc The record behind what the NIF gives.
-spec to_map(coroner_nif:cbor_record()) -> record() | gap().
to_map(Record) ->
    [Map] = to_maps([Record]),
    Map.

%% @doc As to_map/1, of several: what they have in common is asked for once.
-spec to_maps([coroner_nif:cbor_record()]) -> [record() | gap()].
to_maps(Records) ->
    {Pairs, _, _} = coroner_nif:vocabulary(),
    Keys = maps:from_list(Pairs),
    Node = node_map(),
    [to_map(Record, Keys, Node) || Record <- Records].

to_map({Seq, TimeNs, Cbor}, Keys, Node) ->
    {Map, <<>>} = decode(Cbor, Keys),
    (gap_times(Map))#{
         schema => case Map of #{gap := _} -> <<"coroner.gap/1">>; _ -> <<"coroner.exit/1">> end,
         id => <<(maps:get(incarnation, Node))/binary, $-, (integer_to_binary(Seq))/binary>>,
         time => time(TimeNs),
         node => Node}.

time(Ns) ->
    list_to_binary(calendar:system_time_to_rfc3339(Ns, [{unit, nanosecond}, {offset, "Z"}])).

%% They travel as nanoseconds.
gap_times(#{gap := Gap} = Map) ->
    Map#{gap := maps:map(fun(Key, Ns) when Key =:= from; Key =:= to -> time(Ns);
                            (_, Value) -> Value
                         end, Gap)};
gap_times(Map) ->
    Map.

%% @doc What is told of a process that ended normally: no record was made of it.
-spec normal(pid(), mfa() | undefined) -> record().
normal(Pid, InitialCall) ->
    Text = list_to_binary(pid_to_list(Pid)),
    Process = case InitialCall of
                  undefined -> #{pid => Text};
                  {M, F, A} -> #{pid => Text,
                                 initial_call => unicode:characters_to_binary(
                                                   io_lib:format("~tw:~tw/~w", [M, F, A]))}
              end,
    Exit = #{source => <<"normal">>, reason => <<"normal">>, reason_class => <<"normal">>,
             truncated => false, confidence => <<"observed">>},
    #{schema => <<"coroner.exit/1">>,
      severity => <<"info">>,
      message => <<Text/binary, " exited normal: it was done">>,
      node => node_map(),
      process => Process#{name => null},
      exit => Exit,
      origin => maps:merge(Process, maps:with([source, confidence], Exit)),
      chain => [maps:merge(Process, maps:with([source, reason], Exit))],
      chain_length => 1}.

%% inet:gethostname/0 opens a socket, so the name is what the start was told.
node_map() ->
    #{host := Host, incarnation := Incarnation} = maps:from_list(coroner_nif:status()),
    #{name => atom_to_binary(node()),
      host => Host,
      incarnation => Incarnation,
      os_pid => list_to_integer(os:getpid()),
      otp => list_to_binary(erlang:system_info(otp_release))}.

%% CBOR (RFC 8949), the items that c_src/cbor.c writes.
decode(<<Major:3, Info:5, Rest/binary>>, Keys) ->
    {Value, After} = argument(Info, Rest),
    case Major of
        0 -> {Value, After};
        3 -> <<Text:Value/binary, End/binary>> = After, {Text, End};
        4 -> decode_list(Value, After, Keys, []);
        5 -> decode_map(Value, After, Keys, #{});
        7 -> {simple(Value), After}
    end.

argument(Info, Rest) when Info < 24 -> {Info, Rest};
argument(24, <<Value:8, Rest/binary>>) -> {Value, Rest};
argument(25, <<Value:16, Rest/binary>>) -> {Value, Rest};
argument(26, <<Value:32, Rest/binary>>) -> {Value, Rest};
argument(27, <<Value:64, Rest/binary>>) -> {Value, Rest}.

simple(20) -> false;
simple(21) -> true;
simple(22) -> null.

decode_list(0, Rest, _Keys, Done) ->
    {lists:reverse(Done), Rest};
decode_list(Left, Rest, Keys, Done) ->
    {Item, After} = decode(Rest, Keys),
    decode_list(Left - 1, After, Keys, [Item | Done]).

decode_map(0, Rest, _Keys, Map) ->
    {Map, Rest};
decode_map(Left, Rest, Keys, Map) ->
    {Number, AfterKey} = decode(Rest, Keys),
    {Value, After} = decode(AfterKey, Keys),
    decode_map(Left - 1, After, Keys, Map#{maps:get(Number, Keys) => Value}).
