/*
 * What each source of an exit is in words.
 */
#ifndef CORONER_CTL_CAUSE_H
#define CORONER_CTL_CAUSE_H

#include <jansson.h>

#include "ctl_text.h"

/* One exit whose cause is to be told. */
struct ctl_cause {
    const json_t *record; /* where names of processes are looked up */
    const char *source;   /* what caused it, one of common/source.h or newer */
    const json_t
        *detail[3];   /* objects that hold its fields, the first that has one counts; or NULL */
    const char *peer; /* pid of the linked process that it came from, or NULL */
    const json_t
        *peer_named; /* object with that process's name or initial_call, or NULL: look it up */
};

/**
 * ctl_cause_happened(text, cause):
 * Append what happened to the process, as the rest of a sentence that begins with it: "was killed
 * by the purge of old code of module m".
 */
void ctl_cause_happened(struct ctl_text *text, const struct ctl_cause *cause);

/**
 * ctl_cause_because(text, cause, number):
 * Append the further fact ${number} (from 0) about ${cause}, as a sentence of its own: "purge
 * requested by <0.41.0> release_handler". Return false, with nothing appended, if there is none
 * with this number.
 */
bool ctl_cause_because(struct ctl_text *text, const struct ctl_cause *cause, int number);

#endif
