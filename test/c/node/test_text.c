/* Bounded text: nothing overflows, and what comes out is UTF-8 without control characters. */
#include "check.h"
#include "text.h"

/* The one valid encoding of a code point. Returns its length. */
static unsigned encode(uint32_t point, unsigned char *bytes)
{
    if (point < 0x80) {
        bytes[0] = (unsigned char)point;
        return 1;
    }
    if (point < 0x800) {
        bytes[0] = (unsigned char)(0xc0 | point >> 6);
        bytes[1] = (unsigned char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        bytes[0] = (unsigned char)(0xe0 | point >> 12);
        bytes[1] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
        bytes[2] = (unsigned char)(0x80 | (point & 0x3f));
        return 3;
    }
    bytes[0] = (unsigned char)(0xf0 | point >> 18);
    bytes[1] = (unsigned char)(0x80 | (point >> 12 & 0x3f));
    bytes[2] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
    bytes[3] = (unsigned char)(0x80 | (point & 0x3f));
    return 4;
}

static void a_writer_takes_pieces_whole_or_not(void **state)
{
    char buffer[8];
    struct text_writer writer = text_writer_on(buffer, sizeof(buffer));

    (void)state;
    assert_string_equal(buffer, "");
    text_puts(&writer, "abc");
    text_put_char(&writer, 'd');
    assert_string_equal(buffer, "abcd");
    text_puts(&writer, "efg"); /* fills it to the last byte */
    assert_string_equal(buffer, "abcdefg");
    assert_false(writer.cut);
    text_puts(&writer, "");
    assert_false(writer.cut);
    text_put_char(&writer, 'h');
    assert_true(writer.cut);
    assert_string_equal(buffer, "abcdefg");

    writer = text_writer_on(buffer, sizeof(buffer));
    text_puts(&writer, "too long for it");
    assert_true(writer.cut);
    assert_string_equal(buffer, "");
    text_put_char(&writer, 'x'); /* nothing after a gap */
    assert_string_equal(buffer, "");
    assert_int_equal(writer.used, 0);

    writer = text_writer_on(buffer, 1);
    text_put_char(&writer, 'x');
    assert_true(writer.cut);
    assert_string_equal(buffer, "");
}

static void numbers_in_decimal(void **state)
{
    static const uint64_t numbers[] = {0,     1,          9,           10,        99,        100,
                                       65535, 4294967295, 4294967296u, INT64_MAX, UINT64_MAX};
    char buffer[32], wanted[32];

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct text_writer writer = text_writer_on(buffer, sizeof(buffer));

        text_put_uint(&writer, numbers[i]);
        (void)snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)numbers[i]);
        assert_string_equal(buffer, wanted);
    }
}

static void every_code_point_has_one_encoding(void **state)
{
    unsigned char bytes[4];

    (void)state;
    for (uint32_t point = 0; point <= 0x10ffff; point += point < 0x11000 ? 1 : 17) {
        unsigned length = encode(point, bytes);
        bool surrogate = point >= 0xd800 && point <= 0xdfff;

        assert_int_equal(text_utf8_length(bytes, length), surrogate ? 0 : length);
        if (length > 1)
            assert_int_equal(text_utf8_length(bytes, length - 1), 0);
    }
}

