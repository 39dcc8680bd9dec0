/*
 * The records of a transaction as two tables of SQLite's, so that all of them are inserted by one
 * statement for each table: begun once for a transaction instead of twice for each record, which
 * took a fifth of what the thread that writes does.
 */
#ifndef CORONER_STORE_ROWS_H
#define CORONER_STORE_ROWS_H

#include <sqlite3.h>
#include <stddef.h>

struct change;

/* The changes of the transaction; of these the records that got a row are in the tables. */
struct store_rows {
    const struct change *first;
    size_t count;
};

/* INSERT statements without parameters, for the tables `exits` and `bodies` of a segment. */
extern const char store_rows_exits_sql[];
extern const char store_rows_bodies_sql[];

/*
 * store_rows_register(database, rows):
 * Let the statements that are prepared on ${database} find what ${rows} says when they run. Return
 * SQLite's result.
 */
int store_rows_register(sqlite3 *database, struct store_rows *rows);

#endif
