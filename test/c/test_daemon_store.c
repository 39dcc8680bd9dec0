/* The store: what it takes, what it refuses, and how it counts. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "filter.h"
#include "memory.h"
#include "store.h"

struct fixture {
    char folder[64];
    char path[96];
    struct store *store;
    struct hello hello;
    int64_t head;
};

static int set_up(void **state)
{
    struct fixture *fixture = memory_zeroed(sizeof(*fixture));
    char why[STORE_WHY_SIZE];
    int exit_code;

    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/coronerd-test-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL)
        return -1;
    snprintf(fixture->path, sizeof(fixture->path), "%s/exits.db", fixture->folder);
    fixture->store = store_open(fixture->path, &exit_code, why);
    memcpy(fixture->hello.incarnation, "0123456789abcdef", 17);
    fixture->hello.name = memory_string("n@h");
    fixture->hello.host = memory_string("h");
    fixture->hello.otp = memory_string("25");
    fixture->hello.first_held = 1;
    *state = fixture;
    return fixture->store != NULL ? 0 : -1;
}

static void remove_all(const char *folder)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    char path[512];

    if (entries == NULL)
        return;
    while ((entry = readdir(entries)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            remove_all(path);
    }
    closedir(entries);
    rmdir(folder);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    store_close(fixture->store);
    remove_all(fixture->folder);
    free(fixture->hello.name);
    free(fixture->hello.host);
    free(fixture->hello.otp);
    free(fixture);
    return 0;
}

static struct record *make_record(uint64_t seq)
{
    char json[64];
    size_t length = (size_t)snprintf(json, sizeof(json), "{\"seq\":%d}", (int)seq);
    struct record *record = memory_zeroed(sizeof(*record) + length + 1);

    record->seq = seq;
    record->time_ns = seq * 1000;
    record->json = memcpy(record + 1, json, length + 1);
    record->json_length = length;
    record->column[RECORD_COLUMN_pid] = "<0.1.0>";
    return record;
}

/* Apply one change and return it for a look, to be freed. */
static struct change apply(struct fixture *fixture, struct change change)
{
    char why[STORE_WHY_SIZE] = "";

    change.hello = &fixture->hello;
    assert_int_equal(store_apply(fixture->store, &change, 1, &fixture->head, why), 0);
    free(change.record);
    return change;
}

static uint64_t add_record(struct fixture *fixture, uint64_t seq)
{
    return apply(fixture, (struct change){.type = CHANGE_RECORD, .record = make_record(seq)})
        .committed;
}

/* Another connection to the same store, to look at it. */
static int64_t ask(struct fixture *fixture, const char *sql)
{
    char why[STORE_WHY_SIZE];
    struct store_reader *reader = store_reader_open(fixture->store, why);
    sqlite3_stmt *statement;
    int64_t value;

    assert_non_null(reader);
    assert_int_equal(sqlite3_prepare_v2(store_reader_database(reader), sql, -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    store_reader_close(reader);
    return value;
}

static void check_counts(struct fixture *fixture, int64_t made, int64_t stored, int64_t settled,
                         int64_t dropped)
{
    assert_int_equal(ask(fixture, "SELECT made FROM incarnations"), made);
    assert_int_equal(ask(fixture, "SELECT stored FROM incarnations"), stored);
    assert_int_equal(ask(fixture, "SELECT settled FROM incarnations"), settled);
    assert_int_equal(ask(fixture, "SELECT dropped FROM incarnations"), dropped);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM exits"), stored);
}

static void test_mode_and_lock(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE] = "";
    struct stat status;
    int exit_code = 0;

    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_null(store_open(fixture->path, &exit_code, why));
    assert_int_equal(exit_code, EX_CANTCREAT);
    assert_non_null(strstr(why, fixture->path));
    assert_non_null(strstr(why, "another coronerd"));
    store_close(fixture->store);
    fixture->store = store_open(fixture->path, &exit_code, why);
    assert_non_null(fixture->store);
    store_close(NULL);
    store_reader_close(NULL);
}

static void test_not_ours(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE] = "", path[128];
    sqlite3 *database;
    int exit_code = 0;
    FILE *file;

    assert_null(store_open("/nonexistent/exits.db", &exit_code, why));
    assert_int_equal(exit_code, EX_CANTCREAT);
    assert_non_null(strstr(why, "/nonexistent/exits.db"));

    snprintf(path, sizeof(path), "%s/other", fixture->folder);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", file);
    fclose(file);
    assert_null(store_open(path, &exit_code, why));
    assert_int_equal(exit_code, EX_IOERR);
    assert_non_null(strstr(why, path));
    unlink(path);

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    sqlite3_exec(database, "CREATE TABLE diary(entry TEXT)", NULL, NULL, NULL);
    sqlite3_close(database);
    assert_null(store_open(path, &exit_code, why));
    assert_int_equal(exit_code, EX_IOERR);
    assert_non_null(strstr(why, "not one of coronerd"));
    unlink(path);
    snprintf(path, sizeof(path), "%s/other-wal", fixture->folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/other-shm", fixture->folder);
    unlink(path);
}

static void test_acknowledges_the_highest(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7}).committed, 0);
    assert_int_equal(add_record(fixture, 1), 1);
    assert_int_equal(add_record(fixture, 2), 2);
    /* A resend is no second record, and does not take the acknowledgement back. */
    assert_int_equal(add_record(fixture, 1), 2);
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7}).committed, 2);
    check_counts(fixture, 2, 2, 2, 0);
    assert_int_equal(fixture->head, 2);
}

static void test_uid(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7}).refusal,
                     STORE_WELCOME);
    fixture->hello.made = 100;
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8}).refusal,
                     STORE_FOREIGN_INCARNATION);
    assert_int_equal(ask(fixture, "SELECT uid FROM incarnations"), 7);
    check_counts(fixture, 0, 0, 0, 0);
}

