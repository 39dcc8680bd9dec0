/* What foreign text can do to a terminal: nothing. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ctl_text.h"

static void expect(bool utf8, const char *bytes, size_t length, size_t limit, const char *wanted)
{
    struct ctl_text text;

    ctl_text_init(&text, (struct ctl_look){.utf8 = utf8});
    ctl_text_foreign(&text, bytes, length, limit);
    assert_string_equal(ctl_text_string(&text), wanted);
    ctl_text_free(&text);
}

static void control_characters_are_escaped(void **state)
{
    (void)state;
    expect(true, "\033[2Jx", 5, 100, "\\x1b[2Jx");
    expect(true, "a\nb\rc\td", 7, 100, "a\\x0ab\\x0dc\\x09d");
    expect(true, "a\0b", 3, 100, "a\\x00b");
    expect(true, "a\x7f", 2, 100, "a\\x7f");
    expect(true,
           "\xc2\x9b"
           "31m",
           5, 100, "\\u{9b}31m"); /* CSI of C1 */
    expect(true, "\xc2\x85", 2, 100, "\\u{85}");
}

static void direction_and_invisible_characters_are_escaped(void **state)
{
    (void)state;
    expect(true,
           "\xe2\x80\xae"
           "abc",
           6, 100, "\\u{202e}abc"); /* right-to-left override */
    expect(true, "\xe2\x81\xa6", 3, 100, "\\u{2066}");
    expect(true, "\xe2\x80\x8b", 3, 100, "\\u{200b}");
    expect(true, "\xe2\x80\xa8", 3, 100, "\\u{2028}");
    expect(true, "\xef\xbb\xbf", 3, 100, "\\u{feff}");
    expect(true, "\xf3\xa0\x81\x81", 4, 100, "\\u{e0041}");
}

static void bytes_that_are_no_utf8_are_escaped(void **state)
{
    (void)state;
    expect(true, "\xff", 1, 100, "\\xff");
    expect(true, "\xc3", 1, 100, "\\xc3");                   /* cut short */
    expect(true, "\xc0\xaf", 2, 100, "\\xc0\\xaf");          /* longer than it need be */
    expect(true, "\xed\xa0\x80", 3, 100, "\\xed\\xa0\\x80"); /* half of a surrogate pair */
    expect(true, "\xf4\x90\x80\x80", 4, 100,
           "\\xf4\\x90\\x80\\x80"); /* beyond the last character */
    expect(true,
           "\x9b"
           "31m",
           4, 100, "\\x9b31m"); /* CSI as a lone byte */
}

static void good_text_stays(void **state)
{
    (void)state;
    expect(true, "gr\xc3\xbc\xc3\x9f \xe2\x86\x92 \xf0\x9f\x92\x80", 15, 100,
           "gr\xc3\xbc\xc3\x9f \xe2\x86\x92 \xf0\x9f\x92\x80");
    expect(false, "gr\xc3\xbc\xc3\x9f", 6, 100, "gr\\u{fc}\\u{df}");
    expect(true, "", 0, 100, "");
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    expect(true, "\xc3\xbc\xc3\xbc\xc3\xbc", 6, 2, "\xc3\xbc\xc3\xbc\xe2\x80\xa6");
    expect(true, "abc", 3, 3, "abc");
    expect(false, "abcd", 4, 3, "abc...");
    expect(true, "abc", 3, 0, "\xe2\x80\xa6");
}

/* Whatever the bytes, what comes out is printable ASCII in the one look, and holds no C0 or C1 in
 * the other. */
static void random_bytes_come_out_harmless(void **state)
{
    unsigned seed = 20261123;
    char bytes[64];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct ctl_text text;
        size_t length = (size_t)(rand_r(&seed) % (int)sizeof(bytes));
        bool utf8 = round % 2 == 0;
        for (size_t i = 0; i < length; i++)
            bytes[i] = (char)(rand_r(&seed) >> 7);
        ctl_text_init(&text, (struct ctl_look){.utf8 = utf8});
        ctl_text_foreign(&text, bytes, length, 40);
        for (size_t i = 0; i < text.length; i++) {
            unsigned char byte = (unsigned char)text.bytes[i];
            assert_true(byte >= 0x20 && byte != 0x7f);
            assert_true(utf8 || byte < 0x80);
            if (byte == 0xc2)
                assert_true((unsigned char)text.bytes[i + 1] >= 0xa0);
        }
        ctl_text_free(&text);
    }
}

static void it_grows_up_to_its_bound(void **state)
{
    struct ctl_text text;
    char piece[1001];

    (void)state;
    memset(piece, 'x', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    ctl_text_init(&text, (struct ctl_look){0});
    for (int i = 0; i < 5000; i++)
        ctl_text_add(&text, piece);
    assert_true(text.failed);
    assert_true(text.length <= CTL_TEXT_MAX);
    assert_int_equal(strlen(ctl_text_string(&text)), text.length);
    ctl_text_free(&text);
    assert_string_equal(ctl_text_string(&text), "");
}

static void looks_follow_the_reader(void **state)
{
    struct ctl_text text;

    (void)state;
    ctl_text_init(&text, (struct ctl_look){.utf8 = true, .colour = true});
    ctl_text_add(&text, "first\n");
    ctl_text_style(&text, CTL_RED);
    ctl_text_symbol(&text, "\xe2\x86\x92", "->");
    ctl_text_style(&text, CTL_PLAIN);
    assert_string_equal(ctl_text_string(&text), "first\n\033[0;31m\xe2\x86\x92\033[0m");
    assert_int_equal(ctl_text_columns(&text), 1);
    ctl_text_free(&text);

    ctl_text_init(&text, (struct ctl_look){0});
    ctl_text_style(&text, CTL_RED);
    ctl_text_symbol(&text, "\xe2\x86\x92", "->");
    ctl_text_add(&text, " \xe2\x80\xa6");
    ctl_text_add_number(&text, -42);
    ctl_text_style(&text, CTL_PLAIN);
    assert_string_equal(ctl_text_string(&text), "-> ?-42");
    ctl_text_cut(&text, 2);
    assert_string_equal(ctl_text_string(&text), "->");
    ctl_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(direction_and_invisible_characters_are_escaped),
        cmocka_unit_test(bytes_that_are_no_utf8_are_escaped),
        cmocka_unit_test(good_text_stays),
        cmocka_unit_test(long_text_is_cut_between_characters),
        cmocka_unit_test(random_bytes_come_out_harmless),
        cmocka_unit_test(it_grows_up_to_its_bound),
        cmocka_unit_test(looks_follow_the_reader),
    };

    return cmocka_run_group_tests_name("ctl_text", tests, NULL, NULL);
}
