/*
 * What can be measured, and how it is told: histograms, bounded sets of names for labels, and a
 * page in the text format of Prometheus (0.0.4). Each module keeps its own numbers and registers a
 * function that tells them; nothing here knows what they mean.
 */
#ifndef CORONER_METRICS_H
#define CORONER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

struct metrics;
struct metrics_page;

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/*
 * metrics_new():
 * Return a new list of those who tell.
 */
struct metrics *metrics_new(void);

/*
 * metrics_free(metrics):
 * Free ${metrics}, which may be NULL.
 */
void metrics_free(struct metrics *metrics);

/*
 * metrics_collect(metrics, tell, cookie):
 * Let tell(cookie, page) add to each page from now on. It runs on the loop and takes what it tells
 * from memory. At most METRICS_TELLERS_MAX may ask for it.
 */
#define METRICS_TELLERS_MAX 32
void metrics_collect(struct metrics *metrics, void (*tell)(void *cookie, struct metrics_page *page),
                     void *cookie);

/*
 * metrics_write(metrics, out):
 * Append a page with everything that is told to ${out}.
 */
void metrics_write(const struct metrics *metrics, struct buffer *out);

/* ---- what a teller calls ---- */

/*
 * metrics_family(page, name, type, help):
 * Begin a family: the samples that follow are of it. ${name} has the form [a-z_][a-z0-9_]*, is
 * static, and comes once in a page.
 */
void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
                    const char *help);

/*
 * metrics_count(page, value, ...), metrics_number(page, value, ...):
 * Add a sample. Labels follow as pairs of name and value, ended by NULL. A label's value may be any
 * text: what is no UTF-8 in it is replaced.
 */
void metrics_count(struct metrics_page *page, uint64_t value, ...) __attribute__((sentinel));
void metrics_number(struct metrics_page *page, double value, ...) __attribute__((sentinel));

/* ---- histograms ---- */

#define HISTOGRAM_BOUNDS_MAX 20

struct histogram {
    const double *bounds; /* upper ones, rising; above the last is +Inf */
    size_t count;
    uint64_t buckets[HISTOGRAM_BOUNDS_MAX + 1];
    double sum;
};

/* Seconds, from what a fast disk takes to what somebody waits for. */
extern const double histogram_seconds[15];

/*
 * histogram_init(histogram, bounds, count):
 * Prepare ${histogram} with the ${count} static ${bounds}.
 */
void histogram_init(struct histogram *histogram, const double *bounds, size_t count);

/*
 * histogram_observe(histogram, value):
 * Count ${value}. One that is negative or no number counts as 0, so that the sum never falls.
 */
void histogram_observe(struct histogram *histogram, double value);

/*
 * metrics_histogram(page, histogram, ...):
 * Add ${histogram} to its family, with labels as above.
 */
void metrics_histogram(struct metrics_page *page, const struct histogram *histogram, ...)
    __attribute__((sentinel));

/* ---- names for labels ---- */

struct label_set;

/*
 * label_set_new(most):
 * Return a set that takes ${most} names.
 */
struct label_set *label_set_new(size_t most);

/*
 * label_set_index(set, name):
 * Return the number of ${name} in ${set}, which it is put into if there is room, else ${most}: the
 * number of all the others. A name keeps its number for ever.
 */
size_t label_set_index(struct label_set *set, const char *name);

/*
 * label_set_count(set), label_set_overflowed(set):
 * Return how many names there are, and whether anybody got the number of the others.
 */
size_t label_set_count(const struct label_set *set);
bool label_set_overflowed(const struct label_set *set);

/*
 * label_set_name(set, index):
 * Return the name with that number, "other" for the others.
 */
const char *label_set_name(const struct label_set *set, size_t index);

/*
 * label_set_free(set):
 * Free ${set}, which may be NULL.
 */
void label_set_free(struct label_set *set);

#endif
