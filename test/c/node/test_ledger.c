/* The ledger: every live process with its links, its names and the evidence left on it. */
#include "check.h"
#include "ledger.h"
#include "names_fake.h"

#define S UINT64_C(1000000000) /* a second */

static struct ledger *open_ledger(void)
{
    struct ledger *ledger = ledger_new();

    ledger_open(ledger);
    return ledger;
}

static void born(struct ledger *ledger, term_word pid)
{
    ledger_spawned(ledger, &(struct birth){.pid = pid, .parent = fake_pid(0), .time_ns = 7000});
}

static bool is_linked(struct ledger *ledger, term_word pid, term_word peer)
{
    term_word words[64];
    size_t count;

    assert_true(ledger_links(ledger, pid, words, 64, &count));
    for (size_t i = 0; i < count; i++)
        if (words[i] == peer)
            return true;
    return false;
}

static size_t link_count(struct ledger *ledger, term_word pid)
{
    term_word words[64];
    size_t count;

    assert_true(ledger_links(ledger, pid, words, 64, &count));
    return count;
}

/* Leaves a piece of evidence with a mark of its own: its reason's hash. */
static bool leave(struct ledger *ledger, term_word pid, enum evidence_kind kind, term_word from,
                  uint64_t mark)
{
    struct evidence *evidence = evidence_new(kind, mark * S);

    evidence->from = from;
    evidence->print.hash = mark;
    return ledger_evidence(ledger, pid, evidence);
}

/* Takes the entry out and checks the marks of its evidence, newest first. */
static struct entry *exit_with(struct ledger *ledger, term_word pid, size_t count,
                               const uint64_t *marks)
{
    struct entry *entry = ledger_exit(ledger, pid);
    struct evidence *evidence;
    size_t i = 0;

    assert_non_null(entry);
    for (evidence = entry->evidence; evidence != NULL; evidence = evidence->next, i++) {
        assert_true(i < count);
        assert_int_equal(evidence->print.hash, marks[i]);
    }
    assert_int_equal(i, count);
    assert_int_equal(entry->evidence_count, count);
    return entry;
}

#define EXIT_WITH(ledger, pid, ...)                                                                \
    exit_with(ledger, pid, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t),                   \
              (const uint64_t[]){__VA_ARGS__})

static void a_life_from_birth_to_exit(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1), words[] = {fake_pid(9), fake_atom("sup")};
    struct entry *entry;
    struct who who;

    (void)state;
    assert_false(ledger_knows(ledger, pid));
    assert_null(ledger_exit(ledger, pid));
    ledger_spawned(ledger, &(struct birth){.pid = pid,
                                           .parent = fake_pid(9),
                                           .initial_call = 12,
                                           .flags = ENTRY_PROC_LIB,
                                           .ancestors = ancestors_new(words, 2),
                                           .time_ns = 77000});
    assert_true(ledger_knows(ledger, pid));
    assert_int_equal(ledger_count(ledger), 1);
    ledger_name(ledger, pid, fake_atom("server"));
    ledger_trap(ledger, pid, true);
    who = ledger_who(ledger, pid);
    assert_int_equal(who.pid, pid);
    assert_int_equal(who.name, fake_atom("server"));
    assert_int_equal(who.initial_call, 12);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry->pid, pid);
    assert_int_equal(entry->parent, fake_pid(9));
    assert_int_equal(entry->name, fake_atom("server"));
    assert_int_equal(entry->begun_us, 77);
    assert_int_equal(entry->of.ancestors->count, 2);
    assert_int_equal(entry->flags & (ENTRY_TRAPS | ENTRY_PROC_LIB), ENTRY_TRAPS | ENTRY_PROC_LIB);
    assert_int_equal(entry->flags & (ENTRY_SEEDED | ENTRY_UNSEEDED), 0);
    assert_int_equal(entry_evicted_s(entry), 0);
    entry_free(entry);
    entry_free(NULL);

    /* It is gone: nothing that comes for it is kept. */
    assert_false(ledger_knows(ledger, pid));
    assert_null(ledger_exit(ledger, pid));
    assert_int_equal(ledger_count(ledger), 0);
    assert_int_equal(ledger_who(ledger, pid).pid, pid);
    assert_int_equal(ledger_who(ledger, pid).name, NO_WORD);
    assert_false(leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), 1));
    ledger_link(ledger, pid, fake_pid(2));
    ledger_unlink(ledger, pid, fake_pid(2));
    ledger_link_gone(ledger, pid, fake_pid(2), 5, NULL);
    ledger_name(ledger, pid, fake_atom("server"));
    ledger_trap(ledger, pid, true);
    ledger_forget(ledger, pid);
    assert_int_equal(ledger_count(ledger), 0);
    ledger_free(ledger);
    ledger_free(NULL);
    evidence_free(NULL);
}

