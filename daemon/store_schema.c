#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "store_schema.h"
#include "timestamp.h"

#define APPLICATION_ID 0x636f726f /* "coro": what file(1) and we know the databases by */

/*
 * `made` is the highest number the node told of or sent. `settled`: every record up to this number
 * is either stored or will never come. `dropped`: what the node says it dropped. From these, stored
 * and `made` follow how many are lost and how many may still come (op_status.c). `stored` counts
 * what was stored ever, `expired` what of it retention took away, `here` what of it is in this
 * segment.
 *
 * `segments` lists the closed ones. `about`: 'first', the first row of this segment; 'began', when;
 * 'indexed', once it has its indexes and zones; what was dropped and forgotten (store_keep.c).
 */
static const char state_schema[] =
    "CREATE TABLE about(key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE segments(first INTEGER PRIMARY KEY, last INTEGER NOT NULL,"
    " min_ns INTEGER NOT NULL, max_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL);"
    "CREATE TABLE zones(row INTEGER PRIMARY KEY, min_ns INTEGER NOT NULL, max_ns INTEGER NOT "
    "NULL);";

static const char schema[] =
    "CREATE TABLE incarnations("
    " incarnation TEXT PRIMARY KEY NOT NULL,"
    " node TEXT NOT NULL, host TEXT NOT NULL, os_pid INTEGER NOT NULL, otp TEXT NOT NULL,"
    " uid INTEGER NOT NULL,"
    " made INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0,"
    " top_seq INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,"
    " dropped INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,"
    " first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL,"
    " counters TEXT NOT NULL DEFAULT '{}',"
    " expired INTEGER NOT NULL DEFAULT 0, here INTEGER NOT NULL DEFAULT 0"
    ") WITHOUT ROWID;"
    "CREATE INDEX incarnations_by_node ON incarnations(node);"
    "CREATE INDEX incarnations_by_uid ON incarnations(uid);"
    "CREATE TABLE sinks(name TEXT PRIMARY KEY NOT NULL, cursor INTEGER NOT NULL,"
    " lost INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TABLE exits(row INTEGER PRIMARY KEY,"
    " incarnation TEXT NOT NULL, seq INTEGER NOT NULL,"
    " time_ns INTEGER NOT NULL, kind INTEGER NOT NULL, node TEXT NOT NULL,"
#define X(column, section, key) " " #column " TEXT,"
    RECORD_COLUMNS(X)
#undef X
        " initial_module TEXT, uid INTEGER);"
        /* Apart from the columns, so that a walk over those does not read the whole store. */
        "CREATE TABLE bodies(row INTEGER PRIMARY KEY, json TEXT NOT NULL);";

static const char take_over[] =
    "INSERT INTO main.incarnations"
    " SELECT incarnation, node, host, os_pid, otp, uid, made, stored, top_seq, settled, dropped,"
    " ended, first_seen_ns, last_seen_ns, counters, expired, 0 FROM old.incarnations;"
    "INSERT INTO main.sinks SELECT name, cursor, lost FROM old.sinks;"
    "INSERT INTO main.segments SELECT first, last, min_ns, max_ns, closed_ns FROM old.segments;"
    "INSERT INTO main.about SELECT key, value FROM old.about"
    " WHERE key NOT IN ('first', 'began', 'indexed');";

/*
 * Version 1 had everything in one database, the lines among the columns, and indexes that are never
 * missing. What it did not have is added so that a look at it is a look at a segment.
 */
static const char first_to_segment[] =
    "ALTER TABLE exits RENAME COLUMN json TO line;"
    "CREATE VIEW bodies AS SELECT row, line AS json FROM exits;"
    "ALTER TABLE exits ADD COLUMN uid INTEGER;"
    "ALTER TABLE exits ADD COLUMN origin_id TEXT"
    " GENERATED ALWAYS AS (json_extract(line, '$.origin.id')) VIRTUAL;"
    "ALTER TABLE incarnations ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE incarnations ADD COLUMN here INTEGER NOT NULL DEFAULT 0;"
    "UPDATE incarnations SET here = stored;"
    "ALTER TABLE sinks ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;";

