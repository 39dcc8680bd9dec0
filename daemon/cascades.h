/*
 * How many cascades there are and how large they become: an exit that took others along, told by
 * the records of those others. What is remembered is bounded; a cascade that was forgotten, since
 * thousands of others came in between, counts anew when it goes on.
 */
#ifndef CORONER_CASCADES_H
#define CORONER_CASCADES_H

#include <stdint.h>

#include "record.h"

struct cascades;

struct cascade_numbers {
    uint64_t cascades; /* roots that at least one other exit came from */
    uint64_t exits;    /* of such roots and what came from them */
    uint64_t largest;  /* exits of the largest */
};

/*
 * cascades_new():
 * Return an empty memory of cascades.
 */
struct cascades *cascades_new(void);

/*
 * cascades_add(cascades, incarnation, record):
 * Count ${record}, one of ${incarnation}, if its origin is the exit of another process.
 */
void cascades_add(struct cascades *cascades, const char *incarnation, const struct record *record);

/*
 * cascades_numbers(cascades):
 * Return the numbers of this run.
 */
struct cascade_numbers cascades_numbers(const struct cascades *cascades);

/*
 * cascades_free(cascades):
 * Free ${cascades}, which may be NULL.
 */
void cascades_free(struct cascades *cascades);

#endif
