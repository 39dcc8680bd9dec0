/*
 * The ingest socket: nodes connect, say who they are, and send records; each record is committed
 * and then acknowledged (common/wire.h).
 */
#ifndef CORONER_INGEST_H
#define CORONER_INGEST_H

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#include "access.h"
#include "endpoint.h"
#include "metrics.h"
#include "writer.h"

struct ingest;

/*
 * ingest_new(loop, endpoint, access, writer, why):
 * Listen at ${endpoint}, whose descriptor is taken over, serve whom ${access} lets in, and hand
 * what comes to ${writer}. ${endpoint} and ${access} are freed with it. Return NULL if that fails
 * and say in ${why} what is wrong.
 */
struct ingest *ingest_new(uv_loop_t *loop, struct endpoint *endpoint, struct access *access,
                          struct writer *writer, char why[ENDPOINT_WHY_SIZE]);

/*
 * ingest_quiet(ingest):
 * Accept and read no more. What was read goes on to be committed and acknowledged.
 */
void ingest_quiet(struct ingest *ingest);

/*
 * ingest_tell(ingest, metrics):
 * Let ${ingest} tell its numbers to ${metrics}, which it must outlive.
 */
void ingest_tell(struct ingest *ingest, struct metrics *metrics);

/*
 * ingest_close(ingest):
 * Close all connections. The memory is freed when the loop has run on and the writer is done with
 * (or has dropped) what came from here; NULL is fine.
 */
void ingest_close(struct ingest *ingest);

/*
 * ingest_connected(ingest):
 * Return a new object with a key for each incarnation that is connected at this moment.
 */
json_t *ingest_connected(const struct ingest *ingest);

/*
 * ingest_status(ingest):
 * Return a new object with the numbers of this run.
 */
json_t *ingest_status(const struct ingest *ingest);

#endif
