/* Our writer of CBOR and as much of a reader as there is, held against libcbor. */
#include <cbor.h>

#include "check.h"
#include "cbor.h"
#include "decode.h"

/* Both sides of every width that the head of an item can have. */
static const uint64_t boundaries[] = {
    0,          1,     23,    24,         25,         255,        256,       257,
    65535,      65536, 65537, UINT32_MAX, 4294967296, 4294967297, INT64_MAX, UINT64_MAX - 1,
    UINT64_MAX,
};
#define BOUNDARIES (sizeof(boundaries) / sizeof(boundaries[0]))

static void assert_wrote(const struct cbor_writer *writer, const uint8_t *wanted, size_t length)
{
    assert_false(writer->full);
    assert_int_equal(writer->used, length);
    assert_memory_equal(writer->at, wanted, length);
}

static void heads_at_every_width(void **state)
{
    uint8_t ours[16], theirs[16];

    (void)state;
    for (size_t i = 0; i < BOUNDARIES; i++) {
        struct cbor_writer writer = cbor_writer_on(ours, sizeof(ours));

        cbor_put_uint(&writer, boundaries[i]);
        assert_wrote(&writer, theirs, cbor_encode_uint(boundaries[i], theirs, sizeof(theirs)));
        writer = cbor_writer_on(ours, sizeof(ours));
        cbor_put_array(&writer, boundaries[i]);
        assert_wrote(&writer, theirs,
                     cbor_encode_array_start(boundaries[i], theirs, sizeof(theirs)));
    }
}

static void texts_at_every_width(void **state)
{
    static const size_t lengths[] = {0, 1, 23, 24, 255, 256, 65535, 65536, 65537};
    uint8_t *ours = malloc(70000), *theirs = malloc(70000);
    char *bytes = malloc(70000);

    (void)state;
    memset(bytes, 'x', 70000);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct cbor_writer writer = cbor_writer_on(ours, 70000);
        size_t head = cbor_encode_string_start(lengths[i], theirs, 70000);
        const char *read;
        size_t length;
        struct cbor_reader reader;

        cbor_put_text(&writer, bytes, lengths[i]);
        memcpy(theirs + head, bytes, lengths[i]);
        assert_wrote(&writer, theirs, head + lengths[i]);
        reader = (struct cbor_reader){.at = ours, .left = writer.used};
        assert_true(cbor_get_text(&reader, &read, &length));
        assert_int_equal(length, lengths[i]);
        assert_ptr_equal(read, ours + head);
        assert_int_equal(reader.left, 0);
    }
    free(ours);
    free(theirs);
    free(bytes);
}

static void simple_values(void **state)
{
    uint8_t bytes[3];
    struct cbor_writer writer = cbor_writer_on(bytes, sizeof(bytes));

    (void)state;
    cbor_put_bool(&writer, false);
    cbor_put_bool(&writer, true);
    cbor_put_null(&writer);
    assert_wrote(&writer, (const uint8_t *)"\xf4\xf5\xf6", 3);
    cbor_put_null(&writer);
    assert_true(writer.full);
}

static void maps_whose_size_is_told_at_the_end(void **state)
{
    static const unsigned sizes[] = {0, 1, 23, 24, 255};
    uint8_t bytes[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct cbor_writer writer = cbor_writer_on(bytes, sizeof(bytes));
        size_t opened = cbor_open_map(&writer);
        cbor_item_t *item;

        for (unsigned pair = 0; pair < sizes[i]; pair++) {
            cbor_put_uint(&writer, pair);
            cbor_put_uint(&writer, pair * 7);
        }
        cbor_close_map(&writer, opened, sizes[i]);
        assert_false(writer.full);
        item = decode(bytes, writer.used);
        assert_true(cbor_isa_map(item));
        assert_int_equal(cbor_map_size(item), sizes[i]);
        for (unsigned pair = 0; pair < sizes[i]; pair++)
            assert_int_equal(decode_uint(decode_at(item, pair)), pair * 7);
        cbor_decref(&item);
    }
    {
        struct cbor_writer writer = cbor_writer_on(bytes, sizeof(bytes));
        size_t opened = cbor_open_map(&writer);

        cbor_close_map(&writer, opened, 256);
        assert_true(writer.full);
    }
}

static void write_one_of_each(struct cbor_writer *writer)
{
    size_t outer, inner;

    cbor_put_array(writer, 3);
    outer = cbor_open_map(writer);
    cbor_put_uint(writer, 1);
    inner = cbor_open_map(writer);
    cbor_put_uint(writer, 2);
    cbor_put_text(writer, "two hundred and so", 18);
    cbor_close_map(writer, inner, 1);
    cbor_put_uint(writer, 3);
    cbor_put_bool(writer, true);
    cbor_close_map(writer, outer, 2);
    cbor_put_null(writer);
    cbor_put_uint(writer, 1u << 20);
}

/* What does not fit is said, and not one byte is written past the end. */
static void too_little_room(void **state)
{
    uint8_t whole[128];
    struct cbor_writer all = cbor_writer_on(whole, sizeof(whole));
    cbor_item_t *item;

    (void)state;
    write_one_of_each(&all);
    assert_false(all.full);
    item = decode(whole, all.used);
    assert_non_null(item);
    cbor_decref(&item);
    for (size_t room = 0; room <= all.used; room++) {
        uint8_t *bytes = malloc(room + 1);
        struct cbor_writer writer = cbor_writer_on(bytes, room);

        bytes[room] = 0x5a;
        write_one_of_each(&writer);
        assert_int_equal(writer.full, room < all.used);
        assert_true(writer.used <= room);
        assert_int_equal(bytes[room], 0x5a);
        free(bytes);
    }
}

