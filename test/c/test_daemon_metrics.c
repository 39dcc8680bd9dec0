/* Metrics, health, cascades and addresses: everything of HTTP that needs no socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cascades.h"
#include "health.h"
#include "http_listen.h"
#include "ingest_numbers.h"
#include "metrics.h"

/* What one teller tells, as text; freed by the caller. */
static char *page_of(void (*tell)(void *cookie, struct metrics_page *page), void *cookie)
{
    struct metrics *metrics = metrics_new();
    struct buffer out = {0};

    metrics_collect(metrics, tell, cookie);
    metrics_write(metrics, &out);
    buffer_append(&out, "", 1);
    metrics_free(metrics);
    return out.data;
}

static void tell_texts(void *cookie, struct metrics_page *page)
{
    (void)cookie;
    metrics_family(page, "a_total", METRICS_COUNTER, "A \"help\" \\ of\ntwo lines.");
    metrics_count(page, UINT64_MAX, NULL);
    metrics_count(page, 1, "name", "q\"b\\n\nu\xff", NULL);
    metrics_count(page, 2, "name", "", "other", "{},=", NULL);
    metrics_family(page, "b", METRICS_GAUGE, "B.");
    metrics_number(page, 0.25, NULL);
    metrics_number(page, 1e18, "x", "1", NULL);
    metrics_number(page, NAN, "x", "2", NULL);
    metrics_number(page, -INFINITY, "x", "3", NULL);
}

static void test_texts(void **state)
{
    char *page = page_of(tell_texts, NULL);

    (void)state;
    assert_string_equal(page, "# HELP a_total A \"help\" \\\\ of\\ntwo lines.\n"
                              "# TYPE a_total counter\n"
                              "a_total 18446744073709551615\n"
                              "a_total{name=\"q\\\"b\\\\n\\nu\xef\xbf\xbd\"} 1\n"
                              "a_total{name=\"\",other=\"{},=\"} 2\n"
                              "# HELP b B.\n"
                              "# TYPE b gauge\n"
                              "b 0.25\n"
                              "b{x=\"1\"} 1e+18\n"
                              "b{x=\"2\"} NaN\n"
                              "b{x=\"3\"} -Inf\n");
    free(page);
}

static void tell_histogram(void *cookie, struct metrics_page *page)
{
    metrics_family(page, "h_seconds", METRICS_HISTOGRAM, "H.");
    metrics_histogram(page, cookie, NULL);
    metrics_histogram(page, cookie, "op", "x", NULL);
}

static void test_histogram(void **state)
{
    static const double bounds[] = {0.5, 1, 2};
    struct histogram histogram;
    char *page;

    (void)state;
    histogram_init(&histogram, bounds, 3);
    histogram_observe(&histogram, 0);
    histogram_observe(&histogram, 0.5); /* a bound belongs to its bucket */
    histogram_observe(&histogram, 0.75);
    histogram_observe(&histogram, 2);
    histogram_observe(&histogram, 2.5);
    histogram_observe(&histogram, -7);
    histogram_observe(&histogram, NAN);
    page = page_of(tell_histogram, &histogram);
    assert_string_equal(page, "# HELP h_seconds H.\n"
                              "# TYPE h_seconds histogram\n"
                              "h_seconds_bucket{le=\"0.5\"} 4\n"
                              "h_seconds_bucket{le=\"1\"} 5\n"
                              "h_seconds_bucket{le=\"2\"} 6\n"
                              "h_seconds_bucket{le=\"+Inf\"} 7\n"
                              "h_seconds_count 7\n"
                              "h_seconds_sum 5.75\n"
                              "h_seconds_bucket{op=\"x\",le=\"0.5\"} 4\n"
                              "h_seconds_bucket{op=\"x\",le=\"1\"} 5\n"
                              "h_seconds_bucket{op=\"x\",le=\"2\"} 6\n"
                              "h_seconds_bucket{op=\"x\",le=\"+Inf\"} 7\n"
                              "h_seconds_count{op=\"x\"} 7\n"
                              "h_seconds_sum{op=\"x\"} 5.75\n");
    free(page);
}

