/*
 * Processes of other nodes that processes of this one are linked to, and the nodes there are.
 *
 * Such a pid is no immediate term, so a link set holds a word of ours for it: a hash with a tag that no immediate
 * term has. What is behind the word stands in a table of a fixed size; where two fall on one place the older goes, and then
 * only that there was such a link is known. Allocated with the first such link: most nodes have none.
 */
#ifndef CORONER_REMOTE_H
#define CORONER_REMOTE_H

#include <stdbool.h>
#include <stddef.h>

#include "word.h"

/* A process of another node: the parts of its pid. */
struct remote_pid {
    term_word node; /* an atom */
    uint32_t number, serial, creation;
};

struct remotes;

/** remotes_new(): knows of none. NULL without memory. */
struct remotes *remotes_new(void);

/** remotes_free(remotes): frees it; nobody may use it any more. NULL is a no-op. */
void remotes_free(struct remotes *remotes);

/** remotes_enter(remotes, pid): the word for ${pid}. */
term_word remotes_enter(struct remotes *remotes, struct remote_pid pid);

/** remotes_find(remotes, word, pid): whether what is behind ${word} is known; then it is in ${pid}. */
bool remotes_find(struct remotes *remotes, term_word word, struct remote_pid *pid);

/** remotes_is_word(word): whether ${word} is one of remotes_enter's. */
static inline bool remotes_is_word(term_word word)
{
    /* The low four bits of an immediate term are never 0 (a pid's 3, a port's 7: erl_term.h, OTP 25 .. 29). */
    return (word & 15) == 0 && word != NO_WORD;
}

/** remotes_set_nodes(remotes, nodes, count): the nodes that this one is connected to, atoms. */
void remotes_set_nodes(struct remotes *remotes, const term_word *nodes, size_t count);

/** remotes_has_nodes(remotes): whether there are any. Takes no lock. */
bool remotes_has_nodes(const struct remotes *remotes);

/** remotes_only_node(remotes, count): how many nodes there are in ${count}; the node if it is one, else NO_WORD. */
term_word remotes_only_node(struct remotes *remotes, size_t *count);

#endif
