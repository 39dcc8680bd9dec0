# The node's C under libFuzzer, with AddressSanitizer and UBSan. erl_nif.h stands on a model of the VM's terms (nif_shim.c).
# `make test-fuzz` replays the kept inputs and looks a little further; `make fuzz FUZZ_SECONDS=600` looks for long, and
# `make fuzz-merge` keeps what that found.

FUZZ_SECONDS ?= 600
FUZZ_TARGETS := $(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_HELPERS := bytes nif_shim nif_refused term_from
FUZZ_NODE_HELPERS := alloc_libc check decode
FUZZ_SOURCES := $(PURE_SOURCES:c_src/%.c=%) cells term terms unaligned
FUZZ_CFLAGS = $(BASE_CFLAGS) -iquote c_src -iquote test/c/node -iquote test/fuzz -isystem $(ERLANG_ROOT)/usr/include \
	-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

define FUZZ_RULE
$(OBJ)/fuzz/%.o: $(1)/%.c test/fuzz/module.mk
	@mkdir -p $$(@D)
	clang $$(FUZZ_CFLAGS) -MMD -MP -c -o $$@ $$<
endef
$(foreach room,c_src test/c/node test/fuzz,$(eval $(call FUZZ_RULE,$(room))))

FUZZ_OBJECTS := $(patsubst %,$(OBJ)/fuzz/%.o,$(FUZZ_HELPERS) $(FUZZ_NODE_HELPERS) $(FUZZ_SOURCES))
.SECONDARY: $(FUZZ_OBJECTS) $(FUZZ_TARGETS:%=$(OBJ)/fuzz/%.o)

$(B)/test/fuzz/%: $(OBJ)/fuzz/%.o $(FUZZ_OBJECTS)
	@mkdir -p $(@D)
	clang -fsanitize=fuzzer,address,undefined -o $@ $^ -lcmocka -lcbor -lpthread

# What the daemon reads: a config file, frames of nodes, requests (these with parts in memory for a store). Nothing of the
# node is in it, and files of the same name are.
FUZZ_DAEMON_CFLAGS := $(BASE_CFLAGS) -iquote daemon -O1 -g -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_SETTINGS := buffer http_address log log_output memory settings settings_keys settings_text settings_value utf8
FUZZ_FRAME := buffer frame hello item log log_output memory record shape shrink timestamp transcode utf8
FUZZ_REQUEST := buffer cursor filter filter_fields groups log log_output memory op_count op_records op_subscribe op_tree reply scan \
	timestamp utf8

$(OBJ)/fuzz-daemon/%.o: daemon/%.c test/fuzz/module.mk
	@mkdir -p $(@D)
	clang $(FUZZ_DAEMON_CFLAGS) -MMD -MP -c -o $@ $<

$(OBJ)/fuzz-daemon/%.o: test/fuzz/%.c test/fuzz/module.mk
	@mkdir -p $(@D)
	clang $(FUZZ_DAEMON_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/test/fuzz/fuzz_settings: $(FUZZ_SETTINGS:%=$(OBJ)/fuzz-daemon/%.o)
$(B)/test/fuzz/fuzz_frame: $(FUZZ_FRAME:%=$(OBJ)/fuzz-daemon/%.o)
$(B)/test/fuzz/fuzz_request: $(FUZZ_REQUEST:%=$(OBJ)/fuzz-daemon/%.o)
$(B)/test/fuzz/fuzz_settings $(B)/test/fuzz/fuzz_frame $(B)/test/fuzz/fuzz_request: $(B)/test/fuzz/%: $(OBJ)/fuzz-daemon/%.o
	@mkdir -p $(@D)
	clang -fsanitize=fuzzer,address,undefined -o $@ $^ -lconfuse -lcbor -ljansson -lsqlite3 -lpthread

.PHONY: test-fuzz fuzz fuzz-merge
test-fuzz: $(FUZZ_TARGETS:%=$(B)/test/fuzz/%)
	@test/fuzz/run.sh test $(FUZZ_TARGETS)

fuzz: $(FUZZ_TARGETS:%=$(B)/test/fuzz/%)
	@test/fuzz/run.sh fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

fuzz-merge: $(FUZZ_TARGETS:%=$(B)/test/fuzz/%)
	@test/fuzz/run.sh merge $(FUZZ_TARGETS)

-include $(wildcard $(OBJ)/fuzz/*.d $(OBJ)/fuzz-daemon/*.d)
-include $(wildcard $(OBJ)/fuzz/*.d $(OBJ)/fuzz-frame/*.d)
