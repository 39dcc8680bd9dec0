# coronerctl, and what tests it. Included by daemon/module.mk.

# The Erlang installation that has libei; only what builds or tests coronerctl asks for it.
CTL_ERLANG = $(eval CTL_ERLANG := $$(shell erl -noshell -eval 'io:put_chars(code:root_dir()),halt().'))$(CTL_ERLANG)

# Pure: JSON or bytes in, text out. The unit tests link these and nothing that opens a socket.
CTL_PURE := ctl_cause ctl_json ctl_record ctl_story ctl_term ctl_text ctl_tree ctl_where ctl filter_fields
CTL_SOURCES := $(CTL_PURE) coronerctl ctl_ask ctl_attach ctl_cascade ctl_client ctl_cookie ctl_count ctl_dist ctl_epmd \
	ctl_net ctl_nodes ctl_status
CTL_OBJECTS := $(CTL_SOURCES:%=$(OBJ)/ctl/%.o)

all: priv/coronerctl

priv/coronerctl: $(CTL_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -Wl,-Bstatic -ljansson -L$(CTL_ERLANG)/usr/lib -lei -Wl,-Bdynamic \
		-lpthread

$(CTL_OBJECTS): $(OBJ)/ctl/%.o: daemon/%.c
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(CFLAGS) -I$(CTL_ERLANG)/usr/include -MMD -MP -c -o $@ $<

-include $(CTL_OBJECTS:.o=.d)

# Unit tests, with AddressSanitizer and UBSan, and again under valgrind; then the commands themselves.
CTL_TESTS := test_ctl_text test_ctl_term test_ctl_where test_ctl_story test_ctl_status
CTL_TESTED := $(CTL_PURE) ctl_cascade ctl_nodes ctl_status ctl_client ctl_net
CTL_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -O1 -g

# $(call CTL_FLAVOUR,NAME,FLAGS): how the tests and what they test are built with FLAGS.
define CTL_FLAVOUR
$(OBJ)/$(1)/%.o: daemon/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(BASE_CFLAGS) $(2) -I$$(CTL_ERLANG)/usr/include -MMD -MP -c -o $$@ $$<

$(OBJ)/$(1)/%.o: test/c/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(BASE_CFLAGS) $(2) -Idaemon -I$$(CTL_ERLANG)/usr/include -MMD -MP -c -o $$@ $$<

$(B)/test/$(1)/%: $(OBJ)/$(1)/%.o $(CTL_TESTED:%=$(OBJ)/$(1)/%.o)
	@mkdir -p $$(@D)
	$$(CC) $(2) -o $$@ $$^ -ljansson -lcmocka -L$$(CTL_ERLANG)/usr/lib -lei -lpthread
endef
$(eval $(call CTL_FLAVOUR,ctl-asan,$(CTL_SANITIZE)))
$(eval $(call CTL_FLAVOUR,ctl-plain,-O1 -g))

# The whole of it with the sanitizers: what the commands are tested with.
$(B)/test/ctl-asan/coronerctl: $(CTL_SOURCES:%=$(OBJ)/ctl-asan/%.o)
	@mkdir -p $(@D)
	$(CC) $(CTL_SANITIZE) -o $@ $^ -ljansson -L$(CTL_ERLANG)/usr/lib -lei -lpthread

.SECONDARY: $(foreach flavour,ctl-asan ctl-plain,$(CTL_TESTS:%=$(OBJ)/$(flavour)/%.o) \
	$(CTL_TESTED:%=$(OBJ)/$(flavour)/%.o))

.PHONY: test-ctl
test-ctl: all $(B)/test/ctl-asan/coronerctl $(CTL_TESTS:%=$(B)/test/ctl-asan/%) $(CTL_TESTS:%=$(B)/test/ctl-plain/%)
	@/usr/bin/python3 test/e2e/ctl_test.py --ctl $(B)/test/ctl-asan/coronerctl \
		$(CTL_TESTS:%=--unit $(B)/test/ctl-asan/%) \
		$(CTL_TESTS:%=--valgrind $(B)/test/ctl-plain/%)

-include $(wildcard $(OBJ)/ctl-asan/*.d $(OBJ)/ctl-plain/*.d)
