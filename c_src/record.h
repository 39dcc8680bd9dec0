/*
 * The record of one exit: what is known of the process, the verdict, and the way back to the origin.
 *
 * It is made once, inside the exit callback, out of words, numbers and short texts; afterwards it never
 * changes but for `seq` (given by the journal before anybody else sees the record) and the journal's own
 * links. Those who may hold it at the same time: the journal, the evidence on linked processes, and the
 * records further down the same cascade (as their root). The last to drop it frees it, on any thread.
 */
#ifndef CORONER_RECORD_H
#define CORONER_RECORD_H

#include <stdatomic.h>

#include "act.h"
#include "cbor.h"
#include "gap.h"
#include "detail.h"
#include "reason.h"
#include "source.h"
#include "text.h"

/* A cascade's record names its first and last hops; what lies between is only counted. */
#define RECORD_HOPS_HEAD 7
#define RECORD_HOPS_TAIL 7
#define RECORD_HOPS (RECORD_HOPS_HEAD + RECORD_HOPS_TAIL)
#define RECORD_ANCESTORS 8
#define RECORD_CANDIDATES 8

/* Bytes of a record's map as JSON: what is left of WIRE_RECORD_JSON_MAX for schema, id, time, node and lost_before. */
#define RECORD_JSON_MAX 6600
/* Bytes that a record's map as CBOR can take. */
#define RECORD_CBOR_MAX 8192

struct hop {
    struct who who;
    uint8_t source; /* enum coroner_source */
    uint64_t seq;   /* of its record, 0 when it has none */
};

/* Ancestors as proc_lib keeps them: pids or registered names, the parent first. Shared by siblings. */
struct ancestors {
    atomic_uint holders;
    uint32_t count;
    term_word words[RECORD_ANCESTORS];
};

/** ancestors_new(words, count): a list of the first RECORD_ANCESTORS of ${words}, one holder; NULL without memory. */
struct ancestors *ancestors_new(const term_word *words, size_t count);

/** ancestors_hold(ancestors), ancestors_drop(ancestors): as text_hold and text_drop. */
struct ancestors *ancestors_hold(struct ancestors *ancestors);
void ancestors_drop(struct ancestors *ancestors);

struct record_candidate {
    uint8_t source;  /* enum coroner_source */
    struct who via;  /* the linked peer, if there is one */
    struct act *act; /* or the act; may be NULL */
    struct detail *detail; /* or what else it was; may be NULL */
    uint64_t seq;    /* of the peer's record, 0 when it has none */
};

struct record {
    atomic_uint holders;
    struct gap *gap; /* what it tells, and of the rest only severity and times are set; NULL: an exit */

    uint8_t source;     /* enum coroner_source */
    uint8_t confidence; /* enum coroner_confidence */
    uint8_t severity;   /* enum coroner_severity */
    uint8_t shape;      /* enum reason_shape */
    bool trapping;
    bool evidence_lost;
    bool only_class; /* reason_detail = class: no text of the reason leaves the node */

    struct who who;
    term_word parent;
    struct ancestors *ancestors; /* may be NULL */
    uint64_t time_ns;            /* since the epoch */
    uint64_t monotonic_ns;
    uint64_t age_us;
    bool age_known;

    struct fingerprint print;
    struct text *reason;   /* text, or a term's bytes; NULL without memory, or where it is an atom: */
    term_word reason_atom; /* else NO_WORD */
    struct text *stack;    /* likewise; may be NULL */
    bool stack_in_reason;  /* it is the second element of the reason, which is all there */

    struct who via;       /* whose exit came over the link; pid NO_WORD when none did */
    struct act *act;      /* who did it; may be NULL */
    struct detail *detail; /* what else it was; may be NULL */
    struct supervision *supervision; /* why a supervisor ended itself; may be NULL */
    struct record *root;  /* the record of the cascade's origin; NULL when this is it */
    uint32_t depth;       /* hops from the root; 0 is the root */
    uint32_t hop_count;   /* of `hops`: those between the root and this one, without both */
    struct hop *hops;

    uint32_t candidate_count;
    struct record_candidate *candidates;

    /* The journal's, under its lock. */
    uint64_t seq; /* 0: not in the journal */
    struct record *next, *previous;             /* in order of seq */
    struct record *class_next, *class_previous; /* unsent ones of one severity class */
    struct record *pid_next, **pid_place;       /* in the hash chains: the next, and what points here */
    struct record *name_next, **name_place;
    bool in_class;
};

/** record_new(): an empty record with one holder, or NULL without memory. */
struct record *record_new(void);

/** record_hold(record): one holder more. Returns ${record}. NULL is allowed. */
struct record *record_hold(struct record *record);

/** record_drop(record): one holder less; the last one frees it and what it holds. NULL is a no-op. */
void record_drop(struct record *record);

/**
 * record_follow(record, peer): makes ${record} the next hop of the cascade that ${peer} belongs to: its root,
 * its depth and its hops. Without memory for the hops they are left out; the root is always set.
 */
void record_follow(struct record *record, struct record *peer);

/** record_root(record): the record of the origin: its root, or itself. */
const struct record *record_root(const struct record *record);

/** record_bytes(record): the memory that ${record} takes, what it shares with others not counted. */
size_t record_bytes(const struct record *record);

/** record_severity(source, shape): the severity of an exit of this ${source} with a reason of this ${shape}. */
enum coroner_severity record_severity(enum coroner_source source, enum reason_shape shape);

/**
 * record_encode(record, intern, incarnation, cbor): writes the map that stands in a RECORD frame
 * (common/wire.h), with `id`s made of ${incarnation} (16 hex digits). What it takes as JSON is at most
 * RECORD_JSON_MAX, whatever the record holds: texts and lists are shortened as far as that needs. Any thread.
 */
void record_encode(const struct record *record, const struct intern *intern,
                   const char *incarnation, struct cbor_writer *cbor);

#endif
