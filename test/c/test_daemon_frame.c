/* The frame decoder: right frames, and every way we know to get one wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon_cbor.h"
#include "frame.h"

static int decode(const struct buffer *body, struct frame *frame, char *why)
{
    unsigned char *copy = exact_copy(body->data, body->length);
    int result = frame_decode(copy, body->length, frame, why);

    free(copy);
    return result;
}

/* The body must be refused, with a sentence that contains `part`. */
static void refused(struct buffer *body, const char *part)
{
    char why[FRAME_WHY_SIZE] = "";
    struct frame frame;

    assert_int_equal(decode(body, &frame, why), -1);
    assert_null(frame.map);
    if (strstr(why, part) == NULL)
        fail_msg("'%s' is not in: %s", part, why);
    buffer_clear(body);
}

static void test_split_lengths(void **state)
{
    unsigned char data[FRAME_HEADER + WIRE_FRAME_MAX] = {0};
    char why[FRAME_WHY_SIZE];
    size_t length = 0;

    (void)state;
    for (size_t have = 0; have < FRAME_HEADER; have++)
        assert_int_equal(frame_split(data, have, &length, why), FRAME_INCOMPLETE);
    assert_int_equal(frame_split(data, sizeof(data), &length, why), FRAME_BAD);
    assert_non_null(strstr(why, "0 bytes"));

    memcpy(data, "\x00\x01\x00\x00", 4);
    assert_int_equal(frame_split(data, sizeof(data), &length, why), FRAME_READY);
    assert_int_equal(length, WIRE_FRAME_MAX);
    assert_int_equal(frame_split(data, sizeof(data) - 1, &length, why), FRAME_INCOMPLETE);

    memcpy(data, "\x00\x01\x00\x01", 4);
    assert_int_equal(frame_split(data, 4, &length, why), FRAME_BAD);
    assert_non_null(strstr(why, "65537 bytes"));

    memcpy(data, "\xff\xff\xff\xff", 4);
    assert_int_equal(frame_split(data, 4, &length, why), FRAME_BAD);
    assert_non_null(strstr(why, "4294967295 bytes"));
}

static void test_dribble(void **state)
{
    struct buffer body = {0}, stream = {0};
    char why[FRAME_WHY_SIZE];
    size_t length, frames = 0, at = 0;

    (void)state;
    put_sample_record(&body, 1);
    put_frame(&stream, &body);
    put_frame(&stream, &body);
    /* As the bytes come, one at a time, a frame is there exactly when its last byte is. */
    for (size_t have = 0; have <= stream.length; have++) {
        unsigned char *copy = exact_copy(stream.data + at, have - at);

        if (frame_split(copy, have - at, &length, why) == FRAME_READY) {
            frames++;
            assert_int_equal(have, frames * (FRAME_HEADER + body.length));
            at = have;
        }
        free(copy);
    }
    assert_int_equal(frames, 2);
    buffer_clear(&body);
    buffer_clear(&stream);
}

static void test_every_prefix(void **state)
{
    char why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    struct frame frame;
    size_t whole;

    (void)state;
    put_sample_record(&body, 1);
    whole = body.length;
    for (body.length = 0; body.length < whole; body.length++)
        assert_int_equal(decode(&body, &frame, why), -1);
    assert_int_equal(decode(&body, &frame, why), 0);
    frame_clear(&frame);
    put_null(&body);
    refused(&body, "1 bytes after the end");
}