static void names_and_flags_follow_the_events(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    ledger_name(ledger, pid, fake_atom("one"));
    ledger_name(ledger, pid, NO_WORD);
    assert_int_equal(ledger_who(ledger, pid).name, NO_WORD);
    ledger_name(ledger, pid, fake_atom("two"));
    assert_int_equal(ledger_who(ledger, pid).name, fake_atom("two"));
    ledger_trap(ledger, pid, true);
    ledger_trap(ledger, pid, false);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry->flags & ENTRY_TRAPS, 0);
    entry_free(entry);
    ledger_free(ledger);
}

static void links_are_made_and_broken(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);

    (void)state;
    born(ledger, pid);
    ledger_link(ledger, pid, pid); /* does nothing, but has its event */
    assert_int_equal(link_count(ledger, pid), 0);
    for (uint64_t i = 2; i < 40; i++) {
        ledger_link(ledger, pid, fake_pid(i));
        ledger_link(ledger, pid, fake_pid(i));
    }
    ledger_link(ledger, pid, fake_port(2));
    assert_int_equal(link_count(ledger, pid), 39);
    ledger_unlink(ledger, pid, fake_pid(2));
    ledger_link_gone(ledger, pid, fake_pid(3), 1, NULL);
    ledger_unlink(ledger, pid, fake_pid(99));
    assert_int_equal(link_count(ledger, pid), 37);
    assert_false(is_linked(ledger, pid, fake_pid(2)));
    assert_false(is_linked(ledger, pid, fake_pid(3)));
    assert_true(is_linked(ledger, pid, fake_port(2)));
    {
        struct entry *entry = ledger_exit(ledger, pid);

        assert_null(entry->evidence); /* that a peer unlinked is no evidence */
        assert_int_equal(entry->links.count, 37);
        entry_free(entry);
    }
    ledger_free(ledger);
}

static void unlinking_voids_what_the_dead_peer_left(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct record *dead = record_new();
    struct evidence *evidence = evidence_new(EVIDENCE_LINKED, S);

    (void)state;
    born(ledger, pid);
    ledger_link(ledger, pid, fake_pid(2));
    leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), 1); /* no link: stays */
    evidence->from = fake_pid(2);
    evidence->record = record_hold(dead);
    assert_true(ledger_evidence(ledger, pid, evidence));
    leave(ledger, pid, EVIDENCE_LINKED, fake_pid(3), 3);
    assert_int_equal(atomic_load(&dead->holders), 2);
    ledger_unlink(ledger, pid, fake_pid(2));
    assert_int_equal(atomic_load(&dead->holders), 1);
    entry_free(EXIT_WITH(ledger, pid, 3, 1));
    record_drop(dead);
    ledger_free(ledger);
}

static void a_survived_death_becomes_a_trapped_one(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct record *dead = record_new();
    struct entry *entry;

    (void)state;
    dead->shape = REASON_KILLED;
    dead->print.hash = 4;
    born(ledger, pid);
    ledger_link(ledger, pid, fake_pid(2));
    ledger_link(ledger, pid, fake_pid(4));
    leave(ledger, pid, EVIDENCE_LINKED, fake_pid(2), 1);
    leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(3), 2);
    ledger_link_gone(ledger, pid, fake_pid(2), 5 * S,
                     dead); /* on the entry: the record is not needed */
    assert_int_equal(atomic_load(&dead->holders), 1);
    ledger_link_gone(ledger, pid, fake_pid(4), 6 * S, dead); /* not on it: out of the wide table */
    assert_int_equal(atomic_load(&dead->holders), 2);
    assert_int_equal(link_count(ledger, pid), 0);
    entry = EXIT_WITH(ledger, pid, 4, 1, 2);
    assert_int_equal(entry->evidence->kind, EVIDENCE_TRAPPED);
    assert_int_equal(entry->evidence->from, fake_pid(4));
    assert_int_equal(entry->evidence->shape, REASON_KILLED);
    assert_int_equal(entry->evidence->time_ns, 6 * S);
    assert_ptr_equal(entry->evidence->record, dead);
    assert_int_equal(entry->evidence->next->kind, EVIDENCE_TRAPPED);
    assert_int_equal(entry->evidence->next->from, fake_pid(2));
    assert_int_equal(entry->evidence->next->time_ns, 5 * S); /* when it was survived */
    assert_int_equal(entry->evidence->next->next->kind, EVIDENCE_SIGNAL);
    entry_free(entry);
    assert_int_equal(atomic_load(&dead->holders), 1);
    ledger_link_gone(ledger, pid, fake_pid(4), 6 * S, dead); /* nobody there */
    assert_int_equal(atomic_load(&dead->holders), 1);
    record_drop(dead);
    ledger_free(ledger);
}

