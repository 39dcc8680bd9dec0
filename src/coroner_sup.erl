-module(coroner_sup).
-behaviour(supervisor).

-export([start_link/1, child_spec/1, init/1]).

-spec start_link(coroner_options:options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Options).

%% @doc How it stands under another supervisor. If it gives up, coroner is off and the node goes on.
-spec child_spec(coroner_options:options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}, restart => temporary, shutdown => infinity,
      type => supervisor}.

-spec init(coroner_options:options()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Options) ->
    ok = coroner_server:forget_scope(),
    %% Disarming a million processes takes seconds, and must not be cut short: shutdown is infinity.
    Guard = #{id => coroner_guard, start => {coroner_guard, start_link, []}, shutdown => infinity},
    Server = #{id => coroner_server, start => {coroner_server, start_link, [Options]}, shutdown => infinity},
    %% Children are ended in reverse: the guard sees what the server has left.
    {ok, {#{strategy => one_for_one, intensity => 3, period => 60}, [Guard, Server]}}.
