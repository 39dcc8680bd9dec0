# coronerctl, and what tests it. Included by daemon/module.mk.

# The Erlang installation that has libei; only what builds or tests coronerctl asks for it.
CTL_ERLANG = $(eval CTL_ERLANG := $$(shell erl -noshell -eval 'io:put_chars(code:root_dir()),halt().'))$(CTL_ERLANG)

# Pure: JSON or bytes in, text out. The unit tests link these and nothing that opens a socket.
CTL_PURE := ctl_cause ctl_json ctl_record ctl_story ctl_term ctl_text ctl_tree ctl_where ctl
CTL_SOURCES := $(CTL_PURE) coronerctl ctl_ask ctl_attach ctl_client ctl_cookie ctl_dist ctl_epmd \
	ctl_net ctl_status
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
