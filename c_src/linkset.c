#include <string.h>

#include "alloc.h"
#include "linkset.h"

enum kind { INLINE, ARRAY, TABLE }; /* linkset_is_inline knows the first */

#define BUCKET_STEP                                                                                \
    8 /* a bucket grows by so many words, up to BUCKET_MAX: no more than that is unused */
#define BUCKET_MAX 32
/*
 * The directory has at most a place for so many members; past that a full bucket grows instead of
 * parting. Buckets have some 22, so it is met only where hashes have many first bits in common,
 * which nobody can bring about without choosing pids.
 */
#define MEMBERS_A_PLACE 4
/* A set that has shrunk to this goes back into an array: so far below LINKSET_ARRAY_MAX that it
 * does not go to and fro. */
#define TABLE_LEAST 16

struct linkset_array {
    uint32_t capacity;
    term_word words[];
};

/* Its words have the first `depth` bits of their hash in common. */
struct bucket {
    uint32_t depth;
    uint32_t count;
    uint32_t capacity;
    term_word words[];
};

/* 2^depth places; a bucket of less depth stands in all places that begin with its bits. NULL: an
 * empty bucket. */
struct linkset_table {
    uint32_t depth;
    struct bucket *places[];
};

static size_t array_size(uint32_t capacity)
{
    return sizeof(struct linkset_array) + capacity * sizeof(term_word);
}

static size_t bucket_size(uint32_t capacity)
{
    return sizeof(struct bucket) + capacity * sizeof(term_word);
}

static size_t table_size(uint32_t depth)
{
    return sizeof(struct linkset_table) + (sizeof(struct bucket *) << depth);
}

/* The place of the first `depth` bits of the hash. */
static size_t place_of(uint64_t hash, uint32_t depth)
{
    return depth == 0 ? 0 : (size_t)(hash >> (64 - depth));
}

/* How many places a bucket of this depth stands in. */
static size_t places_of(const struct linkset_table *table, uint32_t depth)
{
    return (size_t)1 << (table->depth - depth);
}

/* Where among the words it is; `count` when it is not. */
static uint32_t find(const term_word *words, uint32_t count, term_word word)
{
    uint32_t i = 0;

    while (i < count && words[i] != word)
        i++;
    return i;
}

/* --- buckets
 * -------------------------------------------------------------------------------------------- */

static struct bucket *bucket_new(uint32_t depth, uint32_t count)
{
    uint32_t capacity = (count / BUCKET_STEP + 1) * BUCKET_STEP;
    struct bucket *bucket = memory_alloc(bucket_size(capacity));

    if (bucket != NULL)
        *bucket = (struct bucket){.depth = depth, .count = 0, .capacity = capacity};
    return bucket;
}

static void put_bucket(struct linkset_table *table, size_t first, uint32_t depth,
                       struct bucket *bucket)
{
    for (size_t i = 0, many = places_of(table, depth); i < many; i++)
        table->places[first + i] = bucket;
}

/* The first of the places that the bucket at `place` stands in. */
static size_t first_place(const struct linkset_table *table, size_t place, uint32_t depth)
{
    return place & ~(places_of(table, depth) - 1);
}

/* A larger copy of a full bucket. */
static bool grow_bucket(struct linkset_table *table, size_t place)
{
    struct bucket *bucket = table->places[place],
                  *larger = bucket_new(bucket->depth, bucket->count);

    if (larger == NULL)
        return false;
    larger->count = bucket->count;
    memcpy(larger->words, bucket->words, bucket->count * sizeof(term_word));
    put_bucket(table, first_place(table, place, bucket->depth), bucket->depth, larger);
    memory_free(bucket);
    return true;
}

/* Parts the bucket at `place`, which is less deep than the table. On failure it is left as it was.
 */
static bool part_bucket(struct linkset_table *table, size_t place)
{
    struct bucket *bucket = table->places[place];
    uint32_t depth = bucket->depth + 1, ones = 0;
    size_t first = first_place(table, place, bucket->depth);
    struct bucket *halves[2];

    for (uint32_t i = 0; i < bucket->count; i++)
        ones += place_of(word_hash(bucket->words[i]), depth) & 1;
    halves[0] = bucket_new(depth, bucket->count - ones);
    halves[1] = bucket_new(depth, ones);
    if (halves[0] == NULL || halves[1] == NULL) {
        memory_free(halves[0]);
        memory_free(halves[1]);
        return false;
    }
    for (uint32_t i = 0; i < bucket->count; i++) {
        struct bucket *half = halves[place_of(word_hash(bucket->words[i]), depth) & 1];

        half->words[half->count++] = bucket->words[i];
    }
    put_bucket(table, first, depth, halves[0]);
    put_bucket(table, first + places_of(table, depth), depth, halves[1]);
    memory_free(bucket);
    return true;
}

