/*
 * Cuts a record that is too long until it fits.
 *
 * The node sees to it that its records fit. But a byte that is no UTF-8 becomes three, and a node
 * may be wrong: its record is then cut and says so, since a record that is cut tells more than
 * none.
 */
#ifndef CORONER_SHRINK_H
#define CORONER_SHRINK_H

#include <jansson.h>
#include <stddef.h>

#define SHRINK_FLOOR 6144 /* bytes that every record can be cut to */

/*
 * shrink(line, out, size):
 * Cut the record ${line} until it takes at most ${size} bytes, which is at least SHRINK_FLOOR, as
 * compact JSON; write that to ${out} without a NUL and return its length. The longest texts and
 * arrays go first; who died, of what and when stays. exit.truncated becomes true.
 */
size_t shrink(json_t *line, char *out, size_t size);

#endif
