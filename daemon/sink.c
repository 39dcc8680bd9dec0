#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fold.h"
#include "log.h"
#include "memory.h"
#include "render.h"
#include "sink.h"
#include "sink_driver.h"
#include "timestamp.h"

#define BATCH_BYTES ((size_t)256 * 1024)
#define BATCH_ROWS 1024        /* at most so many are read for one batch, also if all are folded */
#define RETRY_FIRST_MS 250     /* after an error; then twice that, ... */
#define RETRY_LONGEST_MS 15000 /* ... up to here; each time between half and all of it */
#define DRAIN_TRY_MS 2000      /* a sink that fails holds up the end of the daemon so long */

struct sink {
    const struct sink_settings *settings;
    const struct sink_driver *driver;
    struct store_reader *reader;
    void (*news)(void *cookie);
    void *cookie;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool ending;

    /* What the thread alone uses. */
    void *state;
    struct fold *fold;    /* NULL: lines are not folded */
    struct buffer native; /* summaries on their way to the batch */
    struct sink_batch batch;
    int64_t read_row;    /* the last one looked at */
    int64_t read_before; /* read_row when the last reading began */
    int64_t lost_to;     /* rows up to here that are gone are counted */
    int64_t handed;
    int64_t safe;
    int64_t head;
    int64_t now_ms; /* monotonic */
    int64_t retry_at;
    int64_t confirm_at;
    unsigned failures; /* in a row */
    bool doubtful;     /* after going back: that lines are taken says nothing until they are safe */
    bool full;
    bool broken;
    bool drain;
    int64_t drain_since;
    int64_t oldest_ns;

    pthread_mutex_t lock; /* of the rest */
    int64_t new_head;
    bool reopen;
    bool new_drain;
    bool sleeping;
    bool told; /* news was called and sink_take not yet */
    struct sink_news fresh;
    struct sink_numbers numbers;
    int64_t shown_oldest_ns;
    int64_t shown_handed;
};

static int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sink_say(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, SINK_WHY_SIZE, format, arguments);
    va_end(arguments);
}

/* ---- batches ---- */

void sink_advance(struct sink_batch *batch, size_t bytes)
{
    batch->offset += bytes;
    while (batch->next < batch->count && batch->lines[batch->next].end <= batch->offset)
        batch->next++;
}

size_t sink_line_start(const struct sink_batch *batch)
{
    return batch->next > 0 ? batch->lines[batch->next - 1].end : 0;
}

static void batch_empty(struct sink_batch *batch)
{
    batch->data.length = 0;
    batch->keys.length = 0;
    batch->count = 0;
    batch->next = 0;
    batch->offset = 0;
}

static void batch_free(struct sink_batch *batch)
{
    buffer_clear(&batch->data);
    buffer_clear(&batch->keys);
    free(batch->lines);
}

static size_t add_key(struct sink_batch *batch, const char *text)
{
    size_t at = batch->keys.length;

    buffer_text(&batch->keys, text != NULL ? text : "");
    buffer_append(&batch->keys, "", 1);
    return at;
}

static void add_keys(struct sink_batch *batch, struct sink_line *line, const char *json,
                     size_t length)
{
    json_t *record = json_loadb(json, length, 0, NULL);
    const char *id = NULL, *node = NULL, *source = NULL;

    if (record != NULL) {
        id = json_string_value(json_object_get(record, "id"));
        node = json_string_value(json_object_get(json_object_get(record, "node"), "name"));
        source = json_string_value(json_object_get(json_object_get(record, "exit"), "source"));
        /* What is no exit is named by its kind. */
        if (source == NULL)
            source = json_object_get(record, "gap") != NULL    ? "gap"
                     : json_object_get(record, "fold") != NULL ? "fold"
                                                               : NULL;
    }
    line->id = add_key(batch, id);
    line->node = add_key(batch, node);
    line->source = add_key(batch, source);
    json_decref(record);
}

static void add_line(struct sink *sink, const char *json, size_t length)
{
    struct sink_batch *batch = &sink->batch;
    struct sink_line *line;

    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity > 0 ? 2 * batch->capacity : 64;
        batch->lines = memory_resize(batch->lines, batch->capacity * sizeof(*batch->lines));
    }
    if (!render_line(sink->settings->format, json, length, &batch->data))
        log_warning("sink %s: a line in the store is no JSON; it goes out as it is",
                    sink->settings->name);
    line = &batch->lines[batch->count++];
    *line = (struct sink_line){.end = batch->data.length, .safe = batch->safe};
    if (sink->driver == &sink_nats)
        add_keys(batch, line, json, length);
}

