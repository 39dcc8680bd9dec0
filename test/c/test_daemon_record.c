/* From a frame to a line of JSON: its form, what it must hold, and that it always fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon_cbor.h"
#include "record.h"
#include "record_types.h"
#include "transcode.h"

#define LINE_MAX_BYTES (WIRE_RECORD_JSON_MAX - 1)

static struct hello *sample_hello(void)
{
    char why[FRAME_WHY_SIZE] = "";
    json_t *map =
        json_pack("{ss ss ss ss si si si}", "incarnation", "6a1f0c2be5d94c11", "name", "proxy@db3",
                  "host", "db3", "otp", "25", "os_pid", 2211, "first_held", 1, "made", 0);
    struct hello *hello = hello_read(map, why);

    assert_string_equal(why, "");
    assert_non_null(hello);
    json_decref(map);
    return hello;
}

static int transcoded; /* how many went the fast way */

/* The fast way makes of a frame what the way over the tree does, or leaves it alone. */
static void compare_ways(const unsigned char *body, size_t length, const struct hello *hello,
                         const struct record *record)
{
    unsigned char *copy = exact_copy(body, length);
    struct record *fast = transcode(copy, length, hello);

    free(copy);
    if (fast == NULL)
        return;
    transcoded++;
    if (record == NULL)
        print_error("taken, though the other way refuses it: %s\n", fast->json);
    assert_non_null(record);
    assert_string_equal(fast->json, record->json);
    assert_int_equal(fast->json_length, record->json_length);
    assert_int_equal(fast->seq, record->seq);
    assert_int_equal(fast->time_ns, record->time_ns);
    assert_int_equal(fast->kind, record->kind);
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        assert_int_equal(fast->column[i] == NULL, record->column[i] == NULL);
        if (fast->column[i] != NULL)
            assert_string_equal(fast->column[i], record->column[i]);
    }
    free(fast);
}

/* The record of a frame's body, NULL if it is refused: then `why` says why. */
static struct record *make(const struct buffer *body, enum record_fit *fit, char *why)
{
    struct hello *hello = sample_hello();
    struct record *record = NULL;
    struct frame frame;

    if (frame_decode((const unsigned char *)body->data, body->length, &frame, why) == 0)
        record = record_make(&frame, hello, fit, why);
    compare_ways((const unsigned char *)body->data, body->length, hello, record);
    frame_clear(&frame);
    hello_free(hello);
    return record;
}

/* What holds of every record there is. Returns the line as an object. */
static json_t *check_line(const struct record *record)
{
    json_t *line;

    assert_true(record->json_length <= LINE_MAX_BYTES);
    assert_int_equal(strlen(record->json), record->json_length);
    assert_null(strchr(record->json, '\n'));
    line = json_loadb(record->json, record->json_length, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(line));
    assert_non_null(json_object_get(line, "schema"));
    assert_non_null(json_object_get(line, "id"));
    assert_non_null(json_object_get(line, "time"));
    assert_non_null(json_object_get(line, "severity"));
    assert_non_null(json_object_get(line, "message"));
    assert_non_null(json_object_get(line, "node"));
    assert_non_null(json_object_get(line, "lost_before"));
    return line;
}

