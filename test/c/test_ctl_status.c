/* What status shows of the daemon and its nodes. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ctl_status.h"

static void expect(bool utf8, const char *status, const char *nodes, const char *wanted)
{
    struct ctl_text text;
    json_t *first = json_loads(status, 0, NULL);
    json_t *second = json_loads(nodes, 0, NULL);

    assert_non_null(first);
    assert_non_null(second);
    ctl_text_init(&text, (struct ctl_look){.utf8 = utf8});
    ctl_status_show(&text, first, second);
    assert_string_equal(ctl_text_string(&text), wanted);
    ctl_text_free(&text);
    json_decref(first);
    json_decref(second);
}

static const char daemon_text[] = "coronerd  0.1.0, pid 7, up 3 d\n"
                                  "store     ok, 602 records, 106.6 KB; /x\n"
                                  "ingest    2 connected, 602 records since the start\n"
                                  "query     1 connected, 7 requests\n"
                                  "sink      out (file) ok, 602 lines, 0 behind; /y\n"
                                  "more: coronerctl status --json\n";

#define WELL                                                                                       \
    "{\"version\":\"0.1.0\",\"pid\":7,\"uptime_seconds\":262000,\"id\":1,\"store\":{\"path\":"     \
    "\"/x\",\"state\":\"ok\",\"reason\":null,\"writable\":true,\"rows\":602,\"bytes\":106600,"     \
    "\"queued\":0,\"expired\":{\"age\":0,\"size\":0,\"disk_full\":0},\"missing\":0},\"ingest\":"   \
    "{\"nodes_connected\":2,\"records\":602,\"records_cut\":0},\"query\":{\"connections\":1,"      \
    "\"subscriptions\":0,\"requests\":7,\"errors\":0},\"sinks\":[{\"name\":\"out\",\"type\":"      \
    "\"file\",\"state\":\"ok\",\"lines\":602,\"behind\":0,\"behind_seconds\":0,\"lost\":0,"        \
    "\"path\":\"/y\"}],\"tomorrow\":{\"more\":1}}"

/* Nodes first, those that are connected before the others, and how each is. */
static void nodes_are_a_table(void **state)
{
    char wanted[2048];

    (void)state;
    snprintf(
        wanted, sizeof(wanted), "%s\n%s",
        "NODE       STATE               MADE  STORED  PENDING  LOST  OTP  LAST SEEN             "
        "INCARNATION\n"
        "proxy@db3  connected          48213   48200        0    13   25  2026-11-24T02:15:01Z  "
        "6a1f\n"
        "p@h        paused, scoped         -       -        -     -    -  -                     -\n"
        "d@h        disarmed               -       -        -     -    -  -                     -\n"
        "s@h        connected, scoped      -       -        -     -    -  -                     -\n"
        "n\xc3\xb6@db4     ended                  1       1        -     0    -  -                 "
        "    -\n"
        "g@h        gone                   -       -        -     -    -  -                     -\n"
        "  paused: somebody called coroner:pause() there; nothing is seen until "
        "coroner:resume()\n"
        "  disarmed: another tool has the tracer there; coroner takes it back as soon as it "
        "can\n"
        "  gone: it neither is connected nor said goodbye: killed, or it cannot reach this "
        "daemon\n"
        "  scoped: only a part of it is traced; coroner:scope() there tells which\n",
        daemon_text);
    expect(
        true, WELL,
        "[{\"name\":\"n\xc3\xb6@db4\",\"connected\":false,\"ended\":true,\"made\":1,\"stored\":1,"
        "\"lost\":0,\"counters\":{\"paused\":1,\"scoped\":1}},"
        "{\"name\":\"proxy@db3\",\"connected\":true,\"made\":48213,\"stored\":48200,\"lost\":13,"
        "\"pending\":0,\"otp\":\"25\",\"incarnation\":\"6a1f\",\"last_seen\":"
        "\"2026-11-24T02:15:01.068750597Z\",\"counters\":{\"paused\":0}},"
        "{\"name\":\"g@h\",\"connected\":false,\"ended\":false},"
        "{\"name\":\"p@h\",\"connected\":true,\"counters\":{\"paused\":1,\"disarmed\":0,"
        "\"scoped\":1}},"
        "{\"name\":\"d@h\",\"connected\":true,\"counters\":{\"disarmed\":1}},"
        "{\"name\":\"s@h\",\"connected\":true,\"counters\":{\"scoped\":1}}]",
        wanted);
}

/* Runs that are over do not push out of sight what is wanted; what they lost is told all the same.
 */