static void test_gaps(void **state)
{
    struct fixture *fixture = *state;

    apply(fixture, (struct change){.type = CHANGE_HELLO});
    add_record(fixture, 1);
    add_record(fixture, 5);
    /* 2, 3, 4 were passed over. */
    check_counts(fixture, 5, 2, 5, 0);
    /* The node came back without 6 to 9; 10 and 11 it still holds. */
    fixture->hello.first_held = 10;
    fixture->hello.made = 11;
    apply(fixture, (struct change){.type = CHANGE_HELLO});
    check_counts(fixture, 11, 2, 9, 0);
    add_record(fixture, 10);
    add_record(fixture, 11);
    check_counts(fixture, 11, 4, 11, 0);
    apply(fixture,
          (struct change){.type = CHANGE_COUNTERS, .made = 14, .lost = 10, .counters = NULL});
    check_counts(fixture, 14, 4, 11, 10);
    apply(fixture, (struct change){.type = CHANGE_BYE, .made = 14});
    check_counts(fixture, 14, 4, 14, 10);
    assert_int_equal(ask(fixture, "SELECT ended FROM incarnations"), 1);
}

/* The newest file of the store's folder with that ending, to be freed. */
static char *newest_file(struct fixture *fixture, const char *ending)
{
    char folder[128], *newest = NULL;
    struct dirent *entry;
    DIR *entries;

    snprintf(folder, sizeof(folder), "%s.d", fixture->path);
    entries = opendir(folder);
    assert_non_null(entries);
    while ((entry = readdir(entries)) != NULL) {
        size_t length = strlen(entry->d_name), tail = strlen(ending);
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (length < tail || strcmp(entry->d_name + length - tail, ending) != 0 ||
            (newest != NULL && strcmp(path, newest) < 0))
            continue;
        free(newest);
        newest = memory_string(path);
    }
    closedir(entries);
    return newest;
}

/* Somebody else's hand in a database. */
static void meddle(const char *path, const char *sql)
{
    sqlite3 *database;

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    sqlite3_busy_timeout(database, 5000);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void test_all_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE] = "", *live = newest_file(fixture, ".seg");
    struct change second = {
        .type = CHANGE_RECORD, .hello = &fixture->hello, .record = make_record(2)};
    struct change first = {
        .type = CHANGE_RECORD, .hello = &fixture->hello, .record = make_record(1), .next = &second};
    struct store_health health;

    apply(fixture, (struct change){.type = CHANGE_HELLO});
    meddle(live, "CREATE TRIGGER refuse BEFORE INSERT ON bodies WHEN NEW.row = 2"
                 " BEGIN SELECT RAISE(ABORT, 'no'); END");
    assert_int_equal(store_apply(fixture->store, &first, 2, &fixture->head, why), -1);
    assert_non_null(strstr(why, fixture->path));
    check_counts(fixture, 0, 0, 0, 0);
    store_health(fixture->store, &health);
    assert_int_equal(health.state, STORE_FAILING);
    assert_non_null(strstr(health.reason, "no"));
    assert_int_equal(store_apply(fixture->store, &first, 1, &fixture->head, why), 0);
    check_counts(fixture, 1, 1, 1, 0);
    store_health(fixture->store, &health);
    assert_int_equal(health.state, STORE_OK);
    meddle(live, "DROP TRIGGER refuse");
    assert_int_equal(store_apply(fixture->store, &second, 1, &fixture->head, why), 0);
    assert_int_equal(second.row, 2);
    free(first.record);
    free(second.record);
    free(live);
}

static void test_cursors(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(store_cursor(fixture->store, "file:/x", NULL), 0);
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "file:/x", .cursor = 12});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "stdout", .cursor = 13});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "file:/x", .cursor = 14});
    assert_int_equal(store_cursor(fixture->store, "file:/x", NULL), 14);
    assert_int_equal(store_cursor(fixture->store, "stdout", NULL), 13);
    /* A sink that was named otherwise before. */
    assert_int_equal(store_cursor(fixture->store, "out", "file:/x"), 14);
    assert_int_equal(store_cursor(fixture->store, "stdout", "file:/x"), 13);
}

struct seen {
    int64_t rows[8];
    int count;
    int stop_after;
};

static bool see(void *cookie, int64_t row, const char *json, size_t length)
{
    struct seen *seen = cookie;

    assert_int_equal(strlen(json), length);
    seen->rows[seen->count++] = row;
    return seen->count < seen->stop_after;
}

static void test_reader(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;
    struct seen seen = {.stop_after = 8};

    apply(fixture, (struct change){.type = CHANGE_HELLO});
    for (uint64_t seq = 1; seq <= 4; seq++)
        add_record(fixture, seq * 10);
    reader = store_reader_open(fixture->store, why);
    assert_non_null(reader);
    assert_int_equal(store_reader_rows(reader, 1, see, &seen, why), 0);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.rows[0], 2);
    assert_int_equal(seen.rows[2], 4);
    seen = (struct seen){.stop_after = 1};
    assert_int_equal(store_reader_rows(reader, 0, see, &seen, why), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(store_reader_find(reader, "0123456789abcdef", 30, why), 3);
    assert_int_equal(store_reader_find(reader, "0123456789abcdef", 31, why), 0);
    assert_int_equal(store_reader_find(reader, "fedcba9876543210", 30, why), 0);
    store_reader_close(reader);
}

