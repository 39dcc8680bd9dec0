#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "memory.h"
#include "op_records.h"
#include "op_subscribe.h"
#include "scan.h"
#include "timestamp.h"

#define ROWS_PER_TURN 20000 /* looked at, whether they fit or not */
#define HEARTBEAT_S 30
#define HEARTBEAT_MAX_S 3600

/*
 * A subscription reads the store behind the writer, from its place on. What is history and what is
 * live is the same to it, so between them is neither a gap nor a double; and a reader that is slow
 * makes it read later, not remember more.
 */
struct subscription {
    struct filter filter;
    int64_t row;          /* everything up to here has been sent or does not fit */
    bool announced;       /* the first line is sent */
    bool live;            /* has caught up once */
    unsigned heartbeat_s; /* 0: none */
};

static const char *const keys[] = {"where", "from", "heartbeat", NULL};

static void subscription_end(void *state)
{
    struct subscription *subscription = state;

    filter_clear(&subscription->filter);
    free(subscription);
}

static int read_from(struct subscription *subscription, const json_t *request, int64_t head,
                     struct reply_error *error)
{
    const json_t *from = json_object_get(request, "from");
    const char *place = json_string_value(from);
    bool descending = false;

    subscription->row = head;
    if (from == NULL || (place != NULL && strcmp(place, "now") == 0))
        return 0;
    if (place == NULL || cursor_parse(place, &subscription->row, &descending) != 0) {
        reply_error_set(error, "bad_request", "from", "'from' is \"now\" or a cursor");
        return -1;
    }
    if (descending) {
        reply_error_set(error, "bad_request", "from",
                        "the cursor is from a query of descending order");
        return -1;
    }
    if (subscription->row > head) {
        reply_error_set(error, "bad_request", "from",
                        "the cursor is beyond the newest record: it is not of this store");
        return -1;
    }
    return 0;
}

static int read_heartbeat(struct subscription *subscription, const json_t *request,
                          struct reply_error *error)
{
    const json_t *value = json_object_get(request, "heartbeat");

    if (value == NULL || json_is_false(value))
        return 0;
    if (json_is_true(value)) {
        subscription->heartbeat_s = HEARTBEAT_S;
        return 0;
    }
    if (json_is_integer(value) && json_integer_value(value) >= 1 &&
        json_integer_value(value) <= HEARTBEAT_MAX_S) {
        subscription->heartbeat_s = (unsigned)json_integer_value(value);
        return 0;
    }
    reply_error_set(error, "bad_request", "heartbeat",
                    "'heartbeat' is true, false or a number of seconds from 1 to %d",
                    HEARTBEAT_MAX_S);
    return -1;
}

static void *begin(void *cookie, const json_t *request, struct reply_error *error)
{
    struct subscription *subscription = memory_zeroed(sizeof(*subscription));

    if (filter_read(&subscription->filter, request, timestamp_now(), error) == 0 &&
        read_from(subscription, request, writer_head(cookie), error) == 0 &&
        read_heartbeat(subscription, request, error) == 0)
        return subscription;
    subscription_end(subscription);
    return NULL;
}

static unsigned heartbeat(const void *state)
{
    return ((const struct subscription *)state)->heartbeat_s;
}

/* How many rows behind its place fit. -1 with the error filled. */
static int64_t count_fitting(struct subscription *subscription, struct query_context *context)
{
    struct scan_question question = {.filter = &subscription->filter,
                                     .columns = "count(*)",
                                     .order = SCAN_ANY,
                                     .first = subscription->row + 1,
                                     .last = context->head};
    struct scan *scan = scan_begin(context->reader, &question);
    int64_t count = 0;
    int found;

    while ((found = scan_next(scan)) > 0)
        count += sqlite3_column_int64(scan_statement(scan), 0);
    if (found < 0)
        scan_failed(scan, context->error);
    scan_end(scan);
    return found == 0 ? count : -1;
}

/* The peer did not read while very much came: go on with what comes now, and say what is left out.
 */
static int skip(struct subscription *subscription, struct query_context *context)
{
    int64_t count = count_fitting(subscription, context);
    char resume[CURSOR_SIZE];

    if (count < 0)
        return -1;
    context->left_out = (uint64_t)count;
    cursor_format(subscription->row, false, resume);
    reply_notice(context->reply, memory_check(json_pack("{s{so ss}}", "lagged", "dropped",
                                                        reply_integer(count), "resume", resume)));
    subscription->row = context->head;
    return 0;
}

