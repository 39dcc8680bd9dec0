/* Terms from a node: well-formed ones are read, all others are refused within their bytes. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ei.h"

#include "ctl_term.h"

/* {ok, #{processes => 70000, incarnation => <<"6a1f">>, already => true, list => [1, <<>> | tail]}}
 */
static void encode_answer(ei_x_buff *x)
{
    assert_int_equal(ei_x_new(x), 0);
    ei_x_encode_tuple_header(x, 2);
    ei_x_encode_atom(x, "ok");
    ei_x_encode_map_header(x, 4);
    ei_x_encode_atom(x, "processes");
    ei_x_encode_long(x, 70000);
    ei_x_encode_atom(x, "incarnation");
    ei_x_encode_binary(x, "6a1f", 4);
    ei_x_encode_atom(x, "already");
    ei_x_encode_atom(x, "true");
    ei_x_encode_atom(x, "list");
    ei_x_encode_list_header(x, 2);
    ei_x_encode_long(x, 1);
    ei_x_encode_binary(x, "", 0);
    ei_x_encode_atom(x, "tail");
}

/* A copy of exactly ${length} bytes, so that a read behind them is seen. */
static unsigned char *exact(const void *bytes, size_t length)
{
    unsigned char *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    return copy;
}

static void expect_shown(struct ctl_term term, const char *wanted)
{
    struct ctl_text text;

    ctl_text_init(&text, (struct ctl_look){.utf8 = true});
    ctl_term_show(&text, term);
    assert_string_equal(ctl_text_string(&text), wanted);
    ctl_text_free(&text);
}

static void an_answer_is_read(void **state)
{
    ei_x_buff x;
    struct ctl_term term, tag, info, value;
    long long number;
    char bytes[8];

    (void)state;
    encode_answer(&x);
    assert_int_equal(ctl_term_take((unsigned char *)x.buff, (size_t)x.index, &term), 0);
    assert_int_equal(term.length, x.index);
    assert_int_equal(ctl_term_element(term, 2, 0, &tag), 0);
    assert_true(ctl_term_is_atom(tag, "ok"));
    assert_false(ctl_term_is_atom(tag, "o"));
    assert_false(ctl_term_is_atom(tag, "okay"));
    assert_int_equal(ctl_term_element(term, 3, 0, &tag), -1);
    assert_int_equal(ctl_term_element(term, 2, 2, &tag), -1);
    assert_int_equal(ctl_term_element(term, -1, 1, &info), 0);
    assert_int_equal(ctl_term_map_get(info, "processes", &value), 0);
    assert_int_equal(ctl_term_integer(value, &number), 0);
    assert_int_equal(number, 70000);
    assert_int_equal(ctl_term_bytes(value, bytes, sizeof(bytes)), -1);
    assert_int_equal(ctl_term_map_get(info, "incarnation", &value), 0);
    assert_int_equal(ctl_term_bytes(value, bytes, sizeof(bytes)), 4);
    assert_string_equal(bytes, "6a1f");
    assert_int_equal(ctl_term_bytes(value, bytes, 3), 2); /* cut to what fits */
    assert_string_equal(bytes, "6a");
    assert_int_equal(ctl_term_integer(value, &number), -1);
    assert_int_equal(ctl_term_map_get(info, "nothing", &value), -1);
    assert_int_equal(ctl_term_map_get(tag, "ok", &value), -1);
    expect_shown(term, "{ok,#{processes => 70000,incarnation => <<\"6a1f\">>,already => true,"
                       "list => [1,<<\"\">>|tail]}}");
    ei_x_free(&x);
}

static void every_prefix_of_a_term_is_refused(void **state)
{
    ei_x_buff x;
    struct ctl_term term;

    (void)state;
    encode_answer(&x);
    for (size_t length = 0; length < (size_t)x.index; length++) {
        unsigned char *copy = exact(x.buff, length);
        assert_int_equal(ctl_term_take(copy, length, &term), -1);
        free(copy);
    }
    ei_x_free(&x);
}

static void integers_are_read_to_their_limits(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        int result;
        long long number;
    } cases[] = {
        {"a\xff", 2, 0, 255},
        {"b\xff\xff\xff\xff", 5, 0, -1},
        {"b\x7f\xff\xff\xff", 5, 0, 2147483647},
        {"n\x08\x00\xff\xff\xff\xff\xff\xff\xff\x7f", 11, 0, INT64_MAX},
        {"n\x08\x01\xff\xff\xff\xff\xff\xff\xff\x7f", 11, 0, -INT64_MAX},
        {"n\x08\x00\xff\xff\xff\xff\xff\xff\xff\xff", 11, -1, 0},
        {"n\x00\x00", 3, 0, 0},
        {"n\x09\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01", 12, -1, 0},
        {"o\x00\x00\x00\x01\x00\x01", 7, -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char *copy = exact(cases[i].bytes, cases[i].length);
        struct ctl_term term;
        long long number = 0;
        assert_int_equal(ctl_term_take(copy, cases[i].length, &term), 0);
        assert_int_equal(ctl_term_integer(term, &number), cases[i].result);
        if (cases[i].result == 0)
            assert_true(number == cases[i].number);
        free(copy);
    }
}

