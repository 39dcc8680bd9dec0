#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "memory.h"
#include "record_types.h"
#include "source.h"
#include "timestamp.h"
#include "transcode.h"
#include "utf8.h"

#define KEYS_MAX 128 /* a map's keys fit two words of bits */
#define MAJOR_UNSIGNED 0
#define MAJOR_TEXT 3
#define MAJOR_ARRAY 4
#define MAJOR_MAP 5
#define MAJOR_OTHER 7
#define SIMPLE_FALSE 20
#define SIMPLE_TRUE 21
#define SIMPLE_NULL 22

/* What is read: nothing of it is looked at but through `head` and `bytes`. */
struct input {
    const unsigned char *at;
    const unsigned char *end;
};

/* What is written: `full` once something did not fit. */
struct output {
    char *at;
    char *end;
    bool full;
};

struct text {
    const char *bytes; /* in the frame; NULL: none */
    size_t length;
};

/* The parts of a record in the order of the line, and where the frame has them. */
enum part { SEVERITY, MESSAGE, PROCESS, EXIT, ORIGIN, CHAIN, CHAIN_LENGTH, PARTS };

static const struct {
    enum wire_key key;
    const char *name; /* with what stands before its value */
    unsigned types;
    bool needed;
} parts[PARTS] = {
    [SEVERITY] = {WIRE_KEY_severity, ",\"severity\":", RECORD_TEXT, true},
    [MESSAGE] = {WIRE_KEY_message, ",\"message\":", RECORD_TEXT, true},
    [PROCESS] = {WIRE_KEY_process, ",\"process\":", RECORD_OBJECT, true},
    [EXIT] = {WIRE_KEY_exit, ",\"exit\":", RECORD_OBJECT, true},
    [ORIGIN] = {WIRE_KEY_origin, ",\"origin\":", RECORD_OBJECT, false},
    [CHAIN] = {WIRE_KEY_chain, ",\"chain\":", RECORD_OBJECTS, false},
    [CHAIN_LENGTH] = {WIRE_KEY_chain_length, ",\"chain_length\":", RECORD_INTEGER, false},
};

struct key_info {
    const char *name; /* NULL: there is no such key */
    size_t length;
    unsigned types;
};

struct transcoder {
    struct output out;
    unsigned items; /* read so far */
    struct text column[RECORD_COLUMN_COUNT];
};

/* ---- tables, made once from those that the tree's way has ---- */

static struct key_info keys[KEYS_MAX];

/* The column that a key of a part fills, plus one; 0 is none. */
static unsigned char columns[PARTS][KEYS_MAX];

static int part_named(const char *name)
{
    for (int part = 0; part < PARTS; part++) {
        if (strcmp(frame_key_name(parts[part].key), name) == 0)
            return part;
    }
    return -1;
}

static unsigned key_named(const char *name)
{
    for (unsigned key = 0; key < KEYS_MAX; key++) {
        if (keys[key].name != NULL && strcmp(keys[key].name, name) == 0)
            return key;
    }
    return 0;
}

/* The loop's thread alone transcodes. */
static void make_tables(void)
{
    for (unsigned key = 0; key < KEYS_MAX; key++) {
        keys[key].name = frame_key_name(key);
        if (keys[key].name == NULL)
            continue;
        keys[key].length = strlen(keys[key].name);
        keys[key].types = record_types_of(keys[key].name);
    }
#define X(column, section, key)                                                                    \
    if (section[0] != '\0')                                                                        \
        columns[part_named(section)][key_named(key)] = RECORD_COLUMN_##column + 1;
    RECORD_COLUMNS(X)
#undef X
}

/* ---- reading ---- */

/* The next item's major type and number. Returns false if it is not there or of a form we do not
 * take. */
