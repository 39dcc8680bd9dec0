/* Gaps: what they become on the wire, whatever they are told. */
#include "check.h"
#include "decode.h"
#include "gap.h"
#include "journal.h"
#include "record.h"
#include "wire.h"

#define S UINT64_C(1000000000) /* a second */

static struct gap *gap_of(uint64_t from_ns, uint64_t to_ns, const char *why, const char *detail)
{
    return gap_new(from_ns, to_ns, (const unsigned char *)why, strlen(why),
                   (const unsigned char *)detail, strlen(detail));
}

static void assert_json(const struct gap *gap, const char *wanted)
{
    uint8_t bytes[RECORD_CBOR_MAX];
    struct cbor_writer cbor = cbor_writer_on(bytes, sizeof(bytes));
    cbor_item_t *item;
    size_t length;
    char *json;

    gap_encode(gap, &cbor);
    assert_false(cbor.full);
    item = decode(bytes, cbor.used);
    assert_non_null(item);
    json = decode_json(item, &length);
    assert_string_equal(json, wanted);
    free(json);
    cbor_decref(&item);
}

static void one_that_is_over(void **state)
{
    struct gap *gap = gap_of(3 * S, 64 * S + 5070000, "it was taken", "all of it");

    (void)state;
    assert_json(gap, "{\"severity\":\"warning\","
                     "\"message\":\"for 61.005 s exits may not have been seen: it was taken\","
                     "\"gap\":{\"from\":3000000000,\"to\":64005070000,\"why\":\"it was taken\","
                     "\"detail\":\"all of it\"}}");
    assert_true(gap_bytes(gap) > sizeof(*gap));
    gap_free(gap);
    gap_free(NULL);
    assert_int_equal(gap_bytes(NULL), 0);
}

static void one_that_goes_on(void **state)
{
    struct gap *gap = gap_of(3 * S, 0, "paused", "");

    (void)state;
    assert_json(
        gap, "{\"severity\":\"warning\",\"message\":\"from now on exits may not be seen: paused\","
             "\"gap\":{\"from\":3000000000,\"why\":\"paused\"}}");
    gap_free(gap);
}

static void one_whose_clock_went_back(void **state)
{
    struct gap *gap = gap_of(3 * S, 2 * S, "w", "");

    (void)state;
    assert_json(
        gap,
        "{\"severity\":\"warning\",\"message\":\"for 0.000 s exits may not have been seen: w\","
        "\"gap\":{\"from\":3000000000,\"to\":2000000000,\"why\":\"w\"}}");
    gap_free(gap);
}

static void texts_are_bounded_and_clean(void **state)
{
    unsigned char worst[4096];
    uint8_t bytes[RECORD_CBOR_MAX];

    (void)state;
    for (int filler = 0; filler < 256; filler++) {
        struct cbor_writer cbor = cbor_writer_on(bytes, sizeof(bytes));
        struct gap *gap;
        cbor_item_t *item;
        size_t length;
        char *json;

        memset(worst, filler, sizeof(worst));
        gap = gap_new(UINT64_MAX, UINT64_MAX, worst, sizeof(worst), worst, sizeof(worst));
        assert_true(gap->why->length <= GAP_WHY_MAX && gap->detail->length <= GAP_DETAIL_MAX);
        assert_true(gap->why->truncated && gap->detail->truncated);
        assert_true(is_clean_utf8(gap->why->bytes, gap->why->length));
        gap_encode(gap, &cbor);
        assert_false(cbor.full);
        item = decode(bytes, cbor.used);
        json = decode_json(item, &length);
        assert_true(length <= 4500);
        free(json);
        cbor_decref(&item);
        gap_free(gap);
    }
}

/* In the journal it stands among the exits, and no process has it. */
static void in_the_journal(void **state)
{
    struct journal *journal = journal_new();
    struct record *record = record_new(), *found[4];
    uint8_t bytes[RECORD_CBOR_MAX];
    struct cbor_writer cbor = cbor_writer_on(bytes, sizeof(bytes));

    (void)state;
    journal_reset(journal, 100000);
    record->gap = gap_of(1, 2, "why", "");
    record->severity = CORONER_SEVERITY_WARNING;
    journal_add(journal, record);
    assert_int_equal(journal_counts(journal).bytes, record_bytes(record));
    assert_int_equal(record_bytes(record), sizeof(*record) + gap_bytes(record->gap));
    assert_int_equal(journal_recent(journal, found, 4), 1);
    assert_ptr_equal(found[0], record);
    record_encode(found[0], NULL, "", &cbor);
    assert_false(cbor.full);
    record_drop(found[0]);
    record_drop(record);
    journal_free(journal);
}

static void without_memory(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct gap *gap;

        alloc_fail_at(nth, false);
        gap = gap_of(1, 2, "why", "detail");
        alloc_fail_at(0, false);
        assert_null(gap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_is_over),
        TEST(one_that_goes_on),
        TEST(one_whose_clock_went_back),
        TEST(texts_are_bounded_and_clean),
        TEST(in_the_journal),
        TEST(without_memory),
    };

    return check_run("gap", tests);
}
