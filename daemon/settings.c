#include <confuse.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "settings.h"
#include "settings_keys.h"
#include "settings_text.h"

#define KEYS_MAX 64
#define SECTIONS_MAX 16
#define VALUES_MAX 4096 /* options of a file that are given */
#define ERRORS_MAX 32   /* that are told of one file */
#define ERROR_SIZE 640  /* bytes of one */
#define UNKNOWN_MAX 16  /* options of a file that there are not, and parsing goes on */

struct error {
    unsigned line; /* 0: it is not about the file */
    char text[ERROR_SIZE];
};

/* An option that there is not: the next time the file is parsed it is passed over. */
struct unknown {
    char section[64];
    char name[64];
};

/* What is being read. libconfuse hands nothing of ours to its callbacks. */
struct reading {
    struct settings *settings;
    const char *name; /* of the file */
    struct error errors[ERRORS_MAX];
    size_t error_count;
    size_t errors_left_out;
    size_t noted; /* how often one was, also for the second time */
    struct unknown unknown[UNKNOWN_MAX];
    size_t unknown_count;
    bool found_unknown;                 /* by this turn of parsing, as the last of the array */
    const cfg_t *wrong_sink;            /* the section whose title is told to be wrong already */
    const cfg_opt_t *given[VALUES_MAX]; /* which there were */
    size_t given_count;
    uint64_t sink_given; /* a bit for each key of the sink that is being read */
    size_t sink_errors;  /* how many were noted before it */
    unsigned lines[KEYS_MAX];
    unsigned sink_lines[SETTINGS_SINKS_MAX];
};

static struct reading *reading;

__attribute__((format(printf, 2, 3))) static int fail(cfg_t *section, const char *format, ...);

/* ---- defaults ---- */

static void set_default(const struct settings_key *key, void *value)
{
    char why[VALUE_WHY_SIZE];

    if (key->fallback != NULL && value_set(&key->type, key->fallback, value, why) != 0)
        abort();
}

static void set_defaults(struct settings *settings, struct sink_settings *sink)
{
    const struct settings_key *key;

    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if ((key->sinks != 0) == (sink != NULL))
            set_default(key, settings_key_value(key, settings, sink));
    }
}

static struct sink_settings *find_sink(struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->sink_count; i++) {
        if (strcmp(settings->sinks[i].name, name) == 0)
            return &settings->sinks[i];
    }
    return NULL;
}

static struct sink_settings *add_sink(struct settings *settings, const char *name)
{
    struct sink_settings *sink = &settings->sinks[settings->sink_count++];

    set_defaults(settings, sink);
    sink->name = memory_string(name);
    return sink;
}

/* ---- what libconfuse finds ---- */

/* Note an error of the ${line}, once: a file can be parsed several times. */
static void note(unsigned line, const char *text)
{
    struct error *error = &reading->errors[reading->error_count];

    reading->noted++;
    for (size_t i = 0; i < reading->error_count; i++) {
        if (reading->errors[i].line == line && strcmp(reading->errors[i].text, text) == 0)
            return;
    }
    if (reading->error_count == ERRORS_MAX) {
        reading->errors_left_out++;
        return;
    }
    error->line = line;
    snprintf(error->text, sizeof(error->text), "%s", text);
    reading->error_count++;
}

/* The name in quotes behind ${what} in an error of libconfuse, into ${name}. Return whether. */
static bool quoted_name(const char *text, const char *what, char name[64])
{
    size_t length = strlen(what);
    const char *end;

    if (strncmp(text, what, length) != 0 || (end = strrchr(text, '\'')) <= text + length ||
        (size_t)(end - text) - length >= 64)
        return false;
    snprintf(name, 64, "%.*s", (int)((size_t)(end - text) - length), text + length);
    return true;
}

static bool is_unknown(const char *section, const char *name)
{
    for (size_t i = 0; i < reading->unknown_count; i++) {
        if (strcmp(reading->unknown[i].section, section) == 0 &&
            strcmp(reading->unknown[i].name, name) == 0)
            return true;
    }
    return false;
}

