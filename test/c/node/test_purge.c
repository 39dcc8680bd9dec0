/* Who is behind a purge: code_server never is. */
#include "check.h"
#include "names_fake.h"
#include "purge.h"

#define PURGER fake_pid(2)
#define CODE_SERVER fake_pid(50)
#define KEPT 64 /* calls and requests that purge.c remembers */

struct stage {
    struct ledger *ledger;
    struct purge *purge;
    term_word module;
};

static struct stage stage_new(void)
{
    struct stage stage = {.ledger = ledger_new(), .purge = purge_new(), .module = fake_atom("m")};

    ledger_open(stage.ledger);
    purge_reset(stage.purge, PURGER, CODE_SERVER);
    return stage;
}

static void stage_free(const struct stage *stage)
{
    purge_free(stage->purge);
    ledger_free(stage->ledger);
}

static void enter(const struct stage *stage, uint64_t number, const char *name)
{
    ledger_spawned(stage->ledger, &(struct birth){.pid = fake_pid(number), .initial_call = 77});
    ledger_name(stage->ledger, fake_pid(number), fake_atom(name));
}

static struct site site(uint32_t line)
{
    return (struct site){.function = line + 1000, .file = 1, .line = line};
}

static void nobody_kills_before_and_after(void **state)
{
    struct stage stage = stage_new();
    struct act *act;

    (void)state;
    assert_null(purge_behind(stage.purge, PURGER));
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(7), OPERATION_PURGE);
    assert_null(purge_behind(stage.purge, fake_pid(7)));
    assert_null(purge_behind(stage.purge, CODE_SERVER));
    act = purge_behind(stage.purge, PURGER);
    assert_non_null(act);
    purge_end(stage.purge);
    assert_null(purge_behind(stage.purge, PURGER));
    /* What was handed out lives on. */
    assert_int_equal(act->module, stage.module);
    assert_int_equal(act->by.pid, fake_pid(7));
    act_drop(act);

    /* A soft purge, or one that is only prepared, kills nobody. */
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(7), OPERATION_NONE);
    assert_null(purge_behind(stage.purge, PURGER));
    purge_end(stage.purge);
    /* A new one takes the place of one whose end was not seen. */
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(7), OPERATION_PURGE);
    purge_begin(stage.purge, stage.ledger, fake_atom("other"), fake_pid(8), OPERATION_ON_LOAD);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->module, fake_atom("other"));
    assert_int_equal(act->operation, OPERATION_ON_LOAD);
    assert_int_equal(act->by.pid, fake_pid(8));
    act_drop(act);
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(7), OPERATION_NONE);
    assert_null(purge_behind(stage.purge, PURGER));
    stage_free(&stage);
}

static void behind_code_server_stands_the_requester(void **state)
{
    struct stage stage = stage_new();
    struct act *act;

    (void)state;
    enter(&stage, 41, "release_handler");
    enter(&stage, 50, "code_server");
    purge_code_call(stage.purge, fake_pid(41), stage.module, 9, site(123), false);
    purge_asked(stage.purge, fake_pid(41), stage.module, OPERATION_PURGE);
    purge_begin(stage.purge, stage.ledger, stage.module, CODE_SERVER, OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->operation, OPERATION_PURGE);
    assert_int_equal(act->module, stage.module);
    assert_int_equal(act->by.pid, fake_pid(41));
    assert_int_equal(act->by.name, fake_atom("release_handler"));
    assert_int_equal(act->by.initial_call, 77);
    assert_int_equal(act->site.line, 123);
    assert_int_equal(act->function, 9);
    act_drop(act);
    purge_end(stage.purge);

    /* Without a request seen nobody is named, and code_server least of all. */
    purge_reset(stage.purge, PURGER, CODE_SERVER);
    purge_begin(stage.purge, stage.ledger, stage.module, CODE_SERVER, OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->by.pid, NO_WORD);
    assert_int_equal(act->by.name, NO_WORD);
    assert_int_equal(act->function, INTERN_NONE);
    assert_int_equal(act->operation, OPERATION_PURGE);
    act_drop(act);
    stage_free(&stage);
}

