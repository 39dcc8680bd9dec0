/*
 * The quick way from the bytes of a RECORD frame to a record. Nearly every frame is plain: the
 * parts in the contract's order, keys we know, valid UTF-8, a line that fits. Such a frame becomes
 * its line in one pass, with no tree between. Everything else takes the way of frame_decode and
 * record_make, which alone know what is wrong with a frame and how a long record is cut.
 */
#ifndef CORONER_TRANSCODE_H
#define CORONER_TRANSCODE_H

#include <stddef.h>

#include "hello.h"
#include "record.h"

/*
 * transcode(body, length, hello):
 * Return the record in the ${length} bytes of a frame sent by the node that said ${hello}, byte for
 * byte as record_make makes it, to be freed with free; or NULL if the frame is not plain, which
 * says nothing of what it is. For one thread at a time.
 */
struct record *transcode(const unsigned char *body, size_t length, const struct hello *hello);

#endif
