#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "store.h"
#include "timestamp.h"

#define APPLICATION_ID 0x636f726f /* "coro": what file(1) and we know the database by */
#define SCHEMA_VERSION 2

/*
 * `made` is the highest number the node told of or sent. `settled`: every record up to this number
 * is either stored or will never come. `dropped`: what the node says it dropped. From these, stored
 * and `made` follow how many are lost and how many may still come (see store_lost below and
 * op_nodes.c).
 */
static const char schema[] =
    "CREATE TABLE incarnations("
    " incarnation TEXT PRIMARY KEY NOT NULL,"
    " node TEXT NOT NULL, host TEXT NOT NULL, os_pid INTEGER NOT NULL, otp TEXT NOT NULL,"
    " uid INTEGER NOT NULL,"
    " made INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0,"
    " top_seq INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,"
    " dropped INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,"
    " first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL,"
    " counters TEXT NOT NULL DEFAULT '{}'"
    ") WITHOUT ROWID;"
    "CREATE TABLE exits("
    /* AUTOINCREMENT: a cursor stays right when the newest rows are deleted, too. */
    " row INTEGER PRIMARY KEY AUTOINCREMENT,"
    " incarnation TEXT NOT NULL, seq INTEGER NOT NULL,"
    " time_ns INTEGER NOT NULL, kind INTEGER NOT NULL, node TEXT NOT NULL,"
#define X(column, section, key) " " #column " TEXT,"
    RECORD_COLUMNS(X)
#undef X
        " initial_module TEXT,"
        " UNIQUE(incarnation, seq));"
        /* Apart from the columns, so that a walk over those does not read the whole store. */
        "CREATE TABLE bodies(row INTEGER PRIMARY KEY, json TEXT NOT NULL);"
        "CREATE INDEX exits_by_time ON exits(time_ns);"
        "CREATE INDEX exits_by_pid ON exits(pid);"
        "CREATE INDEX exits_by_name ON exits(name) WHERE name IS NOT NULL;"
        "CREATE INDEX exits_by_module ON exits(initial_module);"
        "CREATE TABLE sinks(name TEXT PRIMARY KEY NOT NULL, cursor INTEGER NOT NULL) WITHOUT "
        "ROWID;";

static const char insert_sql[] = "INSERT INTO exits(incarnation, seq, time_ns, kind, node,"
#define X(column, section, key) " " #column ","
    RECORD_COLUMNS(X)
#undef X
        " initial_module)"
        " VALUES(?1, ?2, ?3, ?4, ?5,"
#define X(column, section, key) " ?,"
    RECORD_COLUMNS(X)
#undef X
        " ?)"
        " ON CONFLICT(incarnation, seq) DO NOTHING";

static const char body_sql[] = "INSERT INTO bodies(row, json) VALUES(last_insert_rowid(), ?1)";

enum { INSERT_INCARNATION = 1, INSERT_SEQ, INSERT_TIME, INSERT_KIND, INSERT_NODE, INSERT_COLUMNS };

/* A node may get its name only after it connected first. What belongs to another uid stays as it
 * is. */
static const char hello_sql[] =
    "INSERT INTO incarnations(incarnation, node, host, os_pid, otp, uid, first_seen_ns, "
    "last_seen_ns)"
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)"
    " ON CONFLICT(incarnation) DO UPDATE SET node = ?2, host = ?3, os_pid = ?4, otp = ?5"
    " WHERE uid = ?6";

static const char load_sql[] = "SELECT made, stored, top_seq, settled, dropped, ended, uid"
                               " FROM incarnations WHERE incarnation = ?1";

static const char save_sql[] =
    "UPDATE incarnations SET made = ?2, stored = ?3, top_seq = ?4, settled = ?5, dropped = ?6,"
    " ended = ?7, last_seen_ns = ?8, counters = coalesce(?9, counters) WHERE incarnation = ?1";

static const char cursor_sql[] = "INSERT INTO sinks(name, cursor) VALUES(?1, ?2)"
                                 " ON CONFLICT(name) DO UPDATE SET cursor = ?2";

struct store {
    char *path;
    int lock; /* the database file itself, held with flock, which SQLite does not use */
    sqlite3 *database;
    sqlite3_stmt *begin;
    sqlite3_stmt *commit;
    sqlite3_stmt *rollback;
    sqlite3_stmt *insert;
    sqlite3_stmt *body;
    sqlite3_stmt *hello;
    sqlite3_stmt *load;
    sqlite3_stmt *save;
    sqlite3_stmt *cursor;
};

struct store_reader {
    sqlite3 *database;
    sqlite3_stmt *rows;
    sqlite3_stmt *find;
    struct timespec deadline;
    bool has_deadline;
};