static void what_is_no_utf8(void **state)
{
    static const char *const broken[] = {
        "\x80",
        "\xbf", /* a tail without a head */
        "\xc0\x80",
        "\xc0\xaf",
        "\xc1\xbf", /* overlong */
        "\xe0\x80\x80",
        "\xe0\x9f\xbf", /* overlong */
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", /* past U+10FFFF */
        "\xf8\x88\x80\x80\x80",
        "\xfe",
        "\xff", /* never */
        "\xc3\x28",
        "\xe2\x28\xa1",
        "\xe2\x82\x28",
        "\xf0\x90\x28\xbc",
        "\xf0\x90\x8c\x28",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        assert_int_equal(text_utf8_length((const unsigned char *)broken[i], strlen(broken[i])), 0);
}

static void expect(const char *bytes, size_t length, char quote, const char *wanted)
{
    char buffer[128];
    struct text_writer writer = text_writer_on(buffer, sizeof(buffer));

    text_put_utf8(&writer, (const unsigned char *)bytes, length, quote);
    assert_string_equal(buffer, wanted);
    assert_false(writer.cut);
}

static void escapes_are_those_of_erlang(void **state)
{
    (void)state;
    expect("gr\xc3\xbc\xc3\x9f \xf0\x9f\x92\x80", 11, '"', "gr\xc3\xbc\xc3\x9f \xf0\x9f\x92\x80");
    expect("a\nb\tc\rd", 7, '"', "a\\nb\\tc\\rd");
    expect("\0\x01\x1b\x7f", 4, '"', "\\x{00}\\x{01}\\x{1B}\\x{7F}");
    expect("\xc2\x80\xc2\x85\xc2\x9f\xc2\xa0", 8, '"', "\\x{80}\\x{85}\\x{9F}\xc2\xa0");
    expect("\xff\xc3", 2, '"', "\\x{FF}\\x{C3}");
    expect("\xed\xa0\x80", 3, '"', "\\x{ED}\\x{A0}\\x{80}");
    expect("say \"it's\" \\", 12, '"', "say \\\"it's\\\" \\\\");
    expect("say \"it's\" \\", 12, '\'', "say \"it\\'s\" \\\\");
    expect("say \"it's\" \\", 12, '\0', "say \"it's\" \\");
    expect("a\nb\x7f\xc2\x85\xff\xed\xa0\x80z", 11, '\0', "a?b??????z");
    expect("", 0, '"', "");
}

/* At every room: a beginning of the whole, cut between two characters or escapes, and a NUL behind
 * it. */
static void check_at_every_room(const unsigned char *bytes, size_t length, char quote)
{
    char whole[1024];
    struct text_writer all = text_writer_on(whole, sizeof(whole));

    text_put_utf8(&all, bytes, length, quote);
    assert_false(all.cut);
    assert_true(is_clean_utf8(whole, all.used));
    for (size_t room = 1; room <= all.used + 1; room++) {
        char *part = malloc(room); /* so that one byte more is an error */
        struct text_writer writer = text_writer_on(part, room);

        text_put_utf8(&writer, bytes, length, quote);
        assert_int_equal(strlen(part), writer.used);
        assert_memory_equal(part, whole, writer.used);
        assert_true(is_clean_utf8(part, writer.used));
        assert_int_equal(writer.cut, room <= all.used);
        assert_true(room - writer.used <= 6 || !writer.cut); /* the longest piece is \x{00} */
        free(part);
    }
}

static void random_bytes_come_out_clean_and_bounded(void **state)
{
    static const char quotes[] = {'\0', '"', '\''};
    struct dice dice = dice_new(1);
    unsigned char bytes[80];

    (void)state;
    for (size_t round = 0; round < test_size(6000, 300); round++) {
        size_t length = 0;

        while (length < 72) {
            switch (dice_below(&dice, 4)) {
            case 0:
                bytes[length++] = (unsigned char)dice_throw(&dice);
                break;
            case 1:
                bytes[length++] = (unsigned char)dice_below(&dice, 0x80);
                break;
            case 2:
                length += encode((uint32_t)dice_below(&dice, 0x110000), bytes + length);
                break;
            default:
                length += encode((uint32_t)dice_below(&dice, 0x900), bytes + length);
            }
            if (dice_below(&dice, 20) == 0)
                break;
        }
        check_at_every_room(bytes, length, quotes[round % 3]);
    }
}

static void json_cost_is_what_json_takes(void **state)
{
    char text[256];

    (void)state;
    for (unsigned c = 0; c < 256; c++)
        text[c] = (char)c;
    assert_int_equal(text_json_cost(text, 0), 0);
    assert_int_equal(text_json_cost("abc", 3), 3);
    assert_int_equal(text_json_cost("\"", 1), 2);
    assert_int_equal(text_json_cost("\\", 1), 2);
    assert_int_equal(text_json_cost("\xf0\x9f\x92\x80", 4), 4);
    /* 32 control characters as \u0000, two escaped, the rest as they are. */
    assert_int_equal(text_json_cost(text, 256), 32 * 6 + 2 * 2 + 222);
}

static void shared_texts_are_freed_by_the_last(void **state)
{
    struct text *text;

    (void)state;
    alloc_fail_at(1, false);
    assert_null(text_new("abc", 3, false));
    text = text_new("a\0c", 3, true);
    assert_int_equal(text->length, 3);
    assert_true(text->truncated);
    assert_memory_equal(text->bytes, "a\0c\0", 4);
    assert_ptr_equal(text_hold(text), text);
    text_drop(text);
    assert_memory_equal(text->bytes, "a\0c\0", 4);
    text_drop(text);
    assert_null(text_hold(NULL));
    text_drop(NULL);
    text = text_new("", 0, false);
    assert_string_equal(text->bytes, "");
    text_drop(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_writer_takes_pieces_whole_or_not), TEST(numbers_in_decimal),
        TEST(every_code_point_has_one_encoding),  TEST(what_is_no_utf8),
        TEST(escapes_are_those_of_erlang),        TEST(random_bytes_come_out_clean_and_bounded),
        TEST(json_cost_is_what_json_takes),       TEST(shared_texts_are_freed_by_the_last),
    };

    return check_run("text", tests);
}
