/* The set of a process's links, held against a plain bitmap, and without memory. */
#include "check.h"
#include "linkset.h"
#include "names_fake.h"

/* What the set has to be: member i of a universe of words. */
struct model {
    const term_word *words;
    uint8_t *is_member;
    size_t universe, count;
};

static int compare_words(const void *a, const void *b)
{
    term_word left = *(const term_word *)a, right = *(const term_word *)b;

    return left < right ? -1 : left > right;
}

static void assert_same(const struct linkset *set, const struct model *model)
{
    term_word *listed = malloc((model->count + 8) * sizeof(*listed));
    term_word *wanted = malloc((model->count + 8) * sizeof(*wanted));
    size_t at = 0, part = model->count / 2;

    assert_int_equal(set->count, model->count);
    for (size_t i = 0; i < model->universe; i++)
        if (model->is_member[i])
            wanted[at++] = model->words[i];
    assert_int_equal(at, model->count);
    assert_int_equal(linkset_list(set, listed, model->count + 8), model->count);
    qsort(listed, model->count, sizeof(*listed), compare_words);
    qsort(wanted, model->count, sizeof(*wanted), compare_words);
    assert_memory_equal(listed, wanted, model->count * sizeof(*listed));

    /* With less room: as many as fit, all of them members, none twice. */
    assert_int_equal(linkset_list(set, listed, part), part);
    qsort(listed, part, sizeof(*listed), compare_words);
    for (size_t i = 0; i < part; i++) {
        assert_true(linkset_contains(set, listed[i]));
        assert_true(i == 0 || listed[i] != listed[i - 1]);
    }
    assert_int_equal(linkset_list(set, listed, 0), 0);
    free(listed);
    free(wanted);
}

static void random_operations(uint64_t which, size_t universe, size_t operations,
                              unsigned adds_of_16)
{
    struct dice dice = dice_new(which);
    term_word *words = malloc(universe * sizeof(*words));
    struct model model = {.words = words, .is_member = calloc(universe, 1), .universe = universe};
    struct linkset set = {.count = 0};

    for (size_t i = 0; i < universe; i++)
        words[i] = i % 7 == 0 ? fake_port(i) : fake_pid(i);
    for (size_t i = 0; i < operations; i++) {
        size_t one = dice_below(&dice, universe);
        unsigned what = (unsigned)dice_below(&dice, 16);

        assert_int_equal(linkset_contains(&set, words[one]), model.is_member[one]);
        if (what < adds_of_16) {
            assert_int_equal(linkset_add(&set, words[one]), model.is_member[one] ? 0 : 1);
            model.count += !model.is_member[one];
            model.is_member[one] = 1;
        } else {
            assert_int_equal(linkset_remove(&set, words[one]), model.is_member[one]);
            model.count -= model.is_member[one];
            model.is_member[one] = 0;
        }
        assert_int_equal(linkset_contains(&set, words[one]), model.is_member[one]);
        if (i % (operations / 50 + 1) == 0)
            assert_same(&set, &model);
    }
    assert_same(&set, &model);
    linkset_clear(&set);
    assert_int_equal(set.count, 0);
    assert_false(linkset_contains(&set, words[0]));
    free(model.is_member);
    free(words);
}

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    random_operations(1, 4, 20000, 8);
    random_operations(2, 24, 20000, 8);
    random_operations(3, 24, 20000, 5);
    random_operations(4, 300, 50000, 10);
    random_operations(5, test_size(100000, 5000), test_size(400000, 20000), 11);
    random_operations(6, test_size(100000, 5000), test_size(400000, 20000), 6);
}

static void a_million_members_come_and_go(void **state)
{
    size_t count = test_size(1000000, 20000), held;
    struct dice dice = dice_new(7);
    struct linkset set = {.count = 0};
    term_word *words = malloc(count * sizeof(*words)), *listed = malloc(count * sizeof(*listed));
    int64_t live = alloc_live();

    (void)state;
    for (size_t i = 0; i < count; i++) {
        words[i] = fake_pid(i);
        assert_int_equal(linkset_add(&set, words[i]), 1);
    }
    assert_int_equal(set.count, count);
    /* Costs no more than a hash table would. */
    held = linkset_bytes(&set);
    assert_in_range(held, count * sizeof(term_word), 2 * count * sizeof(term_word));
    assert_int_equal(linkset_list(&set, listed, count), count);
    qsort(listed, count, sizeof(*listed), compare_words);
    assert_memory_equal(listed, words, count * sizeof(*words));

    for (size_t i = count - 1; i > 0; i--) {
        size_t other = dice_below(&dice, i + 1);
        term_word word = words[i];

        words[i] = words[other];
        words[other] = word;
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(linkset_remove(&set, words[i]));
        assert_false(linkset_contains(&set, words[i]));
    }
    /* Emptied by hand it holds nothing: what has become empty goes at once. */
    assert_int_equal(set.count, 0);
    assert_int_equal(linkset_bytes(&set), 0);
    assert_int_equal(alloc_live(), live);
    assert_int_equal(linkset_add(&set, words[0]), 1);
    linkset_clear(&set);
    free(words);
    free(listed);
}