static void of_many_that_are_away_some_are_shown(void **state)
{
    json_t *nodes = json_array(), *status = json_object();
    struct ctl_text text;
    size_t lines = 0;

    (void)state;
    for (int i = 0; i < 50; i++)
        json_array_append_new(nodes, json_pack("{s:s, s:b, s:b, s:i}", "name", "old@h", "connected",
                                               0, "ended", 1, "lost", 2));
    json_array_append_new(nodes, json_pack("{s:s, s:b}", "name", "live@h", "connected", 1));
    ctl_text_init(&text, (struct ctl_look){.utf8 = true});
    ctl_status_show(&text, status, nodes);
    const char *shown = ctl_text_string(&text);
    for (const char *at = shown; *at != '\0'; at++)
        lines += *at == '\n';
    assert_true(lines < 20);
    assert_ptr_equal(strstr(shown, "live@h"), strchr(shown, '\n') + 1);
    assert_non_null(strstr(shown, "and 40 more that are not connected, which lost 80: "));
    ctl_text_free(&text);
    json_decref(nodes);
    json_decref(status);
}

/* What is not as it should be is told with since when and why, and numbers that tell of trouble. */
static void trouble_of_the_daemon_is_told(void **state)
{
    (void)state;
    expect(true,
           "{\"version\":\"0.1.0\",\"store\":{\"path\":\"/x\",\"state\":\"degraded\",\"since\":"
           "\"T\",\"reason\":\"disk full\",\"writable\":false,\"rows\":1,\"queued\":3,\"expired\":"
           "{\"age\":1,\"size\":2,\"disk_full\":\"9007199254740993\"},\"missing\":4,\"set_aside\":"
           "5},\"ingest\":{\"records_cut\":6,\"connections_refused\":7},\"query\":{"
           "\"subscriptions\":8,\"errors\":9},\"sinks\":[{\"name\":\"n\",\"type\":\"nats\","
           "\"state\":\"retrying\",\"since\":\"S\",\"reason\":\"no server\",\"behind\":10,"
           "\"behind_seconds\":11,\"lost\":12}]}",
           "[]",
           "no node has sent anything yet: coronerctl attach NODE\n"
           "\n"
           "coronerd  0.1.0, pid -\n"
           "store     degraded since T (disk full), 1 records, 3 wait to be written, 1 expired by "
           "age, 2 expired by size, 9007199254740993 expired for a full disk, 4 segments missing, "
           "5 segments set aside, cannot be written; /x\n"
           "ingest    - connected, 6 cut, 7 connections refused\n"
           "query     - connected, 8 subscriptions, 9 answered with an error\n"
           "sink      n (nats) retrying since S (no server), 10 behind, 11 s late, 12 lost\n"
           "more: coronerctl status --json\n");
}

static const char nothing[] = "\ncoronerd  -, pid -\nstore     -; -\ningest    - connected\n"
                              "query     - connected\nmore: coronerctl status --json\n";

static void no_node_is_said(void **state)
{
    char wanted[512];

    (void)state;
    snprintf(wanted, sizeof(wanted), "no node has sent anything yet: coronerctl attach NODE\n%s",
             nothing);
    expect(true, "{}", "[]", wanted);
}

static void hostile_values_are_harmless(void **state)
{
    (void)state;
    expect(false,
           "{\"\\u001b[2J\":\"\\u001b[31m\",\"version\":\"\\u001b[31m\",\"pid\":{},"
           "\"uptime_seconds\":-1,\"store\":[1],\"ingest\":7,\"query\":null,\"sinks\":[1,[[[[2]]]],"
           "{\"name\":\"\\u001b\",\"state\":5,\"behind\":{}}]}",
           "[{\"name\":\"\\u001b]0;x\\u0007\",\"connected\":[],\"made\":{},\"stored\":null,"
           "\"lost\":\"x\",\"last_seen\":\"\\u001b[2J\",\"counters\":7},"
           "7,null]",
           "NODE          STATE  MADE  STORED  PENDING  LOST  OTP  LAST SEEN  INCARNATION\n"
           "\\x1b]0;x\\x07  -         -       -        -     x    -  \\x1b[2J    -\n"
           "-             -         -       -        -     -    -  -          -\n"
           "-             -         -       -        -     -    -  -          -\n"
           "\n"
           "coronerd  \\x1b[31m, pid -, up -1 s\n"
           "store     -; -\n"
           "ingest    - connected\n"
           "query     - connected\n"
           "sink      - (-) -\n"
           "sink      - (-) -\n"
           "sink      \\x1b (-) 5\n"
           "more: coronerctl status --json\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_a_table),
        cmocka_unit_test(of_many_that_are_away_some_are_shown),
        cmocka_unit_test(trouble_of_the_daemon_is_told),
        cmocka_unit_test(no_node_is_said),
        cmocka_unit_test(hostile_values_are_harmless),
    };

    return cmocka_run_group_tests_name("ctl_status", tests, NULL, NULL);
}
