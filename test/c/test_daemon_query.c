/* What a request asks for, made into SQL; and the lines of an answer. No sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"
#include "groups.h"
#include "record.h"
#include "reply.h"

#define NOW (INT64_C(1000000) * 1000000000)

static int read_filter(const char *request, struct filter *filter, struct reply_error *error)
{
    json_t *object = json_loads(request, JSON_REJECT_DUPLICATES, NULL);
    int result;

    assert_non_null(object);
    memset(error, 0, sizeof(*error));
    result = filter_read(filter, object, NOW, error);
    json_decref(object);
    return result;
}

/* The lines of a small store, with the columns that are made of them. */
static const char *const lines[] = {
    "{\"schema\":\"coroner.exit/1\",\"id\":\"6a1f0c2be5d94c11-1\",\"severity\":\"error\","
    "\"message\":\"m 1\",\"node\":{\"name\":\"a@h\",\"otp\":\"25\",\"os_pid\":7},"
    "\"process\":{\"pid\":\"<0.1.0>\",\"name\":\"ump_one\",\"initial_call\":\"ump_a:init/1\","
    "\"ancestors\":[\"sup\",\"<0.9.0>\"],\"trap_exit\":true,\"age_us\":10},"
    "\"exit\":{\"source\":\"kill\",\"reason_class\":\"killed\",\"evidence_lost\":true},"
    "\"origin\":{\"id\":\"6a1f0c2be5d94c11-1\",\"by_line\":3},"
    "\"chain\":[{\"pid\":\"<0.1.0>\",\"id\":\"6a1f0c2be5d94c11-1\"}],\"chain_length\":1}",
    "{\"schema\":\"coroner.exit/1\",\"id\":\"6a1f0c2be5d94c11-2\",\"severity\":\"error\","
    "\"message\":\"m 2\",\"node\":{\"name\":\"a@h\",\"otp\":\"25\",\"os_pid\":7},"
    "\"process\":{\"pid\":\"<0.2.0>\",\"name\":null,\"initial_call\":\"ump_b:init/1\","
    "\"ancestors\":[],\"trap_exit\":false,\"age_us\":\"9007199254740993\"},"
    "\"exit\":{\"source\":\"link\",\"reason_class\":\"killed\",\"via\":\"<0.1.0>\","
    "\"evidence_lost\":3},\"origin\":{\"id\":\"6a1f0c2be5d94c11-1\",\"timeout_ms\":\"infinity\"},"
    "\"chain\":[{\"pid\":\"<0.1.0>\",\"id\":\"6a1f0c2be5d94c11-1\"},"
    "{\"pid\":\"<0.2.0>\",\"id\":\"6a1f0c2be5d94c11-2\"}],\"chain_length\":2}",
    "{\"schema\":\"coroner.exit/1\",\"id\":\"00000000000000aa-1\",\"severity\":\"info\","
    "\"message\":\"\",\"node\":{\"name\":\"b@h\",\"otp\":\"27\",\"os_pid\":8},"
    "\"process\":{\"pid\":\"<0.1.0>\",\"name\":\"zum\",\"initial_call\":\"z:init/1\","
    "\"age_us\":4000},\"exit\":{\"source\":\"purge\",\"reason_class\":\"killed\"},"
    "\"origin\":{\"id\":\"00000000000000aa-1\",\"timeout_ms\":5000}}",
    "{\"schema\":\"coroner.gap/1\",\"id\":\"00000000000000aa-2\",\"severity\":\"warning\","
    "\"message\":\"gap\",\"node\":{\"name\":\"b@h\"},"
    "\"gap\":{\"from\":\"1970-01-01T00:00:10.000000000Z\",\"why\":\"paused\"}}",
};

#define LINE_COUNT (sizeof(lines) / sizeof(lines[0]))

