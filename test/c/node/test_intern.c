/* Functions and files under numbers. */
#include "check.h"
#include "intern.h"
#include "names_fake.h"

/* Three quarters of the slots, as intern.c has them. */
#define FUNCTIONS_MAX (32768U / 4 * 3)
#define FILES_MAX (4096U / 4 * 3)

static void the_same_gets_the_same_number(void **state)
{
    struct intern *intern = intern_new();
    struct function function = {.module = fake_atom("a"), .name = fake_atom("b"), .arity = 3};
    struct function others[] = {
        {.module = fake_atom("b"), .name = fake_atom("a"), .arity = 3},
        {.module = fake_atom("a"), .name = fake_atom("b"), .arity = 2},
        {.module = fake_atom("a"), .name = fake_atom("a"), .arity = 3},
        {.module = fake_atom("b"), .name = fake_atom("b"), .arity = 3},
    };
    uint32_t number = intern_function(intern, function);
    const struct function *found = intern_function_of(intern, number);

    (void)state;
    assert_int_not_equal(number, INTERN_NONE);
    assert_int_equal(intern_function(intern, function), number);
    assert_int_equal(found->module, function.module);
    assert_int_equal(found->name, function.name);
    assert_int_equal(found->arity, 3);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        uint32_t other = intern_function(intern, others[i]);

        assert_int_not_equal(other, INTERN_NONE);
        assert_int_not_equal(other, number);
        assert_int_equal(intern_function(intern, others[i]), other);
    }
    assert_ptr_equal(intern_function_of(intern, number), found);
    intern_free(intern);
}

static void numbers_that_were_not_given_out_name_nothing(void **state)
{
    struct intern *intern = intern_new();
    static const uint32_t numbers[] = {INTERN_NONE, 1, 4096, 4097, 32768, 32769, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_null(intern_function_of(intern, numbers[i]));
        assert_null(intern_file_of(intern, numbers[i]));
    }
    intern_free(intern);
    intern_free(NULL);
}

static void files_are_told_apart_by_every_byte(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } names[] = {{"a", 1}, {"ab", 2}, {"abc", 3}, {"b", 1}, {"", 0}, {"a\0b", 3}, {"a\0c", 3}};
    uint32_t numbers[sizeof(names) / sizeof(names[0])];
    struct intern *intern = intern_new();

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        numbers[i] = intern_file(intern, names[i].bytes, names[i].length);
        assert_int_not_equal(numbers[i], INTERN_NONE);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(numbers[i], numbers[j]);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct text *text = intern_file_of(intern, numbers[i]);

        assert_int_equal(intern_file(intern, names[i].bytes, names[i].length), numbers[i]);
        assert_int_equal(text->length, names[i].length);
        assert_memory_equal(text->bytes, names[i].bytes, names[i].length);
    }
    intern_free(intern);
}

static void a_full_table_refuses_and_keeps(void **state)
{
    struct intern *intern = intern_new();
    uint32_t *numbers = calloc(FUNCTIONS_MAX, sizeof(*numbers));
    char name[32];

    (void)state;
    for (uint32_t i = 0; i < FUNCTIONS_MAX; i++) {
        numbers[i] =
            intern_function(intern, (struct function){.module = i * 64 + 11, .name = i % 5});
        assert_int_not_equal(numbers[i], INTERN_NONE);
    }
    for (uint32_t i = FUNCTIONS_MAX; i < FUNCTIONS_MAX + 100; i++)
        assert_int_equal(
            intern_function(intern, (struct function){.module = i * 64 + 11, .name = i % 5}),
            INTERN_NONE);
    for (uint32_t i = 0; i < FUNCTIONS_MAX; i++) {
        assert_int_equal(
            intern_function(intern, (struct function){.module = i * 64 + 11, .name = i % 5}),
            numbers[i]);
        assert_int_equal(intern_function_of(intern, numbers[i])->module, i * 64 + 11);
    }
    for (uint32_t i = 0; i < FILES_MAX + 100; i++) {
        int length = snprintf(name, sizeof(name), "src/file_%u.erl", i);
        uint32_t number = intern_file(intern, name, (size_t)length);

        assert_int_equal(number == INTERN_NONE, i >= FILES_MAX);
        assert_true(number == INTERN_NONE ||
                    strcmp(intern_file_of(intern, number)->bytes, name) == 0);
    }
    free(numbers);
    intern_free(intern);
}

static void without_memory_there_is_no_number_yet(void **state)
{
    struct function function = {.module = 64 + 11, .name = 128 + 11};
    struct intern *intern;

    (void)state;
    alloc_fail_at(1, false);
    assert_null(intern_new());
    intern = intern_new();
    alloc_fail_at(1, true);
    assert_int_equal(intern_function(intern, function), INTERN_NONE);
    assert_int_equal(intern_file(intern, "a.erl", 5), INTERN_NONE);
    alloc_fail_at(0, false);
    assert_int_not_equal(intern_function(intern, function), INTERN_NONE);
    assert_int_not_equal(intern_file(intern, "a.erl", 5), INTERN_NONE);
    intern_free(intern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_gets_the_same_number),
        TEST(numbers_that_were_not_given_out_name_nothing),
        TEST(files_are_told_apart_by_every_byte),
        TEST(a_full_table_refuses_and_keeps),
        TEST(without_memory_there_is_no_number_yet),
    };

    return check_run("intern", tests);
}
