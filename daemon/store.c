#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "store_internal.h"
#include "timestamp.h"

#define TALLY_BUCKETS 256
#define LEAST_SEGMENT_BYTES ((uint64_t)1 << 20)
#define LOG_BYTES ((uint64_t)64 << 20)
#define LEAST_LOG_BYTES ((uint64_t)128 << 10)
#define CROWDED_NS (INT64_C(3600) * 1000000000)  /* seen since: not forgotten for others */
#define FULL_TOLD_NS (INT64_C(600) * 1000000000) /* how long a full disk is told of */

/* A node may get its name only after it connected first. What belongs to another uid stays as it
 * is. */
static const char hello_sql[] =
    "INSERT INTO incarnations(incarnation, node, host, os_pid, otp, uid, first_seen_ns, "
    "last_seen_ns)"
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)"
    " ON CONFLICT(incarnation) DO UPDATE SET node = ?2, host = ?3, os_pid = ?4, otp = ?5"
    " WHERE uid = ?6";

/* Who else came with this name of late. A node that is not distributed has no name of its own. */
static const char name_sql[] = "SELECT 1 FROM incarnations WHERE node = ?1 AND uid <> ?2"
                               " AND last_seen_ns > ?3 AND node <> 'nonode@nohost' LIMIT 1";

/* How many incarnations are known of a uid, and of all. */
static const char crowd_sql[] = "SELECT (SELECT count(*) FROM incarnations WHERE uid = ?1),"
                                " (SELECT count(*) FROM incarnations)";

static const char load_sql[] = "SELECT made, stored, top_seq, settled, dropped, ended, uid, here"
                               " FROM incarnations WHERE incarnation = ?1";

static const char save_sql[] =
    "UPDATE incarnations SET made = ?2, stored = ?3, top_seq = ?4, settled = ?5, dropped = ?6,"
    " ended = ?7, last_seen_ns = ?8, counters = coalesce(?9, counters), here = ?10"
    " WHERE incarnation = ?1";

static const char cursor_sql[] = "INSERT INTO sinks(name, cursor) VALUES(?1, ?2)"
                                 " ON CONFLICT(name) DO UPDATE SET cursor = ?2";

/* One incarnation's numbers while a transaction goes on. */
struct tally {
    const char *incarnation;
    int64_t made, stored, top_seq, settled, dropped, ended, uid, here;
    bool touched;
    const char *counters;
    struct tally *next;
};

/* A transaction under way. */
struct batch {
    struct tally *tallies[TALLY_BUCKETS];
    int64_t now;
    int64_t row; /* the next one's */
    uint64_t duplicates;
    const struct hello *last_hello; /* the tally that was wanted last: mostly it is again */
    struct tally *last_tally;
};

int store_run(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);

    sqlite3_reset(statement);
    return result == SQLITE_DONE ? 0 : -1;
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    if (text == NULL)
        sqlite3_bind_null(statement, index);
    else
        sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

/* ---- the live segment's database ---- */

/* The budget that segments share: what the store may take, or what the disk has for it. */
uint64_t store_segment_bytes(struct store *store)
{
    struct store_settings limits;
    struct store_numbers numbers;
    struct statvfs disk;
    uint64_t budget = UINT64_MAX, bytes;

    pthread_mutex_lock(&store->shared.lock);
    limits = store->shared.limits;
    pthread_mutex_unlock(&store->shared.lock);
    store_numbers(store, &numbers);
    if (statvfs(store->folder, &disk) == 0)
        budget = numbers.bytes + (uint64_t)disk.f_bavail * disk.f_frsize;
    if (limits.max_bytes > 0 && limits.max_bytes < budget)
        budget = limits.max_bytes;
    bytes = limits.segment_bytes > 0 ? limits.segment_bytes : STORE_SEGMENT_BYTES;
    /* Dropping the oldest then costs an eighth of what there is, not all of it. */
    if (bytes > budget / 8)
        bytes = budget / 8;
    return bytes > LEAST_SEGMENT_BYTES || limits.segment_bytes > 0 ? bytes : LEAST_SEGMENT_BYTES;
}

uint64_t store_log_bytes(struct store *store)
{
    uint64_t bytes = store_segment_bytes(store) / 8;

    if (bytes > LOG_BYTES)
        bytes = LOG_BYTES;
    return bytes > LEAST_LOG_BYTES ? bytes : LEAST_LOG_BYTES;
}

