# What it costs: one JSON object a line on stdout, the bars on stderr. Ratios within one run are what counts; machines differ.
#   make bench                                    all, one after the other
#   make bench-node BENCH='"link"' SCHEDULERS=8   the workloads in the node whose names begin so, on so many schedulers
#   make bench-matrix                             the workloads in the node on OTP 27 and 29, in Debian roots
# BENCH_ROUNDS=5 (environment) for fewer rounds, BENCH_SCALE=100 for a hundredth of each.

BENCH_BIN := $(B)/bench
BENCH :=
SCHEDULERS :=
# In a session of its own, bounded in time, each line checked.
BENCH_PART := exec test/bench/bench.py part
BENCH_ERL_FLAGS = -noshell $(if $(SCHEDULERS),+S $(SCHEDULERS)) -kernel logger_level critical

.PHONY: bench
bench:
	@exec test/bench/bench.py all

# Each bench once, small: whether they run and tell what they promise.
.PHONY: test-bench
test-bench: all
	@exec test/bench/smoke.py $(SMOKE)

# The tracer that does nothing is armed by what arms coroner: the same source, with other names. So flags and patterns are the same.
BENCH_ARM := trace trace_shared trace_session
$(BENCH_BIN)/src/floor_%.erl: src/coroner_%.erl test/bench/module.mk
	@mkdir -p $(@D)
	sed -e 's/coroner_nif/floor_tracer/g; s/coroner_trace/floor_trace/g; s/-define(NAME, coroner)/-define(NAME, floor)/' $< >$@

$(BENCH_BIN)/floor_tracer.so: test/bench/floor_tracer.c test/bench/module.mk
	@mkdir -p $(@D)
	$(CC) $(NIF_CFLAGS) -shared -o $@ $<

