/*
 * Lines on standard output. What is written to a pipe is not yet read by anybody: at most what the
 * pipe held is lost when its reader is killed, and nothing tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "sink_stream.h"

#define CONFIRM_MS 1000

/*
 * stdout without blocking, and without making it non-blocking for others who share it (a shell): a
 * pipe or terminal is opened anew, which gives a state of its own.
 */
static int open_stdout(void)
{
    struct stat status;
    int fd = -1;

    if (fstat(STDOUT_FILENO, &status) != 0)
        return -1;
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode))
        fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return fd;
}

static void *stdout_open(struct sink_context *context, char *why)
{
    struct sink_stream *stream;
    int fd = open_stdout();

    (void)context;
    if (fd < 0) {
        sink_say(why, "stdout: %s", strerror(errno));
        return NULL;
    }
    stream = memory_zeroed(sizeof(*stream));
    sink_stream_set(stream, fd);
    return stream;
}

static enum sink_outcome stdout_write(void *state, struct sink_batch *batch, char *why)
{
    return sink_stream_write(state, batch, batch->data.length, why);
}

static enum sink_outcome stdout_confirm(void *state, int64_t handed, int64_t *safe, char *why)
{
    (void)state;
    (void)why;
    *safe = handed;
    return SINK_DONE;
}

static int stdout_poll(void *state, bool full, struct pollfd *set)
{
    return sink_stream_poll(state, full, set);
}

static void stdout_close(void *state, struct sink_batch *batch, bool drained)
{
    struct sink_stream *stream = state;

    (void)batch;
    (void)drained;
    close(stream->fd);
    free(stream);
}

const struct sink_driver sink_stdout = {.open = stdout_open,
                                        .write = stdout_write,
                                        .confirm = stdout_confirm,
                                        .confirm_ms = CONFIRM_MS,
                                        .poll = stdout_poll,
                                        .close = stdout_close};
