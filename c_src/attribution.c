#include "attribution.h"

/* How a piece of evidence can have caused the exit. */
enum fit {
    FIT_NONE,
    FIT_SIGNAL,  /* the VM ended it for this: no code of its own had a say */
    FIT_TRAPPED, /* the signal became a message; then it ended itself with the same reason */
    FIT_OWN,     /* it ended itself */
    FIT_REMOTE,  /* nothing of it would have been seen on this node */
    FIT_UNSEEN   /* a linked process ended; with this reason or another */
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
    case EVIDENCE_PORT:
        if (!same || evidence->shape == REASON_NORMAL)
            return FIT_NONE;
        if (evidence->still_linked)
            return facts->trapping ? FIT_NONE : FIT_SIGNAL;
        /* A port's exit that was trapped leaves the link set; of a process there is TRAPPED for that. */
        return evidence->kind == EVIDENCE_PORT ? FIT_TRAPPED : FIT_NONE;
    case EVIDENCE_TRAPPED:
        return same && evidence->time_ns <= facts->time_ns &&
                       facts->time_ns - evidence->time_ns <= ATTRIBUTION_TRAPPED_AGE_NS
                   ? FIT_TRAPPED
                   : FIT_NONE;
    case EVIDENCE_STOP:
        return same ? FIT_TRAPPED : FIT_NONE;
    case EVIDENCE_EXIT:
    case EVIDENCE_RAISE:
        return same ? FIT_OWN : FIT_NONE;
    case EVIDENCE_HEAP:
        return facts->shape == REASON_KILLED ? FIT_SIGNAL : FIT_NONE;
    case EVIDENCE_DEAD:
        return facts->shape == REASON_NOPROC && !facts->trapping ? FIT_SIGNAL : FIT_NONE;
    case EVIDENCE_REMOTE:
        if (facts->trapping)
            return FIT_NONE;
        return facts->shape == REASON_NOCONNECTION ? FIT_SIGNAL : FIT_REMOTE;
    case EVIDENCE_UNSEEN:
        if (facts->shape == REASON_NORMAL ||
            (evidence->still_linked ? facts->trapping
                                    : evidence->time_ns > facts->time_ns ||
                                          facts->time_ns - evidence->time_ns > ATTRIBUTION_TRAPPED_AGE_NS))
            return FIT_NONE;
        return FIT_UNSEEN;
    case EVIDENCE_LIMIT:
        break;
    }
    return FIT_NONE;
}

static enum coroner_source source_of(const struct exit_facts *facts,
                                     const struct evidence_facts *evidence)
{
    switch (evidence->kind) {
    case EVIDENCE_SIGNAL:
        if (evidence->is_self)
            return CORONER_SOURCE_SELF_EXIT;
        if (evidence->as != CORONER_SOURCE_UNKNOWN && evidence->as < CORONER_SOURCE_COUNT)
            return evidence->as;
        return evidence->is_kill ? CORONER_SOURCE_KILL : CORONER_SOURCE_EXIT_SIGNAL;
    case EVIDENCE_LINKED:
        return CORONER_SOURCE_LINK;
    case EVIDENCE_TRAPPED:
        return CORONER_SOURCE_LINK_TRAPPED;
    case EVIDENCE_UNSEEN:
        return evidence->still_linked ? CORONER_SOURCE_LINK : CORONER_SOURCE_LINK_TRAPPED;
    case EVIDENCE_STOP:
        return CORONER_SOURCE_STOP_REQUEST;
    case EVIDENCE_PORT:
        return CORONER_SOURCE_PORT;
    case EVIDENCE_HEAP:
        return CORONER_SOURCE_MAX_HEAP_SIZE;
    case EVIDENCE_DEAD:
        return CORONER_SOURCE_NOPROC;
    case EVIDENCE_REMOTE:
        return facts->shape == REASON_NOCONNECTION ? CORONER_SOURCE_NOCONNECTION
                                                   : CORONER_SOURCE_REMOTE_LINK;
    default:
        return CORONER_SOURCE_SELF_EXIT;
    }
}

