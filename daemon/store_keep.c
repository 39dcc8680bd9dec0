/*
 * What stays in the store and what goes: a new segment when the live one is full, the oldest out
 * when there is too much, what is damaged aside. All of it by the thread that writes.
 *
 * A new segment is complete before it gets its name (schema_begin_segment), and nothing is written
 * to the old one after what it knows was taken over. So whichever has the highest number is right,
 * whenever the daemon is killed in between; a draft that has no name yet is written anew.
 *
 * What is dropped is counted in the live segment first and unlinked then; a segment that is counted
 * and still there is unlinked at the next start (`dropped_to`). When the disk is so full that
 * nothing can be counted, it is the other way round, and the count is owed. A daemon that is killed
 * while it owes finds the segment missing at its next start, and says so.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "memory.h"
#include "store_internal.h"
#include "timestamp.h"

#define SECOND INT64_C(1000000000)
#define RETRY_NS SECOND
#define FORGOTTEN_ENDED_NS (3600 * SECOND)            /* an incarnation that said goodbye */
#define FORGOTTEN_SILENT_NS (30 * 24 * 3600 * SECOND) /* one that did not */

void store_degraded(struct store *store, const char *format, ...)
{
    char reason[STORE_WHY_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    log_error("the store is degraded: %s", reason);
    pthread_mutex_lock(&store->shared.lock);
    if (store->shared.health.state == STORE_OK)
        store->shared.health.since_ns = timestamp_now();
    store->shared.health.state = STORE_DEGRADED;
    memcpy(store->shared.health.reason, reason, sizeof(reason));
    pthread_mutex_unlock(&store->shared.lock);
}

static void read_total(struct store *store, const char *key, uint64_t *total)
{
    char sql[96];
    int64_t value = 0;

    snprintf(sql, sizeof(sql), "SELECT value FROM about WHERE key = '%s'", key);
    schema_number(store->database, sql, &value);
    pthread_mutex_lock(&store->shared.lock);
    *total = (uint64_t)value;
    pthread_mutex_unlock(&store->shared.lock);
}

void store_read_totals(struct store *store)
{
    struct store_numbers *numbers = &store->shared.numbers;

    read_total(store, STORE_EXPIRED_AGE, &numbers->expired_by_age);
    read_total(store, STORE_EXPIRED_SIZE, &numbers->expired_by_size);
    read_total(store, STORE_EXPIRED_FULL, &numbers->expired_by_full);
    read_total(store, STORE_MISSING, &numbers->missing);
}

void store_set_aside(struct store *store, const struct segment *segment, const char *why)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    size_t size = strlen(segment->path) + 64;
    char *from = memory_get(size), *to = memory_get(size);
    int64_t now = timestamp_now() / SECOND;

    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        snprintf(from, size, "%s%s", segment->path, endings[i]);
        snprintf(to, size, "%s.damaged-%" PRId64 "%s", segment->path, now, endings[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            log_error("%s: cannot be set aside: %s", from, strerror(errno));
    }
    snprintf(to, size, "%s.damaged-%" PRId64, segment->path, now);
    store_degraded(store, "a damaged segment was set aside as %s (%s)", to, why);
    pthread_mutex_lock(&store->shared.lock);
    store->shared.numbers.set_aside++;
    pthread_mutex_unlock(&store->shared.lock);
    free(from);
    free(to);
}

/* ---- a new segment ---- */

static struct segment *last_closed(struct store *store)
{
    struct segment *segment = NULL;

    pthread_mutex_lock(&store->catalogue.lock);
    for (size_t i = 0; i + 1 < store->catalogue.count; i++)
        segment = store->catalogue.segments[i];
    pthread_mutex_unlock(&store->catalogue.lock);
    return segment;
}

static uint64_t segment_rows_max(struct store *store)
{
    uint64_t rows;

    pthread_mutex_lock(&store->shared.lock);
    rows = store->shared.limits.segment_rows;
    pthread_mutex_unlock(&store->shared.lock);
    if (rows == 0)
        rows = STORE_SEGMENT_ROWS;
    return rows < STORE_SEGMENT_ROWS_MAX ? rows : STORE_SEGMENT_ROWS_MAX;
}

struct segment *store_new_live(struct store *store, int64_t first)
{
    struct segment *segment = segment_new(store->folder, first);

    segment->columns = columns_new(first, segment_rows_max(store) + STORE_COLUMNS_SLACK);
    return segment;
}

/* Only the two newest segments keep their columns: their memory is bounded. */
static void forget_old_columns(struct store *store)
{
    struct segment *segment = NULL;

    pthread_mutex_lock(&store->catalogue.lock);
    if (store->catalogue.count > 2)
        segment = store->catalogue.segments[store->catalogue.count - 3];
    pthread_mutex_unlock(&store->catalogue.lock);
    /* Only this thread takes segments out, so it stays. */
    if (segment != NULL)
        catalogue_forget_columns(&store->catalogue, segment);
}

/* What of each incarnation is in the segment that `database` is. */
static struct owed *count_held(struct store *store, const struct segment *segment,
                               sqlite3 *database)
{
    static const char sql[] = "SELECT incarnation, here FROM incarnations WHERE here > 0";
    struct owed *owed = memory_zeroed(sizeof(*owed));
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);

    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        owed = memory_resize(owed, sizeof(*owed) + (owed->count + 1) * sizeof(owed->held[0]));
        snprintf(owed->held[owed->count].incarnation, HELLO_INCARNATION + 1, "%s",
                 (const char *)sqlite3_column_text(statement, 0));
        owed->held[owed->count].rows = sqlite3_column_int64(statement, 1);
        owed->count++;
        result = SQLITE_OK;
    }
    if (result != SQLITE_DONE)
        store_degraded(store,
                       "%s: its incarnations cannot be read, so its %" PRIu64
                       " rows will not be counted as expired for each of them: %s",
                       segment->path, segment_rows(segment), sqlite3_errmsg(database));
    sqlite3_finalize(statement);
    return owed;
}

