/*
 * Finding the store at the start: what the path is, which segments there are, which of them are
 * damaged or missing, and what is of an earlier layout.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "buffer.h"
#include "log.h"
#include "memory.h"
#include "store_internal.h"
#include "timestamp.h"

/* What is in the folder. */
struct found {
    int64_t *first; /* of each segment, in order */
    size_t count;
    uint64_t set_aside;
};

static int compare_rows(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

static int look_into_folder(struct store *store, struct found *found, char *why)
{
    DIR *folder = opendir(store->folder);
    const struct dirent *entry;
    int64_t first;
    int end;

    *found = (struct found){0};
    if (folder == NULL)
        return schema_fail(why, "%s: %s", store->folder, strerror(errno));
    while ((entry = readdir(folder)) != NULL) {
        end = 0;
        if (sscanf(entry->d_name, "%19" SCNd64 ".seg%n", &first, &end) == 1 && end == 23 &&
            first > 0 && entry->d_name[end] == '\0') {
            found->first = memory_resize(found->first, (found->count + 1) * sizeof(int64_t));
            found->first[found->count++] = first;
        }
        found->set_aside += strstr(entry->d_name, ".damaged-") != NULL &&
                            strstr(entry->d_name, "-wal") == NULL &&
                            strstr(entry->d_name, "-shm") == NULL;
    }
    closedir(folder);
    if (found->count > 0)
        qsort(found->first, found->count, sizeof(int64_t), compare_rows);
    return 0;
}

/* ---- the file that the user names ---- */

/* What the file's log has goes into the file: it would stay behind when that gets another name. */
static int take_in_log(const char *path, char *why)
{
    struct buffer name = {0};
    sqlite3 *database = NULL;
    int result = 0;

    buffer_text(&name, path);
    buffer_append(&name, "-wal", sizeof("-wal"));
    if (access(name.data, F_OK) == 0) {
        if (schema_connect(path, SQLITE_OPEN_READWRITE, &database) != SQLITE_OK ||
            sqlite3_exec(database, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) != SQLITE_OK ||
            access(name.data, F_OK) == 0)
            result = schema_fail(why,
                                 "%s: a store of version 1 that somebody else has open (sqlite3, a "
                                 "backup); it is taken over when that is closed",
                                 path);
        sqlite3_close(database);
    }
    buffer_clear(&name);
    return result;
}

/* Move the store of version 1, which has become a segment, to its place. */
static int take_over_first(struct store *store, char *why)
{
    struct segment *segment = segment_new(store->folder, 1);
    int result = -1;

    /* Nobody else is here: we have the lock. */
    if (access(segment->path, F_OK) == 0)
        schema_fail(why, "%s: is a store of version 1, but %s is there already", store->path,
                    segment->path);
    else if (take_in_log(store->path, why) != 0)
        result = -1;
    else if (rename(store->path, segment->path) != 0 || fsync(store->folder_lock) != 0)
        schema_fail(why, "%s: cannot become %s: %s", store->path, segment->path, strerror(errno));
    else
        result = 0;
    if (result == 0)
        log_info("%s: the store of version 1 is taken over as %s", store->path, segment->path);
    free(segment->path);
    free(segment);
    return result;
}

/* The file is another one now: hold that one. */
static int lock_anew(struct store *store, char *why)
{
    if (schema_mark(store->path, why) != 0)
        return -1;
    close(store->lock);
    store->lock = open(store->path, O_RDWR | O_CLOEXEC);
    return store->lock >= 0 ? 0 : schema_fail(why, "%s: %s", store->path, strerror(errno));
}

static int set_marker_aside(struct store *store, char *why)
{
    size_t size = strlen(store->path) + 48;
    char *aside = memory_get(size);
    int result;

    snprintf(aside, size, "%s.damaged-%" PRId64, store->path, timestamp_now() / 1000000000);
    result = rename(store->path, aside);
    if (result == 0)
        store_degraded(store, "%s; it was set aside as %s", why, aside);
    else
        schema_fail(why, "%s: cannot be set aside: %s", store->path, strerror(errno));
    free(aside);
    return result == 0 ? lock_anew(store, why) : -1;
}

static int load_path(struct store *store, bool has_segments, char *why)
{
    int64_t version;

    switch (schema_look(store->path, &version, why)) {
    case SCHEMA_MARKER:
        return 0;
    case SCHEMA_EMPTY:
        return schema_mark(store->path, why);
    case SCHEMA_FIRST:
        if (schema_convert_first(store->path, why) != 0)
            return -1;
        /* fall through */
    case SCHEMA_SEGMENT:
        if (take_over_first(store, why) != 0)
            return -1;
        return lock_anew(store, why);
    case SCHEMA_DAMAGED:
        return has_segments ? set_marker_aside(store, why) : -1;
    case SCHEMA_OTHER:
    case SCHEMA_FOREIGN:
    case SCHEMA_UNREAD:
        break;
    }
    return -1;
}

/* ---- the segments ---- */

/* Returns 1 if it is good, 0 if it is damaged and set aside, -1 if the daemon cannot start. */
static int check_segment(struct store *store, struct segment *segment, char *why)
{
    int64_t version;

    switch (schema_look(segment->path, &version, why)) {
    case SCHEMA_SEGMENT:
        return 1;
    case SCHEMA_OTHER:
    case SCHEMA_UNREAD:
        return -1;
    default:
        store_set_aside(store, segment, why);
        return 0;
    }
}

/* Fill in what the live segment knows of a closed one. Returns false if it does not know it. */
static bool describe_closed(struct store *store, struct segment *segment)
{
    sqlite3_stmt *statement = NULL;
    bool known = false;

    if (sqlite3_prepare_v2(store->database,
                           "SELECT last, min_ns, max_ns, closed_ns FROM segments WHERE first = ?1",
                           -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, segment->first);
        known = sqlite3_step(statement) == SQLITE_ROW;
    }
    if (known) {
        segment->last = sqlite3_column_int64(statement, 0);
        segment->min_ns = sqlite3_column_int64(statement, 1);
        segment->max_ns = sqlite3_column_int64(statement, 2);
        segment->closed_ns = sqlite3_column_int64(statement, 3);
    }
    sqlite3_finalize(statement);
    return known;
}

/* One that was put back, or whose successor was lost: it speaks for itself. */
static int describe_by_itself(struct segment *segment, char *why)
{
    /* A store that was taken over knows better which row was its last: the newest may be gone. */
    static const char sql[] =
        "SELECT max(coalesce(max(row), 0), coalesce((SELECT last FROM segments WHERE first ="
        " (SELECT value FROM about WHERE key = 'first')), 0)),"
        " coalesce(min(time_ns), 0), coalesce(max(time_ns), 0) FROM exits";
    sqlite3_stmt *statement = NULL;
    sqlite3 *database;
    int result = schema_connect(segment->path, SQLITE_OPEN_READWRITE, &database);

    if (result == SQLITE_OK)
        result = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        if (sqlite3_column_int64(statement, 0) > 0)
            segment->last = sqlite3_column_int64(statement, 0);
        segment->min_ns = sqlite3_column_int64(statement, 1);
        segment->max_ns = sqlite3_column_int64(statement, 2);
        segment->closed_ns = timestamp_now();
    } else {
        schema_fail(why, "%s: %s", segment->path, sqlite3_errmsg(database));
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return result;
}

static enum segment_state state_of(const struct segment *segment)
{
    int64_t indexed = 0;
    sqlite3 *database;

    if (schema_connect(segment->path, SQLITE_OPEN_READONLY, &database) == SQLITE_OK)
        schema_number(database, "SELECT value FROM about WHERE key = 'indexed'", &indexed);
    sqlite3_close(database);
    return indexed != 0 ? SEGMENT_INDEXED : SEGMENT_CLOSED;
}

/* The rows of the live segment, back into memory. Returns SQLite's result. */
static int fill_columns(struct store *store, char *why)
{
    static const char sql[] = "SELECT row, incarnation, seq, time_ns"
#define X(column, section, key) ", " #column
        RECORD_COLUMNS(X)
#undef X
            ", initial_module FROM exits ORDER BY row";
    struct segment *live = store->live;
    const char *column[RECORD_COLUMN_COUNT];
    uint16_t hash[STORE_HASHES];
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);

    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t row = sqlite3_column_int64(statement, 0);
        int64_t time_ns = sqlite3_column_int64(statement, 3);

        for (int i = 0; i < RECORD_COLUMN_COUNT; i++)
            column[i] = (const char *)sqlite3_column_text(statement, 4 + i);
        /* The place of a row is its number: a row that is missing would move all others. */
        columns_hash((const char *)sqlite3_column_text(statement, 1),
                     (uint64_t)sqlite3_column_int64(statement, 2), column, hash);
        if (live->columns != NULL &&
            (row != live->last + 1 || !columns_append(live->columns, hash, time_ns)))
            catalogue_forget_columns(&store->catalogue, live);
        live->last = row;
        live->min_ns = time_ns < live->min_ns ? time_ns : live->min_ns;
        live->max_ns = time_ns > live->max_ns ? time_ns : live->max_ns;
        result = SQLITE_OK;
    }
    if (result != SQLITE_DONE)
        schema_fail(why, "%s: %s", live->path, sqlite3_errmsg(store->database));
    sqlite3_finalize(statement);
    return result;
}

