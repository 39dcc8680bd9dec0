/* Each rule of attribution.c by itself, then all of them against a second statement of the same
 * rules. */
#include "attribution.h"
#include "check.h"

#define S UINT64_C(1000000000) /* a second */
#define NOW (1000 * S)

/* Fingerprints of the reasons that the tables speak of. */
#define PRINT(number) ((struct fingerprint){.hash = number, .whole = true})
#define NORMAL_PRINT PRINT(1)
#define SHUTDOWN_PRINT PRINT(2)
#define KILLED_PRINT PRINT(3)
#define BOOM_PRINT PRINT(4)
#define ERROR_PRINT PRINT(5)
#define THROW_PRINT PRINT(6)
#define REPLY_PRINT PRINT(7)
#define KILL_PRINT PRINT(8)

#define NORMAL .reason = NORMAL_PRINT, .shape = REASON_NORMAL
#define SHUTDOWN .reason = SHUTDOWN_PRINT, .shape = REASON_SHUTDOWN
#define KILLED .reason = KILLED_PRINT, .shape = REASON_KILLED
#define KILL .reason = KILL_PRINT, .shape = REASON_KILL
#define BOOM .reason = BOOM_PRINT, .shape = REASON_OTHER
#define ERROR .reason = ERROR_PRINT, .shape = REASON_ERROR
#define THROW .reason = THROW_PRINT, .shape = REASON_THROW
#define REPLY .reason = REPLY_PRINT, .shape = REASON_RPC_REPLY

#define SIGNAL .kind = EVIDENCE_SIGNAL
#define KILLER SIGNAL, .is_kill = true, KILL
#define LINKED .kind = EVIDENCE_LINKED, .still_linked = true
#define TRAPPED .kind = EVIDENCE_TRAPPED
#define UNSEEN .kind = EVIDENCE_UNSEEN
#define EXIT .kind = EVIDENCE_EXIT
#define RAISE .kind = EVIDENCE_RAISE
#define AGO(ns) .time_ns = NOW - (ns)

#define NONE ATTRIBUTION_NO_EVIDENCE

struct scene {
    const char *what;
    struct exit_facts exit; /* at NOW */
    struct evidence_facts evidence[12];
    size_t count;
    /* What has to come out; `list` are the candidates of an ambiguous one. */
    enum coroner_source source;
    enum coroner_confidence confidence;
    int by;
    struct candidate list[ATTRIBUTION_CANDIDATES];
    size_t listed;
};

#define UNKNOWN                                                                                    \
    .source = CORONER_SOURCE_UNKNOWN, .confidence = CORONER_CONFIDENCE_UNKNOWN, .by = NONE
#define OBSERVED(s, e)                                                                             \
    .source = CORONER_SOURCE_##s, .confidence = CORONER_CONFIDENCE_OBSERVED, .by = e
#define INFERRED(s, e)                                                                             \
    .source = CORONER_SOURCE_##s, .confidence = CORONER_CONFIDENCE_INFERRED, .by = e
#define AMBIGUOUS(s, e)                                                                            \
    .source = CORONER_SOURCE_##s, .confidence = CORONER_CONFIDENCE_AMBIGUOUS, .by = e
#define OF(s, e)                                                                                   \
    {                                                                                              \
        CORONER_SOURCE_##s, e                                                                      \
    }

static void play(const struct scene *scenes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct exit_facts exit = scenes[i].exit;
        struct verdict verdict;
        size_t listed = scenes[i].listed;

        exit.time_ns = NOW;
        verdict = attribute(&exit, scenes[i].evidence, scenes[i].count);
        if (verdict.source != scenes[i].source || verdict.confidence != scenes[i].confidence ||
            verdict.evidence != scenes[i].by || verdict.candidates != listed)
            fail_msg("%s: source %d, confidence %d, evidence %d, %zu candidates", scenes[i].what,
                     verdict.source, verdict.confidence, verdict.evidence, verdict.candidates);
        for (size_t c = 0; c < listed; c++)
            if (verdict.candidate[c].source != scenes[i].list[c].source ||
                verdict.candidate[c].evidence != scenes[i].list[c].evidence)
                fail_msg("%s: candidate %zu is %d by evidence %d", scenes[i].what, c,
                         verdict.candidate[c].source, verdict.candidate[c].evidence);
    }
}

#define PLAY(...)                                                                                  \
    do {                                                                                           \
        static const struct scene scenes[] = {__VA_ARGS__};                                        \
        (void)state;                                                                               \
        play(scenes, sizeof(scenes) / sizeof(scenes[0]));                                          \
    } while (0)

/* clang-format off: a table is read by its columns */

