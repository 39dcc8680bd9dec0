#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "remote.h"

#define SLOTS 16384

struct slot {
    term_word word;
    struct remote_pid pid;
};

struct remotes {
    pthread_mutex_t lock;
    struct slot *slots; /* NULL until the first */
    size_t node_count;
    term_word only_node;
};

struct remotes *remotes_new(void)
{
    struct remotes *remotes = memory_zalloc(sizeof(*remotes));

    if (remotes == NULL)
        return NULL;
    if (pthread_mutex_init(&remotes->lock, NULL) != 0) {
        memory_free(remotes);
        return NULL;
    }
    return remotes;
}

void remotes_free(struct remotes *remotes)
{
    if (remotes == NULL)
        return;
    memory_free(remotes->slots);
    pthread_mutex_destroy(&remotes->lock);
    memory_free(remotes);
}

term_word remotes_enter(struct remotes *remotes, struct remote_pid pid)
{
    uint64_t hash = word_hash(word_hash((uint64_t)pid.number << 32 | pid.serial) ^
                              word_hash(pid.node + pid.creation));
    term_word word = (hash & ~UINT64_C(15)) | 16; /* not NO_WORD */

    pthread_mutex_lock(&remotes->lock);
    if (remotes->slots == NULL)
        remotes->slots = memory_zalloc(SLOTS * sizeof(*remotes->slots));
    if (remotes->slots != NULL)
        remotes->slots[hash >> 8 & (SLOTS - 1)] = (struct slot){.word = word, .pid = pid};
    pthread_mutex_unlock(&remotes->lock);
    return word;
}

bool remotes_find(struct remotes *remotes, term_word word, struct remote_pid *pid)
{
    bool found = false;

    pthread_mutex_lock(&remotes->lock);
    if (remotes->slots != NULL) {
        const struct slot *slot = &remotes->slots[word >> 8 & (SLOTS - 1)];

        if ((found = slot->word == word))
            *pid = slot->pid;
    }
    pthread_mutex_unlock(&remotes->lock);
    return found;
}

void remotes_set_nodes(struct remotes *remotes, const term_word *nodes, size_t count)
{
    pthread_mutex_lock(&remotes->lock);
    remotes->node_count = count;
    remotes->only_node = count == 1 ? nodes[0] : NO_WORD;
    pthread_mutex_unlock(&remotes->lock);
}

term_word remotes_only_node(struct remotes *remotes, size_t *count)
{
    term_word node;

    pthread_mutex_lock(&remotes->lock);
    *count = remotes->node_count;
    node = remotes->only_node;
    pthread_mutex_unlock(&remotes->lock);
    return node;
}
