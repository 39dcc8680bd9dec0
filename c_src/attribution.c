#include "attribution.h"

/* How a piece of evidence can have caused the exit. */
enum fit {
    FIT_NONE,
    FIT_SIGNAL,  /* the VM ended it for this: no code of its own had a say */
    FIT_TRAPPED, /* the signal became a message; then it ended itself with the same reason */
    FIT_OWN      /* it ended itself */
};

/*
 * How exit signals work (handle_exit_signal, erl_proc_sig_queue.c, OTP 25): exit(P, kill) ends P whatever
 * it traps, and shows as `killed`; any other signal with a reason but `normal` ends it with that reason
 * unless it traps; `normal` ends nobody but a process that sent it to itself. A link's signal counts only
 * while the link stands: unlink/1 makes the receiver drop it.
 */
static enum fit fit_of(const struct exit_facts *facts, const struct evidence_facts *evidence)
{
    bool same = fingerprint_same(facts->reason, evidence->reason);

    switch (evidence->kind) {
    case EVIDENCE_SIGNAL:
        if (evidence->is_kill)
            return facts->shape == REASON_KILLED ? FIT_SIGNAL : FIT_NONE;
        if (!same || (evidence->shape == REASON_NORMAL && !evidence->is_self))
            return FIT_NONE;
        return facts->trapping ? FIT_TRAPPED : FIT_SIGNAL;
    case EVIDENCE_LINKED:
        return same && evidence->still_linked && !facts->trapping && evidence->shape != REASON_NORMAL
                   ? FIT_SIGNAL
                   : FIT_NONE;
    case EVIDENCE_TRAPPED:
        return same && facts->time_ns - evidence->time_ns <= ATTRIBUTION_TRAPPED_AGE_NS ? FIT_TRAPPED
                                                                                        : FIT_NONE;
    case EVIDENCE_EXIT:
    case EVIDENCE_RAISE:
        return same ? FIT_OWN : FIT_NONE;
    }
    return FIT_NONE;
}

static enum coroner_source source_of(const struct evidence_facts *evidence)
{
    switch (evidence->kind) {
    case EVIDENCE_SIGNAL:
        if (evidence->is_self)
            return CORONER_SOURCE_SELF_EXIT;
        if (evidence->is_purge)
            return CORONER_SOURCE_PURGE;
        return evidence->is_kill ? CORONER_SOURCE_KILL : CORONER_SOURCE_EXIT_SIGNAL;
    case EVIDENCE_LINKED:
        return CORONER_SOURCE_LINK;
    case EVIDENCE_TRAPPED:
        return CORONER_SOURCE_LINK_TRAPPED;
    default:
        return CORONER_SOURCE_SELF_EXIT;
    }
}

/* What a process did by itself, as its last word (NULL where there is none) or else the shape of its reason tells it. */
static enum coroner_source own_source(const struct exit_facts *facts,
                                      const struct evidence_facts *own)
{
    switch (facts->shape) {
    case REASON_NORMAL:
    case REASON_RPC_REPLY:
        return CORONER_SOURCE_NORMAL;
    case REASON_ERROR:
    case REASON_THROW:
        /* exit/1 can be called with what looks like an uncaught error. */
        if (own != NULL && own->by_call)
            return CORONER_SOURCE_SELF_EXIT;
        return facts->shape == REASON_ERROR ? CORONER_SOURCE_SELF_ERROR : CORONER_SOURCE_SELF_THROW;
    default:
        return CORONER_SOURCE_SELF_EXIT;
    }
}

/* Adds to the candidates; the first becomes the verdict's own. What does not fit is only not listed. */
static void add_candidate(struct verdict *verdict, enum coroner_source source, int evidence)
{
    if (verdict->candidates == ATTRIBUTION_CANDIDATES)
        return;
    verdict->candidate[verdict->candidates].source = (uint8_t)source;
    verdict->candidate[verdict->candidates].evidence = evidence;
    verdict->candidates++;
}

/* Adds all evidence that fits in the way `fit`, the earliest (or the latest) first; only the parent's if `parents`. */
static void add_fitting(struct verdict *verdict, const struct exit_facts *facts,
                        const struct evidence_facts *evidence, size_t count, enum fit fit,
                        bool latest_first, bool parents)
{
    bool taken[64] = {false};

    if (count > sizeof(taken))
        count = sizeof(taken);
    for (;;) {
        int best = -1;

        for (size_t i = 0; i < count; i++) {
            /* gen_server:start/3, without a link, makes a server its own parent. */
            if (taken[i] || (parents && !evidence[i].is_parent && !evidence[i].is_self) ||
                fit_of(facts, &evidence[i]) != fit)
                continue;
            if (best < 0 || (latest_first ? evidence[i].time_ns > evidence[best].time_ns
                                          : evidence[i].time_ns < evidence[best].time_ns))
                best = (int)i;
        }
        if (best < 0)
            return;
        taken[best] = true;
        add_candidate(verdict, source_of(&evidence[best]), best);
    }
}

