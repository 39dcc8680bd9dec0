/*
 * Lines of text drawn as a tree.
 */
#ifndef CORONER_CTL_TREE_H
#define CORONER_CTL_TREE_H

#include "ctl_text.h"

struct ctl_tree;

/**
 * ctl_tree_new(look):
 * Return an empty tree, to be released with ctl_tree_free, or NULL if there is no memory.
 */
struct ctl_tree *ctl_tree_new(struct ctl_look look);

/**
 * ctl_tree_line(tree, depth):
 * Begin the next line of ${tree}, ${depth} levels below the root: a branch of the last line that is
 * one level higher. Return where its text is appended, valid until the next call.
 */
struct ctl_text *ctl_tree_line(struct ctl_tree *tree, int depth);

/**
 * ctl_tree_note(tree, depth):
 * The same for a line that is no branch but stands, indented, below the text of the last branch of
 * that ${depth}.
 */
struct ctl_text *ctl_tree_note(struct ctl_tree *tree, int depth);

/**
 * ctl_tree_draw(tree, text):
 * Append all lines of ${tree} to ${text}; if memory ran out on the way, ${text} has failed.
 */
void ctl_tree_draw(const struct ctl_tree *tree, struct ctl_text *text);

/**
 * ctl_tree_free(tree):
 * Release ${tree}; nothing happens if it is NULL.
 */
void ctl_tree_free(struct ctl_tree *tree);

#endif