/* libconfuse has found an error, and ends. One of a name that there is not can be passed over. */
static void on_error(cfg_t *section, const char *format, va_list arguments)
{
    struct unknown *unknown = &reading->unknown[reading->unknown_count];
    char text[ERROR_SIZE], name[64];

    vsnprintf(text, sizeof(text), format, arguments);
    /* As a section, what is passed over as an option is none: that was told. */
    if (quoted_name(text, "missing equal sign for option '", name) &&
        is_unknown(section->name, name))
        return;
    note((unsigned)section->line, text);
    if (!quoted_name(text, "no such option '", name) || reading->unknown_count == UNKNOWN_MAX ||
        is_unknown(section->name, name) || strlen(section->name) >= sizeof(unknown->section))
        return;
    snprintf(unknown->section, sizeof(unknown->section), "%s", section->name);
    snprintf(unknown->name, sizeof(unknown->name), "%s", name);
    reading->unknown_count++;
    reading->found_unknown = true;
}

static int fail(cfg_t *section, const char *format, ...)
{
    char text[ERROR_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    note((unsigned)section->line, text);
    return -1;
}

static const char *section_name(const cfg_t *section)
{
    return section->title == NULL && strcmp(section->name, "root") == 0 ? "" : section->name;
}

static const struct settings_key *find_key(const char *section, const char *name, size_t *index)
{
    const struct settings_key *key;

    for (*index = 0; (key = settings_key_at(*index)) != NULL; ++*index) {
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

/* Note that an option is given. Return -1 if it was already, in which case one of them is in vain.
 */
static int note_given(cfg_t *section, const cfg_opt_t *option)
{
    size_t i = 0;

    while (i < reading->given_count && reading->given[i] != option)
        i++;
    if (i == VALUES_MAX)
        return fail(section, "too many values");
    if (i == reading->given_count)
        reading->given[reading->given_count++] = option;
    else if (option->nvalues <= 1)
        return fail(section, "'%s' is given for the second time", option->name);
    return 0;
}

static int check_sink_name(cfg_t *section, const char *name)
{
    size_t length = strlen(name);

    if (length < 1 || length > 32 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != length)
        return fail(section, "a sink's name has 1 to 32 of a-z, 0-9, - and _, and '%.64s' has not",
                    name);
    return 0;
}

/* The sink of a section, made when the section's first value is read. */
static struct sink_settings *sink_of(cfg_t *section)
{
    struct settings *settings = reading->settings;
    struct sink_settings *sink;

    if (section == reading->wrong_sink)
        return NULL;
    if (check_sink_name(section, section->title) != 0) {
        reading->wrong_sink = section;
        return NULL;
    }
    sink = find_sink(settings, section->title);
    if (sink != NULL)
        return sink;
    if (settings->sink_count == SETTINGS_SINKS_MAX) {
        fail(section, "there are at most %d sinks", SETTINGS_SINKS_MAX);
        reading->wrong_sink = section;
        return NULL;
    }
    reading->sink_given = 0;
    reading->sink_errors = reading->noted;
    reading->sink_lines[settings->sink_count] = (unsigned)section->line;
    return add_sink(settings, section->title);
}

/* Take the value ${text}. Return 0, or -1 with what is wrong noted. */
static int take_value(cfg_t *section, const cfg_opt_t *option, const char *text)
{
    struct sink_settings *sink = NULL;
    char why[VALUE_WHY_SIZE];
    size_t index;
    const struct settings_key *key = find_key(section_name(section), option->name, &index);

    /* libconfuse would take "section|key" for the key of that section. */
    if (key == NULL)
        return fail(section, "no such option '%s' outside of its section", option->name);
    if (note_given(section, option) != 0)
        return -1;
    if (key->sinks != 0 && (sink = sink_of(section)) == NULL)
        return -1;
    if (value_set(&key->type, text, settings_key_value(key, reading->settings, sink), why) != 0)
        return fail(section, "%s: %s", option->name, why);
    reading->lines[index] = (unsigned)section->line;
    if (sink != NULL) {
        reading->sink_given |= UINT64_C(1) << index;
        if (strcmp(key->name, "path") == 0)
            reading->sink_lines[sink - reading->settings->sinks] = (unsigned)section->line;
    }
    return 0;
}

/* Called by libconfuse once for each value, and each element of a list. It goes on after a wrong
 * one, for all errors are to be told. */
static int on_value(cfg_t *section, cfg_opt_t *option, const char *text, void *result)
{
    (void)take_value(section, option, text);
    *(const char **)result = text;
    return 0;
}

static const char *sink_type_name(enum sink_type type)
{
    size_t index;

    return find_key("sink", "type", &index)->type.words[type];
}

/* What a type of sink cannot do without. */
static const char *missing_key(const struct sink_settings *sink)
{
    switch (sink->type) {
    case SINK_FILE:
        return sink->path == NULL ? "path" : NULL;
    case SINK_STDOUT:
        return NULL;
    case SINK_EXEC:
        return sink->command == NULL ? "command" : NULL;
    case SINK_NATS:
        return sink->url == NULL ? "url" : sink->subject == NULL ? "subject" : NULL;
    }
    abort();
}

/* Called by libconfuse at the end of each sink. */
static int on_sink(cfg_t *root, cfg_opt_t *option)
{
    cfg_t *section = cfg_opt_getnsec(option, cfg_opt_size(option) - 1);
    size_t errors = reading->noted;
    struct sink_settings *sink = sink_of(section);
    const struct settings_key *key;
    const char *missing;

    (void)root;
    if (sink == NULL)
        return 0;
    /* Of one that has a wrong value it would be told that it lacks what it was to have. */
    missing = reading->sink_errors == errors ? missing_key(sink) : NULL;
    if (missing != NULL)
        fail(section, "the sink '%s' of type %s needs '%s'", sink->name, sink_type_name(sink->type),
             missing);
    for (size_t i = 0; missing == NULL && (key = settings_key_at(i)) != NULL; i++) {
        if ((reading->sink_given >> i & 1) != 0 && (key->sinks >> sink->type & 1) == 0)
            fail(section, "the sink '%s' of type %s has no use for '%s'", sink->name,
                 sink_type_name(sink->type), key->name);
    }
    return 0;
}

/* ---- what libconfuse is to look for ---- */

struct grammar {
    cfg_opt_t root[SECTIONS_MAX + KEYS_MAX + UNKNOWN_MAX];
    cfg_opt_t sections[SECTIONS_MAX][KEYS_MAX + UNKNOWN_MAX];
};

static const cfg_opt_t end_of_options = CFG_END();

static cfg_opt_t option_of(const struct settings_key *key)
{
    const cfg_opt_t one = CFG_STR_CB(key->name, NULL, CFGF_NONE, on_value);
    const cfg_opt_t list = CFG_STR_LIST_CB(key->name, NULL, CFGF_NONE, on_value);

    return value_is_list(key->type.kind) ? list : one;
}

static cfg_opt_t section_of(const struct settings_key *key, cfg_opt_t *options)
{
    const cfg_opt_t one = CFG_SEC(key->section, options, CFGF_NONE);
    cfg_opt_t many = CFG_SEC(key->section, options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);

    many.validcb = on_sink;
    return key->sinks != 0 ? many : one;
}

/* Append the options that there are not, of ${section}, to its ${count} ${options}. */
static size_t add_unknown(cfg_opt_t *options, size_t count, const char *section)
{
    for (size_t i = 0; i < reading->unknown_count; i++) {
        const cfg_opt_t any = CFG_STR_LIST(reading->unknown[i].name, NULL, CFGF_NONE);

        if (strcmp(reading->unknown[i].section, section) == 0)
            options[count++] = any;
    }
    options[count] = end_of_options;
    return count;
}

static void make_grammar(struct grammar *grammar)
{
    size_t roots = 0, sections = 0, options = 0;
    const struct settings_key *key, *previous = NULL;

    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++, previous = key) {
        if (key->section[0] == '\0') {
            grammar->root[roots++] = option_of(key);
            continue;
        }
        if (previous == NULL || strcmp(previous->section, key->section) != 0) {
            grammar->root[roots++] = section_of(key, grammar->sections[sections++]);
            options = 0;
        }
        grammar->sections[sections - 1][options++] = option_of(key);
        add_unknown(grammar->sections[sections - 1], options, key->section);
    }
    add_unknown(grammar->root, roots, "root");
}

/* Parse it once, into fresh settings; what is wrong is noted. */
static void parse_once(char *text, size_t length, const char *name)
{
    struct grammar *grammar = memory_zeroed(sizeof(*grammar));
    FILE *file = fmemopen(text, length, "r");
    cfg_t *root;

    make_grammar(grammar);
    root = memory_check(cfg_init(grammar->root, CFGF_NONE));
    memory_check(file);
    cfg_set_error_function(root, on_error);
    root->filename = memory_string(name);
    reading->given_count = 0;
    reading->wrong_sink = NULL;
    reading->found_unknown = false;
    /* It does not say why for a name that is empty. */
    if (cfg_parse_fp(root, file) != CFG_SUCCESS && reading->error_count == 0)
        fail(root, "this is neither an option nor a section");
    fclose(file);
    cfg_free(root);
    free(grammar);
}

/* Parse it, and again as long as it ended at an option that there is not, passing over that. */
static void parse(char *text, size_t length, const char *name)
{
    do {
        settings_free(reading->settings);
        reading->settings = memory_zeroed(sizeof(*reading->settings));
        set_defaults(reading->settings, NULL);
        parse_once(text, length, name);
    } while (reading->found_unknown);
}

/* ---- what holds for all of it ---- */

static void take_flags(struct settings *settings, const struct settings_flags *flags)
{
    struct sink_settings *sink;
    char why[VALUE_WHY_SIZE], text[ERROR_SIZE];
    size_t index;

    if (flags->listen != NULL) {
        free(settings->ingest.path);
        settings->ingest.path = memory_string(flags->listen);
    }
    if (flags->query != NULL) {
        free(settings->query.path);
        settings->query.path = memory_string(flags->query);
    }
    if (flags->store != NULL) {
        free(settings->store.path);
        settings->store.path = memory_string(flags->store);
    }
    if (flags->http != NULL && value_set(&find_key("http", "address", &index)->type, flags->http,
                                         &settings->http, why) != 0) {
        snprintf(text, sizeof(text), "--http: %s", why);
        note(0, text);
    }
    if (flags->out == NULL)
        return;
    sink = find_sink(settings, "out");
    if (sink == NULL)
        sink = add_sink(settings, "out");
    sink->type = strcmp(flags->out, "-") == 0 ? SINK_STDOUT : SINK_FILE;
    free(sink->path);
    sink->path = sink->type == SINK_FILE ? memory_string(flags->out) : NULL;
}

/* A path that only one may have. */
struct claim {
    const char *path;
    char who[64];
    unsigned line; /* 0: it is not from the file */
};

static unsigned line_of(const char *section, const char *name)
{
    size_t index;

    return find_key(section, name, &index) != NULL ? reading->lines[index] : 0;
}

static size_t collect_claims(const struct settings *settings, struct claim *claims)
{
    size_t count = 0;

    claims[count++] =
        (struct claim){settings->ingest.path, "ingest.path", line_of("ingest", "path")};
    claims[count++] = (struct claim){settings->query.path, "query.path", line_of("query", "path")};
    claims[count++] = (struct claim){settings->store.path, "store.path", line_of("store", "path")};
    if (settings->http != NULL && strncmp(settings->http, "unix:", 5) == 0)
        claims[count++] =
            (struct claim){settings->http + 5, "http.address", line_of("http", "address")};
    for (size_t i = 0; i < settings->sink_count; i++) {
        if (settings->sinks[i].type != SINK_FILE || settings->sinks[i].path == NULL)
            continue; /* or it has none: that is an error */
        claims[count] =
            (struct claim){.path = settings->sinks[i].path, .line = reading->sink_lines[i]};
        snprintf(claims[count++].who, sizeof(claims->who), "the sink '%s'",
                 settings->sinks[i].name);
    }
    return count;
}

static bool same_path(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        /* "//" and "/./" are "/". */
        if (*a == '/') {
            while (a[1] == '/' || (a[1] == '.' && a[2] == '/'))
                a += a[1] == '/' ? 1 : 2;
            while (b[1] == '/' || (b[1] == '.' && b[2] == '/'))
                b += b[1] == '/' ? 1 : 2;
        }
        a++;
        b++;
    }
    return *a == *b;
}

static void check_paths(const struct settings *settings)
{
    struct claim claims[4 + SETTINGS_SINKS_MAX];
    size_t count = collect_claims(settings, claims);

    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            char text[ERROR_SIZE];

            if (!same_path(claims[i].path, claims[j].path))
                continue;
            snprintf(text, sizeof(text), "%s and %s have the same path '%.256s'", claims[j].who,
                     claims[i].who, claims[i].path);
            note(claims[i].line > claims[j].line ? claims[i].line : claims[j].line, text);
        }
    }
}