static bool head(struct transcoder *transcoder, struct input *in, unsigned *major, uint64_t *number)
{
    unsigned info, size;

    if (in->at == in->end || ++transcoder->items > FRAME_ITEMS_MAX)
        return false;
    *major = *in->at >> 5;
    info = *in->at++ & 0x1f;
    *number = info;
    if (info < 24)
        return true;
    if (info > 27 || *major == MAJOR_OTHER)
        return false;
    size = 1u << (info - 24);
    if ((size_t)(in->end - in->at) < size)
        return false;
    *number = 0;
    while (size-- > 0)
        *number = *number << 8 | *in->at++;
    return true;
}

static bool read_unsigned(struct transcoder *transcoder, struct input *in, uint64_t *number)
{
    unsigned major;

    return head(transcoder, in, &major, number) && major == MAJOR_UNSIGNED && *number <= INT64_MAX;
}

static bool take_bytes(struct input *in, uint64_t length, struct text *text)
{
    if (length > WIRE_TEXT_MAX || (size_t)(in->end - in->at) < length)
        return false;
    text->bytes = (const char *)in->at;
    text->length = (size_t)length;
    in->at += length;
    return true;
}

/* Pass over one item and all that is in it. It is looked at when it is written. */
static bool skip(struct input *in)
{
    struct transcoder counter = {0};
    uint64_t left = 1;

    while (left > 0) {
        unsigned major;
        uint64_t number;
        struct text text;

        left--;
        if (!head(&counter, in, &major, &number))
            return false;
        if (major == MAJOR_TEXT && !take_bytes(in, number, &text))
            return false;
        if ((major == MAJOR_ARRAY || major == MAJOR_MAP) && number > FRAME_ITEMS_MAX)
            return false;
        if (major == MAJOR_ARRAY)
            left += number;
        else if (major == MAJOR_MAP)
            left += 2 * number;
    }
    return true;
}

/* ---- writing ---- */

static void put(struct output *out, const char *bytes, size_t length)
{
    if ((size_t)(out->end - out->at) < length) {
        out->full = true;
        return;
    }
    memcpy(out->at, bytes, length);
    out->at += length;
}

static void put_byte(struct output *out, char byte)
{
    if (out->at == out->end)
        out->full = true;
    else
        *out->at++ = byte;
}

static void put_number(struct output *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(out, digits + at, sizeof(digits) - at);
}

/* What jansson makes of a character that cannot stand in a string as it is. */
static void put_escape(struct output *out, unsigned char byte)
{
    static const char hex[] = "0123456789ABCDEF";
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    static const char plain[] = {'"', '\\', '\b', '\f', '\n', '\r', '\t'};
    static const char letter[] = {'"', '\\', 'b', 'f', 'n', 'r', 't'};
    const char *found = memchr(plain, byte, sizeof(plain));

    if (found == NULL) {
        put(out, escape, sizeof(escape));
        return;
    }
    escape[1] = letter[found - plain];
    put(out, escape, 2);
}

/* Returns false if the text is not UTF-8 or has a NUL. */
static bool put_text(struct output *out, const struct text *text)
{
    const char *at = text->bytes, *end = at + text->length, *start = at;

    put_byte(out, '"');
    while (at < end) {
        unsigned char byte = (unsigned char)*at;

        if (byte >= 0x80 || byte == 0) {
            size_t length = utf8_length(at, (size_t)(end - at));

            if (length == 0)
                return false;
            at += length;
        } else if (byte < 0x20 || byte == '"' || byte == '\\') {
            put(out, start, (size_t)(at - start));
            put_escape(out, byte);
            start = ++at;
        } else {
            at++;
        }
    }
    put(out, start, (size_t)(end - start));
    put_byte(out, '"');
    return true;
}

/* ---- values ---- */

static bool is_word(const struct text *text)
{
    if (text->length < 1 || text->length > 32)
        return false;
    for (size_t i = 0; i < text->length; i++) {
        if ((text->bytes[i] < 'a' || text->bytes[i] > 'z') && text->bytes[i] != '_')
            return false;
    }
    return true;
}

