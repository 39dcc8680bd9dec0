#include <cbor.h>

#include "item.h"

static void number(struct item *item, enum item_type type, uint64_t value)
{
    item->type = type;
    item->number = value;
}

static void on_unsigned8(void *cookie, uint8_t value)
{
    number(cookie, ITEM_UNSIGNED, value);
}

static void on_unsigned16(void *cookie, uint16_t value)
{
    number(cookie, ITEM_UNSIGNED, value);
}

static void on_unsigned32(void *cookie, uint32_t value)
{
    number(cookie, ITEM_UNSIGNED, value);
}

static void on_unsigned64(void *cookie, uint64_t value)
{
    number(cookie, ITEM_UNSIGNED, value);
}

static void on_text(void *cookie, cbor_data data, size_t length)
{
    struct item *item = cookie;

    item->type = ITEM_TEXT;
    item->text = (const char *)data;
    item->length = length;
}

static void on_array(void *cookie, size_t count)
{
    number(cookie, ITEM_ARRAY, count);
}

static void on_map(void *cookie, size_t count)
{
    number(cookie, ITEM_MAP, count);
}

static void on_boolean(void *cookie, bool value)
{
    number(cookie, ITEM_BOOLEAN, value);
}

static void on_null(void *cookie)
{
    number(cookie, ITEM_NULL, 0);
}

bool item_next(struct item_reader *reader, struct item *item)
{
    /* What is not named here leaves the item as ITEM_OTHER. */
    static const struct cbor_callbacks callbacks = {
        .uint8 = on_unsigned8,
        .uint16 = on_unsigned16,
        .uint32 = on_unsigned32,
        .uint64 = on_unsigned64,
        .negint64 = cbor_null_negint64_callback,
        .negint32 = cbor_null_negint32_callback,
        .negint16 = cbor_null_negint16_callback,
        .negint8 = cbor_null_negint8_callback,
        .byte_string_start = cbor_null_byte_string_start_callback,
        .byte_string = cbor_null_byte_string_callback,
        .string = on_text,
        .string_start = cbor_null_string_start_callback,
        .indef_array_start = cbor_null_indef_array_start_callback,
        .array_start = on_array,
        .indef_map_start = cbor_null_indef_map_start_callback,
        .map_start = on_map,
        .tag = cbor_null_tag_callback,
        .float2 = cbor_null_float2_callback,
        .float4 = cbor_null_float4_callback,
        .float8 = cbor_null_float8_callback,
        .undefined = cbor_null_undefined_callback,
        .null = on_null,
        .boolean = on_boolean,
        .indef_break = cbor_null_indef_break_callback,
    };
    struct cbor_decoder_result result;

    *item = (struct item){.type = ITEM_OTHER};
    if (reader->offset >= reader->length)
        return false;
    result = cbor_stream_decode(reader->data + reader->offset, reader->length - reader->offset,
                                &callbacks, item);
    if (result.status != CBOR_DECODER_FINISHED)
        return false;
    reader->offset += result.read;
    return true;
}
