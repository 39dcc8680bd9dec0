/*
 * A record as the world sees it: one line of JSON (DESIGN §5), and the values that can be asked
 * for.
 */
#ifndef CORONER_RECORD_H
#define CORONER_RECORD_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "hello.h"

/*
 * X(column, section of the record or "", key): the texts of a record that the store keeps in
 * columns of their own. `initial_module` is made from process.initial_call.
 */
#define RECORD_COLUMNS(X)                                                                          \
    X(severity, "", "severity")                                                                    \
    X(pid, "process", "pid")                                                                       \
    X(name, "process", "name")                                                                     \
    X(initial_call, "process", "initial_call")                                                     \
    X(source, "exit", "source")                                                                    \
    X(reason_class, "exit", "reason_class")                                                        \
    X(confidence, "exit", "confidence")                                                            \
    X(origin_source, "origin", "source")                                                           \
    X(origin_pid, "origin", "pid")                                                                 \
    X(origin_id, "origin", "id")                                                                   \
    X(origin_module, "origin", "module")                                                           \
    X(origin_by, "origin", "by")                                                                   \
    X(origin_by_name, "origin", "by_name")

enum record_column {
#define X(column, section, key) RECORD_COLUMN_##column,
    RECORD_COLUMNS(X)
#undef X
        RECORD_COLUMN_initial_module,
    RECORD_COLUMN_COUNT
};

struct record {
    uint64_t seq;
    uint64_t time_ns;
    uint64_t kind;
    size_t json_length;
    const char *json;                        /* the line, without its newline; NUL-terminated */
    const char *column[RECORD_COLUMN_COUNT]; /* NUL-terminated; NULL where there is none */
    size_t size;                             /* bytes of memory this takes, all told */
};

/* What a record is made of; each text with its length, NULL where there is none. */
struct record_parts {
    uint64_t seq;
    uint64_t time_ns;
    uint64_t kind;
    const char *json;
    size_t json_length;
    const char *text[RECORD_COLUMN_COUNT]; /* valid UTF-8 without NUL */
    size_t length[RECORD_COLUMN_COUNT];
};

/* How a record came through. */
enum record_fit {
    RECORD_WHOLE,  /* as the node sent it */
    RECORD_SHRUNK, /* cut so that it fits WIRE_RECORD_JSON_MAX; exit.truncated says so */
};

/*
 * record_pack(parts):
 * Copy ${parts} to a record, to be freed with free. All of it is one piece of memory, so that a
 * queue of records can be measured and freed simply. Fills in the text of `initial_module`.
 */
struct record *record_pack(struct record_parts *parts);

/*
 * record_make(frame, hello, fit, why):
 * Make the record of a RECORD ${frame}, whose map is used up, sent by the node that said ${hello}.
 * Return the record, to be freed with free, and set *${fit}; or return NULL if a required field is
 * missing or one is of the wrong type, and say so in ${why}. The line is valid JSON and with its
 * newline at most WIRE_RECORD_JSON_MAX bytes, whatever the frame holds.
 */
struct record *record_make(struct frame *frame, const struct hello *hello, enum record_fit *fit,
                           char why[FRAME_WHY_SIZE]);

#endif