static void who_asks_the_purger_himself(void **state)
{
    struct stage stage = stage_new();
    struct act *act;

    (void)state;
    enter(&stage, 9, "shell");
    purge_code_call(stage.purge, fake_pid(9), stage.module, 4, site(5), false);
    purge_asked(stage.purge, fake_pid(41), stage.module, OPERATION_LOAD);
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(9), OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->by.pid, fake_pid(9));
    assert_int_equal(act->by.name, fake_atom("shell"));
    assert_int_equal(act->operation,
                     OPERATION_PURGE); /* another's request to code_server says nothing */
    assert_int_equal(act->site.line, 5);
    act_drop(act);

    /* A requester who has died since is named by his pid. */
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(99), OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->by.pid, fake_pid(99));
    assert_int_equal(act->by.name, NO_WORD);
    act_drop(act);
    /* A remote requester is not known at all. */
    purge_begin(stage.purge, stage.ledger, stage.module, NO_WORD, OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->by.pid, NO_WORD);
    act_drop(act);
    stage_free(&stage);
}

/* Loading a module purges its old code; code_server's request tells that it was a load. */
static void load_purge_and_on_load(void **state)
{
    static const struct {
        enum operation asked, begun, wanted;
    } cases[] = {
        {OPERATION_PURGE, OPERATION_PURGE, OPERATION_PURGE},
        {OPERATION_LOAD, OPERATION_PURGE, OPERATION_LOAD},
        {OPERATION_LOAD, OPERATION_ON_LOAD, OPERATION_ON_LOAD},
        {OPERATION_PURGE, OPERATION_ON_LOAD, OPERATION_ON_LOAD},
    };
    struct stage stage = stage_new();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct act *act;

        purge_asked(stage.purge, fake_pid(1 + i), stage.module, cases[i].asked);
        purge_begin(stage.purge, stage.ledger, stage.module, CODE_SERVER, cases[i].begun);
        act = purge_behind(stage.purge, PURGER);
        assert_int_equal(act->operation, cases[i].wanted);
        assert_int_equal(act->by.pid, fake_pid(1 + i));
        act_drop(act);
        purge_end(stage.purge);
    }
    stage_free(&stage);
}

/* Begins a purge, as code_server asks for it, and checks who is behind it: nobody where ${by} is NO_WORD. */
static void check_purge(const struct stage *stage, enum operation begun, term_word by,
                        enum operation operation, uint32_t line)
{
    struct act *act;

    purge_begin(stage->purge, stage->ledger, stage->module, CODE_SERVER, begun);
    act = purge_behind(stage->purge, PURGER);
    assert_int_equal(act->by.pid, by);
    assert_int_equal(act->operation, operation);
    assert_int_equal(act->site.line, line);
    act_drop(act);
    purge_end(stage->purge);
}

static void a_purge_is_of_the_newest_request(void **state)
{
    struct stage stage = stage_new();

    (void)state;
    purge_asked(stage.purge, fake_pid(1), stage.module, OPERATION_PURGE);
    purge_code_call(stage.purge, fake_pid(2), stage.module, 1, site(1), false);
    purge_code_call(stage.purge, fake_pid(2), stage.module, 2, site(2), false);
    purge_code_call(stage.purge, fake_pid(2), fake_atom("other"), 3, site(3), false);
    purge_code_call(stage.purge, fake_pid(3), stage.module, 4, site(4), false);
    purge_asked(stage.purge, fake_pid(2), stage.module, OPERATION_LOAD);
    check_purge(&stage, OPERATION_PURGE, fake_pid(2), OPERATION_LOAD, 2);

    /* The newest is for another module: what led to this purge was not seen. */
    purge_asked(stage.purge, fake_pid(3), fake_atom("other"), OPERATION_PURGE);
    check_purge(&stage, OPERATION_PURGE, NO_WORD, OPERATION_PURGE, 0);
    /* But a module's on_load ends when others have been asked for. */
    check_purge(&stage, OPERATION_ON_LOAD, fake_pid(2), OPERATION_ON_LOAD, 2);

    /* code:atomic_load/1 names several: its request and its call are for any module. */
    purge_code_call(stage.purge, fake_pid(5), NO_WORD, 6, site(7), false);
    purge_asked(stage.purge, fake_pid(5), NO_WORD, OPERATION_LOAD);
    check_purge(&stage, OPERATION_PURGE, fake_pid(5), OPERATION_LOAD, 7);
    stage_free(&stage);
}

