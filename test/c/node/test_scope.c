/* Who is inside the scope and who leaves it; and the names of those outside. */
#include "bystanders.h"
#include "alloc.h"
#include "check.h"
#include "scope.h"

/* Words as pids and atoms have them. */
#define PID(number) ((term_word)(number) << 4 | 3)
#define ATOM(number) ((term_word)(number) << 6 | 11)

static void all_are_inside_at_first(void **state)
{
    struct scope *scope = scope_new();

    (void)state;
    assert_non_null(scope);
    assert_int_equal(scope_kind_of(scope), SCOPE_ALL);
    assert_false(scope_excludes(scope, ATOM(1), ATOM(2)));
    assert_false(scope_excludes_children(scope));
    assert_false(scope_left(scope, PID(1)));
    scope_free(scope);
    scope_free(NULL);
}

static void what_is_named_is_outside(void **state)
{
    struct scope *scope = scope_new();
    term_word modules[SCOPE_NAMED], applications[] = {ATOM(1000)};

    (void)state;
    for (size_t i = 0; i < SCOPE_NAMED; i++)
        modules[i] = ATOM(i + 1);
    scope_set(scope, SCOPE_EXCLUDE, modules, SCOPE_NAMED, applications, 1);
    for (size_t i = 0; i < SCOPE_NAMED; i++)
        assert_true(scope_excludes(scope, ATOM(i + 1), NO_WORD));
    assert_false(scope_excludes(scope, ATOM(SCOPE_NAMED + 1), NO_WORD));
    assert_true(scope_excludes(scope, NO_WORD, ATOM(1000)));
    assert_false(scope_excludes(scope, NO_WORD, ATOM(1)));
    assert_false(scope_excludes(scope, NO_WORD, NO_WORD));

    assert_false(scope_excludes_children(scope));
    scope_settle(scope, true);
    assert_true(scope_excludes_children(scope));

    /* What was named before is named no more. */
    scope_set(scope, SCOPE_EXCLUDE, modules, 1, NULL, 0);
    assert_true(scope_excludes(scope, ATOM(1), NO_WORD));
    assert_false(scope_excludes(scope, ATOM(2), NO_WORD));
    assert_false(scope_excludes(scope, NO_WORD, ATOM(1000)));
    scope_set(scope, SCOPE_APPLICATIONS, modules, 1, NULL, 0);
    assert_false(scope_excludes(scope, ATOM(1), NO_WORD));
    assert_false(scope_excludes_children(scope));
    scope_free(scope);
}

static void each_leaves_once(void **state)
{
    struct scope *scope = scope_new();

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        scope_leave(scope, PID(i));
    for (size_t i = 0; i < 1000; i++) {
        assert_true(scope_left(scope, PID(i)));
        assert_false(scope_left(scope, PID(i)));
    }
    scope_leave(scope, PID(1));
    scope_leave(scope, PID(1));
    assert_true(scope_left(scope, PID(1)));
    assert_false(scope_left(scope, PID(1)));
    scope_leave(scope, PID(2)); /* freed with the scope */
    scope_free(scope);
}

static void bystanders_are_found(void **state)
{
    struct bystanders *bystanders = bystanders_new();
    struct who *list = memory_alloc(100 * sizeof(*list));
    struct who who = {.pid = PID(7)};

    (void)state;
    assert_non_null(list);
    assert_false(bystanders_find(bystanders, &who));
    for (size_t i = 0; i < 100; i++) /* in no order */
        list[i] = (struct who){.pid = PID(i * 37 % 100),
                               .name = ATOM(i * 37 % 100),
                               .initial_call = (uint32_t)(i * 37 % 100)};
    bystanders_set(bystanders, list, 100);
    for (size_t i = 0; i < 100; i++) {
        who = (struct who){.pid = PID(i)};
        assert_true(bystanders_find(bystanders, &who));
        assert_int_equal(who.name, ATOM(i));
        assert_int_equal(who.initial_call, i);
    }
    who = (struct who){.pid = PID(100)};
    assert_false(bystanders_find(bystanders, &who));
    assert_int_equal(who.name, NO_WORD);
    bystanders_set(bystanders, NULL, 0);
    who.pid = PID(1);
    assert_false(bystanders_find(bystanders, &who));
    bystanders_free(bystanders);
    bystanders_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_are_inside_at_first),
        TEST(what_is_named_is_outside),
        TEST(each_leaves_once),
        TEST(bystanders_are_found),
    };

    return check_run("scope", tests);
}