static int prepare_all(struct store *store)
{
    sqlite3 *database = store->database;

    return store_rows_register(database, &store->rows) == SQLITE_OK &&
                   schema_prepare(database, "BEGIN IMMEDIATE", &store->begin) == 0 &&
                   schema_prepare(database, "COMMIT", &store->commit) == 0 &&
                   schema_prepare(database, "ROLLBACK", &store->rollback) == 0 &&
                   schema_prepare(database, store_rows_exits_sql, &store->exits) == 0 &&
                   schema_prepare(database, store_rows_bodies_sql, &store->bodies) == 0 &&
                   schema_prepare(database, hello_sql, &store->hello) == 0 &&
                   schema_prepare(database, name_sql, &store->name) == 0 &&
                   schema_prepare(database, crowd_sql, &store->crowd) == 0 &&
                   schema_prepare(database, load_sql, &store->load) == 0 &&
                   schema_prepare(database, save_sql, &store->save) == 0 &&
                   schema_prepare(database, cursor_sql, &store->cursor) == 0
               ? SQLITE_OK
               : sqlite3_errcode(database);
}

int store_open_live(struct store *store, char *why)
{
    char sql[256];
    int result = schema_connect(store->live->path, SQLITE_OPEN_READWRITE, &store->database);

    /* FULL: what is acknowledged survives a power cut. With group commit it costs next to nothing.
     */
    snprintf(sql, sizeof(sql),
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;"
             "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=%" PRIu64,
             store_log_bytes(store));
    if (result == SQLITE_OK)
        result = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    if (result == SQLITE_OK)
        store_watch_log(store);
    if (result == SQLITE_OK)
        result = prepare_all(store);
    result = schema_result(store->database, result);
    if (result != SQLITE_OK) {
        schema_fail(why, "%s: %s", store->live->path, sqlite3_errmsg(store->database));
        store_close_live(store, false);
    }
    return result;
}

void store_close_live(struct store *store, bool checkpoint)
{
    sqlite3_stmt **const statements[] = {&store->begin, &store->commit, &store->rollback,
                                         &store->exits, &store->bodies, &store->hello,
                                         &store->name,  &store->crowd,  &store->load,
                                         &store->save,  &store->cursor};

    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        sqlite3_finalize(*statements[i]);
        *statements[i] = NULL;
    }
    store_checkpointer_leave(store->checkpointer);
    if (!checkpoint && store->database != NULL)
        sqlite3_db_config(store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(store->database);
    store->database = NULL;
}

/* ---- opening and closing ---- */

static int lock_file(struct store *store, int *lock, int flags, const char *path, char *why)
{
    *lock = open(path, flags | O_CLOEXEC, 0600);
    if (*lock < 0)
        return schema_fail(why, "%s: cannot open the store: %s%s", path, strerror(errno),
                           errno == ENOENT ? "; its directory must be there" : "");
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return schema_fail(why, "%s: another coronerd has this store open", store->path);
    return schema_fail(why, "%s: cannot lock the store: %s", path, strerror(errno));
}

static struct store *store_new(const char *path)
{
    struct store *store = memory_zeroed(sizeof(*store));
    size_t size = strlen(path) + 3;

    store->path = memory_string(path);
    store->folder = memory_get(size);
    snprintf(store->folder, size, "%s.d", path);
    store->lock = store->folder_lock = -1;
    pthread_mutex_init(&store->catalogue.lock, NULL);
    pthread_mutex_init(&store->shared.lock, NULL);
    return store;
}

struct store *store_open(const char *path, int *exit_code, char why[STORE_WHY_SIZE])
{
    struct store *store = store_new(path);

    *exit_code = EX_CANTCREAT;
    if (lock_file(store, &store->lock, O_RDWR | O_CREAT, path, why) != 0)
        goto error;
    if (mkdir(store->folder, 0700) != 0 && errno != EEXIST) {
        schema_fail(why, "%s: cannot make the folder: %s", store->folder, strerror(errno));
        goto error;
    }
    if (lock_file(store, &store->folder_lock, O_RDONLY | O_DIRECTORY, store->folder, why) != 0)
        goto error;
    *exit_code = EX_IOERR;
    if (store_load(store, exit_code, why) != 0)
        goto error;
    store->shared.head = store->next_row - 1;
    store->indexer = store_indexer_start(&store->catalogue);
    store->checkpointer = store_checkpointer_start();
    return store;

error:
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    struct owed *owed;

