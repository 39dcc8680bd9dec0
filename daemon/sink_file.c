/*
 * Lines in a file, for a shipper to follow.
 *
 * What is in the file is read when the daemon starts: its end tells which record is the last, so a
 * daemon that was killed repeats nothing, and a line that it left unfinished is completed. Rotation
 * happens between two lines: the file is brought to the disk, the old ones move up (.1 to .2 and so
 * on), the file becomes .1, a new one begins. Killed at any step of that, the last record is at the
 * end of the file, or, while that is missing or empty, of .1.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hello.h"
#include "log.h"
#include "memory.h"
#include "render.h"
#include "sink_stream.h"
#include "wire.h"

#define SYNC_MS 1000 /* a file is brought to the disk at most this often */
/* A line in another rendering is longer: at most so many times. */
#define TAIL_BYTES ((size_t)16 * WIRE_RECORD_JSON_MAX)

struct file {
    const struct sink_settings *settings;
    struct store_reader *reader; /* while it opens */
    struct sink_stream stream;
    uint64_t size;
    int64_t last; /* the last record found in the file */
};

/* ---- opening ---- */

static const char *path_of(const struct file *file)
{
    return file->settings->path;
}

static int open_file(const struct file *file, char *why)
{
    /* For reading, too: the end is looked at. Not to be held up by a FIFO without a reader. */
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    const struct sink_settings *settings = file->settings;
    int fd = open(settings->path, flags);

    if (fd < 0 && errno == ENOENT) {
        fd = open(settings->path, flags | O_CREAT | O_EXCL, settings->mode & 0600);
        if (fd < 0 && errno == EEXIST)
            return open_file(file, why);
        /* Whoever may read it may do so from the beginning, whatever the umask. */
        if (fd >= 0 &&
            ((settings->group != (gid_t)-1 && fchown(fd, (uid_t)-1, settings->group) != 0) ||
             fchmod(fd, settings->mode) != 0)) {
            sink_say(why, "%s: cannot give it its group and mode: %s", settings->path,
                     strerror(errno));
            close(fd);
            unlink(settings->path);
            return -1;
        }
    }
    if (fd < 0)
        sink_say(why, "%s: cannot open the output file: %s%s", settings->path, strerror(errno),
                 errno == ENOENT ? "; its directory must be there" : "");
    return fd;
}

static void set_fd(struct file *file, int fd)
{
    struct stat status;

    sink_stream_set(&file->stream, fd);
    file->size = fstat(fd, &status) == 0 && status.st_size > 0 ? (uint64_t)status.st_size : 0;
}

/* ---- the end of what is there ---- */

/* The row of the record whose line, or beginning of a line, this is; 0 if it is none of ours. */
static int64_t row_of(const struct file *file, const char *line, size_t length, char *why)
{
    const char *key = render_id_key(file->settings->format);
    char incarnation[HELLO_INCARNATION + 1];
    const char *at = memmem(line, length, key, strlen(key));
    const char *end = line + length;
    uint64_t seq = 0;

    if (at == NULL)
        return 0;
    at += strlen(key);
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
    return store_reader_find(file->reader, incarnation, seq, why);
}

struct torn {
    enum sink_format format;
    const char *text;
    size_t length;
    int64_t row;
    struct buffer line;
};

static bool take_torn(void *cookie, int64_t row, const char *json, size_t length)
{
    struct torn *torn = cookie;

    if (row == torn->row)
        render_line(torn->format, json, length, &torn->line);
    return false;
}

/*
 * A daemon was killed while it wrote this line. Completing it is better than taking it away, since
 * somebody who follows the file has read it already. What is no line of ours only gets its newline.
 */
static int mend(struct file *file, const char *text, size_t length, off_t size, char *why)
{
    struct torn torn = {.format = file->settings->format,
                        .text = text,
                        .length = length,
                        .row = row_of(file, text, length, why)};
    const char *start = render_start(file->settings->format);
    size_t start_length = strlen(start);
    ssize_t written = 0, wanted = 0;
    int result = 0;

    if (torn.row < 0)
        return -1;
    if (torn.row > 0)
        store_reader_rows(file->reader, torn.row - 1, take_torn, &torn, why);
    if (torn.line.length > length && memcmp(torn.line.data, text, length) == 0) {
        wanted = (ssize_t)(torn.line.length - length);
        written = write(file->stream.fd, torn.line.data + length, (size_t)wanted);
        if (written == wanted && file->last < torn.row)
            file->last = torn.row;
    } else if (memcmp(text, start, length < start_length ? length : start_length) == 0) {
        result = ftruncate(file->stream.fd, size - (off_t)length);
    } else {
        wanted = 1;
        written = write(file->stream.fd, "\n", 1);
    }
    buffer_clear(&torn.line);
    if (written != wanted || result != 0) {
        sink_say(why, "%s: cannot mend the last line: %s", path_of(file),
                 written >= 0 && result == 0 ? "it was written in part" : strerror(errno));
        return -1;
    }
    log_info("%s: mended the last line, which a daemon left unfinished", path_of(file));
    return 0;
}

