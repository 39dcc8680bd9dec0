/*
 * Any record: on the wire it is one map of CBOR with the keys of wire.h, and as JSON it stays
 * within its bound, whatever names, texts and lists it has. The names come through term.c, out of
 * the model of the VM.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc_libc.h"
#include "check.h"
#include "decode.h"
#include "record.h"
#include "supervision.h"
#include "term.h"
#include "term_from.h"
#include "wire.h"

#define INCARNATION "ffffffffffffffff"
#define POOL 4
#define STACK_ROOM 2048 /* bytes of a stack as term.c makes it */
#define FILE_ROOM 256   /* of a file's name, and of a child's id, as calls.c makes them */
#define CHILD_ROOM 200
#define SEQ_MOST (UINT64_MAX >> 1)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What records are made of: a few of each, so that few bytes make a large record. */
struct parts {
    struct bytes bytes;
    struct intern *intern;
    term_word atoms[POOL];
    char *texts[POOL]; /* as a text_writer lets them through */
    uint32_t functions[POOL], files[POOL];
};

static term_word atom_from(struct parts *parts)
{
    uint8_t which = bytes_u8(&parts->bytes) % (POOL + 1);

    return which == POOL ? NO_WORD : parts->atoms[which];
}

static term_word pid_from(struct parts *parts)
{
    uint8_t byte = bytes_u8(&parts->bytes);

    return byte == 0 ? NO_WORD : byte == 0xff ? shim_pid(UINT64_MAX >> 4) : shim_pid(byte);
}

static uint32_t function_from(struct parts *parts)
{
    uint8_t which = bytes_u8(&parts->bytes) % (POOL + 1);

    return which == POOL ? INTERN_NONE : parts->functions[which];
}

static uint64_t number_from(struct parts *parts)
{
    uint8_t byte = bytes_u8(&parts->bytes);

    return byte == 0xff   ? UINT64_MAX - 1
           : byte == 0xfe ? SEQ_MOST
           : byte == 0xfd ? UINT64_C(1) << 53
                          : byte;
}

static struct who who_from(struct parts *parts)
{
    return (struct who){
        .pid = pid_from(parts), .name = atom_from(parts), .initial_call = function_from(parts)};
}

/* One of the texts over and over, up to `most` bytes; NULL now and then. */
static struct text *text_from(struct parts *parts, size_t most)
{
    uint8_t how = bytes_u8(&parts->bytes);
    size_t wanted = (size_t)bytes_u8(&parts->bytes) * 8, used = 0, length;
    const char *piece = parts->texts[how % POOL];
    char text[STACK_ROOM];

    if (how >> 2 == 0)
        return NULL;
    if (wanted > most)
        wanted = most;
    length = strlen(piece);
    if (length > 0)
        for (; used + length <= wanted; used += length)
            memcpy(text + used, piece, length);
    return text_new(text, used, how & 0x80);
}

static struct text *stack_from(struct parts *parts)
{
    char stack[STACK_ROOM];
    struct text_writer writer = text_writer_on(stack, sizeof(stack));
    size_t lines = bytes_u8(&parts->bytes) % (TERM_STACK_FRAMES + 1);

    for (size_t i = 0; i < lines; i++) {
        struct text *line = text_from(parts, STACK_ROOM - 1);

        if (line != NULL && line->length > 0) {
            if (writer.used > 0)
                text_put_char(&writer, '\n');
            text_put(&writer, line->bytes, line->length);
        }
        text_drop(line);
    }
    return writer.used == 0 ? NULL : text_new(stack, writer.used, writer.cut);
}

static struct supervision *supervision_from(struct parts *parts)
{
    struct supervision *made;

    if (bytes_u8(&parts->bytes) & 1)
        return NULL;
    made = memory_zalloc(sizeof(*made));
    atomic_init(&made->holders, 1);
    made->why = bytes_u8(&parts->bytes) % (WHY_APPLICATION_STOP + 1);
    made->child = text_from(parts, CHILD_ROOM - 1);
    made->timeout_ms = bytes_u8(&parts->bytes) & 1 ? TIMEOUT_NONE : number_from(parts);
    made->sibling = who_from(parts);
    made->sibling_seq = number_from(parts);
    made->asked_by = who_from(parts);
    made->application = atom_from(parts);
    return made;
}

static struct act *act_from(struct parts *parts)
{
    uint8_t how = bytes_u8(&parts->bytes);
    struct act *act;

