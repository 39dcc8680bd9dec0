/* Records: the hops of a cascade, and what they become on the wire, whatever they hold. */
#include "check.h"
#include "decode.h"
#include "names_fake.h"
#include "record.h"
#include "supervision.h"
#include "wire.h"

#define INCARNATION "6a1f0c2be5d94c11"

/* --- chains
 * ------------------------------------------------------------------------------------------- */

static struct record *link_of_chain(uint32_t number, struct record *peer)
{
    struct record *record = record_new();

    record->who.pid = fake_pid(100 + number);
    record->seq = number + 1;
    record->source = peer == NULL ? CORONER_SOURCE_KILL : CORONER_SOURCE_LINK;
    record->shape = REASON_KILLED;
    if (peer != NULL) {
        record->via = peer->who;
        record_follow(record, peer);
    }
    return record;
}

/* Checks the hops of the record at `depth`: the first seven and the last seven of those between, in
 * order. */
static void assert_hops(const struct record *record, uint32_t depth)
{
    uint32_t between = depth > 1 ? depth - 1 : 0;
    uint32_t kept = between < RECORD_HOPS ? between : RECORD_HOPS;

    assert_int_equal(record->depth, depth);
    assert_int_equal(record->hop_count, kept);
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t number = kept < RECORD_HOPS || i < RECORD_HOPS_HEAD ? 1 + i : depth - (kept - i);

        assert_int_equal(record->hops[i].who.pid, fake_pid(100 + number));
        assert_int_equal(record->hops[i].seq, number + 1);
        assert_int_equal(record->hops[i].source, CORONER_SOURCE_LINK);
    }
}

static cbor_item_t *encoded(const struct record *record, const struct intern *intern)
{
    uint8_t bytes[RECORD_CBOR_MAX];
    struct cbor_writer cbor = cbor_writer_on(bytes, sizeof(bytes));
    cbor_item_t *item;

    record_encode(record, intern, INCARNATION, &cbor);
    assert_false(cbor.full);
    item = decode(bytes, cbor.used);
    assert_non_null(item);
    return item;
}

static void assert_chain(const struct record *record, const struct intern *intern, uint32_t depth)
{
    cbor_item_t *item = encoded(record, intern);
    cbor_item_t *chain = decode_at(item, WIRE_KEY_chain);
    size_t hops = cbor_array_size(chain), total = depth + 1, most = 2 + RECORD_HOPS;

    assert_int_equal(decode_uint(decode_at(item, WIRE_KEY_chain_length)), total);
    assert_int_equal(hops, total < most ? total : most);
    for (size_t i = 0; i < hops; i++) {
        size_t number = i < hops / 2 || total <= most ? i : total - (hops - i);
        char pid[32], id[64];

        (void)snprintf(pid, sizeof(pid), "<0.%zu.0>", 100 + number);
        (void)snprintf(id, sizeof(id), INCARNATION "-%zu", number + 1);
        assert_true(decode_is(decode_at(cbor_array_handle(chain)[i], WIRE_KEY_pid), pid));
        assert_true(decode_is(decode_at(cbor_array_handle(chain)[i], WIRE_KEY_id), id));
        assert_true(decode_is(decode_at(cbor_array_handle(chain)[i], WIRE_KEY_source),
                              number == 0 ? "kill" : "link"));
    }
    assert_true(decode_is(decode_at(decode_at(item, WIRE_KEY_origin), WIRE_KEY_pid), "<0.100.0>"));
    cbor_decref(&item);
}

/* A cascade of which every record is kept: each holds the root once, and nothing else of the chain.
 */
static void a_cascade_keeps_its_ends(void **state)
{
    static struct record *records[1001];
    struct intern *intern = intern_new();

    (void)state;
    for (uint32_t i = 0; i <= 1000; i++) {
        records[i] = link_of_chain(i, i == 0 ? NULL : records[i - 1]);
        assert_hops(records[i], i);
        assert_ptr_equal(record_root(records[i]), records[0]);
        assert_int_equal(atomic_load(&records[0]->holders), i + 1);
        if (i < 20 || i % 100 == 0)
            assert_chain(records[i], intern, i);
    }
    for (uint32_t i = 1; i <= 1000; i++) {
        assert_int_equal(atomic_load(&records[i]->holders), 1);
        record_drop(records[i]);
        assert_int_equal(atomic_load(&records[0]->holders), 1001 - i);
    }
    record_drop(records[0]);
    intern_free(intern);
}

