/*
 * Records as text. test/c/stories/NAME.json is a record, NAME.txt is what people are to read of it.
 * With CTL_STORIES_WRITE=1 in the environment the texts are written anew, to be read before they
 * are committed.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "source.h"

#include "ctl_cause.h"
#include "ctl_story.h"

#define STORIES "test/c/stories"

static const struct ctl_look plain = {.utf8 = true, .colour = false};

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 65536);

    assert_non_null(text);
    if (file == NULL) {
        free(text);
        return NULL;
    }
    size_t got = fread(text, 1, 65535, file);
    text[got] = '\0';
    fclose(file);
    return text;
}

/* What ctl_story makes of the record ${json}: the tree, its others if it has any, the line. */
static char *tell(const char *json, struct ctl_look look)
{
    struct ctl_text text;
    json_error_t error;
    json_t *record = json_loads(json, JSON_ALLOW_NUL, &error);

    if (record == NULL)
        fail_msg("line %d: %s", error.line, error.text);
    ctl_text_init(&text, look);
    ctl_story_tree(&text, record);
    ctl_story_others(&text, json_object_get(record, "others"));
    ctl_text_add(&text, "\n");
    ctl_story_line(&text, record);
    assert_false(text.failed);
    char *told = strdup(ctl_text_string(&text));
    ctl_text_free(&text);
    json_decref(record);
    return told;
}

static int is_json(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return dot != NULL && strcmp(dot, ".json") == 0;
}

static void stories_read_as_their_golden_texts(void **state)
{
    struct dirent **entries;
    int count = scandir(STORIES, &entries, is_json, alphasort);
    int wrong = 0;

    (void)state;
    assert_true(count >= 10);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof(path), STORIES "/%s", entries[i]->d_name);
        char *json = read_file(path);
        assert_non_null(json);
        bool ascii = strstr(entries[i]->d_name, "ascii") != NULL;
        bool colour = strstr(entries[i]->d_name, "colour") != NULL;
        char *told = tell(json, (struct ctl_look){.utf8 = !ascii, .colour = colour});
        snprintf(strrchr(path, '.'), 5, ".txt");
        if (getenv("CTL_STORIES_WRITE") != NULL) {
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            fputs(told, file);
            fclose(file);
        }
        char *wanted = read_file(path);
        if (wanted == NULL || strcmp(told, wanted) != 0) {
            print_error("%s reads now:\n%s", path, told);
            wrong++;
        }
        free(wanted);
        free(told);
        free(json);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(wrong, 0);
}

/* Append what is told of a cause, and of whom it came from if there is a ${peer}. */
static void tell_cause(struct ctl_text *all, const char *source, const char *special,
                       const json_t *detail, const char *peer)
{
    json_t *record = json_object();
    struct ctl_cause cause = {.record = record, .source = source, .detail = {detail}, .peer = peer};

    ctl_text_add(all, source);
    if (special[0] != '\0') {
        ctl_text_add(all, " ");
        ctl_text_add(all, special);
    }
    ctl_text_add(all, ": ");
    ctl_cause_happened(all, &cause);
    ctl_text_add(all, "\n");
    for (int number = 0; ctl_cause_because(all, &cause, number); number++)
        ctl_text_add(all, "\n");
    json_decref(record);
}

/* test/erlang/text_tests.erl holds coroner:explain/1 to the same file. */
static void every_source_has_its_sentences(void **state)
{
    static const char full[] =
        "{\"by\":\"<0.41.0>\",\"by_name\":\"boss\",\"by_call\":\"m:f/"
        "1\",\"by_file\":\"m.erl\",\"by_line\":7,"
        "\"by_function\":\"x:y/2\",\"by_node\":\"ops@db4\",\"module\":\"mod\",\"limit_words\":100,"
        "\"size_words\":233,\"port\":\"#Port<0.6>\",\"driver\":\"tcp_inet\",\"target\":\"<0.9.0>\","
        "\"node\":\"far@db5\",\"application\":\"app\",\"supervisor\":\"<0.41.0>\",\"child\":"
        "\"worker_1\","
        "\"timeout_ms\":5000,\"operation\":\"purge\",\"asked_by\":\"<0.6.0>\",\"asked_by_name\":"
        "\"asker\",\"sibling\":\"<0.7.0>\",\"sibling_name\":\"brother\",\"sibling_id\":"
        "\"6a1f0c2be5d94c11-48211\"}";
    /* Rows of their own, in the order of the table. */
    static const char *const special[][3] = {
        {"self_exit", "why", "intensity"},
        {"self_exit", "why", "sibling"},
        {"purge", "operation", "load"},
        {"purge", "operation", "on_load"},
        {"supervisor_shutdown", "why", "terminate_child"},
        {"supervisor_shutdown", "why", "sibling"},
        {"supervisor_shutdown", "why", "intensity"},
        {"supervisor_shutdown", "why", "parent"},
        {"supervisor_shutdown", "why", "application_stop"},
        {"supervisor_brutal_kill", "why", "sibling"},
        {"supervisor_timeout_kill", "why", "terminate_child"},
        {"application_stop", "by_name", "SIGTERM"},
        {"node_stop", "by_name", "SIGTERM"},
    };
    static const char *const sources[] = {
#define X(symbol, name) [CORONER_SOURCE_##symbol] = name,
        CORONER_SOURCES(X)
#undef X
    };
    json_t *rich = json_loads(full, 0, NULL);
    json_t *poor = json_object();
    struct ctl_text all;

    (void)state;
    assert_non_null(rich);
    ctl_text_init(&all, plain);
    for (size_t i = 0; i < CORONER_SOURCE_COUNT; i++) {
        tell_cause(&all, sources[i], "", poor, NULL);
        tell_cause(&all, sources[i], "", rich, "<0.5.0>");
    }
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        json_t *own = json_copy(rich);
        json_object_set_new(poor, special[i][1], json_string(special[i][2]));
        json_object_set_new(own, special[i][1], json_string(special[i][2]));
        tell_cause(&all, special[i][0], special[i][2], poor, NULL);
        tell_cause(&all, special[i][0], special[i][2], own, "<0.5.0>");
        json_object_clear(poor);
        json_decref(own);
    }
    assert_null(strstr(ctl_text_string(&all), "does not know"));
    assert_null(strstr(ctl_text_string(&all), "{"));
    assert_null(strstr(ctl_text_string(&all), "]"));
    if (getenv("CTL_STORIES_WRITE") != NULL) {
        FILE *file = fopen(STORIES "/sources.txt", "w");
        assert_non_null(file);
        fputs(ctl_text_string(&all), file);
        fclose(file);
    }
    char *wanted = read_file(STORIES "/sources.txt");
    assert_non_null(wanted);
    assert_string_equal(ctl_text_string(&all), wanted);
    free(wanted);
    ctl_text_free(&all);
    json_decref(rich);
    json_decref(poor);
}

