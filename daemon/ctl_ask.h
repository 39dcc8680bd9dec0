/*
 * The commands that ask coronerd for records: why, query and tail.
 */
#ifndef CORONER_CTL_ASK_H
#define CORONER_CTL_ASK_H

#include "ctl.h"

/**
 * ctl_why(options, argc, argv):
 * Print why the process ${argv}[0], a pid or a registered name, exited.
 */
enum ctl_exit ctl_why(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_query(options, argc, argv):
 * Print the records that fit the conditions ${argv}, a line each.
 */
enum ctl_exit ctl_query(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_tail(options, argc, argv):
 * Print the records that fit the conditions ${argv} as they come in, until a signal ends it.
 */
enum ctl_exit ctl_tail(const struct ctl_options *options, int argc, char **argv);

#endif
