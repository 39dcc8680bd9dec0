/*
 * NDJSON: every record as a line to a file or to stdout.
 *
 * The sink reads the store behind the writer, so what it has not written yet waits there and not in
 * memory. Its cursor is moved after a line is written (a file: after it is on the disk). A daemon
 * that is killed repeats at most what it wrote since the cursor was last saved; of a file, it reads
 * the end when it starts again and repeats nothing.
 */
#ifndef CORONER_SINK_H
#define CORONER_SINK_H

#include <jansson.h>
#include <uv.h>

#include "store.h"
#include "writer.h"

#define SINK_WHY_SIZE 256

struct sink;

/*
 * sink_new(loop, store, reader, writer, path, why):
 * Write to the file ${path} (created with mode 0640), or to stdout if it is "-", from where this
 * sink had come to, or from the beginning of the store. A line that was torn when a daemon was
 * killed is completed, or else removed. ${reader} is the sink's alone and freed with it. Return
 * NULL and say in
 * ${why} what is wrong if it cannot be opened; ${reader} then still belongs to the caller.
 */
struct sink *sink_new(uv_loop_t *loop, struct store *store, struct store_reader *reader,
                      struct writer *writer, const char *path, char why[SINK_WHY_SIZE]);

/*
 * sink_reopen(sink):
 * Open the file anew at the next line: it may have been renamed.
 */
void sink_reopen(struct sink *sink);

/*
 * sink_drain(sink, drained, cookie):
 * Call drained(cookie) once everything in the store is written and the cursor noted, or at once
 * when the sink cannot be written.
 */
void sink_drain(struct sink *sink, void (*drained)(void *cookie), void *cookie);

/*
 * sink_status(sink):
 * Return a new object that says how it goes.
 */
json_t *sink_status(const struct sink *sink);

/*
 * sink_busy(sink):
 * Return whether a thread is writing for the sink at this moment.
 */
bool sink_busy(const struct sink *sink);

/*
 * sink_close(sink):
 * Close, not while busy. The memory is freed when the loop has run on; NULL is fine.
 */
void sink_close(struct sink *sink);

#endif
