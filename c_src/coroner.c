#include "coroner.h"

/* Together what the end of a node may wait. */
#define HALT_DRAIN_MS 150
#define HALT_LEAVE_MS 50

void coroner_last_words(struct coroner *coroner)
{
    /* A halt that comes to nothing (bad arguments) is followed by others: each is the last again after a record. */
    uint64_t made = journal_counts(coroner->journal).made;

    if (atomic_exchange(&coroner->spoken_at, made + 1) == made + 1)
        return;
    (void)uplink_drain(coroner->uplink, HALT_DRAIN_MS);
    uplink_leave(coroner->uplink, HALT_LEAVE_MS);
}