/* What a process did by itself, as its last word (NULL where there is none) or else the shape of its reason tells it. */
static enum coroner_source own_source(const struct exit_facts *facts,
                                      const struct evidence_facts *own)
{
    if (facts->linked_to_dead && (own == NULL || !own->by_call))
        return CORONER_SOURCE_NOPROC;
    switch (facts->shape) {
    case REASON_NORMAL:
    case REASON_RPC_REPLY:
        return CORONER_SOURCE_NORMAL;
    case REASON_NOCONNECTION:
        return facts->is_crasher ? CORONER_SOURCE_NOCONNECTION : CORONER_SOURCE_SELF_EXIT;
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

static bool is_listed(const struct verdict *verdict, enum coroner_source source)
{
    for (size_t i = 0; i < verdict->candidates; i++)
        if (verdict->candidate[i].source == source)
            return true;
    return false;
}

/* Of which evidence a stack speaks; and what can end a process without a word of its own. */
enum filter { FILTER_NONE, FILTER_PARENT, FILTER_STOP, FILTER_LINKED };

static bool passes(enum filter filter, const struct evidence_facts *evidence)
{
    bool is_stop = evidence->kind == EVIDENCE_STOP;

    /*
     * gen_server:start/3, without a link, makes a server its own parent. The parent's request to stop is no exit of the
     * parent's, and where the stack shows both it is not to be listed twice.
     */
    return filter == FILTER_NONE ||
           (filter == FILTER_PARENT && (evidence->is_parent || evidence->is_self) && !is_stop) ||
           (filter == FILTER_STOP && is_stop) ||
           (filter == FILTER_LINKED && evidence->still_linked);
}

/* Adds all evidence that fits in the way `fit` and passes, the earliest (or the latest) first. */
static void add_fitting(struct verdict *verdict, const struct exit_facts *facts,
                        const struct evidence_facts *evidence, size_t count, enum fit fit,
                        bool latest_first, enum filter filter)
{
    bool taken[ATTRIBUTION_EVIDENCE] = {false};

    if (count > sizeof(taken))
        count = sizeof(taken);
    for (;;) {
        int best = -1;

        for (size_t i = 0; i < count; i++) {
            if (taken[i] || !passes(filter, &evidence[i]) || fit_of(facts, &evidence[i]) != fit)
                continue;
            if (best < 0 || (latest_first ? evidence[i].time_ns > evidence[best].time_ns
                                          : evidence[i].time_ns < evidence[best].time_ns))
                best = (int)i;
        }
        if (best < 0)
            return;
        taken[best] = true;
        add_candidate(verdict, source_of(facts, &evidence[best]), best);
    }
}

static void append(struct verdict *verdict, const struct verdict *more)
{
    for (size_t i = 0; i < more->candidates; i++)
        add_candidate(verdict, more->candidate[i].source, more->candidate[i].evidence);
}

/* Whether the reason alone, without an event, says that it was the process's own doing. */
static bool is_own_by_shape(const struct exit_facts *facts)
{
    switch (facts->shape) {
    case REASON_NORMAL:
    case REASON_RPC_REPLY:
        return true;
    case REASON_ERROR:
    case REASON_THROW:
        /* An uncaught error of a plain process makes no event; one in proc_lib does, and there was none. */
        return !facts->in_proc_lib || facts->evidence_lost;
    case REASON_NOCONNECTION:
        return facts->is_crasher;
    default:
        return false;
    }
}

/*
 * Nothing that was seen here explains the exit. With other nodes connected it may be the doing of one of
 * their processes; with none it stays unknown.
 */
static void add_remote(struct verdict *verdict, const struct exit_facts *facts,
                       const struct evidence_facts *evidence, size_t count)
{
    add_fitting(verdict, facts, evidence, count, FIT_REMOTE, false, FILTER_NONE);
    if ((verdict->candidates > 0 || facts->is_distributed) && facts->shape != REASON_NORMAL)
        add_candidate(verdict, CORONER_SOURCE_REMOTE_SIGNAL, ATTRIBUTION_NO_EVIDENCE);
}

static struct verdict conclude(struct verdict verdict, const struct exit_facts *facts,
                               enum coroner_confidence sure)
{
    if (verdict.candidates == 0)
        return verdict;
    verdict.source = verdict.candidate[0].source;
    verdict.evidence = verdict.candidate[0].evidence;
    verdict.confidence = CORONER_CONFIDENCE_AMBIGUOUS;
    if (verdict.candidates > 1)
        return verdict;
    /* With evidence gone, a single cause that fits need not be the only one there was. */
    if (facts->evidence_lost && sure == CORONER_CONFIDENCE_OBSERVED &&
        verdict.source != CORONER_SOURCE_NORMAL)
        return verdict;
    verdict.candidates = 0;
    verdict.confidence = (uint8_t)sure;
    return verdict;
}

/*
 * Whether a signal of the parent's is there that fits as one that ended it. The process may have
 * trapped it and only then stopped trapping: where its stack shows that its parent's exit led to
 * its end, that signal is the cause either way.
 */
static bool has_signal_of_parent(const struct exit_facts *facts,
                                 const struct evidence_facts *evidence, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (evidence[i].kind == EVIDENCE_SIGNAL && !evidence[i].is_kill &&
            passes(FILTER_PARENT, &evidence[i]) && fit_of(facts, &evidence[i]) == FIT_SIGNAL)
            return true;
    return false;
}

/*
 * What a process that a signal may have ended may have done itself: exits that it had trapped and may have
 * followed, and, unless its stack shows that it did, what it said.
 */
static void add_own_side(struct verdict *side, const struct exit_facts *facts,
                         const struct evidence_facts *evidence, size_t count, int own)
{
    if (!facts->has_decided) {
        if (evidence[own].from_stop)
            add_fitting(side, facts, evidence, count, FIT_TRAPPED, true, FILTER_STOP);
        if (evidence[own].from_parent)
            add_fitting(side, facts, evidence, count, FIT_TRAPPED, true, FILTER_PARENT);
        if (side->candidates > 0 ||
            (evidence[own].from_parent && has_signal_of_parent(facts, evidence, count)))
            return;
        add_fitting(side, facts, evidence, count, FIT_TRAPPED, true, FILTER_NONE);
    }
    add_candidate(side, own_source(facts, &evidence[own]), own);
}

static struct verdict attribute_seen(const struct exit_facts *facts,
                                     const struct evidence_facts *evidence, size_t count)
{
    struct verdict verdict = {.source = CORONER_SOURCE_UNKNOWN,
                              .confidence = CORONER_CONFIDENCE_UNKNOWN,
                              .evidence = ATTRIBUTION_NO_EVIDENCE};
    enum coroner_confidence sure = CORONER_CONFIDENCE_OBSERVED;
    const struct evidence_facts *own_word;
    int own = ATTRIBUTION_NO_EVIDENCE, heap = ATTRIBUTION_NO_EVIDENCE;

    for (size_t i = 0; i < count; i++) {
        enum fit fit = fit_of(facts, &evidence[i]);

        if (fit == FIT_SIGNAL && evidence[i].kind == EVIDENCE_HEAP &&
            (heap < 0 || evidence[i].time_ns > evidence[heap].time_ns))
            heap = (int)i;
        if (fit == FIT_OWN && (own < 0 || evidence[i].time_ns > evidence[own].time_ns))
            own = (int)i;
    }
    /* The VM was about to end it for its heap, and it did nothing more: no signal got a chance. */
    if (heap >= 0) {
        verdict.source = CORONER_SOURCE_MAX_HEAP_SIZE;
        verdict.confidence = CORONER_CONFIDENCE_OBSERVED;
        verdict.evidence = heap;
        return verdict;
    }
    own_word = own < 0 ? NULL : &evidence[own];

    /* Signals end a process at once, so the first that fits is the likeliest. */
    add_fitting(&verdict, facts, evidence, count, FIT_SIGNAL, false, FILTER_NONE);
    if (verdict.candidates > 0) {
        const struct evidence_facts *first = &evidence[verdict.candidate[0].evidence];

        /*
         * It may have called exit with the very reason as well. If that was after the signal had been
         * sent, it most likely got there first; an earlier call it must have caught.
         */
        if (own >= 0) {
            struct verdict side = verdict, signals = verdict;
            bool own_first = own_word->time_ns > first->time_ns;

            side.candidates = 0;
            add_own_side(&side, facts, evidence, count, own);
            verdict = own_first ? side : signals;
            append(&verdict, own_first ? &signals : &side);
        }
        if (first->kind == EVIDENCE_SIGNAL && first->may_be_lost)
            sure = CORONER_CONFIDENCE_INFERRED;
        return conclude(verdict, facts, sure);
    }

    if (facts->has_decided && own >= 0) {
        add_candidate(&verdict, own_source(facts, own_word), own);
        return conclude(verdict, facts, sure);
    }
    /* Where its stack shows that its parent's exit, or a request to stop, led to it, others are no candidates. */
    if (own_word != NULL && own_word->from_stop)
        add_fitting(&verdict, facts, evidence, count, FIT_TRAPPED, true, FILTER_STOP);
    if (own_word != NULL && own_word->from_parent)
        add_fitting(&verdict, facts, evidence, count, FIT_TRAPPED, true, FILTER_PARENT);
    if (verdict.candidates > 0)
        return conclude(verdict, facts, sure);
    add_fitting(&verdict, facts, evidence, count, FIT_TRAPPED, true, FILTER_NONE);
    if (verdict.candidates > 0) {
        /*
         * That it stopped because of the message is inferred from the equal reason. `shutdown` and
         * `normal` anybody may choose for himself, and an uncaught error it may have made without a word; who
         * sent the message to himself did, either way. Where it is ambiguous anyway, what it said itself belongs
         * on the list.
         */
        bool is_free = facts->shape == REASON_SHUTDOWN || facts->shape == REASON_NORMAL;

        if (own >= 0 ? is_free || verdict.candidates > 1
                     : (is_free || is_own_by_shape(facts)) &&
                           !is_listed(&verdict, own_source(facts, own_word)))
            add_candidate(&verdict, own_source(facts, own_word), own);
        return conclude(verdict, facts, CORONER_CONFIDENCE_INFERRED);
    }
    if (own >= 0 || is_own_by_shape(facts)) {
        add_candidate(&verdict, own_source(facts, own_word), own);
        return conclude(verdict, facts, sure);
    }
    add_remote(&verdict, facts, evidence, count);
    return conclude(verdict, facts, CORONER_CONFIDENCE_INFERRED);
}

/*
 * A gen_server and its like that end because their parent did show that in their stack: then it needs not be known of what
 * the parent died. Returns which piece of evidence the parent's end is, or ATTRIBUTION_NO_EVIDENCE.
 */
static int unseen_parent(const struct verdict *seen, const struct verdict *unseen,
                         const struct evidence_facts *evidence)
{
    if (seen->evidence < 0 || evidence[seen->evidence].kind != EVIDENCE_RAISE ||
        !evidence[seen->evidence].from_parent)
        return ATTRIBUTION_NO_EVIDENCE;
    for (size_t i = 0; i < unseen->candidates; i++) {
        const struct evidence_facts *one = &evidence[unseen->candidate[i].evidence];

        if (one->is_parent && !one->still_linked)
            return unseen->candidate[i].evidence;
    }
    return ATTRIBUTION_NO_EVIDENCE;
}

/*
 * A signal ends a process at once. What became a message may have made it end itself, but then it would have said so, or
 * its reason would (as for what was seen: see attribute_seen).
 */
static bool is_signal_alone(const struct verdict *seen, const struct exit_facts *facts,
                            const struct evidence_facts *evidence, size_t count)
{
    if (seen->evidence < 0 || fit_of(facts, &evidence[seen->evidence]) != FIT_SIGNAL)
        return false;
    for (size_t i = 0; i < count; i++)
        if (fit_of(facts, &evidence[i]) == FIT_OWN)
            return false;
    return true;
}

/* Whether the verdict was only reached because nothing that was seen fits. */
static bool is_by_elimination(const struct verdict *verdict)
{
    return verdict->source == CORONER_SOURCE_UNKNOWN || verdict->source == CORONER_SOURCE_REMOTE_SIGNAL ||
           verdict->source == CORONER_SOURCE_REMOTE_LINK;
}

static bool has_kind(const struct evidence_facts *evidence, size_t count, enum evidence_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (evidence[i].kind == kind)
            return true;
    return false;
}

struct verdict attribute(const struct exit_facts *facts, const struct evidence_facts *evidence,
                         size_t count)
{
    struct verdict seen = attribute_seen(facts, evidence, count);
    struct verdict unseen = {.source = CORONER_SOURCE_UNKNOWN,
                             .confidence = CORONER_CONFIDENCE_UNKNOWN,
                             .evidence = ATTRIBUTION_NO_EVIDENCE};
    struct verdict verdict;
    int parent;

    if (!has_kind(evidence, count, EVIDENCE_UNSEEN))
        return seen;
    add_fitting(&unseen, facts, evidence, count, FIT_UNSEEN, true,
                is_signal_alone(&seen, facts, evidence, count) ? FILTER_LINKED : FILTER_NONE);
    if (unseen.candidates == 0 || seen.source == CORONER_SOURCE_MAX_HEAP_SIZE ||
        seen.source == CORONER_SOURCE_NORMAL)
        return seen;
    if ((parent = unseen_parent(&seen, &unseen, evidence)) >= 0) {
        unseen.candidates = 0;
        add_candidate(&unseen, CORONER_SOURCE_LINK_TRAPPED, parent);
        return conclude(unseen, facts, CORONER_CONFIDENCE_INFERRED);
    }
    /* What was seen comes first, what is left when all that was seen is ruled out comes last. */
    if (seen.candidates == 0 && seen.source != CORONER_SOURCE_UNKNOWN)
        add_candidate(&seen, (enum coroner_source)seen.source, seen.evidence);
    verdict = is_by_elimination(&seen) ? unseen : seen;
    append(&verdict, is_by_elimination(&seen) ? &seen : &unseen);
    return conclude(verdict, facts, CORONER_CONFIDENCE_INFERRED);
}
