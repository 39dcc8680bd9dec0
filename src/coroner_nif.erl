%% The functions of priv/coroner_nif.so (c_src/nif.c), and where that file is.
%%
%% The callbacks of the tracer behaviour, enabled/3, enabled_procs/3, enabled_garbage_collection/3 and trace/5, are called by the VM
%% straight from the library; here they only have to exist.
-module(coroner_nif).

-export([enabled/3, enabled_procs/3, enabled_garbage_collection/3, trace/5]).
-export([start/8, stop/1, expect/1, seed_links/2, seed/7, seed_port/4, limit/2, application/2, nodes/1, forget/1,
         renew/1, drop/1, members/2, blind/1, probe/1, gap/4, why/1, recent/1, status/0, notify/1, rename/1,
         standing/1, vocabulary/0, links/1, format/1, fingerprint/1, scope/4, bystanders/1, initial_call/1]).
-export([is_loaded/0, file/0]).
-on_load(load/0).
-nifs([enabled/3, enabled_procs/3, enabled_garbage_collection/3, trace/5, start/8, stop/1, expect/1, seed_links/2,
       seed/7, seed_port/4, limit/2, application/2, nodes/1, forget/1, renew/1, drop/1, members/2, blind/1, probe/1,
       gap/4, why/1, recent/1, status/0, notify/1, rename/1, standing/1, vocabulary/0, links/1, format/1, fingerprint/1,
       scope/4, bystanders/1, initial_call/1]).

-type cbor_record() :: {Seq :: pos_integer(), TimeNs :: non_neg_integer(), Cbor :: binary()}.
-export_type([cbor_record/0]).

%% In an upgrade code:which/1 still tells where the instance before this one came from, but the code path leads to the new
%% one already.
load() ->
    said(erlang:load_nif(library(case code:where_is_file(?MODULE_STRING ".beam") of
                                     non_existing -> code:which(?MODULE);
                                     Beam -> Beam
                                 end), unaligned(binary:copy(<<"coroner ">>, 64)))).

%% Why a library that is not of the same layout is refused (upgrade in c_src/nif.c): of its answer the VM tells the number.
said({error, {upgrade, Text}} = Refused) ->
    case string:find(Text, "(1)") of
        nomatch -> Refused;
        _ -> {error, {upgrade, "the coroner in this node is of another layout and goes on; coroner:stop(), then code:delete/1 "
                      "and code:purge/1 of its modules make room for this one"}}
    end;
said(Result) ->
    Result.

%% Binaries that begin inside a byte, with the bit, their bytes, and one that begins with a byte: from them the library
%% learns how this VM keeps such ones (c_src/unaligned.h).
unaligned(Bytes) ->
    [{Bits, byte_size(Bytes) - 1, unaligned(Bits, byte_size(Bytes) - 1, Bytes)} || Bits <- lists:seq(0, 7)].

unaligned(Bits, Size, Bytes) ->
    <<_:Bits, Unaligned:Size/binary, _/bits>> = Bytes,
    Unaligned.

