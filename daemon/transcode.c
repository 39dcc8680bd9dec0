#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "item.h"
#include "shape.h"
#include "timestamp.h"
#include "transcode.h"
#include "utf8.h"

#define LINE_MAX_BYTES (WIRE_RECORD_JSON_MAX - 1) /* without the newline */
#define KEYS_MAX 128                              /* numbers of WIRE_KEYS are below */
#define ESCAPE_MAX 6                              /* bytes that one byte of text may take */

/* A set of key numbers. */
struct key_set {
    uint64_t bits[KEYS_MAX / 64];
};

/* What is known of a key number: filled once, from the names. */
struct key {
    const char *name;
    size_t length;
    unsigned types;                  /* shape_types */
    int part;                        /* its place in shape_parts, or -1 */
    signed char column[SHAPE_PARTS]; /* per part: the column that it goes to, or -1 */
};

static struct key keys[KEYS_MAX];
static struct key_set needed[SHAPE_PARTS];
static signed char line_column[SHAPE_PARTS]; /* of a part that is a text itself */
static bool ready;

struct transcoder {
    struct item_reader reader;
    struct record_parts record;
    size_t length;
    char line[LINE_MAX_BYTES];
};

/* ---- what is known of the keys ---- */

static void key_set_add(struct key_set *set, size_t number)
{
    set->bits[number / 64] |= UINT64_C(1) << number % 64;
}

static bool key_set_has(const struct key_set *set, size_t number)
{
    return set->bits[number / 64] >> number % 64 & 1;
}

static bool key_set_covers(const struct key_set *set, const struct key_set *part)
{
    for (size_t i = 0; i < KEYS_MAX / 64; i++) {
        if (part->bits[i] & ~set->bits[i])
            return false;
    }
    return true;
}

static int part_named(const char *name)
{
    for (int i = 0; i < SHAPE_PARTS; i++) {
        if (strcmp(shape_parts[i].key, name) == 0)
            return i;
    }
    return -1;
}

static void know_column(int column, const char *section, const char *name)
{
    if (section[0] == '\0') {
        line_column[part_named(name)] = (signed char)column;
        return;
    }
    for (size_t number = 0; number < KEYS_MAX; number++) {
        if (keys[number].name != NULL && strcmp(keys[number].name, name) == 0)
            keys[number].column[part_named(section)] = (signed char)column;
    }
}

static void know_keys(void)
{
    memset(line_column, -1, sizeof(line_column));
    for (size_t number = 0; number < KEYS_MAX; number++) {
        struct key *key = &keys[number];
        const char *name = frame_key_name(number);

        memset(key->column, -1, sizeof(key->column));
        key->name = name;
        if (name == NULL)
            continue;
        key->length = strlen(name);
        key->types = shape_types(name);
        key->part = part_named(name);
        for (size_t part = 0; part < SHAPE_PARTS; part++) {
            const char *need;

            for (size_t i = 0; (need = shape_needs(shape_parts[part].key, i)) != NULL; i++) {
                if (strcmp(need, name) == 0)
                    key_set_add(&needed[part], number);
            }
        }
    }
#define X(column, section, name) know_column(RECORD_COLUMN_##column, section, name);
    RECORD_COLUMNS(X)
#undef X
    ready = true;
}

/* ---- writing ---- */

static bool put(struct transcoder *to, const char *text, size_t length)
{
    if (sizeof(to->line) - to->length < length)
        return false;
    memcpy(to->line + to->length, text, length);
    to->length += length;
    return true;
}

static bool put_number(struct transcoder *to, uint64_t number)
{
    char text[24];
    char *at = text + sizeof(text);

    if (number >= FRAME_INTEGER_MAX)
        return false;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return put(to, at, (size_t)(text + sizeof(text) - at));
}

/*
 * Whether the eight bytes are all printable ASCII but for '"' and '\\'. A byte that is to be found
 * is made zero, and a zero byte borrows from its highest bit; a borrow may spread to the byte
 * above, which only makes this look closer than needed.
 */
static bool eight_plain(const char *text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t word, quotes, backslashes;

    memcpy(&word, text, sizeof(word));
    quotes = word ^ ones * '"';
    backslashes = word ^ ones * '\\';
    return ((word | (word - ones * 0x20) | ((quotes - ones) & ~quotes) |
             ((backslashes - ones) & ~backslashes)) &
            highs) == 0;
}

/* How many bytes from `text` on stand in JSON as they are. */
static size_t plain_run(const char *text, size_t length)
{
    size_t at = 0;

    while (at + 8 <= length && eight_plain(text + at))
        at += 8;
    while (at < length && (unsigned char)text[at] >= 0x20 && text[at] != '"' && text[at] != '\\') {
        if ((unsigned char)text[at] < 0x80) {
            at++;
        } else {
            size_t step = utf8_length(text + at, length - at);

            if (step == 0)
                break;
            at += step;
        }
    }
    return at;
}