static void the_oldest_evidence_makes_room_and_leaves_a_mark(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE; mark++)
        assert_true(leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark));
    entry = EXIT_WITH(ledger, pid, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1);
    assert_int_equal(entry_evicted_s(entry), 0);
    entry_free(entry);

    born(ledger, pid);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE + 3; mark++)
        assert_true(leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark));
    entry = EXIT_WITH(ledger, pid, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4);
    assert_in_range(entry_evicted_s(entry), LEDGER_EVIDENCE + 3, LEDGER_EVIDENCE + 4);
    entry_free(entry);

    /* A kill stays, however many others come between it and the end. */
    born(ledger, pid);
    assert_true(leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), 1));
    for (uint64_t mark = 2; mark <= LEDGER_EVIDENCE + 3; mark++) {
        struct evidence *kill = evidence_new(EVIDENCE_SIGNAL, mark);

        assert_non_null(kill);
        kill->from = fake_pid(3);
        kill->print.hash = mark;
        kill->is_kill = mark == 3;
        assert_true(ledger_evidence(ledger, pid, kill));
    }
    entry = EXIT_WITH(ledger, pid, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 3);
    entry_free(entry);
    /* Of kills alone, the oldest goes. */
    born(ledger, pid);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE + 1; mark++) {
        struct evidence *kill = evidence_new(EVIDENCE_SIGNAL, mark);

        assert_non_null(kill);
        kill->from = fake_pid(3);
        kill->print.hash = mark;
        kill->is_kill = true;
        assert_true(ledger_evidence(ledger, pid, kill));
    }
    entry = EXIT_WITH(ledger, pid, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2);
    entry_free(entry);

    /* A trapped exit that takes the place of its own link's evidence needs no room. */
    born(ledger, pid);
    leave(ledger, pid, EVIDENCE_LINKED, fake_pid(2), 1);
    for (uint64_t mark = 2; mark <= LEDGER_EVIDENCE; mark++)
        leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(3), mark);
    ledger_link_gone(ledger, pid, fake_pid(2), S, NULL);
    entry = EXIT_WITH(ledger, pid, 1, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2);
    assert_int_equal(entry_evicted_s(entry), 0);
    entry_free(entry);
    ledger_free(ledger);
}

static void of_its_own_words_the_last_counts(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    leave(ledger, pid, EVIDENCE_EXIT, pid, 1);
    leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), 2);
    leave(ledger, pid, EVIDENCE_RAISE, pid, 3);
    leave(ledger, pid, EVIDENCE_EXIT, pid, 4);
    leave(ledger, pid, EVIDENCE_LINKED, fake_pid(3), 5);
    entry = EXIT_WITH(ledger, pid, 5, 4, 2);
    assert_int_equal(entry_evicted_s(entry), 0);
    entry_free(entry);
    ledger_free(ledger);
}

/* A process that is signalled and speaks itself: sixteen pieces, whoever comes when. */
static void its_own_word_on_a_full_entry_makes_room(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE; mark++)
        leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark);
    leave(ledger, pid, EVIDENCE_EXIT, pid, 17);
    entry = EXIT_WITH(ledger, pid, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2);
    assert_int_not_equal(entry_evicted_s(entry), 0);
    entry_free(entry);

    born(ledger, pid);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE; mark++)
        leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark);
    leave(ledger, pid, EVIDENCE_EXIT, pid, 17);
    for (uint64_t mark = 18; mark <= 20; mark++)
        leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark);
    entry = EXIT_WITH(ledger, pid, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5);
    assert_int_not_equal(entry_evicted_s(entry), 0);
    entry_free(entry);
    ledger_free(ledger);
}

/* Whatever is left on an entry in whatever order, sixteen stay, the newest ones, and what goes is
 * marked. */
static void evidence_is_bounded_in_any_order(void **state)
{
    struct dice dice = dice_new(3);

    (void)state;
    for (size_t round = 0; round < test_size(300, 20); round++) {
        struct ledger *ledger = open_ledger();
        term_word pid = fake_pid(1);
        uint64_t left = dice_below(&dice, 600), own = 0, others = 0;
        struct entry *entry;
        size_t count = 0;

        born(ledger, pid);
        for (uint64_t mark = 1; mark <= left; mark++) {
            enum evidence_kind kind = (enum evidence_kind)dice_below(&dice, 5);

            leave(ledger, pid, kind, fake_pid(dice_below(&dice, 30)), mark);
            own += kind == EVIDENCE_EXIT || kind == EVIDENCE_RAISE;
            others += !(kind == EVIDENCE_EXIT || kind == EVIDENCE_RAISE);
        }
        entry = ledger_exit(ledger, pid);
        for (struct evidence *e = entry->evidence; e != NULL; e = e->next, count++)
            assert_true(e->next == NULL || e->next->print.hash < e->print.hash);
        assert_true(count <= LEDGER_EVIDENCE);
        assert_int_equal(entry->evidence_count, count);
        if (others + (own > 0) <= LEDGER_EVIDENCE)
            assert_int_equal(entry_evicted_s(entry), 0);
        if (others > LEDGER_EVIDENCE)
            assert_int_not_equal(entry_evicted_s(entry), 0);
        entry_free(entry);
        ledger_free(ledger);
    }
}

