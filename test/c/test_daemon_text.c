/* Times, UTF-8 and cursors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cursor.h"
#include "timestamp.h"
#include "utf8.h"

#define HOUR (INT64_C(3600) * 1000000000)

static void test_format(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000000000Z"},
                 {1, "1970-01-01T00:00:00.000000001Z"},
                 {INT64_C(1795448793094688123), "2026-11-23T15:46:33.094688123Z"},
                 {INT64_C(951782400000000000), "2000-02-29T00:00:00.000000000Z"},
                 {INT64_MAX, "2262-04-11T23:47:16.854775807Z"}};
    char text[TIMESTAMP_SIZE];
    int64_t back;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        timestamp_format(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
        if (cases[i].ns != INT64_MAX) {
            assert_int_equal(timestamp_parse(text, 0, &back), 0);
            assert_int_equal(back, cases[i].ns);
        }
    }
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"1970-01-01t00:00:01z", 1000000000},
                {"1970-01-01 01:00:00+01:00", 0},
                {"1970-01-01T00:00:00-01:00", HOUR},
                {"1970-01-01T00:00:00.5Z", 500000000},
                {"1970-01-01T00:00:00.123456789Z", 123456789},
                {"2000-02-29T00:00:00Z", INT64_C(951782400000000000)},
                {"now", 100 * HOUR},
                {"-0s", 100 * HOUR},
                {"-3600s", 99 * HOUR},
                {"-60m", 99 * HOUR},
                {"-1h", 99 * HOUR},
                {"-1d", 76 * HOUR},
                {"-100d", 0},
                {"-9223372036854775807d", 0}};
    static const char *const bad[] = {"",
                                      "-",
                                      "-h",
                                      "-1",
                                      "-1w",
                                      "-1hh",
                                      "--1h",
                                      "- 1h",
                                      "1h",
                                      "+1h",
                                      "-1.5h",
                                      "-99999999999999999999h",
                                      "yesterday",
                                      "2026",
                                      "2026-11-23",
                                      "2026-11-23T15:46:33",
                                      "2026-11-23T15:46:33.Z",
                                      "2026-11-23T15:46:33.0946881234Z",
                                      "2026-11-23T15:46:33Zx",
                                      "2026-11-23T15:46:33+1:00",
                                      "2026-11-23T15:46:33+24:00",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-02-00T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:61Z",
                                      "1969-12-31T23:59:59Z",
                                      "1970-01-01T00:00:00+00:01",
                                      "9999-01-01T00:00:00Z"};
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ns = -1;
        if (timestamp_parse(good[i].text, 100 * HOUR, &ns) != 0)
            fail_msg("'%s' was refused", good[i].text);
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (timestamp_parse(bad[i], 100 * HOUR, &ns) == 0)
            fail_msg("'%s' was accepted", bad[i]);
    }
}

static void check_clean(const char *in, size_t length, const char *out)
{
    struct buffer buffer = {0};

    utf8_clean(in, length, &buffer);
    assert_int_equal(buffer.length, strlen(out));
    if (buffer.length > 0)
        assert_memory_equal(buffer.data, out, buffer.length);
    buffer_clear(&buffer);
}

#define BAD "\xef\xbf\xbd"

static void test_clean(void **state)
{
    (void)state;
    check_clean("", 0, "");
    check_clean("plain", 5, "plain");
    check_clean("\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\x80");
    check_clean("\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf");
    check_clean("\0", 1, BAD);
    check_clean("\x80"
                "a",
                2, BAD "a");
    check_clean("\xff\xfe", 2, BAD BAD);
    check_clean("\xc0\x80", 2, BAD BAD);
    check_clean("\xe0\x80\x80", 3, BAD BAD BAD);
    check_clean("\xed\xa0\x80", 3, BAD BAD BAD);
    check_clean("\xf0\x80\x80\x80", 4, BAD BAD BAD BAD);
    check_clean("\xf4\x90\x80\x80", 4, BAD BAD BAD BAD);
    check_clean("\xf5\x80\x80\x80", 4, BAD BAD BAD BAD);
    /* A character that is cut is one mistake. */
    check_clean("a\xc3", 2, "a" BAD);
    check_clean("\xe2\x82", 2, BAD);
    check_clean("\xf0\x9f\x92", 3, BAD);
    check_clean("\xf0\x9f\x92z", 4, BAD "z");
}

/* What comes out is what jansson takes, for every pair of bytes and what they begin. */
static void test_clean_is_clean(void **state)
{
    unsigned step = getenv("TEST_QUICK") != NULL ? 7 : 1;

    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = first % step; second < 256; second += step) {
            char in[4] = {(char)first, (char)second, (char)0x80, (char)0xbf};
            struct buffer buffer = {0};
            json_t *value;

            utf8_clean(in, sizeof(in), &buffer);
            value = json_stringn(buffer.data, buffer.length);
            assert_non_null(value);
            json_decref(value);
            buffer_clear(&buffer);
        }
    }
}

static void test_floor(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\x80z";
    static const size_t floors[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};

    (void)state;
    for (size_t i = 0; i < sizeof(floors) / sizeof(floors[0]); i++)
        assert_int_equal(utf8_floor(text, i), floors[i]);
}

static void test_cursors(void **state)
{
    static const int64_t rows[] = {0, 1, 42, INT64_C(0xfffffffffffffff)};
    static const char *const bad[] = {"",
                                      "c1",
                                      "c1.",
                                      "c1.a",
                                      "c1.x1",
                                      "c2.a1",
                                      "c1.a1 ",
                                      "c1.aG",
                                      "c1.a-1",
                                      "c1.A1",
                                      "c1.a1000000000000000",
                                      "now"};
    char text[CURSOR_SIZE];
    bool descending;
    int64_t row;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int down = 0; down < 2; down++) {
            cursor_format(rows[i], down, text);
            assert_int_equal(cursor_parse(text, &row, &descending), 0);
            assert_int_equal(row, rows[i]);
            assert_int_equal(descending, down);
        }
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cursor_parse(bad[i], &row, &descending), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format), cmocka_unit_test(test_parse),
        cmocka_unit_test(test_clean),  cmocka_unit_test(test_clean_is_clean),
        cmocka_unit_test(test_floor),  cmocka_unit_test(test_cursors),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