static term_word unhash(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= UINT64_C(0x9cb4b2f8129337db);
    hash ^= hash >> 33;
    hash *= UINT64_C(0x4f74430c22a54005);
    hash ^= hash >> 33;
    return hash;
}

/* Words whose hashes have the first 48 bits in common: no directory parts them, and none is made to try. */
static void hashes_that_do_not_part(void **state)
{
    struct linkset set = {.count = 0};
    uint64_t high = UINT64_C(0x0123456789ab) << 16;

    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        assert_int_equal(word_hash(unhash(high | i)), high | i);
        assert_int_equal(linkset_add(&set, unhash(high | i)), 1);
        assert_int_equal(linkset_add(&set, unhash(high | i)), 0);
    }
    assert_in_range(linkset_bytes(&set), 3000 * sizeof(term_word), 2 * 3000 * sizeof(term_word));
    for (uint64_t i = 0; i < 3000; i++)
        assert_true(linkset_contains(&set, unhash(high | i)));
    for (uint64_t i = 0; i < 3000; i++)
        assert_true(linkset_remove(&set, unhash(high | i)));
    assert_int_equal(set.count, 0);
    assert_int_equal(linkset_bytes(&set), 0);
}

/* Whatever it holds: at most 16 bytes a member, with what the allocator takes (8 bytes a block), and what stands in the set. */
static void a_member_takes_16_bytes(void **state)
{
    struct linkset set = {.count = 0};

    (void)state;
    for (uint64_t i = 0; i < test_size(200000, 5000); i++) {
        assert_int_equal(linkset_add(&set, fake_pid(i)), 1);
        if (i < 2000 || i % 1000 == 0)
            assert_in_range(linkset_bytes(&set) + (i < 2 ? 0 : i < 64 ? 8 : 8 * (2 + i / 32)), 0, 16 * (i + 1));
    }
    linkset_clear(&set);
}

#define FEW 120

/* Adds and removes; returns how many adds were refused. The set has to be right after every step.
 */
static size_t few_steps(struct linkset *set, const term_word *words)
{
    uint8_t is_member[FEW] = {0};
    struct model model = {.words = words, .is_member = is_member, .universe = FEW};
    size_t refused = 0;

    for (size_t i = 0; i < FEW; i++) {
        int rc = linkset_add(set, words[i]);

        if (rc < 0)
            refused++;
        else
            assert_int_equal(rc, 1);
        is_member[i] = rc > 0;
        model.count += rc > 0;
        assert_int_equal(linkset_contains(set, words[i]), rc > 0);
        assert_int_equal(set->count, model.count);
        if (i % 3 == 2) {
            assert_int_equal(linkset_remove(set, words[i / 2]), is_member[i / 2]);
            model.count -= is_member[i / 2];
            is_member[i / 2] = 0;
        }
    }
    assert_same(set, &model);
    return refused;
}

/* Whichever allocation fails, once or for good: the set holds what it said it would, and frees all
 * of it. */
static void without_memory_the_set_stays_whole(void **state)
{
    int64_t live = alloc_live();
    term_word words[FEW];

    (void)state;
    for (uint64_t i = 0; i < FEW; i++) /* some of them share 20 bits */
        words[i] = i % 2 == 0 ? fake_pid(i) : unhash(UINT64_C(0x12345) << 44 | (i + 1));
    for (int for_good = 0; for_good < 2; for_good++) {
        uint64_t nth = 1;

        for (;; nth++) {
            struct linkset set = {.count = 0};
            size_t refused;
            uint64_t failed;

            alloc_fail_at(nth, for_good);
            refused = few_steps(&set, words);
            failed = alloc_failed();
            alloc_fail_at(0, false);
            /* Where less room could not be made none is refused; where a bucket could not part two failed. */
            assert_true(refused <= failed);
            assert_true(for_good == 0 || failed == 0 || refused > 0);
            linkset_clear(&set);
            assert_int_equal(alloc_live(), live);
            if (failed == 0)
                break;
        }
        assert_true(nth > 10);
    }
}

static void empty_sets(void **state)
{
    struct linkset set = {.count = 0};
    term_word none[1];

    (void)state;
    assert_false(linkset_contains(&set, fake_pid(1)));
    assert_false(linkset_remove(&set, fake_pid(1)));
    assert_int_equal(linkset_list(&set, none, 1), 0);
    assert_int_equal(linkset_bytes(&set), 0);
    linkset_clear(&set);
    linkset_clear(&set);
    /* Two members need no memory at all. */
    alloc_fail_at(1, true);
    assert_int_equal(linkset_add(&set, fake_pid(1)), 1);
    assert_int_equal(linkset_add(&set, fake_pid(2)), 1);
    assert_int_equal(linkset_add(&set, fake_pid(2)), 0);
    assert_int_equal(linkset_add(&set, fake_pid(3)), -1);
    assert_int_equal(set.count, 2);
    assert_true(linkset_remove(&set, fake_pid(1)));
    assert_true(linkset_contains(&set, fake_pid(2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty_sets),
        TEST(random_operations_agree_with_a_model),
        TEST(a_million_members_come_and_go),
        TEST(hashes_that_do_not_part),
        TEST(a_member_takes_16_bytes),
        TEST(without_memory_the_set_stays_whole),
    };

    return check_run("linkset", tests);
}
