/*
 * The command tree: a cascade as one story.
 */
#ifndef CORONER_OP_TREE_H
#define CORONER_OP_TREE_H

#include "query.h"

/*
 * op_tree_register(query):
 * Register the command with ${query}.
 */
void op_tree_register(struct query *query);

#endif