/* Escaped as jansson does it. False for what is no UTF-8, and for NUL. */
static bool put_escaped(struct transcoder *to, char byte)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char text[ESCAPE_MAX + 1] = {'\\'};

    for (size_t i = 0; i < sizeof(names) - 1; i += 2) {
        if (names[i] == byte) {
            text[1] = names[i + 1];
            return put(to, text, 2);
        }
    }
    if (byte == '\0' || (unsigned char)byte >= 0x20)
        return false;
    snprintf(text, sizeof(text), "\\u%04X", (unsigned)byte);
    return put(to, text, ESCAPE_MAX);
}

static bool put_text(struct transcoder *to, const char *text, size_t length)
{
    if (length > WIRE_TEXT_MAX || !put(to, "\"", 1))
        return false;
    while (length > 0) {
        size_t run = plain_run(text, length);

        if (!put(to, text, run))
            return false;
        text += run;
        length -= run;
        if (length == 0)
            break;
        if (!put_escaped(to, *text))
            return false;
        text++;
        length--;
    }
    return put(to, "\"", 1);
}

static bool put_key(struct transcoder *to, const struct key *key, bool first)
{
    return put(to, first ? "\"" : ",\"", first ? 1 : 2) && put(to, key->name, key->length) &&
           put(to, "\":", 2);
}

/* ---- reading ---- */

static bool fits(const struct item *item, unsigned types)
{
    switch (item->type) {
    case ITEM_UNSIGNED:
        return types & SHAPE_INTEGER;
    case ITEM_TEXT:
        return (types & SHAPE_TEXT) ||
               ((types & SHAPE_WORD) && shape_is_word(item->text, item->length)) ||
               ((types & SHAPE_ID) && shape_is_id(item->text, item->length));
    case ITEM_BOOLEAN:
        return types & SHAPE_BOOLEAN;
    case ITEM_NULL:
        return types & SHAPE_ABSENT;
    case ITEM_ARRAY:
        return types & (SHAPE_TEXTS | SHAPE_OBJECTS);
    case ITEM_MAP:
        return types & SHAPE_OBJECT;
    case ITEM_OTHER:
        break;
    }
    return false;
}

/* The next key, which must be a number that we know. */
static struct key *read_key(struct transcoder *to)
{
    struct item item;

    if (!item_next(&to->reader, &item) || item.type != ITEM_UNSIGNED || item.number >= KEYS_MAX ||
        keys[item.number].name == NULL)
        return NULL;
    return &keys[item.number];
}

static bool put_scalar(struct transcoder *to, const struct item *item)
{
    switch (item->type) {
    case ITEM_UNSIGNED:
        return put_number(to, item->number);
    case ITEM_TEXT:
        return put_text(to, item->text, item->length);
    case ITEM_BOOLEAN:
        return item->number ? put(to, "true", 4) : put(to, "false", 5);
    case ITEM_NULL:
        return put(to, "null", 4);
    case ITEM_ARRAY:
    case ITEM_MAP:
    case ITEM_OTHER:
        break;
    }
    return false;
}

static bool put_texts(struct transcoder *to, uint64_t count)
{
    struct item item;

    if (!put(to, "[", 1))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!item_next(&to->reader, &item) || item.type != ITEM_TEXT ||
            (i > 0 && !put(to, ",", 1)) || !put_text(to, item.text, item.length))
            return false;
    }
    return put(to, "]", 1);
}

static bool put_objects(struct transcoder *to, uint64_t count, int part);

/* A map of `count` pairs. `part` tells what it must hold, -1 nothing; its columns are noted only if
 * it is the part itself and not an element of it. */
static bool put_map(struct transcoder *to, uint64_t count, int part, bool whole_part)
{
    struct key_set seen = {{0}};
    struct item item;

    if (!put(to, "{", 1))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        struct key *key = read_key(to);
        size_t number;

        if (key == NULL)
            return false;
        number = (size_t)(key - keys);
        if (key_set_has(&seen, number) || !put_key(to, key, i == 0) ||
            !item_next(&to->reader, &item) || !fits(&item, key->types))
            return false;
        key_set_add(&seen, number);
        if (item.type == ITEM_ARRAY) {
            if (key->types & SHAPE_TEXTS ? !put_texts(to, item.number)
                                         : !put_objects(to, item.number, key->part))
                return false;
        } else if (!put_scalar(to, &item)) {
            return false;
        } else if (whole_part && item.type == ITEM_TEXT && key->column[part] >= 0) {
            to->record.text[key->column[part]] = item.text;
            to->record.length[key->column[part]] = item.length;
        }
    }
    if (part >= 0 && !key_set_covers(&seen, &needed[part]))
        return false;
    return put(to, "}", 1);
}

