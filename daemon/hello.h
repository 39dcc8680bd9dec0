/*
 * Who is speaking: what a node says of itself in its HELLO frame.
 */
#ifndef CORONER_HELLO_H
#define CORONER_HELLO_H

#include <jansson.h>
#include <stdint.h>

#include "frame.h"

#define HELLO_INCARNATION 16 /* hex digits */
#define HELLO_NODE_MAX 1536  /* bytes of the `node` object as JSON */

struct hello {
    char incarnation[HELLO_INCARNATION + 1];
    char *name; /* of the node */
    char *host;
    char *otp;
    uint64_t os_pid;
    uint64_t first_held;
    uint64_t made;
    json_t *node; /* the `node` object of every record of this incarnation */
    char *line;   /* the same as JSON */
};

/*
 * hello_read(map, why):
 * Read the map of a HELLO frame. Return what it says, to be freed with hello_free, or NULL if
 * something is missing or of the wrong type, and say so in ${why}.
 */
struct hello *hello_read(const json_t *map, char why[FRAME_WHY_SIZE]);

/*
 * hello_free(hello):
 * Free ${hello}, which may be NULL.
 */
void hello_free(struct hello *hello);

#endif