static sqlite3 *small_store(void)
{
    static const char make[] =
        "CREATE TABLE bodies(row INTEGER PRIMARY KEY, json TEXT NOT NULL);"
        "CREATE TABLE exits(row INTEGER PRIMARY KEY, incarnation TEXT NOT NULL,"
        " seq INTEGER NOT NULL, time_ns INTEGER NOT NULL, node TEXT NOT NULL,"
#define X(column, section, key) " " #column " TEXT,"
        RECORD_COLUMNS(X)
#undef X
            " initial_module TEXT, UNIQUE(incarnation, seq));"
            "CREATE INDEX exits_by_pid ON exits(pid);"
            "CREATE INDEX exits_by_source ON exits(source);";
    static const char fill[] =
        "INSERT INTO exits SELECT row, substr(id, 1, 16), substr(id, 18), row * 1000000000, node,"
#define X(column, section, key)                                                                    \
    " json_extract(json, '$." section "' || CASE '" section "' WHEN '' THEN '' ELSE '.' END ||"    \
    " '" key "'),"
        RECORD_COLUMNS(X)
#undef X
            " substr(call, 1, instr(call, ':') - 1) FROM (SELECT row, json,"
            " json_extract(json, '$.id') AS id, json_extract(json, '$.node.name') AS node,"
            " json_extract(json, '$.process.initial_call') AS call FROM bodies)";
    sqlite3_stmt *statement;
    sqlite3 *database;

    assert_int_equal(sqlite3_open(":memory:", &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, make, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(database, "INSERT INTO bodies VALUES(?, ?)", -1, &statement, NULL),
        SQLITE_OK);
    for (size_t i = 0; i < LINE_COUNT; i++) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)i + 1);
        sqlite3_bind_text(statement, 2, lines[i], -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
    if (sqlite3_exec(database, fill, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(database));
    return database;
}

/* The rows that fit, one letter each. */
static void rows_of(sqlite3 *database, const struct filter *filter, struct filter_drive drive,
                    char rows[LINE_COUNT + 1])
{
    struct buffer sql = {0};
    sqlite3_stmt *statement;
    size_t found = 0;

    buffer_text(&sql, "SELECT row FROM exits WHERE 1");
    filter_sql(filter, drive, &sql);
    buffer_text(&sql, " ORDER BY row");
    if (sqlite3_prepare_v2(database, sql.data, (int)sql.length, &statement, NULL) != SQLITE_OK)
        fail_msg("%.*s: %s", (int)sql.length, sql.data, sqlite3_errmsg(database));
    assert_int_equal(filter_bind(filter, drive, statement, 1),
                     sqlite3_bind_parameter_count(statement) + 1);
    while (sqlite3_step(statement) == SQLITE_ROW && found < LINE_COUNT)
        rows[found++] = (char)('0' + sqlite3_column_int(statement, 0));
    rows[found] = '\0';
    sqlite3_finalize(statement);
    buffer_clear(&sql);
}

static void test_conditions(void **state)
{
    static const struct {
        const char *request;
        const char *rows;
    } cases[] = {
        {"{}", "1234"},
        {"{\"where\":{}}", "1234"},
        {"{\"where\":{\"node\":\"a@h\"}}", "12"},
        {"{\"where\":{\"node\":\"a@h\",\"node.name\":\"b@h\"}}", ""},
        {"{\"where\":{\"process.pid\":[\"<0.1.0>\",\"<0.2.0>\"]}}", "123"},
        {"{\"where\":{\"process.pid\":[\"<0.1.0>\",\"<0.1.0>\"]}}", "13"},
        {"{\"where\":{\"process.name\":null}}", "24"},
        {"{\"where\":{\"process.name\":{\"not\":null}}}", "13"},
        {"{\"where\":{\"process.name\":{\"not\":\"zum\"}}}", "124"},
        {"{\"where\":{\"process.name\":{\"not\":[\"zum\",\"ump_one\"]}}}", "24"},
        {"{\"where\":{\"process.initial_call\":{\"prefix\":\"ump_\"}}}", "12"},
        {"{\"where\":{\"process.initial_call\":{\"prefix\":\"ump_\",\"not\":\"ump_a:init/1\"}}}",
         "2"},
        {"{\"where\":{\"process.initial_module\":\"ump_b\"}}", "2"},
        {"{\"where\":{\"process.trap_exit\":true}}", "1"},
        {"{\"where\":{\"process.trap_exit\":null}}", "34"},
        {"{\"where\":{\"process.age_us\":{\"ge\":10,\"lt\":4000}}}", "1"},
        {"{\"where\":{\"process.age_us\":{\"gt\":10,\"le\":4000}}}", "3"},
        {"{\"where\":{\"process.age_us\":{\"ge\":4000}}}", "23"},
        /* Large numbers are strings, and numbers all the same. */
        {"{\"where\":{\"process.age_us\":\"9007199254740993\"}}", "2"},
        {"{\"where\":{\"process.age_us\":{\"gt\":\"9007199254740992\"}}}", "2"},
        {"{\"where\":{\"process.age_us\":{\"gt\":\"9007199254740993\"}}}", ""},
        {"{\"where\":{\"process.age_us\":10}}", "1"},
        {"{\"where\":{\"process.age_us\":[\"x\",true,10]}}", "1"},
        {"{\"where\":{\"process.ancestors\":\"sup\"}}", "1"},
        {"{\"where\":{\"process.ancestors\":{\"prefix\":\"<0.\"}}}", "1"},
        {"{\"where\":{\"process.ancestors\":{\"not\":\"sup\"}}}", "234"},
        {"{\"where\":{\"process.ancestors\":null}}", "234"},
        {"{\"where\":{\"chain.pid\":\"<0.1.0>\"}}", "12"},
        {"{\"where\":{\"chain.id\":[\"6a1f0c2be5d94c11-2\"]}}", "2"},
        {"{\"where\":{\"chain_length\":{\"gt\":1}}}", "2"},
        {"{\"where\":{\"exit.evidence_lost\":[true,3]}}", "12"},
        {"{\"where\":{\"origin.timeout_ms\":\"infinity\"}}", "2"},
        {"{\"where\":{\"origin.timeout_ms\":{\"ge\":5000}}}", "23"},
        {"{\"where\":{\"origin.id\":\"6a1f0c2be5d94c11-1\",\"exit.source\":\"link\"}}", "2"},
        {"{\"where\":{\"id\":\"6a1f0c2be5d94c11-2\"}}", "2"},
        {"{\"where\":{\"id\":[\"00000000000000aa-2\",\"x\",\"6a1f0c2be5d94c11-1\",3]}}", "14"},
        {"{\"where\":{\"id\":{\"prefix\":\"6a1f0c2be5d94c11-\"}}}", "12"},
        {"{\"where\":{\"id\":\"6a1f0c2be5d94c11-2x\"}}", ""},
        {"{\"where\":{\"gap.from\":{\"ge\":\"1970-01-01T00:00:10Z\"}}}", "4"},
        {"{\"where\":{\"gap.from\":\"1970-01-01T01:00:10+01:00\"}}", "4"},
        {"{\"where\":{\"time\":{\"ge\":\"1970-01-01T00:00:03Z\"}}}", "34"},
        {"{\"where\":{\"time\":\"1970-01-01T00:00:02Z\"}}", "2"},
        {"{\"where\":{\"schema\":\"coroner.gap/1\"}}", "4"},
        {"{\"where\":{\"message\":\"\"}}", "3"},
        {"{\"since\":\"1970-01-01T00:00:02Z\",\"until\":\"1970-01-01T00:00:03Z\"}", "23"},
        {"{\"since\":\"-1s\"}", ""},
        {"{\"until\":\"now\"}", "1234"},
        /* A value is a value, never SQL, and never a pattern. */
        {"{\"where\":{\"node\":\"' OR 1=1 --\"}}", ""},
        {"{\"where\":{\"node\":{\"prefix\":\"%\"}}}", ""},
        {"{\"where\":{\"node\":{\"prefix\":\"\\uffff\"}}}", ""},
    };
    sqlite3 *database = small_store();
    char plain[LINE_COUNT + 1], driven[LINE_COUNT + 1];
    struct reply_error error;
    struct filter filter;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (read_filter(cases[i].request, &filter, &error) != 0)
            fail_msg("%s: %s", cases[i].request, error.message);
        rows_of(database, &filter, (struct filter_drive){NULL, FILTER_ALL_VALUES}, plain);
        if (strcmp(plain, cases[i].rows) != 0)
            fail_msg("%s: %s", cases[i].request, plain);
        /* Whichever index is used, it is the same. */
        for (size_t j = 0; j < filter.condition_count; j++) {
            rows_of(database, &filter,
                    (struct filter_drive){filter.conditions[j].field, FILTER_ALL_VALUES}, driven);
            assert_string_equal(driven, plain);
        }
        filter_clear(&filter);
    }
    sqlite3_close(database);
}