static void check_stdout(const struct settings *settings)
{
    const struct sink_settings *first = NULL;

    for (size_t i = 0; i < settings->sink_count; i++) {
        char text[ERROR_SIZE];

        if (settings->sinks[i].type != SINK_STDOUT)
            continue;
        if (first != NULL) {
            snprintf(text, sizeof(text), "the sinks '%s' and '%s' both write to stdout",
                     first->name, settings->sinks[i].name);
            note(reading->sink_lines[i], text);
        } else {
            first = &settings->sinks[i];
        }
    }
}

/* ---- what is told of it ---- */

static int compare_errors(const void *a, const void *b)
{
    const struct error *left = a, *right = b;

    return (left->line > right->line) - (left->line < right->line);
}

/* Write all errors into ${why}, a line each. */
static void tell_errors(char why[SETTINGS_WHY_SIZE])
{
    size_t used = 0;

    qsort(reading->errors, reading->error_count, sizeof(reading->errors[0]), compare_errors);
    for (size_t i = 0; i < reading->error_count; i++) {
        const struct error *error = &reading->errors[i];
        char line[ERROR_SIZE + 512], where[16] = "";
        int length;

        if (error->line > 0)
            snprintf(where, sizeof(where), ":%u", error->line);
        /* What is wrong with a flag says which one. */
        length =
            strncmp(error->text, "--", 2) == 0
                ? snprintf(line, sizeof(line), "%s", error->text)
                : snprintf(line, sizeof(line), "%.400s%s: %s", reading->name, where, error->text);
        if (length < 0 || used + (size_t)length + 64 > SETTINGS_WHY_SIZE) {
            reading->errors_left_out += reading->error_count - i;
            break;
        }
        used +=
            (size_t)snprintf(why + used, SETTINGS_WHY_SIZE - used, "%s%s", i > 0 ? "\n" : "", line);
    }
    if (reading->errors_left_out > 0)
        snprintf(why + used, SETTINGS_WHY_SIZE - used, "\nand %zu more errors",
                 reading->errors_left_out);
}

