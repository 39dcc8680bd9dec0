/*
 * The thread that brings what is in the live segment's log into its database. In the thread that
 * writes it would hold up what comes: at full rate a third of the time, and at a low one everybody
 * who is unlucky, for as long as it takes to bring 16 MB to the disk twice.
 *
 * The log begins anew when all of it is in the database at the moment a transaction begins. While
 * much comes that is never so by itself; so from a certain length on the thread that writes does
 * the last, small part itself (store_tend_log). What is acknowledged is in the log and on the disk
 * in any case: this is about room, not about safety.
 *
 * `lock` is over all members. The connection is the thread's while `busy`, else of who has the
 * lock.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memory.h"
#include "store_internal.h"

/* From so much in the log that is not in the database on, a pass is worth it. */
#define PASS_BYTES ((uint64_t)4 << 20)
/* So much is done by the thread that writes. */
#define LAST_PART_BYTES ((uint64_t)8 << 20)

struct store_checkpointer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool busy; /* a pass is asked for, or goes on */
    bool stopping;
    bool failed;  /* the last pass, which was told */
    int64_t done; /* pages of the log that are in the database after the last pass; -1: known */
    char *path;   /* of the live segment; NULL before the first pass */
};

/* One pass. Returns how many pages of the log are in the database then, -1 if it failed. */
static int64_t checkpoint(sqlite3 *database, const char *path, bool *failed)
{
    int pages = 0, done = -1;
    int result =
        sqlite3_wal_checkpoint_v2(database, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &done);

    /* It is tried again as the log grows; when that is too long for the disk, writing fails. */
    if (result != SQLITE_OK && result != SQLITE_BUSY && result != SQLITE_LOCKED && !*failed)
        log_warning("%s: its log cannot be brought into it yet: %s", path,
                    sqlite3_errmsg(database));
    *failed = result != SQLITE_OK && result != SQLITE_BUSY && result != SQLITE_LOCKED;
    return result == SQLITE_OK ? done : -1;
}

/* One pass through a connection of its own, which is not kept: descriptors may be scarce. */
static int64_t pass(struct store_checkpointer *checkpointer)
{
    sqlite3 *database = NULL;
    int64_t done = -1;
    int result = schema_connect(checkpointer->path, SQLITE_OPEN_READWRITE, &database);

    if (result == SQLITE_OK)
        result = sqlite3_exec(database, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
    /* Whoever closes a segment leaves its log to whoever opens it next. */
    if (result == SQLITE_OK)
        result = sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (result == SQLITE_OK)
        done = checkpoint(database, checkpointer->path, &checkpointer->failed);
    sqlite3_close(database);
    return done;
}

static void *run(void *cookie)
{
    struct store_checkpointer *checkpointer = cookie;
    int64_t done;

    pthread_mutex_lock(&checkpointer->lock);
    while (!checkpointer->stopping) {
        if (!checkpointer->busy) {
            pthread_cond_wait(&checkpointer->change, &checkpointer->lock);
            continue;
        }
        pthread_mutex_unlock(&checkpointer->lock);
        done = pass(checkpointer);
        pthread_mutex_lock(&checkpointer->lock);
        checkpointer->done = done;
        checkpointer->busy = false;
        pthread_cond_broadcast(&checkpointer->change);
    }
    pthread_mutex_unlock(&checkpointer->lock);
    return NULL;
}

struct store_checkpointer *store_checkpointer_start(void)
{
    struct store_checkpointer *checkpointer = memory_zeroed(sizeof(*checkpointer));

    checkpointer->done = -1;
    pthread_mutex_init(&checkpointer->lock, NULL);
    pthread_cond_init(&checkpointer->change, NULL);
    if (pthread_create(&checkpointer->thread, NULL, run, checkpointer) != 0)
        memory_check(NULL);
    return checkpointer;
}

/* With the lock held: wait until no pass goes on. */
static void wait_for_pass(struct store_checkpointer *checkpointer)
{
    while (checkpointer->busy)
        pthread_cond_wait(&checkpointer->change, &checkpointer->lock);
}

void store_checkpointer_leave(struct store_checkpointer *checkpointer)
{
    if (checkpointer == NULL)
        return;
    pthread_mutex_lock(&checkpointer->lock);
    wait_for_pass(checkpointer);
    free(checkpointer->path);
    checkpointer->path = NULL;
    checkpointer->done = -1;
    checkpointer->failed = false;
    pthread_mutex_unlock(&checkpointer->lock);
}

void store_checkpointer_stop(struct store_checkpointer *checkpointer)
{
    if (checkpointer == NULL)
        return;
    store_checkpointer_leave(checkpointer);
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->stopping = true;
    pthread_cond_broadcast(&checkpointer->change);
    pthread_mutex_unlock(&checkpointer->lock);
    pthread_join(checkpointer->thread, NULL);
    pthread_cond_destroy(&checkpointer->change);
    pthread_mutex_destroy(&checkpointer->lock);
    free(checkpointer);
}

/* ---- the thread that writes ---- */

/* Called by SQLite after each transaction: so many pages are in the log. */
static int on_log(void *cookie, sqlite3 *database, const char *name, int pages)
{
    struct store *store = cookie;

    (void)database;
    (void)name;
    /* It began anew. */
    if (pages < store->log_pages)
        store->log_done = store->log_next = 0;
    store->log_pages = pages;
    return SQLITE_OK;
}

void store_watch_log(struct store *store)
{
    store->log_pages = store->log_done = store->log_next = 0;
    sqlite3_wal_hook(store->database, on_log, store);
}

void store_tend_log(struct store *store)
{
    const int64_t pass = PASS_BYTES / SCHEMA_PAGE_BYTES;
    const int64_t last_part = LAST_PART_BYTES / SCHEMA_PAGE_BYTES;
    const int64_t most = (int64_t)(store_log_bytes(store) / SCHEMA_PAGE_BYTES);
    struct store_checkpointer *checkpointer = store->checkpointer;
    int64_t done;
    bool last = false;

    pthread_mutex_lock(&checkpointer->lock);
    /* The disk is too slow for what comes: then what comes has to wait. */
    if (store->log_pages > 2 * most)
        wait_for_pass(checkpointer);
    if (!checkpointer->busy) {
        int64_t left;

        if (checkpointer->done >= 0)
            store->log_done = checkpointer->done;
        checkpointer->done = -1;
        left = store->log_pages - store->log_done;
        last = store->log_pages >= most && store->log_pages >= store->log_next &&
               (left <= last_part || store->log_pages > 2 * most);
        if (!last && left >= pass) {
            if (checkpointer->path == NULL)
                checkpointer->path = memory_string(store->live->path);
            checkpointer->busy = true;
            pthread_cond_broadcast(&checkpointer->change);
        }
    }
    pthread_mutex_unlock(&checkpointer->lock);
    if (last) {
        /* If somebody reads just then it does not begin anew: not at once again. */
        store->log_next = store->log_pages + pass;
        done = checkpoint(store->database, store->live->path, &store->log_failed);
        if (done >= 0)
            store->log_done = done;
    }
}