static void a_call_leads_to_one_request(void **state)
{
    struct stage stage = stage_new();

    (void)state;
    purge_code_call(stage.purge, fake_pid(1), stage.module, 1, site(10), false);
    purge_asked(stage.purge, fake_pid(1), stage.module, OPERATION_PURGE);
    check_purge(&stage, OPERATION_PURGE, fake_pid(1), OPERATION_PURGE, 10);
    /* From where it asked for the second is not known. */
    purge_asked(stage.purge, fake_pid(1), stage.module, OPERATION_LOAD);
    check_purge(&stage, OPERATION_PURGE, fake_pid(1), OPERATION_LOAD, 0);
    stage_free(&stage);
}

static void behind_a_worker_of_rpc_stands_its_node(void **state)
{
    struct stage stage = stage_new();
    struct act *act;

    (void)state;
    ledger_spawned(stage.ledger, &(struct birth){.pid = fake_pid(1),
                                                 .parent = fake_atom("other@host"),
                                                 .flags = ENTRY_REMOTE});
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(1), OPERATION_PURGE);
    act = purge_behind(stage.purge, PURGER);
    assert_int_equal(act->by.pid, fake_pid(1));
    assert_int_equal(act->by_node, fake_atom("other@host"));
    act_drop(act);
    stage_free(&stage);
}

static void an_inner_call_is_the_outer_ones(void **state)
{
    struct stage stage = stage_new();
    struct act *act;

    (void)state;
    purge_code_call(stage.purge, fake_pid(1), stage.module, 1, site(10), false);
    for (uint32_t purge = 1; purge <= 2; purge++) {
        purge_code_call(stage.purge, fake_pid(1), stage.module, 2, site(20), true);
        purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(1), OPERATION_PURGE);
        act = purge_behind(stage.purge, PURGER);
        assert_int_equal(act->function, purge);
        assert_int_equal(act->site.line, 10 * purge);
        act_drop(act);
    }
    stage_free(&stage);
}

static void what_is_too_old_is_overwritten(void **state)
{
    struct stage stage = stage_new();

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        purge_code_call(stage.purge, fake_pid(1), stage.module, 1, site(1), false);
        for (unsigned i = 0; i < KEPT - 1; i++)
            purge_code_call(stage.purge, fake_pid(100 + i), fake_atom("other"), 2, site(2), false);
        purge_asked(stage.purge, fake_pid(1), stage.module, OPERATION_LOAD);
        for (unsigned i = 0; i < KEPT - 1; i++)
            purge_asked(stage.purge, fake_pid(200 + i), fake_atom("other"), OPERATION_PURGE);
        check_purge(&stage, OPERATION_ON_LOAD, fake_pid(1), OPERATION_ON_LOAD, 1);
        purge_asked(stage.purge, fake_pid(300), fake_atom("other"), OPERATION_PURGE);
        check_purge(&stage, OPERATION_ON_LOAD, NO_WORD, OPERATION_ON_LOAD, 0);

        /* The call went, the request is there. */
        purge_code_call(stage.purge, fake_pid(1), stage.module, 1, site(1), false);
        for (unsigned i = 0; i < KEPT; i++)
            purge_code_call(stage.purge, fake_pid(100 + i), fake_atom("other"), 2, site(2), false);
        purge_asked(stage.purge, fake_pid(1), stage.module, OPERATION_LOAD);
        check_purge(&stage, OPERATION_PURGE, fake_pid(1), OPERATION_LOAD, 0);
    }
    stage_free(&stage);
}

static void without_memory_a_purge_is_a_kill(void **state)
{
    struct stage stage = stage_new();

    (void)state;
    alloc_fail_at(1, false);
    assert_null(purge_new());
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(1), OPERATION_PURGE);
    alloc_fail_at(1, false);
    purge_begin(stage.purge, stage.ledger, stage.module, fake_pid(1), OPERATION_PURGE);
    assert_null(purge_behind(stage.purge, PURGER));
    stage_free(&stage);
    purge_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_kills_before_and_after),      TEST(behind_code_server_stands_the_requester),
        TEST(who_asks_the_purger_himself),        TEST(load_purge_and_on_load),
        TEST(a_purge_is_of_the_newest_request),   TEST(a_call_leads_to_one_request),
        TEST(behind_a_worker_of_rpc_stands_its_node),
        TEST(an_inner_call_is_the_outer_ones),    TEST(what_is_too_old_is_overwritten),
        TEST(without_memory_a_purge_is_a_kill),
    };

    return check_run("purge", tests);
}