/* ---- the public functions ---- */

struct settings *settings_parse(const char *text, size_t length, const char *name,
                                const struct settings_flags *flags, char why[SETTINGS_WHY_SIZE])
{
    struct reading *state = memory_zeroed(sizeof(*state));
    /* A byte more: an empty one cannot be read as a file. */
    char *clean = memory_get(length + 1);
    struct settings *settings = NULL;

    why[0] = '\0';
    memcpy(clean, text, length);
    clean[length] = '\n';
    state->name = name;
    reading = state;
    if (settings_text_clean(clean, length, name, why, SETTINGS_WHY_SIZE) != 0)
        goto done;
    parse(clean, length + 1, name);
    take_flags(state->settings, flags);
    check_paths(state->settings);
    check_stdout(state->settings);
    if (state->error_count > 0) {
        tell_errors(why);
        goto done;
    }
    settings = state->settings;
    state->settings = NULL;

done:
    settings_free(state->settings);
    reading = NULL;
    free(state);
    free(clean);
    return settings;
}

struct settings *settings_read(const char *path, const struct settings_flags *flags,
                               char why[SETTINGS_WHY_SIZE])
{
    struct settings *settings;
    size_t length;
    char *text;

    if (path == NULL)
        return settings_parse("", 0, "the command line", flags, why);
    text = settings_text_read(path, &length, why, SETTINGS_WHY_SIZE);
    if (text == NULL)
        return NULL;
    settings = settings_parse(text, length, path, flags, why);
    free(text);
    return settings;
}

