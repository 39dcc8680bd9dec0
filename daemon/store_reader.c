/*
 * Readers. A reader opens a segment's database when it first looks at it and keeps the last few
 * open; a query that goes through a store of ten million rows then opens none.
 *
 * `lock` is over `open` and `resting` while the reader rests: then whoever drops a segment may
 * close its database under the reader (store_reader_let_go), and the space of the unlinked file
 * comes back. A reader that reads holds no lock; its databases are its own. The list of all readers
 * has a lock of its own, taken before a reader's.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "store_internal.h"

#define OPEN_MAX 40
#define IDLE_S 60 /* a segment that was not read for so long is closed when the reader rests */

struct opened {
    struct segment *segment; /* referred to; NULL: free */
    sqlite3 *database;
    sqlite3_stmt *rows;
    uint64_t used; /* when, as a number that rises */
    time_t used_s; /* and by the monotonic clock */
};

struct store_reader {
    struct store *store;
    struct store_reader *next;

    pthread_mutex_t lock;
    bool resting;
    struct opened open[OPEN_MAX];

    struct opened *current;  /* the part that was found last */
    struct columns *columns; /* its columns, held */
    uint64_t uses;
    uint64_t skipped;
    sqlite3 *broken; /* stands in for the live segment's when that cannot be opened */
    struct timespec deadline;
    bool has_deadline;
    atomic_bool interrupted;
};

static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct store_reader *readers;

static int check_deadline(void *cookie)
{
    const struct store_reader *reader = cookie;
    struct timespec now;

    if (atomic_load_explicit(&reader->interrupted, memory_order_relaxed))
        return 1;
    if (!reader->has_deadline)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > reader->deadline.tv_sec ||
           (now.tv_sec == reader->deadline.tv_sec && now.tv_nsec >= reader->deadline.tv_nsec);
}

static void close_opened(struct store_reader *reader, struct opened *opened)
{
    sqlite3_finalize(opened->rows);
    sqlite3_close_v2(opened->database);
    catalogue_release(&reader->store->catalogue, opened->segment);
    *opened = (struct opened){0};
}

struct store_reader *store_reader_open(struct store *store, char why[STORE_WHY_SIZE])
{
    struct store_reader *reader = memory_zeroed(sizeof(*reader));

    reader->store = store;
    pthread_mutex_init(&reader->lock, NULL);
    pthread_mutex_lock(&readers_lock);
    reader->next = readers;
    readers = reader;
    pthread_mutex_unlock(&readers_lock);
    if (sqlite3_errcode(store_reader_database(reader)) != SQLITE_OK) {
        schema_fail(why, "%s: cannot open the store for reading: %s", store->path,
                    sqlite3_errmsg(store_reader_database(reader)));
        store_reader_close(reader);
        return NULL;
    }
    store_reader_rest(reader);
    return reader;
}

void store_reader_close(struct store_reader *reader)
{
    struct store_reader **at = &readers;

    if (reader == NULL)
        return;
    pthread_mutex_lock(&readers_lock);
    while (*at != reader)
        at = &(*at)->next;
    *at = reader->next;
    pthread_mutex_unlock(&readers_lock);
    for (size_t i = 0; i < OPEN_MAX; i++) {
        if (reader->open[i].segment != NULL)
            close_opened(reader, &reader->open[i]);
    }
    columns_release(reader->columns);
    sqlite3_close(reader->broken);
    pthread_mutex_destroy(&reader->lock);
    free(reader);
}

static time_t monotonic_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec;
}

static void wake_up(struct store_reader *reader)
{
    if (!reader->resting)
        return;
    /* Wait for whoever is just closing something. */
    pthread_mutex_lock(&reader->lock);
    reader->resting = false;
    pthread_mutex_unlock(&reader->lock);
}

void store_reader_rest(struct store_reader *reader)
{
    struct catalogue *catalogue = &reader->store->catalogue;
    time_t now = monotonic_s();

    columns_release(reader->columns);
    reader->columns = NULL;
    reader->current = NULL;
    if (reader->resting)
        return;
    for (size_t i = 0; i < OPEN_MAX; i++) {
        bool gone = false;

        if (reader->open[i].segment == NULL)
            continue;
        pthread_mutex_lock(&catalogue->lock);
        gone = reader->open[i].segment->gone;
        pthread_mutex_unlock(&catalogue->lock);
        if (gone || now - reader->open[i].used_s > IDLE_S)
            close_opened(reader, &reader->open[i]);
    }
    pthread_mutex_lock(&reader->lock);
    reader->resting = true;
    pthread_mutex_unlock(&reader->lock);
}