/* Every field takes part in every kind of condition that its type has, and makes SQL. */
static void test_every_field(void **state)
{
    static const char *const kinds[] = {
        "{\"where\":{\"%s\":null}}",
        "{\"where\":{\"%s\":[\"%s\"]}}",
        "{\"where\":{\"%s\":{\"not\":\"%s\"}}}",
        "{\"where\":{\"%s\":{\"prefix\":\"x\"}}}",
        "{\"where\":{\"%s\":{\"ge\":\"2026-01-01T00:00:00Z\",\"lt\":\"2027-01-01T00:00:00Z\"}}}",
        "{\"where\":{\"%s\":{\"gt\":1,\"le\":2}}}",
    };
    sqlite3 *database = small_store();
    char request[256], rows[LINE_COUNT + 1];
    struct reply_error error;
    struct filter filter;

    (void)state;
    for (int lists = 0; lists < 2; lists++) {
        json_t *names = filter_fields(lists), *name;
        size_t index;

        json_array_foreach(names, index, name)
        {
            const struct filter_field *field = filter_field(json_string_value(name));
            const char *value = field->values != NULL ? field->values[0] : "2026-01-01T00:00:00Z";
            int ranges = 0;

            for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                snprintf(request, sizeof(request), kinds[i], json_string_value(name), value);
                if (read_filter(request, &filter, &error) != 0) {
                    /* Null and equality all have. */
                    assert_true(i > 2);
                    assert_string_equal(error.field, json_string_value(name));
                    continue;
                }
                ranges += i > 3;
                rows_of(database, &filter, (struct filter_drive){NULL, FILTER_ALL_VALUES}, rows);
                filter_clear(&filter);
            }
            /* A range of texts or one of numbers. */
            if (field->type == FILTER_TRUTH)
                assert_int_equal(ranges, 0);
            else
                assert_true(ranges > 0);
        }
        json_decref(names);
    }
    sqlite3_close(database);
}

