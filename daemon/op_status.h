/*
 * Commands about the daemon: nodes, status, version, help.
 */
#ifndef CORONER_OP_STATUS_H
#define CORONER_OP_STATUS_H

#include "ingest.h"
#include "query.h"
#include "sink.h"
#include "writer.h"

/* What the commands tell about. */
struct op_status_parts {
    const struct query *query;
    const struct ingest *ingest;
    const struct writer *writer;
    const struct sink *sink; /* NULL if there is none */
    struct store *store;
    const char *store_path;
    int64_t started_ns;
};

/*
 * op_status_register(query, parts):
 * Register the commands with ${query}. ${parts} stays where it is.
 */
void op_status_register(struct query *query, const struct op_status_parts *parts);

#endif