static void test_types_of_frames(void **state)
{
    char why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    struct frame frame;

    (void)state;
    put_array(&body, 3);
    put_uint(&body, WIRE_HELLO);
    put_uint(&body, 1);
    put_map(&body, 1);
    put_pair(&body, WIRE_KEY_name, "n@h");
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(frame.type, WIRE_HELLO);
    assert_int_equal(frame.version, 1);
    assert_string_equal(json_string_value(json_object_get(frame.map, "name")), "n@h");
    frame_clear(&frame);
    buffer_clear(&body);

    /* Another version is another version, whatever follows. */
    put_array(&body, 17);
    put_uint(&body, WIRE_HELLO);
    put_uint(&body, 2);
    put_byte(&body, 0xff);
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(frame.version, 2);
    assert_null(frame.map);
    buffer_clear(&body);

    put_array(&body, 3);
    put_uint(&body, WIRE_COUNTERS);
    put_uint(&body, 9);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_lost);
    put_uint(&body, 3);
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(frame.type, WIRE_COUNTERS);
    assert_int_equal(frame.made, 9);
    assert_int_equal(json_integer_value(json_object_get(frame.map, "lost")), 3);
    frame_clear(&frame);
    buffer_clear(&body);

    put_array(&body, 2);
    put_uint(&body, WIRE_BYE);
    put_uint(&body, 10);
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(frame.type, WIRE_BYE);
    assert_int_equal(frame.made, 10);
    assert_null(frame.map);
    buffer_clear(&body);

    put_sample_record(&body, 77);
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(frame.type, WIRE_RECORD);
    assert_int_equal(frame.seq, 77);
    assert_int_equal(frame.time_ns, UINT64_C(1795448793094688123));
    assert_int_equal(frame.kind, WIRE_KIND_EXIT);
    /* What we have no name for is left out, a key in words comes through. */
    assert_int_equal(json_object_size(frame.map), 7);
    assert_int_equal(json_integer_value(json_object_get(frame.map, "newer_key")), 7);
    frame_clear(&frame);
    buffer_clear(&body);
}

static void test_wrong_frames(void **state)
{
    struct buffer body = {0};

    (void)state;
    put_uint(&body, 1);
    refused(&body, "no array");
    put_array(&body, 0);
    refused(&body, "no array");
    put_array(&body, 1);
    put_text(&body, "hello");
    refused(&body, "type that is no unsigned");
    put_array(&body, 2);
    put_uint(&body, WIRE_ACK);
    put_uint(&body, 1);
    refused(&body, "unknown type 16");
    put_array(&body, 1);
    put_uint(&body, 99);
    refused(&body, "unknown type 99");
    put_array(&body, 1);
    put_uint(&body, WIRE_HELLO);
    refused(&body, "without a version");
    put_array(&body, 4);
    put_uint(&body, WIRE_HELLO);
    put_uint(&body, 1);
    refused(&body, "HELLO frame of 4 elements");
    put_array(&body, 5);
    put_uint(&body, WIRE_RECORD);
    refused(&body, "RECORD frame of 5 elements");
    put_array(&body, 3);
    put_uint(&body, WIRE_BYE);
    refused(&body, "BYE frame of 3");
    put_array(&body, 3);
    put_uint(&body, WIRE_COUNTERS);
    put_uint(&body, 1);
    put_array(&body, 0);
    refused(&body, "without its map");
    put_record_head(&body, 0, WIRE_KIND_EXIT);
    refused(&body, "sequence number 0");
    put_array(&body, 6);
    for (int i = 0; i < 4; i++)
        put_uint(&body, 2);
    put_uint(&body, 1000);
    refused(&body, "unknown kind 1000");
    put_array(&body, 6);
    put_uint(&body, WIRE_RECORD);
    put_text(&body, "1");
    refused(&body, "sequence number that is no unsigned");
}