/* A reader that is refused is where it was. */
static void assert_refused(const uint8_t *bytes, size_t length)
{
    struct cbor_reader reader = {.at = bytes, .left = length};
    uint64_t number = 42;
    const char *text = "untouched";
    size_t text_length = 42;

    assert_false(cbor_get_uint(&reader, &number));
    assert_false(cbor_get_array(&reader, &number));
    assert_false(cbor_get_text(&reader, &text, &text_length));
    assert_ptr_equal(reader.at, bytes);
    assert_int_equal(reader.left, length);
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BOUNDARIES; i++) {
        for (int kind = 0; kind < 2; kind++) {
            uint8_t bytes[16];
            struct cbor_writer writer = cbor_writer_on(bytes, sizeof(bytes));
            struct cbor_reader reader;
            uint64_t number;

            if (kind == 0)
                cbor_put_uint(&writer, boundaries[i]);
            else
                cbor_put_array(&writer, boundaries[i]);
            for (size_t left = 0; left < writer.used; left++) {
                uint8_t *part = malloc(left == 0 ? 1 : left);

                memcpy(part, bytes, left);
                assert_refused(part, left);
                free(part);
            }
            reader = (struct cbor_reader){.at = bytes, .left = writer.used};
            assert_int_equal(cbor_get_uint(&reader, &number), kind == 0);
            assert_int_equal(cbor_get_array(&reader, &number), kind == 1);
            assert_int_equal(number, boundaries[i]);
            assert_int_equal(reader.left, 0);
        }
    }
    {
        uint8_t bytes[400];
        struct cbor_writer writer = cbor_writer_on(bytes, sizeof(bytes));
        char text[300];

        memset(text, 'x', sizeof(text));
        cbor_put_text(&writer, text, sizeof(text));
        for (size_t left = 0; left < writer.used; left++) {
            uint8_t *part = malloc(left == 0 ? 1 : left);

            memcpy(part, bytes, left);
            assert_refused(part, left);
            free(part);
        }
    }
    /* A text said to be longer than all memory. */
    assert_refused((const uint8_t *)"\x7b\xff\xff\xff\xff\xff\xff\xff\xffxyz", 12);
    assert_refused((const uint8_t *)"\x7f\x61x\xff", 4); /* of indefinite length */
}

/* What libcbor makes of the head of an item. */
struct head {
    int kind; /* as in get_any; -1 for anything else */
    uint64_t value;
    const uint8_t *text;
};

static void on_uint8(void *head, uint8_t value)
{
    *(struct head *)head = (struct head){.kind = 0, .value = value};
}

static void on_uint16(void *head, uint16_t value)
{
    *(struct head *)head = (struct head){.kind = 0, .value = value};
}

static void on_uint32(void *head, uint32_t value)
{
    *(struct head *)head = (struct head){.kind = 0, .value = value};
}

static void on_uint64(void *head, uint64_t value)
{
    *(struct head *)head = (struct head){.kind = 0, .value = value};
}

static void on_array(void *head, size_t count)
{
    *(struct head *)head = (struct head){.kind = 1, .value = count};
}

static void on_text(void *head, cbor_data bytes, size_t length)
{
    *(struct head *)head = (struct head){.kind = 2, .value = length, .text = bytes};
}

static int get_any(struct cbor_reader *reader, struct head *head)
{
    const char *text;
    size_t length;

    if (cbor_get_uint(reader, &head->value))
        return 0;
    if (cbor_get_array(reader, &head->value))
        return 1;
    if (cbor_get_text(reader, &text, &length)) {
        head->value = length;
        head->text = (const uint8_t *)text;
        return 2;
    }
    return -1;
}

static void garbage_is_read_as_libcbor_reads_it(void **state)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    struct dice dice = dice_new(1);

    (void)state;
    callbacks.uint8 = on_uint8;
    callbacks.uint16 = on_uint16;
    callbacks.uint32 = on_uint32;
    callbacks.uint64 = on_uint64;
    callbacks.array_start = on_array;
    callbacks.string = on_text;
    for (size_t round = 0; round < test_size(300000, 20000); round++) {
        size_t length = 1 + dice_below(&dice, 14);
        uint8_t *bytes = malloc(length);
        struct cbor_reader reader = {.at = bytes, .left = length};
        struct head ours = {.kind = -1}, theirs = {.kind = -1};
        struct cbor_decoder_result result;

        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)dice_throw(&dice);
        if (round % 4 == 0)
            bytes[0] = (uint8_t)(dice_below(&dice, 3) == 0   ? dice_below(&dice, 32)
                                 : dice_below(&dice, 2) == 0 ? 0x60 + dice_below(&dice, 32)
                                                             : 0x80 + dice_below(&dice, 32));
        result = cbor_stream_decode(bytes, length, &callbacks, &theirs);
        ours.kind = get_any(&reader, &ours);
        if (result.status == CBOR_DECODER_FINISHED && theirs.kind >= 0) {
            assert_int_equal(ours.kind, theirs.kind);
            assert_int_equal(ours.value, theirs.value);
            assert_ptr_equal(ours.text, theirs.text);
            assert_int_equal(length - reader.left, result.read);
            assert_ptr_equal(reader.at, bytes + result.read);
        } else {
            assert_int_equal(ours.kind, -1);
            assert_refused(bytes, length);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heads_at_every_width),
        TEST(texts_at_every_width),
        TEST(simple_values),
        TEST(maps_whose_size_is_told_at_the_end),
        TEST(too_little_room),
        TEST(every_prefix_is_refused),
        TEST(garbage_is_read_as_libcbor_reads_it),
    };

    return check_run("cbor", tests);
}
