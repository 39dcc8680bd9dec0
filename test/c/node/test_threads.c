/*
 * What many schedulers do at once. Built with ThreadSanitizer the data races show; in every build
 * the balance of memory and of numbers has to come out right.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"
#include "journal.h"
#include "ledger.h"
#include "names_fake.h"
#include "purge.h"
#include "wide.h"

#define THREADS 4

/* Assertions of cmocka are for the main thread; the others count what is wrong. */
static atomic_uint wrong;

#define SHOULD(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (atomic_fetch_add(&wrong, 1) == 0)                                                  \
                fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);            \
        }                                                                                          \
    } while (0)

struct job {
    void *(*run)(void *job);
    void *subject;
    uint64_t number;
    struct dice dice;
    size_t rounds;
    void *result;
};

static void run_at_once(void *(*run)(void *), void *subject, size_t rounds, void **results)
{
    pthread_t threads[THREADS];
    struct job jobs[THREADS];

    atomic_store(&wrong, 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.run = run,
                               .subject = subject,
                               .number = i,
                               .dice = dice_new(100 + i),
                               .rounds = rounds};
        assert_int_equal(pthread_create(&threads[i], NULL, run, &jobs[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (results != NULL)
            results[i] = jobs[i].result;
    }
    assert_int_equal(atomic_load(&wrong), 0);
}

static size_t rounds(size_t full)
{
    return test_size(full, full / 10);
}

/* --- intern: all get the same numbers
 * ----------------------------------------------------------------- */

#define FUNCTIONS 6000
#define FILES 1000

static void *intern_all(void *cookie)
{
    struct job *job = cookie;
    uint32_t *numbers = malloc((FUNCTIONS + FILES) * sizeof(*numbers));

    for (uint32_t i = 0; i < FUNCTIONS; i++) {
        struct function function = {.module = i / 7 + 1, .name = i % 7 + 1, .arity = i % 3};
        const struct function *found;

        numbers[i] = intern_function(job->subject, function);
        found = intern_function_of(job->subject, numbers[i]);
        SHOULD(found != NULL && found->module == function.module && found->name == function.name);
    }
    for (uint32_t i = 0; i < FILES; i++) {
        char name[32];
        int length = snprintf(name, sizeof(name), "src/file_%u.erl", i);
        const struct text *found;

        numbers[FUNCTIONS + i] = intern_file(job->subject, name, (size_t)length);
        found = intern_file_of(job->subject, numbers[FUNCTIONS + i]);
        SHOULD(found != NULL && strcmp(found->bytes, name) == 0);
    }
    job->result = numbers;
    return NULL;
}

static void all_threads_intern_the_same(void **state)
{
    struct intern *intern = intern_new();
    void *numbers[THREADS];

    (void)state;
    run_at_once(intern_all, intern, 1, numbers);
    for (size_t i = 1; i < THREADS; i++)
        assert_memory_equal(numbers[i], numbers[0], (FUNCTIONS + FILES) * sizeof(uint32_t));
    for (size_t i = 0; i < THREADS; i++)
        free(numbers[i]);
    intern_free(intern);
}

/* --- ledger: each process has its own events, evidence comes from everywhere
 * --------------------------- */

#define LIVES 64 /* processes of one thread at a time */

static struct evidence *some_evidence(struct dice *dice, struct record *record)
{
    struct evidence *evidence =
        evidence_new((enum evidence_kind)dice_below(dice, 5), dice_throw(dice));

    evidence->from = fake_pid(dice_below(dice, THREADS * LIVES));
    evidence->act = act_new();
    evidence->record = record_hold(record);
    evidence->stack = text_new("m:f/1", 5, false);
    return evidence;
}

static void *live_and_die(void *cookie)
{
    struct job *job = cookie;
    struct ledger *ledger = job->subject;
    struct dice *dice = &job->dice;
    struct record *record = record_new();
    term_word word = fake_pid(1), words[40];
    size_t count;
    uint32_t call;

    for (size_t i = 0; i < job->rounds; i++) {
        term_word own = fake_pid(job->number * LIVES + dice_below(dice, LIVES));
        term_word other = fake_pid(dice_below(dice, THREADS * LIVES));
        struct entry *entry;
        enum quiet quiet;

        switch (dice_below(dice, 16)) {
        case 0:
            ledger_spawned(ledger,
                           &(struct birth){.pid = own, .ancestors = ancestors_new(&word, 1)});
            break;
        case 1:
            if ((entry = ledger_exit(ledger, own)) != NULL) {
                SHOULD(entry->pid == own);
                entry_free(entry);
            }
            break;
        case 2:
        case 3:
            ledger_link(ledger, own, other);
            break;
        case 4:
            ledger_unlink(ledger, own, other);
            break;
        case 5:
            ledger_link_gone(ledger, own, other, i, record);
            break;
        case 6:
            ledger_name(ledger, own, fake_pid(i));
            ledger_trap(ledger, own, i % 2);
            break;
        case 7:
            (void)ledger_expect(ledger, own, i);
            break;
        case 8:
            for (size_t w = 0; w < 40; w++)
                words[w] = fake_pid(dice_below(dice, 100));
            ledger_seed_links(ledger, own, words, 40);
            break;
        case 9:
            ledger_seed(ledger,
                        &(struct snapshot){.pid = own, .ancestors = ancestors_new(&word, 1)});
            break;
        case 10:
            ledger_forget(ledger, own);
            break;
        case 11:
            SHOULD(ledger_who(ledger, other).pid == other);
            (void)ledger_knows(ledger, other);
            (void)ledger_count(ledger);
            break;
        case 12:
            (void)ledger_links(ledger, other, words, 40, &count);
            break;
        case 13:
            ledger_quiet(ledger, own, (uint32_t)own, QUIET_NORMAL);
            quiet = ledger_quiet_of(ledger, other, &call);
            /* Those who live and exit here have no initial call. */
            if (quiet != QUIET_NONE)
                SHOULD(call == (quiet == QUIET_SEEN ? 0 : (uint32_t)other));
            break;
        case 14:
            if (job->number == 0 && dice_below(dice, 500) == 0) {
                ledger_close(ledger);
                ledger_open(ledger);
                break;
            }
            /* fall through */
        default:
            (void)ledger_evidence(ledger, other, some_evidence(dice, record));
        }
    }
    record_drop(record);
    return NULL;
}

static void many_live_and_die_at_once(void **state)
{
    struct ledger *ledger = ledger_new();
    uint64_t alive = 0;

    (void)state;
    ledger_open(ledger);
    run_at_once(live_and_die, ledger, rounds(60000), NULL);
    for (uint64_t i = 0; i < THREADS * LIVES; i++)
        alive += ledger_knows(ledger, fake_pid(i));
    assert_int_equal(ledger_count(ledger), alive);
    ledger_free(ledger);
}

/* --- a kill and its victim: evidence left before the exit is on the entry
 * ------------------------------ */

struct duel {
    struct ledger *ledger;
    _Atomic uint64_t left; /* the number of the round whose evidence is on the entry */
    _Atomic uint64_t next; /* the round whose victim lives */
};

static void *kill_or_die(void *cookie)
{
    struct job *job = cookie;
    struct duel *duel = job->subject;
    term_word pid = fake_pid(7);

    if (job->number > 1)
        return NULL;
    for (uint64_t round = 1; round <= job->rounds; round++) {
        if (job->number == 0) {
            struct entry *entry;

            ledger_spawned(duel->ledger, &(struct birth){.pid = pid});
            atomic_store(&duel->next, round);
            while (atomic_load(&duel->left) != round)
                sched_yield();
            entry = ledger_exit(duel->ledger, pid);
            SHOULD(entry != NULL && entry->evidence != NULL && entry->evidence->time_ns == round &&
                   entry->evidence->next == NULL);
            entry_free(entry);
        } else {
            while (atomic_load(&duel->next) != round)
                sched_yield();
            SHOULD(ledger_evidence(duel->ledger, pid, evidence_new(EVIDENCE_SIGNAL, round)));
            atomic_store(&duel->left, round);
        }
    }
    return NULL;
}

static void what_was_left_before_the_exit_is_there(void **state)
{
    struct duel duel = {.ledger = ledger_new()};

    (void)state;
    ledger_open(duel.ledger);
    run_at_once(kill_or_die, &duel, rounds(3000), NULL);
    ledger_free(duel.ledger);
}

/* --- journal: exits on all schedulers, one uplink, and those who ask
 * ----------------------------------- */

static _Atomic uint64_t added;

static void *add_take_and_ask(void *cookie)
{
    struct job *job = cookie;
    struct journal *journal = job->subject;
    struct record *records[32];
    uint64_t last = 0;

    for (size_t i = 0; i < job->rounds; i++) {
        uint64_t what = dice_below(&job->dice, 8);

        if (job->number == 0) {
            /* The uplink: what it takes goes up, but for what a rewind gives back. */
            size_t count = journal_take(journal, records, 32);

            for (size_t r = 0; r < count; r++) {
                SHOULD(records[r]->seq > last);
                last = records[r]->seq;
                record_drop(records[r]);
            }
            if (what == 0) {
                journal_rewind(journal);
                last = journal_counts(journal).acknowledged;
            } else if (what < 4 && count > 0) {
                SHOULD(journal_acknowledge(journal, last));
                SHOULD(journal_is_settled(journal, last));
            }
        } else if (what < 6) {
            struct record *record = record_new();

            record->who = (struct who){.pid = fake_pid(dice_below(&job->dice, 50)),
                                       .name = fake_pid(dice_below(&job->dice, 5))};
            record->severity = (uint8_t)dice_below(&job->dice, CORONER_SEVERITY_COUNT);
            record->reason = text_new("killed", 6, false);
            journal_add(journal, record);
            record_drop(record);
            atomic_fetch_add(&added, 1);
        } else {
            struct record *record = what == 6 ? journal_by_pid(journal, fake_pid(7))
                                              : journal_by_name(journal, fake_pid(3));
            struct journal_counts counts = journal_counts(journal);
            size_t count = journal_recent(journal, records, 8);

            SHOULD(record == NULL || record->seq <= counts.made);
            SHOULD(counts.made >= counts.acknowledged && counts.held >= counts.unacknowledged);
            record_drop(record);
            for (size_t r = 1; r < count; r++)
                SHOULD(records[r]->seq < records[r - 1]->seq);
            for (size_t r = 0; r < count; r++)
                record_drop(records[r]);
            (void)journal_has_unsent(journal);
        }
    }
    return NULL;
}

static _Atomic uint64_t evicted;

static void count_evicted(void *cookie, const struct record *record)
{
    (void)cookie;
    SHOULD(record->seq > 0);
    atomic_fetch_add(&evicted, 1);
}

static void many_add_while_one_takes(void **state)
{
    struct journal *journal = journal_new();
    struct journal_counts counts;

    (void)state;
    atomic_store(&added, 0);
    atomic_store(&evicted, 0);
    journal_on_evicted(journal, count_evicted, NULL);
    journal_reset(journal, 300 * sizeof(struct record));
    run_at_once(add_take_and_ask, journal, rounds(40000), NULL);
    counts = journal_counts(journal);
    assert_int_equal(counts.made, atomic_load(&added));
    assert_int_equal(counts.made, counts.held + atomic_load(&evicted));
    assert_true(counts.acknowledged + counts.unacknowledged + counts.lost >= counts.made);
    journal_free(journal);
}

/* --- wide and purge
 * ------------------------------------------------------------------------------------ */

static void *die_wide_and_look(void *cookie)
{
    struct job *job = cookie;
    struct linkset links = {.count = 0};
    struct record *found[8];

    for (uint64_t i = 0; i < 20; i++)
        SHOULD(linkset_add(&links, fake_pid(i * 5)) == 1);
    for (size_t i = 0; i < job->rounds; i++) {
        struct record *record = NULL;
        size_t count = 0;

        switch (dice_below(&job->dice, 6)) {
        case 0:
        case 1:
            record = record_new();
            record->who.pid = fake_pid(dice_below(&job->dice, 200));
            record->print.hash = dice_below(&job->dice, 10);
            record->monotonic_ns = i;
            wide_add(job->subject, record);
            break;
        case 2:
            record = wide_find(job->subject, fake_pid(7));
            SHOULD(record == NULL || record->who.pid == fake_pid(7));
            break;
        case 3:
            count = wide_find_linked(job->subject, &links, found, 8);
            break;
        case 4:
            count = wide_find_reason(job->subject, (struct fingerprint){.hash = 3}, found, 8);
            break;
        default:
            (void)wide_evicted_ns(job->subject);
            if (dice_below(&job->dice, 300) == 0)
                wide_clear(job->subject);
        }
        record_drop(record);
        while (count > 0)
            record_drop(found[--count]);
    }
    linkset_clear(&links);
    return NULL;
}

static void wide_deaths_are_added_and_looked_for(void **state)
{
    struct wide *wide = wide_new();

    (void)state;
    run_at_once(die_wide_and_look, wide, rounds(40000), NULL);
    wide_free(wide);
}

struct purging {
    struct purge *purge;
    struct ledger *ledger;
};

static void *purge_and_ask(void *cookie)
{
    struct job *job = cookie;
    struct purging *both = job->subject;

    for (size_t i = 0; i < job->rounds; i++) {
        struct act *act;

        switch (dice_below(&job->dice, 6)) {
        case 0:
            purge_code_call(both->purge, fake_pid(job->number), 11, 3, (struct site){.line = 4},
                            false);
            break;
        case 1:
            purge_asked(both->purge, fake_pid(job->number), 11, OPERATION_LOAD);
            break;
        case 2:
            purge_begin(both->purge, both->ledger, 11, fake_pid(50), OPERATION_PURGE);
            break;
        case 3:
            purge_end(both->purge);
            break;
        case 4:
            if (dice_below(&job->dice, 100) == 0)
                purge_reset(both->purge, fake_pid(2), fake_pid(50));
            break;
        default:
            act = purge_behind(both->purge, fake_pid(2));
            SHOULD(act == NULL || (act->module == 11 && act->operation != OPERATION_NONE));
            act_drop(act);
        }
    }
    return NULL;
}

static void purges_are_asked_for_and_looked_up(void **state)
{
    struct purging both = {.purge = purge_new(), .ledger = ledger_new()};

    (void)state;
    ledger_open(both.ledger);
    purge_reset(both.purge, fake_pid(2), fake_pid(50));
    run_at_once(purge_and_ask, &both, rounds(30000), NULL);
    purge_free(both.purge);
    ledger_free(both.ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_threads_intern_the_same),
        TEST(many_live_and_die_at_once),
        TEST(what_was_left_before_the_exit_is_there),
        TEST(many_add_while_one_takes),
        TEST(wide_deaths_are_added_and_looked_for),
        TEST(purges_are_asked_for_and_looked_up),
    };

    return check_run("threads", tests);
}
