# What it costs: one JSON object a line on stdout. Ratios within one run are what counts; machines differ.

.PHONY: bench
bench: all
	@mkdir -p $(B)/bench
	@erlc +warnings_as_errors -o $(B)/bench test/bench/node_bench.erl
	@erl -noshell -pa $(APP)/ebin $(B)/bench -kernel logger_level critical -eval 'node_bench:main(), halt().'

# What the daemon does in a second, and how long a look into its store takes.
# DAEMON_BENCH="--seconds 60 --rows 10000000" for the figures of the docs.
$(B)/test/bench/daemon_bench: $(OBJ)/test-bench/daemon_bench.o $(DAEMON_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(OBJ)/test-bench/%.o: test/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OBJ)/test-bench/*.d)

.PHONY: bench-daemon
bench-daemon: priv/coronerd $(B)/test/bench/daemon_bench
	@$(B)/test/bench/daemon_bench --daemon priv/coronerd $(DAEMON_BENCH)
