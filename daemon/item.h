/*
 * CBOR, one item at a time. A thin pull reader over libcbor's streaming decoder, which allocates
 * nothing and checks every length against what is there. Only the items of common/wire.h exist.
 */
#ifndef CORONER_ITEM_H
#define CORONER_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum item_type {
    ITEM_UNSIGNED, /* number: the value */
    ITEM_TEXT,     /* text, length: the bytes, inside what is read; not checked to be UTF-8 */
    ITEM_ARRAY,    /* number: how many items follow */
    ITEM_MAP,      /* number: how many pairs follow */
    ITEM_BOOLEAN,  /* number: 0 or 1 */
    ITEM_NULL,
    ITEM_OTHER /* something that does not occur on this wire */
};

struct item {
    enum item_type type;
    uint64_t number;
    const char *text;
    size_t length;
};

struct item_reader {
    const unsigned char *data;
    size_t length;
    size_t offset; /* of the next item */
};

/*
 * item_next(reader, item):
 * Read the next item's head (and a text's bytes) to *${item}. Return false if the data ends before
 * the item does or is no CBOR.
 */
bool item_next(struct item_reader *reader, struct item *item);

#endif