static void test_deadline(void **state)
{
    static const char endless[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                                  " SELECT count(*) FROM n";
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader = store_reader_open(fixture->store, why);
    sqlite3 *database;

    assert_non_null(reader);
    database = store_reader_database(reader);
    store_reader_deadline(reader, 20);
    assert_int_equal(sqlite3_exec(database, endless, NULL, NULL, NULL), SQLITE_INTERRUPT);
    store_reader_deadline(reader, 0);
    assert_int_equal(sqlite3_exec(database, "SELECT 1", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "DELETE FROM exits", NULL, NULL, NULL),
                     SQLITE_READONLY);
    store_reader_close(reader);
}

/* Each field that `where` knows is one the store has. */
static void test_every_field(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader = store_reader_open(fixture->store, why);
    const struct filter_drive drive = {NULL, FILTER_ALL_VALUES};
    json_t *fields = filter_fields(false), *field;
    size_t index;

    assert_non_null(reader);
    assert_true(json_array_size(fields) > 30);
    json_array_foreach(fields, index, field)
    {
        json_t *request = json_pack("{s{sn} ss ss}", "where", json_string_value(field), "since",
                                    "-1h", "until", "now");
        struct reply_error error = {0};
        struct buffer sql = {0};
        struct filter filter;
        sqlite3_stmt *statement;

        assert_int_equal(filter_read(&filter, request, 1, &error), 0);
        buffer_text(&sql, "SELECT row FROM exits WHERE row > ?1");
        filter_sql(&filter, drive, &sql);
        assert_int_equal(sqlite3_prepare_v2(store_reader_database(reader), sql.data,
                                            (int)sql.length, &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(filter_bind(&filter, drive, statement, 2), 4);
        assert_int_equal(sqlite3_bind_parameter_count(statement), 3);
        assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
        sqlite3_finalize(statement);
        buffer_clear(&sql);
        filter_clear(&filter);
        json_decref(request);
    }
    json_decref(fields);
    store_reader_close(reader);
}

/* ---- segments ---- */

static void reopen(struct fixture *fixture)
{
    char why[STORE_WHY_SIZE];
    int exit_code;

    store_close(fixture->store);
    fixture->store = store_open(fixture->path, &exit_code, why);
    assert_non_null(fixture->store);
}

static void limit(struct fixture *fixture, struct store_settings settings)
{
    store_limit(fixture->store, &settings);
}

static void add_records(struct fixture *fixture, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        add_record(fixture, seq);
}

static struct store_numbers numbers_of(struct fixture *fixture)
{
    struct store_numbers numbers;

    store_numbers(fixture->store, &numbers);
    return numbers;
}

/* All rows that can be read, in order and without a hole, from `first` to `last`. */
static void check_rows(struct fixture *fixture, int64_t first, int64_t last)
{
    char why[STORE_WHY_SIZE];
    struct store_reader *reader = store_reader_open(fixture->store, why);
    int64_t row = 0, next = first;
    struct seen seen = {.stop_after = 1};
    struct store_part part;

    assert_non_null(reader);
    assert_int_equal(store_reader_oldest(reader), first <= last ? first : 0);
    while (store_reader_part(reader, row, false, &part, why) > 0) {
        assert_int_equal(part.first, next);
        next = part.last + 1;
        row = part.last + 1;
    }
    assert_int_equal(next, last + 1);
    if (first <= last) {
        assert_int_equal(store_reader_rows(reader, 0, see, &seen, why), 0);
        assert_int_equal(seen.rows[0], first);
        assert_int_equal(store_reader_skipped(reader), first - 1);
    }
    store_reader_close(reader);
}

static void test_rolls(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;
    struct seen seen = {.stop_after = 8};
    struct store_part part;

    limit(fixture, (struct store_settings){.segment_rows = 3});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "stdout", .cursor = 2});
    add_records(fixture, 1, 10);
    assert_int_equal(numbers_of(fixture).segments, 4);
    assert_int_equal(numbers_of(fixture).rows, 10);
    /* What is known of nodes and sinks went along; a resend is known for what it is. */
    assert_int_equal(store_cursor(fixture->store, "stdout", NULL), 2);
    assert_int_equal(add_record(fixture, 4), 10);
    assert_int_equal(numbers_of(fixture).duplicates, 1);
    assert_int_equal(ask(fixture, "SELECT stored FROM incarnations"), 10);
    check_rows(fixture, 1, 10);

    reader = store_reader_open(fixture->store, why);
    assert_int_equal(store_reader_rows(reader, 4, see, &seen, why), 0);
    assert_int_equal(seen.count, 6);
    assert_int_equal(seen.rows[0], 5);
    assert_int_equal(seen.rows[5], 10);
    assert_int_equal(store_reader_skipped(reader), 0);
    assert_int_equal(store_reader_part(reader, INT64_MAX, true, &part, why), 1);
    assert_int_equal(part.first, 10);
    assert_int_equal(store_reader_part(reader, 5, true, &part, why), 1);
    assert_int_equal(part.first, 4);
    assert_int_equal(part.min_time_ns, 4000);
    assert_int_equal(part.max_time_ns, 6000);
    assert_int_equal(store_reader_part(reader, 0, true, &part, why), 0);
    assert_int_equal(store_reader_part(reader, 11, false, &part, why), 0);
    for (int64_t seq = 1; seq <= 10; seq++)
        assert_int_equal(store_reader_find(reader, "0123456789abcdef", (uint64_t)seq, why), seq);
    store_reader_close(reader);

    reopen(fixture);
    check_rows(fixture, 1, 10);
    assert_int_equal(store_head(fixture->store), 10);
    add_record(fixture, 11);
    check_rows(fixture, 1, 11);
}

/* Retention by size: the oldest segments go, and every row of them is counted. */
static void test_expires_by_size(void **state)
{
    struct fixture *fixture = *state;
    struct store_numbers numbers;
    struct stat status;
    char *oldest;

    limit(fixture, (struct store_settings){.segment_rows = 10, .max_bytes = 600 * 1024});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "slow", .cursor = 5});
    add_records(fixture, 1, 200);
    numbers = numbers_of(fixture);
    assert_true(numbers.expired_by_size > 50);
    assert_int_equal(numbers.rows + numbers.expired_by_size, 200);
    assert_true(numbers.bytes < 700 * 1024);
    assert_int_equal(numbers.oldest_row, (int64_t)numbers.expired_by_size + 1);
    assert_int_equal(ask(fixture, "SELECT expired FROM incarnations"), numbers.expired_by_size);
    assert_int_equal(ask(fixture, "SELECT stored FROM incarnations"), 200);
    assert_int_equal(ask(fixture, "SELECT lost FROM sinks"), numbers.expired_by_size - 5);
    check_rows(fixture, numbers.oldest_row, 200);
    reopen(fixture);
    assert_int_equal(numbers_of(fixture).expired_by_size, numbers.expired_by_size);
    check_rows(fixture, numbers.oldest_row, 200);
    oldest = memory_get(256);
    snprintf(oldest, 256, "%s.d/%019d.seg", fixture->path, 1);
    assert_int_equal(stat(oldest, &status), -1);
    free(oldest);
}

