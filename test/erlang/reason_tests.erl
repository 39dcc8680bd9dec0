%% Reasons of every kind and size: whatever it is, the exit is recorded, its text is bounded and proper UTF-8,
%% and it takes no time to speak of.
-module(reason_tests).
-include_lib("eunit/include/eunit.hrl").

-import(testlib, [get/2, why/1]).

-export([reasons/0]).

%% Name, a function that makes it (in the process that exits with it), and its text if we know it.
reasons() ->
    [{"atom", fun() -> plain end, <<"plain">>},
     {"atom that wants quotes", fun() -> 'Not plain' end, <<"'Not plain'">>},
     {"reserved word", fun() -> 'end' end, <<"'end'">>},
     {"atom in Latin-1", fun() -> 'blå' end, unquoted},
     {"atom in Greek", fun() -> 'αβγ' end, unquoted},
     {"atom of 255 wide characters", fun() -> list_to_atom(lists:duplicate(255, 16#1F480)) end, any},
     {"atom with control characters", fun() -> 'a\e[31m\0b' end, any},
     {"small integer", fun() -> -42 end, <<"-42">>},
     {"integers of 60 to 64 bits", fun() -> {1 bsl 59, -(1 bsl 63), 1 bsl 63, 1 bsl 64 - 1} end,
      <<"{576460752303423488,-9223372036854775808,9223372036854775808,18446744073709551615}">>},
     {"bignum", fun() -> 1 bsl 200 end, any},
     {"bignum of 100,000 bits", fun() -> 1 bsl 100_000 end, any},
     {"bignum of a million bits", fun() -> 1 bsl 1_000_000 end, any},
     {"float", fun() -> {1.0, -2.5, 1.0e100, 0.1} end, <<"{1.0,-2.5,1.0e100,0.1}">>},
     {"string", fun() -> "it \"failed\"\n" end, <<"\"it \\\"failed\\\"\\n\"">>},
     {"wide string", fun() -> [16#1F480, $!] end, <<"\"", 240, 159, 146, 128, "!\"">>},
     {"binary", fun() -> <<"text">> end, <<"<<\"text\">>">>},
     {"UTF-8 binary", fun() -> <<"λ"/utf8>> end, <<"<<\"λ\"/utf8>>"/utf8>>},
     {"binary that is no UTF-8", fun() -> <<255, 254, 0, 1>> end, <<"<<255,254,0,1>>">>},
     {"binary with a broken end", fun() -> <<"abc", 16#C3>> end, <<"<<97,98,99,195>>">>},
     {"binary with control characters", fun() -> <<"\e]0;pwned\a">> end, any},
     {"empty binary", fun() -> <<>> end, <<"<<>>">>},
     {"bitstring", fun() -> <<1:3>> end, any},
     {"binary that begins inside a byte", fun() -> <<_:1, Rest/binary>> = <<0:1, "shifted">>, Rest end,
      <<"<<\"shifted\">>">>},
     {"binary of 100 MB", fun() -> binary:copy(<<"x">>, 100_000_000) end, any},
     {"binary of 100 MB inside a byte",
      fun() -> <<_:3, Rest:100_000_000/binary, _/bits>> = <<0:3, (binary:copy(<<"y">>, 100_000_000))/binary, 0:5>>, Rest end,
      any},
     {"list of 100 MB", fun() -> lists:seq(1, 6_250_000) end, any},
     {"string of 100 MB", fun() -> lists:duplicate(6_250_000, $z) end, any},
     {"tuple of a million", fun() -> erlang:make_tuple(1_000_000, element) end, any},
     {"a million tuples in each other", fun() -> testlib:deep(1_000_000) end, any},
     {"a million lists in each other", fun() -> lists:foldl(fun(_, L) -> [L] end, [], lists:seq(1, 1_000_000)) end, any},
     {"maps in maps", fun() -> lists:foldl(fun(N, M) -> #{N => M, m => [N]} end, #{}, lists:seq(1, 100)) end, any},
     {"improper list", fun() -> [a, b | c] end, <<"[a,b|c]">>},
     {"improper list of binaries", fun() -> [<<"a">> | <<"b">>] end, <<"[<<\"a\">>|<<\"b\">>]">>},
     {"list in list", fun() -> [[], [1], {}, #{}] end, <<"[[],[1],{},#{}]">>},
     {"map", fun() -> #{key => [1, 2]} end, <<"#{key => [1,2]}">>},
     {"big map", fun() -> maps:from_list([{N, N} || N <- lists:seq(1, 1_000_000)]) end, any},
     {"funs", fun() -> {fun() -> ok end, fun erlang:exit/1} end, any},
     {"fun with 100 MB inside", fun() -> Big = binary:copy(<<"x">>, 100_000_000), fun() -> Big end end, any},
     {"references and ports", fun() -> {make_ref(), hd(erlang:ports())} end, any},
     {"pids", fun() -> self() end, any},
     {"another node's pid", fun() -> other_pid() end, any},
     {"things that look like a crash", fun() -> {oops, [{m, f, 1, []}]} end, any},
     {"a stack that is none", fun() -> {oops, [{m, f, [a | b], [{file, [1, 2, 300 | x]}, {line, -1}]} | z]} end, any},
     {"a stack of a million", fun() -> {oops, lists:duplicate(1_000_000, {m, f, 1, [{file, "f"}, {line, 1}]})} end, any},
     {"shutdown with a megabyte", fun() -> {shutdown, lists:seq(1, 100_000)} end, any},
     {"looks like an rpc reply", fun() -> {make_ref(), return, secret} end, any}].

%% NEW_PID_EXT of a node that does not exist.
other_pid() ->
    Node = <<"other@nowhere">>,
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, 42:32, 0:32, 7:32>>).

reason_test_() ->
    testlib:armed([{Name, {timeout, 120, fun() -> one(Make, Text) end}} || {Name, Make, Text} <- reasons()]).

one(Make, Expected) ->
    %% A link and a trapping process: the reason is compared, too.
    Pid = spawn(fun() -> receive go -> exit(Make()) end end),
    Linked = spawn(fun() -> link(Pid), Pid ! go, receive never -> ok end end),
    testlib:ended(Pid),
    testlib:ended(Linked),
    Record = why(Pid),
    Text = get("exit.reason", Record),
    ?assertEqual({<<"self_exit">>, <<"observed">>},
                 {get("exit.source", Record), get("exit.confidence", Record)}),
    ?assertEqual(<<"link">>, get("exit.source", why(Linked))),
    ?assertEqual(Text, get("exit.reason", why(Linked))),
    ?assert(byte_size(Text) =< 1024),
    ?assertEqual(Text, unicode:characters_to_binary(Text)), % proper UTF-8
    ?assertEqual([], [C || <<C/utf8>> <= Text, C < 32 orelse C =:= 127 orelse (C >= 128 andalso C < 160)]),
    case Expected of
        any -> ok;
        unquoted -> ok;
        _ -> ?assertEqual({Expected, false}, {Text, get("exit.truncated", Record)})
    end.

%% Terms that share their parts take exponential time to copy, and the VM copies the reason to whoever is linked or
%% monitors (size_object, copy.c, OTP 25). So nobody is; what tells of the end is an ETS table's heir.
shared_test_() ->
    testlib:armed([{Name, fun() -> shared(Make) end}
                   || {Name, Make} <- [{"shared subterms", fun(T, _) -> {T, T} end},
                                       {"shared lists", fun(T, _) -> [T, T, T] end},
                                       {"shared maps", fun(T, N) -> #{N => T, m => [T]} end}]]).

shared(Make) ->
    Self = self(),
    Pid = spawn(fun() ->
                        _ = ets:new(?MODULE, [{heir, Self, ended}]),
                        exit(lists:foldl(fun(N, T) -> Make(T, N) end, leaf, lists:seq(1, 100)))
                end),
    receive {'ETS-TRANSFER', _, Pid, ended} -> ok end,
    Record = why(Pid),
    ?assertEqual({<<"self_exit">>, true}, {get("exit.source", Record), get("exit.truncated", Record)}),
    %% That it called exit/1 with the very same term cannot be seen whole.
    ?assertEqual(<<"observed">>, get("exit.confidence", Record)).

%% What a process is compared by: equal terms alike, others not.
fingerprint_test_() ->
    Terms = [a, b, 1, 1.0, <<"1">>, "1", {1}, [1], {1, 2}, [1, 2], [1 | 2], [[1], 2], [{1}, 2], {[1], 2}, #{}, #{1 => 2},
             #{2 => 1}, {}, [], {a, {b}}, {a, b}, {{a}, b}, -1, 1 bsl 64, 1 bsl 65, make_ref(), make_ref(), self(),
             <<1:1>>, <<>>, [<<>>], {shutdown, a}, {shutdown, b}],
    [{"different terms differ",
      fun() ->
              Prints = [coroner_nif:fingerprint(Term) || Term <- Terms],
              %% Of a bitstring only that it is one is seen.
              ?assertEqual(length(Terms), length(lists:usort(Prints)))
      end},
     {"a copy is alike",
      fun() ->
              [?assertEqual(coroner_nif:fingerprint(Term), coroner_nif:fingerprint(binary_to_term(term_to_binary(Term))))
               || Term <- Terms]
      end},
     {"what is too large to be seen whole says so",
      fun() -> ?assertMatch({_, false}, coroner_nif:fingerprint(lists:seq(1, 100_000))) end}].

%% Bounded means bounded: what the callback does with a reason of 100 MB is no more than with one of 10 KB. Time is
%% too noisy to assert; the work shows in how much of the term is looked at.
%% Whichever bit it begins with, a binary shows as its copy that begins with a byte; and how this VM keeps such ones is known, so
%% that of a large one only the beginning is copied.
unaligned_test_() ->
    {setup, fun() -> ok = coroner:start(#{ingest => none}) end, fun(_) -> ok = coroner:stop() end,
     fun() ->
             ?assertMatch(#{unaligned_known := true}, coroner:status()),
             Bytes = iolist_to_binary([<<(N * N):16>> || N <- lists:seq(1, 2000)]),
             [begin
                  <<_:Bits, Unaligned:Size/binary, _/bits>> = Bytes,
                  Copy = list_to_binary(binary_to_list(Unaligned)),
                  ?assertEqual(coroner_nif:format(Copy), coroner_nif:format(Unaligned)),
                  ?assertEqual(coroner_nif:fingerprint(Copy), coroner_nif:fingerprint(Unaligned))
              end || Bits <- lists:seq(0, 7), Size <- [0, 1, 63, 64, 65, 255, 256, 257, 1000, 3000]]
     end}.

format_is_bounded_test() ->
    Big = lists:duplicate(6_250_000, {some, "element"}),
    {Text, true} = coroner_nif:format(Big),
    ?assert(byte_size(Text) =< 1024),
    {<<"[{some,\"element\"},", _/binary>>, true} = {Text, true}.

reason_detail_test() ->
    ok = coroner:start(#{ingest => none, reason_detail => class}),
    Pid = spawn(fun() -> exit({password, "secret"}) end),
    testlib:ended(Pid),
    Crash = spawn(fun() -> error({password, "secret"}) end),
    testlib:ended(Crash),
    [begin
         Shown = iolist_to_binary(io_lib:format("~p", [why(P)])),
         ?assertEqual(nomatch, binary:match(Shown, <<"secret">>)),
         ?assertEqual(nomatch, binary:match(Shown, <<"password">>))
     end || P <- [Pid, Crash]],
    ?assertEqual({<<"other">>, true}, {get("exit.reason", why(Pid)), get("exit.truncated", why(Pid))}),
    ?assertEqual(<<"error">>, get("exit.reason", why(Crash))),
    ok = coroner:stop().
