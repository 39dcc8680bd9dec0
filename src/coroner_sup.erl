-module(coroner_sup).
-behaviour(supervisor).

-export([start_link/0, child_spec/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc How it stands under another supervisor. If it gives up, coroner is off and the node goes on.
-spec child_spec() -> supervisor:child_spec().
child_spec() ->
    #{id => ?MODULE, start => {?MODULE, start_link, []}, restart => temporary, shutdown => infinity,
      type => supervisor}.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% Disarming a million processes takes seconds, and must not be cut short: shutdown is infinity.
    Server = #{id => coroner_server, start => {coroner_server, start_link, []}, shutdown => infinity},
    {ok, {#{strategy => one_for_one, intensity => 3, period => 60}, [Server]}}.
