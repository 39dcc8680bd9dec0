/* Conditions of the command line become the "where" of the protocol. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ctl_where.h"
#include "filter_fields.h"

static void expect(const char *node, const char *const *conditions, const char *wanted)
{
    struct ctl_options options = {.node = node};
    char *argv[8];
    int argc = 0;
    json_t *where = NULL;

    for (; conditions[argc] != NULL; argc++)
        argv[argc] = strdup(conditions[argc]);
    assert_int_equal(ctl_where(&options, argc, argv, &where), CTL_OK);
    char *dumped = json_dumps(where, JSON_COMPACT | JSON_ENSURE_ASCII);
    assert_non_null(dumped);
    assert_string_equal(dumped, wanted);
    free(dumped);
    json_decref(where);
    while (argc > 0)
        free(argv[--argc]);
}

static enum ctl_exit refuse(const char *node, const char *first, const char *second)
{
    struct ctl_options options = {.node = node};
    char *argv[2] = {strdup(first), second != NULL ? strdup(second) : NULL};
    json_t *where = NULL;

    enum ctl_exit result = ctl_where(&options, second != NULL ? 2 : 1, argv, &where);
    assert_null(where);
    free(argv[0]);
    free(argv[1]);
    return result;
}

#define CONDITIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void fields_pass_through(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("exit.source=kill"), "{\"exit.source\":\"kill\"}");
    expect(NULL, CONDITIONS("exit.reason=a=b"), "{\"exit.reason\":\"a=b\"}");
    expect(NULL, CONDITIONS("exit.reason="), "{\"exit.reason\":\"\"}");
}

static void short_names_are_written_out(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("source=kill", "node=a@b", "name=n", "module=m", "class=killed"),
           "{\"exit.source\":\"kill\",\"node.name\":\"a@b\",\"process.name\":\"n\","
           "\"origin.module\":\"m\",\"exit.reason_class\":\"killed\"}");
}

static void a_pid_chooses_its_field_and_gets_its_brackets(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("by=release_handler"), "{\"origin.by_name\":\"release_handler\"}");
    expect(NULL, CONDITIONS("by=<0.41.0>"), "{\"origin.by\":\"<0.41.0>\"}");
    expect(NULL, CONDITIONS("by=0.41.0", "pid=0.7.0"),
           "{\"origin.by\":\"<0.41.0>\",\"process.pid\":\"<0.7.0>\"}");
    /* As Elixir shows them; and in every field that has pids. */
    expect(NULL, CONDITIONS("by=#PID<0.41.0>", "chain.pid=0.7.0", "origin.asked_by=#PID<0.8.0>"),
           "{\"origin.by\":\"<0.41.0>\",\"chain.pid\":\"<0.7.0>\",\"origin.asked_by\":"
           "\"<0.8.0>\"}");
}

static void several_values_for_a_field_are_a_list(void **state)
{
    (void)state;
    expect("a@b", CONDITIONS("source=kill", "exit.source=purge", "source=link", "node=c@d"),
           "{\"node.name\":[\"a@b\",\"c@d\"],\"exit.source\":[\"kill\",\"purge\",\"link\"]}");
}

static void what_looks_like_a_pid_stays_where_none_is_meant(void **state)
{
    (void)state;
    expect(
        NULL, CONDITIONS("exit.reason=1.2.3", "name=0.1.0", "origin.supervisor=0.1.0"),
        "{\"exit.reason\":\"1.2.3\",\"process.name\":\"0.1.0\",\"origin.supervisor\":\"<0.1.0>\"}");
}

static void comparisons_lists_and_prefixes(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("age>=1000", "age<5000", "name=null", "exit.source=a,b"),
           "{\"process.age_us\":{\"ge\":1000,\"lt\":5000},\"process.name\":null,"
           "\"exit.source\":[\"a\",\"b\"]}");
    expect(NULL, CONDITIONS("process.initial_call=ump_*", "name!=null", "name<=z"),
           "{\"process.initial_call\":{\"prefix\":\"ump_\"},\"process.name\":{\"not\":null,"
           "\"le\":\"z\"}}");
    expect(NULL, CONDITIONS("exit.reason={a,b}", "name=*"),
           "{\"exit.reason\":\"{a,b}\",\"process.name\":\"*\"}");
    assert_int_equal(refuse(NULL, "name=a", "name>b"), CTL_USAGE);
    assert_int_equal(refuse(NULL, "name=null", "name=b"), CTL_USAGE);
    assert_int_equal(refuse(NULL, "name>=\xff", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "name=\xff*", NULL), CTL_USAGE);
}

static void node_is_a_condition_too(void **state)
{
    (void)state;
    expect("proxy@db3", CONDITIONS("source=link"),
           "{\"node.name\":\"proxy@db3\",\"exit.source\":\"link\"}");
}

static void typed_fields_are_typed(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("exit.truncated=true", "process.trap_exit=false", "node.os_pid=3"),
           "{\"exit.truncated\":true,\"process.trap_exit\":false,\"node.os_pid\":3}");
    expect(NULL, CONDITIONS("process.name=true", "node.os_pid=3x"),
           "{\"process.name\":\"true\",\"node.os_pid\":\"3x\"}");
}