    if (how & 1)
        return NULL;
    act = act_new();
    act->operation = how >> 1 & 3;
    act->by_sigterm = how >> 3 & 1;
    act->by = who_from(parts);
    act->by_node = atom_from(parts);
    act->site = (struct site){.function = function_from(parts),
                              .file = parts->files[how >> 4 & 3],
                              .line = how >> 6 == 3 ? UINT32_MAX : how >> 6};
    act->function = function_from(parts);
    act->module = parts->atoms[how >> 4 & 3]; /* a purge is always of one */
    act->application = atom_from(parts);
    act->supervision = supervision_from(parts);
    return act;
}

static struct detail *detail_from(struct parts *parts, uint8_t source)
{
    uint8_t how = bytes_u8(&parts->bytes);
    struct detail *detail;

    if (how & 1)
        return NULL;
    detail = detail_new();
    if (how & 2 || source == CORONER_SOURCE_PORT) /* a port's has one */
        detail->port = shim_port(how == 0xfe ? UINT64_MAX >> 4 : how);
    detail->title = atom_from(parts);
    detail->node = atom_from(parts);
    detail->target = how & 4 ? pid_from(parts) : NO_WORD;
    detail->has_remote_target = how >> 3 & 1;
    detail->target_number = how >> 4 == 15 ? UINT32_MAX : how;
    detail->target_serial = detail->target_number;
    detail->has_size = how >> 4 & 1;
    detail->has_limit = how >> 5 & 1;
    detail->size_words = number_from(parts);
    detail->limit_words = number_from(parts);
    return detail;
}

static struct record *record_from(struct parts *parts)
{
    struct record *record = record_new();
    uint8_t flags = bytes_u8(&parts->bytes);
    term_word words[RECORD_ANCESTORS];
    uint8_t count;

    record->source = bytes_u8(&parts->bytes) % CORONER_SOURCE_COUNT;
    record->confidence = bytes_u8(&parts->bytes) % CORONER_CONFIDENCE_COUNT;
    record->shape = bytes_u8(&parts->bytes) % REASON_SHAPE_COUNT;
    record->severity = (uint8_t)record_severity(record->source, record->shape);
    record->trapping = flags & 1;
    record->evidence_lost = flags >> 1 & 1;
    record->only_class = flags >> 2 & 1;
    record->age_known = flags >> 3 & 1;
    record->age_us = number_from(parts);
    record->seq = number_from(parts);
    record->who = who_from(parts);
    record->via = who_from(parts);
    record->parent = pid_from(parts);
    if (flags & 16) {
        count = bytes_u8(&parts->bytes) % (RECORD_ANCESTORS + 1);
        for (uint8_t i = 0; i < count; i++) {
            uint8_t which = bytes_u8(&parts->bytes);

            words[i] = which & 1 ? shim_pid(which) : parts->atoms[which >> 1 & 3];
        }
        record->ancestors = ancestors_new(words, count);
    }
    record->reason = text_from(parts, TERM_TEXT_MAX - 1);
    record->stack = stack_from(parts);
    record->act = act_from(parts);
    record->detail = detail_from(parts, record->source);
    record->supervision = supervision_from(parts);
    count = bytes_u8(&parts->bytes) % (RECORD_CANDIDATES + 1);
    if (count > 0) {
        record->candidates = memory_zalloc(count * sizeof(*record->candidates));
        record->candidate_count = count;
    }
    for (uint8_t i = 0; i < count; i++) {
        uint8_t how = bytes_u8(&parts->bytes);

        /* All of one candidate's can be the same as the one before, to make many of few bytes. */
        if (i > 0 && how & 0x80) {
            record->candidates[i] = record->candidates[i - 1];
            (void)act_hold(record->candidates[i].act);
            (void)detail_hold(record->candidates[i].detail);
            continue;
        }
        record->candidates[i] =
            (struct record_candidate){.source = how % CORONER_SOURCE_COUNT,
                                      .via = who_from(parts),
                                      .act = act_from(parts),
                                      .detail = detail_from(parts, how % CORONER_SOURCE_COUNT),
                                      .seq = number_from(parts)};
    }
    return record;
}

/* Puts `record` into the cascade of `root`, as record_follow would after any number of hops. */
static void cascade_from(struct parts *parts, struct record *record, struct record *root)
{
    uint8_t count = bytes_u8(&parts->bytes) % (RECORD_HOPS + 1);
    struct hop hop = {.source = 0};

    record->root = root;
    record->depth = bytes_u8(&parts->bytes) & 1 ? UINT32_MAX : count + 1U;
    if (count == 0)
        return;
    record->hops = memory_zalloc(count * sizeof(*record->hops));
    record->hop_count = count;
    for (uint8_t i = 0; i < count; i++) {
        if (i == 0 || bytes_u8(&parts->bytes) & 1)
            hop = (struct hop){.who = who_from(parts),
                               .source = bytes_u8(&parts->bytes) % CORONER_SOURCE_COUNT,
                               .seq = number_from(parts)};
        record->hops[i] = hop;
    }
}

