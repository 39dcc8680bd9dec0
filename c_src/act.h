/*
 * An act: something a process did that can end another (or itself), and where in its code it did so.
 * Immutable once made, shared by the evidence on the victims and by their records.
 */
#ifndef CORONER_ACT_H
#define CORONER_ACT_H

#include <stdatomic.h>

#include "intern.h"
#include "text.h"
#include "word.h"

enum operation { OPERATION_NONE, OPERATION_PURGE, OPERATION_LOAD, OPERATION_ON_LOAD };

/* A process as it was known when it mattered: it may be gone when the record is read. */
struct who {
    term_word pid;
    term_word name;        /* registered name, or NO_WORD */
    uint32_t initial_call; /* number in the intern tables */
};

/* A place in the code, as {caller_line} of a match specification gives it. */
struct site {
    uint32_t function; /* intern number of the caller; INTERN_NONE when there is none */
    uint32_t file;     /* intern number */
    uint32_t line;
};

struct supervision;

struct act {
    atomic_uint holders;
    uint8_t operation; /* enum operation; not NONE for a purge */
    bool by_sigterm;   /* the node's handler of SIGTERM did it */
    struct who by;
    term_word by_node;     /* the node behind them, an atom; NO_WORD: this one */
    struct site site;      /* where they called from */
    uint32_t function;     /* what they called, intern number */
    term_word module;      /* that is being purged */
    term_word application; /* that is being stopped */
    struct supervision *supervision; /* why a supervisor did it; held, may be NULL */
};

/** act_new(): an act with one holder, all of it empty, or NULL without memory. */
struct act *act_new(void);

/** act_hold(act): one holder more. Returns ${act}. NULL is allowed. */
struct act *act_hold(struct act *act);

/** act_drop(act): one holder less; the last one frees it. NULL is a no-op. */
void act_drop(struct act *act);

#endif