static void test_golden_line(void **state)
{
    static const char golden[] =
        "{\"schema\":\"coroner.exit/1\",\"id\":\"6a1f0c2be5d94c11-48213\","
        "\"time\":\"2026-11-23T15:46:33.094688123Z\",\"severity\":\"error\",\"message\":\"it "
        "died\","
        "\"node\":{\"name\":\"proxy@db3\",\"host\":\"db3\",\"incarnation\":\"6a1f0c2be5d94c11\","
        "\"os_pid\":2211,\"otp\":\"25\"},"
        "\"process\":{\"pid\":\"<0.31760.980>\",\"name\":null,"
        "\"initial_call\":\"ump_proxy_cherly_server:init/1\",\"parent\":\"<0.512.0>\","
        "\"ancestors\":[\"ump_proxy_sup\"],\"trap_exit\":true,\"age_us\":81234567},"
        "\"exit\":{\"source\":\"link_trapped\",\"reason\":\"killed\",\"reason_class\":\"killed\","
        "\"truncated\":false,\"confidence\":\"inferred\",\"via\":\"<0.29814.980>\"},"
        "\"origin\":{\"source\":\"purge\",\"module\":\"ump_proxy_session\","
        "\"by_name\":\"release_handler\"},"
        "\"chain\":[{\"pid\":\"<0.29814.980>\",\"source\":\"purge\","
        "\"id\":\"6a1f0c2be5d94c11-48212\"}],\"newer_key\":7,\"lost_before\":0}";
    char why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    enum record_fit fit;
    struct record *record;

    (void)state;
    put_sample_record(&body, 48213);
    record = make(&body, &fit, why);
    assert_non_null(record);
    assert_int_equal(fit, RECORD_WHOLE);
    assert_string_equal(record->json, golden);
    assert_int_equal(record->seq, 48213);
    assert_string_equal(record->column[RECORD_COLUMN_severity], "error");
    assert_string_equal(record->column[RECORD_COLUMN_pid], "<0.31760.980>");
    assert_null(record->column[RECORD_COLUMN_name]);
    assert_string_equal(record->column[RECORD_COLUMN_source], "link_trapped");
    assert_string_equal(record->column[RECORD_COLUMN_origin_source], "purge");
    assert_string_equal(record->column[RECORD_COLUMN_origin_module], "ump_proxy_session");
    assert_string_equal(record->column[RECORD_COLUMN_origin_by_name], "release_handler");
    assert_null(record->column[RECORD_COLUMN_origin_by]);
    assert_string_equal(record->column[RECORD_COLUMN_initial_module], "ump_proxy_cherly_server");
    json_decref(check_line(record));
    free(record);
    buffer_clear(&body);
}

static void test_gap(void **state)
{
    char why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    enum record_fit fit;
    struct record *record;
    json_t *line, *gap;

    (void)state;
    put_record_head(&body, 5, WIRE_KIND_GAP);
    put_map(&body, 3);
    put_pair(&body, WIRE_KEY_severity, "warning");
    put_pair(&body, WIRE_KEY_message, "not watching");
    put_uint(&body, WIRE_KEY_gap);
    put_map(&body, 3);
    put_uint(&body, WIRE_KEY_from);
    put_uint(&body, 0);
    put_uint(&body, WIRE_KEY_to);
    put_uint(&body, UINT64_C(1795448793094688123));
    put_pair(&body, WIRE_KEY_why, "trace flags were taken away");
    record = make(&body, &fit, why);
    assert_non_null(record);
    line = check_line(record);
    gap = json_object_get(line, "gap");
    assert_string_equal(json_string_value(json_object_get(line, "schema")), "coroner.gap/1");
    assert_string_equal(json_string_value(json_object_get(gap, "from")),
                        "1970-01-01T00:00:00.000000000Z");
    assert_string_equal(json_string_value(json_object_get(gap, "to")),
                        "2026-11-23T15:46:33.094688123Z");
    json_decref(line);
    free(record);
    buffer_clear(&body);
}

static void test_what_a_record_needs(void **state)
{
    char why[FRAME_WHY_SIZE];
    enum record_fit fit;

    (void)state;
    /* Leave out one of the four parts at a time. */
    for (int left_out = 0; left_out < 4; left_out++) {
        static const char *const names[] = {"severity", "message", "process", "exit"};
        struct buffer body = {0};

        put_record_head(&body, 1, WIRE_KIND_EXIT);
        put_map(&body, 3);
        if (left_out != 0)
            put_pair(&body, WIRE_KEY_severity, "info");
        if (left_out != 1)
            put_pair(&body, WIRE_KEY_message, "m");
        if (left_out != 2)
            put_process(&body);
        if (left_out != 3)
            put_exit(&body);
        assert_null(make(&body, &fit, why));
        assert_non_null(strstr(why, names[left_out]));
        buffer_clear(&body);
    }
}

