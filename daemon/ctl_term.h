/*
 * Terms in Erlang's external format, as they come from a node: checked once against the end of the
 * buffer, then read. libei's own decoders trust the buffer; these do not have to.
 */
#ifndef CORONER_CTL_TERM_H
#define CORONER_CTL_TERM_H

#include <stdbool.h>
#include <stddef.h>

#include "ctl_text.h"

/* One well-formed term, within a longer buffer or not; the bytes belong to the caller. */
struct ctl_term {
    const unsigned char *bytes;
    size_t length;
};

/**
 * ctl_term_take(bytes, length, term):
 * Check that the ${length} ${bytes} begin with a well-formed term (without the version byte) and
 * put it into ${term}. Return 0, or -1 if they do not. Whatever the bytes are, it takes time in
 * proportion to ${length} and no stack.
 */
int ctl_term_take(const unsigned char *bytes, size_t length, struct ctl_term *term);

/**
 * ctl_term_is_atom(term, name):
 * Return whether ${term} is the atom ${name} (ASCII).
 */
bool ctl_term_is_atom(struct ctl_term term, const char *name);

/**
 * ctl_term_element(term, arity, number, element):
 * Put element ${number} (from 0) of ${term} into ${element}. Return 0, or -1 if ${term} is no tuple
 * of
 * ${arity} elements (any number of them if ${arity} is negative) or has no such element.
 */
int ctl_term_element(struct ctl_term term, int arity, int number, struct ctl_term *element);

/**
 * ctl_term_map_get(term, key, value):
 * Put what the map ${term} has under the atom ${key} into ${value}. Return 0, or -1 if ${term} is
 * no map or has no such key.
 */
int ctl_term_map_get(struct ctl_term term, const char *key, struct ctl_term *value);

/**
 * ctl_term_integer(term, number):
 * Put the integer ${term} into ${number}. Return 0, or -1 if it is none or does not fit.
 */
int ctl_term_integer(struct ctl_term term, long long *number);

/**
 * ctl_term_bytes(term, buffer, size):
 * Copy a binary, an atom, or a list of bytes ("string") into the ${size} bytes of ${buffer} and
 * terminate it; what does not fit is cut off. Return the number of bytes copied, or -1 if ${term}
 * is none of them.
 */
int ctl_term_bytes(struct ctl_term term, char *buffer, size_t size);

/**
 * ctl_term_show(text, term):
 * Append ${term} to ${text} the way Erlang would write it, harmlessly, cut to what a person reads.
 */
void ctl_term_show(struct ctl_text *text, struct ctl_term term);

#endif
