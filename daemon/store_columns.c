#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory.h"
#include "store_columns.h"

/* The columns that are asked for by value and narrow a search down. The id comes last. */
static const int hashed[] = {
    RECORD_COLUMN_pid,           RECORD_COLUMN_name,      RECORD_COLUMN_initial_module,
    RECORD_COLUMN_source,        RECORD_COLUMN_origin_by, RECORD_COLUMN_origin_by_name,
    RECORD_COLUMN_origin_module, RECORD_COLUMN_origin_id, STORE_COLUMN_ID,
};

#define HASHED (sizeof(hashed) / sizeof(hashed[0]))

_Static_assert(HASHED == STORE_HASHES, "a change has room for each hash");

struct columns {
    atomic_uint holds;
    int64_t first;
    size_t capacity;
    atomic_size_t count; /* of the rows that others may look at */
    uint16_t *hash[HASHED];
    _Atomic int64_t *min_ns; /* one a block */
    _Atomic int64_t *max_ns;
    void *memory; /* all of these */
    size_t size;
};

#define HASH_BEGIN UINT64_C(0xcbf29ce484222325)

/* Never 0, which stands for "has none". */
static uint16_t hash_bytes(uint64_t hash, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    hash ^= hash >> 16;
    return (uint16_t)(hash % 65535 + 1);
}

static uint16_t hash_text(const char *text)
{
    return hash_bytes(HASH_BEGIN, text, strlen(text));
}

struct columns *columns_new(int64_t first, size_t capacity)
{
    struct columns *columns = memory_zeroed(sizeof(*columns));
    size_t blocks = capacity / COLUMNS_BLOCK + 1;
    char *at;

