/* The journal against a plain model: what is made is acknowledged, held, or counted as lost. */
#include "check.h"
#include "journal.h"
#include "names_fake.h"

static struct record *record_of(uint64_t pid, term_word name, enum coroner_severity severity,
                                size_t reason_bytes)
{
    struct record *record = record_new();
    char *reason = malloc(reason_bytes + 1);

    memset(reason, 'r', reason_bytes + 1);
    record->who = (struct who){.pid = fake_pid(pid), .name = name};
    record->severity = (uint8_t)severity;
    record->reason = text_new(reason, reason_bytes, false);
    free(reason);
    return record;
}

/* Adds a record of `pid` and returns its sequence number. */
static uint64_t add(struct journal *journal, uint64_t pid, enum coroner_severity severity)
{
    struct record *record = record_of(pid, NO_WORD, severity, 10);
    uint64_t seq;

    journal_add(journal, record);
    seq = record->seq;
    record_drop(record);
    return seq;
}

static size_t bytes_of_one(void)
{
    struct record *record = record_of(1, NO_WORD, CORONER_SEVERITY_INFO, 10);
    size_t bytes = record_bytes(record);

    record_drop(record);
    return bytes;
}

/* Takes up to `room` and checks that they are `first`, `first + 1` .. in order, `count` of them. */
static void assert_takes(struct journal *journal, size_t room, uint64_t first, size_t count)
{
    struct record *records[64];

    assert_int_equal(journal_take(journal, records, room), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(records[i]->seq, first + i);
        record_drop(records[i]);
    }
}

static void records_go_out_in_order_and_are_acknowledged(void **state)
{
    struct journal *journal = journal_new();
    struct journal_counts counts;

    (void)state;
    journal_reset(journal, SIZE_MAX);
    assert_false(journal_has_unsent(journal));
    assert_true(journal_is_settled(journal, UINT64_MAX));
    assert_int_equal(journal_counts(journal).first_held, 1);
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(add(journal, i, CORONER_SEVERITY_ERROR), i);
    assert_true(journal_has_unsent(journal));
    assert_false(journal_is_settled(journal, 1));
    assert_true(journal_is_settled(journal, 0));
    assert_takes(journal, 4, 1, 4);
    assert_takes(journal, 4, 5, 4);
    assert_true(journal_acknowledge(journal, 6));
    assert_true(journal_is_settled(journal, 6));
    assert_false(journal_is_settled(journal, 7));
    assert_true(journal_acknowledge(journal, 3)); /* cumulative: never goes back */
    counts = journal_counts(journal);
    assert_int_equal(counts.acknowledged, 6);
    assert_int_equal(counts.unacknowledged, 4);
    assert_int_equal(counts.first_held, 7);
    assert_int_equal(counts.held, 10);
    assert_int_equal(counts.made, 10);

    /* The connection broke: 7 and 8 were under way and go again, before the others. */
    journal_rewind(journal);
    journal_rewind(journal);
    assert_takes(journal, 64, 7, 4);
    assert_false(journal_has_unsent(journal));
    journal_rewind(journal);
    assert_takes(journal, 1, 7, 1);

    /* The daemon had them all. */
    assert_true(journal_acknowledge(journal, 10));
    assert_false(journal_has_unsent(journal));
    journal_rewind(journal);
    assert_false(journal_has_unsent(journal));
    assert_true(journal_is_settled(journal, UINT64_MAX));
    assert_int_equal(journal_counts(journal).first_held, 11);
    assert_int_equal(add(journal, 11, CORONER_SEVERITY_ERROR), 11);
    assert_takes(journal, 64, 11, 1);
    journal_free(journal);
}

static void what_was_never_made_is_not_acknowledged(void **state)
{
    struct journal *journal = journal_new();

    (void)state;
    journal_reset(journal, SIZE_MAX);
    assert_true(journal_acknowledge(journal, 0));
    assert_false(journal_acknowledge(journal, 1));
    add(journal, 1, CORONER_SEVERITY_ERROR);
    assert_false(journal_acknowledge(journal, 2));
    assert_false(journal_acknowledge(journal, UINT64_MAX));
    assert_int_equal(journal_counts(journal).acknowledged, 0);
    assert_takes(journal, 64, 1, 1);
    assert_true(journal_acknowledge(journal, 1));
    journal_free(journal);
}

/* What a call of journal_on_evicted was told. */
struct evictions {
    uint64_t seqs[256];
    size_t count;
};

static void on_evicted(void *cookie, const struct record *record)
{
    struct evictions *evictions = cookie;

    assert_true(evictions->count < 256);
    evictions->seqs[evictions->count++] = record->seq;
}

