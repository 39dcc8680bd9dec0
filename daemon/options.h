/*
 * coronerd's command line.
 */
#ifndef CORONER_OPTIONS_H
#define CORONER_OPTIONS_H

#include <stdbool.h>

#include "settings.h"

struct options {
    const char *config; /* the config file, or NULL if there is none */
    bool check;         /* look at the settings and end */
    struct settings_flags flags;
};

/*
 * options_read(argc, argv, options):
 * Fill ${options} from the arguments of main, which they point into. Return -1 to go on, or the
 * exit code after saying what there is to say.
 */
int options_read(int argc, char **argv, struct options *options);

/*
 * options_check(options):
 * Print the settings that the options and the config file come to, or say what is wrong with them.
 * Return the exit code.
 */
int options_check(const struct options *options);

#endif
