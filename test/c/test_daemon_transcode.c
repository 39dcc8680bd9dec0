/* The quick way to a record's line gives what the slow way gives, byte for byte, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon_cbor.h"
#include "transcode.h"

static struct hello *sample_hello(void)
{
    char why[FRAME_WHY_SIZE] = "";
    json_t *map = json_pack("{ss ss ss ss si si si}", "incarnation", "6a1f0c2be5d94c11", "name",
                            "pr\"oxy@db3", "host", "db3", "otp", "25", "os_pid", 2211, "first_held",
                            1, "made", 0);
    struct hello *hello = hello_read(map, why);

    assert_non_null(hello);
    json_decref(map);
    return hello;
}

static void put_candidates(struct buffer *out)
{
    put_uint(out, WIRE_KEY_candidates);
    put_array(out, 2);
    put_map(out, 3);
    put_pair(out, WIRE_KEY_source, "kill");
    put_pair(out, WIRE_KEY_by, "<0.5.0>");
    put_uint(out, WIRE_KEY_by_stack);
    put_array(out, 2);
    put_text(out, "a:b/1 (a.erl:5)");
    put_text(out, "'\xc3\xa4':c/2");
    put_map(out, 1);
    put_pair(out, WIRE_KEY_source, "unknown");
}

/* As a node sends them: the parts in their order, keys by number. */
static void put_plain_record(struct buffer *out, uint64_t seq, const char *text, size_t length)
{
    put_record_head(out, seq, WIRE_KIND_EXIT);
    put_map(out, 7);
    put_pair(out, WIRE_KEY_severity, "error");
    put_uint(out, WIRE_KEY_message);
    put_bytes_as_text(out, text, length);
    put_process(out);
    put_uint(out, WIRE_KEY_exit);
    put_map(out, 7);
    put_pair(out, WIRE_KEY_source, "link_trapped");
    put_uint(out, WIRE_KEY_reason);
    put_bytes_as_text(out, text, length);
    put_pair(out, WIRE_KEY_reason_class, "killed");
    put_uint(out, WIRE_KEY_truncated);
    put_bool(out, 0);
    put_pair(out, WIRE_KEY_confidence, "inferred");
    put_uint(out, WIRE_KEY_evidence_lost);
    put_bool(out, 1);
    put_candidates(out);
    put_uint(out, WIRE_KEY_origin);
    put_map(out, 4);
    put_pair(out, WIRE_KEY_source, "purge");
    put_pair(out, WIRE_KEY_module, "ump_proxy_session");
    put_uint(out, WIRE_KEY_by_line);
    put_uint(out, 4711);
    put_uint(out, WIRE_KEY_limit_words);
    put_null(out);
    put_uint(out, WIRE_KEY_chain);
    put_array(out, 1);
    put_map(out, 3);
    put_pair(out, WIRE_KEY_pid, "<0.29814.980>");
    put_pair(out, WIRE_KEY_source, "purge");
    put_pair(out, WIRE_KEY_id, "6a1f0c2be5d94c11-48212");
    put_uint(out, WIRE_KEY_chain_length);
    put_uint(out, 2);
}

/* Both ways. Returns whether the quick one was gone; what it made must be what the slow one makes.
 */
static bool compare(const void *body, size_t length)
{
    unsigned char *copy = exact_copy(body, length);
    struct hello *hello = sample_hello();
    struct record *quick = transcode(copy, length, hello), *slow;
    char why[FRAME_WHY_SIZE] = "";
    struct frame frame;
    enum record_fit fit;
    bool gone = quick != NULL;

    if (gone) {
        assert_int_equal(frame_decode(copy, length, &frame, why), 0);
        slow = record_make(&frame, hello, &fit, why);
        assert_string_equal(why, "");
        assert_non_null(slow);
        assert_int_equal(fit, RECORD_WHOLE);
        assert_string_equal(quick->json, slow->json);
        assert_int_equal(quick->json_length, slow->json_length);
        assert_int_equal(quick->seq, slow->seq);
        assert_int_equal(quick->time_ns, slow->time_ns);
        assert_int_equal(quick->kind, slow->kind);
        assert_int_equal(quick->size, slow->size);
        for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
            assert_int_equal(quick->column[i] == NULL, slow->column[i] == NULL);
            if (quick->column[i] != NULL)
                assert_string_equal(quick->column[i], slow->column[i]);
        }
        free(slow);
        frame_clear(&frame);
    }
    free(quick);
    hello_free(hello);
    free(copy);
    return gone;
}

static bool compare_text(const char *text, size_t length)
{
    struct buffer body = {0};
    bool gone;

    put_plain_record(&body, 48213, text, length);
    gone = compare(body.data, body.length);
    buffer_clear(&body);
    return gone;
}

static void test_plain(void **state)
{
    (void)state;
    assert_true(compare_text("it died", 7));
    assert_true(compare_text("", 0));
    assert_true(compare_text("\"\\/\b\f\n\r\t\x01\x1f\x7f", 11));
    assert_true(compare_text("\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\x80", 9));
}

static void test_what_is_not_plain(void **state)
{
    char text[WIRE_TEXT_MAX + 1];
    struct buffer body = {0};

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_false(compare_text("\xff", 1));
    assert_false(compare_text("a\0b", 3));
    assert_false(compare_text("\xed\xa0\x80", 3)); /* a surrogate */
    assert_false(compare_text("\xc3", 1));
    assert_false(compare_text(text, sizeof(text)));
    assert_false(compare_text(text, WIRE_TEXT_MAX)); /* twice in the line, which does not fit */
    assert_true(compare_text(text, 3000));
    put_sample_record(&body, 1); /* another order, and keys that are newer */
    assert_false(compare(body.data, body.length));
    body.length = 0;
    put_plain_record(&body, UINT64_C(1) << 53, "", 0);
    assert_false(compare(body.data, body.length));
    buffer_clear(&body);
}

/* Around the length where a line no longer fits. */
static void test_edge_of_the_line(void **state)
{
    char text[WIRE_TEXT_MAX];
    unsigned gone = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t length = 3200; length < sizeof(text); length++)
        gone += compare_text(text, length);
    assert_true(gone > 10 && gone < sizeof(text) - 3200);
}

static void test_every_prefix(void **state)
{
    struct buffer body = {0};

    (void)state;
    put_plain_record(&body, 7, "it died", 7);
    for (size_t length = 0; length < body.length; length++)
        assert_false(compare(body.data, length));
    put_byte(&body, 0xf6);
    assert_false(compare(body.data, body.length));
    buffer_clear(&body);
}

/* TEST_QUICK takes one value in 16, for valgrind. */
static void test_every_byte_changed(void **state)
{
    unsigned step = getenv("TEST_QUICK") != NULL ? 16 : 1, gone = 0;
    struct buffer body = {0};

    (void)state;
    put_plain_record(&body, 7, "it died of old age, all by itself", 33);
    for (size_t at = 0; at < body.length; at++) {
        char was = body.data[at];

        for (unsigned value = at % step; value < 256; value += step) {
            body.data[at] = (char)value;
            gone += compare(body.data, body.length);
        }
        body.data[at] = was;
    }
    assert_true(gone > 1000);
    buffer_clear(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_what_is_not_plain),
        cmocka_unit_test(test_edge_of_the_line),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_every_byte_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
