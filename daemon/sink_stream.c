#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink_stream.h"

void sink_stream_set(struct sink_stream *stream, int fd)
{
    struct stat status;
    bool known = fstat(fd, &status) == 0;

    stream->fd = fd;
    stream->regular = known && S_ISREG(status.st_mode);
    stream->is_socket = known && S_ISSOCK(status.st_mode);
    if (!stream->regular && !stream->is_socket)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

enum sink_outcome sink_stream_write(const struct sink_stream *stream, struct sink_batch *batch,
                                    size_t end, char *why)
{
    while (batch->offset < end) {
        const char *data = batch->data.data + batch->offset;
        size_t length = end - batch->offset;
        ssize_t written = stream->is_socket
                              ? send(stream->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : write(stream->fd, data, length);

        if (written >= 0) {
            sink_advance(batch, (size_t)written);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return SINK_FULL;
        } else if (errno != EINTR) {
            sink_say(why, "%s", strerror(errno));
            return errno == EPIPE || errno == ECONNRESET ? SINK_END : SINK_ERROR;
        }
    }
    return SINK_DONE;
}

int sink_stream_poll(const struct sink_stream *stream, bool full, struct pollfd *set)
{
    if (!full)
        return 0;
    *set = (struct pollfd){.fd = stream->fd, .events = POLLOUT};
    return 1;
}