/* Returns 1 if it is the live segment now, 0 if it is damaged and set aside, -1 on an error. */
static int open_as_live(struct store *store, char *why)
{
    int result = store_open_live(store, why);

    if (result == SQLITE_OK)
        result = fill_columns(store, why);
    if (result == SQLITE_DONE)
        return 1;
    store_close_live(store, false);
    if (!schema_is_damage(result))
        return -1;
    store_set_aside(store, store->live, why);
    return 0;
}

/* Begin the live segment with row `first`, or with that behind `previous`, which it takes over
 * from.
 */
static int begin_live(struct store *store, int64_t first, struct segment *previous, char *why)
{
    if (previous != NULL) {
        if (describe_by_itself(previous, why) != SQLITE_ROW)
            return -1;
        if (first <= previous->last)
            first = previous->last + 1;
    }
    if (schema_begin_segment(store->folder, first, previous, why) != SQLITE_OK)
        return -1;
    store->live = store_new_live(store, first);
    return store_open_live(store, why) == SQLITE_OK ? 0 : -1;
}

/*
 * Open the newest segment as the live one. If it is damaged it is set aside, and its successor
 * takes over from the newest good one and begins behind all rows that the damaged one can have had.
 * Return how many of the found ones may be there as closed ones, or -1.
 */