static const char index_sql[] =
    "CREATE INDEX IF NOT EXISTS exits_by_seq ON exits(seq);"
    "CREATE INDEX IF NOT EXISTS exits_by_pid ON exits(pid);"
    "CREATE INDEX IF NOT EXISTS exits_by_name ON exits(name) WHERE name IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS exits_by_module ON exits(initial_module);"
    "CREATE INDEX IF NOT EXISTS exits_by_source ON exits(source);"
    "CREATE INDEX IF NOT EXISTS exits_by_by ON exits(origin_by) WHERE origin_by IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS exits_by_by_name ON exits(origin_by_name)"
    " WHERE origin_by_name IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS exits_by_origin_module ON exits(origin_module)"
    " WHERE origin_module IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS exits_by_origin_id ON exits(origin_id)"
    " WHERE origin_id IS NOT NULL;";

int schema_fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, STORE_WHY_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

int schema_connect(const char *path, int flags, sqlite3 **database)
{
    int result = sqlite3_open_v2(path, database, flags | SQLITE_OPEN_NOMUTEX, NULL);

    if (result != SQLITE_OK)
        return result;
    /* Many are open at once: a few pages each, and no memory set aside beforehand. */
    sqlite3_db_config(*database, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);
    sqlite3_extended_result_codes(*database, 0);
    sqlite3_busy_timeout(*database, 5000);
    return sqlite3_exec(*database, "PRAGMA cache_size=-128", NULL, NULL, NULL);
}

int schema_prepare(sqlite3 *database, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
                   SQLITE_OK
               ? 0
               : -1;
}

int schema_number(sqlite3 *database, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);

    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result;
}

bool schema_is_damage(int result)
{
    return result == SQLITE_CORRUPT || result == SQLITE_NOTADB;
}

int schema_result(sqlite3 *database, int result)
{
    int error = sqlite3_system_errno(database);

    if (result == SQLITE_OK || database == NULL)
        return result;
    /* A segment of shared memory that does not fit does not leave an errno. */
    if (error == ENOSPC || error == EDQUOT ||
        sqlite3_extended_errcode(database) == SQLITE_IOERR_SHMSIZE)
        return SQLITE_FULL;
    return result;
}

static enum schema_kind kind_of(sqlite3 *database, int64_t *version, int *result)
{
    int64_t number = 0;

    *result = schema_number(database, "PRAGMA user_version", version);
    if (*result == SQLITE_ROW)
        *result = schema_number(database, "SELECT count(*) FROM sqlite_schema", &number);
    if (*result != SQLITE_ROW)
        return SCHEMA_DAMAGED;
    if (*version == 0)
        return number == 0 ? SCHEMA_EMPTY : SCHEMA_FOREIGN;
    *result = schema_number(database, "PRAGMA application_id", &number);
    if (*result != SQLITE_ROW)
        return SCHEMA_DAMAGED;
    if (number != APPLICATION_ID)
        return SCHEMA_FOREIGN;
    if (*version == 1)
        return SCHEMA_FIRST;
    if (*version != SCHEMA_VERSION)
        return SCHEMA_OTHER;
    *result = schema_number(database, "SELECT value FROM about WHERE key = 'first'", &number);
    if (*result == SQLITE_DONE)
        return SCHEMA_MARKER;
    /* No table where one must be: a database in which a page was overwritten. */
    return *result == SQLITE_ROW ? SCHEMA_SEGMENT : SCHEMA_DAMAGED;
}

enum schema_kind schema_look(const char *path, int64_t *version, char *why)
{
    enum schema_kind kind = SCHEMA_UNREAD;
    sqlite3 *database;
    int result = schema_connect(path, SQLITE_OPEN_READWRITE, &database);

    *version = 0;
    if (result == SQLITE_OK)
        kind = kind_of(database, version, &result);
    if (kind == SCHEMA_DAMAGED && result != SQLITE_ERROR && !schema_is_damage(result))
        kind = SCHEMA_UNREAD;
    if (schema_is_damage(result))
        kind = SCHEMA_DAMAGED;
    if (kind == SCHEMA_DAMAGED || kind == SCHEMA_UNREAD)
        schema_fail(why, "%s: %s", path, sqlite3_errmsg(database));
    else if (kind == SCHEMA_FOREIGN)
        schema_fail(why, "%s: is a database, but not one of coronerd", path);
    else if (kind == SCHEMA_OTHER)
        schema_fail(why, "%s: has schema version %" PRId64 ", this coronerd knows %d%s", path,
                    *version, SCHEMA_VERSION,
                    *version > SCHEMA_VERSION ? "; it was written by a newer one" : "");
    sqlite3_close(database);
    return kind;
}