static bool is_id(const struct text *text)
{
    const char *at = text->bytes, *end = at + text->length;

    if (text->length < HELLO_INCARNATION + 2 || at[HELLO_INCARNATION] != '-' ||
        at[HELLO_INCARNATION + 1] == '0')
        return false;
    for (int i = 0; i < HELLO_INCARNATION; i++) {
        if ((at[i] < '0' || at[i] > '9') && (at[i] < 'a' || at[i] > 'f'))
            return false;
    }
    for (at += HELLO_INCARNATION + 1; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
    }
    return true;
}

static bool text_fits(const struct text *text, unsigned types)
{
    return (types & RECORD_TEXT) || ((types & RECORD_WORD) && is_word(text)) ||
           ((types & RECORD_ID) && is_id(text));
}

static bool put_map(struct transcoder *transcoder, struct input *in, uint64_t count,
                    unsigned needed, int part, unsigned depth);

/* The keys that a map must have, as bits of NEEDS. */
#define NEED_PID 1u
#define NEED_SOURCE 2u
#define NEED_REASON_CLASS 4u
#define NEED_CONFIDENCE 8u

static unsigned need_of(uint64_t key)
{
    return key == WIRE_KEY_pid            ? NEED_PID
           : key == WIRE_KEY_source       ? NEED_SOURCE
           : key == WIRE_KEY_reason_class ? NEED_REASON_CLASS
           : key == WIRE_KEY_confidence   ? NEED_CONFIDENCE
                                          : 0;
}

/* `depth` is that of the array. */
static bool put_array(struct transcoder *transcoder, struct input *in, uint64_t count,
                      unsigned types, unsigned needed, unsigned depth)
{
    if (depth > WIRE_DEPTH_MAX || !(types & (RECORD_TEXTS | RECORD_OBJECTS)))
        return false;
    put_byte(&transcoder->out, '[');
    for (uint64_t i = 0; i < count && !transcoder->out.full; i++) {
        unsigned major;
        uint64_t number;
        struct text text;

        if (i > 0)
            put_byte(&transcoder->out, ',');
        if (!head(transcoder, in, &major, &number))
            return false;
        if (major == MAJOR_TEXT && (types & RECORD_TEXTS)) {
            if (!take_bytes(in, number, &text) || !put_text(&transcoder->out, &text))
                return false;
        } else if (major == MAJOR_MAP && (types & RECORD_OBJECTS)) {
            if (!put_map(transcoder, in, number, needed, -1, depth + 1))
                return false;
        } else {
            return false;
        }
    }
    put_byte(&transcoder->out, ']');
    return !transcoder->out.full;
}

/* A value below the first level; *text is the text if it is one. */
static bool put_value(struct transcoder *transcoder, struct input *in, unsigned types,
                      unsigned depth, struct text *text)
{
    struct output *out = &transcoder->out;
    unsigned major;
    uint64_t number;

    text->bytes = NULL;
    if (!head(transcoder, in, &major, &number))
        return false;
    switch (major) {
    case MAJOR_UNSIGNED:
        if (!(types & RECORD_INTEGER) || number >= FRAME_INTEGER_MAX)
            return false;
        put_number(out, number);
        return true;
    case MAJOR_TEXT:
        return take_bytes(in, number, text) && text_fits(text, types) && put_text(out, text);
    case MAJOR_ARRAY:
        return put_array(transcoder, in, number, types, 0, depth + 1);
    case MAJOR_OTHER:
        if (number == SIMPLE_NULL && (types & RECORD_ABSENT))
            put(out, "null", 4);
        else if (number == SIMPLE_TRUE && (types & RECORD_BOOLEAN))
            put(out, "true", 4);
        else if (number == SIMPLE_FALSE && (types & RECORD_BOOLEAN))
            put(out, "false", 5);
        else
            return false;
        return true;
    }
    return false;
}

/* A map of keys that we know, each once. `depth` is the map's; `part` is -1 if it fills no columns.
 */