    if (store == NULL)
        return;
    store_indexer_stop(store->indexer);
    store_close_live(store, true);
    store_checkpointer_stop(store->checkpointer);
    while ((owed = store->owed) != NULL) {
        store->owed = owed->next;
        free(owed);
    }
    while (store->catalogue.count > 0)
        catalogue_remove(&store->catalogue, store->catalogue.segments[0]);
    free(store->catalogue.segments);
    for (size_t i = 0; i < store->sink_count; i++)
        free(store->sinks[i].name);
    pthread_mutex_destroy(&store->catalogue.lock);
    pthread_mutex_destroy(&store->shared.lock);
    /* Last: closing any descriptor of the file gives up SQLite's own locks on it. */
    if (store->folder_lock >= 0)
        close(store->folder_lock);
    if (store->lock >= 0)
        close(store->lock);
    free(store->path);
    free(store->folder);
    free(store);
}

void store_limit(struct store *store, const struct store_settings *settings)
{
    pthread_mutex_lock(&store->shared.lock);
    store->shared.limits = *settings;
    store->shared.limits.path = NULL; /* not ours to keep */
    pthread_mutex_unlock(&store->shared.lock);
}

/* ---- what is written ---- */

static size_t bucket_of(const char *incarnation)
{
    uint32_t hash = 2166136261u;

    for (; *incarnation != '\0'; incarnation++)
        hash = (hash ^ (unsigned char)*incarnation) * 16777619u;
    return hash % TALLY_BUCKETS;
}

static struct tally *find_tally(struct store *store, struct batch *batch, const char *incarnation)
{
    struct tally **bucket = &batch->tallies[bucket_of(incarnation)], *tally;
    sqlite3_stmt *load = store->load;

    for (tally = *bucket; tally != NULL; tally = tally->next) {
        if (strcmp(tally->incarnation, incarnation) == 0)
            return tally;
    }
    bind_text(load, 1, incarnation);
    if (sqlite3_step(load) == SQLITE_ROW) {
        tally = memory_zeroed(sizeof(*tally));
        tally->incarnation = incarnation;
        tally->made = sqlite3_column_int64(load, 0);
        tally->stored = sqlite3_column_int64(load, 1);
        tally->top_seq = sqlite3_column_int64(load, 2);
        tally->settled = sqlite3_column_int64(load, 3);
        tally->dropped = sqlite3_column_int64(load, 4);
        tally->ended = sqlite3_column_int64(load, 5);
        tally->uid = sqlite3_column_int64(load, 6);
        tally->here = sqlite3_column_int64(load, 7);
        tally->next = *bucket;
        *bucket = tally;
    }
    sqlite3_reset(load);
    return tally;
}

static int save_tally(struct store *store, const struct tally *tally, int64_t now)
{
    sqlite3_stmt *save = store->save;

    bind_text(save, 1, tally->incarnation);
    sqlite3_bind_int64(save, 2, tally->made);
    sqlite3_bind_int64(save, 3, tally->stored);
    sqlite3_bind_int64(save, 4, tally->top_seq);
    sqlite3_bind_int64(save, 5, tally->settled);
    sqlite3_bind_int64(save, 6, tally->dropped);
    sqlite3_bind_int64(save, 7, tally->ended);
    sqlite3_bind_int64(save, 8, now);
    bind_text(save, 9, tally->counters);
    sqlite3_bind_int64(save, 10, tally->here);
    return store_run(save);
}

static void raise_to(int64_t *number, uint64_t least)
{
    if (*number < (int64_t)least)
        *number = (int64_t)least;
}

static int write_hello(struct store *store, const struct hello *hello, uint32_t uid, int64_t now)
{
    sqlite3_stmt *statement = store->hello;

    bind_text(statement, 1, hello->incarnation);
    bind_text(statement, 2, hello->name);
    bind_text(statement, 3, hello->host);
    sqlite3_bind_int64(statement, 4, (int64_t)hello->os_pid);
    bind_text(statement, 5, hello->otp);
    sqlite3_bind_int64(statement, 6, uid);
    sqlite3_bind_int64(statement, 7, now);
    return store_run(statement);
}

