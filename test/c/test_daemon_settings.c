/* The config file: what it may say, what it may not and where, and that the sample tells the truth.
 */
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory.h"
#include "settings.h"
#include "settings_places.h"
#include "settings_keys.h"

#define SAMPLE "priv/coronerd.conf"

static const struct settings_flags no_flags = {.out = NULL};

static struct settings *parse(const char *text)
{
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_parse(text, strlen(text), "f", &no_flags, why);

    if (settings == NULL)
        fail_msg("%s: %s", text, why);
    return settings;
}

/* The text for settings, to be freed. */
static char *print(struct settings *settings)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    assert_non_null(out);
    settings_print(settings, out);
    assert_int_equal(fclose(out), 0);
    settings_free(settings);
    return text;
}

/* The text for what ${text} sets. */
static char *printed(const char *text)
{
    return print(parse(text));
}

static void expect_line(const char *text, const char *line)
{
    char *all = printed(text);

    if (strstr(all, line) == NULL)
        fail_msg("'%s' does not give '%s' but\n%s", text, line, all);
    free(all);
}

static void expect_error(const char *text, size_t length, const char *error)
{
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_parse(text, length, "f", &no_flags, why);

    if (settings != NULL)
        fail_msg("'%s' is taken", text);
    if (strstr(why, error) == NULL)
        fail_msg("'%s' gives '%s', not '%s'", text, why, error);
}

static void test_values(void **state)
{
    (void)state;
    expect_line("drain_timeout = 2m", "drain_timeout = 2m\n");
    expect_line("store { max_bytes = 1536MiB }", "max_bytes = 1536MiB\n");
    expect_line("store { max_bytes = 2048MiB }", "max_bytes = 2GiB\n");
    expect_line("store { max_bytes = 20000001B }", "max_bytes = 20000001B\n");
    expect_line("store { max_bytes = 0 }", "max_bytes = 0\n");
    expect_line("store { max_age = 36h }", "max_age = 36h\n");
    expect_line("store { max_age = 48h }", "max_age = 2d\n");
    expect_line("limits { query_deadline = 1500ms }", "query_deadline = 1500ms\n");
    expect_line("store { segment_rows = 100000 }", "segment_rows = 100000\n");
    expect_line("query { mode = 600 }", "mode = 0600\n");
    expect_line("query { group = root }", "group = 0\n");
    expect_line("query { allow_users = { root, 1000 } }", "allow_users = {0, 1000}\n");
    expect_line("query { allow_users = {}\nallow_groups = {0} }", "allow_groups = {0}\n");
    expect_line("query { allow_users = {1}\nallow_users += {2} }", "allow_users = {1, 2}\n");
    expect_line("http { address = \"[::1]:9321\" }", "address = \"[::1]:9321\"\n");
    expect_line("http { address = unix:/run/x }", "address = \"unix:/run/x\"\n");
    expect_line("sink a { type = stdout fold = yes }", "fold = on\n");
    expect_line("sink a { path = '/a b' }", "path = \"/a b\"\n");
    expect_line("sink a { path = \"/a\\x41\\\"\\$\\\\\" }", "path = \"/aA\\\"\\$\\\\\"\n");
    expect_line("sink a { type = exec\ncommand = {/bin/cat, '', \"a\\tb\"} }",
                "command = {\"/bin/cat\", \"\", \"a\\x09b\"}\n");
    expect_line("# a comment\r\ndrain_timeout = 1s # another\r\n", "drain_timeout = 1s\n");
    expect_line("query { allow_users = { # in\n 1, # a\n 2 # list\n} }", "allow_users = {1, 2}\n");
}