/* Rows that retention took away before they were told are told of by their number. */
static int note_gone(struct subscription *subscription, struct query_context *context,
                     json_t *notice)
{
    int64_t gone;

    if (records_check_cursor(context, "from", subscription->row, false, &gone) != 0)
        return -1;
    if (gone > 0) {
        json_object_set_new(notice, "gone", reply_integer(gone));
        subscription->row += gone;
    }
    return 0;
}

/* The line that says that it has begun, or what is gone since. */
static int announce(struct subscription *subscription, struct query_context *context)
{
    json_t *notice = memory_check(json_object());
    char cursor[CURSOR_SIZE];

    if (subscription->row < context->head && note_gone(subscription, context, notice) != 0) {
        json_decref(notice);
        return -1;
    }
    if (subscription->announced && json_object_size(notice) == 0) {
        json_decref(notice);
        return 0;
    }
    if (!subscription->announced)
        json_object_set_new(notice, "subscribed", json_true());
    subscription->announced = true;
    cursor_format(subscription->row, false, cursor);
    json_object_set_new(notice, "cursor", memory_check(json_string(cursor)));
    reply_notice(context->reply, notice);
    return 0;
}

static void beat(struct subscription *subscription, struct query_context *context)
{
    char time[TIMESTAMP_SIZE], cursor[CURSOR_SIZE];

    timestamp_format(timestamp_now(), time);
    cursor_format(subscription->row, false, cursor);
    reply_notice(context->reply,
                 memory_check(json_pack("{ss ss}", "heartbeat", time, "cursor", cursor)));
}

/* Tell the rows that fit, up to ${last} or until there is enough for a turn. */
static enum query_step tell(struct subscription *subscription, struct query_context *context,
                            int64_t last)
{
    struct scan_question question = {.filter = &subscription->filter,
                                     .columns = "1",
                                     .order = SCAN_ASCENDING,
                                     .first = subscription->row + 1,
                                     .last = last};
    struct scan *scan = scan_begin(context->reader, &question);
    enum query_step step = QUERY_DONE;
    char cursor[CURSOR_SIZE];
    const char *line;
    size_t length;
    int found;

    while ((found = scan_next(scan)) > 0) {
        if (context->reply->out.length >= REPLY_BATCH_BYTES) {
            step = QUERY_MORE;
            break;
        }
        line = scan_line(scan, &length);
        if (line == NULL) {
            found = -1;
            break;
        }
        subscription->row = scan_row(scan);
        cursor_format(subscription->row, false, cursor);
        reply_record(context->reply, line, length, cursor, NULL);
    }
    if (found < 0) {
        scan_failed(scan, context->error);
        step = QUERY_FAILED;
    }
    scan_end(scan);
    return step;
}

static enum query_step step(void *state, struct query_context *context)
{
    struct subscription *subscription = state;
    int64_t last = context->head;
    enum query_step told;

    if (announce(subscription, context) != 0 ||
        (context->lagging && subscription->live && skip(subscription, context) != 0))
        return QUERY_FAILED;
    if (last - subscription->row > ROWS_PER_TURN)
        last = subscription->row + ROWS_PER_TURN;
    told = tell(subscription, context, last);
    if (told != QUERY_DONE)
        return told;
    if (subscription->row < last)
        subscription->row = last;
    if (subscription->row < context->head)
        return QUERY_MORE;
    subscription->live = true;
    if (context->heartbeat)
        beat(subscription, context);
    return QUERY_WAIT;
}

void op_subscribe_register(struct query *query, struct writer *writer)
{
    static struct query_op op = {
        .name = "subscribe",
        .usage = "{\"id\":3,\"op\":\"subscribe\",\"where\":{\"severity\":\"error\"},"
                 "\"from\":\"now\",\"heartbeat\":true}",
        .summary = "records as they come, from now on or from a cursor, until unsubscribe",
        .keys = keys,
        .subscribes = true,
        .begin = begin,
        .step = step,
        .heartbeat = heartbeat,
        .on_thread = true,
        .quick = true,
        .end = subscription_end,
    };

    op.cookie = writer;
    query_register(query, &op);
}