static void room_is_made_in_the_order_that_is_promised(void **state)
{
    struct journal *journal = journal_new();
    struct evictions evictions = {.count = 0};
    enum coroner_severity info = CORONER_SEVERITY_INFO, error = CORONER_SEVERITY_ERROR;
    /* Acknowledged first, the oldest first (2, 1 are; info or not); then info (6, 8), then the
     * oldest (5, 7, 9). */
    static const uint64_t wanted[] = {1, 2, 6, 8, 10, 5, 7, 9};
    struct journal_counts counts;

    (void)state;
    journal_reset(journal, 10 * bytes_of_one());
    journal_on_evicted(journal, on_evicted, &evictions);
    for (uint64_t i = 1; i <= 10; i++)
        add(journal, i, i % 2 == 0 ? info : error);
    assert_int_equal(evictions.count, 0);
    assert_takes(journal, 4, 1, 4);
    assert_true(
        journal_acknowledge(journal, 2)); /* 3 and 4 are under way and stay, come what may */
    for (uint64_t i = 11; i <= 18; i++)
        add(journal, i, error);
    assert_int_equal(evictions.count, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(evictions.seqs[i], wanted[i]);
    counts = journal_counts(journal);
    assert_int_equal(counts.lost, 6);
    assert_int_equal(counts.held, 10);
    assert_int_equal(counts.bytes, 10 * bytes_of_one());
    assert_int_equal(counts.first_held, 3);
    assert_takes(journal, 64, 11, 8);

    /* All is under way: what comes now goes at once, and is counted. */
    assert_int_equal(add(journal, 19, error), 19);
    assert_int_equal(journal_counts(journal).lost, 7);
    assert_int_equal(journal_counts(journal).held, 10);
    assert_false(journal_has_unsent(journal));
    assert_null(journal_by_pid(journal, fake_pid(19)));
    assert_true(journal_acknowledge(journal, 19));
    assert_true(journal_is_settled(journal, UINT64_MAX));
    journal_free(journal);
}

static void lost_ones_leave_a_gap_that_can_be_told(void **state)
{
    struct journal *journal = journal_new();
    struct record *records[8];

    (void)state;
    journal_reset(journal, 3 * bytes_of_one());
    add(journal, 1, CORONER_SEVERITY_ERROR);
    add(journal, 2, CORONER_SEVERITY_INFO);
    add(journal, 3, CORONER_SEVERITY_INFO);
    add(journal, 4, CORONER_SEVERITY_ERROR);
    add(journal, 5, CORONER_SEVERITY_ERROR);
    assert_int_equal(journal_take(journal, records, 8), 3);
    assert_int_equal(records[0]->seq, 1);
    assert_int_equal(records[1]->seq, 4);
    assert_int_equal(records[2]->seq, 5);
    for (size_t i = 0; i < 3; i++)
        record_drop(records[i]);
    assert_int_equal(journal_counts(journal).lost, 2);
    journal_free(journal);
}

static void lookups_give_the_newest(void **state)
{
    struct journal *journal = journal_new();
    term_word name = fake_atom("server");
    struct record *found, *recent[8];

    (void)state;
    journal_reset(journal, SIZE_MAX);
    assert_null(journal_by_pid(journal, fake_pid(1)));
    assert_null(journal_by_name(journal, name));
    assert_int_equal(journal_recent(journal, recent, 8), 0);
    for (uint64_t i = 1; i <= 6; i++) {
        struct record *record =
            record_of(i % 2, i % 3 == 0 ? name : NO_WORD, CORONER_SEVERITY_ERROR, 5);

        journal_add(journal, record);
        record_drop(record);
    }
    found = journal_by_pid(journal, fake_pid(1));
    assert_int_equal(found->seq, 5);
    record_drop(found);
    found = journal_by_pid(journal, fake_pid(0));
    assert_int_equal(found->seq, 6);
    record_drop(found);
    found = journal_by_name(journal, name);
    assert_int_equal(found->seq, 6);
    assert_null(journal_by_name(journal, fake_atom("nobody")));
    assert_null(journal_by_name(journal, NO_WORD));
    assert_int_equal(journal_recent(journal, recent, 4), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(recent[i]->seq, 6 - i);
        record_drop(recent[i]);
    }
    assert_int_equal(journal_recent(journal, recent, 0), 0);

    /* A reset begins anew; what is held elsewhere lives on. */
    journal_reset(journal, SIZE_MAX);
    assert_int_equal(found->seq, 6);
    record_drop(found);
    assert_null(journal_by_pid(journal, fake_pid(1)));
    assert_null(journal_by_name(journal, name));
    assert_int_equal(journal_counts(journal).made, 0);
    assert_int_equal(add(journal, 1, CORONER_SEVERITY_INFO), 1);
    journal_free(journal);
    journal_free(NULL);
    alloc_fail_at(1, false);
    assert_null(journal_new());
}

/* --- random operations against a model
 * ---------------------------------------------------------------- */

enum fate { UNSENT, UNDER_WAY, ACKNOWLEDGED, GONE };

/* A record as the model knows it; number n is at entries[n - 1]. */
struct entry {
    enum fate fate;
    bool lost; /* GONE before it was sent */
    bool is_info;
    uint64_t pid;
    term_word name;
    size_t bytes;
};

struct model {
    struct entry *entries;
    uint64_t made, acknowledged, lost, first; /* none before `first` is held */
    size_t held, bytes, bytes_max;
    struct evictions *evicted;
    size_t evictions_checked;
};

static bool is_held(const struct entry *entry)
{
    return entry->fate != GONE;
}

/* The next to make room by the rules of journal.h, or 0. */
static uint64_t model_next_out(const struct model *model)
{
    uint64_t oldest_unsent = 0, oldest_info = 0;

    for (uint64_t seq = model->first; seq <= model->made; seq++) {
        const struct entry *entry = &model->entries[seq - 1];

        if (entry->fate == ACKNOWLEDGED)
            return seq;
        if (entry->fate == UNSENT && oldest_unsent == 0)
            oldest_unsent = seq;
        if (entry->fate == UNSENT && entry->is_info && oldest_info == 0)
            oldest_info = seq;
    }
    return oldest_info != 0 ? oldest_info : oldest_unsent;
}

static void model_evict(struct model *model)
{
    uint64_t out;

    while (model->bytes > model->bytes_max && (out = model_next_out(model)) != 0) {
        struct entry *entry = &model->entries[out - 1];

        entry->lost = entry->fate == UNSENT;
        model->lost += entry->lost;
        entry->fate = GONE;
        model->held--;
        model->bytes -= entry->bytes;
        model->evictions_checked++;
    }
    while (model->first <= model->made && !is_held(&model->entries[model->first - 1]))
        model->first++;
}

static void assert_lookup(struct record *found, const struct model *model, bool by_name,
                          term_word word)
{
    uint64_t wanted = 0;

    for (uint64_t seq = model->first; seq <= model->made; seq++) {
        const struct entry *entry = &model->entries[seq - 1];

        if (is_held(entry) && (by_name ? entry->name : fake_pid(entry->pid)) == word)
            wanted = seq;
    }
    assert_int_equal(found == NULL ? 0 : found->seq, wanted);
    record_drop(found);
}

static void assert_invariants(struct journal *journal, const struct model *model)
{
    struct journal_counts counts = journal_counts(journal);
    size_t under_way = 0, held = 0, acknowledged_or_held_or_lost = 0, unacknowledged = 0;
    uint64_t first_held = model->made + 1;
    bool unsent = false;

    for (uint64_t seq = 1; seq <= model->made; seq++) {
        const struct entry *entry = &model->entries[seq - 1];

        held += is_held(entry);
        unsent = unsent || entry->fate == UNSENT;
        if (entry->fate == UNDER_WAY)
            under_way += entry->bytes;
        if (entry->fate == UNSENT || entry->fate == UNDER_WAY) {
            unacknowledged++;
            first_held = seq < first_held ? seq : first_held;
        }
        acknowledged_or_held_or_lost += entry->lost || is_held(entry) || seq <= counts.acknowledged;
    }
    assert_int_equal(counts.made, model->made);
    assert_int_equal(acknowledged_or_held_or_lost, counts.made);
    assert_int_equal(counts.acknowledged, model->acknowledged);
    assert_int_equal(counts.lost, model->lost);
    assert_int_equal(counts.held, held);
    assert_int_equal(counts.held, model->held);
    assert_int_equal(counts.bytes, model->bytes);
    assert_true(counts.bytes <= (model->bytes_max > under_way ? model->bytes_max : under_way));
    assert_int_equal(counts.unacknowledged, unacknowledged);
    assert_int_equal(counts.first_held, first_held);
    assert_int_equal(journal_has_unsent(journal), unsent);
    for (uint64_t seq = first_held > 3 ? first_held - 3 : 0; seq < first_held + 3; seq++)
        assert_int_equal(journal_is_settled(journal, seq),
                         first_held > seq || first_held > model->made);
}

#define NAMES 5

static void random_operations_agree_with_a_model(void **state)
{
    size_t operations = test_size(100000, 4000);
    struct dice dice = dice_new(1);
    struct evictions evictions = {.count = 0};
    struct model model = {
        .entries = calloc(operations, sizeof(*model.entries)), .first = 1, .evicted = &evictions};
    struct journal *journal = journal_new();
    term_word names[NAMES];

    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "name_%zu", i);
        names[i] = fake_atom(name);
    }
    journal_on_evicted(journal, on_evicted, &evictions);
    model.bytes_max = 60 * bytes_of_one();
    journal_reset(journal, model.bytes_max);
    for (size_t i = 0; i < operations; i++) {
        uint64_t what = dice_below(&dice, 100), word = dice_below(&dice, 40);

        evictions.count = model.evictions_checked = 0;
        if (what < 50) {
            struct record *record = record_of(
                word, dice_below(&dice, 2) ? names[dice_below(&dice, NAMES)] : NO_WORD,
                (enum coroner_severity)dice_below(&dice, CORONER_SEVERITY_COUNT),
                dice_below(&dice, 20) == 0 ? dice_below(&dice, 8000) : dice_below(&dice, 60));
            struct entry *entry = &model.entries[model.made++];

            *entry = (struct entry){.fate = UNSENT,
                                    .is_info = record->severity == CORONER_SEVERITY_INFO,
                                    .pid = word,
                                    .name = record->who.name,
                                    .bytes = record_bytes(record)};
            model.held++;
            model.bytes += entry->bytes;
            journal_add(journal, record);
            assert_int_equal(record->seq, model.made);
            record_drop(record);
            model_evict(&model);
            assert_int_equal(evictions.count, model.evictions_checked);
            for (size_t e = 0; e < evictions.count; e++)
                assert_int_equal(model.entries[evictions.seqs[e] - 1].fate, GONE);
        } else if (what < 65) {
            struct record *records[64];
            size_t room = dice_below(&dice, 65), taken = journal_take(journal, records, room),
                   at = 0;

            for (uint64_t seq = model.first; seq <= model.made && at < room; seq++)
                if (model.entries[seq - 1].fate == UNSENT) {
                    assert_true(at < taken);
                    assert_int_equal(records[at]->seq, seq);
                    record_drop(records[at++]);
                    model.entries[seq - 1].fate = UNDER_WAY;
                }
            assert_int_equal(at, taken);
        } else if (what < 75) {
            uint64_t seq =
                dice_below(&dice, 10) == 0
                    ? dice_below(&dice, model.made + 5)
                    : model.acknowledged + dice_below(&dice, 1 + model.made - model.acknowledged);

            assert_int_equal(journal_acknowledge(journal, seq), seq <= model.made);
            for (uint64_t s = model.first; seq <= model.made && s <= seq; s++)
                if (is_held(&model.entries[s - 1]))
                    model.entries[s - 1].fate = ACKNOWLEDGED;
            if (seq <= model.made && seq > model.acknowledged)
                model.acknowledged = seq;
        } else if (what < 80) {
            journal_rewind(journal);
            for (uint64_t seq = model.first; seq <= model.made; seq++)
                if (model.entries[seq - 1].fate == UNDER_WAY)
                    model.entries[seq - 1].fate = UNSENT;
        } else if (what < 88) {
            assert_lookup(journal_by_pid(journal, fake_pid(word)), &model, false, fake_pid(word));
        } else if (what < 96) {
            assert_lookup(journal_by_name(journal, names[word % NAMES]), &model, true,
                          names[word % NAMES]);
        } else if (what < 99 || dice_below(&dice, 40) > 0) {
            struct record *recent[16];
            size_t got = journal_recent(journal, recent, 16);
            uint64_t seq = model.made;

            assert_int_equal(got, model.held < 16 ? model.held : 16);
            for (size_t r = 0; r < got; r++, seq--) {
                while (!is_held(&model.entries[seq - 1]))
                    seq--;
                assert_int_equal(recent[r]->seq, seq);
                record_drop(recent[r]);
            }
        } else {
            journal_reset(journal, model.bytes_max);
            model.made = model.acknowledged = model.lost = model.held = model.bytes = 0;
            model.first = 1;
        }
        if (i % 97 == 0)
            assert_invariants(journal, &model);
    }
    assert_invariants(journal, &model);
    journal_free(journal);
    free(model.entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_go_out_in_order_and_are_acknowledged),
        TEST(what_was_never_made_is_not_acknowledged),
        TEST(room_is_made_in_the_order_that_is_promised),
        TEST(lost_ones_leave_a_gap_that_can_be_told),
        TEST(lookups_give_the_newest),
        TEST(random_operations_agree_with_a_model),
    };

    return check_run("journal", tests);
}