static void test_bad_conditions(void **state)
{
    static const struct {
        const char *request;
        const char *field;
    } cases[] = {
        {"{\"where\":[]}", "where"},
        {"{\"where\":null}", "where"},
        {"{\"where\":\"node\"}", "where"},
        {"{\"where\":{\"nod\":\"x\"}}", "nod"},
        {"{\"where\":{\"\":\"x\"}}", ""},
        {"{\"where\":{\"node; DROP TABLE exits\":\"x\"}}", "node; DROP TABLE exits"},
        {"{\"where\":{\"node\":[]}}", "node"},
        {"{\"where\":{\"node\":[[]]}}", "node"},
        {"{\"where\":{\"node\":[null]}}", "node"},
        {"{\"where\":{\"node\":{}}}", "node"},
        {"{\"where\":{\"node\":1.5}}", "node"},
        {"{\"where\":{\"node\":{\"like\":\"x\"}}}", "node"},
        {"{\"where\":{\"node\":{\"prefix\":\"\"}}}", "node"},
        {"{\"where\":{\"node\":{\"prefix\":5}}}", "node"},
        {"{\"where\":{\"node\":{\"prefix\":null}}}", "node"},
        {"{\"where\":{\"node\":{\"ge\":5}}}", "node"},
        {"{\"where\":{\"node\":{\"ge\":null}}}", "node"},
        {"{\"where\":{\"node\":{\"ge\":[\"a\"]}}}", "node"},
        {"{\"where\":{\"node\":{\"not\":{}}}}", "node"},
        {"{\"where\":{\"node\":{\"not\":[]}}}", "node"},
        {"{\"where\":{\"process.age_us\":{\"prefix\":\"1\"}}}", "process.age_us"},
        {"{\"where\":{\"process.age_us\":{\"ge\":\"x\"}}}", "process.age_us"},
        {"{\"where\":{\"process.age_us\":{\"ge\":1.5}}}", "process.age_us"},
        {"{\"where\":{\"process.age_us\":{\"ge\":\"99999999999999999999\"}}}", "process.age_us"},
        {"{\"where\":{\"process.trap_exit\":{\"ge\":true}}}", "process.trap_exit"},
        {"{\"where\":{\"time\":\"yesterday\"}}", "time"},
        {"{\"where\":{\"time\":5}}", "time"},
        {"{\"where\":{\"time\":{\"prefix\":\"2026-\"}}}", "time"},
        {"{\"where\":{\"severity\":\"fatal\"}}", "severity"},
        {"{\"where\":{\"severity\":\"\"}}", "severity"},
        {"{\"where\":{\"exit.source\":[\"kill\",\"kil\"]}}", "exit.source"},
        {"{\"where\":{\"exit.source\":{\"not\":\"kil\"}}}", "exit.source"},
        {"{\"where\":{\"origin.source\":\"Kill\"}}", "origin.source"},
        {"{\"where\":{\"chain.source\":\"links\"}}", "chain.source"},
        {"{\"where\":{\"exit.candidates.source\":\"x\"}}", "exit.candidates.source"},
        {"{\"where\":{\"exit.confidence\":\"sure\"}}", "exit.confidence"},
        {"{\"where\":{\"origin.confidence\":\"sure\"}}", "origin.confidence"},
        {"{\"where\":{\"exit.reason_class\":\"badarg\"}}", "exit.reason_class"},
        {"{\"since\":1}", "since"},
        {"{\"since\":null}", "since"},
        {"{\"since\":\"-1y\"}", "since"},
        {"{\"until\":\"tomorrow\"}", "until"},
        {"{\"since\":\"now\",\"until\":\"-1s\"}", "until"},
    };
    struct reply_error error;
    struct filter filter;
    json_t *many, *request;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (read_filter(cases[i].request, &filter, &error) != -1)
            fail_msg("%s is let through", cases[i].request);
        assert_string_equal(error.code, "bad_request");
        assert_string_equal(error.field, cases[i].field);
        assert_true(error.message[0] != '\0');
        assert_null(filter.values);
        assert_int_equal(filter.condition_count, 0);
    }

    many = json_array();
    for (int i = 0; i <= FILTER_VALUES_MAX; i++)
        json_array_append_new(many, json_integer(i));
    request = json_pack("{s{so}}", "where", "node", many);
    assert_int_equal(filter_read(&filter, request, NOW, &error), -1);
    assert_non_null(strstr(error.message, "256"));
    json_array_remove(many, 0);
    assert_int_equal(filter_read(&filter, request, NOW, &error), 0);
    filter_clear(&filter);
    json_decref(request);
}

