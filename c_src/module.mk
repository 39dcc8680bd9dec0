# The NIF: what runs inside the node. It links to libc alone.

NIF_SOURCES := $(wildcard c_src/*.c)
NIF_OBJECTS := $(NIF_SOURCES:c_src/%.c=$(OBJ)/nif/%.o)
# Asked once, and only when something is compiled: by then `deps` has seen to it that there is an erl.
ERLANG_ROOT = $(eval ERLANG_ROOT := $$(shell erl -noshell -eval 'io:put_chars(code:root_dir()),halt().'))$(ERLANG_ROOT)
NIF_CFLAGS = $(BASE_CFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -Ic_src -isystem $(ERLANG_ROOT)/usr/include

# Those that need no VM: the C tests link them with an allocator and names of their own.
PURE_SOURCES := $(addprefix c_src/,act.c attribution.c bystanders.c cbor.c detail.c flat.c gap.c intern.c journal.c ledger.c \
	linkset.c lock.c purge.c reason.c record.c record_encode.c remote.c scope.c sites.c stops.c supervision.c text.c uplink.c wide.c)

$(OBJ)/nif/%.o: c_src/%.c $(wildcard c_src/*.h) $(wildcard common/*.h) c_src/module.mk Makefile | deps
	@mkdir -p $(@D)
	$(CC) $(NIF_CFLAGS) -c $< -o $@

priv/coroner_nif.so: $(NIF_OBJECTS)
	$(CC) $(CFLAGS) -shared -Wl,-z,relro,-z,now -o $@ $^

all: priv/coroner_nif.so