/* A link that could not be noted makes every later verdict unsure; an eviction does not make it
 * surer. */
static void a_link_lost_for_want_of_memory_is_never_forgotten(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    ledger_link(ledger, pid, fake_pid(2));
    ledger_link(ledger, pid, fake_pid(3));
    alloc_fail_at(1, true);
    ledger_link(ledger, pid, fake_pid(4));
    alloc_fail_at(0, false);
    for (uint64_t mark = 1; mark <= LEDGER_EVIDENCE + 1; mark++)
        leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), mark);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry_evicted_s(entry), UINT32_MAX);
    entry_free(entry);
    ledger_free(ledger);
}

static void a_pid_that_is_used_again_starts_afresh(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1);
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    ledger_name(ledger, pid, fake_atom("old"));
    ledger_link(ledger, pid, fake_pid(2));
    leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(2), 1);
    born(ledger, pid); /* the old one's exit was not seen */
    assert_int_equal(ledger_count(ledger), 1);
    assert_int_equal(ledger_who(ledger, pid).name, NO_WORD);
    assert_int_equal(link_count(ledger, pid), 0);
    entry = ledger_exit(ledger, pid);
    assert_null(entry->evidence);
    entry_free(entry);
    assert_null(ledger_exit(ledger, pid));

    /* Also one whose snapshot was still to come. */
    assert_true(ledger_expect(ledger, pid, 5));
    ledger_unlink(ledger, pid, fake_pid(3));
    born(ledger, pid);
    ledger_seed(ledger, &(struct snapshot){.pid = pid, .name = fake_atom("old")});
    assert_int_equal(ledger_who(ledger, pid).name, NO_WORD);
    ledger_free(ledger);
}

static void a_closed_ledger_takes_nothing(void **state)
{
    struct ledger *ledger = ledger_new();
    term_word word = fake_atom("sup");
    uint32_t call;

    (void)state;
    for (int round = 0; round < 3; round++) {
        ledger_spawned(ledger,
                       &(struct birth){.pid = fake_pid(1), .ancestors = ancestors_new(&word, 1)});
        assert_false(ledger_expect(ledger, fake_pid(2), 1));
        assert_int_equal(ledger_count(ledger), 0);
        ledger_quiet(ledger, fake_pid(3), 4, QUIET_NORMAL);
        assert_int_equal(ledger_quiet_of(ledger, fake_pid(3), &call), QUIET_NONE);
        ledger_open(ledger);
        for (uint64_t i = 0; i < test_size(20000, 3000); i++)
            born(ledger, fake_pid(i));
        assert_true(ledger_expect(ledger, fake_pid(99999), 1));
        ledger_unlink(ledger, fake_pid(99999), fake_pid(1));
        leave(ledger, fake_pid(1), EVIDENCE_SIGNAL, fake_pid(2), 1);
        ledger_quiet(ledger, fake_pid(3), 4, QUIET_NORMAL);
        assert_int_equal(ledger_quiet_of(ledger, fake_pid(3), &call), QUIET_NORMAL);
        ledger_close(ledger);
        assert_int_equal(ledger_count(ledger), 0);
        assert_false(ledger_knows(ledger, fake_pid(1)));
        assert_null(ledger_exit(ledger, fake_pid(1)));
        assert_int_equal(ledger_quiet_of(ledger, fake_pid(3), &call), QUIET_NONE);
    }
    ledger_free(ledger);
}

static void many_live_and_each_is_found(void **state)
{
    uint64_t many = test_size(300000, 5000);
    struct ledger *ledger = open_ledger();
    struct dice dice = dice_new(2);
    uint8_t *alive = calloc(many, 1);
    uint64_t count = 0;

    (void)state;
    for (uint64_t i = 0; i < 4 * many; i++) {
        uint64_t one = dice_below(&dice, many);

        assert_int_equal(ledger_knows(ledger, fake_pid(one)), alive[one]);
        if (!alive[one]) {
            born(ledger, fake_pid(one));
            count++;
        } else if (dice_below(&dice, 3) == 0) {
            struct entry *entry = ledger_exit(ledger, fake_pid(one));

            assert_int_equal(entry->pid, fake_pid(one));
            entry_free(entry);
            count--;
        } else {
            continue;
        }
        alive[one] = !alive[one];
        assert_int_equal(ledger_count(ledger), count);
    }
    ledger_free(ledger);
    free(alive);
}

