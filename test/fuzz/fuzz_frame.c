/*
 * What a node can send to coronerd, as far as it needs no socket: bytes are split into frames,
 * decoded, and made into records. Whatever the bytes are, each frame is a record whose line is
 * valid JSON and UTF-8 of at most WIRE_RECORD_JSON_MAX bytes, or an error that says something.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "hello.h"
#include "record.h"
#include "transcode.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A sentence: it ends within its array, and says something. */
static void check_why(const char why[FRAME_WHY_SIZE])
{
    HOLDS(memchr(why, '\0', FRAME_WHY_SIZE) != NULL);
    HOLDS(why[0] != '\0');
}

static void check_utf8(const char *text, size_t length)
{
    while (length > 0) {
        size_t taken = utf8_length(text, length);

        HOLDS(taken > 0);
        text += taken;
        length -= taken;
    }
}

static void check_record(const struct record *record, const struct frame *frame)
{
    json_error_t error;
    json_t *json;

    HOLDS(record->json_length + 1 <= WIRE_RECORD_JSON_MAX);
    HOLDS(strlen(record->json) == record->json_length);
    HOLDS(memchr(record->json, '\n', record->json_length) == NULL);
    HOLDS(record->size >= record->json_length);
    HOLDS(record->seq == frame->seq);
    check_utf8(record->json, record->json_length);
    json = json_loadb(record->json, record->json_length, JSON_REJECT_DUPLICATES, &error);
    HOLDS(json_is_object(json));
    HOLDS(json_is_string(json_object_get(json, "schema")));
    HOLDS(json_is_string(json_object_get(json, "id")));
    HOLDS(json_is_string(json_object_get(json, "severity")));
    HOLDS(json_is_object(json_object_get(json, "node")));
    for (int column = 0; column < RECORD_COLUMN_COUNT; column++) {
        if (record->column[column] != NULL)
            check_utf8(record->column[column], strlen(record->column[column]));
    }
    json_decref(json);
}

/* The greeting of all records that are made here. */
static struct hello *greeting(void)
{
    static struct hello *hello;
    char why[FRAME_WHY_SIZE];
    json_t *map;

    if (hello == NULL) {
        map = json_pack("{ss ss ss si ss si si}", "incarnation", "0123456789abcdef", "name", "a@h",
                        "host", "h", "os_pid", 1, "otp", "25", "first_held", 1, "made", 0);
        hello = hello_read(map, why);
        json_decref(map);
        HOLDS(hello != NULL);
    }
    return hello;
}

/* The short way makes what the long way makes, or leaves it to that. */
static void check_transcoded(struct record *quick, const struct record *record, enum record_fit fit)
{
    if (quick == NULL)
        return;
    HOLDS(record != NULL && fit == RECORD_WHOLE);
    HOLDS(quick->seq == record->seq && quick->time_ns == record->time_ns &&
          quick->kind == record->kind);
    HOLDS(quick->json_length == record->json_length);
    HOLDS(memcmp(quick->json, record->json, record->json_length + 1) == 0);
    HOLDS(quick->size >= quick->json_length);
    for (int column = 0; column < RECORD_COLUMN_COUNT; column++) {
        HOLDS((quick->column[column] == NULL) == (record->column[column] == NULL));
        HOLDS(quick->column[column] == NULL ||
              strcmp(quick->column[column], record->column[column]) == 0);
    }
    free(quick);
}

static void use_frame(struct frame *frame, const uint8_t *body, size_t length)
{
    char why[FRAME_WHY_SIZE] = "";
    enum record_fit fit = RECORD_WHOLE;
    struct record *record;
    struct hello *hello;

    switch (frame->type) {
    case WIRE_HELLO:
        HOLDS(frame->version != WIRE_VERSION || json_is_object(frame->map));
        if (frame->version != WIRE_VERSION)
            break;
        hello = hello_read(frame->map, why);
        if (hello == NULL)
            check_why(why);
        else
            HOLDS(strlen(hello->incarnation) == HELLO_INCARNATION && json_is_object(hello->node));
        hello_free(hello);
        break;
    case WIRE_RECORD:
        HOLDS(json_is_object(frame->map));
        record = record_make(frame, greeting(), &fit, why);
        if (record == NULL)
            check_why(why);
        else
            check_record(record, frame);
        check_transcoded(transcode(body, length, greeting()), record, fit);
        free(record);
        break;
    case WIRE_COUNTERS:
        HOLDS(json_is_object(frame->map));
        break;
    case WIRE_BYE:
        break;
    case WIRE_ACK:
    case WIRE_ERROR:
        HOLDS(!"a frame that only the daemon sends");
    }
}

/* As ingest.c takes frames out of what it has read. */
static void take_frames(const uint8_t *data, size_t size)
{
    size_t at = 0, length = 0;
    char why[FRAME_WHY_SIZE] = "";
    struct frame frame;

    for (;;) {
        switch (frame_split(data + at, size - at, &length, why)) {
        case FRAME_INCOMPLETE:
            return;
        case FRAME_BAD:
            check_why(why);
            return;
        case FRAME_READY:
            break;
        }
        HOLDS(length > 0 && length <= WIRE_FRAME_MAX);
        HOLDS(FRAME_HEADER + length <= size - at);
        if (frame_decode(data + at + FRAME_HEADER, length, &frame, why) != 0) {
            check_why(why);
            HOLDS(transcode(data + at + FRAME_HEADER, length, greeting()) == NULL);
            return;
        }
        use_frame(&frame, data + at + FRAME_HEADER, length);
        frame_clear(&frame);
        at += FRAME_HEADER + length;
    }
}

/* The first byte says what the others are: a stream of frames, or one frame's body, whose length is
 * put before it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *framed;
    uint32_t length = (uint32_t)size - 1;

    if (size == 0)
        return 0;
    if (data[0] % 2 == 0) {
        take_frames(data + 1, size - 1);
        return 0;
    }
    framed = malloc(FRAME_HEADER + size);
    HOLDS(framed != NULL);
    for (int byte = 0; byte < FRAME_HEADER; byte++)
        framed[byte] = (uint8_t)(length >> (24 - 8 * byte));
    memcpy(framed + FRAME_HEADER, data + 1, size - 1);
    take_frames(framed, FRAME_HEADER + size - 1);
    free(framed);
    return 0;
}