/* One incarnation's numbers while a transaction goes on. */
struct tally {
    const char *incarnation;
    int64_t made, stored, top_seq, settled, dropped, ended, uid;
    bool touched;
    const char *counters;
    struct tally *next;
};

__attribute__((format(printf, 2, 3))) static int fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, STORE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

static int prepare(sqlite3 *database, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
                   SQLITE_OK
               ? 0
               : -1;
}

/* The first column of the first row of `sql` as an integer; -1 if there is none. */
static int64_t pragma_number(sqlite3 *database, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = -1;

    if (prepare(database, sql, &statement) == 0 && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static int set_up(struct store *store, char *why)
{
    sqlite3 *database = store->database;
    char sql[128];
    int64_t version;

    sqlite3_busy_timeout(database, 5000);
    /* FULL: what is acknowledged survives a power cut. With group commit it costs next to nothing.
     */
    if (sqlite3_exec(database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", NULL, NULL,
                     NULL) != SQLITE_OK)
        goto error;
    version = pragma_number(database, "PRAGMA user_version");
    if (version < 0)
        goto error;
    if (version == 0) {
        snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d;",
                 APPLICATION_ID, SCHEMA_VERSION);
        if (pragma_number(database, "SELECT count(*) FROM sqlite_schema") != 0)
            return fail(why, "%s: is a database, but not one of coronerd", store->path);
        if (sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(database, schema, NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(database, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
            goto error;
    } else if (pragma_number(database, "PRAGMA application_id") != APPLICATION_ID) {
        return fail(why, "%s: is a database, but not one of coronerd", store->path);
    } else if (version != SCHEMA_VERSION) {
        return fail(why, "%s: has schema version %" PRId64 ", this coronerd knows %d", store->path,
                    version, SCHEMA_VERSION);
    }
    if (prepare(database, "BEGIN IMMEDIATE", &store->begin) != 0 ||
        prepare(database, "COMMIT", &store->commit) != 0 ||
        prepare(database, "ROLLBACK", &store->rollback) != 0 ||
        prepare(database, insert_sql, &store->insert) != 0 ||
        prepare(database, body_sql, &store->body) != 0 ||
        prepare(database, hello_sql, &store->hello) != 0 ||
        prepare(database, load_sql, &store->load) != 0 ||
        prepare(database, save_sql, &store->save) != 0 ||
        prepare(database, cursor_sql, &store->cursor) != 0)
        goto error;
    return 0;

error:
    return fail(why, "%s: %s", store->path, sqlite3_errmsg(database));
}

struct store *store_open(const char *path, int *exit_code, char why[STORE_WHY_SIZE])
{
    struct store *store = memory_zeroed(sizeof(*store));

    store->path = memory_string(path);
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    *exit_code = EX_CANTCREAT;
    if (store->lock < 0) {
        fail(why, "%s: cannot open the store: %s%s", path, strerror(errno),
             errno == ENOENT ? "; its directory must be there" : "");
        goto error;
    }
    if (flock(store->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            fail(why, "%s: another coronerd has this store open", path);
        else
            fail(why, "%s: cannot lock the store: %s", path, strerror(errno));
        goto error;
    }
    *exit_code = EX_IOERR;
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        fail(why, "%s: cannot open the store: %s", path, sqlite3_errmsg(store->database));
        goto error;
    }
    if (set_up(store, why) != 0)
        goto error;
    return store;

error:
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    sqlite3_finalize(store->begin);
    sqlite3_finalize(store->commit);
    sqlite3_finalize(store->rollback);
    sqlite3_finalize(store->insert);
    sqlite3_finalize(store->body);
    sqlite3_finalize(store->hello);
    sqlite3_finalize(store->load);
    sqlite3_finalize(store->save);
    sqlite3_finalize(store->cursor);
    sqlite3_close(store->database);
    /* Last: closing any descriptor of the file gives up SQLite's own locks on it. */
    if (store->lock >= 0)
        close(store->lock);
    free(store->path);
    free(store);
}

/* Run a statement that returns no rows. */
static int run(sqlite3_stmt *statement)
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

static struct tally *find_tally(struct store *store, struct tally **tallies,
                                const char *incarnation)
{
    struct tally *tally;
    sqlite3_stmt *load = store->load;

    for (tally = *tallies; tally != NULL; tally = tally->next) {
        if (tally->incarnation == incarnation || strcmp(tally->incarnation, incarnation) == 0)
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
        tally->next = *tallies;
        *tallies = tally;
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
    return run(save);
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
    return run(statement);
}

static int write_record(struct store *store, const struct hello *hello, const struct record *record,
                        struct tally *tally)
{
    sqlite3_stmt *insert = store->insert;
    int index = INSERT_COLUMNS;

    sqlite3_bind_text(insert, INSERT_INCARNATION, hello->incarnation, HELLO_INCARNATION,
                      SQLITE_STATIC);
    sqlite3_bind_int64(insert, INSERT_SEQ, (int64_t)record->seq);
    sqlite3_bind_int64(insert, INSERT_TIME, (int64_t)record->time_ns);
    sqlite3_bind_int64(insert, INSERT_KIND, (int64_t)record->kind);
    bind_text(insert, INSERT_NODE, hello->name);
    for (int column = 0; column < RECORD_COLUMN_COUNT; column++)
        bind_text(insert, index++, record->column[column]);
    if (run(insert) != 0)
        return -1;
    if (sqlite3_changes(store->database) > 0) {
        sqlite3_bind_text(store->body, 1, record->json, (int)record->json_length, SQLITE_STATIC);
        if (run(store->body) != 0)
            return -1;
        tally->stored++;
    }
    raise_to(&tally->top_seq, record->seq);
    raise_to(&tally->made, record->seq);
    /* Numbers rise within a connection: what is below and not here will not come any more. */
    raise_to(&tally->settled, record->seq);
    return 0;
}

static int write_cursor(struct store *store, const char *sink, int64_t cursor)
{
    bind_text(store->cursor, 1, sink);
    sqlite3_bind_int64(store->cursor, 2, cursor);
    return run(store->cursor);
}

/* The formula is that of `nodes` (op_status.c). */
static int64_t lost_of(const struct tally *tally)
{
    int64_t lost = tally->settled - tally->stored;

    if (lost < tally->dropped)
        lost = tally->dropped;
    return lost < tally->made - tally->stored ? lost : tally->made - tally->stored;
}

static int apply_to(struct store *store, struct change *change, struct tally *tally)
{
    int64_t stored = tally->stored;

    switch (change->type) {
    case CHANGE_HELLO:
        change->refused = tally->uid != change->uid;
        if (change->refused)
            return 0;
        raise_to(&tally->made, change->hello->made);
        if (change->hello->first_held > 0)
            raise_to(&tally->settled, change->hello->first_held - 1);
        tally->ended = 0;
        break;
    case CHANGE_RECORD:
        if (write_record(store, change->hello, change->record, tally) != 0)
            return -1;
        change->repeated = tally->stored == stored;
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
    return 0;
}

static int apply_one(struct store *store, struct change *change, struct tally **tallies,
                     int64_t now)
{
    struct tally *tally;
    int64_t lost;

    if (change->type == CHANGE_CURSOR)
        return write_cursor(store, change->sink, change->cursor);
    if (change->type == CHANGE_HELLO && write_hello(store, change->hello, change->uid, now) != 0)
        return -1;
    tally = find_tally(store, tallies, change->hello->incarnation);
    if (tally == NULL)
        return -1;
    lost = lost_of(tally);
    if (apply_to(store, change, tally) != 0)
        return -1;
    /* It may sink, too: what was dropped comes out of the outbox after all. */
    change->lost_more = lost_of(tally) > lost ? (uint64_t)(lost_of(tally) - lost) : 0;
    return 0;
}

static int apply_all(struct store *store, struct change *changes, size_t count,
                     struct tally **tallies)
{
    int64_t now = timestamp_now();
    struct change *change = changes;

    if (run(store->begin) != 0)
        return -1;
    for (size_t i = 0; i < count; i++, change = change->next) {
        if (apply_one(store, change, tallies, now) != 0)
            return -1;
    }
    for (const struct tally *tally = *tallies; tally != NULL; tally = tally->next) {
        if (tally->touched && save_tally(store, tally, now) != 0)
            return -1;
    }
    return run(store->commit);
}

int store_apply(struct store *store, struct change *changes, size_t count, int64_t *head,
                char why[STORE_WHY_SIZE])
{
    struct tally *tallies = NULL, *tally;
    struct change *change = changes;
    int result = apply_all(store, changes, count, &tallies);

    if (result != 0) {
        fail(why, "%s: %s", store->path, sqlite3_errmsg(store->database));
        /* SQLite may have rolled back by itself, as it does when the disk is full. */
        if (!sqlite3_get_autocommit(store->database))
            run(store->rollback);
    } else {
        for (size_t i = 0; i < count; i++, change = change->next) {
            if (change->type != CHANGE_CURSOR)
                change->committed =
                    (uint64_t)find_tally(store, &tallies, change->hello->incarnation)->top_seq;
        }
        *head = store_head(store);
    }
    while ((tally = tallies) != NULL) {
        tallies = tally->next;
        free(tally);
    }
    return result;
}

int64_t store_head(struct store *store)
{
    int64_t head = pragma_number(store->database, "SELECT coalesce(max(row), 0) FROM exits");

    return head > 0 ? head : 0;
}

int64_t store_cursor(struct store *store, const char *sink)
{
    sqlite3_stmt *statement;
    int64_t cursor = 0;

    if (prepare(store->database, "SELECT cursor FROM sinks WHERE name = ?1", &statement) != 0)
        return 0;
    bind_text(statement, 1, sink);
    if (sqlite3_step(statement) == SQLITE_ROW)
        cursor = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return cursor;
}

static int check_deadline(void *cookie)
{
    const struct store_reader *reader = cookie;
    struct timespec now;

    if (!reader->has_deadline)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > reader->deadline.tv_sec ||
           (now.tv_sec == reader->deadline.tv_sec && now.tv_nsec >= reader->deadline.tv_nsec);
}

struct store_reader *store_reader_open(const char *path, char why[STORE_WHY_SIZE])
{
    struct store_reader *reader = memory_zeroed(sizeof(*reader));

    if (sqlite3_open_v2(path, &reader->database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        goto error;
    sqlite3_busy_timeout(reader->database, 5000);
    /* Often enough for the deadline, seldom enough to cost nothing. */
    sqlite3_progress_handler(reader->database, 4096, check_deadline, reader);
    if (prepare(reader->database, "SELECT row, json FROM bodies WHERE row > ?1 ORDER BY row",
                &reader->rows) != 0 ||
        prepare(reader->database, "SELECT row FROM exits WHERE incarnation = ?1 AND seq = ?2",
                &reader->find) != 0)
        goto error;
    return reader;

error:
    fail(why, "%s: cannot open the store for reading: %s", path, sqlite3_errmsg(reader->database));
    store_reader_close(reader);
    return NULL;
}

void store_reader_close(struct store_reader *reader)
{
    if (reader == NULL)
        return;
    sqlite3_finalize(reader->rows);
    sqlite3_finalize(reader->find);
    sqlite3_close(reader->database);
    free(reader);
}

sqlite3 *store_reader_database(struct store_reader *reader)
{
    return reader->database;
}

int store_reader_part(struct store_reader *reader, int64_t row, bool descending,
                      struct store_part *part, char why[STORE_WHY_SIZE])
{
    static const char sql[] = "SELECT coalesce((SELECT min(row) FROM exits), 1),"
                              " coalesce((SELECT max(row) FROM exits), 0)";
    sqlite3_stmt *statement;
    int found = -1;

    if (prepare(reader->database, sql, &statement) == 0 && sqlite3_step(statement) == SQLITE_ROW) {
        part->database = reader->database;
        part->first = sqlite3_column_int64(statement, 0);
        part->last = sqlite3_column_int64(statement, 1);
        found = part->first <= part->last && (descending ? row >= part->first : row <= part->last);
    }
    if (found < 0)
        fail(why, "%s", sqlite3_errmsg(reader->database));
    sqlite3_finalize(statement);
    return found;
}

void store_reader_deadline(struct store_reader *reader, unsigned milliseconds)
{
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
    sqlite3_interrupt(reader->database);
}

int store_reader_rows(struct store_reader *reader, int64_t after,
                      bool (*on_row)(void *cookie, int64_t row, const char *json, size_t length),
                      void *cookie, char why[STORE_WHY_SIZE])
{
    int result;

    sqlite3_bind_int64(reader->rows, 1, after);
    while ((result = sqlite3_step(reader->rows)) == SQLITE_ROW) {
        const char *json = (const char *)sqlite3_column_text(reader->rows, 1);

        if (!on_row(cookie, sqlite3_column_int64(reader->rows, 0), json != NULL ? json : "",
                    (size_t)sqlite3_column_bytes(reader->rows, 1))) {
            result = SQLITE_DONE;
            break;
        }
    }
    if (result != SQLITE_DONE)
        fail(why, "%s", sqlite3_errmsg(reader->database));
    sqlite3_reset(reader->rows);
    return result == SQLITE_DONE ? 0 : -1;
}

int64_t store_reader_find(struct store_reader *reader, const char *incarnation, uint64_t seq)
{
    int64_t row = 0;

    bind_text(reader->find, 1, incarnation);
    sqlite3_bind_int64(reader->find, 2, (int64_t)seq);
    if (sqlite3_step(reader->find) == SQLITE_ROW)
        row = sqlite3_column_int64(reader->find, 0);
    sqlite3_reset(reader->find);
    return row;
}