/* A record with one more pair at its top; NULL if it is refused. */
static struct record *with_part(const struct buffer *pair, enum record_fit *fit, char *why)
{
    struct buffer body = {0};
    struct record *record;

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 5);
    put_pair(&body, WIRE_KEY_severity, "info");
    put_pair(&body, WIRE_KEY_message, "m");
    put_process(&body);
    put_exit(&body);
    buffer_append(&body, pair->data, pair->length);
    record = make(&body, fit, why);
    buffer_clear(&body);
    return record;
}

static void test_wrong_types(void **state)
{
    static const char *const reserved[] = {"schema", "id", "time", "node", "lost_before"};
    char why[FRAME_WHY_SIZE];
    enum record_fit fit;

    (void)state;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        struct buffer pair = {0};

        put_text(&pair, reserved[i]);
        put_null(&pair);
        assert_null(with_part(&pair, &fit, why));
        assert_non_null(strstr(why, "which the daemon adds"));
        buffer_clear(&pair);
    }
    for (int wrong = 0; wrong < 12; wrong++) {
        struct buffer pair = {0};

        put_uint(&pair, wrong < 8 ? WIRE_KEY_origin : WIRE_KEY_chain);
        switch (wrong) {
        case 0:
            put_null(&pair);
            break;
        case 1:
            put_text(&pair, "purge");
            break;
        case 2: /* no source */
            put_map(&pair, 0);
            break;
        case 3:
            put_map(&pair, 1);
            put_pair(&pair, WIRE_KEY_source, "Purge!");
            break;
        case 4:
            put_map(&pair, 1);
            put_uint(&pair, WIRE_KEY_source);
            put_null(&pair);
            break;
        case 5:
            put_map(&pair, 2);
            put_pair(&pair, WIRE_KEY_source, "purge");
            put_uint(&pair, WIRE_KEY_by_stack);
            put_array(&pair, 1);
            put_null(&pair);
            break;
        case 6:
            put_map(&pair, 2);
            put_pair(&pair, WIRE_KEY_source, "purge");
            put_pair(&pair, WIRE_KEY_by_line, "ten");
            break;
        case 7:
            put_map(&pair, 2);
            put_pair(&pair, WIRE_KEY_source, "purge");
            put_pair(&pair, WIRE_KEY_id, "6a1f0c2be5d94c11-0");
            break;
        case 8:
            put_map(&pair, 0);
            break;
        case 9:
            put_array(&pair, 1);
            put_text(&pair, "hop");
            break;
        case 10: /* a hop without source */
            put_array(&pair, 1);
            put_map(&pair, 1);
            put_pair(&pair, WIRE_KEY_pid, "<0.1.0>");
            break;
        case 11:
            put_array(&pair, 1);
            put_map(&pair, 2);
            put_uint(&pair, WIRE_KEY_pid);
            put_uint(&pair, 1);
            put_pair(&pair, WIRE_KEY_source, "link");
            break;
        }
        if (with_part(&pair, &fit, why) != NULL)
            fail_msg("wrong part %d was accepted", wrong);
        buffer_clear(&pair);
    }
}

static void test_lists_may_grow(void **state)
{
    char why[FRAME_WHY_SIZE];
    struct buffer pair = {0};
    struct record *record;
    enum record_fit fit;

    (void)state;
    put_uint(&pair, WIRE_KEY_origin);
    put_map(&pair, 1);
    put_pair(&pair, WIRE_KEY_source, "a_source_of_tomorrow");
    record = with_part(&pair, &fit, why);
    assert_non_null(record);
    json_decref(check_line(record));
    free(record);
    buffer_clear(&pair);
}

