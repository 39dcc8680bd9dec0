/* What status shows of the daemon and its nodes. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
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

static void nodes_are_a_table(void **state)
{
    (void)state;
    expect(
        true,
        "{\"version\":\"0.1.0\",\"store\":{\"records\":12,\"path\":\"/x\"},\"id\":1,"
        "\"sinks\":[{\"file\":\"/y\"}]}",
        "[{\"name\":\"proxy@db3\",\"connected\":true,\"made\":48213,\"stored\":48200,\"lost\":13,"
        "\"pending\":0,\"otp\":\"25\",\"incarnation\":\"6a1f\",\"last_seen\":\"now\"},"
        "{\"name\":\"n\xc3\xb6@db4\",\"connected\":false,\"made\":1,\"stored\":1,\"lost\":0}]",
        "version                 0.1.0\n"
        "store.records           12\n"
        "store.path              /x\n"
        "sinks.file              /y\n"
        "\n"
        "NODE       CONNECTED   MADE  STORED  PENDING  LOST  OTP  INCARNATION  LAST SEEN\n"
        "proxy@db3  yes        48213   48200        0    13   25  6a1f         now\n"
        "n\xc3\xb6@db4     no             1       1        -     0    -  -            -\n");
}

static void no_node_is_said(void **state)
{
    (void)state;
    expect(true, "{}", "[]", "\nno node has sent anything yet: coronerctl attach NODE\n");
}

static void hostile_values_are_harmless(void **state)
{
    (void)state;
    expect(false,
           "{\"\\u001b[2J\":\"\\u001b[31m\",\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}},\"e\":[1,[[[[2]"
           "]]]]}",
           "[{\"name\":\"\\u001b]0;x\\u0007\",\"connected\":[],\"made\":{},\"stored\":null,"
           "\"lost\":\"x\"},"
           "7,null]",
           "\\x1b[2J                 \\x1b[31m\n"
           "e                       1\n"
           "\n"
           "NODE          CONNECTED  MADE  STORED  PENDING  LOST  OTP  INCARNATION  LAST SEEN\n"
           "\\x1b]0;x\\x07  -             -       -        -     x    -  -            -\n"
           "-             -             -       -        -     -    -  -            -\n"
           "-             -             -       -        -     -    -  -            -\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_a_table),
        cmocka_unit_test(no_node_is_said),
        cmocka_unit_test(hostile_values_are_harmless),
    };

    return cmocka_run_group_tests_name("ctl_status", tests, NULL, NULL);
}
