/*
 * All sinks of the daemon, as the loop sees them.
 */
#ifndef CORONER_SINKS_H
#define CORONER_SINKS_H

#include <jansson.h>
#include <uv.h>

#include "settings.h"
#include "sink.h"
#include "store.h"
#include "writer.h"

struct sinks;

/*
 * sinks_new(loop, settings, store, writer, why):
 * Start the sinks of ${settings}, which outlive them, over ${store}. Return NULL, say in ${why}
 * what is wrong and set *${exit_code} to the code of sysexits.h that fits if one cannot be begun.
 */
struct sinks *sinks_new(uv_loop_t *loop, const struct settings *settings, struct store *store,
                        struct writer *writer, int *exit_code, char why[SINK_WHY_SIZE]);

/*
 * sinks_reopen(sinks):
 * sink_reopen each.
 */
void sinks_reopen(struct sinks *sinks);

/*
 * sinks_drain(sinks, drained, cookie):
 * Call drained(cookie) once every sink has everything that is in the store and the cursors are
 * noted, or cannot get it at present. At once, if there are no sinks.
 */
void sinks_drain(struct sinks *sinks, void (*drained)(void *cookie), void *cookie);

/*
 * sinks_count(sinks), sinks_numbers(sinks, index):
 * How many there are, and the numbers of one of them, for the metrics.
 */
size_t sinks_count(const struct sinks *sinks);
struct sink_numbers sinks_numbers(const struct sinks *sinks, size_t index);

/*
 * sinks_status(sinks):
 * Return a new array that says how each does.
 */
json_t *sinks_status(const struct sinks *sinks);

/*
 * sinks_close(sinks):
 * End them. ${writer} is not used any more; the loop runs on until the last thread has ended, and
 * then the memory is freed. NULL is fine.
 */
void sinks_close(struct sinks *sinks);

#endif