void store_reader_let_go(struct store *store, const struct segment *segment)
{
    pthread_mutex_lock(&readers_lock);
    for (struct store_reader *reader = readers; reader != NULL; reader = reader->next) {
        if (reader->store != store)
            continue;
        pthread_mutex_lock(&reader->lock);
        for (size_t i = 0; i < OPEN_MAX && reader->resting; i++) {
            if (reader->open[i].segment == segment)
                close_opened(reader, &reader->open[i]);
        }
        pthread_mutex_unlock(&reader->lock);
    }
    pthread_mutex_unlock(&readers_lock);
}

/* The place for one more: a free one, or that of the one that was not used for the longest. */
static struct opened *make_room(struct store_reader *reader)
{
    struct opened *oldest = NULL;

    for (size_t i = 0; i < OPEN_MAX; i++) {
        struct opened *opened = &reader->open[i];

        if (opened->segment == NULL)
            return opened;
        if (oldest == NULL || opened->used < oldest->used)
            oldest = opened;
    }
    close_opened(reader, oldest);
    return oldest;
}

/* Where descriptors are scarce, what is open for later is given up for what is wanted now. */
static int connect_reader(struct store_reader *reader, struct opened *opened)
{
    const char *path = opened->segment->path;
    int result = schema_connect(path, SQLITE_OPEN_READONLY, &opened->database);

    if (result != SQLITE_CANTOPEN)
        return result;
    for (size_t i = 0; i < OPEN_MAX; i++) {
        if (&reader->open[i] != opened && reader->open[i].segment != NULL)
            close_opened(reader, &reader->open[i]);
    }
    sqlite3_close(opened->database);
    return schema_connect(path, SQLITE_OPEN_READONLY, &opened->database);
}

/* Open `segment`, whose reference is taken over. NULL on an error, said in why. */
static struct opened *open_segment(struct store_reader *reader, struct segment *segment, char *why)
{
    struct opened *opened = NULL;

    for (size_t i = 0; i < OPEN_MAX && opened == NULL; i++) {
        if (reader->open[i].segment == segment)
            opened = &reader->open[i];
    }
    if (opened != NULL) {
        catalogue_release(&reader->store->catalogue, segment);
    } else {
        opened = make_room(reader);
        opened->segment = segment;
        if (connect_reader(reader, opened) != SQLITE_OK) {
            schema_fail(why, "%s: %s", segment->path, sqlite3_errmsg(opened->database));
            close_opened(reader, opened);
            return NULL;
        }
        /* Often enough for the deadline, seldom enough to cost nothing. */
        sqlite3_progress_handler(opened->database, 4096, check_deadline, reader);
    }
    opened->used = ++reader->uses;
    opened->used_s = monotonic_s();
    return opened;
}

sqlite3 *store_reader_database(struct store_reader *reader)
{
    char why[STORE_WHY_SIZE];
    struct opened *opened;

    wake_up(reader);
    opened = open_segment(reader, catalogue_live(&reader->store->catalogue), why);
    if (opened != NULL)
        return opened->database;
    if (reader->broken == NULL)
        schema_connect("/nonexistent/segment", SQLITE_OPEN_READONLY, &reader->broken);
    return reader->broken;
}

static struct opened *find_part(struct store_reader *reader, int64_t row, bool descending,
                                int *found, char *why)
{
    struct catalogue *catalogue = &reader->store->catalogue;
    struct segment *segment;
    struct opened *opened;
    bool gone;

    wake_up(reader);
    columns_release(reader->columns);
    reader->columns = NULL;
    for (;;) {
        *found = 0;
        segment = catalogue_find(catalogue, row, descending, &reader->columns);
        if (segment == NULL)
            return NULL;
        *found = 1;
        opened = open_segment(reader, segment, why);
        if (opened != NULL)
            return opened;
        /* Between finding and opening it may have been dropped: then look again. */
        columns_release(reader->columns);
        reader->columns = NULL;
        pthread_mutex_lock(&catalogue->lock);
        gone = catalogue->count > 0 && catalogue->segments[0]->first > row;
        pthread_mutex_unlock(&catalogue->lock);
        if (!gone || descending) {
            *found = -1;
            return NULL;
        }
    }
}

int store_reader_part(struct store_reader *reader, int64_t row, bool descending,
                      struct store_part *part, char why[STORE_WHY_SIZE])
{
    int found = 0;
    struct opened *opened = find_part(reader, row, descending, &found, why);
    const struct segment *segment;