int store_roll(struct store *store, char *why)
{
    struct segment *old = store->live, *previous;
    int result;

    old->closed_ns = timestamp_now();
    result = schema_begin_segment(store->folder, store->next_row, old, why);
    if (schema_is_damage(result) && (previous = last_closed(store)) != NULL) {
        /* Not even its incarnations can be read: those of the segment before it are older. */
        result = schema_begin_segment(store->folder, store->next_row, previous, why);
    }
    if (result != SQLITE_OK)
        return result;
    /* The new one is there: from here on everything goes into it, or nothing. */
    old->held = count_held(store, old, store->database);
    store_close_live(store, false);
    store->live = store_new_live(store, store->next_row);
    old->bytes = segment_measure(old);
    store->live->bytes = segment_measure(store->live);
    store->live->began_bytes = store->live->bytes;
    atomic_store(&old->state, SEGMENT_CLOSED);
    catalogue_add(&store->catalogue, store->live);
    forget_old_columns(store);
    store_indexer_wake(store->indexer);
    /* If it cannot be opened now, whoever writes to it tries again. */
    (void)store_open_live(store, why);
    return SQLITE_OK;
}

/* ---- dropping ---- */

static struct owed *owed_for(struct store *store, struct segment *segment, const char *reason)
{
    sqlite3 *database;
    struct owed *owed;

    pthread_mutex_lock(&store->catalogue.lock);
    owed = segment->held;
    segment->held = NULL;
    pthread_mutex_unlock(&store->catalogue.lock);
    if (owed == NULL) {
        schema_connect(segment->path, SQLITE_OPEN_READONLY, &database);
        owed = count_held(store, segment, database);
        sqlite3_close(database);
    }
    owed->first = segment->first;
    owed->last = segment->last;
    owed->reason = reason;
    return owed;
}

static bool run_with(struct store *store, const char *sql, const char *text, int64_t number,
                     int64_t second)
{
    sqlite3_stmt *statement;
    int result;

    if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, number);
    sqlite3_bind_int64(statement, 3, second);
    result = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return result == SQLITE_DONE;
}