/* Of a cascade whose links go as soon as they are followed only the root stays, until the last one
 * goes. */
static void a_cascade_holds_only_its_root(void **state)
{
    int64_t before = alloc_live();
    struct record *last = link_of_chain(0, NULL);

    (void)state;
    for (uint32_t i = 1; i <= 1000; i++) {
        struct record *next = link_of_chain(i, last);

        record_drop(last);
        last = next;
        assert_hops(last, i);
        assert_int_equal(record_root(last)->seq, 1);
        assert_int_equal(atomic_load(&record_root(last)->holders), 1);
        assert_true(alloc_live() - before <= 3); /* the record, its hops, the root */
    }
    record_drop(last);
    record_drop(NULL);
    assert_null(record_hold(NULL));
}

static void without_memory_the_root_is_still_known(void **state)
{
    struct intern *intern = intern_new();
    struct record *first = link_of_chain(0, NULL), *second = link_of_chain(1, first), *third,
                  *fourth;

    (void)state;
    alloc_fail_at(1, false);
    assert_null(record_new());
    alloc_fail_at(2, false); /* the record itself, then its hops */
    third = link_of_chain(2, second);
    assert_int_equal(alloc_failed(), 1);
    assert_int_equal(third->hop_count, 0);
    assert_int_equal(third->depth, 2);
    assert_ptr_equal(third->root, first);
    fourth = link_of_chain(3, third);
    assert_int_equal(fourth->hop_count, 1);
    assert_int_equal(fourth->hops[0].seq, 3);
    {
        cbor_item_t *item = encoded(fourth, intern);

        assert_int_equal(cbor_array_size(decode_at(item, WIRE_KEY_chain)), 3);
        assert_int_equal(decode_uint(decode_at(item, WIRE_KEY_chain_length)), 4);
        cbor_decref(&item);
    }
    record_drop(first);
    record_drop(second);
    record_drop(third);
    record_drop(fourth);
    intern_free(intern);
}

static void ancestors_are_shared_and_bounded(void **state)
{
    term_word words[RECORD_ANCESTORS + 3];
    struct ancestors *ancestors;

    (void)state;
    for (size_t i = 0; i < RECORD_ANCESTORS + 3; i++)
        words[i] = fake_pid(i);
    alloc_fail_at(1, false);
    assert_null(ancestors_new(words, 1));
    ancestors = ancestors_new(words, RECORD_ANCESTORS + 3);
    assert_int_equal(ancestors->count, RECORD_ANCESTORS);
    assert_memory_equal(ancestors->words, words, RECORD_ANCESTORS * sizeof(words[0]));
    assert_ptr_equal(ancestors_hold(ancestors), ancestors);
    ancestors_drop(ancestors);
    ancestors_drop(ancestors);
    ancestors_drop(NULL);
    assert_null(ancestors_hold(NULL));
}

static void what_a_record_takes_is_counted(void **state)
{
    struct record *record = record_new();
    size_t bytes = record_bytes(record);

    (void)state;
    assert_true(bytes >= sizeof(*record));
    record->reason = text_new("0123456789", 10, false);
    assert_true(record_bytes(record) >= bytes + 10);
    bytes = record_bytes(record);
    record->stack = text_new("0123456789", 10, false);
    assert_true(record_bytes(record) >= bytes + 10);
    bytes = record_bytes(record);
    record->candidates = memory_zalloc(2 * sizeof(*record->candidates));
    record->candidate_count = 2;
    assert_true(record_bytes(record) >= bytes + 2 * sizeof(*record->candidates));
    record_drop(record);
}

/* --- what goes over the wire
 * -------------------------------------------------------------------------- */

