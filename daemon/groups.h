/*
 * Counting things by a key, in bounded memory.
 */
#ifndef CORONER_GROUPS_H
#define CORONER_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct groups;

struct group {
    const char *key; /* with a NUL behind it */
    size_t length;
    int64_t count;
};

/*
 * groups_new(groups_max, bytes_max):
 * Return a table that holds at most ${groups_max} groups, whose keys take at most ${bytes_max}
 * bytes together.
 */
struct groups *groups_new(size_t groups_max, size_t bytes_max);

/*
 * groups_add(groups, key, length, count):
 * Add ${count} to the group of ${key}, or, where there is no room for one more group, to the rest.
 */
void groups_add(struct groups *groups, const void *key, size_t length, int64_t count);

/*
 * groups_rest(groups):
 * Return what was counted outside of the groups.
 */
int64_t groups_rest(const struct groups *groups);

/*
 * groups_total(groups):
 * Return what was counted, the rest included.
 */
int64_t groups_total(const struct groups *groups);

/*
 * groups_sorted(groups, compare, count):
 * Return all groups in the order of ${compare}, which is one for qsort over struct group, and how
 * many they are in *${count}. They live as long as ${groups}, to which nothing may be added now.
 */
const struct group *groups_sorted(struct groups *groups, int (*compare)(const void *, const void *),
                                  size_t *count);

/*
 * groups_most_first(a, b):
 * For groups_sorted: the largest count first, those of the same count by their keys.
 */
int groups_most_first(const void *a, const void *b);

/*
 * groups_free(groups):
 * Free ${groups}, which may be NULL.
 */
void groups_free(struct groups *groups);

#endif
