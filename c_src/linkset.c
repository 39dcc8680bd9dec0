#include <string.h>

#include "alloc.h"
#include "linkset.h"

#define FANOUT_BITS 4
#define FANOUT (1U << FANOUT_BITS)
#define LEAF_MAX 8
/* 64 bits of hash; the hash is a bijection, so different words part at the latest here. */
#define DEPTH_MAX (64 / FANOUT_BITS)

/* A node is a leaf or a branch; `capacity` 0 means branch. */
struct linkset_node {
    uint8_t capacity; /* room of a leaf: 2, 4 or 8 words */
    uint8_t count;    /* words in a leaf, children of a branch */
    union {
        term_word words[LEAF_MAX];
        struct linkset_node *children[FANOUT];
    } of;
};

static size_t node_size(uint8_t capacity)
{
    if (capacity == 0)
        return sizeof(struct linkset_node);
    return offsetof(struct linkset_node, of) + capacity * sizeof(term_word);
}

static struct linkset_node *node_new(uint8_t capacity)
{
    struct linkset_node *node = memory_alloc(node_size(capacity));

    if (node == NULL)
        return NULL;
    memset(node, 0, node_size(capacity));
    node->capacity = capacity;
    return node;
}

static unsigned slot_at(uint64_t hash, unsigned depth)
{
    return (unsigned)(hash >> (depth * FANOUT_BITS)) & (FANOUT - 1);
}

static int leaf_find(const struct linkset_node *leaf, term_word word)
{
    for (int i = 0; i < leaf->count; i++)
        if (leaf->of.words[i] == word)
            return i;
    return -1;
}

/* Adds to the trie below *at, which may be NULL. 1 added, 0 there already, -1 without memory. */
static int trie_add(struct linkset_node **at, term_word word)
{
    uint64_t hash = word_hash(word);
    unsigned depth = 0;

    for (;;) {
        struct linkset_node *node = *at;

        if (node == NULL) {
            if ((node = node_new(2)) == NULL)
                return -1;
            node->of.words[0] = word;
            node->count = 1;
            *at = node;
            return 1;
        }
        if (node->capacity == 0) {
            struct linkset_node **child = &node->of.children[slot_at(hash, depth)];
            bool is_new = *child == NULL;
            int rc;

            if (!is_new) {
                at = child;
                depth++;
                continue;
            }
            if ((rc = trie_add(child, word)) > 0) /* one level: the child is NULL */
                node->count++;
            return rc;
        }
        if (leaf_find(node, word) >= 0)
            return 0;
        if (node->count < node->capacity) {
            node->of.words[node->count++] = word;
            return 1;
        }
        if (node->capacity < LEAF_MAX) {
            struct linkset_node *larger = node_new((uint8_t)(node->capacity * 2));

            if (larger == NULL)
                return -1;
            memcpy(larger->of.words, node->of.words, node->count * sizeof(term_word));
            larger->count = node->count;
            *at = larger;
            memory_free(node);
            continue;
        }
        /*
         * A full leaf becomes a branch over leaves. On failure the leaf is left as it was. A leaf below
         * DEPTH_MAX branches is never full: all of the hash has been used, so it holds one word.
         */
        struct linkset_node *branch = node_new(0);

        if (branch == NULL)
            return -1;
        for (int i = 0; i < node->count; i++) {
            term_word moved = node->of.words[i];
            struct linkset_node **child = &branch->of.children[slot_at(word_hash(moved), depth)];

            if (*child == NULL) {
                if ((*child = node_new(LEAF_MAX)) == NULL) {
                    for (unsigned c = 0; c < FANOUT; c++)
                        memory_free(branch->of.children[c]);
                    memory_free(branch);
                    return -1;
                }
                branch->count++;
            }
            (*child)->of.words[(*child)->count++] = moved;
        }
        *at = branch;
        memory_free(node);
    }
}