static uint32_t function(struct intern *intern, const char *module, const char *name,
                         uint32_t arity)
{
    return intern_function(
        intern,
        (struct function){.module = fake_atom(module), .name = fake_atom(name), .arity = arity});
}

static void assert_json(const struct record *record, const struct intern *intern,
                        const char *wanted)
{
    cbor_item_t *item = encoded(record, intern);
    size_t length;
    char *json = decode_json(item, &length);

    assert_string_equal(json, wanted);
    assert_true(length <= RECORD_JSON_MAX);
    free(json);
    cbor_decref(&item);
}

/* The sentence that coroner was made for. */
static void the_story_of_the_proxy(void **state)
{
    struct intern *intern = intern_new();
    term_word sup = fake_atom("ump_proxy_sup");
    struct record *session = record_new(), *server = record_new();

    (void)state;
    session->source = CORONER_SOURCE_PURGE;
    session->confidence = CORONER_CONFIDENCE_OBSERVED;
    session->severity = CORONER_SEVERITY_ERROR;
    session->shape = REASON_KILLED;
    session->who = (struct who){.pid = fake_pid(29814),
                                .initial_call = function(intern, "ump_proxy_session", "init", 1)};
    session->parent = fake_pid(500);
    session->reason = text_new("killed", 6, false);
    session->age_known = true;
    session->age_us = 81234567;
    session->seq = 48212;
    session->act = act_new();
    session->act->operation = OPERATION_PURGE;
    session->act->module = fake_atom("ump_proxy_session");
    session->act->by = (struct who){.pid = fake_pid(41), .name = fake_atom("release_handler")};
    session->act->site.function = function(intern, "release_handler", "-brutal_purge/1-fun-0-", 1);
    session->act->function = function(intern, "code", "purge", 1);

    server->source = CORONER_SOURCE_LINK_TRAPPED;
    server->confidence = CORONER_CONFIDENCE_INFERRED;
    server->severity = CORONER_SEVERITY_ERROR;
    server->shape = REASON_KILLED;
    server->trapping = true;
    server->who =
        (struct who){.pid = fake_pid(31760),
                     .initial_call = function(intern, "ump_proxy_cherly_server", "init", 1)};
    server->parent = fake_pid(512);
    server->ancestors = ancestors_new(&sup, 1);
    server->reason = text_hold(session->reason);
    server->seq = 48213;
    server->via = session->who;
    record_follow(server, session);

    assert_json(
        server, intern,
        "{\"severity\":\"error\","
        "\"message\":\"ump_proxy_cherly_server <0.31760.0> exited killed: trapped exit of "
        "ump_proxy_session <0.29814.0>, killed by purge of ump_proxy_session requested by "
        "release_handler <0.41.0>\","
        "\"process\":{\"pid\":\"<0.31760.0>\",\"name\":null,"
        "\"initial_call\":\"ump_proxy_cherly_server:init/1\",\"parent\":\"<0.512.0>\","
        "\"ancestors\":[\"ump_proxy_sup\"],\"trap_exit\":true},"
        "\"exit\":{\"source\":\"link_trapped\",\"reason\":\"killed\",\"reason_class\":\"killed\","
        "\"truncated\":false,\"confidence\":\"inferred\",\"via\":\"<0.29814.0>\"},"
        "\"origin\":{\"source\":\"purge\",\"pid\":\"<0.29814.0>\","
        "\"initial_call\":\"ump_proxy_session:init/1\",\"module\":\"ump_proxy_session\","
        "\"operation\":\"purge\",\"by\":\"<0.41.0>\",\"by_name\":\"release_handler\","
        "\"by_call\":\"release_handler:'-brutal_purge/1-fun-0-'/1\","
        "\"by_function\":\"code:purge/1\",\"confidence\":\"observed\","
        "\"id\":\"6a1f0c2be5d94c11-48212\"},"
        "\"chain\":[{\"pid\":\"<0.29814.0>\",\"initial_call\":\"ump_proxy_session:init/1\","
        "\"source\":\"purge\",\"reason\":\"killed\",\"id\":\"6a1f0c2be5d94c11-48212\"},"
        "{\"pid\":\"<0.31760.0>\",\"initial_call\":\"ump_proxy_cherly_server:init/1\","
        "\"source\":\"link_trapped\",\"reason\":\"killed\",\"id\":\"6a1f0c2be5d94c11-48213\"}],"
        "\"chain_length\":2}");
    record_drop(server);
    record_drop(session);
    intern_free(intern);
}

