/*
 * Cursors as clients see them: a place between two records in the order of commit, and the
 * direction in which the reading went. "c1." is the version; what follows is ours to change.
 */
#ifndef CORONER_CURSOR_H
#define CORONER_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#define CURSOR_SIZE 24 /* "c1.d", 16 hex digits, NUL, and then some */

/*
 * cursor_format(row, descending, text):
 * Write the cursor that stands behind ${row} to ${text}.
 */
void cursor_format(int64_t row, bool descending, char text[CURSOR_SIZE]);

/*
 * cursor_parse(text, row, descending):
 * Read ${text}. Return 0, or -1 if it is no cursor.
 */
int cursor_parse(const char *text, int64_t *row, bool *descending);

#endif