static bool put_map(struct transcoder *transcoder, struct input *in, uint64_t count,
                    unsigned needed, int part, unsigned depth)
{
    struct output *out = &transcoder->out;
    uint64_t seen[KEYS_MAX / 64] = {0};

    if (depth > WIRE_DEPTH_MAX)
        return false;
    put_byte(out, '{');
    for (uint64_t i = 0; i < count; i++) {
        struct text text;
        uint64_t key;

        if (!read_unsigned(transcoder, in, &key) || key >= KEYS_MAX || keys[key].name == NULL ||
            keys[key].types == 0 || (seen[key / 64] >> key % 64 & 1) != 0)
            return false;
        seen[key / 64] |= UINT64_C(1) << key % 64;
        needed &= ~need_of(key);
        put(out, ",\"", i > 0 ? 2 : 0);
        if (i == 0)
            put_byte(out, '"');
        put(out, keys[key].name, keys[key].length);
        put(out, "\":", 2);
        if (!put_value(transcoder, in, keys[key].types, depth, &text) || out->full)
            return false;
        if (part >= 0 && columns[part][key] > 0)
            transcoder->column[columns[part][key] - 1] = text;
    }
    put_byte(out, '}');
    return needed == 0 && !out->full;
}

/* ---- the record ---- */

static bool is_severity(const struct text *text)
{
#define X(symbol, name)                                                                            \
    if (text->length == sizeof(name) - 1 && memcmp(text->bytes, name, sizeof(name) - 1) == 0)      \
        return true;
    CORONER_SEVERITIES(X)
#undef X
    return false;
}

static bool put_part(struct transcoder *transcoder, struct input in, int part)
{
    static const unsigned needs[PARTS] = {
        [PROCESS] = NEED_PID,
        [EXIT] = NEED_SOURCE | NEED_REASON_CLASS | NEED_CONFIDENCE,
        [ORIGIN] = NEED_SOURCE,
        [CHAIN] = NEED_PID | NEED_SOURCE,
    };
    struct input before = in;
    struct text text;
    unsigned major;
    uint64_t number;

    put(&transcoder->out, parts[part].name, strlen(parts[part].name));
    if (parts[part].types & (RECORD_TEXT | RECORD_INTEGER)) {
        if (!put_value(transcoder, &before, parts[part].types, 2, &text))
            return false;
        if (part == SEVERITY)
            transcoder->column[RECORD_COLUMN_severity] = text;
        return part != SEVERITY || is_severity(&text);
    }
    if (!head(transcoder, &in, &major, &number))
        return false;
    if (parts[part].types & RECORD_OBJECT)
        return major == MAJOR_MAP && put_map(transcoder, &in, number, needs[part], part, 3);
    return major == MAJOR_ARRAY &&
           put_array(transcoder, &in, number, parts[part].types, needs[part], 3);
}

/* Where each part's value begins. Returns false if there is anything else. */
static bool find_parts(struct transcoder *transcoder, struct input in, struct input found[PARTS])
{
    unsigned major;
    uint64_t count;

    if (!head(transcoder, &in, &major, &count) || major != MAJOR_MAP || count > PARTS)
        return false;
    while (count-- > 0) {
        uint64_t key;
        int part = 0;

        if (!read_unsigned(transcoder, &in, &key))
            return false;
        while (part < PARTS && parts[part].key != key)
            part++;
        if (part == PARTS || found[part].at != NULL)
            return false;
        found[part] = in;
        if (!skip(&in))
            return false;
    }
    return in.at == in.end;
}

