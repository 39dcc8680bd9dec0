%% A tracer that does nothing (floor_tracer.c). It is armed by floor_trace, which is coroner_trace with other names: see
%% module.mk.
-module(floor_tracer).

-export([enabled/3, enabled_procs/3, enabled_garbage_collection/3, trace/5]).
-on_load(load/0).
-nifs([enabled/3, enabled_procs/3, enabled_garbage_collection/3, trace/5]).

load() ->
    erlang:load_nif(filename:rootname(code:which(?MODULE)), 0).

enabled(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).
enabled_procs(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).
enabled_garbage_collection(_Tag, _State, _Tracee) -> erlang:nif_error(not_loaded).
trace(_Tag, _State, _Tracee, _Term, _Options) -> erlang:nif_error(not_loaded).