/* --- snapshots
 * ---------------------------------------------------------------------------------------- */

static void a_snapshot_completes_an_entry(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1), links[] = {fake_pid(2), fake_pid(3), fake_port(4)};
    term_word word = fake_atom("sup");
    struct entry *entry;

    (void)state;
    assert_true(ledger_expect(ledger, pid, 55000));
    assert_false(ledger_expect(ledger, pid, 66));
    ledger_seed_links(ledger, pid, links, 2);
    ledger_seed_links(ledger, pid, links + 2, 1);
    ledger_seed(ledger, &(struct snapshot){.pid = pid,
                                           .parent = fake_pid(9),
                                           .name = fake_atom("server"),
                                           .initial_call = 8,
                                           .trapping = true,
                                           .proc_lib = true,
                                           .ancestors = ancestors_new(&word, 1)});
    /* A second one, or links after it, change nothing. */
    ledger_seed_links(ledger, pid, &word, 1);
    ledger_seed(ledger, &(struct snapshot){.pid = pid, .ancestors = ancestors_new(&word, 1)});
    ledger_forget(ledger, pid);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry->links.count, 3);
    assert_int_equal(entry->parent, fake_pid(9));
    assert_int_equal(entry->name, fake_atom("server"));
    assert_int_equal(entry->initial_call, 8);
    assert_int_equal(entry->begun_us, 55);
    assert_int_equal(entry->flags & ENTRY_UNSEEDED, 0);
    assert_int_equal(entry->flags & (ENTRY_SEEDED | ENTRY_TRAPS | ENTRY_PROC_LIB),
                     ENTRY_SEEDED | ENTRY_TRAPS | ENTRY_PROC_LIB);
    assert_int_equal(entry->of.ancestors->count, 1);
    entry_free(entry);

    /* Of nobody, and of one that was seen being born. */
    ledger_seed_links(ledger, pid, links, 3);
    ledger_seed(ledger, &(struct snapshot){.pid = pid, .ancestors = ancestors_new(&word, 1)});
    assert_false(ledger_knows(ledger, pid));
    born(ledger, pid);
    assert_false(ledger_expect(ledger, pid, 1));
    ledger_seed_links(ledger, pid, links, 3);
    ledger_seed(ledger, &(struct snapshot){
                            .pid = pid, .trapping = true, .ancestors = ancestors_new(&word, 1)});
    assert_int_equal(link_count(ledger, pid), 0);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry->flags & ENTRY_TRAPS, 0);
    entry_free(entry);

    /* One that died before it could be looked at. */
    assert_true(ledger_expect(ledger, pid, 55000));
    ledger_unlink(ledger, pid, fake_pid(3));
    ledger_forget(ledger, pid);
    assert_false(ledger_knows(ledger, pid));
    ledger_free(ledger);
}

/*
 * A link, as it really is and as the ledger comes to know it: it stands or not when tracing begins;
 * it is made and broken a few times; somewhere in between the snapshot is taken, and later it is
 * merged. Whatever the order, in the end the ledger has to know what is so.
 */
static void one_race(bool initially, unsigned changes, unsigned taken_at, unsigned merged_at,
                     unsigned how, uint64_t others)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1), peer = fake_pid(2), shown[64];
    bool linked = initially;
    size_t count = 0;

    assert_true(ledger_expect(ledger, pid, 1));
    for (unsigned step = 0; step <= changes; step++) {
        if (step == taken_at) {
            for (uint64_t i = 0; i < others; i++)
                shown[count++] = fake_pid(100 + i);
            if (linked)
                shown[count++] = peer;
        }
        if (step == merged_at) {
            ledger_seed_links(ledger, pid, shown, count / 2);
            ledger_seed_links(ledger, pid, shown + count / 2, count - count / 2);
            ledger_seed(ledger, &(struct snapshot){.pid = pid});
        }
        if (step == changes)
            break;
        if (!linked)
            ledger_link(ledger, pid, peer);
        else if (how >> step & 1)
            ledger_unlink(ledger, pid, peer);
        else
            ledger_link_gone(ledger, pid, peer, 5, NULL);
        linked = !linked;
    }
    if (is_linked(ledger, pid, peer) != linked || link_count(ledger, pid) != others + linked)
        fail_msg("initially %d, %u changes, taken at %u, merged at %u: %d, %zu links", initially,
                 changes, taken_at, merged_at, is_linked(ledger, pid, peer),
                 link_count(ledger, pid));
    {
        struct entry *entry = ledger_exit(ledger, pid);

        assert_int_equal(entry_evicted_s(entry), 0);
        entry_free(entry);
    }
    ledger_free(ledger);
}

