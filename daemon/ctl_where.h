/*
 * Conditions on the command line: FIELD=VALUE, as what the query protocol calls "where".
 */
#ifndef CORONER_CTL_WHERE_H
#define CORONER_CTL_WHERE_H

#include <jansson.h>

#include "ctl.h"

/**
 * ctl_where(options, argc, argv, where):
 * Turn the ${argc} conditions ${argv} and --node in ${options} into a new object ${where}, or NULL
 * if there are none. Short names of fields are written out. Return CTL_OK, or the code to end with
 * after saying which condition is wrong.
 */
enum ctl_exit ctl_where(const struct ctl_options *options, int argc, char **argv, json_t **where);

/**
 * ctl_where_pid(text, pid, size):
 * If ${text} is an Erlang pid, with or without its angle brackets or as Elixir shows it, write it
 * as "<A.B.C>" into the
 * ${size} bytes of ${pid} and return true.
 */
bool ctl_where_pid(const char *text, char *pid, size_t size);

#define CTL_WHERE_FIELD 128 /* bytes of a field's name, with its NUL */

/**
 * ctl_where_field(name):
 * Return the field that the short ${name} stands for, or ${name}.
 */
const char *ctl_where_field(const char *name);

/**
 * ctl_where_shorts(text):
 * Append the table of the short names, and how conditions are written, to ${text}, for the help.
 */
void ctl_where_shorts(struct ctl_text *text);

/**
 * ctl_where_fields(text):
 * Append all fields to ${text}, a line each, for the help.
 */
void ctl_where_fields(struct ctl_text *text);

#endif
