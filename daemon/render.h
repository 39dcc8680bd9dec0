/*
 * A stored record in the words of a log pipeline.
 *
 * Every rendering is one JSON object a line, with integers below 2^53, and made of the stored line
 * alone. An Erlang pid never stands where Elasticsearch or OpenTelemetry expect a number.
 */
#ifndef CORONER_RENDER_H
#define CORONER_RENDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "settings.h"

/*
 * render_line(format, json, length, out):
 * Append the stored line ${json} of ${length} bytes to ${out} in ${format}, with a newline. What is
 * no record comes out as it is. Return false if it could not be read as JSON, as a damaged store
 * may give.
 */
bool render_line(enum sink_format format, const char *json, size_t length, struct buffer *out);

/*
 * render_start(format):
 * Return what every line in ${format} begins with.
 */
const char *render_start(enum sink_format format);

/*
 * render_id_key(format):
 * Return the text after which, at its first occurrence in a line in ${format}, the record's id
 * stands.
 */
const char *render_id_key(enum sink_format format);

/*
 * render_ecs(record), render_otlp(record):
 * Return ${record}, a line as an object, as a new object of the Elastic Common Schema (8.11), or of
 * OTLP/JSON (an ExportLogsServiceRequest with one log record).
 */
json_t *render_ecs(const json_t *record);
json_t *render_otlp(const json_t *record);

#endif