static void test_names_of_this_host(void **state)
{
    const struct passwd *user = getpwuid(0);
    const struct group *group = getgrgid(0);
    struct settings *settings;
    char text[512];

    (void)state;
    assert_non_null(user);
    assert_non_null(group);
    snprintf(text, sizeof(text), "ingest { allow_users = {%s} allow_groups = {%s} group = %s }",
             user->pw_name, group->gr_name, group->gr_name);
    settings = parse(text);
    assert_int_equal(settings->ingest.uid_count, 1);
    assert_int_equal(settings->ingest.uids[0], 0);
    assert_int_equal(settings->ingest.gid_count, 1);
    assert_int_equal(settings->ingest.gids[0], 0);
    assert_int_equal(settings->ingest.group, 0);
    assert_int_equal(settings->query.group, (gid_t)-1);
    settings_free(settings);
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"nonsense = 1", "f:1: no such option 'nonsense'"},
        {"\n# c\n# c\n\nstore {\n  nonsense = 1\n}", "f:6: no such option 'nonsense'"},
        {"nonsense { }", "f:1: no such option 'nonsense'"},
        {"include = \"f\"", "f:1: no such option 'include'"},
        {"include(\"f\")", "f:1: a text with '(' in it stands in quotes"},
        {"store {\n path = foo }", "f:2: path: 'foo' is no absolute path"},
        {"query { path = "
         "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx }",
         "f:1: path: the path is too long"},
        {"store { path = \"/a\\nb\" }", "f:1: path: a path has no control characters"},
        {"store {\n max_bytes = 10 }", "f:2: max_bytes: '10' is no size"},
        {"store { max_bytes = 1KiB }", "f:1: max_bytes: '1KiB' is too small"},
        {"store { max_bytes = 99999999999GiB }", "is no size"},
        {"store { max_bytes = -1GiB }", "is no size"},
        {"store { max_age = 10 }", "f:1: max_age: '10' is no duration"},
        {"store { max_age = 10ms }", "is not a whole number of seconds"},
        {"store { max_age = 99999w }", "is not from 0 to"},
        {"query { mode = 1660 }", "f:1: mode: '1660' is no file mode"},
        {"query { mode = 888 }", "is no file mode"},
        {"query { group = 'no such' }", "f:1: group: there is no group 'no such' on this host"},
        {"query { allow_users = {4294967295} }", "there is no user '4294967295'"},
        {"query {\nallow_users = {\n0,\n''} }", "f:4: allow_users: there is no user ''"},
        {"limits { query_connections = 1 }", "'1' is not a number from 8 to 100000"},
        {"limits { query_connections = 64.0 }", "is not a number"},
        {"limits { query_deadline = 1ms }", "is not from 10 to 3600000 milliseconds"},
        {"http { address = \"0.0.0.0:80\" }",
         "f:1: address: 0.0.0.0:80: not an address of this host alone"},
        {"http { address = \"127.0.0.1\" }", "no address for HTTP"},
        {"http { address = \"127.0.0.1:65536\" }", "no address for HTTP"},
        {"http { address = localhost:80 }", "no address for HTTP"},
        {"http { address = unix:x }", "begins with /"},
        {"sink a { type = fiel\n path = /x }",
         "f:1: type: 'fiel' is not one of file, stdout, exec"},
        {"sink a { fold = 1 }", "f:1: fold: '1' is neither on nor off"},
        {"sink a {\n}", "the sink 'a' of type file needs 'path'"},
        {"sink a { type = exec }", "the sink 'a' of type exec needs 'command'"},
        {"sink a { type = exec command = {cat} }", "'cat' is no absolute path"},
        {"sink a { type = nats subject = '' }", "the sink 'a' of type nats needs 'subject'"},
        {"sink a { type = stdout\n path = /x }",
         "the sink 'a' of type stdout has no use for 'path'"},
        {"sink Aa { path = /x }", "f:1: a sink's name has 1 to 32 of a-z, 0-9, - and _"},
        {"sink '' { path = /x }", "a sink's name has 1 to 32"},
        {"sink aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa { path = /x }", "a sink's name has 1 to 32"},
        {"sink { path = /x }", "f:1: missing title for section 'sink'"},
        {"sink a { path = /x }\nsink a { path = /y }", "f:2: found duplicate title 'a'"},
        {"sink a { path = /x }\nsink b {\npath = '//x' }", "f:3: the sink 'a' and the sink 'b'"},
        {"sink a { type = stdout }\nsink b { type = stdout }", "f:2: the sinks 'a' and 'b' both"},
        {"\nquery { path = /run/coroner/ingest.sock }", "f:2: ingest.path and query.path have"},
        {"http { address = unix:/run/./coroner/query.sock }", "f:1: query.path and http.address"},
        {"store { path = /x\n path = /y }", "f:2: 'path' is given for the second time"},
        {"store { path = /x }\nstore { path = /y }", "f:2: 'path' is given for the second time"},
        {"query { allow_users = {1}\n allow_users = {2} }", "f:2: 'allow_users' is given for the"},
        {"drain_timeout = 1s\ndrain_timeout = 2s", "f:2: 'drain_timeout' is given for the second"},
        {"store|path = /x", "f:1: a text with '|' in it stands in quotes"},
        {"\"store|path\" = /x", "f:1: no such option 'path' outside of its section"},
        {"'' = 1", "f:1: this is neither an option nor a section"},
        {"store", "premature end of file"},
        {"store = 1", "f:1: missing opening brace for section 'store'"},
        {"drain_timeout 1s", "f:1: missing equal sign after option 'drain_timeout'"},
        {"drain_timeout = }", "f:1: a closing brace that none opens"},
        {"\nstore {\n\n", "f:2: the brace that is opened here is not closed"},
        {"store { } }", "f:1: a closing brace that none opens"},
        {"{{{{{{{{{{{{{{", "f:1: too many braces"},
        {"\nsink a { path = \"/x }\n", "f:2: the text that begins with \" is not closed"},
        {"\nsink a { path = '/x }\n", "f:2: the text that begins with ' is not closed"},
        {"// x\n", "f:1: a comment begins with #"},
        {"/* x */\n", "f:1: a comment begins with #"},
        {"sink a { path = /var/*.log }", "f:1: a text with '*' in it stands in quotes"},
        {"sink a { path = \"/${HOME}\" }", "f:1: variables are not replaced"},
        {"sink a { path = /${HOME} }", "f:1: a text with '$' in it stands in quotes"},
        {"sink a { path = \"/\\0\" }", "f:1: after a backslash stands one of"},
        {"sink a { path = \"/\\x00\" }", "f:1: after a backslash stands one of"},
        {"\n\033[2J", "f:2: a byte 0x1b is no text"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(cases[i].text, strlen(cases[i].text), cases[i].error);
    expect_error("drain_timeout = \"1\0s\"\n", 22, "f:1: a byte 0x00 is no text");
    /* One bad file leaves nothing behind for the next. */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_error(cases[i].text, strlen(cases[i].text), "");
        expect_line("drain_timeout = 3s", "drain_timeout = 3s\n");
    }
}

