#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "memory.h"
#include "settings.h"
#include "writer.h"

#define RETRY_MS 1000
#define CURSOR_MS 1000
#define CURSORS_MAX SETTINGS_SINKS_MAX

struct cursor_note {
    const char *sink;
    int64_t cursor;
    bool noted;
};

struct writer {
    uv_loop_t *loop;
    struct store *store;
    struct change *first, **last; /* queue */
    uint64_t queued;
    struct cursor_note cursors[CURSORS_MAX];
    struct {
        void (*on_commit)(void *cookie, int64_t head);
        void *cookie;
    } listeners[WRITER_LISTENERS_MAX];
    int listener_count;
    void (*drained)(void *cookie);
    void *drained_cookie;

    /* A transaction begins when everything that can be read has been read: after the poll. */
    uv_idle_t idle; /* lets the poll not wait */
    uv_check_t check;
    uv_timer_t retry;
    uv_timer_t cursor_timer;
    uv_timer_t tend_timer; /* something is due in the store though nothing comes */
    int open_handles;

    /* The transaction under way; touched by the thread while busy. */
    uv_work_t work;
    bool busy;
    struct change *batch;
    size_t batch_count; /* 0: the store is tended, no more */
    int result;
    int64_t head;
    uint64_t tend_due_ms;
    char why[STORE_WHY_SIZE];

    size_t batch_max; /* less than WRITER_BATCH_MAX while the store cannot be written */
    bool tend;        /* the timer ran out */

    int64_t committed_head;
    uint64_t commits;
    uint64_t changes;
    bool failing;
    uint64_t failures;
    char failed_why[STORE_WHY_SIZE]; /* of the last one */
    uint64_t began_ns;
    struct histogram commit_seconds;
    struct histogram batch_changes;
};

static const double batch_bounds[] = {1, 2, 5, 10, 25, 50, 100, 250, 500, WRITER_BATCH_MAX};

static void begin(struct writer *writer);

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_check(uv_check_t *check)
{
    struct writer *writer = check->data;

    uv_idle_stop(&writer->idle);
    uv_check_stop(&writer->check);
    begin(writer);
}

static void on_retry(uv_timer_t *timer)
{
    begin(timer->data);
}

static void begin_soon(struct writer *writer)
{
    if (writer->busy || uv_is_active((uv_handle_t *)&writer->retry))
        return;
    uv_idle_start(&writer->idle, on_idle);
    uv_check_start(&writer->check, on_check);
}

static void on_tend_timer(uv_timer_t *timer)
{
    struct writer *writer = timer->data;

    writer->tend = true;
    begin_soon(writer);
}

static void on_cursor_timer(uv_timer_t *timer)
{
    begin_soon(timer->data);
}

struct writer *writer_new(uv_loop_t *loop, struct store *store)
{
    struct writer *writer = memory_zeroed(sizeof(*writer));

    writer->loop = loop;
    writer->store = store;
    writer->last = &writer->first;
    writer->committed_head = store_head(store);
    uv_idle_init(loop, &writer->idle);
    uv_check_init(loop, &writer->check);
    uv_timer_init(loop, &writer->retry);
    uv_timer_init(loop, &writer->cursor_timer);
    uv_timer_init(loop, &writer->tend_timer);
    writer->open_handles = 5;
    writer->batch_max = WRITER_BATCH_MAX;
    writer->tend = true;
    writer->idle.data = writer;
    writer->check.data = writer;
    writer->retry.data = writer;
    writer->cursor_timer.data = writer;
    writer->tend_timer.data = writer;
    writer->work.data = writer;
    histogram_init(&writer->commit_seconds, histogram_seconds,
                   sizeof(histogram_seconds) / sizeof(histogram_seconds[0]));
    histogram_init(&writer->batch_changes, batch_bounds,
                   sizeof(batch_bounds) / sizeof(batch_bounds[0]));
    begin_soon(writer);
    return writer;
}

void writer_on_commit(struct writer *writer, void (*on_commit)(void *cookie, int64_t head),
                      void *cookie)
{
    if (writer->listener_count == WRITER_LISTENERS_MAX)
        abort();
    writer->listeners[writer->listener_count].on_commit = on_commit;
    writer->listeners[writer->listener_count].cookie = cookie;
    writer->listener_count++;
}

void writer_submit(struct writer *writer, struct change *change)
{
    change->next = NULL;
    *writer->last = change;
    writer->last = &change->next;
    writer->queued++;
    begin_soon(writer);
}