static void test_label_set(void **state)
{
    struct label_set *set = label_set_new(2);

    (void)state;
    assert_int_equal(label_set_index(set, "other"), 2); /* nobody's own */
    assert_true(label_set_overflowed(set));
    label_set_free(set);
    set = label_set_new(2);
    assert_int_equal(label_set_index(set, "a"), 0);
    assert_int_equal(label_set_index(set, "b"), 1);
    assert_false(label_set_overflowed(set));
    assert_int_equal(label_set_index(set, "c"), 2);
    assert_int_equal(label_set_index(set, "d"), 2);
    assert_int_equal(label_set_index(set, "b"), 1);
    assert_true(label_set_overflowed(set));
    assert_int_equal(label_set_count(set), 2);
    assert_string_equal(label_set_name(set, 0), "a");
    assert_string_equal(label_set_name(set, 2), "other");
    label_set_free(set);
    label_set_free(NULL);
}

static void add(struct cascades *cascades, const char *incarnation, const char *pid,
                const char *origin)
{
    struct record record = {0};

    record.column[RECORD_COLUMN_pid] = pid;
    record.column[RECORD_COLUMN_origin_pid] = origin;
    cascades_add(cascades, incarnation, &record);
}

static void test_cascades(void **state)
{
    struct cascades *cascades = cascades_new();
    struct cascade_numbers numbers;

    (void)state;
    add(cascades, "0123456789abcdef", "<0.1.0>", "<0.1.0>"); /* alone */
    add(cascades, "0123456789abcdef", "<0.1.0>", NULL);
    add(cascades, "0123456789abcdef", NULL, "<0.1.0>");
    assert_int_equal(cascades_numbers(cascades).cascades, 0);
    add(cascades, "0123456789abcdef", "<0.2.0>", "<0.1.0>");
    add(cascades, "0123456789abcdef", "<0.3.0>", "<0.1.0>");
    add(cascades, "0123456789abcdef", "<0.5.0>", "<0.4.0>");
    add(cascades, "fedcba9876543210", "<0.2.0>", "<0.1.0>"); /* another run's */
    numbers = cascades_numbers(cascades);
    assert_int_equal(numbers.cascades, 3);
    assert_int_equal(numbers.exits, 7);
    assert_int_equal(numbers.largest, 3);
    /* A large one is not forgotten while it goes on, whatever comes in between. */
    for (int i = 0; i < 20000; i++) {
        char pid[32];

        snprintf(pid, sizeof(pid), "<0.%d.0>", i + 10);
        add(cascades, "0123456789abcdef", "<0.2.0>", pid);
        add(cascades, "0123456789abcdef", pid, "<0.1.0>");
    }
    numbers = cascades_numbers(cascades);
    assert_int_equal(numbers.largest, 20003);
    assert_int_equal(numbers.exits, 7 + 20000 * 2 + 20000);
    cascades_free(cascades);
}

static void look_at_nothing(void *cookie, struct health_report *report)
{
    (void)cookie;
    (void)report;
}

static void look_and_say(void *cookie, struct health_report *report)
{
    const enum health_level *level = cookie;

    if (*level != HEALTH_OK)
        health_say(report, *level, "code", "%s: %s", "why", "\xff");
}