static void an_exit_of_its_own_doing(void **state)
{
    struct intern *intern = intern_new();
    struct record *record = record_new();
    static const char stack[] = "m:f/2 (src/m.erl:7)\nproc_lib:init_p/3 (proc_lib.erl:226)";

    (void)state;
    record->source = CORONER_SOURCE_SELF_EXIT;
    record->confidence = CORONER_CONFIDENCE_AMBIGUOUS;
    record->shape = REASON_OTHER;
    record->severity = CORONER_SEVERITY_ERROR;
    record->who = (struct who){.pid = fake_pid(7), .name = fake_atom("Worker one")};
    record->age_known = true;
    record->age_us = UINT64_C(1) << 53;
    record->evidence_lost = true;
    record->reason = text_new("{\"a\",\\}", 7, true);
    record->stack = text_new(stack, sizeof(stack) - 1, false);
    record->act = act_new();
    record->act->by.pid = fake_pid(7);
    record->act->site = (struct site){.function = function(intern, "m", "f", 2),
                                      .file = intern_file(intern, "src/m.erl", 9),
                                      .line = 7};
    record->act->function = function(intern, "erlang", "exit", 1);
    record->candidate_count = 2;
    record->candidates = memory_zalloc(2 * sizeof(*record->candidates));
    record->candidates[0] =
        (struct record_candidate){.source = CORONER_SOURCE_SELF_EXIT, .act = act_hold(record->act)};
    record->candidates[1] =
        (struct record_candidate){.source = CORONER_SOURCE_LINK,
                                  .via = {.pid = fake_pid(8), .name = fake_atom("peer")},
                                  .seq = 3};
    assert_json(
        record, intern,
        "{\"severity\":\"error\",\"message\":\"'Worker one' <0.7.0> exited {\\\"a\\\",\\\\}: by "
        "itself at m:f/2 (src/m.erl:7) (not the only possible cause)\","
        "\"process\":{\"pid\":\"<0.7.0>\",\"name\":\"Worker one\",\"trap_exit\":false,"
        "\"age_us\":\"9007199254740992\"},"
        "\"exit\":{\"source\":\"self_exit\",\"reason\":\"{\\\"a\\\",\\\\}\","
        "\"reason_class\":\"other\",\"truncated\":true,\"confidence\":\"ambiguous\","
        "\"evidence_lost\":true,\"stack\":[\"m:f/2 (src/m.erl:7)\","
        "\"proc_lib:init_p/3 (proc_lib.erl:226)\"],\"candidates\":["
        "{\"source\":\"self_exit\",\"by_call\":\"m:f/2\",\"by_file\":\"src/m.erl\","
        "\"by_line\":7,\"by_function\":\"erlang:exit/1\"},"
        "{\"source\":\"link\",\"via\":\"<0.8.0>\",\"name\":\"peer\","
        "\"id\":\"6a1f0c2be5d94c11-3\"}]},"
        "\"origin\":{\"source\":\"self_exit\",\"pid\":\"<0.7.0>\",\"name\":\"Worker one\","
        "\"by_call\":\"m:f/2\",\"by_file\":\"src/m.erl\",\"by_line\":7,"
        "\"by_function\":\"erlang:exit/1\",\"confidence\":\"ambiguous\"},"
        "\"chain\":[{\"pid\":\"<0.7.0>\",\"name\":\"Worker one\",\"source\":\"self_exit\","
        "\"reason\":\"{\\\"a\\\",\\\\}\"}],\"chain_length\":1}");

    /* reason_detail = class: neither the reason nor the stack leaves the node. */
    record->only_class = true;
    {
        cbor_item_t *item = encoded(record, intern);
        size_t length;
        char *json = decode_json(item, &length);

        assert_null(strstr(json, "\"a\\\""));
        assert_null(strstr(json, "proc_lib"));
        assert_true(decode_is(decode_at(decode_at(item, WIRE_KEY_exit), WIRE_KEY_reason), "other"));
        assert_true(cbor_get_bool(decode_at(decode_at(item, WIRE_KEY_exit), WIRE_KEY_truncated)));
        free(json);
        cbor_decref(&item);
    }
    record_drop(record);
    intern_free(intern);
}

