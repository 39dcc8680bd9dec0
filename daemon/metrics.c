#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "metrics.h"
#include "utf8.h"

#define NUMBER_SIZE 40
#define LABEL_OTHERS "other"

struct metrics {
    struct {
        void (*tell)(void *cookie, struct metrics_page *page);
        void *cookie;
    } tellers[METRICS_TELLERS_MAX];
    size_t count;
};

struct metrics_page {
    struct buffer *out;
    const char *family;
};

struct label_set {
    size_t most;
    size_t count;
    bool overflowed;
    char **names;
};

const double histogram_seconds[15] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                      0.25,   0.5,   1,      2.5,   5,    30,    300};

struct metrics *metrics_new(void)
{
    return memory_zeroed(sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

void metrics_collect(struct metrics *metrics, void (*tell)(void *cookie, struct metrics_page *page),
                     void *cookie)
{
    if (metrics->count == METRICS_TELLERS_MAX)
        abort();
    metrics->tellers[metrics->count].tell = tell;
    metrics->tellers[metrics->count].cookie = cookie;
    metrics->count++;
}

void metrics_write(const struct metrics *metrics, struct buffer *out)
{
    struct metrics_page page = {.out = out};

    for (size_t i = 0; i < metrics->count; i++)
        metrics->tellers[i].tell(metrics->tellers[i].cookie, &page);
}

/* ---- text ---- */

/* In a help text a quotation mark stands for itself. */
static void write_escaped(struct buffer *out, const char *text, bool quoted)
{
    struct buffer clean = {0};
    size_t done = 0;

    utf8_clean(text, strlen(text), &clean);
    for (size_t i = 0; i < clean.length; i++) {
        const char *escape = NULL;

        if (clean.data[i] == '\\')
            escape = "\\\\";
        else if (clean.data[i] == '\n')
            escape = "\\n";
        else if (clean.data[i] == '"' && quoted)
            escape = "\\\"";
        if (escape == NULL)
            continue;
        buffer_append(out, clean.data + done, i - done);
        buffer_text(out, escape);
        done = i + 1;
    }
    buffer_append(out, clean.data + done, clean.length - done);
    buffer_clear(&clean);
}

static void format_number(double value, char text[NUMBER_SIZE])
{
    if (isnan(value))
        snprintf(text, NUMBER_SIZE, "NaN");
    else if (isinf(value))
        snprintf(text, NUMBER_SIZE, value > 0 ? "+Inf" : "-Inf");
    else
        snprintf(text, NUMBER_SIZE, "%.15g", value);
}

static void write_label(struct buffer *out, bool *first, const char *name, const char *value)
{
    buffer_text(out, *first ? "{" : ",");
    *first = false;
    buffer_text(out, name);
    buffer_text(out, "=\"");
    write_escaped(out, value, true);
    buffer_text(out, "\"");
}

static void write_labels(struct buffer *out, bool *first, va_list labels)
{
    const char *name;

    while ((name = va_arg(labels, const char *)) != NULL)
        write_label(out, first, name, va_arg(labels, const char *));
}

static void write_sample(struct metrics_page *page, const char *suffix, va_list labels,
                         const char *bound, const char *value)
{
    bool first = true;

    buffer_text(page->out, page->family);
    buffer_text(page->out, suffix);
    write_labels(page->out, &first, labels);
    if (bound != NULL)
        write_label(page->out, &first, "le", bound);
    buffer_text(page->out, first ? " " : "} ");
    buffer_text(page->out, value);
    buffer_text(page->out, "\n");
}

void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
                    const char *help)
{
    static const char *const types[] = {[METRICS_COUNTER] = "counter",
                                        [METRICS_GAUGE] = "gauge",
                                        [METRICS_HISTOGRAM] = "histogram"};

    page->family = name;
    buffer_text(page->out, "# HELP ");
    buffer_text(page->out, name);
    buffer_text(page->out, " ");
    write_escaped(page->out, help, false);
    buffer_text(page->out, "\n# TYPE ");
    buffer_text(page->out, name);
    buffer_text(page->out, " ");
    buffer_text(page->out, types[type]);
    buffer_text(page->out, "\n");
}

void metrics_count(struct metrics_page *page, uint64_t value, ...)
{
    char text[NUMBER_SIZE];
    va_list labels;

    snprintf(text, sizeof(text), "%" PRIu64, value);
    va_start(labels, value);
    write_sample(page, "", labels, NULL, text);
    va_end(labels);
}

void metrics_number(struct metrics_page *page, double value, ...)
{
    char text[NUMBER_SIZE];
    va_list labels;

    format_number(value, text);
    va_start(labels, value);
    write_sample(page, "", labels, NULL, text);
    va_end(labels);
}

/* ---- histograms ---- */

void histogram_init(struct histogram *histogram, const double *bounds, size_t count)
{
    if (count > HISTOGRAM_BOUNDS_MAX)
        abort();
    *histogram = (struct histogram){.bounds = bounds, .count = count};
}

void histogram_observe(struct histogram *histogram, double value)
{
    size_t bucket = 0;

    if (!(value > 0))
        value = 0;
    while (bucket < histogram->count && value > histogram->bounds[bucket])
        bucket++;
    histogram->buckets[bucket]++;
    histogram->sum += value;
}

void metrics_histogram(struct metrics_page *page, const struct histogram *histogram, ...)
{
    char bound[NUMBER_SIZE], value[NUMBER_SIZE];
    uint64_t sum = 0;
    va_list labels;

    for (size_t i = 0; i <= histogram->count; i++) {
        sum += histogram->buckets[i];
        format_number(i < histogram->count ? histogram->bounds[i] : INFINITY, bound);
        snprintf(value, sizeof(value), "%" PRIu64, sum);
        va_start(labels, histogram);
        write_sample(page, "_bucket", labels, bound, value);
        va_end(labels);
    }
    va_start(labels, histogram);
    write_sample(page, "_count", labels, NULL, value);
    va_end(labels);
    format_number(histogram->sum, value);
    va_start(labels, histogram);
    write_sample(page, "_sum", labels, NULL, value);
    va_end(labels);
}

/* ---- names for labels ---- */

struct label_set *label_set_new(size_t most)
{
    struct label_set *set = memory_zeroed(sizeof(*set));

    set->most = most;
    set->names = memory_zeroed(most * sizeof(*set->names));
    return set;
}

size_t label_set_index(struct label_set *set, const char *name)
{
    /* Nobody's name may pass for that of the others: a page has each series once. */
    bool reserved = strcmp(name, LABEL_OTHERS) == 0;

    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->names[i], name) == 0)
            return i;
    }
    if (reserved || set->count == set->most) {
        set->overflowed = true;
        return set->most;
    }
    set->names[set->count] = memory_string(name);
    return set->count++;
}

size_t label_set_count(const struct label_set *set)
{
    return set->count;
}

bool label_set_overflowed(const struct label_set *set)
{
    return set->overflowed;
}

const char *label_set_name(const struct label_set *set, size_t index)
{
    return index < set->most ? set->names[index] : LABEL_OTHERS;
}

void label_set_free(struct label_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->count; i++)
        free(set->names[i]);
    free(set->names);
    free(set);
}
