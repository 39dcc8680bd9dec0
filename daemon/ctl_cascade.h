/*
 * The command tree: a cascade as one story.
 */
#ifndef CORONER_CTL_CASCADE_H
#define CORONER_CTL_CASCADE_H

#include <jansson.h>

#include "ctl.h"

/**
 * ctl_cascade(options, argc, argv):
 * Print the cascade that the exit ${argv} names, a pid, a name or the id of a record, is of. Return
 * the code to end with.
 */
enum ctl_exit ctl_cascade(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_cascade_show(text, record, cascade, nodes):
 * Append the story to ${text}: the origin's ${record}, or NULL if it is not kept; the summary
 * ${cascade}; and the first of those who died, the array ${nodes}.
 */
void ctl_cascade_show(struct ctl_text *text, const json_t *record, const json_t *cascade,
                      const json_t *nodes);

#endif