static void links_race_with_their_snapshot(void **state)
{
    unsigned most = (unsigned)test_size(5, 3);

    (void)state;
    for (unsigned changes = 0; changes <= most; changes++)
        for (unsigned taken_at = 0; taken_at <= changes; taken_at++)
            for (unsigned merged_at = taken_at; merged_at <= changes; merged_at++)
                for (unsigned how = 0; how < 4; how++)
                    for (unsigned initially = 0; initially < 2; initially++) {
                        one_race(initially, changes, taken_at, merged_at, how * 11, 0);
                        one_race(initially, changes, taken_at, merged_at, how * 11, 20);
                    }
}

/* The same for the name and for trap_exit. */
static void names_and_flags_race_with_their_snapshot(void **state)
{
    const term_word names[] = {NO_WORD, fake_atom("one"), fake_atom("two")};

    (void)state;
    for (unsigned changes = 0; changes <= 3; changes++)
        for (unsigned taken_at = 0; taken_at <= changes; taken_at++)
            for (unsigned merged_at = taken_at; merged_at <= changes; merged_at++)
                for (unsigned initially = 0; initially < 3; initially++) {
                    struct ledger *ledger = open_ledger();
                    struct snapshot snapshot = {.pid = fake_pid(1)};
                    unsigned now = initially;
                    struct entry *entry;

                    assert_true(ledger_expect(ledger, fake_pid(1), 1));
                    for (unsigned step = 0; step <= changes; step++) {
                        if (step == taken_at) {
                            snapshot.name = names[now];
                            snapshot.trapping = now % 2;
                        }
                        if (step == merged_at)
                            ledger_seed(ledger, &snapshot);
                        if (step == changes)
                            break;
                        now = (now + 1) % 3;
                        ledger_name(ledger, fake_pid(1), names[now]);
                        ledger_trap(ledger, fake_pid(1), now % 2);
                    }
                    entry = ledger_exit(ledger, fake_pid(1));
                    assert_int_equal(entry->name, names[now]);
                    assert_int_equal((entry->flags & ENTRY_TRAPS) != 0, now % 2);
                    entry_free(entry);
                    ledger_free(ledger);
                }
}

/* --- what ended quietly
 * ------------------------------------------------------------------------------- */

static void quiet_ends_are_remembered_for_a_while(void **state)
{
    struct ledger *ledger = open_ledger();
    uint64_t remembered = 0, many = test_size(200000, 20000);
    uint32_t call = 0;

    (void)state;
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(1), &call), QUIET_NONE);
    for (uint64_t i = 0; i < many; i++) {
        enum quiet quiet = i % 2 ? QUIET_NORMAL : QUIET_EXPIRED;

        ledger_quiet(ledger, fake_pid(i), (uint32_t)i, quiet);
        assert_int_equal(ledger_quiet_of(ledger, fake_pid(i), &call), quiet);
        assert_int_equal(call, i);
    }
    for (uint64_t i = 0; i < many; i++) {
        enum quiet quiet = ledger_quiet_of(ledger, fake_pid(i), &call);

        if (quiet == QUIET_NONE)
            continue;
        remembered++;
        assert_int_equal(quiet, i % 2 ? QUIET_NORMAL : QUIET_EXPIRED);
        assert_int_equal(call, i);
    }
    assert_in_range(remembered, many < 65536 ? many / 2 : 32768, 65536);
    /* What is said last of a pid holds. */
    ledger_quiet(ledger, fake_pid(5), 1, QUIET_EXPIRED);
    ledger_quiet(ledger, fake_pid(5), 2, QUIET_NORMAL);
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(5), &call), QUIET_NORMAL);
    assert_int_equal(call, 2);
    ledger_free(ledger);
}

/* Who looks at another scheduler must not take an exit that is being weighed for one that nobody saw. */
static void an_exit_is_remembered_at_once(void **state)
{
    struct ledger *ledger = open_ledger();
    struct birth port = {.pid = fake_pid(4), .flags = ENTRY_PORT};
    struct normal_exit normal;
    uint32_t call = 0;

    (void)state;
    ledger_spawned(ledger, &(struct birth){.pid = fake_pid(1), .initial_call = 7});
    entry_free(ledger_exit(ledger, fake_pid(1)));
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(1), &call), QUIET_SEEN);
    assert_int_equal(call, 7);
    /* A normal one that is not done with at once. */
    born(ledger, fake_pid(2));
    assert_true(leave(ledger, fake_pid(2), EVIDENCE_SIGNAL, fake_pid(1), 1));
    normal = ledger_exit_normal(ledger, fake_pid(2));
    assert_false(normal.is_all);
    entry_free(normal.entry);
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(2), &call), QUIET_SEEN);
    /* The end of this one was not seen; and a port's is no process's. */
    born(ledger, fake_pid(3));
    ledger_drop(ledger, fake_pid(3));
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(3), &call), QUIET_NONE);
    ledger_spawned(ledger, &port);
    entry_free(ledger_exit(ledger, port.pid));
    assert_int_equal(ledger_quiet_of(ledger, port.pid, &call), QUIET_NONE);
    /* Nor is that of one that is not known. */
    assert_null(ledger_exit(ledger, fake_pid(5)));
    assert_int_equal(ledger_quiet_of(ledger, fake_pid(5), &call), QUIET_NONE);
    ledger_free(ledger);
}

