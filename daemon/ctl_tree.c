#include "ctl_tree.h"

#include <stdlib.h>

#define LINES_MAX 512 /* of one tree */

struct line {
    int depth;
    bool branch;
    struct ctl_text text;
};

struct ctl_tree {
    struct ctl_look look;
    size_t count;
    struct line lines[LINES_MAX + 1]; /* the last takes, and loses, what is too many */
};

struct ctl_tree *ctl_tree_new(struct ctl_look look)
{
    struct ctl_tree *tree = calloc(1, sizeof(*tree));

    if (tree != NULL)
        tree->look = look;
    return tree;
}

static struct ctl_text *begin(struct ctl_tree *tree, int depth, bool branch)
{
    struct line *line = &tree->lines[tree->count];

    ctl_text_free(&line->text);
    ctl_text_init(&line->text, tree->look);
    line->depth = depth;
    line->branch = branch;
    if (tree->count < LINES_MAX)
        tree->count++;
    return &line->text;
}

struct ctl_text *ctl_tree_line(struct ctl_tree *tree, int depth)
{
    return begin(tree, depth, true);
}

struct ctl_text *ctl_tree_note(struct ctl_tree *tree, int depth)
{
    return begin(tree, depth, false);
}

/* Whether a branch of ${depth} follows line ${number} before the branch above it ends. */
static bool goes_on(const struct ctl_tree *tree, size_t number, int depth)
{
    for (size_t i = number + 1; i < tree->count; i++) {
        if (tree->lines[i].depth < depth)
            return false;
        if (tree->lines[i].depth == depth && tree->lines[i].branch)
            return true;
    }
    return false;
}

void ctl_tree_draw(const struct ctl_tree *tree, struct ctl_text *text)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct line *line = &tree->lines[i];
        int above = line->branch ? line->depth - 1 : line->depth;

        for (int depth = 1; depth <= above; depth++) {
            if (goes_on(tree, i, depth))
                ctl_text_symbol(text, "│  ", "|  ");
            else
                ctl_text_add(text, "   ");
        }
        if (line->branch && line->depth > 0) {
            if (goes_on(tree, i, line->depth))
                ctl_text_symbol(text, "├─ ", "|- ");
            else
                ctl_text_symbol(text, "└─ ", "`- ");
        }
        /* It was made harmless when it was put there; only the length has to be looked after. */
        ctl_text_append(text, &line->text);
        ctl_text_add(text, "\n");
    }
}

void ctl_tree_free(struct ctl_tree *tree)
{
    if (tree == NULL)
        return;
    for (size_t i = 0; i <= LINES_MAX; i++)
        ctl_text_free(&tree->lines[i].text);
    free(tree);
}