static void test_too_many_sinks(void **state)
{
    char text[4096] = "";

    (void)state;
    for (int i = 0; i <= SETTINGS_SINKS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "sink a%d { path = /%d }\n", i,
                 i);
    expect_error(text, strlen(text), "f:17: there are at most 16 sinks");
}

static void test_long_list(void **state)
{
    size_t length = 0, size = 16384;
    char *text = memory_zeroed(size);

    (void)state;
    length += (size_t)snprintf(text, size, "query { allow_users = {0");
    for (int i = 0; i < 300; i++)
        length += (size_t)snprintf(text + length, size - length, ",\n%d", i);
    snprintf(text + length, size - length, "} }");
    expect_error(text, strlen(text), "f:257: allow_users: a list has at most 256 elements");
    free(text);
}

static void test_print_reads_back(void **state)
{
    static const char *const texts[] = {
        "", "sink a { path = \"/\\\"\\\\\\$\" }\nsink b { type = nats url = 'nats://a:1,b:2' }",
        "query { allow_users = {1, 2} allow_groups = {3} } http { address = 127.0.0.2:1 }",
        "sink c { type = exec command = {/bin/sh, -c, 'a \"b\" $c \\ d'} format = otlp }"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *once = printed(texts[i]), *twice = printed(once);

        assert_string_equal(once, twice);
        free(once);
        free(twice);
    }
}

