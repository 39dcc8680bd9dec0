/* What the node wrote, read by libcbor: to be looked into, and rendered as the daemon would render
 * it. */
#ifndef CORONER_TEST_DECODE_H
#define CORONER_TEST_DECODE_H

#include <cbor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** decode(bytes, length): the one item that ${bytes} are, or NULL when they are not exactly one.
 * Freed with cbor_decref. */
cbor_item_t *decode(const uint8_t *bytes, size_t length);

/** decode_at(map, key): the value of the key (enum wire_key) in ${map}, borrowed; NULL when it is
 * not there. */
cbor_item_t *decode_at(const cbor_item_t *map, unsigned key);

/** decode_text_at(map, key): the same for a key that is a text. */
cbor_item_t *decode_text_at(const cbor_item_t *map, const char *key);

/** decode_uint(item): an unsigned integer; fails the test when it is none. */
uint64_t decode_uint(const cbor_item_t *item);

/** decode_is(item, text): whether ${item} is the text ${text}. NULL is not. */
bool decode_is(const cbor_item_t *item, const char *text);

/** decode_json(item, length): ${item} as JSON, keys by WIRE_KEYS, in memory of libc; fails the test
 * on what wire.h forbids. */
char *decode_json(const cbor_item_t *item, size_t *length);

#endif