void writer_cursor(struct writer *writer, const char *sink, int64_t cursor)
{
    struct cursor_note *note = writer->cursors;

    while (note->sink != NULL && strcmp(note->sink, sink) != 0) {
        if (++note == writer->cursors + CURSORS_MAX)
            abort();
    }
    note->sink = sink;
    note->cursor = cursor;
    note->noted = true;
    if (!uv_is_active((uv_handle_t *)&writer->cursor_timer))
        uv_timer_start(&writer->cursor_timer, on_cursor_timer, CURSOR_MS, 0);
}

static void free_change(struct change *change)
{
    free(change);
}

/* Noted cursors become changes at the head of the queue. */
static void queue_cursors(struct writer *writer)
{
    for (int i = 0; i < CURSORS_MAX; i++) {
        struct cursor_note *note = &writer->cursors[i];
        struct change *change;

        if (!note->noted)
            continue;
        note->noted = false;
        change = memory_zeroed(sizeof(*change));
        change->type = CHANGE_CURSOR;
        change->sink = note->sink;
        change->cursor = note->cursor;
        change->done = free_change;
        change->next = writer->first;
        if (writer->first == NULL)
            writer->last = &change->next;
        writer->first = change;
        writer->queued++;
    }
    uv_timer_stop(&writer->cursor_timer);
}

static void write_batch(uv_work_t *work)
{
    struct writer *writer = work->data;

    writer->result = 0;
    if (writer->batch_count == 0)
        store_tend(writer->store);
    else
        writer->result = store_apply(writer->store, writer->batch, writer->batch_count,
                                     &writer->head, writer->why);
    writer->tend_due_ms = store_tend_due(writer->store);
}

static void failed(struct writer *writer)
{
    if (!writer->failing)
        log_error("cannot write to the store, trying again each second: %s", writer->why);
    writer->failing = true;
    writer->failures++;
    memcpy(writer->failed_why, writer->why, sizeof(writer->why));
    /* Where there is little space, less may fit where much does not. */
    writer->batch_max = writer->batch_max > 16 ? writer->batch_max / 4 : writer->batch_max;
    uv_timer_start(&writer->retry, on_retry, RETRY_MS, 0);
}

/* The batch is committed: out of the queue with it. Returns its changes. */
static struct change *succeeded(struct writer *writer)
{
    struct change *changes = writer->first, **end = &writer->first;

    if (writer->failing)
        log_info("the store can be written again");
    writer->failing = false;
    if (writer->batch_max < WRITER_BATCH_MAX)
        writer->batch_max *= 2;
    writer->commits++;
    histogram_observe(&writer->commit_seconds, (double)(uv_hrtime() - writer->began_ns) / 1e9);
    histogram_observe(&writer->batch_changes, (double)writer->batch_count);
    writer->changes += writer->batch_count;
    writer->committed_head = writer->head;
    writer->queued -= writer->batch_count;
    for (size_t i = 0; i < writer->batch_count; i++)
        end = &(*end)->next;
    writer->first = *end;
    *end = NULL;
    if (writer->first == NULL)
        writer->last = &writer->first;
    return changes;
}

static void tell_committed(struct writer *writer, struct change *changes)
{
    struct change *change;
    int64_t head = writer->committed_head;

    while ((change = changes) != NULL) {
        changes = change->next;
        change->done(change);
    }
    for (int i = 0; i < writer->listener_count; i++)
        writer->listeners[i].on_commit(writer->listeners[i].cookie, head);
}

static void on_written(uv_work_t *work, int status)
{
    struct writer *writer = work->data;
    struct change *committed = NULL;

    (void)status; /* never cancelled */
    writer->busy = false;
    writer->batch = NULL;
    if (writer->tend_due_ms > 0)
        uv_timer_start(&writer->tend_timer, on_tend_timer, writer->tend_due_ms, 0);
    else
        uv_timer_stop(&writer->tend_timer);
    if (writer->result == 0 && writer->batch_count > 0)
        committed = succeeded(writer);
    else if (writer->result == 0)
        writer->tend = false;
    else
        failed(writer);
    /* The disk does not wait while it is told what is on it. */
    if (writer->first != NULL)
        begin(writer);
    if (committed != NULL)
        tell_committed(writer, committed);
    /* Draining wants the cursors that the listeners may just have noted, too. */
    begin(writer);
}