static void test_flags(void **state)
{
    static const char text[] = "ingest { path = /a } sink out { path = /o format = ecs }";
    struct settings_flags flags = {.listen = "b", .query = "c", .store = "d", .out = "e"};
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_parse(text, strlen(text), "f", &flags, why);

    (void)state;
    assert_non_null(settings);
    assert_string_equal(settings->ingest.path, "b");
    assert_string_equal(settings->query.path, "c");
    assert_string_equal(settings->store.path, "d");
    assert_int_equal(settings->sink_count, 1);
    assert_string_equal(settings->sinks[0].path, "e");
    assert_int_equal(settings->sinks[0].format, SINK_ECS);
    settings_free(settings);

    flags = (struct settings_flags){.out = "-"};
    settings = settings_read(NULL, &flags, why);
    assert_non_null(settings);
    assert_int_equal(settings->sink_count, 1);
    assert_string_equal(settings->sinks[0].name, "out");
    assert_int_equal(settings->sinks[0].type, SINK_STDOUT);
    settings_free(settings);

    flags = (struct settings_flags){.http = "127.0.0.1:0"};
    settings = settings_read(NULL, &flags, why);
    assert_non_null(settings);
    assert_string_equal(settings->http, "127.0.0.1:0");
    settings_free(settings);
    flags.http = "1.2.3.4:5";
    assert_null(settings_read(NULL, &flags, why));
    assert_non_null(strstr(why, "--http: 1.2.3.4:5: not an address of this host alone"));

    flags = (struct settings_flags){.query = "/a"};
    assert_null(settings_parse(text, strlen(text), "f", &flags, why));
    assert_non_null(strstr(why, "f:1: ingest.path and query.path have the same path '/a'"));
}

/* What a reload tells, one line each. */
static void on_change(void *cookie, enum settings_change change, const char *key, const char *was,
                      const char *is)
{
    fprintf(cookie, "%s %s: %s -> %s\n", change == SETTINGS_TAKEN ? "taken" : "restart", key, was,
            is);
}

static void test_take(void **state)
{
    struct settings *running = parse("query { allow_users = {1} } sink a { path = /a }\n"
                                     "sink b { path = /b }");
    struct settings *fresh = parse("query { path = /q allow_users = {2, 3} mode = 0600 }\n"
                                   "sink a { path = /c } sink d { type = stdout }");
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    assert_non_null(out);
    settings_take(running, fresh, on_change, out);
    fclose(out);
    assert_string_equal(text, "restart query.path: \"/run/coroner/query.sock\" -> \"/q\"\n"
                              "taken query.mode: 0660 -> 0600\n"
                              "taken query.allow_users: {1} -> {2, 3}\n"
                              "restart sink 'a'.path: \"/a\" -> \"/c\"\n"
                              "restart sink 'b': there -> not there\n"
                              "restart sink 'd': not there -> there\n");
    free(text);
    settings_free(fresh);
    assert_string_equal(running->query.path, "/run/coroner/query.sock");
    assert_int_equal(running->query.mode, 0600);
    assert_int_equal(running->query.uid_count, 2);
    assert_int_equal(running->query.uids[1], 3);
    settings_free(running);
}

/* ---- files ---- */

static void expect_file_error(const char *path, const char *error)
{
    char why[SETTINGS_WHY_SIZE];

    assert_null(settings_read(path, &no_flags, why));
    if (strstr(why, error) == NULL || strncmp(why, path, strlen(path)) != 0)
        fail_msg("%s gives '%s', not '%s'", path, why, error);
}

static void test_hostile_files(void **state)
{
    char folder[] = "/tmp/coroner-settings-XXXXXX", path[64];
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    expect_file_error(path, "cannot read the config file: No such file");
    expect_file_error(folder, "is a directory");
    expect_file_error("/dev/zero", "is a device");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_file_error(path, "is a FIFO");
    assert_int_equal(unlink(path), 0);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), 100 << 20), 0);
    expect_file_error(path, "a config file has at most 262144 bytes");
    assert_int_equal(ftruncate(fileno(file), 100), 0);
    expect_file_error(path, ":1: a byte 0x00 is no text");
    assert_int_equal(ftruncate(fileno(file), 0), 0);
    assert_int_equal(chmod(path, 0666), 0);
    expect_file_error(path, "everybody may write to this file (mode 0666)");
    fclose(file);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(path, path), 0);
    expect_file_error(path, "Too many levels of symbolic links");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- the sample ---- */

