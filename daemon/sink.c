#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "log.h"
#include "memory.h"
#include "reply.h"
#include "sink.h"
#include "wire.h"

#define BATCH_BYTES (256 * 1024)
#define RETRY_MS 1000 /* after an error */
#define WAIT_MS 20    /* while a pipe is full */
#define SYNC_MS 1000  /* a file is brought to the disk at most this often */
#define TAIL_BYTES (2 * WIRE_RECORD_JSON_MAX + 1)
#define LINE_START "{\"schema\":\"coroner."

enum outcome { OUTCOME_DONE, OUTCOME_FULL, OUTCOME_ERROR, OUTCOME_BROKEN };

struct sink {
    uv_loop_t *loop;
    struct writer *writer;
    struct store_reader *reader;
    char *name; /* in the store's table of cursors */
    char *path; /* NULL: stdout */
    uv_timer_t retry;
    uv_timer_t sync_timer;
    int open_handles;
    uv_work_t work;
    bool busy;
    bool reopen;   /* asked for */
    bool sync_due; /* the timer ran out */
    bool failing;
    bool broken; /* the reader of a pipe is gone for good */
    bool closing;
    void (*drained)(void *cookie);
    void *drained_cookie;
    int64_t written; /* row up to which everything is written */
    int64_t noted;   /* row up to which the cursor is told to the writer */
    uint64_t lines;

    /* Touched by the thread while busy. */
    int fd;
    bool regular;
    bool is_socket;
    bool job_reopen;
    bool job_sync;
    int64_t job_head;    /* the last row when the job began */
    struct buffer batch; /* whole lines */
    size_t offset;       /* how much of them is written */
    int64_t batch_row;   /* the last one's row */
    uint64_t batch_lines;
    enum outcome outcome;
    char why[SINK_WHY_SIZE];
};

__attribute__((format(printf, 2, 3))) static void say(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, SINK_WHY_SIZE, format, arguments);
    va_end(arguments);
}

static const char *title(const struct sink *sink)
{
    return sink->path != NULL ? sink->path : "stdout";
}

/* ---- opening ---- */

static int open_file(const char *path, char *why)
{
    /* For reading, too: the end is looked at. Not to be held up by a FIFO without a reader. */
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);

    if (fd < 0)
        say(why, "%s: cannot open the output file: %s%s", path, strerror(errno),
            errno == ENOENT ? "; its directory must be there" : "");
    return fd;
}

/*
 * stdout without blocking, and without making it non-blocking for others who share it (a shell): a
 * pipe or terminal is opened anew, which gives a state of its own.
 */
static int open_stdout(char *why)
{
    struct stat status;
    int fd = -1;

    if (fstat(STDOUT_FILENO, &status) != 0) {
        say(why, "stdout: %s", strerror(errno));
        return -1;
    }
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))
        fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        say(why, "stdout: %s", strerror(errno));
    return fd;
}