static ssize_t load_live(struct store *store, const struct found *found, char *why)
{
    const int64_t most = (int64_t)(STORE_SEGMENT_ROWS_MAX + STORE_COLUMNS_SLACK);
    int64_t first = 1;
    struct segment *segment = NULL;
    size_t left = found->count;
    int good = 0;

    while (good == 0 && left > 0) {
        segment = store_new_live(store, found->first[left - 1]);
        good = check_segment(store, segment, why);
        if (good > 0 && left == found->count && state_of(segment) == SEGMENT_CLOSED) {
            store->live = segment;
            good = open_as_live(store, why);
            if (good > 0) {
                store->next_row = segment->last + 1;
                schema_number(store->database, "SELECT value FROM about WHERE key = 'began'",
                              &store->live_began_ns);
                return (ssize_t)left - 1;
            }
            store->live = NULL;
        }
        if (good == 0) {
            left--;
            if (first < segment->first + most)
                first = segment->first + most;
        }
        if (good <= 0) {
            catalogue_release(&store->catalogue, segment);
            segment = NULL;
        }
    }
    if (good < 0)
        return -1;
    good = begin_live(store, first, segment, why);
    catalogue_release(&store->catalogue, segment);
    if (good != 0)
        return -1;
    store->next_row = store->live->first;
    store->live_began_ns = timestamp_now();
    return (ssize_t)left;
}

