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

# How a release is upgraded from and to another version of it, which systools reads: the version is the application's.
$(APP)/ebin/coroner.appup: src/coroner.appup.src src/coroner.app.src src/module.mk | deps
	@mkdir -p $(@D)
	sed 's/@VSN@/$(shell sed -n 's/.*{vsn, "\(.*\)"}.*/\1/p' src/coroner.app.src)/' $< > $@

# priv of the application is the project's own: the binaries stand in one place.
$(APP)/priv:
	@mkdir -p $(APP)
	ln -sfn ../../../../priv $@

.PHONY: app
app: $(BEAMS) $(APP)/ebin/coroner.app $(APP)/ebin/coroner.appup $(APP)/priv priv/coroner_nif.so

all: app