static void print_key(const struct settings_key *key, const void *value, const char *indent,
                      FILE *out)
{
    fprintf(out, "%s%s = ", indent, key->name);
    value_print(&key->type, value, out);
    fputc('\n', out);
}

static void print_sink(const struct sink_settings *sink, FILE *out)
{
    const struct settings_key *key;

    fprintf(out, "sink \"%s\" {\n", sink->name);
    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if ((key->sinks >> sink->type & 1) != 0)
            print_key(key, (const char *)sink + key->offset, "    ", out);
    }
    fputs("}\n", out);
}

void settings_print(const struct settings *settings, FILE *out)
{
    const struct settings_key *key;
    const char *open = "";

    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if (key->sinks != 0)
            continue;
        if (strcmp(open, key->section) != 0) {
            fprintf(out, "%s%s {\n", open[0] != '\0' ? "}\n" : "", key->section);
            open = key->section;
        }
        print_key(key, (const char *)settings + key->offset, open[0] != '\0' ? "    " : "", out);
    }
    fputs("}\n", out);
    for (size_t i = 0; i < settings->sink_count; i++)
        print_sink(&settings->sinks[i], out);
}

/* ---- changes ---- */

/* Whom to tell of what. */
struct taking {
    void (*told)(void *cookie, enum settings_change change, const char *key, const char *was,
                 const char *is);
    void *cookie;
};