static void begin(struct writer *writer)
{
    bool cursors_noted = false;

    if (writer->busy || uv_is_active((uv_handle_t *)&writer->retry))
        return;
    for (int i = 0; i < CURSORS_MAX; i++)
        cursors_noted = cursors_noted || writer->cursors[i].noted;
    /* Cursors alone are not worth a transaction until their timer says so. */
    if (cursors_noted && (writer->first != NULL || writer->drained != NULL ||
                          !uv_is_active((uv_handle_t *)&writer->cursor_timer)))
        queue_cursors(writer);
    if (writer->first == NULL && (!writer->tend || writer->drained != NULL)) {
        void (*drained)(void *cookie) = writer->drained;

        if (drained != NULL) {
            writer->drained = NULL;
            drained(writer->drained_cookie);
        }
        return;
    }
    writer->busy = true;
    writer->began_ns = uv_hrtime();
    writer->batch = writer->first;
    writer->batch_count =
        writer->queued < writer->batch_max ? (size_t)writer->queued : writer->batch_max;
    uv_queue_work(writer->loop, &writer->work, write_batch, on_written);
}

void writer_drain(struct writer *writer, void (*drained)(void *cookie), void *cookie)
{
    writer->drained = drained;
    writer->drained_cookie = cookie;
    begin_soon(writer);
}

int64_t writer_head(const struct writer *writer)
{
    return writer->committed_head;
}

struct writer_numbers writer_numbers(const struct writer *writer)
{
    return (struct writer_numbers){.commits = writer->commits,
                                   .changes = writer->changes,
                                   .queued = writer->queued,
                                   .failing = writer->failing};
}

/* How long the change that waits for the longest time has waited. */
static double lag_seconds(const struct writer *writer)
{
    const struct change *change = writer->first;

    while (change != NULL &&
           change->submitted_ns == 0) /* a sink's cursor, of which there are few */
        change = change->next;
    return change != NULL ? (double)(uv_hrtime() - change->submitted_ns) / 1e9 : 0;
}

static void tell(void *cookie, struct metrics_page *page)
{
    const struct writer *writer = cookie;

    metrics_family(page, "coroner_changes_committed_total", METRICS_COUNTER,
                   "Changes committed: records, what nodes tell of themselves, cursors of sinks.");
    metrics_count(page, writer->changes, NULL);
    metrics_family(page, "coroner_changes_queued", METRICS_GAUGE,
                   "Changes that wait for their commit.");
    metrics_count(page, writer->queued, NULL);
    metrics_family(page, "coroner_ingest_lag_seconds", METRICS_GAUGE,
                   "How long the oldest of the changes that are not committed has waited.");
    metrics_number(page, lag_seconds(writer), NULL);
    metrics_family(page, "coroner_commit_seconds", METRICS_HISTOGRAM,
                   "How long a transaction took to be on the disk.");
    metrics_histogram(page, &writer->commit_seconds, NULL);
    metrics_family(page, "coroner_commit_changes", METRICS_HISTOGRAM, "Changes in a transaction.");
    metrics_histogram(page, &writer->batch_changes, NULL);
    metrics_family(page, "coroner_commit_failures_total", METRICS_COUNTER,
                   "Transactions that failed; what is in them is tried again.");
    metrics_count(page, writer->failures, NULL);
    metrics_family(page, "coroner_store_writable", METRICS_GAUGE,
                   "1 while the store can be written, 0 after a transaction failed.");
    metrics_count(page, !writer->failing, NULL);
}

static void look(void *cookie, struct health_report *report)
{
    const struct writer *writer = cookie;

    if (writer->failing)
        health_say(report, HEALTH_FAILING, "store_not_writable",
                   "the store cannot be written, which is tried again each second; what comes "
                   "stays with the nodes: %s",
                   writer->failed_why);
}

void writer_watch(struct writer *writer, struct health *health)
{
    health_watch(health, look, writer);
}

void writer_tell(struct writer *writer, struct metrics *metrics)
{
    metrics_collect(metrics, tell, writer);
}

bool writer_busy(const struct writer *writer)
{
    return writer->busy;
}

static void on_closed(uv_handle_t *handle)
{
    struct writer *writer = handle->data;

    if (--writer->open_handles == 0)
        free(writer);
}

void writer_close(struct writer *writer)
{
    struct change *change;

    if (writer == NULL)
        return;
    while ((change = writer->first) != NULL) {
        writer->first = change->next;
        free(change->record);
        free(change->counters);
        free(change);
    }
    uv_close((uv_handle_t *)&writer->idle, on_closed);
    uv_close((uv_handle_t *)&writer->check, on_closed);
    uv_close((uv_handle_t *)&writer->retry, on_closed);
    uv_close((uv_handle_t *)&writer->cursor_timer, on_closed);
    uv_close((uv_handle_t *)&writer->tend_timer, on_closed);
}
