/*
 * The table of nodes that status shows.
 */
#ifndef CORONER_CTL_NODES_H
#define CORONER_CTL_NODES_H

#include <jansson.h>

#include "ctl_text.h"

/**
 * ctl_nodes_show(text, nodes):
 * Append a table of the objects in the array ${nodes}, as the daemon answers nodes, to ${text}:
 * those that are connected first, of the others the first few, and what the words for their state
 * mean.
 */
void ctl_nodes_show(struct ctl_text *text, const json_t *nodes);

#endif
