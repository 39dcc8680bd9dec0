/*
 * The shape of a record: which parts it has, in which order, what they must hold and of what type
 * their values are. The JSON Schema says the same to the world.
 */
#ifndef CORONER_SHAPE_H
#define CORONER_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

/* What a value may be, as bits. */
#define SHAPE_TEXT 1u
#define SHAPE_INTEGER 2u
#define SHAPE_BOOLEAN 4u
#define SHAPE_OBJECT 8u
#define SHAPE_TEXTS 16u   /* an array of texts */
#define SHAPE_OBJECTS 32u /* an array of maps */
#define SHAPE_ABSENT 64u  /* null, where absence is news */
#define SHAPE_WORD                                                                                 \
    128u /* a text of [a-z_]{1,32}: a value of a list that may be longer than we know */
#define SHAPE_ID 256u /* a text that is the id of a record */

/* The parts of a record, in the order of the contract. */
#define SHAPE_PARTS 8
struct shape_part {
    const char *key;
    unsigned types;
    bool exit_needs;
    bool gap_needs;
};
extern const struct shape_part shape_parts[SHAPE_PARTS];

/*
 * shape_types(key):
 * Return the types of ${key}, wherever in a part it stands; 0 if it may be anything.
 */
unsigned shape_types(const char *key);

/*
 * shape_needs(section, index):
 * Return the name of the ${index}th key, from 0, that ${section} must hold (each element of it,
 * where it is an array of maps), or NULL.
 */
const char *shape_needs(const char *section, size_t index);

/*
 * shape_is_word(text, length), shape_is_id(text, length), shape_is_severity(text, length):
 * Return whether the ${length} bytes of ${text} are a SHAPE_WORD, a SHAPE_ID, a severity.
 */
bool shape_is_word(const char *text, size_t length);
bool shape_is_id(const char *text, size_t length);
bool shape_is_severity(const char *text, size_t length);

/*
 * shape_is_integer(value):
 * Return whether ${value} is an integer, or one of 2^53 or more, which is a string of digits.
 */
bool shape_is_integer(const json_t *value);

/*
 * shape_check(kind, map, why):
 * Return whether the ${map} of a RECORD frame of this ${kind} has the shape of a record; if not,
 * say in ${why} what is wrong.
 */
bool shape_check(uint64_t kind, const json_t *map, char why[FRAME_WHY_SIZE]);

#endif
