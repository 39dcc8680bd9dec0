/*
 * Any facts and any evidence, sensible or not: the verdict keeps the promises of attribution.h,
 * does not depend on the order of the evidence, and lists no evidence that cannot have been the
 * cause.
 */
#include <string.h>

#include "attribution.h"
#include "bytes.h"

#define EVIDENCE_MAX 80
#define SECOND UINT64_C(1000000000)
#define NOW (1000 * SECOND)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A few, so that some are the same. */
static struct fingerprint print_from(uint8_t byte)
{
    return (struct fingerprint){.hash = byte >> 1 & 3, .whole = (byte & 1) == 0};
}

/* An enum's value: mostly one that there is. */
static uint8_t value_from(struct bytes *bytes, uint8_t count)
{
    uint8_t byte = bytes_u8(bytes);

    return byte < 0xe0 ? byte % count : byte;
}

/* Mostly within the minutes before the exit; also after it, and at any time at all. */
static uint64_t time_from(struct bytes *bytes)
{
    uint16_t when = bytes_u16(bytes);

    return when == UINT16_MAX ? bytes_u64(bytes) : NOW + 2 * SECOND - when * (SECOND / 200);
}

static struct exit_facts facts_from(struct bytes *bytes)
{
    uint16_t flags = bytes_u16(bytes);

    return (struct exit_facts){.reason = print_from(bytes_u8(bytes)),
                               .shape = value_from(bytes, REASON_SHAPE_COUNT),
                               .trapping = flags & 1,
                               .evidence_lost = flags >> 1 & 1,
                               .in_proc_lib = flags >> 2 & 1,
                               .linked_to_dead = flags >> 3 & 1,
                               .has_decided = flags >> 4 & 1,
                               .is_crasher = flags >> 5 & 1,
                               .is_distributed = flags >> 6 & 1,
                               .time_ns = flags >> 15 ? bytes_u64(bytes) : NOW};
}

static struct evidence_facts evidence_from(struct bytes *bytes)
{
    uint16_t flags = bytes_u16(bytes);

    return (struct evidence_facts){.kind = value_from(bytes, EVIDENCE_LIMIT + 1),
                                   .as = flags >> 15 ? value_from(bytes, CORONER_SOURCE_COUNT) : 0,
                                   .is_kill = flags & 1,
                                   .is_self = flags >> 1 & 1,
                                   .may_be_lost = flags >> 2 & 1,
                                   .still_linked = flags >> 3 & 1,
                                   .is_parent = flags >> 4 & 1,
                                   .from_parent = flags >> 5 & 1,
                                   .from_stop = flags >> 6 & 1,
                                   .by_call = flags >> 7 & 1,
                                   .shape = value_from(bytes, REASON_SHAPE_COUNT),
                                   .reason = print_from((uint8_t)(flags >> 8)),
                                   .time_ns = time_from(bytes)};
}

/* Whether `one` can have had to do with the exit, by the rules of Erlang alone. */
static bool can_have_caused(const struct exit_facts *facts, const struct evidence_facts *one)
{
    bool same = fingerprint_same(facts->reason, one->reason);

    switch (one->kind) {
    case EVIDENCE_SIGNAL:
        return one->is_kill ? facts->shape == REASON_KILLED
                            : same && (one->shape != REASON_NORMAL || one->is_self);
    case EVIDENCE_LINKED:
        return same && one->still_linked && !facts->trapping && one->shape != REASON_NORMAL;
    case EVIDENCE_PORT:
        /* One that was trapped is no link any more, whether the process still traps or not. */
        return same && !(one->still_linked && facts->trapping) && one->shape != REASON_NORMAL;
    case EVIDENCE_TRAPPED:
        return same && one->time_ns <= facts->time_ns &&
               facts->time_ns - one->time_ns <= ATTRIBUTION_TRAPPED_AGE_NS;
    case EVIDENCE_EXIT:
    case EVIDENCE_RAISE:
    case EVIDENCE_STOP:
        return same;
    case EVIDENCE_HEAP:
        return facts->shape == REASON_KILLED;
    case EVIDENCE_DEAD:
        return facts->shape == REASON_NOPROC && !facts->trapping;
    case EVIDENCE_REMOTE:
        return !facts->trapping;
    case EVIDENCE_UNSEEN:
        return facts->shape != REASON_NORMAL &&
               (one->still_linked
                    ? !facts->trapping
                    : one->time_ns <= facts->time_ns &&
                          facts->time_ns - one->time_ns <= ATTRIBUTION_TRAPPED_AGE_NS);
    default:
        return false; /* LIMIT is no cause, and what there is no word for none either */
    }
}

static void check_cause(const struct exit_facts *facts, const struct evidence_facts *all,
                        size_t count, uint8_t source, int evidence)
{
    must(source < CORONER_SOURCE_COUNT);
    must(evidence == ATTRIBUTION_NO_EVIDENCE || (evidence >= 0 && (size_t)evidence < count));
    if (evidence >= 0)
        must(can_have_caused(facts, &all[evidence]));
}

