/*
 * What the files of the store share. Nobody else includes this.
 *
 * Who may touch what: `catalogue` and what hangs on it by its lock (store_segment.h); `shared` by
 * its own lock, which is never held during I/O and never together with the catalogue's; `index` as
 * store_index.c says; everything else belongs to the thread that writes.
 */
#ifndef CORONER_STORE_INTERNAL_H
#define CORONER_STORE_INTERNAL_H

#include <sqlite3.h>

#include "store.h"
#include "store_rows.h"
#include "store_schema.h"
#include "store_segment.h"

#define STORE_SINKS_MAX 32
#define STORE_COLUMNS_SLACK 16384 /* rows that a segment may have above its limit: one batch */

/* Rows that are dropped but not yet counted in the live segment. */
struct owed {
    struct owed *next;
    int64_t first, last;
    const char *reason; /* the key in `about` */
    size_t count;
    struct {
        char incarnation[HELLO_INCARNATION + 1];
        int64_t rows;
    } held[];
};

struct store_indexer;
struct store_checkpointer;

struct store {
    char *path;
    char *folder;
    int lock;        /* the file itself, held with flock, which SQLite does not use */
    int folder_lock; /* the folder, which lasts when the file is exchanged */

    struct catalogue catalogue;
    struct store_indexer *indexer;
    struct store_checkpointer *checkpointer;

    struct {
        pthread_mutex_t lock;
        struct store_settings limits;
        struct store_health failing;  /* while what comes cannot be written */
        struct store_health health;   /* what else there is to tell, for the rest of this run */
        struct store_numbers numbers; /* but for what the catalogue knows */
        int64_t full_ns;              /* when the disk was full the last time; 0: never */
        int64_t head;
    } shared;

    /* The writer's. */
    struct segment *live;
    int64_t live_began_ns;
    int64_t next_row;
    int64_t retry_ns; /* not before then is a new segment tried again */
    struct owed *owed;
    struct {
        char *name;
        int64_t cursor;
    } sinks[STORE_SINKS_MAX]; /* that are asked for in this run */
    size_t sink_count;

    sqlite3 *database; /* the live segment */
    int64_t log_pages; /* in its log */
    int64_t log_done;  /* of them: in the database, too, as far as is known */
    int64_t log_next;  /* before it is so long it is not tried again to let it begin anew */
    bool log_failed;   /* to bring the rest of it into the database, the last time */
    sqlite3_stmt *begin;
    sqlite3_stmt *commit;
    sqlite3_stmt *rollback;
    struct store_rows rows; /* what the next two are about */
    sqlite3_stmt *exits;
    sqlite3_stmt *bodies;
    sqlite3_stmt *hello;
    sqlite3_stmt *name;
    sqlite3_stmt *crowd;
    sqlite3_stmt *load;
    sqlite3_stmt *save;
    sqlite3_stmt *cursor;
};

/* store.c */

/*
 * store_open_live(store, why):
 * Open the segment store->live for writing. Return SQLite's result.
 */
int store_open_live(struct store *store, char *why);

/*
 * store_close_live(store, checkpoint):
 * Close the live segment's database; without ${checkpoint} that is left to whoever opens it next.
 */
void store_close_live(struct store *store, bool checkpoint);

/*
 * store_run(statement):
 * Run a statement that returns no rows. Return 0 or -1.
 */
int store_run(sqlite3_stmt *statement);

/*
 * store_segment_bytes(store):
 * Return how long the live segment may become: what the settings say, but at most an eighth of what
 * the store may take, or of what the disk has for it.
 */
uint64_t store_segment_bytes(struct store *store);

/*
 * store_log_bytes(store):
 * Return how long the live segment's log shall become: an eighth of a segment, up to 64 MiB.
 */
uint64_t store_log_bytes(struct store *store);

/* store_keep.c */

/*
 * store_roll(store, why):
 * Begin a new segment and close the live one. Return SQLite's result; on an error all is as before.
 */
int store_roll(struct store *store, char *why);

/*
 * store_new_live(store, first):
 * Return the live segment that begins with row ${first}; it is not in the catalogue yet.
 */
struct segment *store_new_live(struct store *store, int64_t first);

/*
 * store_drop_oldest(store, reason):
 * Drop the oldest segment for ${reason}, a key of `about`. Return whether there was one.
 */
bool store_drop_oldest(struct store *store, const char *reason);

/*
 * store_set_aside(store, segment, why):
 * Give the damaged ${segment} another name, and tell it.
 */
void store_set_aside(struct store *store, const struct segment *segment, const char *why);

/*
 * store_degraded(store, format, ...):
 * From now on the store is degraded; log the reason.
 */
void store_degraded(struct store *store, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * store_read_totals(store):
 * Read what was dropped ever from the live segment.
 */
void store_read_totals(struct store *store);

#define STORE_EXPIRED_AGE "expired_age"
#define STORE_EXPIRED_SIZE "expired_size"
#define STORE_EXPIRED_FULL "expired_full"
#define STORE_MISSING "missing"

/* store_load.c */

/*
 * store_load(store, exit_code, why):
 * Find the segments, take over what is of an earlier layout, set aside what is damaged, and open
 * the live one. Return 0 or -1.
 */
int store_load(struct store *store, int *exit_code, char *why);

/* store_index.c */

/*
 * store_indexer_start(catalogue), store_indexer_stop(indexer):
 * Start the thread that makes the indexes of closed segments; stop it, in the middle of one, too.
 */
struct store_indexer *store_indexer_start(struct catalogue *catalogue);
void store_indexer_stop(struct store_indexer *indexer);

/*
 * store_indexer_wake(indexer):
 * There is a closed segment. Any thread.
 */
void store_indexer_wake(struct store_indexer *indexer);

/* store_checkpoint.c */

/*
 * store_checkpointer_start(), store_checkpointer_stop(checkpointer):
 * Start the thread that brings the live segment's log into it; stop it.
 */
struct store_checkpointer *store_checkpointer_start(void);
void store_checkpointer_stop(struct store_checkpointer *checkpointer);

/*
 * store_checkpointer_leave(checkpointer):
 * Wait until ${checkpointer}, which may be NULL, is done, and let go of the segment. The writer's.
 */
void store_checkpointer_leave(struct store_checkpointer *checkpointer);

/*
 * store_watch_log(store):
 * The live segment is just opened: from now on keep an eye on how long its log is.
 */
void store_watch_log(struct store *store);

/*
 * store_tend_log(store):
 * Between two transactions: bring the log into the database where that is due. It begins anew when
 * it has some store_log_bytes, and does not come to have much more than twice that.
 */
void store_tend_log(struct store *store);

/* store_reader.c */

/*
 * store_reader_let_go(segment):
 * Close what readers that rest have open of ${segment}, which is dropped. Any thread.
 */
void store_reader_let_go(struct store *store, const struct segment *segment);

#endif