static bool put_objects(struct transcoder *to, uint64_t count, int part)
{
    struct item item;

    if (!put(to, "[", 1))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!item_next(&to->reader, &item) || item.type != ITEM_MAP ||
            (i > 0 && !put(to, ",", 1)) || !put_map(to, item.number, part, false))
            return false;
    }
    return put(to, "]", 1);
}

static bool put_part(struct transcoder *to, int part)
{
    unsigned types = shape_parts[part].types;
    struct item item;

    if (!item_next(&to->reader, &item) || !fits(&item, types))
        return false;
    if (item.type == ITEM_MAP)
        return put_map(to, item.number, part, true);
    if (item.type == ITEM_ARRAY)
        return put_objects(to, item.number, part);
    if (line_column[part] >= 0) {
        if (strcmp(shape_parts[part].key, "severity") == 0 &&
            !shape_is_severity(item.text, item.length))
            return false;
        to->record.text[line_column[part]] = item.text;
        to->record.length[line_column[part]] = item.length;
    }
    return put_scalar(to, &item);
}

static bool put_node(struct transcoder *to, const struct hello *hello)
{
    return put(to, "\"node\":", 7) && put(to, hello->node_json, hello->node_json_length);
}

/* The parts, each at most once and in the contract's order. */
static bool put_parts(struct transcoder *to, uint64_t count, const struct hello *hello)
{
    int last = -1;

    for (uint64_t i = 0; i < count; i++) {
        const struct key *key = read_key(to);

        if (key == NULL || key->part <= last)
            return false;
        for (int part = last + 1; part < key->part; part++) {
            if (shape_parts[part].exit_needs)
                return false;
        }
        last = key->part;
        if (!put_key(to, key, true) || !put_part(to, last) || !put(to, ",", 1))
            return false;
        /* It stands behind the message. */
        if (strcmp(key->name, "message") == 0 && (!put_node(to, hello) || !put(to, ",", 1)))
            return false;
    }
    for (int part = last + 1; part < SHAPE_PARTS; part++) {
        if (shape_parts[part].exit_needs)
            return false;
    }
    return true;
}

static bool read_unsigned(struct transcoder *to, uint64_t *number)
{
    struct item item;

    if (!item_next(&to->reader, &item) || item.type != ITEM_UNSIGNED || item.number > INT64_MAX)
        return false;
    *number = item.number;
    return true;
}

static bool put_head(struct transcoder *to, const struct hello *hello)
{
    static const char schema[] = "{\"schema\":\"coroner.exit/1\",\"id\":\"";
    char time[TIMESTAMP_SIZE];

    timestamp_format((int64_t)to->record.time_ns, time);
    return put(to, schema, sizeof(schema) - 1) && put(to, hello->incarnation, HELLO_INCARNATION) &&
           put(to, "-", 1) && put_number(to, to->record.seq) && put(to, "\",\"time\":\"", 10) &&
           put(to, time, sizeof(time) - 1) && put(to, "\",", 2);
}

static bool run(struct transcoder *to, const struct hello *hello)
{
    struct item item;
    uint64_t type, lost_before;

    if (!item_next(&to->reader, &item) || item.type != ITEM_ARRAY || item.number != 6 ||
        !read_unsigned(to, &type) || type != WIRE_RECORD || !read_unsigned(to, &to->record.seq) ||
        to->record.seq == 0 || !read_unsigned(to, &to->record.time_ns) ||
        !read_unsigned(to, &lost_before) || !read_unsigned(to, &to->record.kind) ||
        to->record.kind != WIRE_KIND_EXIT || !item_next(&to->reader, &item) ||
        item.type != ITEM_MAP)
        return false;
    return put_head(to, hello) && put_parts(to, item.number, hello) &&
           put(to, "\"lost_before\":", 14) && put_number(to, lost_before) && put(to, "}", 1) &&
           to->reader.offset == to->reader.length;
}

struct record *transcode(const unsigned char *body, size_t length, const struct hello *hello)
{
    struct transcoder to;

    if (!ready)
        know_keys();
    /* Not the line: it is long, and only what is written of it is read. */
    to.reader = (struct item_reader){.data = body, .length = length};
    to.record = (struct record_parts){0};
    to.length = 0;
    if (!run(&to, hello))
        return NULL;
    to.record.json = to.line;
    to.record.json_length = to.length;
    return record_pack(&to.record);
}