/* Incarnations of which nothing is stored any more, and from which nothing will come. */
static bool forget_incarnations(struct store *store, int64_t now)
{
    static const char *const sql[] = {
        "INSERT INTO about SELECT 'forgotten_incarnations', count(*) FROM incarnations"
        " WHERE stored = expired AND last_seen_ns < iif(ended, ?2, ?3)"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
        "INSERT INTO about SELECT 'forgotten_made', CAST(total(made) AS INTEGER) FROM incarnations"
        " WHERE stored = expired AND last_seen_ns < iif(ended, ?2, ?3)"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
        "INSERT INTO about SELECT 'forgotten_stored', CAST(total(stored) AS INTEGER) FROM "
        "incarnations"
        " WHERE stored = expired AND last_seen_ns < iif(ended, ?2, ?3)"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
        "INSERT INTO about SELECT 'forgotten_expired', CAST(total(expired) AS INTEGER) FROM "
        "incarnations"
        " WHERE stored = expired AND last_seen_ns < iif(ended, ?2, ?3)"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
        "DELETE FROM incarnations WHERE stored = expired AND last_seen_ns < iif(ended, ?2, ?3)",
    };

    for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]); i++) {
        if (!run_with(store, sql[i], NULL, now - FORGOTTEN_ENDED_NS, now - FORGOTTEN_SILENT_NS))
            return false;
    }
    return true;
}

static bool count_dropped(struct store *store, const struct owed *owed)
{
    static const char add_sql[] = "INSERT INTO about VALUES(?1, ?2)"
                                  " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value";
    static const char mark_sql[] = "INSERT INTO about VALUES(?1, ?2)"
                                   " ON CONFLICT(key) DO UPDATE SET value = excluded.value";
    static const char expired_sql[] =
        "UPDATE incarnations SET expired = expired + ?2 WHERE incarnation = ?1";
    static const char lost_sql[] =
        "UPDATE sinks SET lost = lost + ?3 - max(cursor, ?2 - 1) WHERE cursor < ?3";
    bool good = store_run(store->begin) == 0;

    good = good && run_with(store, add_sql, owed->reason, owed->last - owed->first + 1, 0) &&
           run_with(store, mark_sql, "dropped_to", owed->last, 0) &&
           run_with(store, lost_sql, NULL, owed->first, owed->last) &&
           run_with(store, "DELETE FROM segments WHERE first = ?2", NULL, owed->first, 0);
    for (size_t i = 0; good && i < owed->count; i++)
        good = run_with(store, expired_sql, owed->held[i].incarnation, owed->held[i].rows, 0);
    good = good && forget_incarnations(store, timestamp_now()) && store_run(store->commit) == 0;
    if (!good && !sqlite3_get_autocommit(store->database))
        store_run(store->rollback);
    return good;
}

static void pay(struct store *store)
{
    struct owed *owed;

    while (store->database != NULL && (owed = store->owed) != NULL && count_dropped(store, owed)) {
        store->owed = owed->next;
        free(owed);
        store_read_totals(store);
    }
}

bool store_drop_oldest(struct store *store, const char *reason)
{
    struct segment *segment = NULL;
    struct owed *owed, **last = &store->owed;

    pthread_mutex_lock(&store->catalogue.lock);
    if (store->catalogue.count > 1) {
        segment = store->catalogue.segments[0];
        segment->references++;
    }
    pthread_mutex_unlock(&store->catalogue.lock);
    if (segment == NULL)
        return false;
    owed = owed_for(store, segment, reason);
    while (*last != NULL)
        last = &(*last)->next;
    *last = owed;
    log_info("dropping rows %" PRId64 " to %" PRId64 ": %s", owed->first, owed->last,
             strcmp(reason, STORE_EXPIRED_AGE) == 0    ? "they are too old"
             : strcmp(reason, STORE_EXPIRED_SIZE) == 0 ? "the store is too large"
                                                       : "the disk is full");
    pay(store);
    catalogue_remove(&store->catalogue, segment);
    store_reader_let_go(store, segment);
    if (segment_unlink(segment) != 0)
        store_degraded(store, "%s: cannot be removed: %s", segment->path, strerror(errno));
    catalogue_release(&store->catalogue, segment);
    pay(store);
    return true;
}

/* ---- what is due ---- */

static bool a_sink_wants(const struct store *store, const struct segment *segment)
{
    for (size_t i = 0; i < store->sink_count; i++) {
        if (store->sinks[i].cursor < segment->last)
            return true;
    }
    return false;
}