static void test_modules(void **state)
{
    static const struct {
        const char *call, *module;
    } cases[] = {{"lists:map/2", "lists"},
                 {"'my mod':init/1", "'my mod'"},
                 {"'a:b':init/1", "'a:b'"},
                 {"'it\\'s:x':f/0", "'it\\'s:x'"},
                 {"'Elixir.Foo.Bar':init/1", "'Elixir.Foo.Bar'"},
                 {"nothing", "nothing"},
                 {"", ""},
                 {"'open", "'open"}};
    char why[FRAME_WHY_SIZE];
    enum record_fit fit;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer body = {0};
        struct record *record;

        put_record_head(&body, 1, WIRE_KIND_EXIT);
        put_map(&body, 4);
        put_pair(&body, WIRE_KEY_severity, "info");
        put_pair(&body, WIRE_KEY_message, "m");
        put_uint(&body, WIRE_KEY_process);
        put_map(&body, 2);
        put_pair(&body, WIRE_KEY_pid, "<0.1.0>");
        put_pair(&body, WIRE_KEY_initial_call, cases[i].call);
        put_exit(&body);
        record = make(&body, &fit, why);
        assert_non_null(record);
        assert_string_equal(record->column[RECORD_COLUMN_initial_module], cases[i].module);
        free(record);
        buffer_clear(&body);
    }
}

enum bulk { CONTROLS, NO_UTF8, QUOTES, WIDE, STACK, CANDIDATES, SMALL_KEYS, BULKS };

/* Something that takes far more than 8 KiB as JSON. */
static void put_bulk(struct buffer *body, enum bulk bulk)
{
    char text[WIRE_TEXT_MAX];
    char key[8];

    switch (bulk) {
    case CONTROLS:
        memset(text, 1, sizeof(text));
        break;
    case NO_UTF8:
        memset(text, 0xff, sizeof(text));
        break;
    case QUOTES:
        memset(text, '"', sizeof(text));
        break;
    default:
        for (size_t i = 0; i + 4 <= sizeof(text); i += 4)
            memcpy(text + i, "\xf0\x9f\x92\x80", 4);
    }
    switch (bulk) {
    case STACK:
        put_uint(body, WIRE_KEY_ancestors);
        put_array(body, 3000);
        for (int i = 0; i < 3000; i++)
            put_text(body, "m:f/1 (m.erl:12)");
        break;
    case CANDIDATES:
        put_uint(body, WIRE_KEY_chain);
        put_array(body, 600);
        for (int i = 0; i < 600; i++) {
            put_map(body, 2);
            put_pair(body, WIRE_KEY_pid, "<0.1.0>");
            put_pair(body, WIRE_KEY_source, "link");
        }
        break;
    case SMALL_KEYS:
        put_text(body, "many");
        put_map(body, 2000);
        for (int i = 0; i < 2000; i++) {
            snprintf(key, sizeof(key), "k%c%c%c", 'a' + i / 676 % 26, 'a' + i / 26 % 26,
                     'a' + i % 26);
            put_text(body, key);
            put_uint(body, (uint64_t)i);
        }
        break;
    default:
        put_text(body, "bulk");
        put_array(body, 4);
        for (int i = 0; i < 4; i++)
            put_bytes_as_text(body, text, sizeof(text));
    }
}

static void test_shrink(void **state)
{
    char why[FRAME_WHY_SIZE];
    enum record_fit fit;

    (void)state;
    for (enum bulk bulk = CONTROLS; bulk < BULKS; bulk++) {
        struct buffer pair = {0};
        struct record *record;
        json_t *line, *section;

        put_bulk(&pair, bulk);
        record = with_part(&pair, &fit, why);
        if (record == NULL)
            fail_msg("bulk %d was refused: %s", bulk, why);
        assert_int_equal(fit, RECORD_SHRUNK);
        line = check_line(record);
        section = json_object_get(line, "exit");
        assert_true(json_is_true(json_object_get(section, "truncated")));
        assert_string_equal(json_string_value(json_object_get(section, "source")), "link_trapped");
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(line, "process"), "pid")),
            "<0.31760.980>");
        json_decref(line);
        free(record);
        buffer_clear(&pair);
    }
}