static void every_kind_of_term_is_taken(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"F\0\0\0\0\0\0\0\0", 9},
        {"d\0\1x", 4},
        {"s\1x", 3},
        {"v\0\1x", 4},
        {"w\1x", 3},
        {"k\0\2ab", 5},
        {"m\0\0\0\1x", 6},
        {"M\0\0\0\1\3x", 7},
        {"j", 1},
        {"h\0", 2},
        {"i\0\0\0\1j", 6},
        {"l\0\0\0\1jj", 7},
        {"t\0\0\0\1jj", 7},
        {"qw\1mw\1fa\1", 9},
        {"gw\1n\0\0\0\1\0\0\0\2\3", 13},
        {"Xw\1n\0\0\0\1\0\0\0\2\0\0\0\3", 16},
        {"xw\1n\0\0\0\0\0\0\0\1\0\0\0\2", 16},
        {"fw\1n\0\0\0\1\2", 9},
        {"Yw\1n\0\0\0\1\0\0\0\2", 12},
        {"ew\1n\0\0\0\1\2", 9},
        {"r\0\2w\1n\1\0\0\0\1\0\0\0\2", 15},
        {"Z\0\1d\0\1n\0\0\0\1\0\0\0\2", 15},
        {"p\0\0\0\6xx", 7},
        {"n\1\0\1", 4},
        {"o\0\0\0\1\0\1", 7},
    };
    struct ctl_text text;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char *copy = exact(cases[i].bytes, cases[i].length);
        struct ctl_term term;
        assert_int_equal(ctl_term_take(copy, cases[i].length, &term), 0);
        assert_int_equal(term.length, cases[i].length);
        ctl_text_init(&text, (struct ctl_look){0});
        ctl_term_show(&text, term);
        assert_true(text.length > 0 || copy[0] == 'h');
        ctl_text_free(&text);
        for (size_t length = 0; length < cases[i].length; length++)
            assert_int_equal(ctl_term_take(copy, length, &term), -1);
        free(copy);
    }
}

static void terms_that_lie_about_their_size_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"m\xff\xff\xff\xffx", 6},
        {"l\xff\xff\xff\xffjj", 7},
        {"t\xff\xff\xff\xffjj", 7},
        {"i\xff\xff\xff\xffj", 6},
        {"h\xffj", 3},
        {"p\xff\xff\xff\xff", 5},
        {"p\0\0\0\0\0\0", 7},
        {"Z\xff\xffw\1n\0\0\0\1", 10},
        {"gh\0\0\0\0\1\0\0\0\2\3", 13},
        {"n\xff\0\1", 4},
        {"o\xff\xff\xff\xff\0\1", 7},
        {"\0", 1},
        {"P\0\0\0\1", 5},
        {"\x83j", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char *copy = exact(cases[i].bytes, cases[i].length);
        struct ctl_term term;
        assert_int_equal(ctl_term_take(copy, cases[i].length, &term), -1);
        free(copy);
    }
}

/* A million tuples in one another: neither checking nor showing them takes stack. */
static void deep_terms_take_no_stack(void **state)
{
    size_t depth = 1000000;
    unsigned char *bytes = malloc(2 * depth + 1);
    struct ctl_term term;

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < depth; i++) {
        bytes[2 * i] = 'h';
        bytes[2 * i + 1] = 1;
    }
    bytes[2 * depth] = 'j';
    assert_int_equal(ctl_term_take(bytes, 2 * depth + 1, &term), 0);
    expect_shown(term, "{{{{{{{{{...}}}}}}}}}");
    assert_int_equal(ctl_term_take(bytes, 2 * depth, &term), -1);
    free(bytes);
}

static void what_a_node_says_is_shown_harmlessly(void **state)
{
    static const unsigned char hostile[] = "h\2w\4a\033[1m\0\0\0\3x\ny";
    struct ctl_term term;

    (void)state;
    assert_int_equal(ctl_term_take(hostile, sizeof(hostile) - 1, &term), 0);
    expect_shown(term, "{a\\x1b[1,<<\"x\\x0ay\">>}");
}

/* Bytes changed at random: whatever is taken can be walked and shown within its bytes. */
static void changed_terms_are_read_within_their_bytes(void **state)
{
    ei_x_buff x;
    unsigned seed = 20261123;

    (void)state;
    encode_answer(&x);
    for (int round = 0; round < 50000; round++) {
        struct ctl_term term, part;
        struct ctl_text text;
        long long number;
        char buffer[16];
        unsigned char *copy = exact(x.buff, (size_t)x.index);
        for (int i = 0; i < 1 + round % 4; i++)
            copy[rand_r(&seed) % x.index] = (unsigned char)(rand_r(&seed) >> 5);
        if (ctl_term_take(copy, (size_t)x.index, &term) == 0) {
            ctl_text_init(&text, (struct ctl_look){0});
            ctl_term_show(&text, term);
            ctl_text_free(&text);
            ctl_term_bytes(term, buffer, sizeof(buffer));
            ctl_term_integer(term, &number);
            if (ctl_term_element(term, -1, 1, &part) == 0 &&
                ctl_term_map_get(part, "already", &part) == 0)
                ctl_term_is_atom(part, "true");
        }
        free(copy);
    }
    ei_x_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_read),
        cmocka_unit_test(every_prefix_of_a_term_is_refused),
        cmocka_unit_test(integers_are_read_to_their_limits),
        cmocka_unit_test(every_kind_of_term_is_taken),
        cmocka_unit_test(terms_that_lie_about_their_size_are_refused),
        cmocka_unit_test(deep_terms_take_no_stack),
        cmocka_unit_test(what_a_node_says_is_shown_harmlessly),
        cmocka_unit_test(changed_terms_are_read_within_their_bytes),
    };

    return cmocka_run_group_tests_name("ctl_term", tests, NULL, NULL);
}