static bool trie_remove(struct linkset_node **root, term_word word)
{
    struct linkset_node **path[DEPTH_MAX + 1];
    uint64_t hash = word_hash(word);
    unsigned depth = 0;
    struct linkset_node *node;
    int i;

    path[0] = root;
    while ((node = *path[depth]) != NULL && node->capacity == 0) {
        path[depth + 1] = &node->of.children[slot_at(hash, depth)];
        depth++;
    }
    if (node == NULL || (i = leaf_find(node, word)) < 0)
        return false;
    node->of.words[i] = node->of.words[--node->count];
    /* What has become empty goes, up to the root. */
    while (node->count == 0) {
        memory_free(node);
        *path[depth] = NULL;
        if (depth == 0)
            break;
        node = *path[--depth];
        node->count--;
    }
    return true;
}

static bool trie_contains(const struct linkset_node *node, term_word word)
{
    uint64_t hash = word_hash(word);

    for (unsigned depth = 0; node != NULL && node->capacity == 0; depth++)
        node = node->of.children[slot_at(hash, depth)];
    return node != NULL && leaf_find(node, word) >= 0;
}

/* Depth is at most DEPTH_MAX, so recursion is bounded. */
static size_t trie_list(const struct linkset_node *node, term_word *words, size_t room)
{
    size_t written = 0;

    if (node == NULL || room == 0)
        return 0;
    if (node->capacity != 0) {
        written = node->count < room ? node->count : room;
        memcpy(words, node->of.words, written * sizeof(*words));
        return written;
    }
    for (unsigned c = 0; c < FANOUT && written < room; c++)
        written += trie_list(node->of.children[c], words + written, room - written);
    return written;
}

static void trie_free(struct linkset_node *node)
{
    if (node == NULL)
        return;
    if (node->capacity == 0)
        for (unsigned c = 0; c < FANOUT; c++)
            trie_free(node->of.children[c]);
    memory_free(node);
}

static size_t trie_bytes(const struct linkset_node *node)
{
    size_t bytes;

    if (node == NULL)
        return 0;
    bytes = node_size(node->capacity);
    if (node->capacity == 0)
        for (unsigned c = 0; c < FANOUT; c++)
            bytes += trie_bytes(node->of.children[c]);
    return bytes;
}

int linkset_add(struct linkset *set, term_word word)
{
    int rc;

    if (!set->is_trie) {
        struct linkset_node *root = NULL;

        for (uint32_t i = 0; i < set->count; i++)
            if (set->of.members[i] == word)
                return 0;
        if (set->count < LINKSET_INLINE) {
            set->of.members[set->count++] = word;
            return 1;
        }
        for (uint32_t i = 0; i < set->count; i++)
            if (trie_add(&root, set->of.members[i]) < 0) {
                trie_free(root);
                return -1;
            }
        set->of.root = root;
        set->is_trie = true;
    }
    if ((rc = trie_add(&set->of.root, word)) > 0)
        set->count++;
    return rc;
}

bool linkset_remove(struct linkset *set, term_word word)
{
    if (set->is_trie) {
        if (!trie_remove(&set->of.root, word))
            return false;
        set->count--;
        return true;
    }
    for (uint32_t i = 0; i < set->count; i++)
        if (set->of.members[i] == word) {
            set->of.members[i] = set->of.members[--set->count];
            return true;
        }
    return false;
}

bool linkset_contains(const struct linkset *set, term_word word)
{
    if (set->is_trie)
        return trie_contains(set->of.root, word);
    for (uint32_t i = 0; i < set->count; i++)
        if (set->of.members[i] == word)
            return true;
    return false;
}

size_t linkset_list(const struct linkset *set, term_word *words, size_t room)
{
    size_t written = set->count < room ? set->count : room;

    if (set->is_trie)
        return trie_list(set->of.root, words, room);
    memcpy(words, set->of.members, written * sizeof(*words));
    return written;
}

void linkset_clear(struct linkset *set)
{
    if (set->is_trie)
        trie_free(set->of.root);
    memset(set, 0, sizeof(*set));
}

size_t linkset_bytes(const struct linkset *set)
{
    return set->is_trie ? trie_bytes(set->of.root) : 0;
}
