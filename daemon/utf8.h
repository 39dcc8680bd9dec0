/*
 * Text from a peer, made into UTF-8 whatever it is.
 */
#ifndef CORONER_UTF8_H
#define CORONER_UTF8_H

#include <stddef.h>

#include "buffer.h"

/*
 * utf8_clean(text, length, out):
 * Append ${length} bytes of ${text} to ${out}, each maximal part that is not valid UTF-8 (RFC 3629:
 * no surrogates, nothing overlong, nothing above U+10FFFF) replaced by U+FFFD.
 */
void utf8_clean(const char *text, size_t length, struct buffer *out);

/*
 * utf8_length(text, length):
 * Return how many of the ${length} bytes of ${text}, at least one, the first character takes; 0 if
 * they do not begin with valid UTF-8, or with U+0000.
 */
size_t utf8_length(const char *text, size_t length);

/*
 * utf8_floor(text, length):
 * Return the largest n <= ${length} so that the first n bytes of the valid UTF-8 ${text} end with a
 * whole character. text[length] is read if ${length} is not its end.
 */
size_t utf8_floor(const char *text, size_t length);

#endif