BENCH_ERL := $(wildcard test/bench/*.erl)

$(BENCH_BIN)/.made: $(BENCH_ERL) $(BENCH_ARM:%=$(BENCH_BIN)/src/floor_%.erl) test/bench/module.mk
	erlc +warnings_as_errors -pa $(APP)/ebin -o $(BENCH_BIN) $(BENCH_BIN)/src/floor_trace.erl
	erlc +warnings_as_errors -pa $(APP)/ebin -pa $(BENCH_BIN) -o $(BENCH_BIN) $(filter-out %/floor_trace.erl,$(filter %.erl,$^))
	@touch $@

.PHONY: bench-node
bench-node: all $(BENCH_BIN)/.made $(BENCH_BIN)/floor_tracer.so
	@$(BENCH_PART) node $(if $(BENCH),--some) erl $(BENCH_ERL_FLAGS) +P 2000000 -pa $(APP)/ebin $(BENCH_BIN) \
	    -eval 'node_bench:main([$(BENCH)]), halt().'

# The same on another OTP, with what was built here but for the benches themselves: see test-matrix.
.PHONY: bench-matrix $(MATRIX:%=bench-otp%)
bench-matrix: $(MATRIX:%=bench-otp%)
$(MATRIX:%=bench-otp%): bench-otp%: all matrix-deps $(BENCH_BIN)/.made $(BENCH_BIN)/floor_tracer.so
	@mkdir -p $(BENCH_BIN)/otp$*
	@cp $(BENCH_BIN)/floor_tracer.so $(BENCH_BIN)/otp$*/
	@root=$$(scripts/otp_root.sh $*) && \
	scripts/in_root.sh "$$root" erlc +nowarn_deprecated_catch -pa $(APP)/ebin -o $(BENCH_BIN)/otp$* $(BENCH_BIN)/src/floor_trace.erl && \
	scripts/in_root.sh "$$root" erlc +nowarn_deprecated_catch -pa $(APP)/ebin -pa $(BENCH_BIN)/otp$* -o $(BENCH_BIN)/otp$* \
	    $(filter-out %/floor_trace.erl,$(BENCH_ARM:%=$(BENCH_BIN)/src/floor_%.erl)) $(BENCH_ERL) && \
	$(BENCH_PART) node $(if $(BENCH),--some) scripts/in_root.sh "$$root" \
	    env BENCH_ROUNDS=$${BENCH_ROUNDS-5} BENCH_SCALE=$${BENCH_SCALE-1} \
	    erl $(BENCH_ERL_FLAGS) +P 2000000 -pa $(APP)/ebin $(BENCH_BIN)/otp$* -eval 'node_bench:main([$(BENCH)]), halt().'

# Attaching to a node with very many idle processes: PROCESSES=100000 for fewer than a million, which take 3 GB.
.PHONY: bench-attach
bench-attach: all $(BENCH_BIN)/.made
	@$(BENCH_PART) attach erl $(BENCH_ERL_FLAGS) +P 4000000 -pa $(APP)/ebin $(BENCH_BIN) -eval 'attach_bench:main(), halt().'

# What the daemon does in a second, how late a record comes out, and how long a question takes: some two minutes.
# DAEMON_BENCH="--seconds 60 --rows 10000000 --queries 1000" for the figures of the docs: a quarter of an hour and 25 GB of disk.
$(B)/test/bench/daemon_bench: $(patsubst %,$(OBJ)/test-bench/%.o,daemon_bench daemon_load daemon_watch) $(DAEMON_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(OBJ)/test-bench/%.o: test/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OBJ)/test-bench/*.d)

.PHONY: bench-daemon
bench-daemon: all $(BENCH_BIN)/.made $(B)/test/bench/daemon_bench
	@$(BENCH_PART) daemon bash -euc 'exec $(B)/test/bench/daemon_bench --daemon priv/coronerd --ebin $(APP)/ebin --ebin $(BENCH_BIN) --folder "$$TMPDIR" $(DAEMON_BENCH)'

# What messages cost inside the scope and outside.
.PHONY: bench-scope
bench-scope: all $(BENCH_BIN)/.made
	@$(BENCH_PART) scope erl $(BENCH_ERL_FLAGS) -pa $(APP)/ebin $(BENCH_BIN) -eval 'scope_bench:main(), halt().'

# What the node's C takes in instructions, by callgrind: stable where times are not. `make bench-counts` compares them with
# test/bench/baseline.json and fails where there are more, `make bench-counts-keep` makes these the ones to compare with.
COUNT_CFLAGS = $(BASE_CFLAGS) -O2 -gdwarf-4 -iquote c_src -iquote test/c/node -iquote test/fuzz -isystem $(ERLANG_ROOT)/usr/include
COUNT_NODE := $(filter-out nif alloc_nif coroner,$(NIF_SOURCES:c_src/%.c=%))

define COUNT_RULE
$(OBJ)/count/%.o: $(1)/%.c test/bench/module.mk
	@mkdir -p $$(@D)
	$(2) $$(COUNT_CFLAGS) -MMD -MP -c -o $$@ $$<
endef
$(eval $(call COUNT_RULE,c_src,gcc -fPIC -fvisibility=hidden))
$(eval $(call COUNT_RULE,test/bench,gcc))
$(eval $(call COUNT_RULE,test/c/node,gcc))
$(eval $(call COUNT_RULE,test/fuzz,clang))

COUNT_OBJECTS := $(patsubst %,$(OBJ)/count/%.o,count_node $(COUNT_NODE) coroner alloc_libc bytes nif_shim nif_refused)
.SECONDARY: $(COUNT_OBJECTS)
$(B)/bench/count_node: $(COUNT_OBJECTS)
	@mkdir -p $(@D)
	gcc -o $@ $^ -lpthread

.PHONY: bench-counts bench-counts-keep
bench-counts: $(B)/bench/count_node
	@$(BENCH_PART) counts test/bench/counts.py $< $(B)/bench/counts test/bench/baseline.json "$$(gcc -dumpfullversion) $$(uname -m)" $(COUNTS)

bench-counts-keep: $(B)/bench/count_node
	@test/bench/counts.py $< $(B)/bench/counts test/bench/baseline.json "$$(gcc -dumpfullversion) $$(uname -m)" --keep

-include $(wildcard $(OBJ)/count/*.d)

# The longest callback: the same objects with their callbacks timed, and made to count what they do, each in an application of its own.
BENCH_WRAPPED := tracer_enabled tracer_enabled_procs tracer_enabled_garbage_collection tracer_trace
BENCH_TIMED := $(BENCH_BIN)/timed
BENCH_COUNTED := $(BENCH_BIN)/counted
$(BENCH_TIMED)/priv/coroner_nif.so: $(NIF_OBJECTS) test/bench/timed_callbacks.c test/bench/module.mk
	@mkdir -p $(@D) $(BENCH_TIMED)/ebin
	$(CC) $(NIF_CFLAGS) -shared $(patsubst %,-Wl$(comma)--wrap=%,$(BENCH_WRAPPED) lock_await pthread_mutex_lock) -o $@ \
	    test/bench/timed_callbacks.c $(NIF_OBJECTS)

$(OBJ)/nif-counted/%.o: c_src/%.c $(wildcard c_src/*.h) $(wildcard common/*.h) test/bench/module.mk
	@mkdir -p $(@D)
	$(CC) $(NIF_CFLAGS) -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset -fsanitize-coverage=trace-pc -c $< -o $@

$(BENCH_COUNTED)/priv/coroner_nif.so: $(NIF_SOURCES:c_src/%.c=$(OBJ)/nif-counted/%.o) test/bench/timed_callbacks.c test/bench/module.mk
	@mkdir -p $(@D) $(BENCH_COUNTED)/ebin
	$(CC) $(NIF_CFLAGS) -DCOUNTED -shared $(patsubst %,-Wl$(comma)--wrap=%,$(BENCH_WRAPPED) memcpy memmove memset) -o $@ \
	    test/bench/timed_callbacks.c $(filter %.o,$^)

.PHONY: bench-longest
bench-longest: all $(BENCH_BIN)/.made $(BENCH_TIMED)/priv/coroner_nif.so $(BENCH_COUNTED)/priv/coroner_nif.so
	@for application in $(BENCH_TIMED) $(BENCH_COUNTED); do cp $(APP)/ebin/*.beam $(APP)/ebin/coroner.app $$application/ebin/; done
	@$(BENCH_PART) longest bash -euc 'for each in "$(BENCH_COUNTED) work" "$(BENCH_TIMED) time"; do set -- $$each; \
	    CORONER_BENCH_CALLBACKS=$$TMPDIR/$$2 erl $(BENCH_ERL_FLAGS) +P 2000000 -pa $$1/ebin $(BENCH_BIN) \
	        -eval "longest_bench:main([$$2]), halt()."; done'

# A real application: the MySQL proxy under sysbench, without and with coroner. PROXY_BENCH="3 1": 3 pairs of rounds of 1 s.
.PHONY: bench-proxy
bench-proxy: all
	@scripts/deps.sh bench
	@$(BENCH_PART) proxy test/bench/proxy_bench.sh $(PROXY_BENCH)