/* Of a closed list all values are told; by a prefix what only a newer node says is found. */
static void test_closed_values(void **state)
{
    struct reply_error error;
    struct filter filter;
    json_t *closed = filter_closed(), *values, *value;
    const char *name;
    size_t index;

    (void)state;
    assert_int_equal(json_object_size(closed), 8);
    json_object_foreach(closed, name, values)
    {
        json_t *request = json_pack("{s{ss}}", "where", name, "no_such");

        assert_true(json_array_size(values) > 2);
        assert_int_equal(filter_read(&filter, request, NOW, &error), -1);
        assert_non_null(strstr(error.message, name));
        assert_non_null(strstr(error.message, "'no_such'"));
        assert_non_null(strstr(error.message, "by a prefix")); /* nothing was cut off */
        json_decref(request);
        json_array_foreach(values, index, value)
        {
            assert_non_null(strstr(error.message, json_string_value(value)));
            request = json_pack("{s{sO}}", "where", name, value);
            assert_int_equal(filter_read(&filter, request, NOW, &error), 0);
            filter_clear(&filter);
            json_decref(request);
        }
        request = json_pack("{s{s{ss}}}", "where", name, "prefix", "no_such");
        assert_int_equal(filter_read(&filter, request, NOW, &error), 0);
        filter_clear(&filter);
        json_decref(request);
    }
    json_decref(closed);
}