/* Retention by age waits for a sink of this run, and not for one that nobody asks for. */
static void test_expires_by_age(void **state)
{
    struct fixture *fixture = *state;
    char *live;

    limit(fixture, (struct store_settings){.segment_rows = 10});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "gone", .cursor = 0});
    assert_int_equal(store_cursor(fixture->store, "slow", NULL), 0);
    add_records(fixture, 1, 31);
    live = newest_file(fixture, ".seg");
    store_close(fixture->store);
    fixture->store = NULL;
    meddle(live, "UPDATE segments SET closed_ns = closed_ns - 3600 * 1000000000 WHERE first < 21");
    free(live);
    reopen(fixture);
    assert_int_equal(store_cursor(fixture->store, "slow", NULL), 0);
    limit(fixture, (struct store_settings){.max_age_s = 1800});
    store_tend(fixture->store);
    assert_int_equal(numbers_of(fixture).expired_by_age, 0);
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "slow", .cursor = 10});
    store_tend(fixture->store);
    assert_int_equal(numbers_of(fixture).expired_by_age, 10);
    check_rows(fixture, 11, 31);
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "slow", .cursor = 31});
    store_tend(fixture->store);
    assert_int_equal(numbers_of(fixture).expired_by_age, 20);
    check_rows(fixture, 21, 31);
    /* In a quarter of an hour at most the live segment is closed, and then it ages, too. */
    assert_true(store_tend_due(fixture->store) > 0);
    assert_true(store_tend_due(fixture->store) <= 1800 * 1000);
}

/* A reader that rests has nothing open of what is dropped. */
static void test_dropped_under_a_reader(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE], command[256];
    struct store_reader *reader;
    struct seen seen = {.stop_after = 1};
    struct store_part part;
    FILE *list;
    int count = -1;

    limit(fixture, (struct store_settings){.segment_rows = 10});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    add_records(fixture, 1, 31);
    reader = store_reader_open(fixture->store, why);
    for (int64_t row = 1; row <= 31; row = part.last + 1)
        assert_int_equal(store_reader_part(reader, row, false, &part, why), 1);
    store_reader_rest(reader);
    limit(fixture, (struct store_settings){.segment_rows = 10, .max_bytes = 1});
    store_tend(fixture->store);
    assert_int_equal(numbers_of(fixture).segments, 1);
    snprintf(command, sizeof(command), "ls -l /proc/%d/fd | grep -c '%s.*(deleted)'", (int)getpid(),
             fixture->folder);
    list = popen(command, "r");
    assert_int_equal(fscanf(list, "%d", &count), 1);
    pclose(list);
    assert_int_equal(count, 0);
    assert_int_equal(store_reader_rows(reader, 3, see, &seen, why), 0);
    assert_int_equal(seen.rows[0], 31);
    assert_int_equal(store_reader_skipped(reader), 27);
    store_reader_close(reader);
}

/* With few descriptors a reader goes through many segments all the same. */
static void test_few_descriptors(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE] = "";
    struct store_reader *reader;
    struct rlimit was, few;
    struct store_part part;
    int64_t row = 1;

    limit(fixture, (struct store_settings){.segment_rows = 2});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    add_records(fixture, 1, 41);
    while (numbers_of(fixture).unindexed > 0)
        sched_yield();
    reader = store_reader_open(fixture->store, why);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = (struct rlimit){.rlim_cur = 20, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (row <= 41 && store_reader_part(reader, row, false, &part, why) > 0) {
        sqlite3_stmt *statement;

        assert_int_equal(
            sqlite3_prepare_v2(part.database, "SELECT count(*) FROM exits", -1, &statement, NULL),
            SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        sqlite3_finalize(statement);
        row = part.last + 1;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_string_equal(why, "");
    assert_int_equal(row, 42);
    store_reader_close(reader);
}

/* ---- a store that is not as it was left ---- */

static void spoil(const char *path)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    for (int i = 0; i < 2000; i++)
        fputs("this is no database\n", file);
    fclose(file);
}

static void test_damaged_segments(void **state)
{
    struct fixture *fixture = *state;
    struct store_numbers numbers;
    struct store_health health;
    char path[256], *live;

    limit(fixture, (struct store_settings){.segment_rows = 10});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    add_records(fixture, 1, 35);
    store_health(fixture->store, &health);
    assert_int_equal(health.state, STORE_OK);
    store_close(fixture->store);
    fixture->store = NULL;
    /* A closed one: its rows are known, and missing from now on. */
    snprintf(path, sizeof(path), "%s.d/%019d.seg", fixture->path, 11);
    spoil(path);
    reopen(fixture);
    numbers = numbers_of(fixture);
    assert_int_equal(numbers.missing, 10);
    assert_int_equal(numbers.set_aside, 1);
    assert_int_equal(numbers.rows, 25);
    store_health(fixture->store, &health);
    assert_int_equal(health.state, STORE_DEGRADED);
    assert_non_null(strstr(health.reason, "missing"));
    /* The live one: nobody knows how many rows it had, but no number of them is used again. */
    live = newest_file(fixture, ".seg");
    store_close(fixture->store);
    fixture->store = NULL;
    spoil(live);
    free(live);
    reopen(fixture);
    assert_int_equal(numbers_of(fixture).set_aside, 2);
    assert_int_equal(numbers_of(fixture).rows, 20);
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    add_record(fixture, 36);
    assert_true(fixture->head > 40);
    assert_int_equal(ask(fixture, "SELECT top_seq FROM incarnations"), 36);
    /* It is as it should be from the next start on, but what was set aside is still told. */
    reopen(fixture);
    store_health(fixture->store, &health);
    assert_int_equal(health.state, STORE_OK);
    assert_int_equal(numbers_of(fixture).set_aside, 2);
}

static void test_newer_version(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE] = "", *live = newest_file(fixture, ".seg");
    int exit_code = 0;

    store_close(fixture->store);
    meddle(live, "PRAGMA user_version=99");
    fixture->store = store_open(fixture->path, &exit_code, why);
    assert_null(fixture->store);
    assert_int_equal(exit_code, EX_IOERR);
    assert_non_null(strstr(why, "version 99"));
    assert_non_null(strstr(why, "newer"));
    meddle(live, "PRAGMA user_version=3");
    meddle(fixture->path, "PRAGMA user_version=99");
    fixture->store = store_open(fixture->path, &exit_code, why);
    assert_null(fixture->store);
    assert_non_null(strstr(why, "version 99"));
    meddle(fixture->path, "PRAGMA user_version=3");
    reopen(fixture);
    free(live);
}