static void numbers_are_numbers_for_every_field_that_has_them(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("chain_length>=3", "lost_before>0", "origin.by_line=824"),
           "{\"chain_length\":{\"ge\":3},\"lost_before\":{\"gt\":0},\"origin.by_line\":824}");
    expect(NULL, CONDITIONS("origin.timeout_ms=infinity,5000"),
           "{\"origin.timeout_ms\":[\"infinity\",5000]}");
}

static void gaps_are_a_kind_of_their_own(void **state)
{
    (void)state;
    expect(NULL, CONDITIONS("kind=gap"), "{\"schema\":\"coroner.gap/1\"}");
    expect(NULL, CONDITIONS("kind=gap,exit"),
           "{\"schema\":[\"coroner.gap/1\",\"coroner.exit/1\"]}");
    expect(NULL, CONDITIONS("kind!=gap"), "{\"schema\":{\"not\":\"coroner.gap/1\"}}");
    assert_int_equal(refuse(NULL, "kind=bogus", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "kind=g*", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "kind=gap", "kind!=bogus"), CTL_USAGE);
}

/* Each field that can be asked for, its values and its short name stand in the help, once. */
static void the_help_lists_every_field(void **state)
{
    const struct filter_field *field;
    struct ctl_text text;
    char line[64];

    (void)state;
    ctl_text_init(&text, (struct ctl_look){.utf8 = false});
    ctl_where_fields(&text);
    const char *help = ctl_text_string(&text);
    for (size_t i = 0; (field = filter_field_at(i)) != NULL; i++) {
        snprintf(line, sizeof(line), "\n  %s ", field->name);
        const char *found = strstr(help, line);
        assert_non_null(found);
        assert_null(strstr(found + 1, line));
        assert_true(field->summary[0] != '\0');
    }
    assert_non_null(strstr(help, "why it exited (source)\n"));
    assert_non_null(strstr(help, " remote_link\n"));
    assert_non_null(strstr(help, " info warning error\n"));
    for (const char *at = help; *at != '\0'; at = strchr(at, '\n') + 1)
        assert_true(strchr(at, '\n') - at < 100);
    ctl_text_free(&text);
}

static void bad_conditions_are_refused(void **state)
{
    char long_field[300];

    (void)state;
    assert_int_equal(refuse(NULL, "source", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "=kill", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "source=\xff", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "\xff=kill", NULL), CTL_USAGE);
    assert_int_equal(refuse(NULL, "source=kill", "source=\xff"), CTL_USAGE);
    memset(long_field, 'x', sizeof(long_field));
    memcpy(long_field + sizeof(long_field) - 3, "=v", 3);
    assert_int_equal(refuse(NULL, long_field, NULL), CTL_USAGE);
}

static void pids_are_told_from_names(void **state)
{
    static const char *const none[] = {
        "",         "0.1",    "<0.1.0",     "0.1.0>",    "<0.1.0>x", "0.1.0.2",
        "0..1",     "a.b.c",  "<<0.1.0>",   ".1.2",      "1.2.",     "proxy_sup",
        "<0.1. 0>", "-1.2.3", "#PID<0.1.0", "#PID0.1.0", "#PID",     "#<0.1.0>"};
    char pid[64];
    char small[6];

    (void)state;
    assert_true(ctl_where_pid("<0.31760.980>", pid, sizeof(pid)));
    assert_string_equal(pid, "<0.31760.980>");
    assert_true(ctl_where_pid("0.31760.980", pid, sizeof(pid)));
    assert_string_equal(pid, "<0.31760.980>");
    assert_true(ctl_where_pid("#PID<0.31760.981>", pid, sizeof(pid)));
    assert_string_equal(pid, "<0.31760.981>");
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(ctl_where_pid(none[i], pid, sizeof(pid)));
    assert_false(ctl_where_pid("<0.1.0>", small, sizeof(small))); /* it does not fit */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_pass_through),
        cmocka_unit_test(short_names_are_written_out),
        cmocka_unit_test(a_pid_chooses_its_field_and_gets_its_brackets),
        cmocka_unit_test(several_values_for_a_field_are_a_list),
        cmocka_unit_test(what_looks_like_a_pid_stays_where_none_is_meant),
        cmocka_unit_test(comparisons_lists_and_prefixes),
        cmocka_unit_test(node_is_a_condition_too),
        cmocka_unit_test(typed_fields_are_typed),
        cmocka_unit_test(numbers_are_numbers_for_every_field_that_has_them),
        cmocka_unit_test(gaps_are_a_kind_of_their_own),
        cmocka_unit_test(the_help_lists_every_field),
        cmocka_unit_test(bad_conditions_are_refused),
        cmocka_unit_test(pids_are_told_from_names),
    };

    return cmocka_run_group_tests_name("ctl_where", tests, NULL, NULL);
}