/* --- without memory
 * ----------------------------------------------------------------------------------- */

/* Lives a little with one allocation failing, or all from then on. Returns whether any did. */
static bool live_without(uint64_t nth, bool and_all_after)
{
    term_word links[12], word = fake_atom("sup");
    struct ledger *ledger;
    bool failed;
    uint32_t call;

    for (uint64_t i = 0; i < 12; i++)
        links[i] = fake_pid(500 + i);
    alloc_fail_at(nth, and_all_after);
    if ((ledger = ledger_new()) != NULL) {
        ledger_open(ledger);
        for (uint64_t i = 0; i < 20; i++) {
            struct ancestors *ancestors = ancestors_new(&word, 1);
            struct evidence *evidence;
            term_word pid = fake_pid(i);

            if (i % 2 == 0)
                ledger_spawned(ledger, &(struct birth){.pid = pid, .ancestors = ancestors});
            else if (!ledger_expect(ledger, pid, 1))
                ancestors_drop(ancestors);
            for (uint64_t peer = 0; peer < 8; peer++)
                ledger_link(ledger, pid, fake_pid(500 + 2 * peer));
            ledger_unlink(ledger, pid, fake_pid(502));
            ledger_link_gone(ledger, pid, fake_pid(504), 1, NULL);
            if ((evidence = evidence_new(EVIDENCE_SIGNAL, 1)) != NULL) {
                evidence->act = act_new();
                (void)ledger_evidence(ledger, pid, evidence);
            }
            if (i % 2 == 1 && ledger_knows(ledger, pid)) {
                ledger_seed_links(ledger, pid, links, 12);
                ledger_seed(ledger, &(struct snapshot){.pid = pid, .ancestors = ancestors});
            }
            ledger_quiet(ledger, pid, 1, QUIET_NORMAL);
            (void)ledger_quiet_of(ledger, pid, &call);
            if (i % 3 == 0) {
                struct entry *entry = ledger_exit(ledger, pid);

                /* Where a link is missing the entry says that it is not whole. */
                if (entry != NULL && entry->links.count != (i % 2 == 0 ? 6 : 12))
                    assert_int_equal(entry_evicted_s(entry), UINT32_MAX);
                if (entry != NULL && linkset_contains(&entry->links, fake_pid(502)))
                    assert_int_equal(entry_evicted_s(entry), UINT32_MAX);
                entry_free(entry);
            }
        }
    }
    failed = alloc_failed() > 0;
    alloc_fail_at(0, false);
    ledger_free(ledger);
    return failed;
}

static void without_memory_it_is_incomplete_and_says_so(void **state)
{
    int64_t live = alloc_live();

    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        uint64_t nth = 1;

        while (live_without(nth, for_good)) {
            assert_int_equal(alloc_live(), live);
            nth++;
        }
        assert_true(nth > 100);
        assert_int_equal(alloc_live(), live);
    }
}

/* After a gap a snapshot counts anew; age and evidence stay. */
static void a_renewed_entry_is_completed_again(void **state)
{
    struct ledger *ledger = open_ledger();
    term_word pid = fake_pid(1), old = fake_pid(2), kept = fake_pid(3), fresh = fake_pid(4);
    term_word shown[] = {kept, fresh};
    struct entry *entry;

    (void)state;
    born(ledger, pid);
    ledger_link(ledger, pid, old);
    ledger_link(ledger, pid, kept);
    ledger_name(ledger, pid, fake_atom("old"));
    ledger_trap(ledger, pid, true);
    assert_true(leave(ledger, pid, EVIDENCE_SIGNAL, fake_pid(9), 1));

    ledger_renew(ledger, pid, 99000);
    assert_int_equal(link_count(ledger, pid), 0);
    ledger_renew(ledger, pid, 99000); /* and again, before there was a snapshot */
    ledger_link(ledger, pid, old);
    ledger_unlink(ledger, pid, kept);
    ledger_seed_links(ledger, pid, shown, 2);
    ledger_seed(ledger, &(struct snapshot){.pid = pid, .name = fake_atom("new"), .parent = fake_pid(0)});
    assert_true(is_linked(ledger, pid, old));
    assert_false(is_linked(ledger, pid, kept));
    assert_true(is_linked(ledger, pid, fresh));
    entry = exit_with(ledger, pid, 1, (uint64_t[]){1});
    assert_int_equal(entry->begun_us, 7);
    assert_int_equal(entry->name, fake_atom("new"));
    assert_int_equal(entry->flags & (ENTRY_TRAPS | ENTRY_UNSEEDED | ENTRY_SEEDED), 0);
    entry_free(entry);

    /* One that was born unseen. */
    ledger_renew(ledger, pid, 99000);
    entry = ledger_exit(ledger, pid);
    assert_int_equal(entry->begun_us, 99);
    assert_int_equal(entry->flags, ENTRY_UNSEEDED | ENTRY_SEEDED);
    entry_free(entry);
    ledger_free(ledger);
}

