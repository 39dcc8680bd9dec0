/*
 * Commands about records in the store: query, get, why, count.
 */
#ifndef CORONER_OP_RECORDS_H
#define CORONER_OP_RECORDS_H

#include "query.h"

/*
 * op_records_register(query):
 * Register the commands with ${query}.
 */
void op_records_register(struct query *query);

/*
 * op_records_failed(reader, error):
 * Fill ${error} after a statement on ${reader} failed, and return QUERY_FAILED.
 */
enum query_step op_records_failed(struct store_reader *reader, struct reply_error *error);

#endif