/* Everything at once, in every text there is, with the longest names a node may have. */
static void test_shrink_the_worst(void **state)
{
    char text[WIRE_TEXT_MAX], why[FRAME_WHY_SIZE] = "", name[230];
    struct buffer body = {0};
    struct frame frame;
    struct hello *hello;
    struct record *record;
    enum record_fit fit;
    json_t *map;

    (void)state;
    memset(text, 1, sizeof(text));
    memset(name, 1, sizeof(name));
    map = json_pack("{ss ss# ss ss si si si}", "incarnation", "6a1f0c2be5d94c11", "name", name,
                    (int)sizeof(name), "host", "h", "otp", "25", "os_pid", 1, "first_held", 1,
                    "made", 0);
    hello = hello_read(map, why);
    assert_string_equal(why, "");
    json_decref(map);

    put_record_head(&body, INT64_MAX, WIRE_KIND_EXIT);
    put_map(&body, 5);
    put_uint(&body, WIRE_KEY_message);
    put_bytes_as_text(&body, text, sizeof(text));
    put_uint(&body, WIRE_KEY_process);
    put_map(&body, 3);
    for (enum wire_key key = WIRE_KEY_pid; key <= WIRE_KEY_initial_call; key++) {
        put_uint(&body, key);
        put_bytes_as_text(&body, text, sizeof(text));
    }
    put_uint(&body, WIRE_KEY_exit);
    put_map(&body, 4);
    put_pair(&body, WIRE_KEY_source, "supervisor_timeout_kill");
    put_pair(&body, WIRE_KEY_confidence, "ambiguous");
    put_uint(&body, WIRE_KEY_reason);
    put_bytes_as_text(&body, text, sizeof(text));
    put_uint(&body, WIRE_KEY_reason_class);
    put_bytes_as_text(&body, text, sizeof(text));
    put_pair(&body, WIRE_KEY_severity, "warning");
    put_text(&body, "many");
    put_map(&body, 3000);
    for (int i = 0; i < 3000; i++) {
        char key[12];

        snprintf(key, sizeof(key), "key_%c%c%c", 'a' + i / 676 % 26, 'a' + i / 26 % 26,
                 'a' + i % 26);
        put_text(&body, key);
        put_bool(&body, 1);
    }
    assert_int_equal(frame_decode((const unsigned char *)body.data, body.length, &frame, why), 0);
    record = record_make(&frame, hello, &fit, why);
    assert_non_null(record);
    json_decref(check_line(record));
    free(record);
    frame_clear(&frame);
    hello_free(hello);
    buffer_clear(&body);
}

static void test_hello(void **state)
{
    static const char *const keys[] = {"incarnation", "name",       "host", "otp",
                                       "os_pid",      "first_held", "made"};
    char why[FRAME_WHY_SIZE], long_name[2000];
    json_t *whole =
        json_pack("{ss ss ss ss si si si}", "incarnation", "6a1f0c2be5d94c11", "name", "n@h",
                  "host", "h", "otp", "25", "os_pid", 1, "first_held", 1, "made", 0);

    (void)state;
    memset(long_name, 'n', sizeof(long_name));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        json_t *map = json_copy(whole);

        json_object_del(map, keys[i]);
        assert_null(hello_read(map, why));
        assert_non_null(strstr(why, keys[i]));
        json_object_set_new(map, keys[i], json_null());
        assert_null(hello_read(map, why));
        json_object_set_new(map, keys[i], json_string("9223372036854775807"));
        if (i == 0 || i > 3)
            assert_null(hello_read(map, why));
        json_object_set_new(map, keys[i], json_string(""));
        assert_null(hello_read(map, why));
        json_object_set_new(map, keys[i], json_stringn_nocheck(long_name, sizeof(long_name)));
        assert_null(hello_read(map, why));
        json_object_set_new(map, keys[i], json_stringn("a\0b", 3));
        assert_null(hello_read(map, why));
        json_decref(map);
    }
    json_object_set_new(whole, "incarnation", json_string("6A1F0C2BE5D94C11"));
    assert_null(hello_read(whole, why));
    json_object_set_new(whole, "incarnation", json_string("6a1f0c2be5d94c1"));
    assert_null(hello_read(whole, why));
    json_decref(whole);
    hello_free(NULL);
}

/*
 * Every byte of a right record, changed to every value: whatever it becomes, it is refused or it
 * makes a line that holds what every line holds. TEST_QUICK takes one value in 16, for valgrind.
 */