static int64_t age_limit(const struct store_settings *limits)
{
    int64_t seconds =
        (int64_t)(limits->segment_age_s > 0 ? limits->segment_age_s : STORE_SEGMENT_AGE_S);

    /* A segment goes as a whole, so what is kept for an hour must not be closed after a day. */
    if (limits->max_age_s > 0 && limits->segment_age_s == 0 &&
        seconds > (int64_t)(limits->max_age_s / 8 + 1))
        seconds = (int64_t)(limits->max_age_s / 8 + 1);
    return seconds * SECOND;
}

static void roll_if_due(struct store *store, const struct store_settings *limits, int64_t now)
{
    char why[STORE_WHY_SIZE];
    int result;

    if (segment_rows(store->live) == 0 || now < store->retry_ns)
        return;
    if (segment_rows(store->live) < segment_rows_max(store) &&
        store->live->bytes - store->live->began_bytes < store_segment_bytes(store) &&
        now - store->live_began_ns < age_limit(limits))
        return;
    while ((result = store_roll(store, why)) == SQLITE_FULL &&
           store_drop_oldest(store, STORE_EXPIRED_FULL)) {
        pthread_mutex_lock(&store->shared.lock);
        store->shared.full_ns = now;
        pthread_mutex_unlock(&store->shared.lock);
    }
    store->retry_ns = 0;
    if (result != SQLITE_OK) {
        log_warning("the live segment grows beyond its limit: %s", why);
        store->retry_ns = now + 10 * RETRY_NS;
    }
}

/* The oldest segment, if it is closed; only this thread takes it out. */
static struct segment *oldest_closed(struct store *store, uint64_t *bytes)
{
    struct segment *segment = NULL;

    *bytes = 0;
    pthread_mutex_lock(&store->catalogue.lock);
    if (store->catalogue.count > 1)
        segment = store->catalogue.segments[0];
    for (size_t i = 0; i < store->catalogue.count; i++)
        *bytes += store->catalogue.segments[i]->bytes;
    pthread_mutex_unlock(&store->catalogue.lock);
    return segment;
}

void store_tend(struct store *store)
{
    struct store_settings limits;
    struct segment *segment;
    int64_t now = timestamp_now();
    uint64_t bytes = segment_measure(store->live);

    pthread_mutex_lock(&store->catalogue.lock);
    store->live->bytes = bytes;
    pthread_mutex_unlock(&store->catalogue.lock);
    pthread_mutex_lock(&store->shared.lock);
    limits = store->shared.limits;
    pthread_mutex_unlock(&store->shared.lock);
    if (store->database == NULL)
        return;
    pay(store);
    roll_if_due(store, &limits, now);
    if (store->database == NULL)
        return;
    while (limits.max_bytes > 0 && (segment = oldest_closed(store, &bytes)) != NULL &&
           bytes > limits.max_bytes && store_drop_oldest(store, STORE_EXPIRED_SIZE))
        ;
    while (limits.max_age_s > 0 && (segment = oldest_closed(store, &bytes)) != NULL &&
           now - segment->closed_ns > (int64_t)limits.max_age_s * SECOND &&
           !a_sink_wants(store, segment) && store_drop_oldest(store, STORE_EXPIRED_AGE))
        ;
}

uint64_t store_tend_due(struct store *store)
{
    struct store_settings limits;
    struct segment *segment;
    int64_t now = timestamp_now(), due = INT64_MAX;
    uint64_t bytes;

    pthread_mutex_lock(&store->shared.lock);
    limits = store->shared.limits;
    pthread_mutex_unlock(&store->shared.lock);
    if (limits.max_age_s == 0)
        return 0;
    if (segment_rows(store->live) > 0)
        due = store->live_began_ns + age_limit(&limits);
    segment = oldest_closed(store, &bytes);
    if (segment != NULL && segment->closed_ns + (int64_t)limits.max_age_s * SECOND < due)
        due = segment->closed_ns + (int64_t)limits.max_age_s * SECOND;
    if (due == INT64_MAX)
        return 0;
    /* What is overdue waits for a sink, or could not be done: not at once again. */
    return due > now + RETRY_NS ? (uint64_t)((due - now) / 1000000 + 1) : 1000;
}