static void set_fd(struct sink *sink, int fd)
{
    struct stat status;
    bool known = fstat(fd, &status) == 0;

    sink->fd = fd;
    sink->regular = known && S_ISREG(status.st_mode);
    sink->is_socket = known && S_ISSOCK(status.st_mode);
    if (!sink->regular && !sink->is_socket)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* The row of the record whose line, or beginning of a line, this is; 0 if it is none of ours. */
static int64_t row_of(struct sink *sink, const char *line, size_t length)
{
    static const char key[] = "\"id\":\"";
    char incarnation[HELLO_INCARNATION + 1];
    const char *at = memmem(line, length, key, sizeof(key) - 1);
    const char *end = line + length;
    uint64_t seq = 0;

    if (at == NULL)
        return 0;
    at += sizeof(key) - 1;
    if (end - at < HELLO_INCARNATION + 1 || at[HELLO_INCARNATION] != '-')
        return 0;
    memcpy(incarnation, at, HELLO_INCARNATION);
    incarnation[HELLO_INCARNATION] = '\0';
    for (at += HELLO_INCARNATION + 1; at < end && *at >= '0' && *at <= '9'; at++) {
        if (seq > (INT64_MAX - 9) / 10)
            return 0;
        seq = seq * 10 + (uint64_t)(*at - '0');
    }
    /* A number that ends with the text may have been torn itself. */
    if (at == end || *at != '"')
        return 0;
    return store_reader_find(sink->reader, incarnation, seq);
}

struct torn {
    const char *text;
    size_t length;
    int64_t row;
    struct buffer rest; /* what is missing of the line */
};

static bool take_rest(void *cookie, int64_t row, const char *json, size_t length)
{
    struct torn *torn = cookie;

    if (row == torn->row && length >= torn->length && memcmp(json, torn->text, torn->length) == 0) {
        buffer_append(&torn->rest, json + torn->length, length - torn->length);
        buffer_text(&torn->rest, "\n");
    }
    return false;
}

/*
 * A daemon was killed while it wrote this line. Completing it is better than taking it away, since
 * somebody who follows the file has read it already. What is no line of ours only gets its newline.
 */
static int mend(struct sink *sink, const char *text, size_t length, off_t size, char *why)
{
    struct torn torn = {.text = text, .length = length, .row = row_of(sink, text, length)};
    size_t start = sizeof(LINE_START) - 1;
    ssize_t written = 0;
    int result = 0;

    if (torn.row > 0)
        store_reader_rows(sink->reader, torn.row - 1, take_rest, &torn, why);
    if (torn.rest.length > 0) {
        written = write(sink->fd, torn.rest.data, torn.rest.length);
        if (written == (ssize_t)torn.rest.length && sink->written < torn.row)
            sink->written = torn.row;
    } else if (memcmp(text, LINE_START, length < start ? length : start) == 0) {
        result = ftruncate(sink->fd, size - (off_t)length);
    } else {
        written = write(sink->fd, "\n", 1);
    }
    if (written < 0 || result != 0 || (size_t)written < torn.rest.length) {
        say(why, "%s: cannot mend the last line: %s", title(sink), strerror(errno));
        result = -1;
    } else {
        log_info("%s: mended the last line, which a daemon left unfinished", title(sink));
    }
    buffer_clear(&torn.rest);
    return result;
}

/* Look at the end of the file: which record is the last, and is its line whole? */
static int look_at_end(struct sink *sink, char *why)
{
    char tail[TAIL_BYTES];
    struct stat status;
    const char *newline, *line;
    ssize_t length;

    if (fstat(sink->fd, &status) != 0 || status.st_size == 0)
        return 0;
    length = pread(sink->fd, tail, sizeof(tail),
                   status.st_size > (off_t)sizeof(tail) ? status.st_size - (off_t)sizeof(tail) : 0);
    if (length <= 0)
        return 0;

    newline = memrchr(tail, '\n', (size_t)length);
    if (newline != NULL) {
        int64_t row;

        line = newline > tail ? memrchr(tail, '\n', (size_t)(newline - tail)) : NULL;
        line = line != NULL ? line + 1 : tail;
        row = row_of(sink, line, (size_t)(newline - line));
        if (sink->written < row)
            sink->written = row;
        line = newline + 1;
    } else {
        line = tail;
    }
    if (line < tail + length)
        return mend(sink, line, (size_t)(tail + length - line), status.st_size, why);
    return 0;
}

/* ---- writing, on a thread ---- */

static bool take_row(void *cookie, int64_t row, const char *json, size_t length)
{
    struct sink *sink = cookie;

    buffer_append(&sink->batch, json, length);
    buffer_text(&sink->batch, "\n");
    sink->batch_row = row;
    sink->batch_lines++;
    return sink->batch.length < BATCH_BYTES;
}

/*
 * Go back to the beginning of a line that is written in part: the rest would go to another file.
 * What cannot be cut off, as in a FIFO, stays torn there; the new file gets the whole line.
 */
static void back_to_line_start(struct sink *sink)
{
    size_t start = sink->offset;
    struct stat status;

    while (start > 0 && sink->batch.data[start - 1] != '\n')
        start--;
    if (start == sink->offset)
        return;
    if (sink->regular && fstat(sink->fd, &status) == 0 &&
        ftruncate(sink->fd, status.st_size - (off_t)(sink->offset - start)) != 0)
        log_warning("%s: its last line stays unfinished: %s", title(sink), strerror(errno));
    sink->offset = start;
}

static void do_reopen(struct sink *sink)
{
    char why[SINK_WHY_SIZE];
    int fd = open_file(sink->path, why);

    if (fd < 0) {
        log_error("%s; going on with the old one", why);
        return;
    }
    back_to_line_start(sink);
    /* The cursor will say that the old file has it. */
    if (sink->regular && fdatasync(sink->fd) != 0)
        log_error("%s: %s", sink->path, strerror(errno));
    close(sink->fd);
    set_fd(sink, fd);
    log_info("%s: opened anew", sink->path);
}

static enum outcome write_batch(struct sink *sink)
{
    while (sink->offset < sink->batch.length) {
        const char *data = sink->batch.data + sink->offset;
        size_t length = sink->batch.length - sink->offset;
        ssize_t written = sink->is_socket
                              ? send(sink->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : write(sink->fd, data, length);

        if (written >= 0) {
            sink->offset += (size_t)written;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return OUTCOME_FULL;
        } else if (errno != EINTR) {
            say(sink->why, "%s: %s", title(sink), strerror(errno));
            return errno == EPIPE || errno == ECONNRESET ? OUTCOME_BROKEN : OUTCOME_ERROR;
        }
    }
    return OUTCOME_DONE;
}

static void work(uv_work_t *request)
{
    struct sink *sink = request->data;

    if (sink->job_reopen)
        do_reopen(sink);
    if (sink->batch.length == 0 &&
        store_reader_rows(sink->reader, sink->written, take_row, sink, sink->why) != 0) {
        sink->batch.length = 0;
        sink->batch_lines = 0;
        sink->outcome = OUTCOME_ERROR;
        return;
    }
    sink->outcome = write_batch(sink);
    if (sink->outcome == OUTCOME_DONE && sink->job_sync && sink->regular &&
        fdatasync(sink->fd) != 0) {
        say(sink->why, "%s: %s", title(sink), strerror(errno));
        sink->outcome = OUTCOME_ERROR;
    }
}

/* ---- on the loop ---- */

static void step(struct sink *sink);

static void on_retry(uv_timer_t *timer)
{
    step(timer->data);
}

static void on_sync_timer(uv_timer_t *timer)
{
    struct sink *sink = timer->data;

    sink->sync_due = true;
    step(sink);
}

static void tell_drained(struct sink *sink)
{
    void (*drained)(void *cookie) = sink->drained;

    if (drained == NULL)
        return;
    sink->drained = NULL;
    drained(sink->drained_cookie);
}

static void batch_done(struct sink *sink)
{
    if (sink->batch.length > 0) {
        sink->written = sink->batch_row;
        sink->lines += sink->batch_lines;
        sink->batch.length = 0;
        sink->batch_lines = 0;
        sink->offset = 0;
    } else if (sink->written < sink->job_head) {
        /* There are no more rows up to there: row numbers may leave some out. */
        sink->written = sink->job_head;
    }
    if (sink->failing)
        log_info("%s can be written again", title(sink));
    sink->failing = false;
    if (sink->job_sync && sink->noted < sink->written) {
        sink->noted = sink->written;
        writer_cursor(sink->writer, sink->name, sink->noted);
    }
}

static void on_worked(uv_work_t *request, int status)
{
    struct sink *sink = request->data;

    (void)status; /* never cancelled */
    sink->busy = false;
    switch (sink->outcome) {
    case OUTCOME_DONE:
        batch_done(sink);
        break;
    case OUTCOME_FULL:
        uv_timer_start(&sink->retry, on_retry, WAIT_MS, 0);
        break;
    case OUTCOME_ERROR:
        if (!sink->failing)
            log_error("cannot write, trying again each second: %s", sink->why);
        sink->failing = true;
        uv_timer_start(&sink->retry, on_retry, RETRY_MS, 0);
        tell_drained(sink);
        break;
    case OUTCOME_BROKEN:
        log_error("nobody reads any more, no further output in this run: %s", sink->why);
        sink->broken = true;
        tell_drained(sink);
        break;
    }
    step(sink);
}

/* Does what there is to do now, if anything. */
static void step(struct sink *sink)
{
    bool behind = sink->written < writer_head(sink->writer) || sink->batch.length > 0;
    bool unsynced = sink->noted < sink->written;
    bool sync_now = unsynced && (sink->sync_due || sink->drained != NULL);

    if (sink->busy || sink->broken || sink->closing)
        return;
    if (unsynced && !sink->sync_due && !uv_is_active((uv_handle_t *)&sink->sync_timer))
        uv_timer_start(&sink->sync_timer, on_sync_timer, SYNC_MS, 0);
    if (!sink->reopen && uv_is_active((uv_handle_t *)&sink->retry))
        return;
    if (!behind && !sink->reopen && !sync_now) {
        if (!unsynced)
            tell_drained(sink);
        return;
    }

    sink->job_reopen = sink->reopen && sink->path != NULL;
    sink->reopen = false;
    sink->job_sync = sync_now;
    sink->job_head = writer_head(sink->writer);
    sink->sync_due = false;
    sink->busy = true;
    uv_queue_work(sink->loop, &sink->work, work, on_worked);
}

static void on_commit(void *cookie, int64_t head)
{
    (void)head;
    step(cookie);
}

struct sink *sink_new(uv_loop_t *loop, struct store *store, struct store_reader *reader,
                      struct writer *writer, const char *path, char why[SINK_WHY_SIZE])
{
    struct sink *sink = memory_zeroed(sizeof(*sink));
    char full_path[PATH_MAX];
    int fd;

    sink->loop = loop;
    sink->writer = writer;
    sink->reader = reader;
    if (strcmp(path, "-") == 0) {
        sink->name = memory_string("stdout");
        fd = open_stdout(why);
    } else {
        sink->path = memory_string(path);
        fd = open_file(path, why);
    }
    if (fd < 0)
        goto error;
    set_fd(sink, fd);
    if (sink->path != NULL) {
        struct buffer name = {0};

        /* The same file is the same sink, from whatever folder the daemon is started. */
        buffer_text(&name, "file:");
        buffer_text(&name, realpath(path, full_path) != NULL ? full_path : path);
        buffer_append(&name, "", 1);
        sink->name = name.data;
    }
    sink->written = sink->noted = store_cursor(store, sink->name);
    if (sink->path != NULL && sink->regular && look_at_end(sink, why) != 0)
        goto error_fd;

    uv_timer_init(loop, &sink->retry);
    uv_timer_init(loop, &sink->sync_timer);
    sink->retry.data = sink;
    sink->sync_timer.data = sink;
    sink->work.data = sink;
    sink->open_handles = 2;
    writer_on_commit(writer, on_commit, sink);
    step(sink);
    return sink;

error_fd:
    close(sink->fd);
error:
    free(sink->name);
    free(sink->path);
    free(sink);
    return NULL;
}

void sink_reopen(struct sink *sink)
{
    if (sink->path == NULL)
        return;
    sink->reopen = true;
    step(sink);
}

void sink_drain(struct sink *sink, void (*drained)(void *cookie), void *cookie)
{
    sink->drained = drained;
    sink->drained_cookie = cookie;
    if (sink->broken || sink->failing)
        tell_drained(sink);
    else
        step(sink);
}

json_t *sink_status(const struct sink *sink)
{
    const char *state = sink->broken ? "broken" : sink->failing ? "failing" : "ok";

    /* A path need not be UTF-8. */
    return memory_check(json_pack("{so ss sI sI}", "name",
                                  reply_text(sink->name, strlen(sink->name)), "state", state,
                                  "lines", (json_int_t)sink->lines, "behind",
                                  (json_int_t)(writer_head(sink->writer) - sink->written)));
}

bool sink_busy(const struct sink *sink)
{
    return sink->busy;
}

static void on_closed(uv_handle_t *handle)
{
    struct sink *sink = handle->data;

    if (--sink->open_handles > 0)
        return;
    buffer_clear(&sink->batch);
    store_reader_close(sink->reader);
    free(sink->name);
    free(sink->path);
    free(sink);
}

void sink_close(struct sink *sink)
{
    if (sink == NULL)
        return;
    sink->closing = true;
    back_to_line_start(sink);
    close(sink->fd);
    uv_close((uv_handle_t *)&sink->retry, on_closed);
    uv_close((uv_handle_t *)&sink->sync_timer, on_closed);
}
