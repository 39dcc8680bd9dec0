%% Disarms the node when coroner's supervisor ends and coroner_server could not: a process that is killed runs no
%% terminate/2, and one that is killed again and again is not started any more. Without this the node would
%% stay armed with nobody to disarm it.
-module(coroner_guard).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, terminate/2, code_change/3]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, armed}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, armed}.

-spec handle_call(term(), gen_server:from(), armed) -> {noreply, armed}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), armed) -> {noreply, armed}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), armed) -> ok.
terminate(_Reason, armed) ->
    %% When the supervisor was killed, the server ends at the same time as this process, and may be waiting for
    %% the daemon.
    Monitor = monitor(process, coroner_server),
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    coroner_server:disarm().

-spec code_change(term(), armed, term()) -> {ok, armed}.
code_change(_Version, armed, _Extra) ->
    {ok, armed}.
