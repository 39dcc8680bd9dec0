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

static void test_conditions(void **state)
{
    static const struct {
        const char *request;
        const char *sql;
        const char *values;
    } cases[] = {
        {"{}", "", NULL},
        {"{\"where\":{}}", "", NULL},
        {"{\"where\":{\"node\":\"a@b\"}}", " AND node = ?", "[\"a@b\"]"},
        {"{\"where\":{\"node\":\"a@b\",\"severity\":\"error\"}}", " AND node = ? AND severity = ?",
         "[\"a@b\",\"error\"]"},
        {"{\"where\":{\"process.pid\":[\"<0.1.0>\",\"<0.2.0>\"]}}", " AND pid IN (?, ?)",
         "[\"<0.1.0>\",\"<0.2.0>\"]"},
        {"{\"where\":{\"process.name\":null}}", " AND name IS NULL", NULL},
        {"{\"where\":{\"process.trap_exit\":true}}",
         " AND json_extract((SELECT json FROM bodies WHERE bodies.row = exits.row),"
         " '$.process.trap_exit') = ?",
         "[true]"},
        {"{\"where\":{\"node.os_pid\":12}}",
         " AND json_extract((SELECT json FROM bodies WHERE bodies.row = exits.row),"
         " '$.node.os_pid') = ?",
         "[12]"},
        /* A value is a value, never SQL. */
        {"{\"where\":{\"node\":\"' OR 1=1 --\"}}", " AND node = ?", "[\"' OR 1=1 --\"]"},
        {"{\"since\":\"-1s\"}",
         " AND row >= (SELECT min(row) FROM exits WHERE time_ns >= ?) AND +time_ns >= ?",
         "[999999000000000,999999000000000]"},
        {"{\"until\":\"now\"}",
         " AND row <= (SELECT max(row) FROM exits WHERE time_ns <= ?) AND +time_ns <= ?",
         "[1000000000000000,1000000000000000]"},
    };
    struct reply_error error;
    struct filter filter;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *values;

        assert_int_equal(read_filter(cases[i].request, &filter, &error), 0);
        assert_int_equal(filter.sql.length, strlen(cases[i].sql));
        if (filter.sql.length > 0)
            assert_memory_equal(filter.sql.data, cases[i].sql, filter.sql.length);
        values = json_dumps(filter.values, JSON_COMPACT);
        if (cases[i].values == NULL)
            assert_null(values);
        else
            assert_string_equal(values, cases[i].values);
        free(values);
        filter_clear(&filter);
    }
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
        {"{\"since\":1}", "since"},
        {"{\"since\":null}", "since"},
        {"{\"since\":\"-1y\"}", "since"},
        {"{\"until\":\"tomorrow\"}", "until"},
    };
    struct reply_error error;
    struct filter filter;
    json_t *many, *request;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(read_filter(cases[i].request, &filter, &error), -1);
        assert_string_equal(error.code, "bad_request");
        assert_string_equal(error.field, cases[i].field);
        assert_true(error.message[0] != '\0');
        assert_null(filter.values);
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

static void check_out(struct reply *reply, const char *lines)
{
    assert_int_equal(reply->out.length, strlen(lines));
    assert_memory_equal(reply->out.data, lines, reply->out.length);
    reply_clear(reply);
}

static void test_reply(void **state)
{
    json_t *id = json_pack("[i, s]", 1, "x");
    struct reply_error error = {0};
    struct reply reply;

    (void)state;
    reply_init(&reply, id, false);
    reply_record(&reply, "{\"a\":1}", 7, NULL);
    reply_record(&reply, "{\"a\":2}", 7, "c1.a2");
    reply_object(&reply, json_pack("{si}", "b", 3));
    reply_object(&reply, json_object());
    reply_notice(&reply, json_pack("{sb}", "subscribed", 1));
    reply_closing(&reply, "next", json_string("c1.d1"));
    reply_done(&reply);
    check_out(&reply, "{\"id\":[1,\"x\"],\"exit\":{\"a\":1}}\n"
                      "{\"id\":[1,\"x\"],\"exit\":{\"a\":2},\"cursor\":\"c1.a2\"}\n"
                      "{\"id\":[1,\"x\"],\"b\":3}\n"
                      "{\"id\":[1,\"x\"]}\n"
                      "{\"id\":[1,\"x\"],\"subscribed\":true}\n"
                      "{\"id\":[1,\"x\"],\"done\":true,\"count\":4,\"next\":\"c1.d1\"}\n");

    /* Bare: records and what is counted, nothing around them; but an error is an error. */
    reply_init(&reply, id, true);
    reply_record(&reply, "{\"a\":1}", 7, "c1.a2");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_bad_conditions),
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_error_is_text),
    };

    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
