#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "store_segment.h"

static const char *const endings[] = {"", "-wal", "-shm", "-journal"};

#define ENDINGS (sizeof(endings) / sizeof(endings[0]))

struct segment *segment_new(const char *folder, int64_t first)
{
    struct segment *segment = memory_zeroed(sizeof(*segment));
    size_t size = strlen(folder) + 32;

    segment->first = first;
    segment->path = memory_get(size);
    /* As many digits as a row number may have: their order is that of the names. */
    snprintf(segment->path, size, "%s/%019" PRId64 ".seg", folder, first);
    segment->last = first - 1;
    segment->min_ns = INT64_MAX;
    segment->max_ns = INT64_MIN;
    segment->references = 1;
    return segment;
}

static void segment_free(struct segment *segment)
{
    columns_release(segment->columns);
    free(segment->held);
    free(segment->path);
    free(segment);
}

uint64_t segment_rows(const struct segment *segment)
{
    return (uint64_t)(atomic_load_explicit(&segment->last, memory_order_acquire) + 1 -
                      segment->first);
}

uint64_t segment_measure(const struct segment *segment)
{
    size_t size = strlen(segment->path) + 16;
    char *path = memory_get(size);
    struct stat status;
    uint64_t bytes = 0;

    /* The last two hold nothing that lasts. */
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, size, "%s%s", segment->path, endings[i]);
        if (stat(path, &status) == 0)
            bytes += (uint64_t)status.st_size;
    }
    free(path);
    return bytes;
}

int segment_unlink(const struct segment *segment)
{
    size_t size = strlen(segment->path) + 16;
    char *path = memory_get(size);
    int result = 0;

    for (size_t i = 0; i < ENDINGS; i++) {
        snprintf(path, size, "%s%s", segment->path, endings[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            result = -1;
    }
    free(path);
    return result;
}

void catalogue_add(struct catalogue *catalogue, struct segment *segment)
{
    pthread_mutex_lock(&catalogue->lock);
    if (catalogue->count == catalogue->capacity) {
        catalogue->capacity = catalogue->capacity > 0 ? catalogue->capacity * 2 : 16;
        catalogue->segments =
            memory_resize(catalogue->segments, catalogue->capacity * sizeof(struct segment *));
    }
    catalogue->segments[catalogue->count++] = segment;
    pthread_mutex_unlock(&catalogue->lock);
}

/* With the lock held. */
static void release(struct segment *segment)
{
    if (--segment->references == 0)
        segment_free(segment);
}

void catalogue_remove(struct catalogue *catalogue, struct segment *segment)
{
    size_t at = 0;

    pthread_mutex_lock(&catalogue->lock);
    while (at < catalogue->count && catalogue->segments[at] != segment)
        at++;
    if (at < catalogue->count) {
        catalogue->count--;
        memmove(catalogue->segments + at, catalogue->segments + at + 1,
                (catalogue->count - at) * sizeof(struct segment *));
        segment->gone = true;
        release(segment);
    }
    pthread_mutex_unlock(&catalogue->lock);
}

/* The place of the first segment that ends at `row` or later. With the lock held. */
static size_t first_ending_at(const struct catalogue *catalogue, int64_t row)
{
    size_t low = 0, high = catalogue->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (atomic_load_explicit(&catalogue->segments[middle]->last, memory_order_acquire) < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct segment *find(const struct catalogue *catalogue, int64_t row, bool descending)
{
    size_t at = first_ending_at(catalogue, row);

    if (!descending) {
        /* An empty one ends before it begins, and is found only from rows it does not have. */
        while (at < catalogue->count && segment_rows(catalogue->segments[at]) == 0)
            at++;
        return at < catalogue->count ? catalogue->segments[at] : NULL;
    }
    if (at < catalogue->count && catalogue->segments[at]->first <= row &&
        segment_rows(catalogue->segments[at]) > 0)
        return catalogue->segments[at];
    while (at > 0 && segment_rows(catalogue->segments[at - 1]) == 0)
        at--;
    return at > 0 ? catalogue->segments[at - 1] : NULL;
}

struct segment *catalogue_find(struct catalogue *catalogue, int64_t row, bool descending,
                               struct columns **columns)
{
    struct segment *segment;

    pthread_mutex_lock(&catalogue->lock);
    segment = find(catalogue, row, descending);
    if (segment != NULL)
        segment->references++;
    if (columns != NULL)
        *columns =
            segment != NULL && segment->columns != NULL ? columns_hold(segment->columns) : NULL;
    pthread_mutex_unlock(&catalogue->lock);
    return segment;
}

struct segment *catalogue_live(struct catalogue *catalogue)
{
    struct segment *segment;

    pthread_mutex_lock(&catalogue->lock);
    segment = catalogue->segments[catalogue->count - 1];
    segment->references++;
    pthread_mutex_unlock(&catalogue->lock);
    return segment;
}

void catalogue_release(struct catalogue *catalogue, struct segment *segment)
{
    if (segment == NULL)
        return;
    pthread_mutex_lock(&catalogue->lock);
    release(segment);
    pthread_mutex_unlock(&catalogue->lock);
}

void catalogue_forget_columns(struct catalogue *catalogue, struct segment *segment)
{
    struct columns *columns;

    pthread_mutex_lock(&catalogue->lock);
    columns = segment->columns;
    segment->columns = NULL;
    pthread_mutex_unlock(&catalogue->lock);
    columns_release(columns);
}