static void kill_ends_whoever_it_is_sent_to(void **state)
{
    PLAY({.what = "kill shows as killed",
          .exit = {KILLED},
          .evidence = {{KILLER, AGO(S)}},
          .count = 1,
          OBSERVED(KILL, 0)},
         {.what = "also of one that traps",
          .exit = {KILLED, .trapping = true},
          .evidence = {{KILLER, AGO(S)}},
          .count = 1,
          OBSERVED(KILL, 0)},
         {.what = "the purger's is a purge",
          .exit = {KILLED},
          .evidence = {{KILLER, .as = CORONER_SOURCE_PURGE, AGO(S)}},
          .count = 1,
          OBSERVED(PURGE, 0)},
         {.what = "its own is its own doing",
          .exit = {KILLED},
          .evidence = {{KILLER, .is_self = true, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "kill does not show as kill: that comes over a link",
          .exit = {KILL},
          .evidence = {{KILLER, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "kill does not show as anything else",
          .exit = {BOOM},
          .evidence = {{KILLER, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "a link's kill is a reason like others",
          .exit = {KILL},
          .evidence = {{LINKED, KILL, AGO(S)}},
          .count = 1,
          OBSERVED(LINK, 0)},
         {.what = "a link's kill does not make killed",
          .exit = {KILLED},
          .evidence = {{LINKED, KILL, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "exit(P, killed) is no kill",
          .exit = {KILLED},
          .evidence = {{SIGNAL, KILLED, AGO(S)}},
          .count = 1,
          OBSERVED(EXIT_SIGNAL, 0)});
}

static void a_signal_ends_with_its_reason(void **state)
{
    PLAY({.what = "the same reason",
          .exit = {BOOM},
          .evidence = {{SIGNAL, BOOM, AGO(S)}},
          .count = 1,
          OBSERVED(EXIT_SIGNAL, 0)},
         {.what = "another reason",
          .exit = {BOOM},
          .evidence = {{SIGNAL, SHUTDOWN, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "one reason was seen whole, the other not",
          .exit = {BOOM},
          .evidence = {{SIGNAL, .reason = {.hash = 4, .whole = false}, .shape = REASON_OTHER,
                        AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "both not seen whole",
          .exit = {.reason = {.hash = 4}, .shape = REASON_OTHER},
          .evidence = {{SIGNAL, .reason = {.hash = 4}, .shape = REASON_OTHER, AGO(S)}},
          .count = 1,
          OBSERVED(EXIT_SIGNAL, 0)},
         {.what = "who traps decides for himself",
          .exit = {BOOM, .trapping = true},
          .evidence = {{SIGNAL, BOOM, AGO(S)}},
          .count = 1,
          INFERRED(EXIT_SIGNAL, 0)},
         {.what = "to itself",
          .exit = {BOOM},
          .evidence = {{SIGNAL, .is_self = true, BOOM, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "the reason that matters is not the first",
          .exit = {BOOM},
          .evidence = {{SIGNAL, SHUTDOWN, AGO(3 * S)}, {SIGNAL, BOOM, AGO(S)}},
          .count = 2,
          OBSERVED(EXIT_SIGNAL, 1)});
}

static void normal_ends_nobody_else(void **state)
{
    PLAY({.what = "from another",
          .exit = {NORMAL},
          .evidence = {{SIGNAL, NORMAL, AGO(S)}},
          .count = 1,
          OBSERVED(NORMAL, NONE)},
         {.what = "to itself",
          .exit = {NORMAL},
          .evidence = {{SIGNAL, .is_self = true, NORMAL, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "over a link",
          .exit = {NORMAL},
          .evidence = {{LINKED, NORMAL, AGO(S)}},
          .count = 1,
          OBSERVED(NORMAL, NONE)},
         {.what = "from another, to one that traps",
          .exit = {NORMAL, .trapping = true},
          .evidence = {{SIGNAL, NORMAL, AGO(S)}},
          .count = 1,
          OBSERVED(NORMAL, NONE)},
         {.what = "nothing at all", .exit = {NORMAL}, .count = 0, OBSERVED(NORMAL, NONE)},
         {.what = "nothing at all, and evidence lost: it is done all the same",
          .exit = {NORMAL, .evidence_lost = true},
          .count = 0,
          OBSERVED(NORMAL, NONE)});
}

static void a_link_counts_while_it_stands(void **state)
{
    PLAY({.what = "linked, not trapping, same reason",
          .exit = {BOOM},
          .evidence = {{LINKED, BOOM, AGO(S)}},
          .count = 1,
          OBSERVED(LINK, 0)},
         {.what = "killed over a link",
          .exit = {KILLED},
          .evidence = {{LINKED, KILLED, AGO(S)}},
          .count = 1,
          OBSERVED(LINK, 0)},
         {.what = "unlinked before the signal came",
          .exit = {BOOM},
          .evidence = {{.kind = EVIDENCE_LINKED, BOOM, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "it traps: the signal did not come as one",
          .exit = {BOOM, .trapping = true},
          .evidence = {{LINKED, BOOM, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "another reason",
          .exit = {BOOM},
          .evidence = {{LINKED, SHUTDOWN, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "whatever its age: while it is linked the signal is under way",
          .exit = {BOOM},
          .evidence = {{LINKED, BOOM, AGO(900 * S)}},
          .count = 1,
          OBSERVED(LINK, 0)});
}

static void a_trapped_exit_is_inferred(void **state)
{
    PLAY({.what = "same reason",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(S)}},
          .count = 1,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "the case this began with",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, KILLED, AGO(S)}},
          .count = 1,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "it trapped then and does not any more",
          .exit = {BOOM},
          .evidence = {{TRAPPED, BOOM, AGO(S)}},
          .count = 1,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "another reason",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, KILLED, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "exactly 60 seconds",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(60 * S)}},
          .count = 1,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "a nanosecond more",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(60 * S + 1)}},
          .count = 1,
          UNKNOWN},
         {.what = "the latest first",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(9 * S)},
                       {TRAPPED, BOOM, AGO(S)},
                       {TRAPPED, BOOM, AGO(5 * S)}},
          .count = 3,
          AMBIGUOUS(LINK_TRAPPED, 1),
          .listed = 3,
          .list = {OF(LINK_TRAPPED, 1), OF(LINK_TRAPPED, 2), OF(LINK_TRAPPED, 0)}},
         {.what = "a trapped signal and a trapped exit",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(9 * S)}, {SIGNAL, BOOM, AGO(S)}},
          .count = 2,
          AMBIGUOUS(EXIT_SIGNAL, 1),
          .listed = 2,
          .list = {OF(EXIT_SIGNAL, 1), OF(LINK_TRAPPED, 0)}},
         {.what = "an error of its own like one that it trapped",
          .exit = {ERROR, .trapping = true},
          .evidence = {{TRAPPED, ERROR, AGO(2 * S)}},
          .count = 1,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(SELF_ERROR, NONE)}},
         {.what = "a port's exit that it trapped then",
          .exit = {BOOM},
          .evidence = {{.kind = EVIDENCE_PORT, BOOM, AGO(2 * S)}, {EXIT, BOOM, AGO(S)}},
          .count = 2,
          INFERRED(PORT, 0)},
         {.what = "of several it may be none: what it said itself is listed as well",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, KILLED, AGO(9 * S)},
                       {TRAPPED, KILLED, AGO(5 * S)},
                       {RAISE, KILLED, AGO(S)}},
          .count = 3,
          AMBIGUOUS(LINK_TRAPPED, 1),
          .listed = 3,
          .list = {OF(LINK_TRAPPED, 1), OF(LINK_TRAPPED, 0), OF(SELF_EXIT, 2)}},
         {.what = "it said so itself, with the same reason: why, the message tells",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(2 * S)}, {EXIT, BOOM, AGO(S)}},
          .count = 2,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "evidence lost does not make it surer or less sure",
          .exit = {BOOM, .trapping = true, .evidence_lost = true},
          .evidence = {{TRAPPED, BOOM, AGO(S)}},
          .count = 1,
          INFERRED(LINK_TRAPPED, 0)});
}

static void a_signal_that_ends_at_once_beats_a_trapped_one(void **state)
{
    PLAY({.what = "killed, and a linked one was killed before",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, KILLED, AGO(2 * S)}, {KILLER, AGO(S)}},
          .count = 2,
          OBSERVED(KILL, 1)});
}

static void several_that_fit_are_all_listed(void **state)
{
    PLAY({.what = "two killers, the earliest first",
          .exit = {KILLED},
          .evidence = {{KILLER, AGO(S)}, {KILLER, AGO(2 * S)}},
          .count = 2,
          AMBIGUOUS(KILL, 1),
          .listed = 2,
          .list = {OF(KILL, 1), OF(KILL, 0)}},
         {.what = "a killer and a purge",
          .exit = {KILLED},
          .evidence = {{KILLER, .as = CORONER_SOURCE_PURGE, AGO(S)}, {KILLER, AGO(2 * S)}},
          .count = 2,
          AMBIGUOUS(KILL, 1),
          .listed = 2,
          .list = {OF(KILL, 1), OF(PURGE, 0)}},
         {.what = "a killer and a killed peer",
          .exit = {KILLED},
          .evidence = {{KILLER, AGO(S)}, {LINKED, KILLED, AGO(2 * S)}},
          .count = 2,
          AMBIGUOUS(LINK, 1),
          .listed = 2,
          .list = {OF(LINK, 1), OF(KILL, 0)}},
         {.what = "at the same time: in the order given",
          .exit = {KILLED},
          .evidence = {{KILLER, AGO(S)}, {KILLER, AGO(S)}},
          .count = 2,
          AMBIGUOUS(KILL, 0),
          .listed = 2,
          .list = {OF(KILL, 0), OF(KILL, 1)}},
         {.what = "what does not fit is not listed",
          .exit = {KILLED},
          .evidence = {{SIGNAL, BOOM, AGO(9 * S)}, {KILLER, AGO(S)}, {LINKED, BOOM, AGO(8 * S)}},
          .count = 3,
          OBSERVED(KILL, 1)},
         {.what = "more than can be listed: the earliest eight",
          .exit = {KILLED},
          .evidence = {{KILLER, AGO(1)},
                       {KILLER, AGO(2)},
                       {KILLER, AGO(3)},
                       {KILLER, AGO(4)},
                       {KILLER, AGO(5)},
                       {KILLER, AGO(6)},
                       {KILLER, AGO(7)},
                       {KILLER, AGO(8)},
                       {KILLER, AGO(9)},
                       {KILLER, AGO(10)}},
          .count = 10,
          AMBIGUOUS(KILL, 9),
          .listed = 8,
          .list = {OF(KILL, 9), OF(KILL, 8), OF(KILL, 7), OF(KILL, 6), OF(KILL, 5), OF(KILL, 4),
                   OF(KILL, 3), OF(KILL, 2)}});
}

static void its_own_exit_around_a_signal(void **state)
{
    PLAY(
        {.what = "called exit before the signal was sent: it must have caught that",
         .exit = {BOOM},
         .evidence = {{EXIT, BOOM, AGO(2 * S)}, {SIGNAL, BOOM, AGO(S)}},
         .count = 2,
         AMBIGUOUS(EXIT_SIGNAL, 1),
         .listed = 2,
         .list = {OF(EXIT_SIGNAL, 1), OF(SELF_EXIT, 0)}},
        {.what = "after: it got there first",
         .exit = {BOOM},
         .evidence = {{EXIT, BOOM, AGO(S)}, {SIGNAL, BOOM, AGO(2 * S)}},
         .count = 2,
         AMBIGUOUS(SELF_EXIT, 0),
         .listed = 2,
         .list = {OF(SELF_EXIT, 0), OF(EXIT_SIGNAL, 1)}},
        {.what = "between two signals",
         .exit = {BOOM},
         .evidence = {{SIGNAL, BOOM, AGO(S)}, {EXIT, BOOM, AGO(2 * S)}, {SIGNAL, BOOM, AGO(3 * S)}},
         .count = 3,
         AMBIGUOUS(SELF_EXIT, 1),
         .listed = 3,
         .list = {OF(SELF_EXIT, 1), OF(EXIT_SIGNAL, 2), OF(EXIT_SIGNAL, 0)}},
        {.what = "its own counts also before eight signals",
         .exit = {BOOM},
         .evidence = {{SIGNAL, BOOM, AGO(19)},
                      {SIGNAL, BOOM, AGO(18)},
                      {SIGNAL, BOOM, AGO(17)},
                      {SIGNAL, BOOM, AGO(16)},
                      {SIGNAL, BOOM, AGO(15)},
                      {SIGNAL, BOOM, AGO(14)},
                      {SIGNAL, BOOM, AGO(13)},
                      {SIGNAL, BOOM, AGO(12)},
                      {EXIT, BOOM, AGO(1)}},
         .count = 9,
         AMBIGUOUS(SELF_EXIT, 8),
         .listed = 8,
         .list = {OF(SELF_EXIT, 8), OF(EXIT_SIGNAL, 0), OF(EXIT_SIGNAL, 1), OF(EXIT_SIGNAL, 2),
                  OF(EXIT_SIGNAL, 3), OF(EXIT_SIGNAL, 4), OF(EXIT_SIGNAL, 5), OF(EXIT_SIGNAL, 6)}},
        {.what = "with another reason it is none",
         .exit = {BOOM},
         .evidence = {{EXIT, SHUTDOWN, AGO(S)}, {SIGNAL, BOOM, AGO(2 * S)}},
         .count = 2,
         OBSERVED(EXIT_SIGNAL, 1)});
}

static void evidence_lost_leaves_no_certainty(void **state)
{
    PLAY({.what = "one killer",
          .exit = {KILLED, .evidence_lost = true},
          .evidence = {{KILLER, AGO(S)}},
          .count = 1,
          AMBIGUOUS(KILL, 0),
          .listed = 1,
          .list = {OF(KILL, 0)}},
         {.what = "its own exit",
          .exit = {BOOM, .evidence_lost = true},
          .evidence = {{EXIT, BOOM, AGO(S)}},
          .count = 1,
          AMBIGUOUS(SELF_EXIT, 0),
          .listed = 1,
          .list = {OF(SELF_EXIT, 0)}},
         {.what = "an error of its own, by its shape",
          .exit = {ERROR, .evidence_lost = true},
          .count = 0,
          AMBIGUOUS(SELF_ERROR, NONE),
          .listed = 1,
          .list = {OF(SELF_ERROR, NONE)}},
         {.what = "nothing fits", .exit = {BOOM, .evidence_lost = true}, .count = 0, UNKNOWN});
}

static void what_a_stack_proves(void **state)
{
    PLAY({.what = "the parent's exit, trapped",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, .is_parent = true, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 2,
          OBSERVED(LINK_TRAPPED, 0)},
         {.what = "a supervisor's shutdown",
          .exit = {SHUTDOWN, .trapping = true},
          .evidence = {{SIGNAL, .is_parent = true, SHUTDOWN, AGO(2 * S)},
                       {RAISE, .from_parent = true, SHUTDOWN, AGO(S)}},
          .count = 2,
          OBSERVED(EXIT_SIGNAL, 0)},
         {.what = "the parent's signal, trapped before it stopped trapping, or not",
          .exit = {BOOM},
          .evidence = {{SIGNAL, .is_parent = true, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 2,
          OBSERVED(EXIT_SIGNAL, 0)},
         {.what = "the same, and another's signal",
          .exit = {BOOM},
          .evidence = {{SIGNAL, .is_parent = true, BOOM, AGO(2 * S)},
                       {SIGNAL, BOOM, AGO(3 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 3,
          AMBIGUOUS(EXIT_SIGNAL, 1),
          .listed = 2,
          .list = {OF(EXIT_SIGNAL, 1), OF(EXIT_SIGNAL, 0)}},
         {.what = "a signal that is not the parent's: it may have been the parent's exit, unseen",
          .exit = {BOOM},
          .evidence = {{SIGNAL, BOOM, AGO(2 * S)}, {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 2,
          AMBIGUOUS(SELF_EXIT, 1),
          .listed = 2,
          .list = {OF(SELF_EXIT, 1), OF(EXIT_SIGNAL, 0)}},
         {.what = "others' are no candidates then",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(S)},
                       {TRAPPED, .is_parent = true, BOOM, AGO(3 * S)},
                       {SIGNAL, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 4,
          OBSERVED(LINK_TRAPPED, 1)},
         {.what = "the parent twice",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, .is_parent = true, BOOM, AGO(2 * S)},
                       {SIGNAL, .is_parent = true, BOOM, AGO(3 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 3,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(EXIT_SIGNAL, 1)}},
         {.what = "the parent's exit or the kill that followed: not its own doing",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, .is_parent = true, KILLED, AGO(4 * S)},
                       {TRAPPED, KILLED, AGO(3 * S)},
                       {KILLER, AGO(2 * S)},
                       {RAISE, .from_parent = true, KILLED, AGO(S)}},
          .count = 4,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(KILL, 2)}},
         {.what = "a trapped exit that it may have followed, or a kill",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, KILLED, AGO(3 * S)}, {KILLER, AGO(S)}, {EXIT, KILLED, AGO(2 * S)}},
          .count = 3,
          AMBIGUOUS(KILL, 1),
          .listed = 3,
          .list = {OF(KILL, 1), OF(LINK_TRAPPED, 0), OF(SELF_EXIT, 2)}},
         {.what = "one without a link is its own parent",
          .exit = {BOOM, .trapping = true},
          .evidence = {{SIGNAL, .is_parent = true, BOOM, AGO(3 * S)},
                       {SIGNAL, .is_self = true, BOOM, AGO(2 * S)},
                       {TRAPPED, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 4,
          AMBIGUOUS(SELF_EXIT, 1),
          .listed = 2,
          .list = {OF(SELF_EXIT, 1), OF(EXIT_SIGNAL, 0)}},
         {.what = "no evidence of the parent's: then what there is",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, BOOM, AGO(2 * S)}, {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 2,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "the parent's is older than all that can be listed",
          .exit = {KILLED, .trapping = true},
          .evidence = {{TRAPPED, .is_parent = true, KILLED, AGO(20)},
                       {TRAPPED, KILLED, AGO(19)},
                       {TRAPPED, KILLED, AGO(18)},
                       {TRAPPED, KILLED, AGO(17)},
                       {TRAPPED, KILLED, AGO(16)},
                       {TRAPPED, KILLED, AGO(15)},
                       {TRAPPED, KILLED, AGO(14)},
                       {TRAPPED, KILLED, AGO(13)},
                       {TRAPPED, KILLED, AGO(12)},
                       {RAISE, .from_parent = true, KILLED, AGO(1)}},
          .count = 10,
          OBSERVED(LINK_TRAPPED, 0)},
         {.what = "a stack with another reason proves nothing",
          .exit = {BOOM, .trapping = true},
          .evidence = {{TRAPPED, .is_parent = true, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, SHUTDOWN, AGO(S)}},
          .count = 2,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "proven, but evidence lost",
          .exit = {BOOM, .trapping = true, .evidence_lost = true},
          .evidence = {{TRAPPED, .is_parent = true, BOOM, AGO(2 * S)},
                       {RAISE, .from_parent = true, BOOM, AGO(S)}},
          .count = 2,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 1,
          .list = {OF(LINK_TRAPPED, 0)}});
}

static void shutdown_and_normal_one_may_choose(void **state)
{
    PLAY({.what = "trapped shutdown, then shutdown",
          .exit = {SHUTDOWN, .trapping = true},
          .evidence = {{TRAPPED, SHUTDOWN, AGO(S)}},
          .count = 1,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(SELF_EXIT, NONE)}},
         {.what = "and it said so",
          .exit = {SHUTDOWN, .trapping = true},
          .evidence = {{TRAPPED, SHUTDOWN, AGO(2 * S)}, {EXIT, SHUTDOWN, AGO(S)}},
          .count = 2,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(SELF_EXIT, 1)}},
         {.what = "a signal of shutdown, trapped",
          .exit = {SHUTDOWN, .trapping = true},
          .evidence = {{SIGNAL, SHUTDOWN, AGO(S)}},
          .count = 1,
          AMBIGUOUS(EXIT_SIGNAL, 0),
          .listed = 2,
          .list = {OF(EXIT_SIGNAL, 0), OF(SELF_EXIT, NONE)}},
         {.what = "trapped normal, then normal",
          .exit = {NORMAL, .trapping = true},
          .evidence = {{TRAPPED, NORMAL, AGO(S)}},
          .count = 1,
          AMBIGUOUS(LINK_TRAPPED, 0),
          .listed = 2,
          .list = {OF(LINK_TRAPPED, 0), OF(NORMAL, NONE)}},
         {.what = "a signal of shutdown, not trapped",
          .exit = {SHUTDOWN},
          .evidence = {{SIGNAL, SHUTDOWN, AGO(S)}},
          .count = 1,
          OBSERVED(EXIT_SIGNAL, 0)});
}

/* What the fuzzer found: evidence that no caller gives today, and some that one may. */
static void what_a_fuzzer_found(void **state)
{
    struct exit_facts early = {BOOM, .trapping = true, .time_ns = 5};
    struct evidence_facts late = {TRAPPED, BOOM, .time_ns = UINT64_MAX};

    /* What comes after the exit is no cause, also where the clock's numbers meet. */
    assert_int_equal(attribute(&early, &late, 1).source, CORONER_SOURCE_UNKNOWN);
    PLAY({.what = "sent as something that there is no name for",
          .exit = {BOOM},
          .evidence = {{SIGNAL, BOOM, .as = CORONER_SOURCE_COUNT, AGO(S)}},
          .count = 1,
          OBSERVED(EXIT_SIGNAL, 0)},
         {.what = "the parent's request to stop, where the stack shows the parent and a request",
          .exit = {BOOM, .trapping = true},
          .evidence = {{.kind = EVIDENCE_STOP, BOOM, .is_parent = true, AGO(2 * S)},
                       {RAISE, BOOM, .from_parent = true, .from_stop = true, AGO(S)}},
          .count = 2,
          OBSERVED(STOP_REQUEST, 0)},
         {.what = "shutdown that it sent itself and trapped: its own doing, not twice",
          .exit = {SHUTDOWN, .trapping = true},
          .evidence = {{SIGNAL, SHUTDOWN, .is_self = true, AGO(S)}},
          .count = 1,
          INFERRED(SELF_EXIT, 0)},
         {.what = "of two findings of a large heap the last",
          .exit = {KILLED},
          .evidence = {{.kind = EVIDENCE_HEAP, AGO(2 * S)}, {.kind = EVIDENCE_HEAP, AGO(S)}},
          .count = 2,
          OBSERVED(MAX_HEAP_SIZE, 1)},
         {.what = "in any order",
          .exit = {KILLED},
          .evidence = {{.kind = EVIDENCE_HEAP, AGO(S)}, {.kind = EVIDENCE_HEAP, AGO(2 * S)}},
          .count = 2,
          OBSERVED(MAX_HEAP_SIZE, 0)});
}

static void what_the_shape_alone_tells(void **state)
{
    PLAY({.what = "an uncaught error", .exit = {ERROR}, .count = 0, OBSERVED(SELF_ERROR, NONE)},
         {.what = "an uncaught throw", .exit = {THROW}, .count = 0, OBSERVED(SELF_THROW, NONE)},
         {.what = "an rpc worker that answered",
          .exit = {REPLY},
          .count = 0,
          OBSERVED(NORMAL, NONE)},
         {.what = "an error that proc_lib raised",
          .exit = {ERROR},
          .evidence = {{RAISE, ERROR, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_ERROR, 0)},
         {.what = "an error of a linked process",
          .exit = {ERROR},
          .evidence = {{LINKED, ERROR, AGO(S)}},
          .count = 1,
          OBSERVED(LINK, 0)},
         {.what = "exit/1",
          .exit = {BOOM},
          .evidence = {{EXIT, BOOM, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "exit/1 with what looks like an error",
          .exit = {ERROR},
          .evidence = {{EXIT, .by_call = true, ERROR, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "exit/1 with what looks like a throw, raised again by proc_lib",
          .exit = {THROW},
          .evidence = {{RAISE, .by_call = true, THROW, AGO(S)}},
          .count = 1,
          OBSERVED(SELF_EXIT, 0)},
         {.what = "its last word",
          .exit = {BOOM},
          .evidence = {{EXIT, BOOM, AGO(2 * S)}, {RAISE, BOOM, AGO(S)}},
          .count = 2,
          OBSERVED(SELF_EXIT, 1)},
         {.what = "exit/1 with another reason",
          .exit = {BOOM},
          .evidence = {{EXIT, SHUTDOWN, AGO(S)}},
          .count = 1,
          UNKNOWN},
         {.what = "shutdown without evidence", .exit = {SHUTDOWN}, .count = 0, UNKNOWN},
         {.what = "killed without evidence", .exit = {KILLED}, .count = 0, UNKNOWN},
         {.what = "anything without evidence", .exit = {BOOM}, .count = 0, UNKNOWN},
         {.what = "evidence of a kind there is not",
          .exit = {BOOM},
          .evidence = {{.kind = 99, BOOM, AGO(S)}},
          .count = 1,
          UNKNOWN});
}

/* clang-format on */

/* --- the same rules once more, as sets and a sort
 * ------------------------------------------------------ */

#define PIECES 24 /* what the tracer weighs at most: 16 of the entry's, 8 of the wide table's */

struct item {
    enum coroner_source source;
    int evidence;
    uint64_t time_ns;
};

static int by_time(const void *a, const void *b)
{
    const struct item *left = a, *right = b;

    if (left->time_ns != right->time_ns)
        return left->time_ns < right->time_ns ? -1 : 1;
    return left->evidence - right->evidence;
}

static int by_time_latest(const void *a, const void *b)
{
    const struct item *left = a, *right = b;

    if (left->time_ns != right->time_ns)
        return left->time_ns < right->time_ns ? 1 : -1;
    return left->evidence - right->evidence;
}

static struct verdict restated(const struct exit_facts *exit, const struct evidence_facts *all,
                               size_t count)
{
    static const enum coroner_source own_sources[REASON_SHAPE_COUNT] = {
        [REASON_NORMAL] = CORONER_SOURCE_NORMAL,
        [REASON_SHUTDOWN] = CORONER_SOURCE_SELF_EXIT,
        [REASON_KILLED] = CORONER_SOURCE_SELF_EXIT,
        [REASON_KILL] = CORONER_SOURCE_SELF_EXIT,
        [REASON_NOPROC] = CORONER_SOURCE_SELF_EXIT,
        [REASON_NOCONNECTION] = CORONER_SOURCE_SELF_EXIT,
        [REASON_TIMEOUT] = CORONER_SOURCE_SELF_EXIT,
        [REASON_ERROR] = CORONER_SOURCE_SELF_ERROR,
        [REASON_THROW] = CORONER_SOURCE_SELF_THROW,
        [REASON_RPC_REPLY] = CORONER_SOURCE_NORMAL,
        [REASON_OTHER] = CORONER_SOURCE_SELF_EXIT};
    struct item ended[PIECES], prompted[PIECES], list[PIECES + 1], own = {.evidence = NONE};
    size_t ends = 0, prompts = 0, listed = 0;
    struct verdict verdict = {.source = CORONER_SOURCE_UNKNOWN, .evidence = NONE};
    bool certain = true;

    for (size_t i = 0; i < count; i++) {
        const struct evidence_facts *one = &all[i];
        bool same =
            one->reason.hash == exit->reason.hash && one->reason.whole == exit->reason.whole;
        struct item item = {.evidence = (int)i, .time_ns = one->time_ns};

        if (one->kind == EVIDENCE_SIGNAL && one->is_kill) {
            item.source = one->is_self    ? CORONER_SOURCE_SELF_EXIT
                          : one->as != CORONER_SOURCE_UNKNOWN ? one->as
                                          : CORONER_SOURCE_KILL;
            if (exit->shape == REASON_KILLED)
                ended[ends++] = item;
        } else if (!same) {
            continue;
        } else if (one->kind == EVIDENCE_SIGNAL) {
            item.source = one->is_self    ? CORONER_SOURCE_SELF_EXIT
                          : one->as != CORONER_SOURCE_UNKNOWN ? one->as
                                          : CORONER_SOURCE_EXIT_SIGNAL;
            if (one->shape == REASON_NORMAL && !one->is_self)
                continue;
            if (exit->trapping)
                prompted[prompts++] = item;
            else
                ended[ends++] = item;
        } else if (one->kind == EVIDENCE_LINKED) {
            item.source = CORONER_SOURCE_LINK;
            if (one->still_linked && !exit->trapping && one->shape != REASON_NORMAL)
                ended[ends++] = item;
        } else if (one->kind == EVIDENCE_TRAPPED) {
            item.source = CORONER_SOURCE_LINK_TRAPPED;
            if (exit->time_ns >= one->time_ns && exit->time_ns - one->time_ns <= 60 * S)
                prompted[prompts++] = item;
        } else if (own.evidence == NONE || one->time_ns > own.time_ns) {
            own.evidence = (int)i;
            own.time_ns = one->time_ns;
        }
    }

    own.source = own_sources[exit->shape];
    if (own.evidence != NONE && all[own.evidence].by_call && own.source != CORONER_SOURCE_NORMAL)
        own.source = CORONER_SOURCE_SELF_EXIT;

    if (ends > 0) {
        bool own_first;

        qsort(ended, ends, sizeof(*ended), by_time);
        own_first = own.evidence != NONE && own.time_ns > ended[0].time_ns;
        if (!own_first)
            for (size_t i = 0; i < ends; i++)
                list[listed++] = ended[i];
        if (own.evidence != NONE) {
            /* What it trapped and may have followed; and its own word, unless the stack shows that it did. */
            bool of_parent = false, may_be_trapped = false;

            qsort(prompted, prompts, sizeof(*prompted), by_time_latest);
            for (size_t i = 0; i < prompts; i++)
                of_parent = of_parent || all[prompted[i].evidence].is_parent ||
                            all[prompted[i].evidence].is_self;
            of_parent = of_parent && all[own.evidence].from_parent;
            /* Or it trapped what fits as having ended it, and stopped trapping then. */
            for (size_t i = 0; i < ends; i++) {
                const struct evidence_facts *one = &all[ended[i].evidence];

                may_be_trapped = may_be_trapped || (one->kind == EVIDENCE_SIGNAL && !one->is_kill &&
                                                    (one->is_parent || one->is_self));
            }
            may_be_trapped = may_be_trapped && all[own.evidence].from_parent;
            for (size_t i = 0; i < prompts && (of_parent || !may_be_trapped); i++)
                if (!of_parent || all[prompted[i].evidence].is_parent ||
                    all[prompted[i].evidence].is_self)
                    list[listed++] = prompted[i];
            if (!of_parent && !may_be_trapped)
                list[listed++] = own;
        }
        if (own_first)
            for (size_t i = 0; i < ends; i++)
                list[listed++] = ended[i];
    } else if (prompts > 0) {
        bool proven = own.evidence != NONE && all[own.evidence].from_parent, of_parent = false;

        qsort(prompted, prompts, sizeof(*prompted), by_time_latest);
        for (size_t i = 0; i < prompts; i++)
            of_parent = of_parent || all[prompted[i].evidence].is_parent ||
                        all[prompted[i].evidence].is_self;
        /* That it was the parent proves something where there is anything of the parent's. */
        proven = certain = proven && of_parent;
        for (size_t i = 0; i < prompts; i++)
            if (!proven || all[prompted[i].evidence].is_parent ||
                all[prompted[i].evidence].is_self)
                list[listed++] = prompted[i];
        bool is_free = exit->shape == REASON_SHUTDOWN || exit->shape == REASON_NORMAL;

        if (!proven && (is_free || (own.evidence == NONE && own.source != CORONER_SOURCE_SELF_EXIT) ||
                        (listed > 1 && own.evidence != NONE))) {
            bool again = false;

            /* A message that it sent itself is its own doing already. */
            for (size_t i = 0; i < listed; i++)
                again = again || (own.evidence == NONE && list[i].source == own.source);
            if (!again)
                list[listed++] = own;
        }
    } else if (own.evidence != NONE || own.source != CORONER_SOURCE_SELF_EXIT) {
        list[listed++] = own;
    }

    if (listed == 0)
        return verdict;
    if (listed > ATTRIBUTION_CANDIDATES)
        listed = ATTRIBUTION_CANDIDATES;
    verdict.source = (uint8_t)list[0].source;
    verdict.evidence = list[0].evidence;
    verdict.confidence = CORONER_CONFIDENCE_AMBIGUOUS;
    if (listed == 1 && !certain)
        verdict.confidence = CORONER_CONFIDENCE_INFERRED;
    else if (listed == 1 && (!exit->evidence_lost || list[0].source == CORONER_SOURCE_NORMAL))
        verdict.confidence = CORONER_CONFIDENCE_OBSERVED;
    if (verdict.confidence == CORONER_CONFIDENCE_AMBIGUOUS)
        for (; verdict.candidates < listed; verdict.candidates++)
            verdict.candidate[verdict.candidates] =
                (struct candidate){.source = (uint8_t)list[verdict.candidates].source,
                                   .evidence = list[verdict.candidates].evidence};
    return verdict;
}

static void print_case(const struct exit_facts *exit, const struct evidence_facts *all,
                       size_t count)
{
    print_error("exit: hash %d shape %d trapping %d lost %d\n", (int)exit->reason.hash, exit->shape,
                exit->trapping, exit->evidence_lost);
    for (size_t i = 0; i < count; i++)
        print_error("  %zu: kind %d hash %d shape %d kill %d purge %d self %d linked %d parent %d "
                    "from_parent %d age %lld\n",
                    i, all[i].kind, (int)all[i].reason.hash, all[i].shape, all[i].is_kill,
                    all[i].as, all[i].is_self, all[i].still_linked, all[i].is_parent,
                    all[i].from_parent, (long long)(exit->time_ns - all[i].time_ns));
}

static void random_evidence_agrees_with_the_rules_restated(void **state)
{
    struct dice dice = dice_new(1);
    size_t seen[CORONER_CONFIDENCE_COUNT] = {0};

    (void)state;
    for (size_t round = 0; round < test_size(400000, 10000); round++) {
        struct evidence_facts all[PIECES];
        struct exit_facts exit = {.shape = (uint8_t)dice_below(&dice, REASON_SHAPE_COUNT),
                                  .trapping = dice_below(&dice, 2),
                                  .evidence_lost = dice_below(&dice, 5) == 0,
                                  .time_ns = NOW};
        size_t count = dice_below(&dice, dice_below(&dice, 8) == 0 ? PIECES + 1 : 5);
        unsigned same_of_8 = (unsigned)dice_below(&dice, 9);
        struct verdict ours, theirs;

        exit.reason = PRINT(exit.shape);
        for (size_t i = 0; i < count; i++) {
            struct evidence_facts *one = &all[i];

            *one = (struct evidence_facts){.kind = (uint8_t)dice_below(&dice, 5),
                                           .as = dice_below(&dice, 4) == 0 ? CORONER_SOURCE_PURGE : 0,
                                           .is_self = dice_below(&dice, 5) == 0,
                                           .still_linked = dice_below(&dice, 3) > 0,
                                           .is_parent = dice_below(&dice, 4) == 0,
                                           .from_parent = dice_below(&dice, 3) == 0,
                                           .by_call = dice_below(&dice, 3) == 0,
                                           .shape = exit.shape,
                                           .time_ns = NOW - dice_below(&dice, 4) * 25 * S -
                                                      dice_below(&dice, 6)};
            one->is_kill = one->kind == EVIDENCE_SIGNAL && dice_below(&dice, 3) == 0;
            if (one->is_kill)
                one->shape = REASON_KILL;
            else if (dice_below(&dice, 8) >= same_of_8)
                one->shape = (uint8_t)dice_below(&dice, REASON_SHAPE_COUNT);
            one->reason = PRINT(one->shape);
            one->reason.whole = dice_below(&dice, 12) > 0;
        }
        ours = attribute(&exit, all, count);
        theirs = restated(&exit, all, count);
        seen[ours.confidence]++;
        if (ours.source != theirs.source || ours.confidence != theirs.confidence ||
            ours.evidence != theirs.evidence || ours.candidates != theirs.candidates)
            goto differs;
        for (size_t c = 0; c < ours.candidates; c++)
            if (ours.candidate[c].source != theirs.candidate[c].source ||
                ours.candidate[c].evidence != theirs.candidate[c].evidence)
                goto differs;
        continue;

    differs:
        print_case(&exit, all, count);
        fail_msg(
            "round %zu: source %d (restated %d) confidence %d (%d) evidence %d (%d) candidates "
            "%zu (%zu)",
            round, ours.source, theirs.source, ours.confidence, theirs.confidence, ours.evidence,
            theirs.evidence, ours.candidates, theirs.candidates);
    }
    for (size_t confidence = 0; confidence < CORONER_CONFIDENCE_COUNT; confidence++)
        assert_true(seen[confidence] > 100); /* or the dice say nothing */
}

static void what_died_outside_may_have_been_it(void **state)
{
    PLAY({.what = "nothing else fits",
          .exit = {BOOM, .evidence_lost = true},
          .evidence = {{UNSEEN, .still_linked = true}},
          .count = 1,
          INFERRED(LINK, 0)},
         {.what = "one of two",
          .exit = {BOOM, .evidence_lost = true},
          .evidence = {{UNSEEN, .still_linked = true}, {UNSEEN, .still_linked = true}},
          .count = 2,
          AMBIGUOUS(LINK, 0),
          .list = {OF(LINK, 0), OF(LINK, 1)},
          .listed = 2},
         {.what = "a kill fits as well, and was seen",
          .exit = {KILLED, .evidence_lost = true},
          .evidence = {{UNSEEN, .still_linked = true}, {KILLER, AGO(S)}},
          .count = 2,
          AMBIGUOUS(KILL, 1),
          .list = {OF(KILL, 1), OF(LINK, 0)},
          .listed = 2},
         {.what = "killed, and the message went by without a word",
          .exit = {KILLED, .trapping = true},
          .evidence = {{UNSEEN, AGO(S)}, {KILLER, AGO(S)}},
          .count = 2,
          OBSERVED(KILL, 1)},
         {.what = "another node's doing comes last",
          .exit = {BOOM, .evidence_lost = true, .is_distributed = true},
          .evidence = {{UNSEEN, .still_linked = true}},
          .count = 1,
          AMBIGUOUS(LINK, 0),
          .list = {OF(LINK, 0), OF(REMOTE_SIGNAL, NONE)},
          .listed = 2},
         {.what = "it traps: over a link that stands nothing has come",
          .exit = {BOOM, .trapping = true},
          .evidence = {{UNSEEN, .still_linked = true}, {EXIT, BOOM, AGO(S)}},
          .count = 2,
          OBSERVED(SELF_EXIT, 1)},
         {.what = "it trapped it, and said the reason itself",
          .exit = {BOOM, .trapping = true, .evidence_lost = true},
          .evidence = {{UNSEEN, AGO(S)}, {EXIT, BOOM, AGO(0)}},
          .count = 2,
          AMBIGUOUS(SELF_EXIT, 1),
          .list = {OF(SELF_EXIT, 1), OF(LINK_TRAPPED, 0)},
          .listed = 2},
         {.what = "long ago",
          .exit = {BOOM, .trapping = true},
          .evidence = {{UNSEEN, AGO(61 * S)}, {EXIT, BOOM, AGO(0)}},
          .count = 2,
          OBSERVED(SELF_EXIT, 1)},
         {.what = "its parent, as the stack shows",
          .exit = {BOOM, .trapping = true, .evidence_lost = true},
          .evidence = {{UNSEEN, .is_parent = true, AGO(S)}, {UNSEEN, AGO(S)}, {RAISE, BOOM, .from_parent = true, AGO(0)}},
          .count = 3,
          INFERRED(LINK_TRAPPED, 0)},
         {.what = "it was done",
          .exit = {NORMAL, .evidence_lost = true},
          .evidence = {{UNSEEN, .still_linked = true}, {UNSEEN, AGO(S)}},
          .count = 2,
          OBSERVED(NORMAL, NONE)},
         {.what = "its heap",
          .exit = {KILLED, .evidence_lost = true},
          .evidence = {{UNSEEN, .still_linked = true}, {.kind = EVIDENCE_HEAP, AGO(S)}},
          .count = 2,
          OBSERVED(MAX_HEAP_SIZE, 1)});
}

/* However much evidence there is, nothing is read or written out of bounds. */
static void any_amount_of_evidence(void **state)
{
    struct exit_facts exit = {KILLED, .time_ns = NOW};
    struct evidence_facts *all = calloc(300, sizeof(*all));

    (void)state;
    for (size_t i = 0; i < 300; i++)
        all[i] = (struct evidence_facts){KILLER, AGO(i)};
    for (size_t count = 0; count <= 300; count++) {
        struct verdict verdict = attribute(&exit, all, count);

        assert_int_equal(verdict.candidates, count < 2 ? 0 : count < 8 ? count : 8);
        assert_int_equal(verdict.source, count == 0 ? CORONER_SOURCE_UNKNOWN : CORONER_SOURCE_KILL);
    }
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(kill_ends_whoever_it_is_sent_to),
        TEST(a_signal_ends_with_its_reason),
        TEST(normal_ends_nobody_else),
        TEST(a_link_counts_while_it_stands),
        TEST(a_trapped_exit_is_inferred),
        TEST(a_signal_that_ends_at_once_beats_a_trapped_one),
        TEST(several_that_fit_are_all_listed),
        TEST(its_own_exit_around_a_signal),
        TEST(evidence_lost_leaves_no_certainty),
        TEST(what_a_stack_proves),
        TEST(shutdown_and_normal_one_may_choose),
        TEST(what_a_fuzzer_found),
        TEST(what_the_shape_alone_tells),
        TEST(random_evidence_agrees_with_the_rules_restated),
        TEST(what_died_outside_may_have_been_it),
        TEST(any_amount_of_evidence),
    };

    return check_run("attribution", tests);
}
