/* Deaths that their peers come to look for. */
#include "check.h"
#include "names_fake.h"
#include "wide.h"

static struct record *dead(uint64_t pid, uint64_t reason, uint64_t time_ns)
{
    struct record *record = record_new();

    record->who.pid = fake_pid(pid);
    record->print = (struct fingerprint){.hash = reason, .whole = true};
    record->monotonic_ns = time_ns;
    return record;
}

static void add(struct wide *wide, uint64_t pid, uint64_t reason, uint64_t time_ns)
{
    struct record *record = dead(pid, reason, time_ns);

    wide_add(wide, record);
    record_drop(record);
}

static void assert_found(struct wide *wide, uint64_t pid, bool found, uint64_t time_ns)
{
    struct record *record = wide_find(wide, fake_pid(pid));

    assert_int_equal(record != NULL, found);
    if (record != NULL)
        assert_int_equal(record->monotonic_ns, time_ns);
    record_drop(record);
}

static void the_newest_are_kept(void **state)
{
    struct wide *wide = wide_new();

    (void)state;
    assert_found(wide, 1, false, 0);
    assert_int_equal(wide_evicted_ns(wide), 0);
    for (uint64_t i = 0; i < 3 * WIDE_DEATHS + 5; i++) {
        add(wide, i, i % 7, i + 1);
        assert_found(wide, i, true, i + 1);
        assert_int_equal(wide_evicted_ns(wide), i < WIDE_DEATHS ? 0 : i + 1);
        if (i >= WIDE_DEATHS) {
            assert_found(wide, i - WIDE_DEATHS, false, 0);
            assert_found(wide, i - WIDE_DEATHS + 1, true, i - WIDE_DEATHS + 2);
        }
    }
    wide_clear(wide);
    assert_found(wide, 3 * WIDE_DEATHS, false, 0);
    assert_int_equal(wide_evicted_ns(wide), 0);
    add(wide, 1, 1, 9);
    assert_found(wide, 1, true, 9);
    wide_free(wide);
    wide_free(NULL);
}

static void of_one_pid_the_newest_counts(void **state)
{
    struct wide *wide = wide_new();

    (void)state;
    for (uint64_t i = 1; i < 3 * WIDE_DEATHS; i++) { /* all of them in one chain */
        add(wide, 5, 1, i);
        assert_found(wide, 5, true, i);
    }
    wide_free(wide);
}

static void by_links(void **state)
{
    struct wide *wide = wide_new();
    struct linkset links = {.count = 0};
    struct record *found[WIDE_LOOKS];

    (void)state;
    assert_int_equal(wide_find_linked(wide, &links, found, 8), 0);
    for (uint64_t i = 0; i < 20; i++)
        add(wide, i, 1, i + 1);
    assert_int_equal(wide_find_linked(wide, &links, found, 8), 0);
    for (uint64_t i = 15; i < 25; i++) /* five of the dead, five that live */
        assert_int_equal(linkset_add(&links, fake_pid(i)), 1);
    assert_int_equal(wide_find_linked(wide, &links, found, 8), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(linkset_contains(&links, found[i]->who.pid));
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(found[i], found[j]);
    }
    for (size_t i = 0; i < 5; i++)
        record_drop(found[i]);
    assert_int_equal(wide_find_linked(wide, &links, found, 2), 2);
    record_drop(found[0]);
    record_drop(found[1]);

    /* With very many links the newest deaths are looked at instead. */
    for (uint64_t i = 1000; i < 2000; i++)
        assert_int_equal(linkset_add(&links, fake_pid(i)), 1);
    assert_int_equal(wide_find_linked(wide, &links, found, 8), 5);
    assert_int_equal(found[0]->who.pid, fake_pid(19));
    for (size_t i = 0; i < 5; i++)
        record_drop(found[i]);
    for (uint64_t i = 0; i < WIDE_LOOKS; i++)
        add(wide, 5000 + i, 1, 100 + i);
    assert_int_equal(wide_find_linked(wide, &links, found, 8), 0);
    linkset_clear(&links);
    wide_free(wide);
}

static void by_reason(void **state)
{
    struct wide *wide = wide_new();
    struct record *found[8];

    (void)state;
    assert_int_equal(
        wide_find_reason(wide, (struct fingerprint){.hash = 1, .whole = true}, found, 8), 0);
    for (uint64_t i = 0; i < 30; i++)
        add(wide, i, i % 10, i + 1);
    assert_int_equal(
        wide_find_reason(wide, (struct fingerprint){.hash = 3, .whole = true}, found, 8), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(found[i]->who.pid, fake_pid(23 - 10 * i)); /* newest first */
        record_drop(found[i]);
    }
    assert_int_equal(wide_find_reason(wide, (struct fingerprint){.hash = 3}, found, 8), 0);
    assert_int_equal(
        wide_find_reason(wide, (struct fingerprint){.hash = 3, .whole = true}, found, 1), 1);
    record_drop(found[0]);
    wide_free(wide);
}

static void what_is_found_outlives_the_table(void **state)
{
    struct wide *wide = wide_new();
    struct record *record;

    (void)state;
    add(wide, 1, 1, 1);
    record = wide_find(wide, fake_pid(1));
    wide_free(wide);
    assert_int_equal(record->who.pid, fake_pid(1));
    record_drop(record);
    alloc_fail_at(1, false);
    assert_null(wide_new());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_are_kept), TEST(of_one_pid_the_newest_counts),     TEST(by_links),
        TEST(by_reason),           TEST(what_is_found_outlives_the_table),
    };

    return check_run("wide", tests);
}
