/*
 * Points in time as nanoseconds since 1970-01-01T00:00:00Z, and as text (RFC 3339, UTC). Depends on
 * nothing else of the daemon.
 */
#ifndef CORONER_TIMESTAMP_H
#define CORONER_TIMESTAMP_H

#include <stdint.h>

#define TIMESTAMP_SIZE 31 /* "2026-11-23T15:46:33.094688123Z" and its NUL */

/*
 * timestamp_now():
 * Return the time of day.
 */
int64_t timestamp_now(void);

/*
 * timestamp_format(ns, text):
 * Write ${ns}, which is not negative, to ${text} with nine digits of fraction.
 */
void timestamp_format(int64_t ns, char text[TIMESTAMP_SIZE]);

/*
 * timestamp_parse(text, now, ns):
 * Read ${text}: RFC 3339 with any offset and up to nine digits of fraction, or "now", or a span
 * before
 * ${now} as "-90s", "-15m", "-1h", "-7d". Return 0 and set *${ns}, or -1 if it is none of these or
 * before 1970.
 */
int timestamp_parse(const char *text, int64_t now, int64_t *ns);

#endif
