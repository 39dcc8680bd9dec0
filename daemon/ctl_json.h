/*
 * JSON as lines on standard output.
 */
#ifndef CORONER_CTL_JSON_H
#define CORONER_CTL_JSON_H

#include <jansson.h>

#include "ctl.h"

/**
 * ctl_json_print(value):
 * Write ${value} as one line to standard output and flush it. On a terminal, whatever is not
 * printable ASCII is escaped as JSON has it. Return CTL_OK, or the code to end with as ctl_print
 * does.
 */
enum ctl_exit ctl_json_print(const json_t *value);

/**
 * ctl_json_text(object, key):
 * Return the string that ${object} has under ${key}; or NULL if it has none, an empty one, or is no
 * object.
 */
const char *ctl_json_text(const json_t *object, const char *key);

#endif