/* Read the last bytes of a file. Returns how many, and sets *${size} to the size of the file. */
static ssize_t read_tail(int fd, char *tail, off_t *size)
{
    struct stat status;

    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
        return 0;
    *size = status.st_size;
    return pread(fd, tail, TAIL_BYTES,
                 status.st_size > (off_t)TAIL_BYTES ? status.st_size - (off_t)TAIL_BYTES : 0);
}

/* Looks at the last whole line of a tail. Returns where what comes behind it begins, or -1. */
static ssize_t look_at_line(struct file *file, const char *tail, size_t length, char *why)
{
    const char *newline = memrchr(tail, '\n', length);
    const char *line;
    int64_t row;

    if (newline == NULL)
        return 0;
    line = newline > tail ? memrchr(tail, '\n', (size_t)(newline - tail)) : NULL;
    line = line != NULL ? line + 1 : tail;
    row = row_of(file, line, (size_t)(newline - line), why);
    if (row < 0)
        return -1;
    if (file->last < row)
        file->last = row;
    return newline + 1 - tail;
}

/* Which record is the last, and is its line whole? */
static int look_at_end(struct file *file, char *why)
{
    char *tail = memory_get(TAIL_BYTES);
    off_t size = 0;
    ssize_t length = read_tail(file->stream.fd, tail, &size);
    ssize_t line;
    int result = 0;

    if (length > 0) {
        line = look_at_line(file, tail, (size_t)length, why);
        if (line < 0)
            result = -1;
        else if (line < length)
            result = mend(file, tail + line, (size_t)(length - line), size, why);
    }
    free(tail);
    return result;
}

static char *old_name(const struct file *file, unsigned number)
{
    char *name = NULL;

    if (asprintf(&name, "%s.%u", path_of(file), number) < 0)
        name = NULL;
    return memory_check(name);
}

/* A daemon was killed in the middle of a rotation, or right after it. */
static int look_at_rotated(struct file *file, char *why)
{
    char *tail = memory_get(TAIL_BYTES), *name = old_name(file, 1);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t length, line = 0;
    off_t size;

    if (fd >= 0) {
        length = read_tail(fd, tail, &size);
        if (length > 0)
            line = look_at_line(file, tail, (size_t)length, why);
        close(fd);
    }
    free(name);
    free(tail);
    return line < 0 ? -1 : 0;
}