/* Runs SQL made by sqlite3_mprintf, which it frees. */
static int run_made(sqlite3 *database, char *sql)
{
    int result;

    memory_check(sql);
    result = sqlite3_exec(database, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return result;
}

static int run(sqlite3 *database, const char *sql)
{
    return sqlite3_exec(database, sql, NULL, NULL, NULL);
}

static int identify(sqlite3 *database)
{
    return run_made(database, sqlite3_mprintf("PRAGMA application_id=%d; PRAGMA user_version=%d;",
                                              APPLICATION_ID, SCHEMA_VERSION));
}

static int fill_segment(sqlite3 *database, int64_t first, const struct segment *previous)
{
    int result;

    /* Nobody knows it yet: it needs no journal, only to be on the disk when it gets its name. */
    if ((result = run_made(database, sqlite3_mprintf("PRAGMA page_size=%d; PRAGMA synchronous=FULL;"
                                                     "PRAGMA journal_mode=MEMORY;",
                                                     SCHEMA_PAGE_BYTES))) != SQLITE_OK)
        return result;
    if (previous != NULL &&
        (result = run_made(database, sqlite3_mprintf("ATTACH %Q AS old", previous->path))) !=
            SQLITE_OK)
        return result;
    if ((result = run(database, "BEGIN IMMEDIATE")) != SQLITE_OK ||
        (result = run(database, state_schema)) != SQLITE_OK ||
        (result = run(database, schema)) != SQLITE_OK)
        return result;
    if (previous != NULL &&
        ((result = run(database, take_over)) != SQLITE_OK ||
         (result = run_made(
              database, sqlite3_mprintf("INSERT OR REPLACE INTO segments VALUES(%lld, %lld,"
                                        " %lld, %lld, %lld)",
                                        (long long)previous->first, (long long)previous->last,
                                        (long long)previous->min_ns, (long long)previous->max_ns,
                                        (long long)previous->closed_ns))) != SQLITE_OK))
        return result;
    if ((result = run_made(database, sqlite3_mprintf("INSERT INTO about VALUES('first', %lld),"
                                                     " ('began', %lld)",
                                                     (long long)first,
                                                     (long long)timestamp_now()))) != SQLITE_OK ||
        (result = identify(database)) != SQLITE_OK ||
        (result = run(database, "COMMIT")) != SQLITE_OK)
        return result;
    if (previous != NULL && (result = run(database, "DETACH old")) != SQLITE_OK)
        return result;
    return run(database, "PRAGMA journal_mode=WAL");
}

static int sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd >= 0 ? fsync(fd) : -1;

    if (fd >= 0)
        close(fd);
    return result;
}

int schema_begin_segment(const char *folder, int64_t first, const struct segment *previous,
                         char *why)
{
    struct segment *segment = segment_new(folder, first);
    struct segment *draft = segment_new(folder, first);
    sqlite3 *database = NULL;
    int result;

    /* A name that no segment has; what is left of an earlier attempt is overwritten. */
    memcpy(draft->path + strlen(draft->path) - 3, "new", 3);
    segment_unlink(draft);
    result = schema_connect(draft->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &database);
    if (result == SQLITE_OK)
        result = fill_segment(database, first, previous);
    result = schema_result(database, result);
    if (result != SQLITE_OK)
        schema_fail(why, "%s: cannot begin a segment: %s", draft->path, sqlite3_errmsg(database));
    sqlite3_close(database);
    if (result == SQLITE_OK &&
        (rename(draft->path, segment->path) != 0 || sync_folder(folder) != 0)) {
        schema_fail(why, "%s: cannot begin a segment: %s", segment->path, strerror(errno));
        result = errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR;
        /* Whether its name lasts is not known: it must not be found beside its successor. */
        segment_unlink(segment);
    }
    if (result != SQLITE_OK)
        segment_unlink(draft);
    free(draft->path);
    free(draft);
    free(segment->path);
    free(segment);
    return result;
}