/* The sample with the settings in its comments, if ${uncommented}; to be freed. */
static char *read_sample(bool uncommented)
{
    FILE *file = fopen(SAMPLE, "r");
    char line[512], *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    assert_non_null(file);
    assert_non_null(out);
    while (fgets(line, sizeof(line), file) != NULL) {
        char *at = line + strspn(line, " ");

        /* After "# " is prose; anything else after "#" is a setting. */
        if (uncommented && at[0] == '#' && (at[1] != ' ' || at[2] == ' '))
            *at = ' ';
        fputs(line, out);
    }
    fclose(file);
    fclose(out);
    return text;
}

static void test_sample_holds_the_defaults(void **state)
{
    char *plain = read_sample(false), *text = read_sample(true);
    char *defaults, *sample, *open;

    (void)state;
    open = printed(plain);
    defaults = printed("");
    assert_string_equal(open, defaults);
    free(open);
    free(defaults);
    sample = printed(text);
    defaults = printed("sink file { path = /var/log/coroner/exits.ndjson } sink stdout { type = "
                       "stdout } sink command { type = exec command = {/usr/bin/logger, --tag, "
                       "coroner} } sink nats { type = nats }");
    assert_string_equal(sample, defaults);
    free(sample);
    free(defaults);
    free(text);
    free(plain);
}

static bool section_has(const char *text, const char *section, const char *name)
{
    char pattern[64];
    const char *begin, *found;

    snprintf(pattern, sizeof(pattern), "\n%s {", section);
    begin = section[0] != '\0' ? strstr(text, pattern) : text;
    snprintf(pattern, sizeof(pattern), " %s = ", name);
    found = begin != NULL ? strstr(begin, pattern) : NULL;
    return found != NULL &&
           (section[0] == '\0' || found < strstr(begin, section[0] == ' ' ? "\n }" : "\n}"));
}

static void test_sample_has_every_key(void **state)
{
    static const char *const sinks[] = {" sink \"file\"", " sink \"stdout\"", " sink \"command\"",
                                        " sink \"nats\""};
    char *text = read_sample(true);
    const struct settings_key *key;

    (void)state;
    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        bool found = key->sinks == 0 && section_has(text, key->section, key->name);

        for (size_t j = 0; key->sinks != 0 && j < sizeof(sinks) / sizeof(sinks[0]); j++)
            found = found || section_has(text, sinks[j], key->name);
        if (!found)
            fail_msg("the sample has no %s.%s", key->section, key->name);
    }
    free(text);
}

/* For the tests that hold other texts against the keys: coronerd.conf(5). */
static void test_keys_are_unique(void **state)
{
    const struct settings_key *key, *other;

    (void)state;
    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        for (size_t j = 0; j < i; j++) {
            other = settings_key_at(j);
            assert_false(strcmp(key->section, other->section) == 0 &&
                         strcmp(key->name, other->name) == 0);
        }
    }
}