/* The time of day of many records is the same second. */
static void put_time(struct output *out, uint64_t time_ns)
{
    static char text[TIMESTAMP_SIZE];
    static uint64_t second = UINT64_MAX;
    uint64_t fraction = time_ns % 1000000000;

    if (second != time_ns / 1000000000) {
        timestamp_format((int64_t)time_ns, text);
        second = time_ns / 1000000000;
    }
    for (int at = TIMESTAMP_SIZE - 3; text[at] != '.'; at--) {
        text[at] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    put(out, text, strlen(text));
}

static bool put_line(struct transcoder *transcoder, struct input in, const struct record *record,
                     uint64_t lost_before, const struct hello *hello)
{
    static const char start[] = "{\"schema\":\"coroner.exit/1\",\"id\":\"";
    struct output *out = &transcoder->out;
    struct input found[PARTS] = {{0}};

    if (!find_parts(transcoder, in, found))
        return false;
    put(out, start, sizeof(start) - 1);
    put(out, hello->incarnation, HELLO_INCARNATION);
    put_byte(out, '-');
    put_number(out, record->seq);
    put(out, "\",\"time\":\"", 10);
    put_time(out, record->time_ns);
    put_byte(out, '"');
    for (int part = 0; part < PARTS; part++) {
        if (found[part].at == NULL && parts[part].needed)
            return false;
        if (found[part].at != NULL && !put_part(transcoder, found[part], part))
            return false;
        if (part == MESSAGE) {
            put(out, ",\"node\":", 8);
            put(out, hello->line, strlen(hello->line));
        }
    }
    put(out, ",\"lost_before\":", 15);
    put_number(out, lost_before);
    put_byte(out, '}');
    return !out->full;
}

/* Everything in one piece of memory, as record_make has it. */
static struct record *pack(struct transcoder *transcoder, const struct record *head_of,
                           const char *json)
{
    struct text *column = transcoder->column;
    size_t length = (size_t)(transcoder->out.at - json), size = sizeof(struct record) + length + 1;
    struct record *record;
    char *at;

    for (int i = 0; i < RECORD_COLUMN_COUNT; i++)
        size += column[i].bytes != NULL ? column[i].length + 1 : 0;
    /* The module is not longer than the call. */
    size += column[RECORD_COLUMN_initial_call].length + 1;
    record = memory_get(size);
    *record = *head_of;
    record->json_length = length;
    record->size = size;
    at = (char *)(record + 1);
    record->json = memcpy(at, json, length);
    at += length;
    *at++ = '\0';
    for (int i = 0; i < RECORD_COLUMN_COUNT; i++) {
        if (column[i].bytes == NULL)
            continue;
        record->column[i] = memcpy(at, column[i].bytes, column[i].length);
        at += column[i].length;
        *at++ = '\0';
    }
    if (record->column[RECORD_COLUMN_initial_call] != NULL) {
        length = record_module_length(record->column[RECORD_COLUMN_initial_call]);
        record->column[RECORD_COLUMN_initial_module] =
            memcpy(at, record->column[RECORD_COLUMN_initial_call], length);
        at[length] = '\0';
    }
    return record;
}

struct record *transcode(const unsigned char *body, size_t length, const struct hello *hello)
{
    char json[RECORD_LINE_MAX];
    struct transcoder transcoder = {.out = {.at = json, .end = json + sizeof(json)}};
    struct input in = {.at = body, .end = body + length};
    struct record record = {.kind = WIRE_KIND_EXIT};
    uint64_t type, lost_before, kind;

    if (keys[WIRE_KEY_severity].name == NULL)
        make_tables();
    /* An array of six. */
    if (length == 0 || *in.at++ != 0x86)
        return NULL;
    if (!read_unsigned(&transcoder, &in, &type) || type != WIRE_RECORD ||
        !read_unsigned(&transcoder, &in, &record.seq) || record.seq == 0 ||
        !read_unsigned(&transcoder, &in, &record.time_ns) ||
        !read_unsigned(&transcoder, &in, &lost_before) || lost_before >= FRAME_INTEGER_MAX ||
        !read_unsigned(&transcoder, &in, &kind) || kind != WIRE_KIND_EXIT)
        return NULL;
    if (!put_line(&transcoder, in, &record, lost_before, hello))
        return NULL;
    return pack(&transcoder, &record, json);
}
