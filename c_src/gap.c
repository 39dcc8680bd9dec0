#include <string.h>

#include "alloc.h"
#include "gap.h"
#include "source.h"
#include "wire.h"

static const char *const severity_names[] = {
#define X(symbol, name) [CORONER_SEVERITY_##symbol] = name,
    CORONER_SEVERITIES(X)
#undef X
};

static struct text *capped_text(const unsigned char *bytes, size_t length, size_t most)
{
    char buffer[GAP_DETAIL_MAX + 1];
    struct text_writer writer = text_writer_on(buffer, most + 1);

    text_put_utf8(&writer, bytes, length, 0);
    return text_new(buffer, writer.used, writer.cut);
}

struct gap *gap_new(uint64_t from_ns, uint64_t to_ns, const unsigned char *why, size_t why_length,
                    const unsigned char *detail, size_t detail_length)
{
    struct gap *gap = memory_zalloc(sizeof(*gap));

    if (gap == NULL)
        return NULL;
    /* The daemon takes integers below 2^63 only. */
    gap->from_ns = from_ns < INT64_MAX ? from_ns : INT64_MAX;
    gap->to_ns = to_ns < INT64_MAX ? to_ns : INT64_MAX;
    gap->why = capped_text(why, why_length, GAP_WHY_MAX);
    gap->detail = capped_text(detail, detail_length, GAP_DETAIL_MAX);
    if (gap->why == NULL || gap->detail == NULL) {
        gap_free(gap);
        return NULL;
    }
    return gap;
}

void gap_free(struct gap *gap)
{
    if (gap == NULL)
        return;
    text_drop(gap->detail);
    text_drop(gap->why);
    memory_free(gap);
}

size_t gap_bytes(const struct gap *gap)
{
    if (gap == NULL)
        return 0;
    return sizeof(*gap) + 2 * sizeof(*gap->why) + gap->why->length + gap->detail->length;
}

static void put_text(struct cbor_writer *cbor, enum wire_key key, const char *bytes, size_t length)
{
    cbor_put_uint(cbor, key);
    cbor_put_text(cbor, bytes, length);
}

static void put_message(struct cbor_writer *cbor, const struct gap *gap)
{
    char buffer[GAP_WHY_MAX + 128];
    struct text_writer text = text_writer_on(buffer, sizeof(buffer));

    if (gap->to_ns == 0) {
        text_puts(&text, "from now on exits may not be seen: ");
    } else {
        uint64_t ms = gap->to_ns > gap->from_ns ? (gap->to_ns - gap->from_ns) / 1000000 : 0;

        text_puts(&text, "for ");
        text_put_uint(&text, ms / 1000);
        text_put_char(&text, '.');
        text_put_char(&text, (char)('0' + ms / 100 % 10));
        text_put_char(&text, (char)('0' + ms / 10 % 10));
        text_put_char(&text, (char)('0' + ms % 10));
        text_puts(&text, " s exits may not have been seen: ");
    }
    text_put(&text, gap->why->bytes, gap->why->length);
    put_text(cbor, WIRE_KEY_message, buffer, text.used);
}

void gap_encode(const struct gap *gap, struct cbor_writer *cbor)
{
    const char *severity = severity_names[CORONER_SEVERITY_WARNING];
    size_t map = cbor_open_map(cbor), inner;
    unsigned pairs = 2;

    put_text(cbor, WIRE_KEY_severity, severity, strlen(severity));
    put_message(cbor, gap);
    cbor_put_uint(cbor, WIRE_KEY_gap);
    inner = cbor_open_map(cbor);
    cbor_put_uint(cbor, WIRE_KEY_from);
    cbor_put_uint(cbor, gap->from_ns);
    if (gap->to_ns != 0) {
        cbor_put_uint(cbor, WIRE_KEY_to);
        cbor_put_uint(cbor, gap->to_ns);
        pairs++;
    }
    put_text(cbor, WIRE_KEY_why, gap->why->bytes, gap->why->length);
    if (gap->detail->length > 0) {
        put_text(cbor, WIRE_KEY_detail, gap->detail->bytes, gap->detail->length);
        pairs++;
    }
    cbor_close_map(cbor, inner, pairs);
    cbor_close_map(cbor, map, 3);
}
