/*
 * What the kernel says of this process, by the names that Prometheus' own clients use.
 */
#ifndef CORONER_PROCESS_NUMBERS_H
#define CORONER_PROCESS_NUMBERS_H

#include <stdint.h>

#include "metrics.h"

/*
 * process_numbers_tell(started_ns, page):
 * Add them to ${page}. ${started_ns} is when the daemon started, as timestamp_now gives it. What
 * cannot be read at this moment, as when there are no descriptors left, is left out.
 */
void process_numbers_tell(int64_t started_ns, struct metrics_page *page);

#endif
