/*
 * A term as bytes: what is kept of one when the callback in which it is valid is over. term.c makes them, within its bounds;
 * text is made of them later, by whoever reads the record: the process that died does not pay for it. Equal terms have equal
 * bytes, so they are what a fingerprint is made of.
 *
 * Each item is a tag and what belongs to it. Numbers are of 7 bits a byte, the lowest first, the highest bit of a byte says
 * that more follow. Bytes that end before their term does are of one that was cut.
 */
#ifndef CORONER_FLAT_H
#define CORONER_FLAT_H

#include "reason.h"
#include "text.h"

#define FLAT_MAX 5120 /* bytes; see term.c for what bounds them */
#define FLAT_DEPTH_MAX 24

enum flat_tag {
    FLAT_ATOM = 1,   /* number: its word */
    FLAT_PID,        /* number: the word of a local pid or port */
    FLAT_UINT,       /* number */
    FLAT_NEGATIVE,   /* number: the magnitude */
    FLAT_FLOAT,      /* 8 bytes, as the machine has them */
    FLAT_PRINTED,    /* number: bytes; and these, as the VM prints a reference, a fun, another node's pid, a large integer */
    FLAT_BIGNUM,     /* an integer too large to be looked at */
    FLAT_BINARY,     /* number: its bytes; number: those that are here; and these */
    FLAT_BITSTRING,  /* not whole bytes */
    FLAT_STRING,     /* number: bytes; and these, UTF-8: a list of printable characters */
    FLAT_STRING_CUT, /* the same, the beginning of a longer one */
    FLAT_NIL,
    FLAT_TUPLE, /* number: arity; the elements */
    FLAT_LIST,  /* the elements; then FLAT_END, or FLAT_TAIL, the tail and FLAT_END */
    FLAT_TAIL,
    FLAT_END,
    FLAT_MAP,  /* number: pairs; key and value of each */
    FLAT_DEEP, /* a container, too deep to be looked at */
    FLAT_OTHER /* a type that this VM has and we do not know */
};

/** flat_put_number(at, number): writes ${number}, at most 10 bytes, to ${at}. Returns how many. */
static inline size_t flat_put_number(uint8_t *at, uint64_t number)
{
    size_t used = 0;

    for (; number >= 0x80; number >>= 7)
        at[used++] = (uint8_t)(number | 0x80);
    at[used++] = (uint8_t)number;
    return used;
}

/** flat_hash(bytes, length): a hash of them. */
uint64_t flat_hash(const uint8_t *bytes, size_t length);

/** flat_new(bytes, length): a text that holds a term's bytes (its `is_flat`); NULL without memory. */
struct text *flat_new(const uint8_t *bytes, size_t length);

/** flat_format(bytes, length, writer): appends the term in Erlang syntax, as ~tp would, cut where it is or where there is no room. */
void flat_format(const uint8_t *bytes, size_t length, struct text_writer *writer);

/**
 * flat_format_stack(bytes, length, in_reason, writer): the term, or if ${in_reason} the second element of it, is a stack trace:
 * appends it as lines `module:function/arity (file:line)`, at most FLAT_FRAMES, without a newline at the end, whole lines only.
 */
void flat_format_stack(const uint8_t *bytes, size_t length, bool in_reason, struct text_writer *writer);

#define FLAT_FRAMES 12

#endif
