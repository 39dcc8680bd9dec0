/*
 * Lines to stderr that wait for nobody.
 *
 * stderr may be a pipe, a socket or a terminal whose other end has stopped reading. O_NONBLOCK on
 * it would hold for everybody who shares it, so a pipe or a terminal is opened anew, and a socket
 * is asked not to wait each time. What it does not take stays in a bounded buffer, which a thread
 * hands on once there is room.
 */
#ifndef CORONER_LOG_OUTPUT_H
#define CORONER_LOG_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * log_output_is_journal():
 * Return whether stderr is the stream that systemd says leads to its journal.
 */
bool log_output_is_journal(void);

/*
 * log_output_put(line, length):
 * Write ${length} bytes of ${line}, at most 4096, or keep them until they can be written; if very
 * much is kept already, or stderr is broken, they are lost and counted.
 */
void log_output_put(const char *line, size_t length);

/*
 * log_output_lost():
 * Return how many lines were lost since the last call.
 */
unsigned log_output_lost(void);

/*
 * log_output_flush(milliseconds):
 * Wait until everything is written, but not longer than ${milliseconds}.
 */
void log_output_flush(unsigned milliseconds);

#endif