    reader->current = opened;
    if (opened == NULL)
        return found;
    segment = opened->segment;
    part->database = opened->database;
    part->first = segment->first;
    part->last = atomic_load_explicit(&segment->last, memory_order_acquire);
    part->has_indexes = atomic_load(&segment->state) == SEGMENT_INDEXED;
    part->min_time_ns = segment->min_ns;
    part->max_time_ns = segment->max_ns;
    return 1;
}

bool store_can_narrow(int column)
{
    return columns_has(column);
}

ptrdiff_t store_reader_candidates(struct store_reader *reader,
                                  const struct store_condition *conditions, size_t count,
                                  int64_t first, int64_t last, bool descending, int64_t *rows,
                                  size_t max)
{
    struct store_condition narrowing[8];
    size_t kept = 0;

    if (reader->columns == NULL)
        return -1;
    for (size_t i = 0; i < count && kept < sizeof(narrowing) / sizeof(narrowing[0]); i++) {
        if (columns_has(conditions[i].column))
            narrowing[kept++] = conditions[i];
    }
    if (kept == 0)
        return -1;
    return (ptrdiff_t)columns_find(reader->columns, narrowing, kept, first, last, descending, rows,
                                   max);
}

int store_reader_times(struct store_reader *reader, int64_t since_ns, int64_t until_ns,
                       int64_t *first, int64_t *last, char why[STORE_WHY_SIZE])
{
    static const char sql[] = "SELECT min(row), max(row) FROM zones"
                              " WHERE max_ns >= ?1 AND min_ns <= ?2";
    struct opened *opened = reader->current;
    sqlite3_stmt *statement;
    int result;

    if (opened->segment->min_ns > until_ns || opened->segment->max_ns < since_ns) {
        *last = *first - 1;
        return 0;
    }
    if (reader->columns != NULL) {
        columns_times(reader->columns, since_ns, until_ns, first, last);
        return 0;
    }
    if (atomic_load(&opened->segment->state) != SEGMENT_INDEXED)
        return 0;
    result = sqlite3_prepare_v2(opened->database, sql, -1, &statement, NULL);
    if (result == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, since_ns);
        sqlite3_bind_int64(statement, 2, until_ns);
        result = sqlite3_step(statement);
    }
    if (result != SQLITE_ROW) {
        schema_fail(why, "%s: %s", opened->segment->path, sqlite3_errmsg(opened->database));
    } else if (sqlite3_column_type(statement, 0) == SQLITE_NULL) {
        *last = *first - 1;
    } else {
        int64_t least = sqlite3_column_int64(statement, 0);
        int64_t most = sqlite3_column_int64(statement, 1) + COLUMNS_BLOCK - 1;

        *first = *first < least ? least : *first;
        *last = *last > most ? most : *last;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? 0 : -1;
}

int64_t store_reader_oldest(struct store_reader *reader)
{
    struct catalogue *catalogue = &reader->store->catalogue;
    struct segment *segment = catalogue_find(catalogue, 0, false, NULL);
    int64_t first = segment != NULL ? segment->first : 0;

    catalogue_release(catalogue, segment);
    return first;
}

void store_reader_deadline(struct store_reader *reader, unsigned milliseconds)
{
    atomic_store(&reader->interrupted, false);
    reader->has_deadline = milliseconds > 0;
    if (!reader->has_deadline)
        return;
    clock_gettime(CLOCK_MONOTONIC, &reader->deadline);
    reader->deadline.tv_sec += milliseconds / 1000;
    reader->deadline.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (reader->deadline.tv_nsec >= 1000000000) {
        reader->deadline.tv_nsec -= 1000000000;
        reader->deadline.tv_sec++;
    }
}

void store_reader_interrupt(struct store_reader *reader)
{
    atomic_store(&reader->interrupted, true);
}

/* A walk over the lines. */
struct walk {
    int64_t after;
    bool going;
    bool (*on_row)(void *cookie, int64_t row, const char *json, size_t length);
    void *cookie;
};