/* All that is wrong is told, each with its line and once, in the order of the file. */
static void test_all_errors(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"drain_timeuot = 1s\nstore {\n max_bytes = 10\n pth = /x\n max_age = 10 }\n"
         "query { mode = 1660 }\nsink A { type = stdout\n fold = yes }\n"
         "sink b { path = x\n mode = 1 }\nsink c { type = exec }\n",
         "f:1: no such option 'drain_timeuot'\n"
         "f:3: max_bytes: '10' is no size\n"
         "f:4: no such option 'pth'\n"
         "f:5: max_age: '10' is no duration\n"
         "f:6: mode: '1660' is no file mode\n"
         "f:7: a sink's name has 1 to 32 of a-z, 0-9, - and _, and 'A' has not\n"
         "f:9: path: 'x' is no absolute path\n"
         "f:10: mode: '1' is no file mode\n"
         "f:11: the sink 'c' of type exec needs 'command'"},
        /* Lists and texts with braces in them are passed over as well; a section is where it ends.
         */
        {"a = { 1, \"}\", 2 }\nb = \"{\"\nstore { max_age = 10 }\nnonsense { x = 1 }\nquery { mode "
         "= 1660 }\n",
         "f:1: no such option 'a'\nf:2: no such option 'b'\nf:3: max_age: '10' is no duration"},
        {"store { path = /a }\nsink b { path = /a }\nsink c { path = /b\n}\nsink d { path = /b }\n"
         "sink e { type = stdout }\nsink g { type = stdout }\nsink h { type = exec }\n",
         "f:2: store.path and the sink 'b' have the same path '/a'\n"
         "f:5: the sink 'c' and the sink 'd' have the same path '/b'\n"
         "f:7: the sinks 'e' and 'g' both write to stdout\n"
         "f:8: the sink 'h' of type exec needs 'command'"},
    };
    char why[SETTINGS_WHY_SIZE];
    char *many = malloc(4096);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(settings_parse(cases[i].text, strlen(cases[i].text), "f", &no_flags, why));
        const char *at = why;
        char wanted[1024], *rest = wanted, *line;

        /* What comes behind the sentence in a line may be more than is asked for here. */
        snprintf(wanted, sizeof(wanted), "%s", cases[i].why);
        while ((line = strsep(&rest, "\n")) != NULL) {
            const char *found = strstr(at, line);

            if (found == NULL || (found != why && found[-1] != '\n'))
                fail_msg("no '%s' in\n%s", line, why);
            at = found + strlen(line);
        }
    }
    /* A sink's errors name no other that follows from them. */
    const char *sinks =
        "sink A { type = stdout\n fold = yes }\nsink b { path = x\n mode = 1000000 }";
    assert_null(settings_parse(sinks, strlen(sinks), "f", &no_flags, why));
    assert_null(strstr(why, "needs"));
    size_t lines = 1;
    for (const char *at = why; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 3);
    /* So many that they are not all told: that is said. */
    many[0] = '\0';
    for (int i = 0; i < 40; i++)
        strcat(many, "query { mode = 1660 }\n");
    assert_null(settings_parse(many, strlen(many), "f", &no_flags, why));
    assert_non_null(strstr(why, "\nand "));
    assert_non_null(strstr(why, " more errors"));
    free(many);
}

static void keep_place(void *cookie, const char *what)
{
    strcat(cookie, what);
    strcat(cookie, "\n");
}

/* Folders that are not there, or no folders, and files that are folders. */
static void test_places(void **state)
{
    char folder[] = "/tmp/settings-XXXXXX", text[1024], told[4096] = "", wanted[2048];
    char why[SETTINGS_WHY_SIZE];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof(text),
             "ingest { path = %s/no/i.sock }\nquery { path = /dev/null/q.sock }\n"
             "store { path = %s/exits.db }\nhttp { address = \"unix:%s/gone/h\" }\n"
             "sink a { path = %s }\nsink b { path = %s/b }\n",
             folder, folder, folder, folder, folder);
    struct settings *settings = settings_parse(text, strlen(text), "f", &no_flags, why);
    assert_non_null(settings);
    settings_places(settings, keep_place, told);
    snprintf(wanted, sizeof(wanted),
             "ingest.path: the folder '%s/no' does not exist\n"
             "query.path: the folder '/dev/null' is no folder\n"
             "http.address: the folder '%s/gone' does not exist\n"
             "the sink 'a': the file '%s' is a folder\n",
             folder, folder, folder);
    assert_string_equal(told, wanted);
    settings_free(settings);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_names_of_this_host),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_too_many_sinks),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_print_reads_back),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_sample_holds_the_defaults),
        cmocka_unit_test(test_sample_has_every_key),
        cmocka_unit_test(test_keys_are_unique),
        cmocka_unit_test(test_all_errors),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