static void parts_begin(struct parts *parts)
{
    for (size_t i = 0; i < POOL; i++)
        parts->atoms[i] = term_atom_from(&parts->bytes);
    for (size_t i = 0; i < POOL; i++) {
        size_t length;
        const uint8_t *run = bytes_run(&parts->bytes, bytes_u8(&parts->bytes) & 31, &length);
        struct text_writer writer;

        /* As large as its longest, so that what reads past the end is seen. */
        parts->texts[i] = malloc(6 * length + 1);
        writer = text_writer_on(parts->texts[i], 6 * length + 1);
        text_put_utf8(&writer, run, length, i & 1 ? '\'' : '\0');
    }
    for (size_t i = 0; i < POOL; i++) {
        uint8_t how = bytes_u8(&parts->bytes);
        struct text *file;

        parts->functions[i] = intern_function(
            parts->intern, (struct function){.module = parts->atoms[how & 3],
                                             .name = parts->atoms[how >> 2 & 3],
                                             .arity = how >> 4 == 15 ? 255 : how >> 4});
        parts->files[i] = INTERN_NONE;
        if ((file = text_from(parts, FILE_ROOM - 1)) != NULL && file->length > 0)
            parts->files[i] = intern_file(parts->intern, file->bytes, file->length);
        text_drop(file);
    }
}

static void check_record(const struct record *record, const struct intern *intern)
{
    static const char *const sources[] = {
#define X(symbol, name) name,
        CORONER_SOURCES(X)
#undef X
    };
    uint8_t *bytes = malloc(RECORD_CBOR_MAX);
    struct cbor_writer cbor = cbor_writer_on(bytes, RECORD_CBOR_MAX);
    cbor_item_t *item, *exit, *chain;
    size_t length;
    char *json;

    (void)shim_budget(UINT64_MAX);
    record_encode(record, intern, INCARNATION, &cbor);
    must(!cbor.full);
    item = decode(bytes, cbor.used);
    must(item != NULL && cbor_isa_map(item) && cbor_map_size(item) == 7);
    json = decode_json(item, &length);
    if (length > RECORD_JSON_MAX)
        fprintf(stderr, "%zu bytes of JSON\n", length);
    must(length <= RECORD_JSON_MAX);
    reached(length / 128);
    reached(1000 + cbor.used / 128);
    must(is_clean_utf8(json, length));
    exit = decode_at(item, WIRE_KEY_exit);
    must(decode_is(decode_at(exit, WIRE_KEY_source), sources[record->source]));
    must(decode_is(decode_at(exit, WIRE_KEY_reason_class), reason_shape_name(record->shape)));
    if (record->only_class) {
        must(decode_is(decode_at(exit, WIRE_KEY_reason), reason_shape_name(record->shape)));
        must(decode_at(exit, WIRE_KEY_stack) == NULL);
    }
    must(decode_is(decode_at(decode_at(item, WIRE_KEY_origin), WIRE_KEY_source),
                   sources[record_root(record)->source]));
    chain = decode_at(item, WIRE_KEY_chain);
    must(cbor_array_size(chain) >= (record->root == NULL ? 1 : 2));
    must(cbor_array_size(chain) <= (record->root == NULL ? 1 : RECORD_HOPS + 2));
    must(decode_uint(decode_at(item, WIRE_KEY_chain_length)) == (uint64_t)record->depth + 1);
    free(json);
    cbor_decref(&item);
    free(bytes);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    /* decode.c is the tests' and fails by cmocka; here there is no test to fail. */
    return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Making new tables for each input takes longer than all else; a record does not show what
     * others left in them. */
    static struct intern *intern;
    static unsigned used;
    struct parts parts = {.bytes = {.at = data, .left = size}};
    ErlNifEnv *env = shim_begin();
    struct record *record;
    uint8_t how = bytes_u8(&parts.bytes);
    int64_t live;

    if (used++ % 500 == 0) {
        intern_free(intern);
        intern = intern_new();
        must(intern != NULL);
    }
    parts.intern = intern;
    parts_begin(&parts);
    live = alloc_live();
    record = record_from(&parts);
    if (how & 1)
        cascade_from(&parts, record, record_from(&parts));
    check_record(record, parts.intern);
    must(record_bytes(record) >= sizeof(*record));
    record_drop(record);
    must(alloc_live() == live);
    for (size_t i = 0; i < POOL; i++)
        free(parts.texts[i]);
    shim_end(env);
    return 0;
}