/* Each item that does not occur on this wire, wherever a value may stand. */
static void test_items_that_do_not_occur(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } items[] = {
        {"\x20", 1},                                 /* -1 */
        {"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", 9}, /* a large negative one */
        {"\x41\x00", 2},                             /* byte string */
        {"\x5f\xff", 2},                             /* byte string, indefinite */
        {"\x7f\xff", 2},                             /* text, indefinite */
        {"\x9f\xff", 2},                             /* array, indefinite */
        {"\xbf\xff", 2},                             /* map, indefinite */
        {"\xc0\x00", 2},                             /* tag */
        {"\xe0", 1},                                 /* simple value */
        {"\xf7", 1},                                 /* undefined */
        {"\xf8\x20", 2},                             /* simple value in two bytes */
        {"\xf9\x00\x00", 3},                         /* half, single, double float */
        {"\xfa\x00\x00\x00\x00", 5},
        {"\xfb\x00\x00\x00\x00\x00\x00\x00\x00", 9},
        {"\xff", 1},                                 /* break */
        {"\x1c", 1},                                 /* reserved */
        {"\x1b\x80\x00\x00\x00\x00\x00\x00\x00", 9}, /* 2^63 */
    };
    char why[FRAME_WHY_SIZE];
    struct frame frame;

    (void)state;
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        for (int place = 0; place < 4; place++) {
            struct buffer body = {0};

            put_record_head(&body, 1, WIRE_KIND_EXIT);
            if (place > 0)
                put_map(&body, 1);
            if (place > 1)
                put_uint(&body, WIRE_KEY_message);
            if (place > 2)
                put_array(&body, 1);
            buffer_append(&body, items[i].bytes, items[i].length);
            put_null(&body);
            assert_int_equal(decode(&body, &frame, why), -1);
            buffer_clear(&body);
        }
    }
}

static void test_depth(void **state)
{
    char why[FRAME_WHY_SIZE];
    struct frame frame;

    (void)state;
    /* The frame and its map are two levels. */
    for (int levels = 1; levels <= 8; levels++) {
        struct buffer body = {0};

        put_record_head(&body, 1, WIRE_KIND_EXIT);
        put_map(&body, 1);
        put_uint(&body, WIRE_KEY_message);
        for (int i = 0; i < levels; i++)
            put_array(&body, 1);
        put_null(&body);
        if (levels <= WIRE_DEPTH_MAX - 2) {
            assert_int_equal(decode(&body, &frame, why), 0);
            frame_clear(&frame);
            buffer_clear(&body);
        } else {
            refused(&body, "nested deeper");
        }
    }
}

static void test_bombs(void **state)
{
    struct buffer body = {0};

    (void)state;
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_message);
    for (int i = 0; i < 60000; i++)
        put_byte(&body, 0x81);
    refused(&body, "nested deeper");

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    for (int i = 0; i < 30000; i++) {
        put_map(&body, 1);
        put_uint(&body, 1);
    }
    refused(&body, "nested deeper");

    /* More elements than bytes in the world. */
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    buffer_append(&body, "\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", 9);
    refused(&body, "no whole CBOR item");
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_stack);
    buffer_append(&body, "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    refused(&body, "no whole CBOR item");

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_stack);
    put_array(&body, 60000);
    for (int i = 0; i < 60000; i++)
        put_null(&body);
    refused(&body, "more than 8192 items");

    /* Texts that claim to be longer than the frame. */
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_message);
    buffer_append(&body, "\x7b\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    refused(&body, "no whole CBOR item");
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_message);
    buffer_append(&body, "\x7a\xff\xff\xff\xff", 5);
    refused(&body, "no whole CBOR item");
}

static void test_texts(void **state)
{
    char text[WIRE_TEXT_MAX + 1], why[FRAME_WHY_SIZE];
    struct buffer body = {0};
    struct frame frame;

    (void)state;
    memset(text, 'x', sizeof(text));
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_message);
    put_bytes_as_text(&body, text, WIRE_TEXT_MAX);
    assert_int_equal(decode(&body, &frame, why), 0);
    assert_int_equal(json_string_length(json_object_get(frame.map, "message")), WIRE_TEXT_MAX);
    frame_clear(&frame);
    buffer_clear(&body);

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_uint(&body, WIRE_KEY_message);
    put_bytes_as_text(&body, text, WIRE_TEXT_MAX + 1);
    refused(&body, "a text of 4097 bytes");

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 2);
    put_uint(&body, WIRE_KEY_message);
    put_bytes_as_text(&body,
                      "a\xff\xed\xa0\x80"
                      "b\0c",
                      8);
    put_uint(&body, WIRE_KEY_name);
    put_text(&body, "");
    assert_int_equal(decode(&body, &frame, why), 0);
    /* A surrogate is three bytes none of which can stand; many who read JSON refuse U+0000. */
    assert_int_equal(json_string_length(json_object_get(frame.map, "message")), 18);
    assert_memory_equal(json_string_value(json_object_get(frame.map, "message")),
                        "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                        "b\xef\xbf\xbd"
                        "c",
                        18);
    assert_string_equal(json_string_value(json_object_get(frame.map, "name")), "");
    frame_clear(&frame);
    buffer_clear(&body);
}