int schema_mark(const char *path, char *why)
{
    static const char sql[] =
        "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; BEGIN IMMEDIATE;"
        "CREATE TABLE about(key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO about VALUES('records', 'are in the folder beside this file, whose name has "
        ".d behind it');";
    sqlite3 *database;
    int result = schema_connect(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &database);

    if (result == SQLITE_OK)
        result = run(database, sql);
    if (result == SQLITE_OK)
        result = identify(database);
    if (result == SQLITE_OK)
        result = run(database, "COMMIT");
    if (result != SQLITE_OK)
        schema_fail(why, "%s: %s", path, sqlite3_errmsg(database));
    sqlite3_close(database);
    return result == SQLITE_OK ? 0 : -1;
}

static int convert_first(sqlite3 *database)
{
    int result;

    if ((result = run(database, "PRAGMA synchronous=FULL; BEGIN IMMEDIATE")) != SQLITE_OK ||
        (result = run(database, state_schema)) != SQLITE_OK ||
        (result = run(database, first_to_segment)) != SQLITE_OK ||
        (result = run(database, index_sql)) != SQLITE_OK ||
        (result = run(database,
                      "INSERT INTO about VALUES('first', 1), ('indexed', 1);"
                      "INSERT INTO segments SELECT 1, coalesce((SELECT seq FROM sqlite_sequence"
                      " WHERE name = 'exits'), 0), coalesce(min(time_ns), 0),"
                      " coalesce(max(time_ns), 0), 0 FROM exits;"
                      "INSERT INTO zones SELECT min(row), min(time_ns), max(time_ns) FROM exits"
                      " GROUP BY (row - 1) / 1024;")) != SQLITE_OK ||
        (result = identify(database)) != SQLITE_OK)
        return result;
    result = run(database, "COMMIT");
    /* The file goes by another name soon, so nothing may be left beside it. */
    return result == SQLITE_OK ? run(database, "PRAGMA journal_mode=DELETE") : result;
}

int schema_convert_first(const char *path, char *why)
{
    sqlite3 *database;
    int result = schema_connect(path, SQLITE_OPEN_READWRITE, &database);

    if (result == SQLITE_OK)
        result = convert_first(database);
    if (result != SQLITE_OK)
        schema_fail(why, "%s: cannot take over the store of version 1: %s", path,
                    sqlite3_errmsg(database));
    sqlite3_close(database);
    return result == SQLITE_OK ? 0 : -1;
}

static int write_zones(sqlite3 *database, const struct columns *columns)
{
    sqlite3_stmt *insert = NULL;
    int64_t first, min_ns, max_ns;
    int result = sqlite3_prepare_v2(database, "INSERT OR REPLACE INTO zones VALUES(?1, ?2, ?3)", -1,
                                    &insert, NULL);

    for (size_t i = 0; result == SQLITE_OK && columns_block(columns, i, &first, &min_ns, &max_ns);
         i++) {
        sqlite3_bind_int64(insert, 1, first);
        sqlite3_bind_int64(insert, 2, min_ns);
        sqlite3_bind_int64(insert, 3, max_ns);
        sqlite3_step(insert);
        result = sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    return result;
}

int schema_index(sqlite3 *database, const struct columns *columns)
{
    int result;

    if ((result = run(database, "BEGIN IMMEDIATE")) != SQLITE_OK ||
        (result = run(database, index_sql)) != SQLITE_OK ||
        (result = columns != NULL
                      ? write_zones(database, columns)
                      : run(database, "INSERT OR REPLACE INTO zones"
                                      " SELECT min(row), min(time_ns), max(time_ns) FROM exits"
                                      " GROUP BY (row - (SELECT value FROM about WHERE key ="
                                      " 'first')) / 1024")) != SQLITE_OK ||
        (result = run(database, "INSERT OR REPLACE INTO about VALUES('indexed', 1)")) != SQLITE_OK)
        return result;
    return run(database, "COMMIT");
}
