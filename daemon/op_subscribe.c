#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "filter.h"
#include "memory.h"
#include "op_records.h"
#include "op_subscribe.h"
#include "timestamp.h"

#define ROWS_PER_TURN 20000 /* looked at, whether they fit or not */

/*
 * A subscription reads the store behind the writer, from its place on. What is history and what is
 * live is the same to it, so between them is neither a gap nor a double; and a reader that is slow
 * makes it read later, not remember more.
 */
struct subscription {
    struct filter filter;
    int64_t row;    /* everything up to here has been sent or does not fit */
    bool announced; /* the first line is sent */
    bool live;      /* has caught up once */
};

static const char *const keys[] = {"where", "from", NULL};

static void subscription_end(void *state)
{
    struct subscription *subscription = state;

    filter_clear(&subscription->filter);
    free(subscription);
}

static void *begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct subscription *subscription = memory_zeroed(sizeof(*subscription));
    const json_t *from = json_object_get(request, "from");
    const char *place = json_string_value(from);
    bool descending = false;

    subscription->row = writer_head(cookie);
    if (from != NULL &&
        (place == NULL ||
         (strcmp(place, "now") != 0 &&
          (cursor_parse(place, &subscription->row, &descending) != 0 || descending)))) {
        reply_error_set(error, "bad_request", "from", "%s",
                        descending ? "the cursor is from a query of descending order"
                                   : "'from' is \"now\" or a cursor");
        goto error;
    }
    if (filter_read(&subscription->filter, request, timestamp_now(), error) != 0)
        goto error;
    return subscription;

error:
    subscription_end(subscription);
    return NULL;
}

static sqlite3_stmt *prepare(struct store_reader *reader, const char *select,
                             const struct filter *filter, const char *order)
{
    sqlite3_stmt *statement = NULL;
    struct buffer sql = {0};

    buffer_text(&sql, select);
    buffer_text(&sql, " FROM exits JOIN bodies USING(row) WHERE row > ?1 AND row <= ?2");
    buffer_append(&sql, filter->sql.data, filter->sql.length);
    buffer_text(&sql, order);
    sqlite3_prepare_v2(store_reader_database(reader), sql.data, (int)sql.length, &statement, NULL);
    buffer_clear(&sql);
    return statement;
}

static void bind_all(sqlite3_stmt *statement, const struct subscription *subscription, int64_t last)
{
    sqlite3_bind_int64(statement, 1, subscription->row);
    sqlite3_bind_int64(statement, 2, last);
    filter_bind(&subscription->filter, statement, 3);
}

/* The peer did not read while very much came: go on with what comes now, and say what is left out.
 */
static bool skip(struct subscription *subscription, struct query_context *context)
{
    sqlite3_stmt *statement =
        prepare(context->reader, "SELECT count(*)", &subscription->filter, "");
    bool counted;

    if (statement == NULL)
        return false;
    bind_all(statement, subscription, context->head);
    counted = sqlite3_step(statement) == SQLITE_ROW;
    if (counted) {
        char resume[CURSOR_SIZE];

        context->left_out = (uint64_t)sqlite3_column_int64(statement, 0);
        cursor_format(subscription->row, false, resume);
        reply_notice(context->reply,
                     memory_check(json_pack("{s{sI ss}}", "lagged", "dropped",
                                            (json_int_t)sqlite3_column_int64(statement, 0),
                                            "resume", resume)));
        subscription->row = context->head;
    }
    sqlite3_finalize(statement);
    return counted;
}

static enum query_step step(void *state, struct query_context *context)
{
    struct subscription *subscription = state;
    char cursor[CURSOR_SIZE];
    sqlite3_stmt *statement;
    int64_t last;
    int result;

    if (!subscription->announced) {
        subscription->announced = true;
        cursor_format(subscription->row, false, cursor);
        reply_notice(context->reply,
                     memory_check(json_pack("{sb ss}", "subscribed", 1, "cursor", cursor)));
    }
    if (context->lagging && subscription->live && !skip(subscription, context))
        return op_records_failed(context->reader, context->error);
    last = context->head;
    if (last - subscription->row > ROWS_PER_TURN)
        last = subscription->row + ROWS_PER_TURN;

    statement =
        prepare(context->reader, "SELECT row, json", &subscription->filter, " ORDER BY row");
    if (statement == NULL)
        return op_records_failed(context->reader, context->error);
    bind_all(statement, subscription, last);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (context->reply->out.length >= REPLY_BATCH_BYTES)
            break;
        subscription->row = sqlite3_column_int64(statement, 0);
        cursor_format(subscription->row, false, cursor);
        reply_record(context->reply, (const char *)sqlite3_column_text(statement, 1),
                     (size_t)sqlite3_column_bytes(statement, 1), cursor);
    }
    sqlite3_finalize(statement);
    if (result == SQLITE_ROW)
        return QUERY_MORE;
    if (result != SQLITE_DONE)
        return op_records_failed(context->reader, context->error);
    if (subscription->row < last)
        subscription->row = last;
    if (subscription->row < context->head)
        return QUERY_MORE;
    subscription->live = true;
    return QUERY_WAIT;
}

void op_subscribe_register(struct query *query, struct writer *writer)
{
    static struct query_op op = {
        .name = "subscribe",
        .usage =
            "{\"id\":3,\"op\":\"subscribe\",\"where\":{\"severity\":\"error\"},\"from\":\"now\"}",
        .summary = "records as they come, from now on or from a cursor, until unsubscribe",
        .keys = keys,
        .subscribes = true,
        .begin = begin,
        .step = step,
        .on_thread = true,
        .end = subscription_end,
    };

    op.cookie = writer;
    query_register(query, &op);
}