static int load_closed(struct store *store, int64_t first, int64_t dropped_to, char *why)
{
    struct segment *segment = segment_new(store->folder, first);
    int good;

    if (first <= dropped_to) {
        /* It was counted as dropped, and then there was no time to remove it. */
        segment_unlink(segment);
        good = 0;
    } else {
        good = check_segment(store, segment, why);
    }
    if (good > 0 && !describe_closed(store, segment) &&
        describe_by_itself(segment, why) != SQLITE_ROW) {
        store_set_aside(store, segment, why);
        good = 0;
    }
    if (good <= 0) {
        catalogue_release(&store->catalogue, segment);
        return good;
    }
    segment->state = state_of(segment);
    segment->bytes = segment_measure(segment);
    catalogue_add(&store->catalogue, segment);
    return 0;
}

static bool is_loaded(const struct store *store, int64_t first)
{
    for (size_t i = 0; i < store->catalogue.count; i++) {
        if (store->catalogue.segments[i]->first == first)
            return true;
    }
    return false;
}

/* Segments that should be there and are not, or were set aside just now. */
static int count_missing(struct store *store, char *why)
{
    static const char forget_sql[] =
        "BEGIN IMMEDIATE; INSERT INTO about VALUES('" STORE_MISSING "', %lld)"
        " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value;"
        "DELETE FROM segments WHERE first = %lld; COMMIT";
    int64_t first = 0, last = 0;
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(
        store->database, "SELECT first, last FROM segments WHERE first > ?1 ORDER BY first", -1,
        &statement, NULL);

    while (result == SQLITE_OK) {
        char sql[320];

        sqlite3_bind_int64(statement, 1, first);
        if ((result = sqlite3_step(statement)) != SQLITE_ROW)
            break;
        first = sqlite3_column_int64(statement, 0);
        last = sqlite3_column_int64(statement, 1);
        result = sqlite3_reset(statement);
        if (is_loaded(store, first) || first == store->live->first)
            continue;
        store_degraded(store, "the segment of rows %" PRId64 " to %" PRId64 " is missing", first,
                       last);
        snprintf(sql, sizeof(sql), forget_sql, (long long)(last - first + 1), (long long)first);
        result = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    }
    if (result != SQLITE_DONE)
        schema_fail(why, "%s: %s", store->live->path, sqlite3_errmsg(store->database));
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? 0 : -1;
}

int store_load(struct store *store, int *exit_code, char *why)
{
    struct found found;
    ssize_t closed = -1;
    int64_t dropped_to = 0;
    int result = -1;

    *exit_code = EX_IOERR;
    if (look_into_folder(store, &found, why) != 0)
        return -1;
    store->shared.numbers.set_aside = found.set_aside;
    if (load_path(store, found.count > 0, why) != 0)
        goto done;
    /* A store that was taken over is there now. */
    free(found.first);
    if (look_into_folder(store, &found, why) != 0 || (closed = load_live(store, &found, why)) < 0)
        goto done;
    schema_number(store->database, "SELECT value FROM about WHERE key = 'dropped_to'", &dropped_to);
    for (ssize_t i = 0; i < closed; i++) {
        if (load_closed(store, found.first[i], dropped_to, why) != 0)
            goto done;
    }
    store->live->bytes = segment_measure(store->live);
    catalogue_add(&store->catalogue, store->live);
    if (count_missing(store, why) != 0)
        goto done;
    store_read_totals(store);
    result = 0;

done:
    free(found.first);
    return result;
}
