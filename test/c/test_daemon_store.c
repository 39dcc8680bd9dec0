/* The store: what it takes, what it refuses, and how it counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void test_all_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct hello stranger = fixture->hello;
    char why[STORE_WHY_SIZE] = "";
    struct change second = {.type = CHANGE_RECORD, .hello = &stranger, .record = make_record(1)};
    struct change first = {
        .type = CHANGE_RECORD, .hello = &fixture->hello, .record = make_record(1), .next = &second};

    apply(fixture, (struct change){.type = CHANGE_HELLO});
    /* An incarnation that never said hello cannot happen; if it does, nothing of the batch is kept.
     */
    stranger.incarnation[0] = 'f';
    assert_int_equal(store_apply(fixture->store, &first, 2, &fixture->head, why), -1);
    assert_non_null(strstr(why, fixture->path));
    check_counts(fixture, 0, 0, 0, 0);
    assert_int_equal(store_apply(fixture->store, &first, 1, &fixture->head, why), 0);
    check_counts(fixture, 1, 1, 1, 0);
    free(first.record);
    free(second.record);
}

static void test_cursors(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(store_cursor(fixture->store, "file:/x"), 0);
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "file:/x", .cursor = 12});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "stdout", .cursor = 13});
    apply(fixture, (struct change){.type = CHANGE_CURSOR, .sink = "file:/x", .cursor = 14});
    assert_int_equal(store_cursor(fixture->store, "file:/x"), 14);
    assert_int_equal(store_cursor(fixture->store, "stdout"), 13);
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
    assert_int_equal(store_reader_find(reader, "0123456789abcdef", 30), 3);
    assert_int_equal(store_reader_find(reader, "0123456789abcdef", 31), 0);
    assert_int_equal(store_reader_find(reader, "fedcba9876543210", 30), 0);
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
    json_t *fields = filter_fields(), *field;
    size_t index;

    assert_non_null(reader);
    assert_true(json_array_size(fields) > 30);
    json_array_foreach(fields, index, field)
    {
        json_t *request = json_pack("{s{sO} ss ss}", "where", json_string_value(field), field,
                                    "since", "-1h", "until", "now");
        struct reply_error error = {0};
        struct buffer sql = {0};
        struct filter filter;
        sqlite3_stmt *statement;

        assert_int_equal(filter_read(&filter, request, 1, &error), 0);
        buffer_text(&sql, "SELECT row FROM exits WHERE row > ?1");
        buffer_append(&sql, filter.sql.data, filter.sql.length);
        assert_int_equal(sqlite3_prepare_v2(store_reader_database(reader), sql.data,
                                            (int)sql.length, &statement, NULL),
                         SQLITE_OK);
        assert_int_equal(filter_bind(&filter, statement, 2), 7);
        assert_int_equal(sqlite3_bind_parameter_count(statement), 6);
        assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
        sqlite3_finalize(statement);
        buffer_clear(&sql);
        filter_clear(&filter);
        json_decref(request);
    }
    json_decref(fields);
    store_reader_close(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_mode_and_lock), TEST(test_not_ours), TEST(test_acknowledges_the_highest),
        TEST(test_uid),           TEST(test_gaps),     TEST(test_all_or_nothing),
        TEST(test_cursors),       TEST(test_reader),   TEST(test_deadline),
        TEST(test_every_field),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
