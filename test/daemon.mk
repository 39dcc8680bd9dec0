# What tests coronerd. Included by daemon/module.mk.

DAEMON_TESTS := $(patsubst test/c/%.c,%,$(wildcard test/c/test_daemon_*.c))

$(SAN)/test/%: $(SAN)/test/%.o $(DAEMON_SAN_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(DAEMON_SAN_FLAGS) -o $@ $^ -lcmocka $(DAEMON_LIBS)

$(B)/test/daemon/%: $(OBJ)/test-daemon/%.o $(DAEMON_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $^ -lcmocka $(DAEMON_LIBS)

$(SAN)/test/%.o: test/c/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(DAEMON_SAN_FLAGS) -MMD -MP -c -o $@ $<

$(OBJ)/test-daemon/%.o: test/c/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

.SECONDARY: $(DAEMON_TESTS:%=$(SAN)/test/%.o) $(DAEMON_TESTS:%=$(OBJ)/test-daemon/%.o)
-include $(wildcard $(SAN)/test/*.d $(OBJ)/test-daemon/*.d)

# The unit tests with the sanitizers and under valgrind; then the real daemon, built with the sanitizers.
.PHONY: test-daemon
test-daemon: priv/coronerd $(SAN)/coronerd $(DAEMON_TESTS:%=$(SAN)/test/%) $(DAEMON_TESTS:%=$(B)/test/daemon/%)
	@/usr/bin/python3 test/e2e/daemon_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd \
		$(DAEMON_TESTS:%=--unit $(SAN)/test/%) $(DAEMON_TESTS:%=--valgrind $(B)/test/daemon/%)

# HTTP="garbage" runs only some.
.PHONY: test-http
test-http: priv/coronerd $(SAN)/coronerd
	@/usr/bin/python3 test/e2e/http_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(HTTP)

# Sinks, and the real programs behind them: rsyslog, a NATS server. SINKS="nats_killed" runs only some.
.PHONY: test-sinks test-pipelines
test-sinks: priv/coronerd $(SAN)/coronerd
	@/usr/bin/python3 test/e2e/sink_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(SINKS)

test-pipelines: priv/coronerd $(SAN)/coronerd
	@/usr/bin/python3 test/e2e/pipeline_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(SINKS)

# The daemon as a service, and what is installed of it.
.PHONY: test-service
test-service: all $(SAN)/coronerd
	@/usr/bin/python3 test/e2e/service_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(E2E)

.PHONY: test-package
test-package: all $(SAN)/coronerd
	@/usr/bin/python3 test/e2e/package_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(E2E)
