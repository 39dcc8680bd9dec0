# The Erlang application, in _build/default/lib/coroner.

ERL_SOURCES := $(wildcard src/*.erl)
BEAMS := $(ERL_SOURCES:src/%.erl=$(APP)/ebin/%.beam)
ERLC_FLAGS := +debug_info +warnings_as_errors +warn_unused_vars +warn_missing_spec +deterministic -pa $(APP)/ebin

$(APP)/ebin/%.beam: src/%.erl src/module.mk | deps
	@mkdir -p $(@D)
	erlc $(ERLC_FLAGS) -o $(@D) $<

# The backends are checked against the behaviour.
$(APP)/ebin/coroner_trace_shared.beam $(APP)/ebin/coroner_trace_session.beam: $(APP)/ebin/coroner_trace.beam

# The application file: the source with the modules filled in.
$(APP)/ebin/coroner.app: src/coroner.app.src $(ERL_SOURCES) | deps
	@mkdir -p $(@D)
	sed 's/{modules, \[\]}/{modules, [$(shell echo $(sort $(ERL_SOURCES:src/%.erl=%)) | tr " " ,)]}/' $< > $@

# priv of the application is the project's own: the binaries stand in one place.
$(APP)/priv:
	@mkdir -p $(APP)
	ln -sfn ../../../../priv $@

.PHONY: app
app: $(BEAMS) $(APP)/ebin/coroner.app $(APP)/priv priv/coroner_nif.so

all: app
