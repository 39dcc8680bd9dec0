#include <stdlib.h>

#include "store.h"
#include "store_rows.h"

/* What a record is in SQL, in the order of both the tables here and the statements. */
#define COLUMNS_BEFORE "row, incarnation, seq, time_ns, kind, node, uid"

const char store_rows_exits_sql[] = "INSERT INTO exits(" COLUMNS_BEFORE
#define X(column, section, key) ", " #column
    RECORD_COLUMNS(X)
#undef X
        ", initial_module) SELECT " COLUMNS_BEFORE
#define X(column, section, key) ", " #column
            RECORD_COLUMNS(X)
#undef X
                ", initial_module FROM changed_exits";

const char store_rows_bodies_sql[] =
    "INSERT INTO bodies(row, json) SELECT row, json FROM changed_bodies";

static const char exits_schema[] = "CREATE TABLE changed_exits(" COLUMNS_BEFORE
#define X(column, section, key) ", " #column
    RECORD_COLUMNS(X)
#undef X
        ", initial_module)";

static const char bodies_schema[] = "CREATE TABLE changed_bodies(row, json)";

enum {
    COLUMN_ROW,
    COLUMN_INCARNATION,
    COLUMN_SEQ,
    COLUMN_TIME,
    COLUMN_KIND,
    COLUMN_NODE,
    COLUMN_UID,
    COLUMN_REST
};

struct table {
    sqlite3_vtab base;
    const struct store_rows *rows;
};

struct cursor {
    sqlite3_vtab_cursor base;
    const struct change *change; /* NULL: at the end */
    size_t left;                 /* changes from this one on */
};

static int connect_as(sqlite3 *database, void *rows, const char *schema, sqlite3_vtab **table)
{
    struct table *made = sqlite3_malloc(sizeof(*made));
    int result = sqlite3_declare_vtab(database, schema);

    if (made == NULL)
        return SQLITE_NOMEM;
    *made = (struct table){.rows = rows};
    *table = &made->base;
    return result;
}

static int connect_exits(sqlite3 *database, void *rows, int argc, const char *const *argv,
                         sqlite3_vtab **table, char **error)
{
    (void)argc;
    (void)argv;
    (void)error;
    return connect_as(database, rows, exits_schema, table);
}

static int connect_bodies(sqlite3 *database, void *rows, int argc, const char *const *argv,
                          sqlite3_vtab **table, char **error)
{
    (void)argc;
    (void)argv;
    (void)error;
    return connect_as(database, rows, bodies_schema, table);
}

static int disconnect(sqlite3_vtab *table)
{
    sqlite3_free(table);
    return SQLITE_OK;
}

/* There is one way to go through it: from the first to the last. */
static int best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
    (void)table;
    info->estimatedCost = 1000;
    return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
    struct cursor *made = sqlite3_malloc(sizeof(*made));

    (void)table;
    if (made == NULL)
        return SQLITE_NOMEM;
    *made = (struct cursor){0};
    *cursor = &made->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

/* Go on to the next change that is a row, from this one on. */
static int find_row(struct cursor *cursor)
{
    while (cursor->left > 0 &&
           (cursor->change->type != CHANGE_RECORD || cursor->change->row == 0)) {
        cursor->change = cursor->change->next;
        cursor->left--;
    }
    return SQLITE_OK;
}

static int go_to_first(sqlite3_vtab_cursor *base, int number, const char *text, int argc,
                       sqlite3_value **argv)
{
    struct cursor *cursor = (struct cursor *)base;
    const struct store_rows *rows = ((const struct table *)base->pVtab)->rows;

    (void)number;
    (void)text;
    (void)argc;
    (void)argv;
    cursor->change = rows->first;
    cursor->left = rows->count;
    return find_row(cursor);
}

static int go_on(sqlite3_vtab_cursor *base)
{
    struct cursor *cursor = (struct cursor *)base;

    cursor->change = cursor->change->next;
    cursor->left--;
    return find_row(cursor);
}

static int is_at_end(sqlite3_vtab_cursor *base)
{
    return ((const struct cursor *)base)->left == 0;
}

/* The texts stay where they are until the transaction is over. */
static void give_text(sqlite3_context *context, const char *text)
{
    if (text != NULL)
        sqlite3_result_text(context, text, -1, SQLITE_STATIC);
}

static int give_exits(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct change *change = ((const struct cursor *)base)->change;
    const struct record *record = change->record;

    switch (column) {
    case COLUMN_ROW:
        sqlite3_result_int64(context, change->row);
        break;
    case COLUMN_INCARNATION:
        sqlite3_result_text(context, change->hello->incarnation, HELLO_INCARNATION, SQLITE_STATIC);
        break;
    case COLUMN_SEQ:
        sqlite3_result_int64(context, (int64_t)record->seq);
        break;
    case COLUMN_TIME:
        sqlite3_result_int64(context, (int64_t)record->time_ns);
        break;
    case COLUMN_KIND:
        sqlite3_result_int64(context, (int64_t)record->kind);
        break;
    case COLUMN_NODE:
        give_text(context, change->hello->name);
        break;
    case COLUMN_UID:
        sqlite3_result_int64(context, change->uid);
        break;
    default:
        give_text(context, record->column[column - COLUMN_REST]);
        break;
    }
    return SQLITE_OK;
}

static int give_bodies(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct change *change = ((const struct cursor *)base)->change;

    if (column == COLUMN_ROW)
        sqlite3_result_int64(context, change->row);
    else
        sqlite3_result_text(context, change->record->json, (int)change->record->json_length,
                            SQLITE_STATIC);
    return SQLITE_OK;
}

static int give_row(sqlite3_vtab_cursor *base, sqlite3_int64 *row)
{
    *row = ((const struct cursor *)base)->change->row;
    return SQLITE_OK;
}

int store_rows_register(sqlite3 *database, struct store_rows *rows)
{
    /* Without xCreate: the tables are there by themselves, and stand in no schema. */
    static const sqlite3_module exits = {.xConnect = connect_exits,
                                         .xBestIndex = best_index,
                                         .xDisconnect = disconnect,
                                         .xOpen = open_cursor,
                                         .xClose = close_cursor,
                                         .xFilter = go_to_first,
                                         .xNext = go_on,
                                         .xEof = is_at_end,
                                         .xColumn = give_exits,
                                         .xRowid = give_row};
    static const sqlite3_module bodies = {.xConnect = connect_bodies,
                                          .xBestIndex = best_index,
                                          .xDisconnect = disconnect,
                                          .xOpen = open_cursor,
                                          .xClose = close_cursor,
                                          .xFilter = go_to_first,
                                          .xNext = go_on,
                                          .xEof = is_at_end,
                                          .xColumn = give_bodies,
                                          .xRowid = give_row};
    int result = sqlite3_create_module(database, "changed_exits", &exits, rows);

    return result == SQLITE_OK ? sqlite3_create_module(database, "changed_bodies", &bodies, rows)
                               : result;
}
