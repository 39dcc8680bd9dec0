/*
 * What is kept of a term once the callback it was valid in is over: a fingerprint to compare by, and
 * what its shape says. No VM is needed to handle these (term.h makes them).
 */
#ifndef CORONER_REASON_H
#define CORONER_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "source.h"

/* Equal terms have equal fingerprints. Different ones differ, but for one pair in 2^64, where both are whole. */
struct fingerprint {
    uint64_t hash;
    bool whole; /* the walk saw all of the term */
};

/** fingerprint_same(a, b): whether the terms behind ${a} and ${b} are taken for the same. */
static inline bool fingerprint_same(struct fingerprint a, struct fingerprint b)
{
    return a.hash == b.hash && a.whole == b.whole;
}

/* What a reason looks like, told without walking it: X(symbol, value of exit.reason_class). */
#define REASON_SHAPES(X) CORONER_REASON_CLASSES(X)

enum reason_shape {
#define X(symbol, name) REASON_##symbol,
    REASON_SHAPES(X)
#undef X
        REASON_SHAPE_COUNT
};

/** reason_shape_name(shape): the name of ${shape} as `exit.reason_class` has it. */
const char *reason_shape_name(enum reason_shape shape);

#endif