    atomic_init(&columns->holds, 1);
    columns->first = first;
    columns->capacity = capacity;
    columns->size = 2 * blocks * sizeof(int64_t) + HASHED * capacity * sizeof(uint16_t);
    /* Pages of its own: they take room only as they are used, and all of it comes back. */
    columns->memory =
        mmap(NULL, columns->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (columns->memory == MAP_FAILED)
        memory_check(NULL);
    at = columns->memory;
    columns->min_ns = (_Atomic int64_t *)(void *)at;
    columns->max_ns = columns->min_ns + blocks;
    at += 2 * blocks * sizeof(int64_t);
    for (size_t i = 0; i < HASHED; i++)
        columns->hash[i] = (uint16_t *)(void *)at + i * capacity;
    return columns;
}

struct columns *columns_hold(struct columns *columns)
{
    atomic_fetch_add(&columns->holds, 1);
    return columns;
}

void columns_release(struct columns *columns)
{
    if (columns == NULL || atomic_fetch_sub(&columns->holds, 1) > 1)
        return;
    munmap(columns->memory, columns->size);
    free(columns);
}

/* As hash_text has it of "INCARNATION-SEQ". */
static uint16_t hash_id(const char *incarnation, uint64_t seq)
{
    char id[HELLO_INCARNATION + 1 + 20], digits[20];
    size_t length = strnlen(incarnation, HELLO_INCARNATION), count = 0;

    memcpy(id, incarnation, length);
    id[length++] = '-';
    do
        digits[count++] = (char)('0' + seq % 10);
    while ((seq /= 10) > 0);
    while (count > 0)
        id[length++] = digits[--count];
    return hash_bytes(HASH_BEGIN, id, length);
}

void columns_hash(const char *incarnation, uint64_t seq,
                  const char *const column[RECORD_COLUMN_COUNT], uint16_t hash[STORE_HASHES])
{
    for (size_t i = 0; i < HASHED; i++) {
        if (hashed[i] == STORE_COLUMN_ID)
            hash[i] = hash_id(incarnation, seq);
        else
            hash[i] = column[hashed[i]] != NULL ? hash_text(column[hashed[i]]) : 0;
    }
}

bool columns_append(struct columns *columns, const uint16_t hash[STORE_HASHES], int64_t time_ns)
{
    size_t at = atomic_load_explicit(&columns->count, memory_order_relaxed);
    size_t block = at / COLUMNS_BLOCK;

    if (at == columns->capacity)
        return false;
    for (size_t i = 0; i < HASHED; i++)
        columns->hash[i][at] = hash[i];
    if (at % COLUMNS_BLOCK == 0 || time_ns < columns->min_ns[block])
        columns->min_ns[block] = time_ns;
    if (at % COLUMNS_BLOCK == 0 || time_ns > columns->max_ns[block])
        columns->max_ns[block] = time_ns;
    atomic_store_explicit(&columns->count, at + 1, memory_order_release);
    return true;
}

static int place_of(int column)
{
    for (size_t i = 0; i < HASHED; i++) {
        if (hashed[i] == column)
            return (int)i;
    }
    return -1;
}

bool columns_has(int column)
{
    return place_of(column) >= 0;
}

/* Leave in `fits` those of the `count` rows from `at` on that may meet the condition. */
static void sieve(const struct columns *columns, const struct store_condition *condition, size_t at,
                  size_t count, uint8_t fits[COLUMNS_BLOCK])
{
    const uint16_t *hash = columns->hash[place_of(condition->column)] + at;
    uint8_t any[COLUMNS_BLOCK] = {0};

    for (size_t value = 0; value < condition->count; value++) {
        uint16_t wanted = hash_text(condition->values[value]);

        for (size_t i = 0; i < count; i++)
            any[i] |= hash[i] == wanted;
    }
    for (size_t i = 0; i < count; i++)
        fits[i] &= any[i];
}

/* The rows from `begin` to before `end`, which are of one block. Returns how many it wrote. */
static size_t find_in_block(const struct columns *columns, const struct store_condition *conditions,
                            size_t condition_count, size_t begin, size_t end, bool descending,
                            int64_t *rows, size_t max)
{
    uint8_t fits[COLUMNS_BLOCK];
    size_t count = end - begin, found = 0;

    memset(fits, 1, sizeof(fits));
    for (size_t i = 0; i < condition_count; i++)
        sieve(columns, &conditions[i], begin, count, fits);
    for (size_t i = 0; i < count && found < max; i++) {
        size_t at = descending ? count - 1 - i : i;

        if (fits[at])
            rows[found++] = columns->first + (int64_t)(begin + at);
    }
    return found;
}

size_t columns_find(const struct columns *columns, const struct store_condition *conditions,
                    size_t count, int64_t first, int64_t last, bool descending, int64_t *rows,
                    size_t max)
{
    size_t known = atomic_load_explicit(&columns->count, memory_order_acquire), found = 0;
    size_t begin, end;

    if (first < columns->first)
        first = columns->first;
    if (last >= columns->first + (int64_t)known)
        last = columns->first + (int64_t)known - 1;
    if (first > last)
        return 0;
    begin = (size_t)(first - columns->first);
    end = (size_t)(last - columns->first) + 1;
    while (begin < end && found < max) {
        size_t part_begin = begin, part_end = end;

        if (descending) {
            part_begin = (end - 1) / COLUMNS_BLOCK * COLUMNS_BLOCK;
            part_begin = part_begin > begin ? part_begin : begin;
            end = part_begin;
        } else {
            part_end = (begin / COLUMNS_BLOCK + 1) * COLUMNS_BLOCK;
            part_end = part_end < end ? part_end : end;
            begin = part_end;
        }
        found += find_in_block(columns, conditions, count, part_begin, part_end, descending,
                               rows + found, max - found);
    }
    return found;
}

bool columns_block(const struct columns *columns, size_t index, int64_t *first, int64_t *min_ns,
                   int64_t *max_ns)
{
    size_t known = atomic_load_explicit(&columns->count, memory_order_acquire);

    if (index * COLUMNS_BLOCK >= known)
        return false;
    *first = columns->first + (int64_t)(index * COLUMNS_BLOCK);
    *min_ns = columns->min_ns[index];
    *max_ns = columns->max_ns[index];
    return true;
}

void columns_times(const struct columns *columns, int64_t since_ns, int64_t until_ns,
                   int64_t *first, int64_t *last)
{
    int64_t block_first, min_ns, max_ns, least = INT64_MAX, most = INT64_MIN;

    for (size_t i = 0; columns_block(columns, i, &block_first, &min_ns, &max_ns); i++) {
        if (max_ns < since_ns || min_ns > until_ns)
            continue;
        if (least == INT64_MAX)
            least = block_first;
        most = block_first + COLUMNS_BLOCK - 1;
    }
    if (*first < least)
        *first = least;
    if (*last > most)
        *last = most;
}