/* Returns 1 if another uid came with the name of late, 0 if not, -1 on error. */
static int name_is_foreign(struct store *store, const struct change *change, int64_t now)
{
    int result;

    bind_text(store->name, 1, change->hello->name);
    sqlite3_bind_int64(store->name, 2, change->uid);
    sqlite3_bind_int64(store->name, 3, now - STORE_NAME_KEPT_S * 1000000000);
    result = sqlite3_step(store->name);
    sqlite3_reset(store->name);
    return result == SQLITE_ROW ? 1 : result == SQLITE_DONE ? 0 : -1;
}

/* Let the incarnation that was not seen for the longest make room, its own uid's before others'. */
static int make_room(struct store *store, uint32_t uid, int64_t now)
{
    static const char forget_sql[] =
        "INSERT INTO about SELECT 'forgotten_' || key, value FROM (SELECT 'incarnations' AS key, 1 "
        "AS"
        " value UNION ALL SELECT 'made', made FROM incarnations WHERE incarnation = ?1 UNION ALL"
        " SELECT 'stored', stored FROM incarnations WHERE incarnation = ?1 UNION ALL"
        " SELECT 'expired', expired FROM incarnations WHERE incarnation = ?1) WHERE 1"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value";
    /* Those of which nothing is stored first: what makes a crowd is that. */
    static const char oldest_sql[] =
        "SELECT incarnation, stored > expired AND last_seen_ns > ?2 FROM incarnations"
        " WHERE ?1 < 0 OR uid = ?1 ORDER BY stored > expired, last_seen_ns LIMIT 1";
    char incarnation[HELLO_INCARNATION + 1] = "";
    sqlite3_stmt *statement = NULL;
    int64_t of_uid = 0, all = 0;
    bool crowded = false;
    int result;

    sqlite3_bind_int64(store->crowd, 1, uid);
    if ((result = sqlite3_step(store->crowd)) == SQLITE_ROW) {
        of_uid = sqlite3_column_int64(store->crowd, 0);
        all = sqlite3_column_int64(store->crowd, 1);
    }
    sqlite3_reset(store->crowd);
    if (result != SQLITE_ROW)
        return -1;
    if (of_uid < STORE_INCARNATIONS_OF_UID && all < STORE_INCARNATIONS)
        return 0;
    if (sqlite3_prepare_v2(store->database, oldest_sql, -1, &statement, NULL) != SQLITE_OK)
        return -1;
    sqlite3_bind_int64(statement, 1, of_uid < STORE_INCARNATIONS_OF_UID ? -1 : (int64_t)uid);
    sqlite3_bind_int64(statement, 2, now - CROWDED_NS);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        snprintf(incarnation, sizeof(incarnation), "%s",
                 (const char *)sqlite3_column_text(statement, 0));
        crowded = sqlite3_column_int(statement, 1);
    }
    sqlite3_finalize(statement);
    /* It may come back, and what it sends again would be stored again. */
    if (crowded)
        return 1;
    for (int i = 0; i < 2; i++) {
        if (sqlite3_prepare_v2(store->database,
                               i == 0 ? forget_sql
                                      : "DELETE FROM incarnations WHERE incarnation = ?1",
                               -1, &statement, NULL) != SQLITE_OK)
            return -1;
        bind_text(statement, 1, incarnation);
        result = sqlite3_step(statement);
        sqlite3_finalize(statement);
        if (result != SQLITE_DONE)
            return -1;
    }
    return 0;
}

/* The tally of who sent the change. NULL on error, or where a HELLO is refused. */
static struct tally *greet(struct store *store, struct batch *batch, struct change *change)
{
    const struct hello *hello = change->hello;
    struct tally *tally = find_tally(store, batch, hello->incarnation);
    int foreign, room;

    if (tally != NULL && tally->uid != change->uid) {
        change->refusal = STORE_FOREIGN_INCARNATION;
        return NULL;
    }
    if ((foreign = name_is_foreign(store, change, batch->now)) < 0)
        return NULL;
    if (foreign > 0) {
        change->refusal = STORE_FOREIGN_NAME;
        return NULL;
    }
    if (tally == NULL && (room = make_room(store, change->uid, batch->now)) != 0) {
        if (room > 0)
            change->refusal = STORE_CROWDED;
        return NULL;
    }
    if (write_hello(store, hello, change->uid, batch->now) != 0)
        return NULL;
    return tally != NULL ? tally : find_tally(store, batch, hello->incarnation);
}

