/*
 * What came from the nodes, counted as it is committed, for /metrics. Bounded in memory: the first
 * INGEST_NUMBERS_NODES nodes have series of their own, all that come later share one.
 */
#ifndef CORONER_INGEST_NUMBERS_H
#define CORONER_INGEST_NUMBERS_H

#include <stdint.h>

#include "metrics.h"
#include "store.h"

#define INGEST_NUMBERS_NODES 64

struct ingest_numbers;

/*
 * ingest_numbers_new():
 * Return numbers that are all zero.
 */
struct ingest_numbers *ingest_numbers_new(void);

/*
 * ingest_numbers_node(numbers, name):
 * Return the number that the node ${name} has here.
 */
size_t ingest_numbers_node(struct ingest_numbers *numbers, const char *name);

/*
 * ingest_numbers_committed(numbers, node, change):
 * Count ${change}, which is committed and came from ${node}.
 */
void ingest_numbers_committed(struct ingest_numbers *numbers, size_t node,
                              const struct change *change);

/*
 * ingest_numbers_tell(numbers, page):
 * Add everything to ${page}.
 */
void ingest_numbers_tell(const struct ingest_numbers *numbers, struct metrics_page *page);

/*
 * ingest_numbers_free(numbers):
 * Free ${numbers}, which may be NULL.
 */
void ingest_numbers_free(struct ingest_numbers *numbers);

#endif