static int walk_part(struct opened *opened, int64_t last, struct walk *walk, char *why)
{
    int result = SQLITE_DONE;

    if (opened->rows == NULL &&
        schema_prepare(opened->database,
                       "SELECT row, json FROM bodies WHERE row > ?1 AND row <= ?2 ORDER BY row",
                       &opened->rows) != 0)
        return schema_fail(why, "%s: %s", opened->segment->path, sqlite3_errmsg(opened->database));
    sqlite3_bind_int64(opened->rows, 1, walk->after);
    sqlite3_bind_int64(opened->rows, 2, last);
    while (walk->going && (result = sqlite3_step(opened->rows)) == SQLITE_ROW) {
        const char *json = (const char *)sqlite3_column_text(opened->rows, 1);

        walk->after = sqlite3_column_int64(opened->rows, 0);
        walk->going = walk->on_row(walk->cookie, walk->after, json != NULL ? json : "",
                                   (size_t)sqlite3_column_bytes(opened->rows, 1));
    }
    if (result != SQLITE_DONE && result != SQLITE_ROW)
        schema_fail(why, "%s: %s", opened->segment->path, sqlite3_errmsg(opened->database));
    sqlite3_reset(opened->rows);
    return result == SQLITE_DONE || result == SQLITE_ROW ? 0 : -1;
}

int store_reader_rows(struct store_reader *reader, int64_t after,
                      bool (*on_row)(void *cookie, int64_t row, const char *json, size_t length),
                      void *cookie, char why[STORE_WHY_SIZE])
{
    struct walk walk = {.after = after, .going = true, .on_row = on_row, .cookie = cookie};
    struct store_part part;
    int found = 0;

    reader->skipped = 0;
    while (walk.going &&
           (found = store_reader_part(reader, walk.after + 1, false, &part, why)) > 0) {
        if (part.first > walk.after + 1) {
            reader->skipped += (uint64_t)(part.first - walk.after - 1);
            walk.after = part.first - 1;
        }
        if (walk_part(reader->current, part.last, &walk, why) != 0) {
            found = -1;
            break;
        }
        if (walk.going)
            walk.after = part.last;
    }
    store_reader_rest(reader);
    return walk.going && found < 0 ? -1 : 0;
}

uint64_t store_reader_skipped(const struct store_reader *reader)
{
    return reader->skipped;
}

/* The row of that record in a part, by the columns or by an index on the number; 0 if it is not
 * there, -1 on error. */
static int64_t find_in_part(struct store_reader *reader, const struct store_part *part,
                            const char *incarnation, uint64_t seq, const char *id)
{
    const char *const values[] = {id};
    struct store_condition condition = {.column = STORE_COLUMN_ID, .values = values, .count = 1};
    int64_t rows[64], row = 0, first = part->first;
    sqlite3_stmt *statement;
    ptrdiff_t count;
    const char *sql = "SELECT row FROM exits WHERE seq = ?1 AND incarnation = ?2"
                      " AND row BETWEEN ?3 AND ?4 LIMIT 1";

    do {
        count = store_reader_candidates(reader, &condition, 1, first, part->last, false, rows, 64);
        if (sqlite3_prepare_v2(part->database, sql, -1, &statement, NULL) != SQLITE_OK)
            return -1;
        sqlite3_bind_int64(statement, 1, (int64_t)seq);
        sqlite3_bind_text(statement, 2, incarnation, -1, SQLITE_STATIC);
        for (ptrdiff_t i = 0; row == 0 && i < (count < 0 ? 1 : count); i++) {
            sqlite3_bind_int64(statement, 3, count < 0 ? part->first : rows[i]);
            sqlite3_bind_int64(statement, 4, count < 0 ? part->last : rows[i]);
            switch (sqlite3_step(statement)) {
            case SQLITE_ROW:
                row = sqlite3_column_int64(statement, 0);
                break;
            case SQLITE_DONE:
                break;
            default:
                row = -1;
            }
            sqlite3_reset(statement);
        }
        sqlite3_finalize(statement);
        if (count > 0)
            first = rows[count - 1] + 1;
    } while (row == 0 && count == 64);
    return row;
}

int64_t store_reader_find(struct store_reader *reader, const char *incarnation, uint64_t seq,
                          char why[STORE_WHY_SIZE])
{
    int64_t row = INT64_MAX, found = 0;
    struct store_part part;
    char id[64];
    int there;

    snprintf(id, sizeof(id), "%s-%llu", incarnation, (unsigned long long)seq);
    while (found == 0 && (there = store_reader_part(reader, row, true, &part, why)) != 0) {
        found = there > 0 ? find_in_part(reader, &part, incarnation, seq, id) : -1;
        if (there > 0 && found < 0)
            schema_fail(why, "%s", sqlite3_errmsg(part.database));
        row = part.first - 1;
    }
    store_reader_rest(reader);
    return found;
}
