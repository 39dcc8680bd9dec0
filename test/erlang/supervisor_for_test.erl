%% A supervisor with the children it is given.
-module(supervisor_for_test).
-behaviour(supervisor).
-export([init/1]).

-spec init(Specification) -> {ok, Specification}.
init(Specification) -> {ok, Specification}.
