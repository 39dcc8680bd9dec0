/*
 * The thread that gives closed segments their indexes: made afterwards they cost a tenth of what
 * they cost while rows come in. It works on one segment at a time, the newest first, for that one
 * is asked about the most, through a connection of its own. `lock` is over the members below it;
 * `stopping` is also looked at without it, in the middle of an index.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "memory.h"
#include "store_internal.h"

#define RETRY_S 10

struct store_indexer {
    struct catalogue *catalogue;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t change;
    bool awake; /* there may be something to do */
    atomic_bool stopping;
};

/* The newest that is closed and has no indexes, with a reference; its columns are held. */
static struct segment *next_segment(struct catalogue *catalogue, struct columns **columns)
{
    struct segment *found = NULL;

    pthread_mutex_lock(&catalogue->lock);
    for (size_t i = catalogue->count; i-- > 0 && found == NULL;) {
        if (atomic_load(&catalogue->segments[i]->state) == SEGMENT_CLOSED)
            found = catalogue->segments[i];
    }
    *columns = NULL;
    if (found != NULL) {
        found->references++;
        if (found->columns != NULL)
            *columns = columns_hold(found->columns);
    }
    pthread_mutex_unlock(&catalogue->lock);
    return found;
}

static int is_stopping(void *cookie)
{
    struct store_indexer *indexer = cookie;

    return atomic_load(&indexer->stopping);
}

static bool is_gone(struct store_indexer *indexer, const struct segment *segment)
{
    bool gone;

    pthread_mutex_lock(&indexer->catalogue->lock);
    gone = segment->gone;
    pthread_mutex_unlock(&indexer->catalogue->lock);
    return gone;
}

/*
 * It is not written to any more, so the log beside it can go, and then it can be read on a full
 * disk, too. A reader that has it open keeps us from that; it reads as well with it.
 */
static void settle(struct store_indexer *indexer, struct segment *segment, sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    struct owed *held = NULL;

    sqlite3_busy_timeout(database, 0);
    sqlite3_exec(database, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    if (sqlite3_prepare_v2(database, "PRAGMA journal_mode=DELETE", -1, &statement, NULL) ==
            SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW &&
        strcmp((const char *)sqlite3_column_text(statement, 0), "delete") == 0) {
        pthread_mutex_lock(&indexer->catalogue->lock);
        held = segment->held;
        segment->held = NULL;
        pthread_mutex_unlock(&indexer->catalogue->lock);
    }
    sqlite3_finalize(statement);
    free(held);
}

static int index_segment(struct store_indexer *indexer, struct segment *segment,
                         const struct columns *columns)
{
    sqlite3 *database;
    int result = schema_connect(segment->path, SQLITE_OPEN_READWRITE, &database);

    if (result == SQLITE_OK)
        sqlite3_progress_handler(database, 4096, is_stopping, indexer);
    if (result == SQLITE_OK)
        result = sqlite3_exec(database, "PRAGMA cache_size=-4096", NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = schema_index(database, columns);
    if (schema_is_damage(result))
        log_error("%s: is damaged, and stays without indexes: %s", segment->path,
                  sqlite3_errmsg(database));
    else if (result != SQLITE_OK && result != SQLITE_INTERRUPT && !is_gone(indexer, segment))
        log_warning("%s: cannot make its indexes yet: %s", segment->path, sqlite3_errmsg(database));
    if (result == SQLITE_OK)
        settle(indexer, segment, database);
    sqlite3_close(database);
    return result;
}

/* Returns false when it is to be tried again later. */
static bool index_all(struct store_indexer *indexer)
{
    struct catalogue *catalogue = indexer->catalogue;
    struct segment *segment;
    struct columns *columns;
    bool fine = true;

    while (fine && (segment = next_segment(catalogue, &columns)) != NULL) {
        int result = index_segment(indexer, segment, columns);

        columns_release(columns);
        if (result == SQLITE_OK) {
            uint64_t bytes = segment_measure(segment);

            pthread_mutex_lock(&catalogue->lock);
            segment->bytes = bytes;
            pthread_mutex_unlock(&catalogue->lock);
            /* In this order: who sees that it has indexes needs its columns no more. */
            atomic_store(&segment->state, SEGMENT_INDEXED);
            catalogue_forget_columns(catalogue, segment);
        } else if (schema_is_damage(result)) {
            atomic_store(&segment->state, SEGMENT_BROKEN);
        }
        fine = result == SQLITE_OK || schema_is_damage(result) || is_gone(indexer, segment);
        catalogue_release(catalogue, segment);
    }
    return fine;
}

static void *run(void *cookie)
{
    struct store_indexer *indexer = cookie;
    bool fine = true;

    pthread_mutex_lock(&indexer->lock);
    while (!indexer->stopping) {
        if (!indexer->awake && fine) {
            pthread_cond_wait(&indexer->change, &indexer->lock);
            continue;
        }
        if (!indexer->awake) {
            struct timespec until;

            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += RETRY_S;
            while (!indexer->stopping && !indexer->awake &&
                   pthread_cond_timedwait(&indexer->change, &indexer->lock, &until) != ETIMEDOUT)
                ;
        }
        indexer->awake = false;
        pthread_mutex_unlock(&indexer->lock);
        fine = index_all(indexer);
        pthread_mutex_lock(&indexer->lock);
    }
    pthread_mutex_unlock(&indexer->lock);
    return NULL;
}

struct store_indexer *store_indexer_start(struct catalogue *catalogue)
{
    struct store_indexer *indexer = memory_zeroed(sizeof(*indexer));
    pthread_condattr_t attributes;

    indexer->catalogue = catalogue;
    indexer->awake = true;
    pthread_mutex_init(&indexer->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&indexer->change, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&indexer->thread, NULL, run, indexer) != 0)
        memory_check(NULL);
    return indexer;
}

void store_indexer_wake(struct store_indexer *indexer)
{
    pthread_mutex_lock(&indexer->lock);
    indexer->awake = true;
    pthread_cond_signal(&indexer->change);
    pthread_mutex_unlock(&indexer->lock);
}

void store_indexer_stop(struct store_indexer *indexer)
{
    if (indexer == NULL)
        return;
    pthread_mutex_lock(&indexer->lock);
    indexer->stopping = true;
    pthread_cond_signal(&indexer->change);
    pthread_mutex_unlock(&indexer->lock);
    pthread_join(indexer->thread, NULL);
    pthread_cond_destroy(&indexer->change);
    pthread_mutex_destroy(&indexer->lock);
    free(indexer);
}
