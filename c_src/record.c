#include <string.h>

#include "alloc.h"
#include "record.h"
#include "supervision.h"

struct ancestors *ancestors_new(const term_word *words, size_t count)
{
    struct ancestors *ancestors = memory_zalloc(sizeof(*ancestors));

    if (ancestors == NULL)
        return NULL;
    if (count > RECORD_ANCESTORS)
        count = RECORD_ANCESTORS;
    atomic_init(&ancestors->holders, 1);
    ancestors->count = (uint32_t)count;
    memcpy(ancestors->words, words, count * sizeof(*words));
    return ancestors;
}

struct ancestors *ancestors_hold(struct ancestors *ancestors)
{
    if (ancestors != NULL)
        atomic_fetch_add_explicit(&ancestors->holders, 1, memory_order_relaxed);
    return ancestors;
}

void ancestors_drop(struct ancestors *ancestors)
{
    if (ancestors != NULL &&
        atomic_fetch_sub_explicit(&ancestors->holders, 1, memory_order_acq_rel) == 1)
        memory_free(ancestors);
}

struct record *record_new(void)
{
    struct record *record = memory_zalloc(sizeof(*record));

    if (record != NULL)
        atomic_init(&record->holders, 1);
    return record;
}

struct record *record_hold(struct record *record)
{
    if (record != NULL)
        atomic_fetch_add_explicit(&record->holders, 1, memory_order_relaxed);
    return record;
}

void record_drop(struct record *record)
{
    /* A root has no root of its own, so this goes round at most twice. */
    while (record != NULL &&
           atomic_fetch_sub_explicit(&record->holders, 1, memory_order_acq_rel) == 1) {
        struct record *root = record->root;

        for (uint32_t i = 0; i < record->candidate_count; i++) {
            act_drop(record->candidates[i].act);
            detail_drop(record->candidates[i].detail);
        }
        memory_free(record->candidates);
        memory_free(record->hops);
        act_drop(record->act);
        detail_drop(record->detail);
        supervision_drop(record->supervision);
        text_drop(record->stack);
        text_drop(record->reason);
        ancestors_drop(record->ancestors);
        gap_free(record->gap);
        memory_free(record);
        record = root;
    }
}

const struct record *record_root(const struct record *record)
{
    return record->root != NULL ? record->root : record;
}

void record_follow(struct record *record, struct record *peer)
{
    uint32_t count = peer->hop_count;

    record->depth = peer->depth + 1;
    record->root = record_hold(peer->root != NULL ? peer->root : peer);
    if (peer->root == NULL)
        return; /* the peer is the root: nothing lies between */
    record->hops = memory_alloc((count < RECORD_HOPS ? count + 1 : RECORD_HOPS) * sizeof(struct hop));
    if (record->hops == NULL)
        return;
    if (count < RECORD_HOPS) {
        if (count > 0)
            memcpy(record->hops, peer->hops, count * sizeof(struct hop));
        record->hop_count = count + 1;
    } else {
        /* The first ones stay, the last ones move up by one. */
        memcpy(record->hops, peer->hops, RECORD_HOPS_HEAD * sizeof(struct hop));
        memcpy(record->hops + RECORD_HOPS_HEAD, peer->hops + RECORD_HOPS_HEAD + 1,
               (RECORD_HOPS_TAIL - 1) * sizeof(struct hop));
        record->hop_count = RECORD_HOPS;
    }
    record->hops[record->hop_count - 1] =
        (struct hop){.who = peer->who, .source = peer->source, .seq = peer->seq};
}

size_t record_bytes(const struct record *record)
{
    size_t bytes = sizeof(*record) + record->hop_count * sizeof(struct hop) +
                   record->candidate_count * sizeof(struct record_candidate);

    if (record->reason != NULL)
        bytes += sizeof(*record->reason) + record->reason->length;
    if (record->stack != NULL)
        bytes += sizeof(*record->stack) + record->stack->length;
    if (record->act != NULL)
        bytes += sizeof(*record->act);
    bytes += gap_bytes(record->gap);
    if (record->detail != NULL)
        bytes += sizeof(*record->detail);
    if (record->supervision != NULL)
        bytes += sizeof(*record->supervision);
    return bytes;
}

enum coroner_severity record_severity(enum coroner_source source, enum reason_shape shape)
{
    switch (shape) {
    case REASON_NORMAL:
    case REASON_SHUTDOWN:
    case REASON_RPC_REPLY:
        return CORONER_SEVERITY_INFO;
    case REASON_NOPROC:
    case REASON_NOCONNECTION:
    case REASON_TIMEOUT:
        return CORONER_SEVERITY_WARNING;
    default:
        break;
    }
    switch (source) {
    case CORONER_SOURCE_NOPROC:
    case CORONER_SOURCE_REMOTE_SIGNAL:
    case CORONER_SOURCE_REMOTE_LINK:
        return CORONER_SEVERITY_WARNING;
    case CORONER_SOURCE_STOP_REQUEST:
    case CORONER_SOURCE_NODE_STOP:
        return CORONER_SEVERITY_INFO; /* asked for */
    default:
        return CORONER_SEVERITY_ERROR;
    }
}
