# The Erlang suites, in a node of their own: on this machine's OTP, and on others in Debian roots.

ERL_TESTS := $(wildcard test/erlang/*.erl)
ERL_TEST_BEAMS := $(ERL_TESTS:test/erlang/%.erl=$(B)/test/ebin/%.beam)
SUITES := $(sort $(patsubst test/erlang/%.erl,%,$(wildcard test/erlang/*_tests.erl)))

$(B)/test/ebin/%.beam: test/erlang/%.erl test/erlang/module.mk
	@mkdir -p $(@D)
	erlc +debug_info +warnings_as_errors +nowarn_export_all -o $(@D) $<

# A library that says it is of another layout, as one of a version that this one cannot take over from.
OTHER_LAYOUT := $(B)/test/other_layout/priv/coroner_nif.so
$(OTHER_LAYOUT): $(NIF_OBJECTS) test/erlang/module.mk
	@mkdir -p $(@D)
	$(CC) $(NIF_CFLAGS) -DCORONER_ABI=1000 -shared -o $@ c_src/nif.c $(filter-out %/nif.o,$(NIF_OBJECTS))

# $(call RUN_SUITES,EBIN): the node that runs $(SUITES) with the test modules of EBIN.
empty :=
comma := ,
RUN_SUITES = erl -noshell +P 2000000 -pa $(APP)/ebin $(1) -kernel logger_level critical \
	    -eval 'coroner_report:run([$(subst $(empty) ,$(comma),$(strip $(SUITES)))]).'

# SUITES="source_tests" runs only some.
.PHONY: test-erlang
test-erlang: all $(ERL_TEST_BEAMS) $(OTHER_LAYOUT)
	@$(call RUN_SUITES,$(B)/test/ebin)

# Random trees of processes, long enough to meet what is rare. TREE_SEED=N makes the trees of an earlier run.
TREE_EXITS_LONG := 200000

.PHONY: test-tree
test-tree:
	@TREE_EXITS=$${TREE_EXITS:-$(TREE_EXITS_LONG)} $(MAKE) --no-print-directory test-erlang SUITES=tree_tests

# The same suites on the OTPs that no package of this machine's has: 27 and 29, each in a root of its own, two at a
# time. What is loaded there is what was built here, as users do; only the tests are compiled anew, because what a
# compiler makes of them need not load on a later OTP. MATRIX="27" runs only one.
MATRIX := 27 29

.PHONY: test-matrix matrix-deps
matrix-deps:
	@scripts/deps.sh matrix

test-matrix: all $(OTHER_LAYOUT) matrix-deps
	@$(MAKE) --no-print-directory -k -j2 $(MATRIX:%=matrix-otp%) || true
	@counts=$$(cat $(MATRIX:%=$(B)/matrix/%/counts)); \
	    awk '{passed += $$1; failed += $$3} END {printf "%d passed, %d failed\n", passed, failed; exit failed > 0}' <<<"$$counts"

# One OTP of them: each line says which, and the counts go into a file to be added up.
.PHONY: $(MATRIX:%=matrix-otp%)
$(MATRIX:%=matrix-otp%): matrix-otp%:
	@rm -rf $(B)/matrix/$*; mkdir -p $(B)/matrix/$*; echo "0 passed, 1 failed" >$(B)/matrix/$*/counts; \
	root=$$(scripts/otp_root.sh $*) && \
	scripts/in_root.sh "$$root" erlc +debug_info +nowarn_export_all +nowarn_deprecated_catch -o $(B)/matrix/$* $(ERL_TESTS) && { \
	    scripts/in_root.sh "$$root" env TREE_SEED=$(TREE_SEED) TREE_EXITS=$(or $(TREE_EXITS),$(TREE_EXITS_LONG)) \
	        $(call RUN_SUITES,$(B)/matrix/$*) 2>&1 | tee $(B)/matrix/$*/log | \
	        sed -u -E 's/^(ok|not ok) /&otp$*./; s/^[0-9]+ passed/otp$*: &/'; \
	    status=$${PIPESTATUS[0]}; \
	    grep -E '^[0-9]+ passed, [0-9]+ failed$$' $(B)/matrix/$*/log | tail -n 1 >$(B)/matrix/$*/found; \
	    if [ -s $(B)/matrix/$*/found ]; then mv $(B)/matrix/$*/found $(B)/matrix/$*/counts; fi; \
	    [ "$$status" = 0 ]; \
	} || { echo "not ok otp$*: it failed"; exit 1; }

# Storms for a minute, with coroner started and stopped in the middle of them; the suite does the same for a few seconds.
STORM_SECONDS ?= 60
.PHONY: test-storm
test-storm: all $(ERL_TEST_BEAMS)
	@STORM_SECONDS=$(STORM_SECONDS) $(MAKE) --no-print-directory test-erlang SUITES=storm_tests