/* The layout of version 1, as it was released. */
static const char first_layout[] =
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE incarnations(incarnation TEXT PRIMARY KEY NOT NULL,"
    " node TEXT NOT NULL, host TEXT NOT NULL, os_pid INTEGER NOT NULL, otp TEXT NOT NULL,"
    " uid INTEGER NOT NULL,"
    " made INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0,"
    " top_seq INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,"
    " dropped INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,"
    " first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL,"
    " counters TEXT NOT NULL DEFAULT '{}') WITHOUT ROWID;"
    "CREATE TABLE exits(row INTEGER PRIMARY KEY AUTOINCREMENT,"
    " incarnation TEXT NOT NULL, seq INTEGER NOT NULL, time_ns INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, node TEXT NOT NULL, severity TEXT, pid TEXT, name TEXT,"
    " initial_call TEXT, source TEXT, reason_class TEXT, confidence TEXT, origin_source TEXT,"
    " origin_pid TEXT, origin_module TEXT, origin_by TEXT, origin_by_name TEXT,"
    " initial_module TEXT, json TEXT NOT NULL, UNIQUE(incarnation, seq));"
    "CREATE INDEX exits_by_time ON exits(time_ns);"
    "CREATE INDEX exits_by_pid ON exits(pid);"
    "CREATE INDEX exits_by_name ON exits(name) WHERE name IS NOT NULL;"
    "CREATE INDEX exits_by_module ON exits(initial_module);"
    "CREATE TABLE sinks(name TEXT PRIMARY KEY NOT NULL, cursor INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO incarnations VALUES('0123456789abcdef', 'n@h', 'h', 1, '25', 7, 60, 50, 55, 55, 2,"
    " 0, 1, 2, '{\"normal\":9}');"
    "INSERT INTO sinks VALUES('stdout', 17);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)"
    " INSERT INTO exits(incarnation, seq, time_ns, kind, node, pid, json)"
    " SELECT '0123456789abcdef', i + 5, i * 1000, 0, 'n@h', '<0.' || i || '.0>',"
    " '{\"origin\":{\"id\":\"0123456789abcdef-' || i || '\"}}' FROM n;"
    "DELETE FROM exits WHERE row = 50;"
    "PRAGMA application_id=1668248175; PRAGMA user_version=1;";

static void check_taken_over(struct fixture *fixture)
{
    char why[STORE_WHY_SIZE];
    struct store_reader *reader = store_reader_open(fixture->store, why);
    struct store_part part;
    sqlite3_stmt *statement;

    assert_non_null(reader);
    assert_int_equal(store_cursor(fixture->store, "stdout", NULL), 17);
    assert_int_equal(ask(fixture, "SELECT made FROM incarnations"), 60);
    assert_int_equal(ask(fixture, "SELECT stored FROM incarnations"), 50);
    assert_int_equal(ask(fixture, "SELECT counters = '{\"normal\":9}' FROM incarnations"), 1);
    assert_int_equal(store_reader_part(reader, 1, false, &part, why), 1);
    assert_int_equal(part.first, 1);
    assert_int_equal(part.last, 50);
    assert_true(part.has_indexes);
    assert_int_equal(part.min_time_ns, 1000);
    assert_int_equal(sqlite3_prepare_v2(part.database,
                                        "SELECT json FROM exits JOIN bodies USING(row) WHERE"
                                        " origin_id = '0123456789abcdef-9' AND pid = '<0.9.0>'",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    sqlite3_finalize(statement);
    assert_int_equal(store_reader_find(reader, "0123456789abcdef", 8, why), 3);
    store_reader_close(reader);
}

static void make_first(struct fixture *fixture)
{
    store_close(fixture->store);
    fixture->store = NULL;
    remove_all(fixture->folder);
    assert_int_equal(mkdir(fixture->folder, 0700), 0);
    meddle(fixture->path, first_layout);
}

static void test_takes_over_version_1(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;

    make_first(fixture);
    reopen(fixture);
    check_taken_over(fixture);
    assert_int_equal(numbers_of(fixture).rows, 50);
    /* The number of the row that was deleted is not used again. */
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    assert_int_equal(add_record(fixture, 55), 55);
    assert_int_equal(add_record(fixture, 56), 56);
    assert_int_equal(fixture->head, 51);
    reopen(fixture);
    check_rows(fixture, 1, 51);
    assert_int_equal(stat(fixture->path, &status), 0);
    /* It goes as any other does, and its rows are counted. */
    limit(fixture, (struct store_settings){.max_bytes = 1});
    store_tend(fixture->store);
    assert_int_equal(ask(fixture, "SELECT expired FROM incarnations"), 50);
    check_rows(fixture, 51, 51);
}

/* Killed in the middle of it: at the next start it goes on, from each of its steps. */
static void test_takes_over_when_interrupted(void **state)
{
    struct fixture *fixture = *state;
    char segment[256], folder[128], why[STORE_WHY_SIZE];
    int exit_code;

    snprintf(folder, sizeof(folder), "%s.d", fixture->path);
    snprintf(segment, sizeof(segment), "%s/%019d.seg", folder, 1);
    make_first(fixture);
    reopen(fixture);
    store_close(fixture->store);
    fixture->store = NULL;
    /* It is a segment, but where the whole store was, and has no successor. */
    assert_int_equal(rename(segment, fixture->path), 0);
    remove_all(folder);
    reopen(fixture);
    check_taken_over(fixture);
    store_close(fixture->store);
    fixture->store = NULL;
    /* It has its place, but the file that was there has no successor. */
    assert_int_equal(unlink(fixture->path), 0);
    reopen(fixture);
    check_taken_over(fixture);
    store_close(fixture->store);
    fixture->store = NULL;
    /* It came back beside what became of it: that is not for us to decide. */
    unlink(fixture->path);
    meddle(fixture->path, first_layout);
    assert_null(store_open(fixture->path, &exit_code, why));
    assert_non_null(strstr(why, "is there already"));
}

/* Somebody reads a store of version 1 when it is to be taken over: nothing of it may stay behind in
 * its log. */
static void test_takes_over_what_somebody_reads(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    sqlite3 *other;
    int exit_code;

    make_first(fixture);
    assert_int_equal(sqlite3_open(fixture->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT count(*) FROM exits", NULL, NULL, NULL),
                     SQLITE_OK);
    for (int i = 0; i < 3; i++)
        assert_null(store_open(fixture->path, &exit_code, why));
    assert_non_null(strstr(why, "somebody else has open"));
    sqlite3_close(other);
    reopen(fixture);
    check_taken_over(fixture);
}

/* ---- who is who ---- */

static void test_name_belongs_to_a_user(void **state)
{
    struct fixture *fixture = *state;
    char *live = newest_file(fixture, ".seg");

    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7}).refusal,
                     STORE_WELCOME);
    fixture->hello.incarnation[0] = 'a';
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8}).refusal,
                     STORE_FOREIGN_NAME);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM incarnations"), 1);
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7}).refusal,
                     STORE_WELCOME);
    /* After a week without its owner it is free. */
    meddle(live, "UPDATE incarnations SET last_seen_ns = last_seen_ns - 8 * 86400 * 1000000000");
    fixture->hello.incarnation[0] = 'b';
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8}).refusal,
                     STORE_WELCOME);
    free(fixture->hello.name);
    fixture->hello.name = memory_string("nonode@nohost");
    for (uint32_t uid = 7; uid < 9; uid++) {
        fixture->hello.incarnation[0] = (char)('0' + uid);
        assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = uid}).refusal,
                         STORE_WELCOME);
    }
    free(live);
}

