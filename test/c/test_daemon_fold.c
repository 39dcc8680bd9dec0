/* A cascade as few lines: nothing may vanish, and memory is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fold.h"

static struct buffer out;

static int set_up(void **state)
{
    *state = fold_new(3);
    return 0;
}

static int tear_down(void **state)
{
    fold_free(*state);
    buffer_clear(&out);
    return 0;
}

/* A row of the cascade that began with record ${root}. */
static bool row(struct fold *fold, int64_t number, unsigned root, const char *call, int64_t now_ms)
{
    char json[512];
    int length = snprintf(json, sizeof(json),
                          "{\"schema\":\"coroner.exit/1\",\"id\":\"6a1f0c2be5d94c11-%d\","
                          "\"time\":\"2026-11-23T15:46:33.%09dZ\",\"severity\":\"error\","
                          "\"process\":{\"initial_call\":\"%s\"},"
                          "\"origin\":{\"source\":\"kill\",\"id\":\"6a1f0c2be5d94c11-%u\"}}",
                          (int)number, (int)number, call, root);

    return fold_row(fold, number, json, (size_t)length, now_ms, &out);
}

/* The only line in `out`, which is emptied. */
static json_t *line(void)
{
    json_error_t error;
    json_t *summary;

    assert_true(out.length > 0);
    assert_ptr_equal(memchr(out.data, '\n', out.length), out.data + out.length - 1);
    summary = json_loadb(out.data, out.length, 0, &error);
    assert_non_null(summary);
    out.length = 0;
    return summary;
}

static json_int_t count_of(json_t *summary)
{
    return json_integer_value(json_object_get(json_object_get(summary, "fold"), "count"));
}

static void the_first_are_written_and_the_rest_is_counted(void **state)
{
    struct fold *fold = *state;
    json_t *summary;

    for (int i = 1; i <= 3; i++) {
        assert_true(row(fold, i, 1, "a:init/1", 0));
        assert_int_equal(fold_floor(fold, i), i);
    }
    for (int i = 4; i <= 10; i++) {
        assert_false(row(fold, i, 1, i < 6 ? "b:init/1" : "a:init/1", 0));
        assert_int_equal(fold_floor(fold, i), 3);
    }
    assert_int_equal(out.length, 0);
    assert_false(fold_due(fold, FOLD_QUIET_MS - 1, false, &out));
    assert_int_equal(fold_next_ms(fold, FOLD_QUIET_MS - 10), 10);
    assert_true(fold_due(fold, FOLD_QUIET_MS, false, &out));
    assert_int_equal(fold_floor(fold, 10), 10);
    assert_int_equal(fold_folded(fold), 7);
    summary = line();
    assert_int_equal(count_of(summary), 7);
    assert_string_equal(json_string_value(json_object_get(summary, "id")),
                        "fold-6a1f0c2be5d94c11-1-6a1f0c2be5d94c11-4-6a1f0c2be5d94c11-10");
    assert_string_equal(
        json_string_value(json_object_get(
            json_array_get(json_object_get(json_object_get(summary, "fold"), "initial_calls"), 0),
            "initial_call")),
        "a:init/1");
    json_decref(summary);
    assert_false(fold_due(fold, FOLD_QUIET_MS, true, &out));
    assert_int_equal(fold_next_ms(fold, 0), -1);
}

static void a_summary_comes_though_the_cascade_goes_on(void **state)
{
    struct fold *fold = *state;
    int64_t now = 0, number = 0;
    json_int_t counted = 0;
    json_t *summary;

    for (int i = 0; i < 3; i++)
        assert_true(row(fold, ++number, 1, "a:init/1", now));
    for (int i = 0; i < 200; i++) {
        assert_false(row(fold, ++number, 1, "a:init/1", now));
        now += FOLD_QUIET_MS / 2;
        if (fold_due(fold, now, false, &out)) {
            summary = line();
            counted += count_of(summary);
            json_decref(summary);
            assert_int_equal(fold_floor(fold, number), number);
        }
        assert_true(fold_floor(fold, number) >= number - FOLD_LONGEST_MS / (FOLD_QUIET_MS / 2) - 1);
    }
    assert_int_equal(counted, 200);
}

