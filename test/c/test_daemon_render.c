/*
 * Renderings, each held against a line that was read and found right: test/c/renderings has a line
 * NAME.native and what it becomes, NAME.ecs and NAME.otlp.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "render.h"

#define FOLDER "test/c/renderings"

static const char *const suffixes[] = {".native", ".ecs", ".otlp"};

static struct buffer read_file(const char *name, size_t name_length, const char *suffix)
{
    struct buffer content = {0};
    char path[256], part[4096];
    size_t length;
    FILE *file;

    snprintf(path, sizeof(path), FOLDER "/%.*s%s", (int)name_length, name, suffix);
    file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s is not there", path);
    while ((length = fread(part, 1, sizeof(part), file)) > 0)
        buffer_append(&content, part, length);
    fclose(file);
    return content;
}

static void check_rendering(const char *name, size_t name_length, const struct buffer *native,
                            enum sink_format format)
{
    struct buffer wanted = read_file(name, name_length, suffixes[format]);
    struct buffer got = {0};

    assert_true(render_line(format, native->data, native->length - 1, &got));
    if (got.length != wanted.length || memcmp(got.data, wanted.data, got.length) != 0)
        fail_msg("%.*s%s:\ngot    %.*swanted %.*s", (int)name_length, name, suffixes[format],
                 (int)got.length, got.data, (int)wanted.length, wanted.data);
    assert_memory_equal(got.data, render_start(format), strlen(render_start(format)));
    buffer_clear(&wanted);
    buffer_clear(&got);
}

static void lines_come_out_as_they_should(void **state)
{
    DIR *folder = opendir(FOLDER);
    const struct dirent *entry;
    const char *dot;
    int count = 0;

    (void)state;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        struct buffer native;

        dot = strstr(entry->d_name, ".native");
        if (dot == NULL)
            continue;
        native = read_file(entry->d_name, (size_t)(dot - entry->d_name), ".native");
        for (int format = SINK_NATIVE; format <= SINK_OTLP; format++)
            check_rendering(entry->d_name, (size_t)(dot - entry->d_name), &native,
                            (enum sink_format)format);
        buffer_clear(&native);
        count++;
    }
    closedir(folder);
    assert_int_equal(count, 5);
}

/* The id is found behind the key, and nothing before it looks like it. */
static void the_id_is_where_it_is_looked_for(void **state)
{
    static const char json[] =
        "{\"schema\":\"coroner.exit/"
        "1\",\"id\":\"6a1f0c2be5d94c11-7\",\"time\":\"2026-11-23T15:46:33."
        "094688123Z\",\"severity\":\"error\",\"message\":\"\\\"id\\\":\\\"no\\\" log.record.uid\","
        "\"node\":{\"name\":\"\\\"id\\\":\\\"\",\"host\":\"h\"},\"exit\":{\"source\":\"kill\"}}";

    (void)state;
    for (int format = SINK_NATIVE; format <= SINK_OTLP; format++) {
        struct buffer out = {0};
        const char *key = render_id_key((enum sink_format)format), *at;

        assert_true(render_line((enum sink_format)format, json, sizeof(json) - 1, &out));
        at = memmem(out.data, out.length, key, strlen(key));
        assert_non_null(at);
        assert_memory_equal(at + strlen(key), "6a1f0c2be5d94c11-7\"", 19);
        buffer_clear(&out);
    }
}

static void what_is_no_record_comes_out_as_it_is(void **state)
{
    static const char *const lines[] = {"", "[]", "{\"schema\":", "5"};

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (int format = SINK_ECS; format <= SINK_OTLP; format++) {
            struct buffer out = {0};

            assert_false(render_line((enum sink_format)format, lines[i], strlen(lines[i]), &out));
            assert_int_equal(out.length, strlen(lines[i]) + 1);
            buffer_clear(&out);
        }
    }
}

/* Fields of wrong types, or none at all, as a later version or a damaged store may have. */
static void whatever_a_record_lacks(void **state)
{
    static const char *const lines[] = {
        "{}",
        "{\"exit\":1,\"origin\":[],\"node\":\"x\",\"id\":7,\"time\":null,\"message\":[1],"
        "\"severity\":{}}",
        "{\"exit\":{\"stack\":\"s\"},\"chain\":[1,\"a\",null],\"node\":{\"os_pid\":"
        "\"9007199254740993\"}}",
        "{\"exit\":{\"stack\":[1,null],\"candidates\":[1]},\"id\":\"-\",\"time\":\"yesterday\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (int format = SINK_ECS; format <= SINK_OTLP; format++) {
            struct buffer out = {0};
            json_t *read;

            assert_true(render_line((enum sink_format)format, lines[i], strlen(lines[i]), &out));
            read = json_loadb(out.data, out.length, 0, NULL);
            assert_true(json_is_object(read));
            json_decref(read);
            buffer_clear(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_as_they_should),
        cmocka_unit_test(the_id_is_where_it_is_looked_for),
        cmocka_unit_test(what_is_no_record_comes_out_as_it_is),
        cmocka_unit_test(whatever_a_record_lacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
