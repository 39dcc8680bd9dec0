# The Erlang suites, in a node of their own on this machine's OTP.

ERL_TESTS := $(wildcard test/erlang/*.erl)
ERL_TEST_BEAMS := $(ERL_TESTS:test/erlang/%.erl=$(B)/test/ebin/%.beam)
SUITES := source_tests

$(B)/test/ebin/%.beam: test/erlang/%.erl test/erlang/module.mk
	@mkdir -p $(@D)
	erlc +debug_info +warnings_as_errors +nowarn_export_all -o $(@D) $<

# SUITES="source_tests" runs only some.
.PHONY: test-erlang
test-erlang: all $(ERL_TEST_BEAMS)
	@erl -noshell +P 2000000 -pa $(APP)/ebin $(B)/test/ebin -kernel logger_level critical \
	    -eval 'coroner_report:run([$(shell echo $(SUITES) | tr " " ,)]).'
