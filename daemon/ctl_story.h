/*
 * A record as text for people: the whole story as a tree, or one line. Pure: JSON in, text out.
 */
#ifndef CORONER_CTL_STORY_H
#define CORONER_CTL_STORY_H

#include <jansson.h>

#include "ctl_text.h"

/**
 * ctl_story_tree(text, record):
 * Append the story of ${record}, from the exit back to its origin, as a tree, with time, node and
 * id at its foot. Whatever a record lacks is left out; what is in it cannot drive a terminal.
 */
void ctl_story_tree(struct ctl_text *text, const json_t *record);

/**
 * ctl_story_others(text, others):
 * Append a paragraph with ${others}, an array: the other runs of nodes that have such an exit.
 * Nothing if there are none.
 */
void ctl_story_others(struct ctl_text *text, const json_t *others);

/**
 * ctl_story_line(text, record):
 * Append ${record}, of whatever schema, as one line.
 */
void ctl_story_line(struct ctl_text *text, const json_t *record);

#endif
