# The whole way, from real nodes over the real daemon into its store and its file.

NODE_TEST_DRIVER := $(B)/test/ebin/driver.beam $(B)/test/ebin/reason_tests.beam $(B)/test/ebin/storm.beam \
	$(B)/test/ebin/testlib.beam

# E2E="stopped_and_started_again_in_one_node" runs only some.
.PHONY: test-e2e
test-e2e: all $(SAN)/coronerd $(NODE_TEST_DRIVER) $(OTHER_LAYOUT)
	@/usr/bin/python3 test/e2e/node_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd $(E2E)

# Whatever is killed, fills up, fails or is slow: a little of it, and (`make faults`) as much as it takes to know.
# FAULT="full_disk" runs only some.
.PHONY: test-faults faults
test-faults faults: all $(SAN)/coronerd $(NODE_TEST_DRIVER)
	@/usr/bin/python3 test/e2e/fault_test.py --daemon priv/coronerd --san-daemon $(SAN)/coronerd \
		$(if $(filter faults,$@),--long) $(FAULT)

# A steady rate for a minute; test/soak.sh does it for an hour.
SOAK_SECONDS ?= 60
.PHONY: test-soak soak-parts
soak-parts: all $(NODE_TEST_DRIVER)

test-soak: soak-parts
	@test/soak.sh $(SOAK_SECONDS)