/* --- the table
 * ------------------------------------------------------------------------------------------ */

static struct linkset_table *table_new(uint32_t depth)
{
    struct linkset_table *table = memory_zalloc(table_size(depth));

    if (table != NULL)
        table->depth = depth;
    return table;
}

static void table_free(struct linkset_table *table)
{
    for (size_t place = 0; place < (size_t)1 << table->depth;) {
        struct bucket *bucket = table->places[place];

        place += bucket == NULL ? 1 : places_of(table, bucket->depth);
        memory_free(bucket);
    }
    memory_free(table);
}

static bool double_table(struct linkset_table **at)
{
    struct linkset_table *table = *at, *larger = memory_alloc(table_size(table->depth + 1));

    if (larger == NULL)
        return false;
    larger->depth = table->depth + 1;
    for (size_t place = 0; place < (size_t)1 << table->depth; place++)
        larger->places[2 * place] = larger->places[2 * place + 1] = table->places[place];
    memory_free(table);
    *at = larger;
    return true;
}

/* To a table of `members`. 1 added, 0 there already, -1 without memory. */
static int table_add(struct linkset_table **at, term_word word, uint32_t members)
{
    uint64_t hash = word_hash(word);

    for (;;) {
        struct linkset_table *table = *at;
        size_t place = place_of(hash, table->depth);
        struct bucket *bucket = table->places[place];

        if (bucket == NULL) {
            if ((bucket = bucket_new(table->depth, 0)) == NULL)
                return -1;
            table->places[place] = bucket;
        }
        if (find(bucket->words, bucket->count, word) < bucket->count)
            return 0;
        if (bucket->count < bucket->capacity) {
            bucket->words[bucket->count++] = word;
            return 1;
        }
        if (bucket->capacity >= BUCKET_MAX && bucket->depth < table->depth) {
            if (!part_bucket(table, place))
                return -1;
        } else if (bucket->capacity >= BUCKET_MAX &&
                   (UINT64_C(2) << table->depth) * MEMBERS_A_PLACE <= members) {
            if (!double_table(at))
                return -1;
        } else if (!grow_bucket(table, place)) {
            return -1;
        }
    }
}

static bool table_remove(struct linkset_table *table, term_word word)
{
    size_t place = place_of(word_hash(word), table->depth);
    struct bucket *bucket = table->places[place];
    uint32_t i;

    if (bucket == NULL || (i = find(bucket->words, bucket->count, word)) == bucket->count)
        return false;
    bucket->words[i] = bucket->words[--bucket->count];
    if (bucket->count == 0) {
        put_bucket(table, first_place(table, place, bucket->depth), bucket->depth, NULL);
        memory_free(bucket);
    }
    return true;
}

static size_t table_list(const struct linkset_table *table, term_word *words, size_t room)
{
    size_t written = 0;

    for (size_t place = 0; place < (size_t)1 << table->depth && written < room;) {
        const struct bucket *bucket = table->places[place];
        size_t some = room - written;

        if (bucket == NULL) {
            place++;
            continue;
        }
        if (some > bucket->count)
            some = bucket->count;
        memcpy(words + written, bucket->words, some * sizeof(*words));
        written += some;
        place += places_of(table, bucket->depth);
    }
    return written;
}

/*
 * Moves the members to `words`, where there is room for them, and frees the table. Of a set that once had a million members 131,072
 * places are looked at, which is the longest that a callback does: so they are looked at once for both.
 */
static void table_move_out(struct linkset_table *table, term_word *words)
{
    struct bucket *const *at = table->places, *const *end = at + ((size_t)1 << table->depth);

    for (;;) {
        struct bucket *bucket;

        while (at < end && *at == NULL)
            at++;
        if (at == end)
            break;
        bucket = *at;
        memcpy(words, bucket->words, bucket->count * sizeof(*words));
        words += bucket->count;
        at += places_of(table, bucket->depth);
        memory_free(bucket);
    }
    memory_free(table);
}

/* --- the set
 * -------------------------------------------------------------------------------------------- */

/* The members of a set that has no table. */
static term_word *words_of(struct linkset *set)
{
    return set->kind == ARRAY ? set->of.array->words : set->of.members;
}

/* Moves the words into an array with this room, or into the set itself. Returns false without
 * memory, with nothing changed. */
