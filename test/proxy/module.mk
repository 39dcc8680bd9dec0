# The MySQL proxy: the fixture of the demonstration and of end-to-end tests. See lib.sh.

.PHONY: test-proxy demo test-demo

test-proxy:
	@test/proxy/test.sh

# Installs and builds by itself: on stdout come the records and nothing else.
demo:
	@test/demo/demo.sh

# What it prints on stdout is checked by itself, and by its exit code; here, that nothing else is there.
test-demo:
	@if test/demo/demo.sh 2>$(B)/demo.log | /usr/bin/python3 -c 'import json, sys; \
		lines = [json.loads(line) for line in sys.stdin]; sys.exit(len(lines) < 4)' && \
		[ "$${PIPESTATUS[0]}" = 0 ]; then echo "ok the demonstration"; echo "1 passed, 0 failed"; \
	else cat $(B)/demo.log >&2; echo "not ok the demonstration"; echo "0 passed, 1 failed"; exit 1; fi
