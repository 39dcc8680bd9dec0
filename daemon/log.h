/*
 * The daemon's own log: one line an event, to stderr.
 */
#ifndef CORONER_LOG_H
#define CORONER_LOG_H

/*
 * log_info, log_warning, log_error(format, ...):
 * Write one line to stderr: time (UTC), level, then the formatted text; under the systemd journal
 * the priority, as <N>, then the text. Control characters and what is no UTF-8, which may have come
 * from a peer, are shown as '?', and a line ends after 1 KiB. When far too many come, all but
 * errors are left out and counted; so are the lines that do not fit while nobody reads stderr. For
 * any thread; never waits for stderr, never fails.
 */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * log_end(milliseconds):
 * Wait until stderr has taken what was logged, but not longer than ${milliseconds}. Before the end.
 */
void log_end(unsigned milliseconds);

#endif