static void test_every_byte_changed(void **state)
{
    unsigned step = getenv("TEST_QUICK") != NULL ? 16 : 1;
    char why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    unsigned made = 0;

    (void)state;
    put_sample_record(&body, 1);
    for (size_t at = 0; at < body.length; at++) {
        char was = body.data[at];

        for (unsigned value = at % step; value < 256; value += step) {
            unsigned char *copy;
            struct hello *hello;
            struct record *record;
            struct frame frame;
            enum record_fit fit;

            body.data[at] = (char)value;
            copy = exact_copy(body.data, body.length);
            hello = sample_hello();
            record = NULL;
            if (frame_decode(copy, body.length, &frame, why) == 0 && frame.type == WIRE_RECORD) {
                record = record_make(&frame, hello, &fit, why);
                if (record != NULL) {
                    json_decref(check_line(record));
                    made++;
                }
            }
            compare_ways(copy, body.length, hello, record);
            free(record);
            hello_free(hello);
            frame_clear(&frame);
            free(copy);
        }
        body.data[at] = was;
    }
    /* The test must not be one that refuses everything. */
    assert_true(made > 100);
    buffer_clear(&body);
}

/* ---- random records: of the keys that a node sends, in any order, right and wrong ---- */

static int dice(int sides)
{
    return rand() % sides;
}

static void put_random_text(struct buffer *out)
{
    static const char *const texts[] = {"",
                                        "killed",
                                        "a_word",
                                        "caf\xc3\xa9",
                                        "\xe2\x82\xac",
                                        "tab\there",
                                        "\"quoted\\\"",
                                        "\x01\x1f\x7f",
                                        "\xf0\x9f\x92\x80",
                                        "\xff",
                                        "6a1f0c2be5d94c11-48212",
                                        "6a1f0c2be5d94c11-0",
                                        "'Elixir.A':b/1",
                                        "line\nfeed\r\b\f"};

    put_text(out, texts[dice(sizeof(texts) / sizeof(texts[0]))]);
}

static void put_random_value(struct buffer *out, int depth);

/* A value of a type that the key may have. */
static void put_fitting_value(struct buffer *out, int key, int depth)
{
    const char *name = frame_key_name((uint64_t)key);
    unsigned types = name != NULL ? record_types_of(name) : 0;

    if (types & RECORD_TEXT)
        put_random_text(out);
    else if (types & RECORD_INTEGER)
        put_uint(out, (uint64_t)dice(1 << 30));
    else if (types & RECORD_BOOLEAN)
        put_bool(out, dice(2));
    else if (types & RECORD_WORD)
        put_text(out, "a_word");
    else if (types & RECORD_ID)
        put_text(out, "6a1f0c2be5d94c11-48212");
    else
        put_random_value(out, depth);
}

static void put_random_map(struct buffer *out, int depth, const int *needed, int needed_count)
{
    int more = dice(5), key = 8 + dice(60);

    put_map(out, (size_t)(needed_count + more));
    for (int i = 0; i < needed_count; i++)
        put_pair(out, (enum wire_key)needed[i], "killed");
    for (int i = 0; i < more; i++) {
        put_uint(out, (uint64_t)key);
        if (dice(10) > 0)
            put_fitting_value(out, key, depth + 1);
        else
            put_random_value(out, depth + 1);
        key += 1 + dice(4);
    }
}

static void put_random_value(struct buffer *out, int depth)
{
    static const uint64_t numbers[] = {
        0, 23, 24, 255, 65536, UINT64_C(1) << 53, (UINT64_C(1) << 53) - 1};
    int count = dice(3);

    switch (dice(depth > 3 ? 5 : 7)) {
    case 0:
        put_uint(out, numbers[dice(7)]);
        break;
    case 1:
        put_bool(out, dice(2));
        break;
    case 2:
        put_null(out);
        break;
    case 5:
        put_array(out, (size_t)count);
        while (count-- > 0)
            put_random_text(out);
        break;
    case 6:
        put_array(out, (size_t)count);
        while (count-- > 0)
            put_random_map(out, depth + 1, NULL, 0);
        break;
    default:
        put_random_text(out);
    }
}

