/* Who is served, and how many connections of whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "access.h"

#define STRANGER 54321

static enum access_verdict judge(struct access *access, struct access_guest *guest, uid_t uid,
                                 const gid_t *groups, size_t count, char *why)
{
    memset(guest, 0, sizeof(*guest));
    guest->peer = (struct ucred){.pid = 1, .uid = uid, .gid = uid};
    return access_judge(access, guest, groups, count, why);
}

static void test_lists(void **state)
{
    uid_t uids[] = {1001};
    gid_t gids[] = {2001, 2002};
    const gid_t member[] = {5, 2002}, other[] = {5, 6};
    struct socket_settings settings = {.uids = uids, .gids = gids};
    unsigned most = 100, most_per_user = 100;
    struct access *access = access_new("query", &settings, &most, &most_per_user);
    struct access_guest guest;
    char why[ACCESS_WHY_SIZE];

    (void)state;
    assert_int_equal(judge(access, &guest, STRANGER, NULL, 0, why), ACCESS_GRANTED);
    settings.uid_count = 1;
    assert_int_equal(judge(access, &guest, STRANGER, NULL, 0, why), ACCESS_DENIED);
    assert_false(guest.entered);
    assert_non_null(strstr(why, "uid 54321 may not use this socket"));
    assert_non_null(strstr(why, "query.allow_users"));
    assert_non_null(strstr(why, "SIGHUP"));
    assert_int_equal(judge(access, &guest, 1001, NULL, 0, why), ACCESS_GRANTED);
    assert_int_equal(judge(access, &guest, STRANGER, member, 2, why), ACCESS_DENIED);
    settings.gid_count = 2;
    assert_int_equal(judge(access, &guest, STRANGER, member, 2, why), ACCESS_GRANTED);
    assert_int_equal(judge(access, &guest, STRANGER, other, 2, why), ACCESS_DENIED);
    assert_int_equal(judge(access, &guest, 2001, NULL, 0, why), ACCESS_GRANTED); /* its own gid */
    settings.uid_count = 0;
    assert_int_equal(judge(access, &guest, 1001, NULL, 0, why), ACCESS_DENIED);
    /* Never locked out. */
    assert_int_equal(judge(access, &guest, 0, NULL, 0, why), ACCESS_GRANTED);
    assert_int_equal(judge(access, &guest, geteuid(), NULL, 0, why), ACCESS_GRANTED);
    access_free(access);
}

static void test_limit_of_one_user(void **state)
{
    const struct socket_settings settings = {.path = NULL};
    unsigned most = 100, most_per_user = 3;
    struct access *access = access_new("query", &settings, &most, &most_per_user);
    struct access_guest guests[4], other;
    char why[ACCESS_WHY_SIZE];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(judge(access, &guests[i], STRANGER, NULL, 0, why), ACCESS_GRANTED);
    assert_int_equal(judge(access, &guests[3], STRANGER, NULL, 0, why), ACCESS_FULL);
    assert_non_null(strstr(why, "uid 54321 has 3 connections already"));
    assert_non_null(strstr(why, "limits.query_connections_per_user"));
    assert_int_equal(judge(access, &other, STRANGER + 1, NULL, 0, why), ACCESS_GRANTED);
    access_leave(access, &guests[3]); /* it has not entered */
    assert_int_equal(judge(access, &guests[3], STRANGER, NULL, 0, why), ACCESS_FULL);
    access_leave(access, &guests[1]);
    access_leave(access, &guests[1]); /* once is enough */
    assert_int_equal(judge(access, &guests[3], STRANGER, NULL, 0, why), ACCESS_GRANTED);
    assert_int_equal(judge(access, &guests[1], STRANGER, NULL, 0, why), ACCESS_FULL);
    most_per_user = 4; /* a limit that is raised holds at once */
    assert_int_equal(judge(access, &guests[1], STRANGER, NULL, 0, why), ACCESS_GRANTED);
    access_free(access);
}

static void test_reserve(void **state)
{
    const struct socket_settings settings = {.path = NULL};
    unsigned most = 64, most_per_user = 1, strangers = 0, masters = 0;
    struct access *access = access_new("ingest", &settings, &most, &most_per_user);
    struct access_guest guest;
    char why[ACCESS_WHY_SIZE];

    (void)state;
    while (judge(access, &guest, STRANGER + strangers, NULL, 0, why) == ACCESS_GRANTED)
        strangers++;
    assert_int_equal(strangers, 60);
    assert_non_null(strstr(why, "the rest is kept for root"));
    while (judge(access, &guest, 0, NULL, 0, why) == ACCESS_GRANTED)
        masters++;
    assert_int_equal(masters, 4);
    assert_non_null(strstr(why, "there are 64 connections already (limits.ingest_connections"));
    access_free(access);
}

static void test_many_users_come_and_go(void **state)
{
    const struct socket_settings settings = {.path = NULL};
    unsigned most = 1000, most_per_user = 2;
    struct access *access = access_new("query", &settings, &most, &most_per_user);
    struct access_guest guests[200];
    char why[ACCESS_WHY_SIZE];

    (void)state;
    for (int round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 200; i++)
            assert_int_equal(judge(access, &guests[i], STRANGER + i / 2, NULL, 0, why),
                             ACCESS_GRANTED);
        for (unsigned i = 0; i < 200; i++)
            access_leave(access, &guests[(i * 37 + (unsigned)round) % 200]);
    }
    access_free(access);
}

static void test_kernel_is_asked(void **state)
{
    const struct socket_settings settings = {.path = NULL};
    unsigned most = 10, most_per_user = 10;
    struct access *access = access_new("query", &settings, &most, &most_per_user);
    struct access_guest guest = {.entered = false};
    char why[ACCESS_WHY_SIZE];
    int pair[2], pipes[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(access_enter(access, pair[0], &guest, why), ACCESS_GRANTED);
    assert_int_equal(guest.peer.uid, geteuid());
    assert_int_equal(guest.peer.pid, getpid());
    access_leave(access, &guest);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(access_enter(access, pipes[0], &guest, why), ACCESS_DENIED);
    assert_non_null(strstr(why, "the kernel does not say"));
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(pipes[i]);
    }
    access_free(access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),           cmocka_unit_test(test_limit_of_one_user),
        cmocka_unit_test(test_reserve),         cmocka_unit_test(test_many_users_come_and_go),
        cmocka_unit_test(test_kernel_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