static void every_source_has_a_record(void **state)
{
    static const char *const names[] = {
#define X(symbol, name) name,
        CORONER_SOURCES(X)
#undef X
    };
    struct intern *intern = intern_new();

    (void)state;
    for (int with_act = 0; with_act < 2; with_act++) {
        for (uint8_t source = 0; source < CORONER_SOURCE_COUNT; source++) {
            for (uint8_t shape = 0; shape < REASON_SHAPE_COUNT; shape++) {
                struct record *record = record_new();
                cbor_item_t *item;
                size_t length;
                char *json;

                record->source = source;
                record->shape = shape;
                record->severity = (uint8_t)record_severity(source, shape);
                record->who.pid = fake_pid(1);
                if (with_act) {
                    record->act = act_new();
                    record->act->by.pid = fake_pid(2);
                    record->act->module = fake_atom("m");
                    record->act->operation = OPERATION_LOAD;
                }
                item = encoded(record, intern);
                json = decode_json(item, &length);
                assert_true(decode_is(decode_at(decode_at(item, WIRE_KEY_exit), WIRE_KEY_source),
                                      names[source]));
                assert_true(
                    decode_is(decode_at(decode_at(item, WIRE_KEY_exit), WIRE_KEY_reason_class),
                              reason_shape_name(shape)));
                assert_non_null(decode_at(item, WIRE_KEY_message));
                assert_non_null(decode_at(item, WIRE_KEY_process));
                assert_non_null(decode_at(item, WIRE_KEY_origin));
                assert_int_equal(cbor_array_size(decode_at(item, WIRE_KEY_chain)), 1);
                free(json);
                cbor_decref(&item);
                record_drop(record);
            }
        }
    }
    assert_int_equal(record_severity(CORONER_SOURCE_UNKNOWN, REASON_SHUTDOWN), CORONER_SEVERITY_INFO);
    assert_int_equal(record_severity(CORONER_SOURCE_UNKNOWN, REASON_NOPROC), CORONER_SEVERITY_WARNING);
    assert_int_equal(record_severity(CORONER_SOURCE_UNKNOWN, REASON_KILLED), CORONER_SEVERITY_ERROR);
    intern_free(intern);
}

/*
 * A supervisor may give up on a child that it could not start again, which then has no pid, and its children may have any integer
 * as their time limit: the daemon refuses a frame with one of 2^63.
 */
static void a_child_without_pid_and_any_time_limit(void **state)
{
    struct intern *intern = intern_new();
    struct record *record = record_new();
    cbor_item_t *item, *origin;

    (void)state;
    record->source = CORONER_SOURCE_SUPERVISOR_SHUTDOWN;
    record->shape = REASON_SHUTDOWN;
    record->who.pid = fake_pid(1);
    record->act = act_new();
    record->act->by = (struct who){.pid = fake_pid(2), .name = fake_atom("sup")};
    record->act->supervision = memory_zalloc(sizeof(*record->act->supervision));
    atomic_init(&record->act->supervision->holders, 1);
    record->act->supervision->why = WHY_INTENSITY;
    record->act->supervision->timeout_ms = UINT64_C(1) << 63;
    item = encoded(record, intern);
    origin = decode_at(item, WIRE_KEY_origin);
    assert_true(decode_is(decode_at(item, WIRE_KEY_message),
                          "<0.1.0> exited shutdown: shut down by its supervisor sup <0.2.0>, having restarted too "
                          "often; the last to end was a process that was not seen"));
    assert_null(decode_at(origin, WIRE_KEY_sibling));
    assert_int_equal(decode_uint(decode_at(origin, WIRE_KEY_timeout_ms)), INT64_MAX);
    cbor_decref(&item);
    record_drop(record);
    intern_free(intern);
}

