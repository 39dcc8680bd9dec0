# The C of the node without a VM: unit tests with AddressSanitizer and UBSan, under valgrind, and, where threads
# meet, with ThreadSanitizer. test/c/node/run.py runs them.

NODE_C_TESTS := $(patsubst test/c/node/%.c,%,$(wildcard test/c/node/test_*.c))
NODE_C_THREADED := $(filter test_threads test_uplink,$(NODE_C_TESTS))
NODE_C_HELPERS := alloc_libc check decode names_fake
NODE_C_PURE := $(PURE_SOURCES:c_src/%.c=%)
# Quoted includes only: libcbor and we have a cbor.h each.
NODE_C_CFLAGS := $(BASE_CFLAGS) -iquote c_src -iquote test/c/node
NODE_C_LIBS := -lcmocka -lcbor -lpthread
# The clock and what waits by it stand behind functions of the tests' own, which let time pass without waiting.
NODE_C_WRAP := -Wl,--wrap=clock_gettime,--wrap=poll,--wrap=pthread_create,--wrap=pthread_cond_timedwait

# $(call NODE_C_FLAVOUR,NAME,COMPILER,FLAGS): how the tests and what they test are built with FLAGS.
define NODE_C_FLAVOUR
$(OBJ)/node-$(1)/%.o: c_src/%.c test/c/node/module.mk
	@mkdir -p $$(@D)
	$(2) $$(NODE_C_CFLAGS) $(3) -MMD -MP -c -o $$@ $$<

$(OBJ)/node-$(1)/%.o: test/c/node/%.c test/c/node/module.mk
	@mkdir -p $$(@D)
	$(2) $$(NODE_C_CFLAGS) $(3) -MMD -MP -c -o $$@ $$<

$(B)/test/node-$(1)/test_uplink: NODE_C_LDFLAGS := $$(NODE_C_WRAP)
$(B)/test/node-$(1)/%: $(OBJ)/node-$(1)/%.o $(NODE_C_HELPERS:%=$(OBJ)/node-$(1)/%.o) $(NODE_C_PURE:%=$(OBJ)/node-$(1)/%.o)
	@mkdir -p $$(@D)
	$(2) $(3) $$(NODE_C_LDFLAGS) -o $$@ $$^ $$(NODE_C_LIBS)
endef
$(eval $(call NODE_C_FLAVOUR,asan,$(CC),-O1 -g -fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all))
$(eval $(call NODE_C_FLAVOUR,plain,$(CC),-O1 -g))
$(eval $(call NODE_C_FLAVOUR,tsan,clang,-O1 -g -fsanitize=thread))

NODE_C_PROGRAMS := $(NODE_C_TESTS:%=$(B)/test/node-asan/%) $(NODE_C_TESTS:%=$(B)/test/node-plain/%) \
	$(NODE_C_THREADED:%=$(B)/test/node-tsan/%)

.SECONDARY: $(foreach flavour,asan plain tsan,$(addprefix $(OBJ)/node-$(flavour)/,$(addsuffix .o,\
	$(NODE_C_TESTS) $(NODE_C_HELPERS) $(NODE_C_PURE))))

.PHONY: test-node-c
test-node-c: $(NODE_C_PROGRAMS)
	@/usr/bin/python3 test/c/node/run.py \
		$(NODE_C_TESTS:%=--sanitized $(B)/test/node-asan/%) \
		$(NODE_C_TESTS:%=--valgrind $(B)/test/node-plain/%) \
		$(NODE_C_THREADED:%=--threads $(B)/test/node-tsan/%)

-include $(wildcard $(OBJ)/node-asan/*.d $(OBJ)/node-plain/*.d $(OBJ)/node-tsan/*.d)