/* So that a new file's name survives a power cut, too. */
static void sync_folder(const struct file *file)
{
    char *path = memory_string(path_of(file));
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        log_warning("%s: its folder cannot be brought to the disk: %s", path_of(file),
                    strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
}

static void *file_open(struct sink_context *context, char *why)
{
    struct file *file = memory_zeroed(sizeof(*file));
    int fd;

    file->settings = context->settings;
    file->reader = context->reader;
    fd = open_file(file, why);
    if (fd < 0)
        goto error;
    set_fd(file, fd);
    if (file->stream.regular) {
        sync_folder(file);
        if (look_at_end(file, why) != 0)
            goto error_fd;
        set_fd(file, fd); /* its size may have changed */
        if (file->size == 0 && file->settings->rotate_bytes > 0 && look_at_rotated(file, why) != 0)
            goto error_fd;
        /*
         * Where lines are folded, the last line does not say that all rows before it are told of:
         * some may have been counted for a summary that never came. Only the cursor knows.
         */
        if (!file->settings->fold && context->cursor < file->last)
            context->cursor = file->last;
    }
    file->reader = NULL;
    return file;

error_fd:
    close(fd);
error:
    free(file);
    return NULL;
}

/* ---- rotation ---- */

/* Moves the old files up. What is missing leaves a place that the next one takes. */
static int move_up(const struct file *file)
{
    unsigned keep = file->settings->rotate_keep > 0 ? file->settings->rotate_keep : 1;
    unsigned free_place = 1;
    int result = 0;

    /* No further than needed: a name that is free ends the row. */
    for (; free_place < keep; free_place++) {
        char *name = old_name(file, free_place);
        bool taken = access(name, F_OK) == 0;

        free(name);
        if (!taken)
            break;
    }
    for (unsigned number = free_place; number > 0 && result == 0; number--) {
        char *to = old_name(file, number);
        char *from = number > 1 ? old_name(file, number - 1) : memory_string(path_of(file));

        result = rename(from, to);
        free(from);
        free(to);
    }
    return result;
}

static enum sink_outcome rotate(struct file *file, char *why)
{
    int fd;

    /* The file behind the name may be another one by now; then there is nothing to rotate. */
    struct stat ours, theirs;
    bool same = fstat(file->stream.fd, &ours) == 0 && stat(path_of(file), &theirs) == 0 &&
                ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;

    if (fdatasync(file->stream.fd) != 0) {
        sink_say(why, "%s: %s", path_of(file), strerror(errno));
        return SINK_BACK;
    }
    if (same && move_up(file) != 0) {
        sink_say(why, "%s: cannot rotate: %s", path_of(file), strerror(errno));
        return SINK_ERROR;
    }
    fd = open_file(file, why);
    if (fd < 0)
        return SINK_ERROR;
    close(file->stream.fd);
    set_fd(file, fd);
    sync_folder(file);
    return SINK_DONE;
}

/* The end of the lines that still fit the file; that of the first line if the file is empty. */
static size_t fitting_end(const struct file *file, const struct sink_batch *batch)
{
    uint64_t limit = file->settings->rotate_bytes;
    size_t start = batch->offset;
    size_t end = start;

    if (limit == 0 || !file->stream.regular)
        return batch->data.length;
    for (size_t i = batch->next; i < batch->count; i++) {
        size_t line_end = batch->lines[i].end;

        /* A line that is begun is finished. */
        if (file->size + (line_end - start) > limit && !(i == batch->next && file->size == 0) &&
            !(i == batch->next && start > sink_line_start(batch)))
            break;
        end = line_end;
    }
    return end;
}

/* ---- what a sink asks for ---- */

static enum sink_outcome file_write(void *state, struct sink_batch *batch, char *why)
{
    struct file *file = state;
    enum sink_outcome outcome = SINK_DONE;

    while (outcome == SINK_DONE && batch->offset < batch->data.length) {
        size_t end = fitting_end(file, batch);
        size_t before = batch->offset;

        if (end == before) {
            outcome = rotate(file, why);
            continue;
        }
        outcome = sink_stream_write(&file->stream, batch, end, why);
        file->size += batch->offset - before;
    }
    if (outcome == SINK_ERROR || outcome == SINK_END) {
        char what[SINK_WHY_SIZE];

        snprintf(what, sizeof(what), "%s", why);
        if (strncmp(what, path_of(file), strlen(path_of(file))) != 0)
            sink_say(why, "%.128s: %.120s", path_of(file), what);
        /* Another reader may come to a FIFO. */
        outcome = SINK_ERROR;
    }
    return outcome;
}

static enum sink_outcome file_confirm(void *state, int64_t handed, int64_t *safe, char *why)
{
    struct file *file = state;

    if (file->stream.regular && fdatasync(file->stream.fd) != 0) {
        /* The kernel may have dropped what it could not write: an error is told once only. */
        sink_say(why, "%s: %s", path_of(file), strerror(errno));
        return SINK_BACK;
    }
    *safe = handed;
    return SINK_DONE;
}

static int file_poll(void *state, bool full, struct pollfd *set)
{
    struct file *file = state;

    return sink_stream_poll(&file->stream, full, set);
}

/*
 * Go back to the beginning of a line that is written in part: the rest would go to another file.
 * What cannot be cut off, as in a FIFO, stays torn there; the new file gets the whole line.
 */
static void back_to_line_start(struct file *file, struct sink_batch *batch)
{
    size_t start = sink_line_start(batch);
    struct stat status;

    if (batch->offset <= start)
        return;
    if (file->stream.regular && fstat(file->stream.fd, &status) == 0 &&
        ftruncate(file->stream.fd, status.st_size - (off_t)(batch->offset - start)) != 0)
        log_warning("%s: its last line stays unfinished: %s", path_of(file), strerror(errno));
    batch->offset = start;
}

static void file_reopen(void *state, struct sink_batch *batch)
{
    struct file *file = state;
    char why[SINK_WHY_SIZE];
    int fd = open_file(file, why);

    if (fd < 0) {
        log_error("%s; going on with the old one", why);
        return;
    }
    back_to_line_start(file, batch);
    /* The cursor will say that the old file has it. */
    if (file->stream.regular && fdatasync(file->stream.fd) != 0)
        log_error("%s: %s", path_of(file), strerror(errno));
    close(file->stream.fd);
    set_fd(file, fd);
    sync_folder(file);
    log_info("%s: opened anew", path_of(file));
}

static void file_close(void *state, struct sink_batch *batch, bool drained)
{
    struct file *file = state;

    (void)drained;
    back_to_line_start(file, batch);
    close(file->stream.fd);
    free(file);
}

const struct sink_driver sink_file = {.open = file_open,
                                      .write = file_write,
                                      .confirm = file_confirm,
                                      .confirm_ms = SYNC_MS,
                                      .poll = file_poll,
                                      .reopen = file_reopen,
                                      .close = file_close};
