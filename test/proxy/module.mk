# The MySQL proxy: the fixture of the demonstration and of end-to-end tests. See lib.sh.

.PHONY: test-proxy demo

test-proxy:
	@test/proxy/test.sh

# Installs and builds by itself: on stdout come the records and nothing else.
demo:
	@test/demo/demo.sh
