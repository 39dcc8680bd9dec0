# coronerd, the daemon. Everything but coronerd.c is linked into its unit tests, too.

DAEMON_LIBS := -luv -ljansson -lsqlite3 -lcbor -lmicrohttpd
DAEMON_UNITS := buffer cascades cursor endpoint filter frame health hello http http_listen ingest ingest_numbers item log \
	memory metrics monitor op_records op_status op_subscribe process_numbers query record reply shrink sink store \
	store_columns store_index store_keep store_load store_reader store_schema store_segment timestamp transcode utf8 writer
DAEMON_CFLAGS := $(BASE_CFLAGS) -Idaemon
DAEMON_SAN_FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN := $(B)/san

DAEMON_OBJECTS := $(DAEMON_UNITS:%=$(OBJ)/daemon/%.o)
DAEMON_SAN_OBJECTS := $(DAEMON_UNITS:%=$(SAN)/daemon/%.o)

all: priv/coronerd

priv/coronerd: $(OBJ)/daemon/coronerd.o $(DAEMON_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(SAN)/coronerd: $(SAN)/daemon/coronerd.o $(DAEMON_SAN_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(DAEMON_SAN_FLAGS) -o $@ $^ $(DAEMON_LIBS)

$(OBJ)/daemon/%.o: daemon/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(SAN)/daemon/%.o: daemon/%.c
	@mkdir -p $(@D)
	$(CC) $(DAEMON_CFLAGS) $(DAEMON_SAN_FLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OBJ)/daemon/*.d $(SAN)/daemon/*.d)
-include test/daemon.mk
-include daemon/ctl.mk
