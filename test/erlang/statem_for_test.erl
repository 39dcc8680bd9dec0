%% A gen_statem that waits.
-module(statem_for_test).
-behaviour(gen_statem).
-export([init/1, callback_mode/0, waiting/3]).

-spec init(term()) -> {ok, waiting, none}.
init(_) -> {ok, waiting, none}.

-spec callback_mode() -> state_functions.
callback_mode() -> state_functions.

-spec waiting(gen_statem:event_type(), term(), none) -> keep_state_and_data.
waiting(_Type, _Event, none) -> keep_state_and_data.
