/*
 * The databases of the store: what is in them, how one begins, and how one is known again.
 */
#ifndef CORONER_STORE_SCHEMA_H
#define CORONER_STORE_SCHEMA_H

#include <sqlite3.h>
#include <stdint.h>

#include "store_segment.h"

#define SCHEMA_VERSION 3
#define SCHEMA_PAGE_BYTES 8192

/* What a database turned out to be. */
enum schema_kind {
    SCHEMA_EMPTY,
    SCHEMA_MARKER,  /* the file that the user names: the store is in the folder beside it */
    SCHEMA_SEGMENT, /* one of ours */
    SCHEMA_FIRST,   /* a whole store as version 1 had it */
    SCHEMA_OTHER,   /* of a version that this coronerd does not know */
    SCHEMA_FOREIGN, /* a database, but not one of coronerd */
    SCHEMA_DAMAGED, /* no database, or a broken one */
    SCHEMA_UNREAD   /* it could not be read: an I/O error, no permission */
};

/*
 * schema_fail(why, format, ...):
 * Write a sentence to ${why}, of STORE_WHY_SIZE bytes. Return -1.
 */
int schema_fail(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * schema_connect(path, flags, database):
 * Open a connection to ${path} with those flags of sqlite3_open_v2 for one thread at a time, small
 * and patient. Return SQLite's result; *${database} is to be closed in any case.
 */
int schema_connect(const char *path, int flags, sqlite3 **database);

/*
 * schema_prepare(database, sql, statement):
 * Prepare a statement that stays. Return 0 or -1.
 */
int schema_prepare(sqlite3 *database, const char *sql, sqlite3_stmt **statement);

/*
 * schema_number(database, sql, number):
 * Set *${number} to the first column of the first row of ${sql}. Return SQLITE_ROW, SQLITE_DONE if
 * there is none, or an error.
 */
int schema_number(sqlite3 *database, const char *sql, int64_t *number);

/*
 * schema_look(path, version, why):
 * Find out what ${path} is; set *${version} and say in ${why} what is wrong with it, if anything
 * is.
 */
enum schema_kind schema_look(const char *path, int64_t *version, char *why);

/*
 * schema_is_damage(result):
 * Return whether SQLite's ${result} says that the file itself is broken.
 */
bool schema_is_damage(int result);

/*
 * schema_result(database, result):
 * Return SQLite's ${result} of an operation on ${database}, or SQLITE_FULL if it failed because the
 * disk is full, whatever SQLite calls that.
 */
int schema_result(sqlite3 *database, int result);

/*
 * schema_begin_segment(folder, first, previous, why):
 * Make the segment that begins with row ${first}, complete and on the disk or not there at all.
 * Incarnations, cursors and what there is in the store are taken over from ${previous}, which is
 * listed as closed in it; with NULL it begins a store. Return SQLite's result and, if it is not
 * SQLITE_OK, say in ${why} what is wrong.
 */
int schema_begin_segment(const char *folder, int64_t first, const struct segment *previous,
                         char *why);

/*
 * schema_mark(path, why):
 * Make ${path}, which is empty or not there, the marker of a store. Return 0 or -1.
 */
int schema_mark(const char *path, char *why);

/*
 * schema_convert_first(path, why):
 * Make the store of version 1 at ${path} a segment, in place, in one transaction. Return 0 or -1.
 */
int schema_convert_first(const char *path, char *why);

/*
 * schema_index(database, columns):
 * Give the closed segment its indexes and, if ${columns} is not NULL, its zones, in one
 * transaction. Return SQLite's result.
 */
int schema_index(sqlite3 *database, const struct columns *columns);

#endif
