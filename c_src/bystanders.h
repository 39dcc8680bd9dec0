/*
 * Registered processes that are outside the scope: they are not in the ledger, and still it is to
 * be said who they are when they end somebody. Looked up once a second from Erlang, and replaced as
 * a whole.
 */
#ifndef CORONER_BYSTANDERS_H
#define CORONER_BYSTANDERS_H

#include <stdbool.h>
#include <stddef.h>

#include "act.h"

struct bystanders;

/** bystanders_new(): nobody. NULL without memory. */
struct bystanders *bystanders_new(void);

/** bystanders_free(bystanders): frees it; nobody may use it any more. NULL is a no-op. */
void bystanders_free(struct bystanders *bystanders);

/** bystanders_set(bystanders, who, count): these, and nobody else. ${who} is memory_alloc's and
 * handed over; NULL for none. */
void bystanders_set(struct bystanders *bystanders, struct who *who, size_t count);

/** bystanders_find(bystanders, who): fills in name and initial call of ${who}'s pid, if it is one.
 * Returns whether it is. */
bool bystanders_find(struct bystanders *bystanders, struct who *who);

#endif