/*
 * Give it a row, in which it is written when all have theirs (write_rows). Numbers rise within a
 * connection, and a connection begins behind what is acknowledged: what is
 * not above the highest has come before.
 */
static void take_record(struct batch *batch, struct change *change, struct tally *tally)
{
    const struct record *record = change->record;

    if ((int64_t)record->seq <= tally->top_seq) {
        batch->duplicates++;
        return;
    }
    change->row = batch->row++;
    tally->stored++;
    tally->here++;
    tally->top_seq = (int64_t)record->seq;
    raise_to(&tally->made, record->seq);
    /* What is below and not here will not come any more. */
    raise_to(&tally->settled, record->seq);
}

/* All records that got a row, which are in the changes. */
static int write_rows(struct store *store, const struct change *changes, size_t count)
{
    int result;

    store->rows = (struct store_rows){.first = changes, .count = count};
    result = store_run(store->exits) == 0 && store_run(store->bodies) == 0 ? 0 : -1;
    store->rows = (struct store_rows){0};
    return result;
}

static int write_cursor(struct store *store, const char *sink, int64_t cursor)
{
    bind_text(store->cursor, 1, sink);
    sqlite3_bind_int64(store->cursor, 2, cursor);
    return store_run(store->cursor);
}

/* The formula is that of `nodes` (op_status.c). */
static int64_t lost_of(const struct tally *tally)
{
    int64_t lost = tally->settled - tally->stored;

    if (lost < tally->dropped)
        lost = tally->dropped;
    return lost < tally->made - tally->stored ? lost : tally->made - tally->stored;
}

static void apply_to(struct batch *batch, struct change *change, struct tally *tally)
{
    switch (change->type) {
    case CHANGE_HELLO:
        raise_to(&tally->made, change->hello->made);
        if (change->hello->first_held > 0)
            raise_to(&tally->settled, change->hello->first_held - 1);
        tally->ended = 0;
        break;
    case CHANGE_RECORD:
        take_record(batch, change, tally);
        break;
    case CHANGE_COUNTERS:
        raise_to(&tally->made, change->made);
        raise_to(&tally->dropped, change->lost);
        tally->counters = change->counters;
        break;
    case CHANGE_BYE:
        raise_to(&tally->made, change->made);
        raise_to(&tally->settled, change->made);
        tally->ended = 1;
        break;
    case CHANGE_CURSOR:
        break;
    }
    tally->touched = true;
}

static struct tally *tally_of(struct store *store, struct batch *batch, struct change *change)
{
    struct tally *tally;

    if (change->type == CHANGE_HELLO)
        return greet(store, batch, change);
    if (change->hello == batch->last_hello)
        return batch->last_tally;
    tally = find_tally(store, batch, change->hello->incarnation);
    /* It was forgotten for others while it was connected and said nothing. */
    if (tally == NULL && write_hello(store, change->hello, change->uid, batch->now) == 0)
        tally = find_tally(store, batch, change->hello->incarnation);
    batch->last_hello = tally != NULL ? change->hello : NULL;
    batch->last_tally = tally;
    return tally;
}

static int apply_one(struct store *store, struct batch *batch, struct change *change)
{
    struct tally *tally;
    int64_t lost;

    if (change->type == CHANGE_CURSOR)
        return write_cursor(store, change->sink, change->cursor);
    change->row = 0;
    change->refusal = STORE_WELCOME;
    tally = tally_of(store, batch, change);
    if (tally == NULL)
        return change->refusal != STORE_WELCOME ? 0 : -1;
    lost = lost_of(tally);
    apply_to(batch, change, tally);
    /* It may sink, too: what was dropped comes out of the outbox after all. */
    change->lost_more = lost_of(tally) > lost ? (uint64_t)(lost_of(tally) - lost) : 0;
    return 0;
}