/* As many conditions as there may be, and one more. */
static void test_many_conditions(void **state)
{
    json_t *names = filter_fields(false), *where = json_object(), *request;
    struct reply_error error;
    struct filter filter;
    size_t conditions = 0;

    (void)state;
    assert_true(json_array_size(names) * 2 > FILTER_CONDITIONS_MAX);
    for (size_t i = 0; i < json_array_size(names) && conditions < FILTER_CONDITIONS_MAX; i++) {
        const char *name = json_string_value(json_array_get(names, i));

        if (filter_field(name)->type != FILTER_TEXT)
            continue;
        json_object_set_new(where, name, json_pack("{ss ss}", "prefix", "x", "lt", "y"));
        conditions += 2;
    }
    assert_int_equal(conditions, FILTER_CONDITIONS_MAX);
    request = json_pack("{so}", "where", where);
    assert_int_equal(filter_read(&filter, request, NOW, &error), 0);
    filter_clear(&filter);
    json_object_set_new(where, "process.trap_exit", json_true());
    assert_int_equal(filter_read(&filter, request, NOW, &error), -1);
    assert_non_null(strstr(error.message, "64 conditions"));
    json_decref(request);
    json_decref(names);
}

static void test_groups(void **state)
{
    struct groups *groups = groups_new(1000, 100000);
    const struct group *list;
    size_t count;
    char key[32];

    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "%d", i % 1500);
        groups_add(groups, key, strlen(key), i % 1500 == 7 ? 5 : 1);
    }
    /* The first 1,000 have a group, twice each; the rest is counted together. */
    assert_int_equal(groups_rest(groups), 1000);
    assert_int_equal(groups_total(groups), 3008);
    list = groups_sorted(groups, groups_most_first, &count);
    assert_int_equal(count, 1000);
    assert_string_equal(list[0].key, "7");
    assert_int_equal(list[0].count, 10);
    assert_string_equal(list[1].key, "0");
    assert_int_equal(list[1].count, 2);
    assert_string_equal(list[2].key, "1");
    assert_string_equal(list[3].key, "10");
    groups_free(groups);

    groups = groups_new(1000, 8);
    groups_add(groups, "12345678", 8, 1);
    groups_add(groups, "x", 1, 1);
    groups_add(groups, "", 0, 1);
    assert_int_equal(groups_rest(groups), 1);
    groups_free(groups);
    groups_free(NULL);
}

static void check_out(struct reply *reply, const char *wanted)
{
    assert_int_equal(reply->out.length, strlen(wanted));
    assert_memory_equal(reply->out.data, wanted, reply->out.length);
    reply_clear(reply);
}