/* One user's incarnations do not crowd out another's, and their number is bounded. */
static void test_incarnations_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    char *live = newest_file(fixture, ".seg"), sql[512];

    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    snprintf(
        sql, sizeof(sql),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO incarnations(incarnation, node, host, os_pid, otp, uid, made, stored,"
        " first_seen_ns, last_seen_ns) SELECT printf('%%016x', i), 'm@h', 'h', 1, '25', 8, 5, 3,"
        " i, i FROM n",
        STORE_INCARNATIONS_OF_UID);
    meddle(live, sql);
    memcpy(fixture->hello.incarnation, "ffffffffffffffff", 17);
    free(fixture->hello.name);
    fixture->hello.name = memory_string("m@h");
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8});
    assert_int_equal(ask(fixture, "SELECT count(*) FROM incarnations WHERE uid = 8"),
                     STORE_INCARNATIONS_OF_UID);
    assert_int_equal(ask(fixture, "SELECT min(last_seen_ns) FROM incarnations"), 2);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM incarnations WHERE uid = 7"), 1);
    assert_int_equal(ask(fixture, "SELECT value FROM about WHERE key = 'forgotten_made'"), 5);
    assert_int_equal(ask(fixture, "SELECT value FROM about WHERE key = 'forgotten_stored'"), 3);
    free(live);
}

/* A crowd of incarnations without rows makes room among itself; one of which there are rows is not
 * forgotten for it, and when all have rows and were seen lately, who comes is refused: what the
 * forgotten sends again would be stored twice. */
static void test_a_crowd(void **state)
{
    struct fixture *fixture = *state;
    char *live = newest_file(fixture, ".seg"), sql[512];

    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8});
    add_records(fixture, 1, 10);
    meddle(live, "UPDATE incarnations SET last_seen_ns = 1");
    snprintf(
        sql, sizeof(sql),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO incarnations(incarnation, node, host, os_pid, otp, uid, first_seen_ns,"
        " last_seen_ns) SELECT printf('%%016x', i), 'm@h', 'h', 1, '25', 8, i + 1, i + 1 FROM n",
        STORE_INCARNATIONS_OF_UID - 1);
    meddle(live, sql);
    free(fixture->hello.name);
    fixture->hello.name = memory_string("m@h");
    memcpy(fixture->hello.incarnation, "ffffffffffffffff", 17);
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8}).refusal,
                     STORE_WELCOME);
    assert_int_equal(ask(fixture, "SELECT stored FROM incarnations"
                                  " WHERE incarnation = '0123456789abcdef'"),
                     10);
    meddle(live, "UPDATE incarnations SET made = 5, stored = 3, last_seen_ns = 9e18");
    memcpy(fixture->hello.incarnation, "fffffffffffffffe", 17);
    assert_int_equal(apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 8}).refusal,
                     STORE_CROWDED);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM incarnations"), STORE_INCARNATIONS_OF_UID);
    free(live);
}

/* What nodes claim to have made adds up to more than an integer holds; what is dropped is counted
 * all the same. */
static void test_claims_without_measure(void **state)
{
    struct fixture *fixture = *state;
    char *live = newest_file(fixture, ".seg");

    limit(fixture, (struct store_settings){.segment_rows = 10});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    add_records(fixture, 1, 10);
    meddle(live, "INSERT INTO incarnations(incarnation, node, host, os_pid, otp, uid, made, ended,"
                 " first_seen_ns, last_seen_ns) VALUES('00000000000000aa', 'a@h', 'h', 1, '25', 8,"
                 " 9223372036854775807, 1, 1, 1), ('00000000000000bb', 'b@h', 'h', 1, '25', 8,"
                 " 9223372036854775807, 1, 1, 1)");
    add_records(fixture, 11, 20);
    limit(fixture, (struct store_settings){.segment_rows = 10, .max_bytes = 1});
    store_tend(fixture->store);
    assert_int_equal(ask(fixture, "SELECT expired FROM incarnations"
                                  " WHERE incarnation = '0123456789abcdef'"),
                     numbers_of(fixture).expired_by_size);
    assert_true(numbers_of(fixture).expired_by_size >= 10);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM incarnations"), 1);
    free(live);
}

