/*
 * Reading a record (DESIGN section 5), whatever it lacks: the processes in it and their names.
 */
#ifndef CORONER_CTL_RECORD_H
#define CORONER_CTL_RECORD_H

#include <jansson.h>

#include "ctl_text.h"

/**
 * ctl_record_add_process(text, record, pid):
 * Append ${pid} and, if ${record} knows one, the name of that process.
 */
void ctl_record_add_process(struct ctl_text *text, const json_t *record, const char *pid);

/**
 * ctl_record_add_name(text, name, initial_call):
 * Append what people call a process: its registered ${name}; else the module of its ${initial_call}
 * where that is an init, as behaviours have it; else all of the call. Either may be NULL. Return
 * whether there was anything to append.
 */
bool ctl_record_add_name(struct ctl_text *text, const char *name, const char *initial_call);

/**
 * ctl_record_add_value(text, value):
 * Append the string, number or truth value ${value}. Return whether it is one.
 */
bool ctl_record_add_value(struct ctl_text *text, const json_t *value);

#endif
