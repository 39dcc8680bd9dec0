/*
 * Writing a batch to a descriptor: a file, a pipe, a socket.
 */
#ifndef CORONER_SINK_STREAM_H
#define CORONER_SINK_STREAM_H

#include "sink_driver.h"

/* Who is written to. */
struct sink_stream {
    int fd;
    bool regular;
    bool is_socket;
};

/*
 * sink_stream_set(stream, fd):
 * Take ${fd}. A pipe or device does not block from now on.
 */
void sink_stream_set(struct sink_stream *stream, int fd);

/*
 * sink_stream_write(stream, batch, end, why):
 * Write the batch from batch->offset to the offset ${end}.
 */
enum sink_outcome sink_stream_write(const struct sink_stream *stream, struct sink_batch *batch,
                                    size_t end, char *why);

/*
 * sink_stream_poll(stream, full, set):
 * Fill ${set} for sink_driver.poll. Return how many.
 */
int sink_stream_poll(const struct sink_stream *stream, bool full, struct pollfd *set);

#endif
