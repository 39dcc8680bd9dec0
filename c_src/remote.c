#include <stdatomic.h>

#include "alloc.h"
#include "lock.h"
#include "remote.h"

#define SLOTS 16384

struct slot {
    term_word word;
    struct remote_pid pid;
};

struct remotes {
    struct lock lock;
    struct slot *slots; /* NULL until the first */
    _Atomic size_t node_count; /* written with the lock */
    term_word only_node;
};

struct remotes *remotes_new(void)
{
    return memory_zalloc(sizeof(struct remotes));
}

void remotes_free(struct remotes *remotes)
{
    if (remotes == NULL)
        return;
    memory_free(remotes->slots);
    memory_free(remotes);
}

term_word remotes_enter(struct remotes *remotes, struct remote_pid pid)
{
    uint64_t hash = word_hash(word_hash((uint64_t)pid.number << 32 | pid.serial) ^
                              word_hash(pid.node + pid.creation));
    term_word word = (hash & ~UINT64_C(15)) | 16; /* not NO_WORD */

    lock_take(&remotes->lock);
    if (remotes->slots == NULL)
        remotes->slots = memory_zalloc(SLOTS * sizeof(*remotes->slots));
    if (remotes->slots != NULL)
        remotes->slots[hash >> 8 & (SLOTS - 1)] = (struct slot){.word = word, .pid = pid};
    lock_give(&remotes->lock);
    return word;
}

bool remotes_find(struct remotes *remotes, term_word word, struct remote_pid *pid)
{
    bool found = false;

    lock_take(&remotes->lock);
    if (remotes->slots != NULL) {
        const struct slot *slot = &remotes->slots[word >> 8 & (SLOTS - 1)];

        if ((found = slot->word == word))
            *pid = slot->pid;
    }
    lock_give(&remotes->lock);
    return found;
}

void remotes_set_nodes(struct remotes *remotes, const term_word *nodes, size_t count)
{
    lock_take(&remotes->lock);
    atomic_store_explicit(&remotes->node_count, count, memory_order_relaxed);
    remotes->only_node = count == 1 ? nodes[0] : NO_WORD;
    lock_give(&remotes->lock);
}

term_word remotes_only_node(struct remotes *remotes, size_t *count)
{
    term_word node;

    lock_take(&remotes->lock);
    *count = atomic_load_explicit(&remotes->node_count, memory_order_relaxed);
    node = remotes->only_node;
    lock_give(&remotes->lock);
    return node;
}

bool remotes_has_nodes(const struct remotes *remotes)
{
    return atomic_load_explicit(&remotes->node_count, memory_order_relaxed) > 0;
}