static void check_verdict(const struct exit_facts *facts, const struct evidence_facts *all,
                          size_t count, const struct verdict *verdict)
{
    must(verdict->confidence < CORONER_CONFIDENCE_COUNT);
    must(verdict->candidates <= ATTRIBUTION_CANDIDATES);
    check_cause(facts, all, count, verdict->source, verdict->evidence);
    must((verdict->source == CORONER_SOURCE_UNKNOWN) ==
         (verdict->confidence == CORONER_CONFIDENCE_UNKNOWN));
    if (verdict->source == CORONER_SOURCE_UNKNOWN)
        must(verdict->evidence == ATTRIBUTION_NO_EVIDENCE);
    must((verdict->confidence == CORONER_CONFIDENCE_AMBIGUOUS) == (verdict->candidates > 0));
    if (verdict->candidates > 0) {
        must(verdict->candidate[0].source == verdict->source);
        must(verdict->candidate[0].evidence == verdict->evidence);
    }
    for (size_t i = 0; i < verdict->candidates; i++) {
        const struct candidate *one = &verdict->candidate[i];

        check_cause(facts, all, count, one->source, one->evidence);
        must(one->source != CORONER_SOURCE_UNKNOWN);
        for (size_t j = 0; j < i; j++)
            must(one->evidence == ATTRIBUTION_NO_EVIDENCE
                     ? one->source != verdict->candidate[j].source
                     : one->evidence != verdict->candidate[j].evidence);
    }
    /* With evidence gone nothing is certain, but that it was done, or that the VM found its heap
     * too large. */
    if (facts->evidence_lost && verdict->confidence == CORONER_CONFIDENCE_OBSERVED)
        must(verdict->source == CORONER_SOURCE_NORMAL ||
             verdict->source == CORONER_SOURCE_MAX_HEAP_SIZE);
}

/* The same verdict of the same evidence in another order: `from[i]` is where piece i was before. */
static void check_same(const struct verdict *verdict, const struct verdict *other, const int *from)
{
#define BEFORE(evidence) ((evidence) < 0 ? (evidence) : from[evidence])
    must(verdict->source == other->source && verdict->confidence == other->confidence);
    must(verdict->evidence == BEFORE(other->evidence));
    must(verdict->candidates == other->candidates);
    for (size_t i = 0; i < verdict->candidates; i++) {
        must(verdict->candidate[i].source == other->candidate[i].source);
        must(verdict->candidate[i].evidence == BEFORE(other->candidate[i].evidence));
    }
#undef BEFORE
}

static void check_order(const struct exit_facts *facts, const struct evidence_facts *all,
                        size_t count, const struct verdict *verdict, uint64_t seed)
{
    struct evidence_facts shuffled[EVIDENCE_MAX + 1];
    struct verdict other;
    int from[EVIDENCE_MAX + 1];

    /* Beyond that only the first are weighed. */
    if (count > ATTRIBUTION_EVIDENCE)
        return;
    for (size_t i = 0; i < count; i++) {
        from[i] = (int)i;
        for (size_t j = 0; j < i; j++)
            if (all[i].time_ns == all[j].time_ns)
                return; /* of equal times any may be the first */
    }
    for (size_t i = count; i > 1; i--) {
        size_t at;
        int moved = from[i - 1];

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
        at = (seed >> 33) % i;
        from[i - 1] = from[at];
        from[at] = moved;
    }
    for (size_t i = 0; i < count; i++)
        shuffled[i] = all[from[i]];
    other = attribute(facts, shuffled, count);
    check_same(verdict, &other, from);

    /* A limit is nothing that can end a process. */
    if (count < ATTRIBUTION_EVIDENCE) {
        for (size_t i = 0; i < count; i++)
            from[i + 1] = (int)i;
        shuffled[0] = (struct evidence_facts){.kind = EVIDENCE_LIMIT, .reason = facts->reason};
        memcpy(shuffled + 1, all, count * sizeof(*all));
        from[0] = ATTRIBUTION_NO_EVIDENCE;
        other = attribute(facts, shuffled, count + 1);
        check_same(verdict, &other, from);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {.at = data, .left = size};
    struct evidence_facts all[EVIDENCE_MAX];
    struct exit_facts facts = facts_from(&bytes);
    uint64_t seed = bytes_u8(&bytes);
    struct verdict verdict;
    size_t count = 0;

    while (count < EVIDENCE_MAX && bytes.left > 0)
        all[count++] = evidence_from(&bytes);
    verdict = attribute(&facts, all, count);
    check_verdict(&facts, all, count, &verdict);
    check_order(&facts, all, count, &verdict, seed);
    return 0;
}