static void put_random_record(struct buffer *out)
{
    static const int process[] = {WIRE_KEY_pid},
                     exit_keys[] = {WIRE_KEY_source, WIRE_KEY_reason_class, WIRE_KEY_confidence},
                     origin[] = {WIRE_KEY_source}, chain[] = {WIRE_KEY_pid, WIRE_KEY_source};
    bool swapped = dice(2), has_origin = dice(2), has_chain = dice(2), has_length = dice(4) == 0;

    put_record_head(out, 1 + (uint64_t)dice(1 << 30), WIRE_KIND_EXIT);
    put_map(out, 4 + (size_t)has_origin + has_chain + has_length);
    for (int i = 0; i < 2; i++) {
        if (i == swapped)
            put_pair(out, WIRE_KEY_severity, dice(20) > 0 ? "error" : "bad");
        else
            put_pair(out, WIRE_KEY_message, "it died");
    }
    if (has_length) {
        put_uint(out, WIRE_KEY_chain_length);
        put_uint(out, (uint64_t)dice(100000));
    }
    put_uint(out, WIRE_KEY_process);
    put_random_map(out, 2, process, 1);
    put_uint(out, WIRE_KEY_exit);
    put_random_map(out, 2, exit_keys, 3);
    if (has_origin) {
        put_uint(out, WIRE_KEY_origin);
        put_random_map(out, 2, origin, 1);
    }
    if (has_chain) {
        put_uint(out, WIRE_KEY_chain);
        put_array(out, 2);
        put_random_map(out, 3, chain, 2);
        put_random_map(out, 3, chain, 2);
    }
}

/* Whatever is sent, the two ways never differ. */
static void test_two_ways(void **state)
{
    int rounds = getenv("TEST_QUICK") != NULL ? 2000 : 60000;

    (void)state;
    srand(20261125);
    transcoded = 0;
    for (int i = 0; i < rounds; i++) {
        char why[FRAME_WHY_SIZE];
        struct buffer body = {0};
        enum record_fit fit;

        put_random_record(&body);
        free(make(&body, &fit, why));
        /* Some bytes changed, or the end cut off. */
        for (int times = 1 + dice(3); times > 0; times--)
            body.data[dice((int)body.length)] = (char)dice(256);
        body.length -= dice(8) == 0 ? (size_t)dice((int)body.length) : 0;
        free(make(&body, &fit, why));
        buffer_clear(&body);
    }
    /* The test must not be one in which nothing goes the fast way. */
    assert_true(transcoded > rounds / 10);
}

/* A line as long as it may be goes the fast way, one byte more does not. */
static void test_fast_way(void **state)
{
    char text[4096];
    int fast = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t length = 3000; length <= sizeof(text); length++) {
        char why[FRAME_WHY_SIZE];
        struct buffer body = {0};
        enum record_fit fit;

        transcoded = 0;
        put_record_head(&body, 7, WIRE_KIND_EXIT);
        put_map(&body, 4);
        put_pair(&body, WIRE_KEY_severity, "error");
        put_uint(&body, WIRE_KEY_message);
        put_bytes_as_text(&body, text, sizeof(text));
        put_process(&body);
        put_uint(&body, WIRE_KEY_exit);
        put_map(&body, 4);
        put_pair(&body, WIRE_KEY_source, "kill");
        put_pair(&body, WIRE_KEY_reason_class, "killed");
        put_pair(&body, WIRE_KEY_confidence, "observed");
        put_uint(&body, WIRE_KEY_reason);
        put_bytes_as_text(&body, text, length);
        free(make(&body, &fit, why));
        assert_int_equal(transcoded, fit == RECORD_WHOLE);
        fast += transcoded;
        buffer_clear(&body);
    }
    assert_true(fast > 100 && fast < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_line),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_what_a_record_needs),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_lists_may_grow),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_shrink_the_worst),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_two_ways),
        cmocka_unit_test(test_fast_way),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
