/*
 * Frames of the ingest protocol (common/wire.h): bytes in, decoded frame out. No sockets here.
 */
#ifndef CORONER_FRAME_H
#define CORONER_FRAME_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define FRAME_HEADER 4                        /* bytes of the length before each frame */
#define FRAME_WHY_SIZE 160                    /* bytes of a sentence that says what is wrong */
#define FRAME_ITEMS_MAX 8192                  /* CBOR items in one frame */
#define FRAME_INTEGER_MAX ((uint64_t)1 << 53) /* from here on integers become strings of digits */

enum frame_split { FRAME_READY, FRAME_INCOMPLETE, FRAME_BAD };

/* Which members are set depends on the type; see wire.h. */
struct frame {
    enum wire_frame type;
    uint64_t version;     /* HELLO */
    uint64_t seq;         /* RECORD */
    uint64_t time_ns;     /* RECORD */
    uint64_t lost_before; /* RECORD */
    uint64_t kind;        /* RECORD: one of enum wire_kind */
    uint64_t made;        /* COUNTERS, BYE */
    json_t *map;          /* HELLO of our version, RECORD, COUNTERS: an object; else NULL */
};

/*
 * frame_split(data, length, body_length, why):
 * Look for a whole frame at the start of ${data}. If there is one, return FRAME_READY and set
 * *${body_length}: the body begins at data + FRAME_HEADER. If the length cannot be right, return
 * FRAME_BAD and say so in ${why}.
 */
enum frame_split frame_split(const unsigned char *data, size_t length, size_t *body_length,
                             char why[FRAME_WHY_SIZE]);

/*
 * frame_decode(body, length, frame, why):
 * Decode the ${length} bytes of one frame sent by a node. Return 0 and fill ${frame}, which the
 * caller clears with frame_clear; or return -1 and say in ${why} what is wrong. Texts become valid
 * UTF-8, integers above 2^53 - 1 become strings, unknown integer keys are left out.
 */
int frame_decode(const unsigned char *body, size_t length, struct frame *frame,
                 char why[FRAME_WHY_SIZE]);

/*
 * frame_clear(frame):
 * Release what ${frame} holds. Harmless on a frame that is all zero.
 */
void frame_clear(struct frame *frame);

/*
 * frame_key_name(key):
 * Return the name of the ${key} of WIRE_KEYS, or NULL if there is none.
 */
const char *frame_key_name(uint64_t key);

#define FRAME_ACK_SIZE (FRAME_HEADER + 12)
#define FRAME_ERROR_SIZE (FRAME_HEADER + 8 + FRAME_WHY_SIZE)

/*
 * frame_ack(seq, out), frame_error(text, out):
 * Write the frame to ${out} and return its length. A text longer than FRAME_WHY_SIZE is cut.
 */
size_t frame_ack(uint64_t seq, unsigned char out[FRAME_ACK_SIZE]);
size_t frame_error(const char *text, unsigned char out[FRAME_ERROR_SIZE]);

#endif
