/*
 * The command subscribe: records as they are committed, from now on or from a cursor.
 */
#ifndef CORONER_OP_SUBSCRIBE_H
#define CORONER_OP_SUBSCRIBE_H

#include "query.h"

/*
 * op_subscribe_register(query, writer):
 * Register the command with ${query}. "now" is what ${writer} committed last.
 */
void op_subscribe_register(struct query *query, struct writer *writer);

#endif