%% @doc The library without its ending: in the priv folder beside this module's ebin. A module that came
%% over distribution has no place in the code path; then `coroner_attach' has put its folder into the
%% application's environment.
-spec file() -> file:filename().
file() ->
    library(code:which(?MODULE)).

library(Beam) ->
    Ebin = case application:get_env(coroner, ebin) of
               {ok, Folder} -> Folder;
               undefined -> filename:dirname(Beam)
           end,
    filename:join([filename:dirname(filename:absname(Ebin)), "priv", "coroner_nif"]).

-spec is_loaded() -> true.
is_loaded() -> true.

-spec enabled(atom(), term(), pid() | port() | undefined) -> trace | discard | remove.
enabled(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).

-spec enabled_procs(atom(), term(), pid() | port() | undefined) -> trace | discard.
enabled_procs(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).

-spec enabled_garbage_collection(atom(), term(), pid() | undefined) -> trace | discard.
enabled_garbage_collection(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).

-spec trace(atom(), term(), pid() | port() | undefined, term(), map()) -> term().
trace(_Tag, _State, _Tracee, _Term, _Options) -> erlang:nif_error(not_loaded).

-spec start(binary() | undefined, binary(), binary(), binary(), pos_integer(),
            {non_neg_integer(), non_neg_integer(), boolean()}, pid(), pid()) ->
          {ok, State :: pos_integer()} | {error, armed | getrandom | {uplink, binary()}}.
start(_Ingest, _Node, _Host, _Otp, _Bytes, _Record, _Purger, _CodeServer) ->
    erlang:nif_error(not_loaded).

-spec stop(DrainMs :: non_neg_integer()) -> ok.
stop(_DrainMs) -> erlang:nif_error(not_loaded).

-spec expect([pid()]) -> [pid()].
expect(_Pids) -> erlang:nif_error(not_loaded).

-spec seed_links(pid(), [pid() | port()]) -> ok.
seed_links(_Pid, _Links) -> erlang:nif_error(not_loaded).

-spec seed(pid(), boolean(), atom(), mfa() | undefined, pid() | undefined, boolean(), [pid() | atom()]) -> ok.
seed(_Pid, _TrapExit, _Name, _InitialCall, _Parent, _ProcLib, _Ancestors) ->
    erlang:nif_error(not_loaded).

-spec seed_port(port(), atom(), pid() | undefined, [pid() | port()]) -> ok.
seed_port(_Port, _Name, _Owner, _Links) -> erlang:nif_error(not_loaded).

-spec limit(pid() | default, Words :: non_neg_integer()) -> ok.
limit(_Pid, _Words) -> erlang:nif_error(not_loaded).

-spec application(Master :: pid(), Application :: atom()) -> ok.
application(_Master, _Application) -> erlang:nif_error(not_loaded).

-spec nodes([node()]) -> ok.
nodes(_Nodes) -> erlang:nif_error(not_loaded).

-spec forget(pid()) -> ok.
forget(_Pid) -> erlang:nif_error(not_loaded).

-spec renew([pid()]) -> ok.
renew(_Pids) -> erlang:nif_error(not_loaded).

-spec drop(pid() | port()) -> ok.
drop(_Pid) -> erlang:nif_error(not_loaded).

-spec members(Shard :: non_neg_integer(), Wanted :: pos_integer()) ->
          {NextShard :: non_neg_integer(), [pid() | port()]}.
members(_Shard, _Wanted) -> erlang:nif_error(not_loaded).

-spec blind(Ms :: non_neg_integer() | infinity) -> ok.
blind(_Ms) -> erlang:nif_error(not_loaded).

-spec probe(pid() | undefined) -> Seen :: non_neg_integer().
probe(_Pid) -> erlang:nif_error(not_loaded).

-spec gap(FromNs :: non_neg_integer(), ToNs :: non_neg_integer() | undefined, Why :: binary(), Detail :: binary()) ->
          ok | not_armed.
gap(_FromNs, _ToNs, _Why, _Detail) -> erlang:nif_error(not_loaded).

-spec why(pid() | atom()) ->
          cbor_record() | {normal, mfa() | undefined} | alive | expired | not_seen | not_armed.
why(_PidOrName) -> erlang:nif_error(not_loaded).

-spec recent(non_neg_integer()) -> [cbor_record()] | not_armed.
recent(_Count) -> erlang:nif_error(not_loaded).

-spec status() -> [{atom(), term()}].
status() -> erlang:nif_error(not_loaded).

-spec notify(reference()) -> ok | not_armed.
notify(_Reference) -> erlang:nif_error(not_loaded).

-spec rename(binary()) -> ok.
rename(_Node) -> erlang:nif_error(not_loaded).

-spec standing(Bits :: non_neg_integer()) -> ok.
standing(_Bits) -> erlang:nif_error(not_loaded).

-spec vocabulary() -> {[{pos_integer(), atom()}], [atom()], [atom()]}.
vocabulary() -> erlang:nif_error(not_loaded).

-spec links(pid()) -> [pid() | port()] | undefined.
links(_Pid) -> erlang:nif_error(not_loaded).

-spec format(term()) -> {binary(), boolean()}.
format(_Term) -> erlang:nif_error(not_loaded).

-spec fingerprint(term()) -> {non_neg_integer(), boolean()}.
fingerprint(_Term) -> erlang:nif_error(not_loaded).

-spec scope(all | applications | exclude, [module()], [atom()], Settled :: boolean()) -> ok.
scope(_Kind, _Modules, _Applications, _Settled) -> erlang:nif_error(not_loaded).

-spec bystanders([{pid(), atom(), mfa() | undefined}]) -> ok.
bystanders(_Registered) -> erlang:nif_error(not_loaded).

-spec initial_call(pid()) -> mfa() | undefined.
initial_call(_Pid) -> erlang:nif_error(not_loaded).
