/*
 * The daemon's own log: one line an event, to stderr.
 */
#ifndef CORONER_LOG_H
#define CORONER_LOG_H

/*
 * log_info, log_warning, log_error(format, ...):
 * Write one line to stderr: time (UTC), level, then the formatted text. Control characters and what
 * is no UTF-8, which may have come from a peer, are shown as '?', and a line ends after 1 KiB. When
 * far too many come, all but errors are left out and counted. Never blocks on a lock, never fails.
 */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
