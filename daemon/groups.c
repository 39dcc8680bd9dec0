#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "groups.h"
#include "memory.h"

#define SLOTS_FIRST 256

struct groups {
    struct group *list;
    size_t count, room;
    uint32_t *slots;   /* numbers of the list from 1 on; 0 is free */
    size_t slot_count; /* a power of two */
    size_t groups_max;
    size_t bytes, bytes_max;
    int64_t rest, total;
    uint64_t seed; /* who chooses the keys cannot choose where they fall */
};

struct groups *groups_new(size_t groups_max, size_t bytes_max)
{
    struct groups *groups = memory_zeroed(sizeof(*groups));

    groups->groups_max = groups_max;
    groups->bytes_max = bytes_max;
    groups->slot_count = SLOTS_FIRST;
    groups->slots = memory_zeroed(groups->slot_count * sizeof(*groups->slots));
    if (getrandom(&groups->seed, sizeof(groups->seed), GRND_NONBLOCK) < 0)
        groups->seed = (uintptr_t)groups;
    return groups;
}

/* FNV-1a, from a seed. */
static uint64_t hash_of(const struct groups *groups, const char *key, size_t length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ groups->seed;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

/* The slot that the key has, or would have. */
static uint32_t *find(const struct groups *groups, const char *key, size_t length)
{
    size_t at = hash_of(groups, key, length) & (groups->slot_count - 1);

    for (;; at = (at + 1) & (groups->slot_count - 1)) {
        const struct group *group;

        if (groups->slots[at] == 0)
            return &groups->slots[at];
        group = &groups->list[groups->slots[at] - 1];
        if (group->length == length && memcmp(group->key, key, length) == 0)
            return &groups->slots[at];
    }
}

static void grow(struct groups *groups)
{
    free(groups->slots);
    groups->slot_count *= 2;
    groups->slots = memory_zeroed(groups->slot_count * sizeof(*groups->slots));
    for (size_t i = 0; i < groups->count; i++)
        *find(groups, groups->list[i].key, groups->list[i].length) = (uint32_t)i + 1;
}

void groups_add(struct groups *groups, const void *key, size_t length, int64_t count)
{
    uint32_t *slot = find(groups, key, length);
    char *copy;

    groups->total += count;
    if (*slot != 0) {
        groups->list[*slot - 1].count += count;
        return;
    }
    if (groups->count == groups->groups_max || groups->bytes + length > groups->bytes_max) {
        groups->rest += count;
        return;
    }
    if (groups->count == groups->room) {
        groups->room = groups->room == 0 ? SLOTS_FIRST : 2 * groups->room;
        groups->list = memory_resize(groups->list, groups->room * sizeof(*groups->list));
    }
    copy = memory_get(length + 1);
    memcpy(copy, key, length);
    copy[length] = '\0';
    groups->bytes += length;
    groups->list[groups->count++] = (struct group){.key = copy, .length = length, .count = count};
    *slot = (uint32_t)groups->count;
    if (groups->count * 2 > groups->slot_count)
        grow(groups);
}

int64_t groups_rest(const struct groups *groups)
{
    return groups->rest;
}

int64_t groups_total(const struct groups *groups)
{
    return groups->total;
}

int groups_most_first(const void *a, const void *b)
{
    const struct group *first = a, *second = b;
    size_t length = first->length < second->length ? first->length : second->length;
    int order;

    if (first->count != second->count)
        return first->count > second->count ? -1 : 1;
    order = memcmp(first->key, second->key, length);
    if (order != 0)
        return order;
    return (first->length > second->length) - (first->length < second->length);
}

const struct group *groups_sorted(struct groups *groups, int (*compare)(const void *, const void *),
                                  size_t *count)
{
    if (groups->count > 0)
        qsort(groups->list, groups->count, sizeof(*groups->list), compare);
    *count = groups->count;
    return groups->list;
}

void groups_free(struct groups *groups)
{
    if (groups == NULL)
        return;
    for (size_t i = 0; i < groups->count; i++)
        free((void *)(uintptr_t)groups->list[i].key);
    free(groups->list);
    free(groups->slots);
    free(groups);
}
