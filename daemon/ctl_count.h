/*
 * The commands that count: count and top.
 */
#ifndef CORONER_CTL_COUNT_H
#define CORONER_CTL_COUNT_H

#include "ctl.h"

/**
 * ctl_count(options, argc, argv):
 * Print how many exits fit the conditions ${argv}, by --by and --bucket. Return the code to end
 * with.
 */
enum ctl_exit ctl_count(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_top(options, argc, argv):
 * Print what there is most of among the exits that fit the conditions ${argv}: killers, victims and
 * sources, or by --by; again and again with --watch. Return the code to end with.
 */
enum ctl_exit ctl_top(const struct ctl_options *options, int argc, char **argv);

#endif
