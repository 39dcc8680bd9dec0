/*
 * The command count: how many records fit, by fields and by time.
 */
#ifndef CORONER_OP_COUNT_H
#define CORONER_OP_COUNT_H

#include "query.h"

/*
 * op_count_register(query):
 * Register the command with ${query}.
 */
void op_count_register(struct query *query);

#endif