/* The summaries that fold made become lines of the batch. */
static void add_summaries(struct sink *sink)
{
    const char *at = sink->native.data;
    const char *end = at + sink->native.length;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        add_line(sink, at, (size_t)(newline - at));
        at = newline + 1;
    }
    sink->native.length = 0;
}

/* The age of a line by its own time: "time" is among the first keys. */
static void note_time(struct sink *sink, const char *json, size_t length)
{
    static const char key[] = "\"time\":\"";
    char text[TIMESTAMP_SIZE];
    const char *at = memmem(json, length < 256 ? length : 256, key, sizeof(key) - 1);

    if (at == NULL || (size_t)(json + length - at) < sizeof(key) - 1 + sizeof(text))
        return;
    memcpy(text, at + sizeof(key) - 1, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    if (timestamp_parse(text, 0, &sink->oldest_ns) != 0)
        sink->oldest_ns = 0;
}

struct filling {
    struct sink *sink;
    size_t rows;
};

static bool take_row(void *cookie, int64_t row, const char *json, size_t length)
{
    struct filling *filling = cookie;
    struct sink *sink = filling->sink;
    bool write = true;

    if (filling->rows++ == 0 && sink->oldest_ns == 0)
        note_time(sink, json, length);
    sink->read_row = row;
    if (sink->fold != NULL)
        write = fold_row(sink->fold, row, json, length, sink->now_ms, &sink->native);
    sink->batch.safe = sink->fold != NULL ? fold_floor(sink->fold, row) : row;
    add_summaries(sink);
    if (write)
        add_line(sink, json, length);
    return sink->batch.data.length < BATCH_BYTES && filling->rows < BATCH_ROWS;
}

/* Retention has dropped so many rows behind read_row. They are passed over again at each new
 * attempt, and counted once. */
static void count_lost(struct sink *sink, int64_t skipped)
{
    int64_t from = sink->lost_to > sink->read_before ? sink->lost_to : sink->read_before;
    int64_t to = sink->read_before + skipped;

    if (skipped <= 0 || to <= from)
        return;
    sink->numbers.lost += (uint64_t)(to - from);
    sink->lost_to = to;
}

/* Read what there is to read. Returns false if the store cannot be read. */
static bool fill(struct sink *sink, char *why)
{
    struct filling filling = {.sink = sink};
    struct sink_batch *batch = &sink->batch;
    int64_t head = sink->head;

    batch_empty(batch);
    if (sink->read_row < head) {
        sink->read_before = sink->read_row;
        if (store_reader_rows(sink->reader, sink->read_row, take_row, &filling, why) != 0)
            return false;
        pthread_mutex_lock(&sink->lock);
        count_lost(sink, (int64_t)store_reader_skipped(sink->reader));
        pthread_mutex_unlock(&sink->lock);
        /* There are no more rows up to there: row numbers may leave some out. */
        if (filling.rows == 0)
            sink->read_row = head;
    }
    if (sink->fold != NULL) {
        bool all = sink->drain && sink->read_row >= sink->head;

        while (batch->data.length < BATCH_BYTES &&
               fold_due(sink->fold, sink->now_ms, all, &sink->native)) {
            batch->safe = fold_floor(sink->fold, sink->read_row);
            add_summaries(sink);
        }
    }
    batch->safe = sink->fold != NULL ? fold_floor(sink->fold, sink->read_row) : sink->read_row;
    return true;
}

/* ---- how it goes ---- */

static void tell(struct sink *sink)
{
    bool call;

    pthread_mutex_lock(&sink->lock);
    call = !sink->told;
    sink->told = true;
    pthread_mutex_unlock(&sink->lock);
    if (call)
        sink->news(sink->cookie);
}

static void set_state(struct sink *sink, enum sink_state state, const char *why)
{
    pthread_mutex_lock(&sink->lock);
    if (sink->numbers.state != state) {
        sink->numbers.state = state;
        sink->numbers.since_ns = timestamp_now();
    }
    snprintf(sink->numbers.reason, sizeof(sink->numbers.reason), "%s", why);
    pthread_mutex_unlock(&sink->lock);
}

static void drained(struct sink *sink)
{
    if (!sink->drain)
        return;
    pthread_mutex_lock(&sink->lock);
    sink->fresh.drained = true;
    pthread_mutex_unlock(&sink->lock);
    tell(sink);
}

/* Twice as long each time; not all sinks, and not all daemons, at the same moment. */
static int64_t retry_in(unsigned failures)
{
    int64_t longest = RETRY_FIRST_MS;
    uint32_t random = 0;

    while (--failures > 0 && longest < RETRY_LONGEST_MS)
        longest *= 2;
    if (longest > RETRY_LONGEST_MS)
        longest = RETRY_LONGEST_MS;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = (uint32_t)monotonic_ms() * 2654435761u;
    return longest / 2 + (int64_t)(random % (uint32_t)(longest / 2 + 1));
}

static void failed(struct sink *sink, const char *why)
{
    sink->failures++;
    sink->retry_at = sink->now_ms + retry_in(sink->failures);
    set_state(sink, SINK_RETRYING, why);
    pthread_mutex_lock(&sink->lock);
    sink->numbers.retries++;
    pthread_mutex_unlock(&sink->lock);
    if (sink->failures == 1)
        log_error("sink %s: cannot write, trying again and again: %s", sink->settings->name, why);
}

static void succeeded(struct sink *sink)
{
    unsigned failures = sink->failures;

    sink->failures = 0;
    sink->retry_at = 0;
    if (failures == 0)
        return;
    set_state(sink, SINK_OK, "");
    log_info("sink %s can be written again, after %u attempts", sink->settings->name, failures);
}

/* From the last safe row on, everything again. */
static void go_back(struct sink *sink)
{
    batch_empty(&sink->batch);
    sink->native.length = 0;
    sink->confirm_at = 0;
    sink->read_row = sink->handed = sink->safe;
    sink->batch.safe = sink->safe;
    sink->oldest_ns = 0;
    if (sink->fold != NULL)
        fold_reset(sink->fold);
}

/* Returns whether all is well. */
static bool judge(struct sink *sink, enum sink_outcome outcome, const char *why)
{
    sink->full = outcome == SINK_FULL;
    switch (outcome) {
    case SINK_DONE:
    case SINK_FULL:
        return true;
    case SINK_BACK:
        go_back(sink);
        sink->doubtful = true;
        failed(sink, why);
        return false;
    case SINK_ERROR:
        failed(sink, why);
        return false;
    case SINK_END:
        break;
    }
    sink->broken = true;
    set_state(sink, SINK_BROKEN, why);
    log_error("sink %s: nobody reads any more, no further output in this run: %s",
              sink->settings->name, why);
    return false;
}

static void publish(struct sink *sink, uint64_t lines, uint64_t bytes)
{
    pthread_mutex_lock(&sink->lock);
    sink->numbers.lines += lines;
    sink->numbers.bytes += bytes;
    sink->numbers.folded = sink->fold != NULL ? fold_folded(sink->fold) : 0;
    sink->shown_handed = sink->handed;
    sink->numbers.unsafe_rows = (uint64_t)(sink->handed - sink->safe);
    sink->shown_oldest_ns = sink->oldest_ns;
    pthread_mutex_unlock(&sink->lock);
}

/* ---- the thread ---- */

static void take_orders(struct sink *sink)
{
    bool reopen;

    pthread_mutex_lock(&sink->lock);
    sink->sleeping = false;
    sink->head = sink->new_head;
    reopen = sink->reopen;
    sink->reopen = false;
    if (sink->new_drain && !sink->drain) {
        sink->drain = true;
        sink->drain_since = monotonic_ms();
    }
    pthread_mutex_unlock(&sink->lock);
    sink->now_ms = monotonic_ms();
    if (reopen && !sink->broken) {
        if (sink->driver->reopen != NULL)
            sink->driver->reopen(sink->state, &sink->batch);
        sink->retry_at = 0;
    }
}

static bool have_batch(const struct sink *sink)
{
    return sink->batch.offset < sink->batch.data.length;
}

/* The cursor may be moved. */
static void note_safe(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    sink->fresh.moved = true;
    sink->fresh.cursor = sink->safe;
    pthread_mutex_unlock(&sink->lock);
    tell(sink);
}

/*
 * The place is gone, and what was handed over with it: as little as possible of that again. Not
 * after a confirm that failed, which is not to be asked twice.
 */
static void save_what_is_safe(struct sink *sink)
{
    char ignored[SINK_WHY_SIZE];
    int64_t safe = sink->safe;

    if (sink->driver->look == NULL)
        return;
    sink->driver->confirm(sink->state, sink->handed, &safe, ignored);
    if (safe > sink->safe) {
        sink->safe = safe;
        note_safe(sink);
    }
}

/* Hand over what is read. Returns whether there may be more to do at once. */
static bool hand_over(struct sink *sink)
{
    struct sink_batch *batch = &sink->batch;
    char why[SINK_WHY_SIZE] = "";
    size_t lines = batch->next, bytes = batch->offset;
    int64_t before = sink->handed;
    enum sink_outcome outcome = sink->driver->write(sink->state, batch, why);

    lines = batch->next - lines;
    bytes = batch->offset - bytes;
    if (batch->next > 0)
        sink->handed = batch->lines[batch->next - 1].safe;
    if (outcome == SINK_DONE)
        sink->handed = batch->safe;
    if (sink->handed < before)
        sink->handed = before;
    if (outcome == SINK_BACK)
        save_what_is_safe(sink);
    if (outcome == SINK_DONE)
        sink->oldest_ns = 0; /* the next row to be read tells */
    if (judge(sink, outcome, why) && !sink->doubtful && (outcome == SINK_DONE || bytes > 0))
        succeeded(sink);
    publish(sink, lines, bytes);
    return outcome == SINK_DONE;
}

static void confirm(struct sink *sink)
{
    char why[SINK_WHY_SIZE] = "";
    int64_t safe = sink->safe;
    bool full = sink->full;

    /* Again, if it is not all safe by then. */
    sink->confirm_at = sink->now_ms + sink->driver->confirm_ms;
    if (!judge(sink, sink->driver->confirm(sink->state, sink->handed, &safe, why), why))
        return;
    sink->full = full;
    if (sink->doubtful && (safe > sink->safe || safe == sink->handed)) {
        sink->doubtful = false;
        succeeded(sink);
    }
    if (safe > sink->safe) {
        sink->safe = safe;
        note_safe(sink);
    }
    if (sink->handed == sink->safe)
        sink->confirm_at = 0;
    publish(sink, 0, 0);
}

/* Whether the time until which nothing is tried is over. */
static bool may_try(const struct sink *sink)
{
    return !sink->broken && sink->retry_at <= sink->now_ms;
}

static bool have_rows(const struct sink *sink)
{
    return sink->read_row < sink->head ||
           (sink->fold != NULL && (fold_next_ms(sink->fold, sink->now_ms) == 0 ||
                                   (sink->drain && fold_next_ms(sink->fold, sink->now_ms) >= 0)));
}

/* What the driver sees by itself: that its place is gone, say. */
static void look(struct sink *sink)
{
    char why[SINK_WHY_SIZE] = "";
    enum sink_outcome outcome = sink->driver->look(sink->state, why);

    if (outcome == SINK_DONE)
        return;
    if (outcome == SINK_BACK)
        save_what_is_safe(sink);
    judge(sink, outcome, why);
}

/* Returns whether the place is there for lines. */
static bool ready(struct sink *sink)
{
    char why[SINK_WHY_SIZE] = "";

    if (sink->driver->ready == NULL)
        return true;
    if (!judge(sink, sink->driver->ready(sink->state, why), why))
        return false;
    if (!sink->doubtful && !have_batch(sink))
        succeeded(sink);
    return true;
}

/* One turn. Returns whether the next one may follow at once. */
static bool turn(struct sink *sink)
{
    char why[SINK_WHY_SIZE] = "";
    bool again = false;

    if (sink->driver->look != NULL && !sink->broken)
        look(sink);
    if (may_try(sink) && ready(sink)) {
        bool known = true;

        if (!have_batch(sink) && have_rows(sink)) {
            known = fill(sink, why);
            if (!known) {
                go_back(sink);
                failed(sink, why);
            }
        }
        if (known && (have_batch(sink) || sink->batch.safe > sink->handed))
            again = hand_over(sink);
        else
            publish(sink, 0, 0);
    } else {
        publish(sink, 0, 0);
    }
    again = again && (have_batch(sink) || have_rows(sink));

    if (sink->handed > sink->safe && may_try(sink)) {
        if (sink->confirm_at == 0)
            sink->confirm_at = sink->now_ms + sink->driver->confirm_ms;
        if (sink->confirm_at <= sink->now_ms || (sink->drain && !again))
            confirm(sink);
    }
    if (sink->drain) {
        bool done = !have_batch(sink) && !have_rows(sink) && sink->handed == sink->safe;

        if (done || sink->broken ||
            (sink->failures > 0 && sink->now_ms - sink->drain_since >= DRAIN_TRY_MS))
            drained(sink);
    }
    return again && may_try(sink);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Milliseconds until the thread has something to do by itself, -1 for ever. */
static int64_t wait_ms(const struct sink *sink)
{
    int64_t wait = -1;
    int64_t now = monotonic_ms();

    if (sink->broken)
        return -1;
    if (sink->retry_at > now)
        wait = sooner(wait, sink->retry_at - now);
    else if (sink->fold != NULL && !sink->full)
        wait = sooner(wait, fold_next_ms(sink->fold, now));
    if (sink->confirm_at > 0 && sink->retry_at <= now)
        wait = sooner(wait, sink->confirm_at > now ? sink->confirm_at - now : 0);
    if (sink->drain && sink->failures > 0)
        wait = sooner(wait, DRAIN_TRY_MS / 10);
    /* Waiting for somebody to read: whether he has may have to be asked. */
    if (sink->drain && sink->handed > sink->safe)
        wait = sooner(wait, 20);
    return wait;
}

static void wait_for_something(struct sink *sink)
{
    struct pollfd set[1 + SINK_POLL_MAX] = {{.fd = sink->wake, .events = POLLIN}};
    nfds_t count = 1;
    uint64_t ignored;
    bool orders, hear; /* while it cannot write, it need not know of new rows */

    sink->now_ms = monotonic_ms();
    hear = may_try(sink) && !sink->full;
    pthread_mutex_lock(&sink->lock);
    orders =
        sink->reopen || (sink->new_drain && !sink->drain) || (hear && sink->new_head > sink->head);
    sink->sleeping = hear && !orders;
    pthread_mutex_unlock(&sink->lock);
    if (orders || atomic_load(&sink->ending))
        return;
    if (sink->driver->poll != NULL && !sink->broken)
        count += (nfds_t)sink->driver->poll(sink->state, sink->full, set + 1);
    if (poll(set, count, (int)wait_ms(sink)) > 0 && set[0].revents != 0 &&
        read(sink->wake, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
        log_error("sink %s: %s", sink->settings->name, strerror(errno));
}

static void *run(void *cookie)
{
    struct sink *sink = cookie;
    bool again = true;

    while (!atomic_load(&sink->ending)) {
        if (!again)
            wait_for_something(sink);
        take_orders(sink);
        if (!atomic_load(&sink->ending))
            again = turn(sink);
    }
    sink->driver->close(sink->state, &sink->batch, !have_batch(sink) && !have_rows(sink));
    pthread_mutex_lock(&sink->lock);
    sink->fresh.ended = true;
    pthread_mutex_unlock(&sink->lock);
    tell(sink);
    return NULL;
}

static void wake(struct sink *sink)
{
    static const uint64_t one = 1;

    if (write(sink->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("sink %s: %s", sink->settings->name, strerror(errno));
}

/* ---- on the loop ---- */

static bool is_ending(void *cookie)
{
    struct sink *sink = cookie;

    return atomic_load(&sink->ending);
}

static const struct sink_driver *driver_of(enum sink_type type)
{
    switch (type) {
    case SINK_FILE:
        return &sink_file;
    case SINK_STDOUT:
        return &sink_stdout;
    case SINK_EXEC:
        return &sink_exec;
    case SINK_NATS:
        return &sink_nats;
    }
    return NULL;
}

static int start_thread(struct sink *sink, char *why)
{
    sigset_t all, before;
    int error;

    /* Signals are for the loop's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    error = pthread_create(&sink->thread, NULL, run, sink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        sink_say(why, "sink %s: no thread: %s", sink->settings->name, strerror(error));
    return error != 0 ? -1 : 0;
}

/* Before sinks had names, a cursor was named by the place. */
static int64_t find_cursor(const struct sink_settings *settings, struct store *store)
{
    struct buffer before = {0};
    int64_t cursor;
    char *path;

    if (settings->type == SINK_STDOUT) {
        buffer_text(&before, "stdout");
    } else if (settings->type == SINK_FILE && (path = realpath(settings->path, NULL)) != NULL) {
        buffer_text(&before, "file:");
        buffer_text(&before, path);
        free(path);
    }
    buffer_append(&before, "", 1);
    cursor = store_cursor(store, settings->name, before.data);
    buffer_clear(&before);
    return cursor;
}

struct sink *sink_new(const struct sink_settings *settings, struct store *store,
                      struct store_reader *reader, int64_t head, void (*news)(void *cookie),
                      void *cookie, char why[SINK_WHY_SIZE])
{
    struct sink *sink = memory_zeroed(sizeof(*sink));
    struct sink_context context = {
        .settings = settings, .reader = reader, .ending = is_ending, .cookie = sink};

    sink->settings = settings;
    sink->driver = driver_of(settings->type);
    sink->reader = reader;
    sink->news = news;
    sink->cookie = cookie;
    sink->head = sink->new_head = head;
    sink->numbers = (struct sink_numbers){
        .name = settings->name, .type = settings->type, .since_ns = timestamp_now()};
    pthread_mutex_init(&sink->lock, NULL);
    sink->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sink->wake < 0) {
        sink_say(why, "sink %s: %s", settings->name, strerror(errno));
        goto error;
    }
    sink->safe = context.cursor = find_cursor(settings, store);
    sink->state = sink->driver->open(&context, why);
    if (sink->state == NULL)
        goto error_wake;
    sink->handed = sink->read_row = context.cursor;
    sink->batch.safe = context.cursor;
    if (settings->fold)
        sink->fold = fold_new(settings->fold_first);
    publish(sink, 0, 0);
    if (start_thread(sink, why) != 0)
        goto error_state;
    return sink;

error_state:
    sink->driver->close(sink->state, &sink->batch, false);
    fold_free(sink->fold);
error_wake:
    close(sink->wake);
error:
    pthread_mutex_destroy(&sink->lock);
    free(sink);
    return NULL;
}

const char *sink_name(const struct sink *sink)
{
    return sink->settings->name;
}

void sink_head(struct sink *sink, int64_t head)
{
    bool sleeping;

    pthread_mutex_lock(&sink->lock);
    sink->new_head = head;
    sleeping = sink->sleeping;
    sink->sleeping = false;
    pthread_mutex_unlock(&sink->lock);
    if (sleeping)
        wake(sink);
}

void sink_reopen(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    sink->reopen = true;
    pthread_mutex_unlock(&sink->lock);
    wake(sink);
}

void sink_drain(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    sink->new_drain = true;
    pthread_mutex_unlock(&sink->lock);
    wake(sink);
}

struct sink_news sink_take(struct sink *sink)
{
    struct sink_news news;

    pthread_mutex_lock(&sink->lock);
    news = sink->fresh;
    sink->fresh = (struct sink_news){0};
    sink->told = false;
    pthread_mutex_unlock(&sink->lock);
    return news;
}

struct sink_numbers sink_numbers(struct sink *sink)
{
    struct sink_numbers numbers;
    int64_t now = timestamp_now(), oldest;

    pthread_mutex_lock(&sink->lock);
    numbers = sink->numbers;
    oldest = sink->shown_oldest_ns;
    if (sink->new_head > sink->shown_handed)
        numbers.behind_rows = (uint64_t)(sink->new_head - sink->shown_handed);
    pthread_mutex_unlock(&sink->lock);
    if (numbers.behind_rows > 0 && oldest > 0 && oldest < now)
        numbers.behind_seconds = (uint64_t)((now - oldest) / 1000000000);
    return numbers;
}

void sink_end(struct sink *sink)
{
    atomic_store(&sink->ending, true);
    wake(sink);
}

void sink_free(struct sink *sink)
{
    pthread_join(sink->thread, NULL);
    pthread_mutex_destroy(&sink->lock);
    close(sink->wake);
    store_reader_close(sink->reader);
    batch_free(&sink->batch);
    buffer_clear(&sink->native);
    fold_free(sink->fold);
    free(sink);
}
