# What it costs: one JSON object a line on stdout. Ratios within one run are what counts; machines differ.
#   make bench                         all
#   make bench BENCH='"link"'          the workloads in the node whose names begin so

BENCH_BIN := $(B)/bench
BENCH :=

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

.PHONY: bench bench-node
bench: bench-node

bench-node: all $(BENCH_BIN)/.made $(BENCH_BIN)/floor_tracer.so
	@erl -noshell +P 2000000 -pa $(APP)/ebin $(BENCH_BIN) -eval 'node_bench:main([$(BENCH)]), halt().'

# Attaching to a node with very many idle processes: PROCESSES=100000 for fewer than a million, which take 3 GB.
.PHONY: bench-attach
bench: bench-attach
bench-attach: all $(BENCH_BIN)/.made
	@erl -noshell +P 4000000 -pa $(APP)/ebin $(BENCH_BIN) -kernel logger_level critical -eval 'attach_bench:main(), halt().'

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
bench: bench-daemon
bench-daemon: all $(BENCH_BIN)/.made $(B)/test/bench/daemon_bench
	@$(B)/test/bench/daemon_bench --daemon priv/coronerd --ebin $(APP)/ebin --ebin $(BENCH_BIN) $(DAEMON_BENCH)

# What messages cost inside the scope and outside.
.PHONY: bench-scope
bench: bench-scope
bench-scope: all $(BENCH_BIN)/.made
	@erl -noshell -pa $(APP)/ebin $(BENCH_BIN) -kernel logger_level critical -eval 'scope_bench:main(), halt().'

# What the node's C takes in instructions, by callgrind: stable where times are not. `make bench-counts` compares them with
# test/bench/baseline.json, `make bench-counts-keep` makes these the ones to compare with.
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
bench: bench-counts
bench-counts: $(B)/bench/count_node
	@test/bench/counts.py $< $(B)/bench/counts test/bench/baseline.json "$$(gcc -dumpfullversion) $$(uname -m)"

bench-counts-keep: $(B)/bench/count_node
	@test/bench/counts.py $< $(B)/bench/counts test/bench/baseline.json "$$(gcc -dumpfullversion) $$(uname -m)" --keep

-include $(wildcard $(OBJ)/count/*.d)

# The longest callback: the same objects with their callbacks timed, in an application of its own.
BENCH_TIMED := $(BENCH_BIN)/timed
$(BENCH_TIMED)/priv/coroner_nif.so: $(NIF_OBJECTS) test/bench/timed_callbacks.c test/bench/module.mk
	@mkdir -p $(@D) $(BENCH_TIMED)/ebin
	$(CC) $(NIF_CFLAGS) -shared -Wl,--wrap=tracer_enabled,--wrap=tracer_trace -o $@ test/bench/timed_callbacks.c $(NIF_OBJECTS)

.PHONY: bench-longest
bench: bench-longest
bench-longest: all $(BENCH_BIN)/.made $(BENCH_TIMED)/priv/coroner_nif.so
	@cp $(APP)/ebin/*.beam $(APP)/ebin/coroner.app $(BENCH_TIMED)/ebin/
	@rm -f $(BENCH_TIMED)/times
	@CORONER_BENCH_TIMES=$(BENCH_TIMED)/times erl -noshell +P 2000000 -pa $(BENCH_TIMED)/ebin $(BENCH_BIN) -eval 'longest_bench:main(), halt().'

# A real application: the MySQL proxy under sysbench, without and with coroner. Ends after 8 minutes, whatever it has got to.
.PHONY: bench-proxy
bench: bench-proxy
bench-proxy: all
	@scripts/deps.sh bench
	@timeout 480 test/bench/proxy_bench.sh