static int apply_all(struct store *store, struct batch *batch, struct change *changes, size_t count)
{
    struct change *change = changes;

    if (store_run(store->begin) != 0)
        return -1;
    for (size_t i = 0; i < count; i++, change = change->next) {
        if (apply_one(store, batch, change) != 0)
            return -1;
    }
    if (batch->row > store->next_row && write_rows(store, changes, count) != 0)
        return -1;
    for (size_t i = 0; i < TALLY_BUCKETS; i++) {
        for (const struct tally *tally = batch->tallies[i]; tally != NULL; tally = tally->next) {
            if (tally->touched && save_tally(store, tally, batch->now) != 0)
                return -1;
        }
    }
    return store_run(store->commit);
}

void store_hash(struct change *change)
{
    const struct record *record = change->record;

    columns_hash(change->hello->incarnation, record->seq, record->column, change->hash);
    change->hashed = true;
}

/* Let readers see what is committed. */
static void publish(struct store *store, struct batch *batch, struct change *changes, size_t count)
{
    struct segment *live = store->live;
    struct change *change = changes;

    if (batch->row > store->next_row && segment_rows(live) == 0)
        store->live_began_ns = batch->now;
    for (size_t i = 0; i < count; i++, change = change->next) {
        const struct record *record = change->record;
        struct tally *tally;

        if (change->type == CHANGE_CURSOR) {
            for (size_t s = 0; s < store->sink_count; s++) {
                if (strcmp(store->sinks[s].name, change->sink) == 0)
                    store->sinks[s].cursor = change->cursor;
            }
            continue;
        }
        if (change->type == CHANGE_RECORD && change->row > 0) {
            int64_t time_ns = (int64_t)record->time_ns;

            if (!change->hashed)
                store_hash(change);
            if (live->columns != NULL && !columns_append(live->columns, change->hash, time_ns))
                catalogue_forget_columns(&store->catalogue, live);
            if (time_ns < live->min_ns)
                live->min_ns = time_ns;
            if (time_ns > live->max_ns)
                live->max_ns = time_ns;
        }
        tally = change->hello == batch->last_hello
                    ? batch->last_tally
                    : find_tally(store, batch, change->hello->incarnation);
        if (tally != NULL) {
            change->committed = (uint64_t)tally->top_seq;
            batch->last_hello = change->hello;
            batch->last_tally = tally;
        }
    }
    store->next_row = batch->row;
    atomic_store_explicit(&live->last, batch->row - 1, memory_order_release);
    pthread_mutex_lock(&store->shared.lock);
    store->shared.head = batch->row - 1;
    store->shared.numbers.duplicates += batch->duplicates;
    store->shared.failing.state = STORE_OK;
    pthread_mutex_unlock(&store->shared.lock);
}

static int transact(struct store *store, struct change *changes, size_t count, char *why)
{
    struct batch *batch = memory_zeroed(sizeof(*batch));
    struct tally *tally;
    int result = SQLITE_OK;

    batch->now = timestamp_now();
    batch->row = store->next_row;
    if (apply_all(store, batch, changes, count) == 0) {
        publish(store, batch, changes, count);
    } else {
        result = sqlite3_errcode(store->database);
        if (result == SQLITE_OK || result == SQLITE_DONE || result == SQLITE_ROW)
            result = SQLITE_ERROR;
        result = schema_result(store->database, result);
        schema_fail(why, "%s: %s", store->live->path, sqlite3_errmsg(store->database));
        /* SQLite may have rolled back by itself, as it does when the disk is full. */
        if (!sqlite3_get_autocommit(store->database))
            store_run(store->rollback);
    }
    for (size_t i = 0; i < TALLY_BUCKETS; i++) {
        while ((tally = batch->tallies[i]) != NULL) {
            batch->tallies[i] = tally->next;
            free(tally);
        }
    }
    free(batch);
    return result;
}

static void set_failing(struct store *store, const char *why)
{
    pthread_mutex_lock(&store->shared.lock);
    if (store->shared.failing.state == STORE_OK)
        store->shared.failing.since_ns = timestamp_now();
    store->shared.failing.state = STORE_FAILING;
    snprintf(store->shared.failing.reason, STORE_WHY_SIZE, "%s", why);
    pthread_mutex_unlock(&store->shared.lock);
}