/* ---- many in one transaction ---- */

#define MANY 200

/* Nodes that differ, records that came before, and what is no record, all in one. */
static void test_many_in_one(void **state)
{
    struct fixture *fixture = *state;
    struct hello other = fixture->hello;
    struct change *changes = memory_zeroed(MANY * sizeof(*changes));
    char why[STORE_WHY_SIZE] = "";
    int64_t row = 0;

    memcpy(other.incarnation, "fedcba9876543210", 17);
    changes[0] = (struct change){.type = CHANGE_HELLO, .hello = &fixture->hello};
    changes[1] = (struct change){.type = CHANGE_HELLO, .hello = &other};
    for (uint64_t i = 2; i < MANY; i++) {
        bool counters = i % 10 == 9;

        changes[i - 1].next = &changes[i];
        changes[i].type = counters ? CHANGE_COUNTERS : CHANGE_RECORD;
        changes[i].hello = i % 3 == 0 ? &other : &fixture->hello;
        /* Every eighth has come before. */
        if (!counters)
            changes[i].record = make_record(i % 8 == 0 && i > 8 ? 2 : i);
        if (i % 2 == 0 && !counters)
            store_hash(&changes[i]);
    }
    changes[0].next = &changes[1];
    assert_int_equal(store_apply(fixture->store, changes, MANY, &fixture->head, why), 0);
    for (uint64_t i = 2; i < MANY; i++) {
        if (changes[i].type == CHANGE_RECORD)
            assert_int_equal(changes[i].row, i % 8 == 0 && i > 8 ? 0 : ++row);
        free(changes[i].record);
    }
    assert_int_equal(fixture->head, row);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM exits JOIN bodies USING(row)"
                                  " WHERE json = '{\"seq\":' || seq || '}' AND time_ns = seq * 1000"
                                  " AND node = 'n@h' AND pid = '<0.1.0>' AND name IS NULL"),
                     row);
    assert_int_equal(ask(fixture, "SELECT sum(stored) FROM incarnations"), row);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM exits WHERE incarnation ="
                                  " iif(seq % 3 = 0, 'fedcba9876543210', '0123456789abcdef')"),
                     row);
    check_rows(fixture, 1, row);
    free(changes);
}

/* ---- the log of the live segment ---- */

static struct record *make_long_record(uint64_t seq)
{
    const size_t length = 65000;
    struct record *record = memory_zeroed(sizeof(*record) + length + 1);
    char *json = memset(record + 1, 'x', length);

    record->seq = seq;
    record->time_ns = seq * 1000;
    record->json = json;
    record->json_length = length;
    return record;
}

static int64_t size_of(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (int64_t)status.st_size : 0;
}

/* It goes into the database while it is written to, and begins anew before it is long. */
static void test_log_is_short(void **state)
{
    const int64_t mib = 1 << 20, most = 16 * mib;
    struct fixture *fixture = *state;
    char *live, log[256];
    int64_t longest = 0;
    uint64_t seq = 0;

    /* An eighth of it is for the log. */
    limit(fixture, (struct store_settings){.segment_bytes = (uint64_t)(8 * most)});
    apply(fixture, (struct change){.type = CHANGE_HELLO});
    live = newest_file(fixture, ".seg");
    snprintf(log, sizeof(log), "%s-wal", live);
    while (seq < 100)
        apply(fixture, (struct change){.type = CHANGE_RECORD, .record = make_long_record(++seq)});
    /* It is far from full, but another thread brings it into the database. */
    assert_true(size_of(log) < most);
    for (int attempt = 0; size_of(live) < 3 * mib; attempt++) {
        assert_true(attempt < 6000);
        poll(NULL, 0, 10);
    }
    while (seq < 1000) {
        apply(fixture, (struct change){.type = CHANGE_RECORD, .record = make_long_record(++seq)});
        longest = size_of(log) > longest ? size_of(log) : longest;
    }
    assert_true(longest <= 2 * most + mib);
    assert_int_equal(ask(fixture, "SELECT count(*) FROM bodies WHERE length(json) = 65000"), 1000);
    /* What is killed now has it all. */
    reopen(fixture);
    check_rows(fixture, 1, 1000);
    free(live);
}

/* ---- candidates ---- */

static void add_random(struct fixture *fixture, uint64_t seq)
{
    struct record *record = make_record(seq);
    static char text[4][32];

    snprintf(text[0], 32, "<0.%d.0>", rand() % 50);
    snprintf(text[1], 32, "name%d", rand() % 7);
    snprintf(text[2], 32, "module%d", rand() % 3);
    snprintf(text[3], 32, "0123456789abcdef-%d", rand() % 20);
    record->column[RECORD_COLUMN_pid] = text[0];
    record->column[RECORD_COLUMN_name] = rand() % 3 == 0 ? text[1] : NULL;
    record->column[RECORD_COLUMN_initial_module] = text[2];
    record->column[RECORD_COLUMN_origin_id] = rand() % 2 == 0 ? text[3] : NULL;
    /* The clock is put back now and then. */
    record->time_ns = 1000000 + seq * 100 - (uint64_t)(rand() % 10 == 0 ? rand() % 50000 : 0);
    apply(fixture, (struct change){.type = CHANGE_RECORD, .record = record});
}

