/*
 * The command status: how coronerd is, and which nodes send to it.
 */
#ifndef CORONER_CTL_STATUS_H
#define CORONER_CTL_STATUS_H

#include <jansson.h>

#include "ctl.h"

/**
 * ctl_status(options, argc, argv):
 * Print what coronerd says of itself and of its nodes.
 */
enum ctl_exit ctl_status(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_status_show(text, status, nodes):
 * Append a table of the objects in the array ${nodes}, and in a few lines what matters of the
 * object
 * ${status}, to ${text}. Pure.
 */
void ctl_status_show(struct ctl_text *text, const json_t *status, const json_t *nodes);

#endif
