/*
 * The commands attach and detach: load coroner into a running node over its distribution, and take
 * it out again.
 */
#ifndef CORONER_CTL_ATTACH_H
#define CORONER_CTL_ATTACH_H

#include "ctl.h"

/**
 * ctl_attach(options, argc, argv):
 * Load coroner into the node ${argv}[0], let it send to --ingest, and print what it did.
 */
enum ctl_exit ctl_attach(const struct ctl_options *options, int argc, char **argv);

/**
 * ctl_detach(options, argc, argv):
 * Take coroner out of the node ${argv}[0].
 */
enum ctl_exit ctl_detach(const struct ctl_options *options, int argc, char **argv);

#endif