static void test_health(void **state)
{
    enum health_level first = HEALTH_OK, second = HEALTH_OK, level;
    struct health *health = health_new();
    json_t *answer;
    char *text;

    (void)state;
    health_watch(health, look_and_say, &first);
    health_watch(health, look_and_say, &second);
    health_watch(health, look_at_nothing, NULL);
    answer = health_ask(health, &level);
    text = json_dumps(answer, JSON_COMPACT);
    assert_string_equal(text, "{\"status\":\"ok\"}");
    assert_int_equal(level, HEALTH_OK);
    free(text);
    json_decref(answer);

    first = HEALTH_FAILING;
    second = HEALTH_DEGRADED; /* said last, but not the worst */
    answer = health_ask(health, &level);
    text = json_dumps(answer, JSON_COMPACT);
    assert_string_equal(text, "{\"status\":\"failing\",\"reasons\":["
                              "{\"code\":\"code\",\"message\":\"why: \xef\xbf\xbd\"},"
                              "{\"code\":\"code\",\"message\":\"why: \xef\xbf\xbd\"}]}");
    assert_int_equal(level, HEALTH_FAILING);
    free(text);
    json_decref(answer);
    health_free(health);
}

static void test_addresses(void **state)
{
    static const char *const good[] = {"127.0.0.1:0", "127.255.0.9:65535", "[::1]:80", "unix:/a"};
    static const char *const bad[] = {
        "",
        ":",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:1x",
        "127.1:1",
        "[::1]",
        "::1:1",
        "[::1:1",
        "localhost:1",
        "unix:",
        "unix:a",
        "127.0.0.1:65536",
        "0.0.0.0:1",
        "[::]:1",
        "8.8.8.8:1",
        "[fe80::1]:1",
        "[127.0.0.1]x:1",
        "[]:1",
        "128.0.0.1:1",
        "UNIX:/a",
        "127.0.0.1: 1",
        "127.0.0.1:+1",
        "[::1%lo]:1",
    };
    char why[ENDPOINT_WHY_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(http_address_check(good[i], why), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = '\0';
        assert_int_equal(http_address_check(bad[i], why), -1);
        assert_non_null(strstr(why, bad[i]));
    }
}

static void tell_numbers(void *cookie, struct metrics_page *page)
{
    ingest_numbers_tell(cookie, page);
}

static void test_ingest_numbers(void **state)
{
    struct ingest_numbers *numbers = ingest_numbers_new();
    struct hello hello = {.incarnation = "0123456789abcdef"};
    struct record record = {.seq = 1};
    struct change change = {.type = CHANGE_RECORD, .hello = &hello, .record = &record, .row = 1};
    size_t node = ingest_numbers_node(numbers, "a@h");
    char *page;

    (void)state;
    record.column[RECORD_COLUMN_severity] = "error";
    record.column[RECORD_COLUMN_source] = "kill";
    ingest_numbers_committed(numbers, node, &change);
    ingest_numbers_committed(numbers, node, &change);
    record.column[RECORD_COLUMN_source] = "of tomorrow";
    record.column[RECORD_COLUMN_severity] = NULL;
    ingest_numbers_committed(numbers, node, &change);
    record.column[RECORD_COLUMN_source] = NULL;
    ingest_numbers_committed(numbers, node, &change);
    change.row = 0;
    ingest_numbers_committed(numbers, node, &change);
    change = (struct change){.type = CHANGE_COUNTERS, .hello = &hello, .lost_more = 7};
    ingest_numbers_committed(numbers, node, &change);
    page = page_of(tell_numbers, numbers);
    assert_non_null(strstr(page, "coroner_exits_total{node=\"a@h\",source=\"kill\"} 2\n"));
    assert_non_null(strstr(page, "coroner_exits_total{node=\"a@h\",source=\"other\"} 2\n"));
    assert_non_null(strstr(page, "coroner_exits_by_severity_total{severity=\"error\"} 2\n"));
    assert_non_null(strstr(page, "coroner_records_repeated_total{node=\"a@h\"} 1\n"));
    assert_non_null(strstr(page, "coroner_records_lost_total{node=\"a@h\"} 7\n"));
    assert_non_null(strstr(page, "coroner_exit_stored_seconds_count 4\n"));
    assert_null(strstr(page, "node=\"other\""));
    free(page);
    ingest_numbers_free(numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),          cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_label_set),      cmocka_unit_test(test_cascades),
        cmocka_unit_test(test_health),         cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_ingest_numbers),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
