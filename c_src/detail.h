/*
 * What an exit's cause was when it is no process of this node: a port, a heap, a process that was dead or is
 * elsewhere. Immutable once made; shared by evidence, records and candidates.
 */
#ifndef CORONER_DETAIL_H
#define CORONER_DETAIL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "word.h"

struct detail {
    atomic_uint holders;
    term_word port;  /* of PORT */
    term_word title; /* of PORT: its name, an atom: a driver's name or a command; may be NO_WORD */
    term_word node;  /* of NOCONNECTION and the REMOTE ones, an atom; NO_WORD where it is not known */
    /* Of NOPROC a local pid, of the others another node's pid: number and serial, as <node.number.serial>. */
    term_word target;
    uint32_t target_number, target_serial;
    bool has_remote_target;
    bool has_size, has_limit;
    uint64_t size_words, limit_words; /* of MAX_HEAP_SIZE */
};

/** detail_new(): all of it empty, one holder; NULL without memory. */
struct detail *detail_new(void);

/** detail_hold(detail), detail_drop(detail): as act_hold and act_drop. */
struct detail *detail_hold(struct detail *detail);
void detail_drop(struct detail *detail);

#endif