struct verdict attribute(const struct exit_facts *facts, const struct evidence_facts *evidence,
                         size_t count)
{
    struct verdict verdict = {.source = CORONER_SOURCE_UNKNOWN,
                              .confidence = CORONER_CONFIDENCE_UNKNOWN,
                              .evidence = ATTRIBUTION_NO_EVIDENCE};
    enum coroner_confidence sure = CORONER_CONFIDENCE_OBSERVED;
    const struct evidence_facts *own_word;
    int own = ATTRIBUTION_NO_EVIDENCE;
    size_t signals;

    for (size_t i = 0; i < count; i++)
        if (fit_of(facts, &evidence[i]) == FIT_OWN &&
            (own < 0 || evidence[i].time_ns > evidence[own].time_ns))
            own = (int)i;
    own_word = own < 0 ? NULL : &evidence[own];

    /* Signals end a process at once, so the first that fits is the likeliest. */
    add_fitting(&verdict, facts, evidence, count, FIT_SIGNAL, false, false);
    signals = verdict.candidates;
    if (signals > 0) {
        /*
         * It may have called exit with the very reason as well. If that was after the signal had been
         * sent, it most likely got there first; an earlier call it must have caught.
         */
        if (own >= 0) {
            struct candidate self = {.source = (uint8_t)own_source(facts, own_word), .evidence = own};

            if (evidence[own].time_ns > evidence[verdict.candidate[0].evidence].time_ns) {
                if (verdict.candidates < ATTRIBUTION_CANDIDATES)
                    verdict.candidates++;
                for (size_t i = verdict.candidates - 1; i > 0; i--)
                    verdict.candidate[i] = verdict.candidate[i - 1];
                verdict.candidate[0] = self;
            } else {
                add_candidate(&verdict, self.source, own);
            }
        }
    } else {
        /* Where its stack shows that it was the parent's exit, what came from others is no candidate. */
        bool proven = own_word != NULL && own_word->from_parent;

        if (proven)
            add_fitting(&verdict, facts, evidence, count, FIT_TRAPPED, true, true);
        if (verdict.candidates == 0)
            add_fitting(&verdict, facts, evidence, count, FIT_TRAPPED, true, false);
        if (verdict.candidates > 0 && !proven) {
            /*
             * That it stopped because of the message is inferred from the equal reason. `shutdown` and
             * `normal` anybody may choose for himself. Where it is ambiguous anyway, what it said itself
             * belongs on the list.
             */
            sure = CORONER_CONFIDENCE_INFERRED;
            if (facts->shape == REASON_SHUTDOWN || facts->shape == REASON_NORMAL ||
                (verdict.candidates > 1 && own >= 0))
                add_candidate(&verdict, own_source(facts, own_word), own);
        } else if (verdict.candidates > 0) {
            /* Proven. */
        } else if (own >= 0) {
            add_candidate(&verdict, own_source(facts, own_word), own);
        } else if (facts->shape == REASON_NORMAL || facts->shape == REASON_ERROR ||
                   facts->shape == REASON_THROW || facts->shape == REASON_RPC_REPLY) {
            /* An uncaught error of a plain process makes no event of its own; its reason says it. */
            add_candidate(&verdict, own_source(facts, own_word), ATTRIBUTION_NO_EVIDENCE);
        }
    }

    if (verdict.candidates == 0)
        return verdict;
    verdict.source = verdict.candidate[0].source;
    verdict.evidence = verdict.candidate[0].evidence;
    if (verdict.candidates > 1) {
        verdict.confidence = CORONER_CONFIDENCE_AMBIGUOUS;
        return verdict;
    }
    /* With evidence gone, a single cause that fits need not be the only one there was. */
    if (facts->evidence_lost && sure == CORONER_CONFIDENCE_OBSERVED &&
        verdict.source != CORONER_SOURCE_NORMAL) {
        verdict.confidence = CORONER_CONFIDENCE_AMBIGUOUS;
        return verdict;
    }
    verdict.candidates = 0;
    verdict.confidence = (uint8_t)sure;
    return verdict;
}