static void shards_tell_whom_they_have(void **state)
{
    struct ledger *ledger = open_ledger();
    size_t seen = 0, count;
    term_word pids[64];

    (void)state;
    for (uint32_t i = 0; i < 5000; i++)
        born(ledger, fake_pid(i));
    for (size_t shard = 0; shard < LEDGER_PARTS; shard++) {
        ledger_members(ledger, shard, pids, 64, &count);
        for (size_t i = 0; i < count; i++)
            ledger_drop(ledger, pids[i]);
        seen += count;
    }
    assert_int_equal(seen, 5000);
    assert_int_equal(ledger_count(ledger), 0);
    ledger_drop(ledger, fake_pid(1)); /* not there any more */
    born(ledger, fake_pid(1));
    for (size_t shard = 0; shard < LEDGER_PARTS; shard++) {
        ledger_members(ledger, shard, pids, 0, &count);
        assert_int_equal(count, 0);
    }
    ledger_free(ledger);
}

/* Whatever way the evidence goes, it is counted once; while there is none no garbage collection is looked at. */
static void a_heap_too_large_is_counted_until_it_goes(void **state)
{
    struct ledger *ledger = open_ledger();
    uint64_t mark = 1;

    (void)state;
    born(ledger, fake_pid(1));
    assert_false(ledger_has_heaps(ledger));
    assert_false(leave(ledger, fake_pid(2), EVIDENCE_HEAP, fake_pid(2), mark++)); /* nobody */
    assert_false(ledger_has_heaps(ledger));

    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    assert_true(ledger_has_heaps(ledger));
    assert_true(ledger_heap_survived(ledger, fake_pid(1)));
    assert_false(ledger_heap_survived(ledger, fake_pid(1)));
    assert_false(ledger_has_heaps(ledger));

    /* It makes room. */
    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    for (int i = 0; i < LEDGER_EVIDENCE; i++)
        assert_true(leave(ledger, fake_pid(1), EVIDENCE_SIGNAL, fake_pid(3), mark++));
    assert_false(ledger_has_heaps(ledger));
    ledger_drop(ledger, fake_pid(1));

    /* The process exits, ends unseen, is found under the pid of a new one. */
    born(ledger, fake_pid(1));
    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    entry_free(ledger_exit(ledger, fake_pid(1)));
    assert_false(ledger_has_heaps(ledger));
    born(ledger, fake_pid(1));
    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    born(ledger, fake_pid(1));
    assert_false(ledger_has_heaps(ledger));
    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    ledger_drop(ledger, fake_pid(1));
    assert_false(ledger_has_heaps(ledger));

    born(ledger, fake_pid(1));
    assert_true(leave(ledger, fake_pid(1), EVIDENCE_HEAP, fake_pid(1), mark++));
    ledger_close(ledger);
    assert_false(ledger_has_heaps(ledger));
    ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_life_from_birth_to_exit),
        TEST(names_and_flags_follow_the_events),
        TEST(links_are_made_and_broken),
        TEST(unlinking_voids_what_the_dead_peer_left),
        TEST(a_survived_death_becomes_a_trapped_one),
        TEST(the_oldest_evidence_makes_room_and_leaves_a_mark),
        TEST(of_its_own_words_the_last_counts),
        TEST(its_own_word_on_a_full_entry_makes_room),
        TEST(evidence_is_bounded_in_any_order),
        TEST(a_link_lost_for_want_of_memory_is_never_forgotten),
        TEST(a_pid_that_is_used_again_starts_afresh),
        TEST(a_closed_ledger_takes_nothing),
        TEST(many_live_and_each_is_found),
        TEST(a_snapshot_completes_an_entry),
        TEST(links_race_with_their_snapshot),
        TEST(names_and_flags_race_with_their_snapshot),
        TEST(a_renewed_entry_is_completed_again),
        TEST(shards_tell_whom_they_have),
        TEST(a_heap_too_large_is_counted_until_it_goes),
        TEST(quiet_ends_are_remembered_for_a_while),
        TEST(an_exit_is_remembered_at_once),
        TEST(without_memory_it_is_incomplete_and_says_so),
    };

    return check_run("ledger", tests);
}