static void a_source_of_tomorrow_is_told_by_its_name(void **state)
{
    char *told = tell("{\"exit\":{\"source\":\"moon\\u001b[2J\",\"reason\":\"r\"}}", plain);

    (void)state;
    assert_non_null(strstr(told, "does not know: moon\\x1b[2J"));
    free(told);
}

/* Take one value after the other out of a whole record, or put another type there: it is still
 * told. */
static void mutilate(const json_t *record, json_t *part)
{
    static const char *const others[] = {"null", "7",        "\"\"", "\"\\u001b[2J\"",
                                         "[]",   "[[1,{}]]", "{}",   "true"};
    const char *name;
    json_t *value;
    json_t *keys = json_array(); /* taken first: the object changes under the loop */
    size_t number;

    json_object_foreach(part, name, value)
    {
        json_array_append_new(keys, json_string(name));
    }
    json_array_foreach(keys, number, value)
    {
        const char *key = json_string_value(value);
        json_t *whole = json_incref(json_object_get(part, key));
        json_t *inner = json_is_array(whole) ? json_array_get(whole, 0) : whole;
        if (json_is_object(inner))
            mutilate(record, inner);
        for (size_t i = 0; i <= sizeof(others) / sizeof(others[0]); i++) {
            if (i == sizeof(others) / sizeof(others[0]))
                json_object_del(part, key);
            else
                json_object_set_new(part, key, json_loads(others[i], JSON_DECODE_ANY, NULL));
            struct ctl_text text;
            ctl_text_init(&text, plain);
            ctl_story_tree(&text, record);
            ctl_story_line(&text, record);
            assert_false(text.failed);
            assert_null(strchr(ctl_text_string(&text), 033));
            ctl_text_free(&text);
        }
        json_object_set_new(part, key, whole);
    }
    json_decref(keys);
}

static void mutilated_records_are_still_told(void **state)
{
    static const char *const names[] = {"design", "ambiguous", "cascade_elided", "max_heap_size"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        snprintf(path, sizeof(path), STORIES "/%s.json", names[i]);
        char *json = read_file(path);
        assert_non_null(json);
        json_t *record = json_loads(json, 0, NULL);
        assert_non_null(record);
        mutilate(record, record);
        json_decref(record);
        free(json);
    }
}

/* A chain of ${size} hops that says it has ${length}. */
static char *tell_chain(int size, int length)
{
    json_t *chain = json_array();
    for (int i = 0; i < size; i++) {
        char pid[32];
        snprintf(pid, sizeof(pid), "<0.%d.0>", i);
        json_array_append_new(
            chain, json_pack("{s:s, s:s}", "pid", pid, "source", i == 0 ? "kill" : "link"));
    }
    json_t *record =
        json_pack("{s:{s:s}, s:{s:s, s:s}, s:i, s:o}", "process", "pid", "<0.9999.0>", "exit",
                  "source", "link", "reason", "boom", "chain_length", length, "chain", chain);
    char *json = json_dumps(record, 0);
    char *told = tell(json, plain);
    free(json);
    json_decref(record);
    return told;
}

/* However the chain is cut, hops drawn and hops counted are all there are. */
static void hops_drawn_and_counted_add_up(void **state)
{
    (void)state;
    for (int size = 1; size < 60; size++) {
        for (int more = 0; more < 3; more++) {
            int length = size + more * 500;
            char *told = tell_chain(size, length);
            int drawn = 0;
            int hidden = 0;
            for (const char *at = told; (at = strstr(at, "\xe2\x94\x94\xe2\x94\x80 ")) != NULL;
                 at += 7) {
                if (sscanf(at + 7, "\xe2\x80\xa6 %d more hop", &hidden) != 1)
                    drawn++;
            }
            assert_int_equal(drawn + hidden, length);
            if (size > 1)
                assert_non_null(strstr(told, "<0.0.0> was killed"));
            free(told);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_read_as_their_golden_texts),
        cmocka_unit_test(every_source_has_its_sentences),
        cmocka_unit_test(a_source_of_tomorrow_is_told_by_its_name),
        cmocka_unit_test(mutilated_records_are_still_told),
        cmocka_unit_test(hops_drawn_and_counted_add_up),
    };

    return cmocka_run_group_tests_name("ctl_story", tests, NULL, NULL);
}
