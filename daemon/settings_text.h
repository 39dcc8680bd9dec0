/*
 * The text of a config file before libconfuse sees it.
 *
 * libconfuse 3.3 counts lines wrongly after a comment, takes a section that is not closed for a
 * closed one, and begins the next file inside of a string that was not closed in the last. So the
 * comments are taken out here, and what is open at the end is an error with the line it began in.
 */
#ifndef CORONER_SETTINGS_TEXT_H
#define CORONER_SETTINGS_TEXT_H

#include <stddef.h>

/*
 * settings_text_read(path, length, why, size):
 * Read the file ${path}: a regular file of at most SETTINGS_FILE_MAX bytes that not everybody may
 * write to. Return its bytes, to be freed by the caller, and their number in *${length}; or return
 * NULL and say in ${why}, which has ${size} bytes, what is wrong, ${path} included.
 */
char *settings_text_read(const char *path, size_t *length, char *why, size_t size);

/*
 * settings_text_clean(text, length, name, why, size):
 * Overwrite the comments among the ${length} bytes of ${text} with blanks and look at what is left.
 * Return 0, or -1 and say in ${why}, which has ${size} bytes, what is wrong, as NAME:LINE: ...
 */
int settings_text_clean(char *text, size_t length, const char *name, char *why, size_t size);

#endif
