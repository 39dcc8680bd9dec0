/*
 * From a RECORD frame to its line in one go, for the records that nodes send: well formed, of keys
 * that we know, and short enough. It allocates once, where the way over a tree (frame_decode and
 * record_make) allocates a hundred times; what it makes is the same, byte for byte. Everything else
 * it leaves to that way, which also knows what is wrong with it.
 */
#ifndef CORONER_TRANSCODE_H
#define CORONER_TRANSCODE_H

#include <stddef.h>

#include "hello.h"
#include "record.h"

/*
 * transcode(body, length, hello):
 * Make the record of the ${length} bytes of a frame, sent by the node that said ${hello}. Return
 * it, to be freed with free, or NULL if the frame must be decoded as a tree.
 */
struct record *transcode(const unsigned char *body, size_t length, const struct hello *hello);

#endif
