#include <stdlib.h>
#include <string.h>

#include "cascades.h"
#include "memory.h"

#define SETS 1024 /* a power of two */
#define WAYS 4

/* A root, by the hash of its incarnation and pid; 0 is a free place. */
struct root {
    uint64_t hash;
    uint64_t used; /* when last, by the count of exits */
    uint64_t exits;
};

struct cascades {
    struct root roots[SETS][WAYS];
    uint64_t clock;
    struct cascade_numbers numbers;
};

struct cascades *cascades_new(void)
{
    return memory_zeroed(sizeof(struct cascades));
}

void cascades_free(struct cascades *cascades)
{
    free(cascades);
}

/* FNV-1a, over both texts with their ends. */
static uint64_t hash_of(const char *incarnation, const char *pid)
{
    const char *const texts[] = {incarnation, pid};
    uint64_t hash = 0xcbf29ce484222325;

    for (int i = 0; i < 2; i++) {
        const char *at = texts[i];

        do
            hash = (hash ^ (unsigned char)*at) * 0x100000001b3;
        while (*at++ != '\0');
    }
    return hash != 0 ? hash : 1;
}

/* The root's place: its own, or that of the one that was not seen for the longest time. */
static struct root *find(struct cascades *cascades, uint64_t hash)
{
    struct root *set = cascades->roots[(hash >> 32) & (SETS - 1)];
    struct root *oldest = set;

    for (int way = 0; way < WAYS; way++) {
        if (set[way].hash == hash)
            return &set[way];
        if (set[way].used < oldest->used)
            oldest = &set[way];
    }
    *oldest = (struct root){.hash = hash, .exits = 1};
    cascades->numbers.cascades++;
    cascades->numbers.exits++; /* the root's own */
    return oldest;
}

void cascades_add(struct cascades *cascades, const char *incarnation, const struct record *record)
{
    const char *pid = record->column[RECORD_COLUMN_pid];
    const char *origin = record->column[RECORD_COLUMN_origin_pid];
    struct root *root;

    if (pid == NULL || origin == NULL || strcmp(pid, origin) == 0)
        return;
    root = find(cascades, hash_of(incarnation, origin));
    root->used = ++cascades->clock;
    root->exits++;
    cascades->numbers.exits++;
    if (root->exits > cascades->numbers.largest)
        cascades->numbers.largest = root->exits;
}

struct cascade_numbers cascades_numbers(const struct cascades *cascades)
{
    return cascades->numbers;
}