static char *text_of(const struct settings_key *key, const void *value)
{
    char *text;
    size_t length;
    FILE *out = memory_check(open_memstream(&text, &length));

    value_print(&key->type, value, out);
    if (fclose(out) != 0)
        memory_check(NULL);
    return text;
}

static void take_key(const struct settings_key *key, const char *section, void *running,
                     void *fresh, const struct taking *taking)
{
    char *was = text_of(key, running), *is = text_of(key, fresh), label[96];

    if (strcmp(was, is) != 0) {
        snprintf(label, sizeof(label), "%s%s%s", section, section[0] != '\0' ? "." : "", key->name);
        if (key->reloads)
            value_swap(&key->type, running, fresh);
        taking->told(taking->cookie, key->reloads ? SETTINGS_TAKEN : SETTINGS_RESTART, label, was,
                     is);
    }
    free(was);
    free(is);
}

static void take_sink(struct sink_settings *running, struct sink_settings *fresh,
                      const struct taking *taking)
{
    const struct settings_key *key;
    char section[48];

    snprintf(section, sizeof(section), "sink '%s'", running->name);
    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if (key->sinks != 0)
            take_key(key, section, settings_key_value(key, NULL, running),
                     settings_key_value(key, NULL, fresh), taking);
    }
}

/* Tell of the sinks that ${some} has and ${other} has not. */
static void tell_of_sinks(struct settings *some, struct settings *other, const char *was,
                          const char *is, const struct taking *taking)
{
    char label[48];

    for (size_t i = 0; i < some->sink_count; i++) {
        if (find_sink(other, some->sinks[i].name) != NULL)
            continue;
        snprintf(label, sizeof(label), "sink '%s'", some->sinks[i].name);
        taking->told(taking->cookie, SETTINGS_RESTART, label, was, is);
    }
}

void settings_take(struct settings *running, struct settings *fresh,
                   void (*told)(void *cookie, enum settings_change change, const char *key,
                                const char *was, const char *is),
                   void *cookie)
{
    const struct taking taking = {told, cookie};
    const struct settings_key *key;
    struct sink_settings *sink;

    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if (key->sinks == 0)
            take_key(key, key->section, settings_key_value(key, running, NULL),
                     settings_key_value(key, fresh, NULL), &taking);
    }
    for (size_t i = 0; i < running->sink_count; i++) {
        sink = find_sink(fresh, running->sinks[i].name);
        if (sink != NULL)
            take_sink(&running->sinks[i], sink, &taking);
    }
    tell_of_sinks(running, fresh, "there", "not there", &taking);
    tell_of_sinks(fresh, running, "not there", "there", &taking);
}

void settings_free(struct settings *settings)
{
    const struct settings_key *key;

    if (settings == NULL)
        return;
    for (size_t i = 0; (key = settings_key_at(i)) != NULL; i++) {
        if (key->sinks == 0)
            value_clear(&key->type, settings_key_value(key, settings, NULL));
        for (size_t j = 0; key->sinks != 0 && j < settings->sink_count; j++)
            value_clear(&key->type, settings_key_value(key, NULL, &settings->sinks[j]));
    }
    for (size_t j = 0; j < settings->sink_count; j++)
        free(settings->sinks[j].name);
    free(settings);
}
