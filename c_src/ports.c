/* Ports, and heaps: what ends a process that is no process. */
#include "alloc.h"
#include "atoms.h"
#include "callbacks.h"
#include "clock.h"
#include "term.h"

#define PEERS_MAX 64 /* linked processes that the close of a port writes to */

/* --- ports -------------------------------------------------------------------------------------------- */

/* Leaves the close of a port on those that it is linked to, before the VM tells them. */
static void on_closed(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM port, ERL_NIF_TERM reason)
{
    struct entry *entry = ledger_exit(coroner->ledger, port);
    term_word peers[PEERS_MAX];
    struct detail *detail = NULL;
    size_t count = 0;

    if (entry != NULL && reason != atoms.normal && (detail = detail_new()) != NULL)
        count = linkset_list(&entry->links, peers, PEERS_MAX);
    if (detail != NULL) {
        detail->port = port;
        detail->title = entry->name;
    }
    for (size_t i = 0; i < count; i++) {
        struct evidence *evidence = evidence_new(EVIDENCE_PORT, monotonic_ns());

        if (evidence == NULL)
            break;
        /* Of a port that is killed its links hear `killed` (driver_failure's terminate_port, io.c, OTP 25). */
        if (reason == atoms.kill)
            reason = atoms.killed;
        evidence->from = port;
        evidence->shape = (uint8_t)term_reason_shape(env, reason);
        evidence->print = term_fingerprint(env, reason);
        evidence->detail = detail_hold(detail);
        (void)ledger_evidence(coroner->ledger, peers[i], evidence);
    }
    detail_drop(detail);
    entry_free(entry);
}

void on_port_event(struct coroner *coroner, ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM tag = argv[0], port = argv[2], term = argv[3], title;

    if (tag == atoms.open) {
        struct birth birth = {.pid = port, .flags = ENTRY_PORT, .time_ns = monotonic_ns()};

        birth.parent = is_local_pid(env, term) ? term : NO_WORD;
        if (enif_get_map_value(env, argv[4], atoms.extra, &title) && word_is_atom(title))
            birth.name = title;
        ledger_spawned(coroner->ledger, &birth);
    } else if (tag == atoms.closed) {
        on_closed(coroner, env, port, term);
    } else if (!is_local_pid(env, term)) {
        return;
    } else if (tag == atoms.link || tag == atoms.getting_linked) {
        ledger_link(coroner->ledger, port, term);
    } else if (tag == atoms.unlink || tag == atoms.getting_unlinked) {
        ledger_unlink(coroner->ledger, port, term);
    }
}

/* --- heaps -------------------------------------------------------------------------------------------- */

void on_heap_too_large(struct coroner *coroner, ErlNifEnv *env, ERL_NIF_TERM pid, ERL_NIF_TERM sizes)
{
    struct evidence *evidence = evidence_new(EVIDENCE_HEAP, monotonic_ns());
    struct detail *detail = detail_new();
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *pair;
    ErlNifUInt64 words;
    int arity;

    if (evidence == NULL || detail == NULL) {
        evidence_free(evidence);
        detail_drop(detail);
        return;
    }
    /* The blocks that the VM compares with the limit (reached_max_heap_size, erl_gc.c, OTP 25). */
    for (int i = 0; i < 32 && enif_get_list_cell(env, sizes, &head, &sizes); i++)
        if (enif_get_tuple(env, head, &arity, &pair) && arity == 2 &&
            (pair[0] == atoms.heap_block_size || pair[0] == atoms.old_heap_block_size ||
             pair[0] == atoms.mbuf_size) &&
            enif_get_uint64(env, pair[1], &words))
            detail->size_words += words;
    detail->has_size = true;
    detail->has_limit = ledger_limit_of(coroner->ledger, pid, &detail->limit_words);
    if (!detail->has_limit && coroner->default_limit_words > 0 &&
        detail->size_words > coroner->default_limit_words) {
        detail->has_limit = true;
        detail->limit_words = coroner->default_limit_words;
    }
    evidence->from = pid;
    evidence->shape = REASON_KILLED;
    evidence->print = (struct fingerprint){.hash = atoms.killed, .whole = true};
    evidence->detail = detail;
    /* It may be over its limit again and again, where that does not kill it. */
    (void)ledger_heap_survived(coroner->ledger, pid);
    (void)ledger_evidence(coroner->ledger, pid, evidence);
}

void on_garbage_collected(struct coroner *coroner, ERL_NIF_TERM pid)
{
    (void)ledger_heap_survived(coroner->ledger, pid);
}