/* The live segment is broken: its successor begins with what can be read of it, or without. */
static bool replace_live(struct store *store, char *why)
{
    struct segment *broken = store->live;
    char ignored[STORE_WHY_SIZE];

    log_error("%s", why);
    if (store_roll(store, ignored) != SQLITE_OK)
        return false;
    store_degraded(store, "%s", why);
    atomic_store(&broken->state, SEGMENT_BROKEN);
    return true;
}

static int open_and_transact(struct store *store, struct change *changes, size_t count, char *why)
{
    int result = store->database != NULL ? SQLITE_OK : store_open_live(store, why);

    return result == SQLITE_OK ? transact(store, changes, count, why) : result;
}

int store_apply(struct store *store, struct change *changes, size_t count, int64_t *head,
                char why[STORE_WHY_SIZE])
{
    bool replaced = false;
    int result;

    store_tend(store);
    if (store->database != NULL)
        store_tend_log(store);
    while ((result = open_and_transact(store, changes, count, why)) != SQLITE_OK) {
        if (result == SQLITE_FULL) {
            pthread_mutex_lock(&store->shared.lock);
            store->shared.full_ns = timestamp_now();
            pthread_mutex_unlock(&store->shared.lock);
        }
        if (result == SQLITE_FULL && store_drop_oldest(store, STORE_EXPIRED_FULL))
            continue;
        if (schema_is_damage(result) && !replaced && replace_live(store, why)) {
            replaced = true;
            continue;
        }
        set_failing(store, why);
        return -1;
    }
    *head = store->next_row - 1;
    return 0;
}

/* ---- what others ask ---- */

int64_t store_head(struct store *store)
{
    int64_t head;

    pthread_mutex_lock(&store->shared.lock);
    head = store->shared.head;
    pthread_mutex_unlock(&store->shared.lock);
    return head;
}

/* 0 if there is none. */
static int64_t read_cursor(struct store *store, const char *sink)
{
    sqlite3_stmt *statement;
    int64_t cursor = 0;

    if (schema_prepare(store->database, "SELECT cursor FROM sinks WHERE name = ?1", &statement) !=
        0)
        return 0;
    bind_text(statement, 1, sink);
    if (sqlite3_step(statement) == SQLITE_ROW)
        cursor = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return cursor;
}

int64_t store_cursor(struct store *store, const char *sink, const char *before)
{
    int64_t cursor = read_cursor(store, sink);
    size_t at = 0;

    if (cursor == 0 && before != NULL)
        cursor = read_cursor(store, before);
    while (at < store->sink_count && strcmp(store->sinks[at].name, sink) != 0)
        at++;
    if (at == store->sink_count && at < STORE_SINKS_MAX) {
        store->sinks[at].name = memory_string(sink);
        store->sinks[at].cursor = cursor;
        store->sink_count++;
    }
    return cursor;
}

void store_health(struct store *store, struct store_health *health)
{
    pthread_mutex_lock(&store->shared.lock);
    *health =
        store->shared.failing.state != STORE_OK ? store->shared.failing : store->shared.health;
    if (health->state == STORE_OK && store->shared.full_ns > 0 &&
        timestamp_now() - store->shared.full_ns < FULL_TOLD_NS) {
        health->state = STORE_DEGRADED;
        health->since_ns = store->shared.full_ns;
        schema_fail(health->reason,
                    "the disk was full; %" PRIu64 " rows were dropped for it so far",
                    store->shared.numbers.expired_by_full);
    }
    pthread_mutex_unlock(&store->shared.lock);
}

void store_numbers(struct store *store, struct store_numbers *numbers)
{
    pthread_mutex_lock(&store->shared.lock);
    *numbers = store->shared.numbers;
    pthread_mutex_unlock(&store->shared.lock);
    pthread_mutex_lock(&store->catalogue.lock);
    numbers->segments = store->catalogue.count;
    for (size_t i = 0; i < store->catalogue.count; i++) {
        const struct segment *segment = store->catalogue.segments[i];
        uint64_t rows = segment_rows(segment);

        numbers->rows += rows;
        numbers->bytes += segment->bytes;
        numbers->unindexed += atomic_load(&segment->state) == SEGMENT_CLOSED;
        if (rows > 0 && numbers->oldest_row == 0)
            numbers->oldest_row = segment->first;
    }
    pthread_mutex_unlock(&store->catalogue.lock);
}