static void test_integers(void **state)
{
    static const struct {
        uint64_t number;
        const char *text; /* NULL: stays an integer */
    } cases[] = {{0, NULL},
                 {UINT64_C(9007199254740991), NULL},
                 {UINT64_C(9007199254740992), "9007199254740992"},
                 {INT64_MAX, "9223372036854775807"}};
    char why[FRAME_WHY_SIZE];
    struct frame frame;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer body = {0};
        const json_t *value;

        put_record_head(&body, 1, WIRE_KIND_EXIT);
        put_map(&body, 1);
        put_uint(&body, WIRE_KEY_age_us);
        put_uint(&body, cases[i].number);
        assert_int_equal(decode(&body, &frame, why), 0);
        value = json_object_get(frame.map, "age_us");
        if (cases[i].text != NULL)
            assert_string_equal(json_string_value(value), cases[i].text);
        else
            assert_int_equal(json_integer_value(value), cases[i].number);
        frame_clear(&frame);
        buffer_clear(&body);
    }
}

static void test_keys(void **state)
{
    static const char *const bad[] = {
        "", "A", "a.b", "a-b", "a1", "\xff", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct buffer body = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_record_head(&body, 1, WIRE_KIND_EXIT);
        put_map(&body, 1);
        put_text(&body, bad[i]);
        put_null(&body);
        refused(&body, "a map's key");
    }
    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 1);
    put_null(&body);
    put_null(&body);
    refused(&body, "neither an integer nor a text");

    put_record_head(&body, 1, WIRE_KIND_EXIT);
    put_map(&body, 2);
    put_pair(&body, WIRE_KEY_message, "1");
    put_text(&body, "message");
    put_text(&body, "2");
    refused(&body, "'message' twice");

    assert_string_equal(frame_key_name(WIRE_KEY_severity), "severity");
    assert_string_equal(frame_key_name(WIRE_KEY_evidence), "evidence");
    assert_null(frame_key_name(0));
    assert_null(frame_key_name(WIRE_KEY_evidence + 100));
    assert_null(frame_key_name(UINT64_MAX));
}

static void test_sent_frames(void **state)
{
    static const unsigned char ack[] = {0,    0,    0,    11,   0x82, 0x10, 0x1b, 0x7f,
                                        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    unsigned char out[FRAME_ERROR_SIZE];
    char text[1000];

    (void)state;
    assert_int_equal(frame_ack(INT64_MAX, out), sizeof(ack));
    assert_memory_equal(out, ack, sizeof(ack));
    assert_int_equal(frame_ack(0, out), 7);
    assert_memory_equal(out, "\0\0\0\3\x82\x10\0", 7);
    assert_int_equal(frame_error("no", out), 9);
    assert_memory_equal(out, "\0\0\0\5\x82\x11\x62no", 9);
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_true(frame_error(text, out) <= sizeof(out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_lengths), cmocka_unit_test(test_dribble),
        cmocka_unit_test(test_every_prefix),  cmocka_unit_test(test_types_of_frames),
        cmocka_unit_test(test_wrong_frames),  cmocka_unit_test(test_items_that_do_not_occur),
        cmocka_unit_test(test_depth),         cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_texts),         cmocka_unit_test(test_integers),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_sent_frames),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