/* Every row of the part that SQL finds is among the candidates, and few others. */
static void compare(struct store_reader *reader, const struct store_part *part, const char *where,
                    const struct store_condition *conditions, size_t count, bool descending)
{
    int64_t rows[4096], first = part->first, last = part->last;
    ptrdiff_t found = 0, got;
    sqlite3_stmt *statement;
    char sql[256];
    ptrdiff_t at = 0;
    int wanted = 0;

    /* In pieces, as a query does it that wants a hundred. */
    do {
        got = store_reader_candidates(reader, conditions, count, first, last, descending,
                                      rows + found, 10);
        assert_true(got >= 0);
        found += got;
        if (got > 0 && descending)
            last = rows[found - 1] - 1;
        else if (got > 0)
            first = rows[found - 1] + 1;
    } while (got == 10);
    snprintf(sql, sizeof(sql), "SELECT row FROM exits WHERE %s ORDER BY row %s", where,
             descending ? "DESC" : "ASC");
    assert_int_equal(sqlite3_prepare_v2(part->database, sql, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        int64_t row = sqlite3_column_int64(statement, 0);

        while (at < found && rows[at] != row)
            at++;
        assert_true(at < found);
        wanted++;
    }
    sqlite3_finalize(statement);
    assert_true(found <= wanted + 5);
}

static void test_candidates(void **state)
{
    static const char *const pids[] = {"<0.7.0>", "<0.8.0>"}, *const names[] = {"name3"},
                             *const roots[] = {"0123456789abcdef-4"},
                             *const ids[] = {"0123456789abcdef-99"}, *const none[] = {"<0.777.0>"};
    struct store_condition pid = {RECORD_COLUMN_pid, pids, 2},
                           name = {RECORD_COLUMN_name, names, 1},
                           root = {RECORD_COLUMN_origin_id, roots, 1},
                           id = {STORE_COLUMN_ID, ids, 1}, no = {RECORD_COLUMN_pid, none, 1},
                           class = {RECORD_COLUMN_reason_class, names, 1};
    struct store_condition both[] = {pid, name};
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;
    struct store_part part;

    srand(20261125);
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    for (uint64_t seq = 1; seq <= 2500; seq++)
        add_random(fixture, seq);
    /* As they are appended, and as they are when the daemon starts. */
    for (int turn = 0; turn < 2; turn++) {
        reader = store_reader_open(fixture->store, why);
        assert_int_equal(store_reader_part(reader, 1, false, &part, why), 1);
        assert_false(part.has_indexes);
        for (int descending = 0; descending < 2; descending++) {
            compare(reader, &part, "pid IN ('<0.7.0>', '<0.8.0>')", &pid, 1, descending);
            compare(reader, &part, "name = 'name3'", &name, 1, descending);
            compare(reader, &part, "pid IN ('<0.7.0>', '<0.8.0>') AND name = 'name3'", both, 2,
                    descending);
            compare(reader, &part, "origin_id = '0123456789abcdef-4'", &root, 1, descending);
            compare(reader, &part, "seq = 99", &id, 1, descending);
            compare(reader, &part, "0", &no, 1, descending);
        }
        assert_int_equal(
            store_reader_candidates(reader, &class, 1, 1, 2500, false, (int64_t[1]){0}, 1), -1);
        store_reader_close(reader);
        reopen(fixture);
    }
}

/* The rows that a span of time leaves hold all that are in it. */
static void check_times(struct store_reader *reader, const struct store_part *part, int64_t since,
                        int64_t until)
{
    int64_t first = part->first, last = part->last, outside;
    char why[STORE_WHY_SIZE], sql[256];
    sqlite3_stmt *statement;

    assert_int_equal(store_reader_times(reader, since, until, &first, &last, why), 0);
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM exits WHERE time_ns BETWEEN %lld AND %lld AND row NOT BETWEEN"
             " %lld AND %lld",
             (long long)since, (long long)until, (long long)first, (long long)last);
    assert_int_equal(sqlite3_prepare_v2(part->database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    outside = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(outside, 0);
    /* All but the clock's steps back is in order: much is left out. */
    if (since > 1220000)
        assert_true(first > last || first > 1000);
}

static void test_times(void **state)
{
    struct fixture *fixture = *state;
    char why[STORE_WHY_SIZE];
    struct store_reader *reader;
    struct store_part part;

    srand(20261126);
    limit(fixture, (struct store_settings){.segment_rows = 3000});
    apply(fixture, (struct change){.type = CHANGE_HELLO, .uid = 7});
    for (uint64_t seq = 1; seq <= 3000; seq++)
        add_random(fixture, seq);
    reader = store_reader_open(fixture->store, why);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(store_reader_part(reader, 1, false, &part, why), 1);
        assert_int_equal(part.has_indexes, turn == 1);
        check_times(reader, &part, 0, 1100000);
        check_times(reader, &part, 1230000, 1231000);
        check_times(reader, &part, 1000000, 1300000);
        check_times(reader, &part, 1250000, INT64_MAX);
        check_times(reader, &part, 1400000, 1500000);
        for (int i = 0; i < 200; i++) {
            int64_t since = 940000 + rand() % 360000;

            check_times(reader, &part, since, since + rand() % 5000);
        }
        if (turn > 0)
            break;
        /* It is closed, and gets its indexes. */
        add_random(fixture, 3001);
        while (numbers_of(fixture).unindexed > 0)
            sched_yield();
    }
    store_reader_close(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_mode_and_lock),
        TEST(test_not_ours),
        TEST(test_acknowledges_the_highest),
        TEST(test_uid),
        TEST(test_gaps),
        TEST(test_all_or_nothing),
        TEST(test_cursors),
        TEST(test_reader),
        TEST(test_deadline),
        TEST(test_every_field),
        TEST(test_rolls),
        TEST(test_expires_by_size),
        TEST(test_expires_by_age),
        TEST(test_dropped_under_a_reader),
        TEST(test_few_descriptors),
        TEST(test_damaged_segments),
        TEST(test_newer_version),
        TEST(test_takes_over_version_1),
        TEST(test_takes_over_when_interrupted),
        TEST(test_name_belongs_to_a_user),
        TEST(test_incarnations_are_bounded),
        TEST(test_a_crowd),
        TEST(test_claims_without_measure),
        TEST(test_takes_over_what_somebody_reads),
        TEST(test_many_in_one),
        TEST(test_log_is_short),
        TEST(test_candidates),
        TEST(test_times),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
