# How it is tested. Each kind of test has rules of its own; all of them end with "N passed, N failed".

-include test/erlang/module.mk
-include test/e2e/module.mk
-include test/proxy/module.mk
-include test/c/node/module.mk
-include test/bench/module.mk
-include test/fuzz/module.mk

# Everything. The counts of the parts are added up; the last line is "N passed, N failed".
.PHONY: test
test:
	@test/run.sh