static void test_reply(void **state)
{
    json_t *id = json_pack("[i, s]", 1, "x");
    struct reply_error error = {0};
    struct reply reply;

    (void)state;
    reply_init(&reply, id, false);
    reply_record(&reply, "{\"a\":1}", 7, NULL, NULL);
    reply_record(&reply, "{\"a\":2}", 7, "c1.a2", NULL);
    reply_record(&reply, "{\"a\":3}", 7, NULL, json_pack("{si}", "count", 9));
    reply_object(&reply, json_pack("{si}", "b", 3));
    reply_object(&reply, json_object());
    reply_notice(&reply, json_pack("{sb}", "subscribed", 1));
    reply_closing(&reply, "next", json_string("c1.d1"));
    reply_done(&reply);
    check_out(&reply, "{\"id\":[1,\"x\"],\"exit\":{\"a\":1}}\n"
                      "{\"id\":[1,\"x\"],\"exit\":{\"a\":2},\"cursor\":\"c1.a2\"}\n"
                      "{\"id\":[1,\"x\"],\"exit\":{\"a\":3},\"cascade\":{\"count\":9}}\n"
                      "{\"id\":[1,\"x\"],\"b\":3}\n"
                      "{\"id\":[1,\"x\"]}\n"
                      "{\"id\":[1,\"x\"],\"subscribed\":true}\n"
                      "{\"id\":[1,\"x\"],\"done\":true,\"count\":5,\"next\":\"c1.d1\"}\n");

    /* Bare: records and what is counted, nothing around them; but an error is an error. */
    reply_init(&reply, id, true);
    reply_record(&reply, "{\"a\":1}", 7, "c1.a2", NULL);
    reply_object(&reply, json_pack("{si}", "b", 3));
    reply_notice(&reply, json_pack("{sb}", "subscribed", 1));
    reply_done(&reply);
    reply_error_set(&error, "timeout", NULL, "too %s", "long");
    reply_failed(&reply, &error);
    check_out(&reply, "{\"a\":1}\n{\"b\":3}\n"
                      "{\"id\":[1,\"x\"],\"error\":{\"code\":\"timeout\",\"message\":\"too "
                      "long\",\"field\":null}}\n");
    json_decref(id);

    reply_init(&reply, NULL, false);
    reply_done(&reply);
    check_out(&reply, "{\"id\":null,\"done\":true,\"count\":0}\n");
}

/* A sentence or a field that is cut in the middle of a character must not spoil the line. */
static void test_error_is_text(void **state)
{
    struct reply_error error = {0};
    struct reply reply;
    char field[200] = "";
    json_t *line;

    (void)state;
    for (int i = 0; i < 60; i++)
        strcat(field, "\xe2\x82\xac");
    for (int shift = 0; shift < 3; shift++) {
        reply_error_set(&error, "bad_request", field + shift, "%s%s", field + shift, field);
        reply_init(&reply, NULL, false);
        reply_failed(&reply, &error);
        line = json_loadb(reply.out.data, reply.out.length, 0, NULL);
        assert_non_null(line);
        json_decref(line);
        reply_clear(&reply);
    }
}

static void test_integers(void **state)
{
    static const struct {
        int64_t number;
        const char *text;
    } cases[] = {{0, "0"},
                 {(INT64_C(1) << 53) - 1, "9007199254740991"},
                 {INT64_C(1) << 53, "\"9007199254740992\""},
                 {INT64_MAX, "\"9223372036854775807\""},
                 {-(INT64_C(1) << 53), "\"-9007199254740992\""}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *value = reply_integer(cases[i].number);
        char *text = json_dumps(value, JSON_ENCODE_ANY);

        assert_string_equal(text, cases[i].text);
        free(text);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),      cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_bad_conditions),  cmocka_unit_test(test_closed_values),
        cmocka_unit_test(test_many_conditions), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_integers),        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_error_is_text),
    };

    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
