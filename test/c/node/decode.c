#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "decode.h"
#include "wire.h"

static const char *const key_names[] = {
#define X(number, name) [number] = #name,
    WIRE_KEYS(X)
#undef X
};

cbor_item_t *decode(const uint8_t *bytes, size_t length)
{
    struct cbor_load_result result;
    cbor_item_t *item = cbor_load(bytes, length, &result);

    if (item != NULL && result.read != length)
        cbor_decref(&item);
    return item;
}

cbor_item_t *decode_at(const cbor_item_t *map, unsigned key)
{
    struct cbor_pair *pairs;

    assert_non_null(map);
    assert_true(cbor_isa_map(map));
    pairs = cbor_map_handle(map);
    for (size_t i = 0; i < cbor_map_size(map); i++)
        if (cbor_isa_uint(pairs[i].key) && cbor_get_int(pairs[i].key) == key)
            return pairs[i].value;
    return NULL;
}

cbor_item_t *decode_text_at(const cbor_item_t *map, const char *key)
{
    struct cbor_pair *pairs;

    assert_non_null(map);
    assert_true(cbor_isa_map(map));
    pairs = cbor_map_handle(map);
    for (size_t i = 0; i < cbor_map_size(map); i++)
        if (decode_is(pairs[i].key, key))
            return pairs[i].value;
    return NULL;
}

uint64_t decode_uint(const cbor_item_t *item)
{
    assert_non_null(item);
    assert_true(cbor_isa_uint(item));
    return cbor_get_int(item);
}

bool decode_is(const cbor_item_t *item, const char *text)
{
    return item != NULL && cbor_isa_string(item) && cbor_string_length(item) == strlen(text) &&
           memcmp(cbor_string_handle(item), text, strlen(text)) == 0;
}

static void json_string(FILE *out, const char *bytes, size_t length)
{
    assert_true(length <= WIRE_TEXT_MAX);
    assert_true(is_clean_utf8(bytes, length));
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\')
            fputc('\\', out);
        fputc(bytes[i], out);
    }
    fputc('"', out);
}

static void json(FILE *out, const cbor_item_t *item, unsigned depth)
{
    bool seen[sizeof(key_names) / sizeof(key_names[0])] = {false};

    assert_true(depth <= WIRE_DEPTH_MAX);
    switch (cbor_typeof(item)) {
    case CBOR_TYPE_UINT:
        assert_true(cbor_get_int(item) <= INT64_MAX);
        if (cbor_get_int(item) < UINT64_C(1) << 53)
            fprintf(out, "%" PRIu64, cbor_get_int(item));
        else
            fprintf(out, "\"%" PRIu64 "\"", cbor_get_int(item));
        return;
    case CBOR_TYPE_STRING:
        assert_true(cbor_string_is_definite(item));
        json_string(out, (const char *)cbor_string_handle(item), cbor_string_length(item));
        return;
    case CBOR_TYPE_ARRAY:
        assert_true(cbor_array_is_definite(item));
        for (size_t i = 0; i < cbor_array_size(item); i++) {
            fputc(i == 0 ? '[' : ',', out);
            json(out, cbor_array_handle(item)[i], depth + 1);
        }
        fputs(cbor_array_size(item) == 0 ? "[]" : "]", out);
        return;
    case CBOR_TYPE_MAP:
        assert_true(cbor_map_is_definite(item));
        for (size_t i = 0; i < cbor_map_size(item); i++) {
            uint64_t key = decode_uint(cbor_map_handle(item)[i].key);

            assert_in_range(key, 1, sizeof(key_names) / sizeof(key_names[0]) - 1);
            assert_false(seen[key]); /* no key twice */
            seen[key] = true;
            fprintf(out, "%c\"%s\":", i == 0 ? '{' : ',', key_names[key]);
            json(out, cbor_map_handle(item)[i].value, depth + 1);
        }
        fputs(cbor_map_size(item) == 0 ? "{}" : "}", out);
        return;
    case CBOR_TYPE_FLOAT_CTRL:
        assert_true(cbor_float_ctrl_is_ctrl(item));
        if (cbor_is_null(item))
            fputs("null", out);
        else
            fputs(cbor_get_bool(item) ? "true" : "false", out);
        return;
    default:
        fail_msg("an item of CBOR's major type %d", (int)cbor_typeof(item));
    }
}

char *decode_json(const cbor_item_t *item, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);

    assert_non_null(out);
    json(out, item, 2); /* in a frame it stands in an array */
    assert_int_equal(fclose(out), 0);
    return text;
}