static void one_that_still_counts_keeps_the_floor(void **state)
{
    struct fold *fold = *state;

    for (int i = 1; i <= 4; i++)
        row(fold, i, 1, "a:init/1", 0);
    for (int i = 5; i <= 9; i++)
        row(fold, i, 5, "a:init/1", 500);
    assert_int_equal(fold_floor(fold, 9), 3);
    assert_true(fold_due(fold, FOLD_QUIET_MS, false, &out));
    assert_int_equal(fold_floor(fold, 9), 7);
    out.length = 0;
    assert_true(fold_due(fold, FOLD_QUIET_MS + 500, false, &out));
    assert_int_equal(fold_floor(fold, 9), 9);
}

static void too_many_make_room_with_a_summary(void **state)
{
    struct fold *fold = *state;
    int64_t number = 0;
    json_t *summary;

    for (int i = 1; i <= 4; i++)
        row(fold, ++number, 1, "a:init/1", 0);
    for (unsigned i = 2; i <= FOLD_CASCADES_MAX; i++)
        assert_true(row(fold, ++number, i, "a:init/1", 0));
    assert_int_equal(out.length, 0);
    assert_int_equal(fold_floor(fold, number), 3);
    assert_true(row(fold, ++number, 77777, "a:init/1", 0));
    summary = line();
    assert_int_equal(count_of(summary), 1);
    json_decref(summary);
    assert_int_equal(fold_floor(fold, number), number);
}

static void more_calls_than_are_told_are_others(void **state)
{
    struct fold *fold = *state;
    json_t *summary, *told;
    char call[200];

    for (int i = 0; i < 3; i++)
        row(fold, i + 1, 1, "x", 0);
    for (int i = 0; i < 3 * FOLD_CALLS_MAX; i++) {
        /* Of a long name a cut one is told, also within a character. */
        snprintf(call, sizeof(call), "%d%.*s\u00e4\u00e4\u00e4:init/1", i, i < 10 ? 124 : 123,
                 "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
                 "mmmmmmm"
                 "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm");
        assert_false(row(fold, 10 + i, 1, call, 0));
    }
    assert_true(fold_due(fold, 0, true, &out));
    summary = line();
    told = json_object_get(summary, "fold");
    assert_int_equal(json_array_size(json_object_get(told, "initial_calls")), FOLD_CALLS_MAX);
    assert_int_equal(json_integer_value(json_object_get(told, "other")), 2 * FOLD_CALLS_MAX);
    json_decref(summary);
}

static void what_is_no_cascade_is_written(void **state)
{
    static const char *const lines[] = {
        "{\"schema\":\"coroner.gap/1\",\"id\":\"6a1f0c2be5d94c11-1\",\"gap\":{}}",
        "{\"id\":\"6a1f0c2be5d94c11-1\",\"origin\":{\"source\":\"self_error\"}}",
        "{\"id\":\"6a1f0c2be5d94c11-1\",\"origin\":{\"id\":5}}",
        "{\"origin\":{\"id\":\"6a1f0c2be5d94c11-1\"}}",
        "{\"id\":\"6a1f0c2be5d94c11-1\",\"origin\":{\"id\":"
        "\"6a1f0c2be5d94c116a1f0c2be5d94c116a1f0c2be5d94c11-1\"}}",
        "not even JSON",
        "",
    };

    for (int turn = 0; turn < 5; turn++) {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
            assert_true(fold_row(*state, turn, lines[i], strlen(lines[i]), 0, &out));
    }
    assert_int_equal(fold_next_ms(*state, 0), -1);
}

static void after_a_reset_everything_is_seen_again(void **state)
{
    struct fold *fold = *state;

    for (int i = 1; i <= 9; i++)
        row(fold, i, 1, "a:init/1", 0);
    fold_reset(fold);
    assert_int_equal(fold_floor(fold, 3), 3);
    assert_true(row(fold, 4, 1, "a:init/1", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(the_first_are_written_and_the_rest_is_counted),
        TEST(a_summary_comes_though_the_cascade_goes_on),
        TEST(one_that_still_counts_keeps_the_floor),
        TEST(too_many_make_room_with_a_summary),
        TEST(more_calls_than_are_told_are_others),
        TEST(what_is_no_cascade_is_written),
        TEST(after_a_reset_everything_is_seen_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