static bool move_words(struct linkset *set, uint32_t capacity)
{
    struct linkset_array *array = set->kind == ARRAY ? set->of.array : NULL, *fresh;
    term_word members[LINKSET_INLINE];

    if (capacity <= LINKSET_INLINE) {
        memcpy(members, array->words, set->count * sizeof(term_word));
        memcpy(set->of.members, members, set->count * sizeof(term_word));
        set->kind = INLINE;
    } else {
        if ((fresh = memory_alloc(array_size(capacity))) == NULL)
            return false;
        fresh->capacity = capacity;
        memcpy(fresh->words, words_of(set), set->count * sizeof(term_word));
        set->of.array = fresh;
        set->kind = ARRAY;
    }
    memory_free(array);
    return true;
}

static bool make_table(struct linkset *set)
{
    struct linkset_array *array = set->of.array;
    struct linkset_table *table = table_new(1);

    if (table == NULL)
        return false;
    for (uint32_t i = 0; i < set->count; i++)
        if (table_add(&table, array->words[i], set->count) < 0) {
            table_free(table);
            return false;
        }
    memory_free(array);
    set->of.table = table;
    set->kind = TABLE;
    return true;
}

/* Gives a set that has shrunk less room, if there is memory for that. */
static void shrink(struct linkset *set)
{
    if (set->kind == TABLE && set->count <= TABLE_LEAST) {
        struct linkset_table *table = set->of.table;
        struct linkset_array *array = memory_alloc(array_size(2 * TABLE_LEAST));

        if (array == NULL)
            return;
        array->capacity = 2 * TABLE_LEAST;
        table_move_out(table, array->words);
        set->of.array = array;
        set->kind = ARRAY;
    } else if (set->kind == ARRAY && set->count <= LINKSET_INLINE) {
        (void)move_words(set, LINKSET_INLINE);
    } else if (set->kind == ARRAY && set->count <= set->of.array->capacity / 4) {
        (void)move_words(set, set->of.array->capacity / 2);
    }
}

int linkset_add_more(struct linkset *set, term_word word)
{
    uint32_t capacity;
    int rc;

    if (set->kind != TABLE) {
        if (find(words_of(set), set->count, word) < set->count)
            return 0;
        capacity = set->kind == ARRAY ? set->of.array->capacity : LINKSET_INLINE;
        if (set->count == capacity &&
            !(capacity < LINKSET_ARRAY_MAX ? move_words(set, 2 * capacity) : make_table(set)))
            return -1;
    }
    if (set->kind == TABLE) {
        if ((rc = table_add(&set->of.table, word, set->count)) > 0)
            set->count++;
        return rc;
    }
    words_of(set)[set->count] = word;
    set->count++;
    return 1;
}

bool linkset_remove_more(struct linkset *set, term_word word)
{
    if (set->kind == TABLE) {
        if (!table_remove(set->of.table, word))
            return false;
        set->count--;
    } else {
        term_word *words = words_of(set);
        uint32_t i = find(words, set->count, word);

        if (i == set->count)
            return false;
        set->count--;
        words[i] = words[set->count];
    }
    shrink(set);
    return true;
}

bool linkset_contains(const struct linkset *set, term_word word)
{
    const struct bucket *bucket;

    if (set->kind == INLINE)
        return find(set->of.members, set->count, word) < set->count;
    if (set->kind == ARRAY)
        return find(set->of.array->words, set->count, word) < set->count;
    bucket = set->of.table->places[place_of(word_hash(word), set->of.table->depth)];
    return bucket != NULL && find(bucket->words, bucket->count, word) < bucket->count;
}

size_t linkset_list(const struct linkset *set, term_word *words, size_t room)
{
    size_t written = set->count < room ? set->count : room;

    if (set->kind == TABLE)
        return table_list(set->of.table, words, room);
    memcpy(words, set->kind == ARRAY ? set->of.array->words : set->of.members,
           written * sizeof(*words));
    return written;
}

struct linkset linkset_take(struct linkset *set)
{
    struct linkset taken = *set;

    set->count = 0;
    set->kind = INLINE;
    return taken;
}

void linkset_clear(struct linkset *set)
{
    if (set->kind == TABLE)
        table_free(set->of.table);
    else if (set->kind == ARRAY)
        memory_free(set->of.array);
    set->count = 0;
    set->kind = INLINE;
}

size_t linkset_bytes(const struct linkset *set)
{
    const struct linkset_table *table = set->of.table;
    size_t bytes;

    if (set->kind == INLINE)
        return 0;
    if (set->kind == ARRAY)
        return array_size(set->of.array->capacity);
    bytes = table_size(table->depth);
    for (size_t place = 0; place < (size_t)1 << table->depth;) {
        const struct bucket *bucket = table->places[place];

        if (bucket != NULL)
            bytes += bucket_size(bucket->capacity);
        place += bucket == NULL ? 1 : places_of(table, bucket->depth);
    }
    return bytes;
}