/* --- records that want to be too large
 * ---------------------------------------------------------------- */

/* Texts of `length` bytes made of one piece over and over, as long as it fits whole. */
static char *repeated(const char *piece, size_t length)
{
    char *text = malloc(length + 1);
    size_t used = 0;

    while (used + strlen(piece) <= length) {
        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
    text[used] = '\0';
    return text;
}

/* What a hostile record is made of. */
struct cast {
    const char *piece;      /* names are made of this */
    size_t characters;      /* of a name */
    const char *text_piece; /* the reason, the lines of the stack and the files are made of this */
    uint32_t ancestors, hops, lines, candidates;
    bool candidates_are_peers, ancestors_are_pids;
    bool everything; /* each candidate is a peer, an act and a detail at once, each act a supervisor's */
    size_t reason;
    uint8_t source;
};

/* Everything that any source could carry, at once. */
static struct record *hostile(struct intern *intern, const struct cast *cast)
{
    char *name = repeated(cast->piece, cast->characters * strlen(cast->piece));
    char *reason = repeated(cast->text_piece, cast->reason);
    char *file = repeated(cast->text_piece, 255);
    char stack[2048];
    struct text_writer writer = text_writer_on(stack, sizeof(stack));
    term_word atom = fake_atom(name), words[RECORD_ANCESTORS];
    uint32_t call = function(intern, name, name, 255);
    struct who who = {
        .pid = fake_pid(UINT64_C(0xfffffffffffffff)), .name = atom, .initial_call = call};
    struct record *record = record_new(), *root = record_new();

    record->act = act_new();
    record->act->by = who;
    record->act->site = (struct site){
        .function = call, .file = intern_file(intern, file, strlen(file)), .line = UINT32_MAX};
    record->act->function = call;
    record->act->module = atom;
    record->act->operation = OPERATION_ON_LOAD;
    if (cast->everything) {
        struct supervision *supervision = memory_zalloc(sizeof(*supervision));

        *supervision = (struct supervision){.holders = 1,
                                            .why = WHY_TERMINATE_CHILD,
                                            .child = text_new(file, strlen(file) < 192 ? strlen(file) : 192, false),
                                            .timeout_ms = TIMEOUT_NONE - 1,
                                            .sibling = who,
                                            .sibling_seq = UINT64_MAX >> 1,
                                            .asked_by = who,
                                            .application = atom};
        record->act->supervision = supervision;
        record->act->by_node = atom;
        record->detail = detail_new();
        record->detail->port = fake_port(UINT64_C(0xfffffffffffffff));
        record->detail->title = record->detail->node = atom;
        record->detail->has_remote_target = record->detail->has_size = record->detail->has_limit = true;
        record->detail->target_number = record->detail->target_serial = UINT32_MAX;
        record->detail->size_words = record->detail->limit_words = UINT64_MAX;
    }
    record->source = cast->source;
    record->confidence = CORONER_CONFIDENCE_AMBIGUOUS;
    record->severity = CORONER_SEVERITY_WARNING;
    record->shape = REASON_NOCONNECTION;
    record->who = who;
    record->parent = who.pid;
    record->trapping = record->evidence_lost = record->age_known = true;
    record->age_us = UINT64_MAX >> 1;
    record->seq = UINT64_MAX >> 1;
    record->reason = text_new(reason, strlen(reason), true);
    for (size_t i = 0; i < RECORD_ANCESTORS; i++)
        words[i] = cast->ancestors_are_pids ? who.pid : atom;
    record->ancestors = ancestors_new(words, cast->ancestors);
    for (uint32_t i = 0; i < cast->lines; i++) {
        char *line = repeated(cast->text_piece, sizeof(stack) / cast->lines - 2);

        text_puts(&writer, line);
        if (i + 1 < cast->lines)
            text_put_char(&writer, '\n');
        free(line);
    }
    if (cast->lines > 0)
        record->stack = text_new(stack, writer.used, true);
    record->candidate_count = cast->candidates;
    if (cast->candidates > 0)
        record->candidates = memory_zalloc(cast->candidates * sizeof(*record->candidates));
    for (uint32_t i = 0; i < cast->candidates; i++) {
        record->candidates[i] =
            (struct record_candidate){.source = CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL};
        if (cast->candidates_are_peers || cast->everything) {
            record->candidates[i].via = who;
            record->candidates[i].seq = UINT64_MAX >> 1;
        }
        if (!cast->candidates_are_peers || cast->everything)
            record->candidates[i].act = act_hold(record->act);
        record->candidates[i].detail = detail_hold(record->detail);
    }
    if (cast->hops > 0) {
        root->source = CORONER_SOURCE_PURGE;
        root->who = who;
        root->shape = record->shape;
        root->seq = UINT64_MAX >> 1;
        root->act = act_hold(record->act);
        root->detail = detail_hold(record->detail);
        root->reason = text_hold(record->reason);
        record->root = record_hold(root);
        record->via = who;
        record->depth = UINT32_MAX;
        record->hop_count = cast->hops;
        record->hops = memory_zalloc(cast->hops * sizeof(*record->hops));
        for (uint32_t i = 0; i < cast->hops; i++)
            record->hops[i] = (struct hop){.who = who,
                                           .source = CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL,
                                           .seq = UINT64_MAX >> 1};
    }
    record_drop(root);
    free(name);
    free(reason);
    free(file);
    return record;
}

static size_t largest_json, largest_cbor;

static void assert_bounded(struct intern *intern, const struct cast *cast)
{
    struct record *record = hostile(intern, cast);
    uint8_t *bytes = malloc(RECORD_CBOR_MAX);
    struct cbor_writer cbor = cbor_writer_on(bytes, RECORD_CBOR_MAX);
    cbor_item_t *item;
    size_t length;
    char *json;

    record_encode(record, intern, INCARNATION, &cbor);
    assert_false(cbor.full);
    item = decode(bytes, cbor.used);
    assert_non_null(item);
    json = decode_json(item, &length);
    if (length > RECORD_JSON_MAX)
        fail_msg(
            "%zu bytes of JSON, with names of %zu '%s', texts of '%s', %u candidates%s, %u hops, "
            "source %u",
            length, cast->characters, cast->piece, cast->text_piece, cast->candidates,
            cast->candidates_are_peers ? " (peers)" : "", cast->hops, cast->source);
    largest_json = length > largest_json ? length : largest_json;
    largest_cbor = cbor.used > largest_cbor ? cbor.used : largest_cbor;
    assert_int_equal(cbor_map_size(item), 7);
    assert_true(cbor_array_size(decode_at(item, WIRE_KEY_chain)) >= (cast->hops > 0 ? 2 : 1));
    assert_int_equal(decode_uint(decode_at(item, WIRE_KEY_chain_length)),
                     cast->hops > 0 ? (uint64_t)UINT32_MAX + 1 : 1);
    free(json);
    cbor_decref(&item);
    free(bytes);
    record_drop(record);
}

static const char *const pieces[] = {"a",
                                     "\"",
                                     "\\",
                                     "'",
                                     "\n",
                                     "\x01",
                                     "\xff",
                                     "\xc3\xbc",
                                     "\xc2\x85",
                                     "\xe2\x82\xac",
                                     "\xf0\x9f\x92\x80",
                                     "a\"\\"};
/* What has been through text_put_utf8 holds no control characters and no broken bytes. */
static const char *const text_pieces[] = {
    "a", "\"", "\\", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x92\x80", "ab\""};
#define PIECES (sizeof(pieces) / sizeof(pieces[0]))
#define TEXT_PIECES (sizeof(text_pieces) / sizeof(text_pieces[0]))

/* All of everything at its longest; the record still is one, and within its bounds. */
static void the_largest_records_fit(void **state)
{
    static const uint8_t sources[] = {CORONER_SOURCE_PURGE,
                                      CORONER_SOURCE_KILL,
                                      CORONER_SOURCE_LINK_TRAPPED,
                                      CORONER_SOURCE_SELF_EXIT,
                                      CORONER_SOURCE_SUPERVISOR_TIMEOUT_KILL,
                                      CORONER_SOURCE_REMOTE_SIGNAL};

    struct intern *intern = intern_new();

    (void)state;
    largest_json = largest_cbor = 0;
    for (size_t p = 0; p < PIECES; p++)
        for (size_t t = 0; t < TEXT_PIECES; t++)
            for (size_t variant = (p + t) % test_size(1, 9); variant < 4 * 2 * sizeof(sources);
                 variant += test_size(1, 9))
                assert_bounded(intern, &(struct cast){.piece = pieces[p],
                                                      .characters = 255,
                                                      .text_piece = text_pieces[t],
                                                      .ancestors = RECORD_ANCESTORS,
                                                      .hops = variant & 1 ? RECORD_HOPS : 0,
                                                      .lines = 12,
                                                      .candidates = RECORD_CANDIDATES,
                                                      .candidates_are_peers = variant & 2,
                                                      .reason = 1023,
                                                      .everything = (variant >> 2) % 2 == 1,
                                                      .source = sources[variant >> 3]});
    print_message("# the largest: %zu bytes of JSON, %zu of CBOR\n", largest_json, largest_cbor);
    assert_true(largest_json > RECORD_JSON_MAX / 2);
    intern_free(intern);
}

static void random_records_fit(void **state)
{
    struct intern *intern = intern_new();
    struct dice dice = dice_new(1);

    (void)state;
    for (size_t round = 0; round < test_size(5000, 200); round++)
        assert_bounded(
            intern, &(struct cast){.piece = pieces[dice_below(&dice, PIECES)],
                                   .characters = 1 + dice_below(&dice, 255),
                                   .text_piece = text_pieces[dice_below(&dice, TEXT_PIECES)],
                                   .ancestors = (uint32_t)dice_below(&dice, RECORD_ANCESTORS + 1),
                                   .hops = (uint32_t)dice_below(&dice, RECORD_HOPS + 1),
                                   .lines = (uint32_t)dice_below(&dice, 13),
                                   .candidates = (uint32_t)dice_below(&dice, RECORD_CANDIDATES + 1),
                                   .candidates_are_peers = dice_below(&dice, 2),
                                   .ancestors_are_pids = dice_below(&dice, 2),
                                   .everything = dice_below(&dice, 4) == 0,
                                   .reason = dice_below(&dice, 1024),
                                   .source = (uint8_t)dice_below(&dice, CORONER_SOURCE_COUNT)});
    intern_free(intern);
}

/* Where there is no room at all the writer says so; it writes nothing past it. */
static void too_little_room_is_said(void **state)
{
    struct intern *intern = intern_new();
    struct record *record =
        hostile(intern, &(struct cast){.piece = "a", .characters = 9, .text_piece = "b"});
    uint8_t whole[RECORD_CBOR_MAX];
    struct cbor_writer all = cbor_writer_on(whole, sizeof(whole));

    (void)state;
    record_encode(record, intern, INCARNATION, &all);
    for (size_t room = 0; room < all.used; room += 7) {
        uint8_t *bytes = malloc(room + 1);
        struct cbor_writer cbor = cbor_writer_on(bytes, room);

        record_encode(record, intern, INCARNATION, &cbor);
        assert_true(cbor.full || room >= 300); /* the shortest level may fit */
        if (!cbor.full) {
            cbor_item_t *item = decode(bytes, cbor.used);

            assert_non_null(item);
            cbor_decref(&item);
        }
        free(bytes);
    }
    record_drop(record);
    intern_free(intern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cascade_keeps_its_ends),
        TEST(a_cascade_holds_only_its_root),
        TEST(without_memory_the_root_is_still_known),
        TEST(ancestors_are_shared_and_bounded),
        TEST(what_a_record_takes_is_counted),
        TEST(the_story_of_the_proxy),
        TEST(an_exit_of_its_own_doing),
        TEST(every_source_has_a_record),
        TEST(a_child_without_pid_and_any_time_limit),
        TEST(the_largest_records_fit),
        TEST(random_records_fit),
        TEST(too_little_room_is_said),
    };

    return check_run("record", tests);
}
