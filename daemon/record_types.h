/*
 * What the values of a record may be, for the two ways that make a line of it: record.c, which
 * takes every record, and transcode.c, which takes most of them and is fast.
 */
#ifndef CORONER_RECORD_TYPES_H
#define CORONER_RECORD_TYPES_H

#include <stddef.h>

#include "wire.h"

#define RECORD_TEXT 1u
#define RECORD_INTEGER 2u
#define RECORD_BOOLEAN 4u
#define RECORD_OBJECT 8u
#define RECORD_TEXTS 16u   /* an array of texts */
#define RECORD_OBJECTS 32u /* an array of maps */
#define RECORD_ABSENT 64u  /* null, where absence is news */
#define RECORD_WORD 128u   /* [a-z_]{1,32}: a value of a list that may be longer than we know */
#define RECORD_ID 256u     /* a text that is the id of a record */

#define RECORD_LINE_MAX (WIRE_RECORD_JSON_MAX - 1) /* bytes without the newline */

/*
 * record_types_of(key):
 * Return what the value of ${key} may be, wherever it stands below the first level; 0 is anything.
 */
unsigned record_types_of(const char *key);

/*
 * record_module_length(call):
 * Return how many bytes of "module:function/arity" are the module, which may be quoted.
 */
size_t record_module_length(const char *call);

#endif
