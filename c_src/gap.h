/*
 * A gap: a time in which exits were not seen, or not all. It stands in the journal as a record of
 * its own kind, so that a reader of exits is told of it in its place among them.
 */
#ifndef CORONER_GAP_H
#define CORONER_GAP_H

#include "cbor.h"
#include "text.h"

/* Bytes of the two texts that are kept; with them a gap takes at most 4,500 bytes as JSON. */
#define GAP_WHY_MAX 512
#define GAP_DETAIL_MAX 1024

struct gap {
    uint64_t from_ns;    /* since the epoch: the last moment that all was known to be well */
    uint64_t to_ns;      /* 0 while it lasts: another record tells its end */
    struct text *why;    /* for people */
    struct text *detail; /* what was affected */
};

/**
 * gap_new(from_ns, to_ns, why, why_length, detail, detail_length): a gap; what of the texts is too
 * long, is cut, and what in them is no UTF-8 or a control character becomes '?'. NULL without
 * memory.
 */
struct gap *gap_new(uint64_t from_ns, uint64_t to_ns, const unsigned char *why, size_t why_length,
                    const unsigned char *detail, size_t detail_length);

/** gap_free(gap): frees it. NULL is a no-op. */
void gap_free(struct gap *gap);

/** gap_bytes(gap): the memory that ${gap} takes; 0 for NULL. */
size_t gap_bytes(const struct gap *gap);

/** gap_encode(gap, cbor): writes the map that stands in a RECORD frame of kind GAP (common/wire.h).
 * Any thread. */
void gap_encode(const struct gap *gap, struct cbor_writer *cbor);

#endif
