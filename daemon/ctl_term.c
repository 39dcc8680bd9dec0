#include "ctl_term.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ei.h"

#define SHOW_DEPTH 8        /* levels of a term that are shown */
#define SHOW_ELEMENTS 24    /* elements of one list, tuple or map that are shown */
#define SHOW_CHARACTERS 300 /* characters of one string that are shown */
#define SHOW_TOTAL 2000     /* bytes after which nothing more is shown */

static size_t read_size(const unsigned char *bytes, size_t width)
{
    size_t size = 0;

    for (size_t i = 0; i < width; i++)
        size = size << 8 | bytes[i];
    return size;
}

/* What stands at the beginning of a term. */
struct head {
    size_t length; /* bytes up to the first of the parts, or to the end if there are none */
    size_t parts;  /* how many terms follow that belong to it */
    size_t data;   /* where in the bytes its own data begin (names, digits, characters) */
    size_t data_length;
};

/*
 * Read the head of the term in the ${length} ${bytes} into ${head}. Return 0, or -1 if it is
 * unknown or longer than the bytes.
 */
static int read_head(const unsigned char *bytes, size_t length, struct head *head)
{
    /* tag, then a size of so many bytes, then data of that many units and fixed bytes more */
    static const struct {
        unsigned char tag;
        unsigned char width; /* of the size */
        unsigned char unit;  /* bytes of data a unit of the size stands for */
        unsigned char fixed; /* bytes of data beside them */
        unsigned char parts; /* terms that follow: this many, and ... */
        unsigned char each;  /* ... this many times the size */
    } forms[] = {
        {ERL_SMALL_INTEGER_EXT, 0, 0, 1, 0, 0}, {ERL_INTEGER_EXT, 0, 0, 4, 0, 0},
        {ERL_FLOAT_EXT, 0, 0, 31, 0, 0},        {NEW_FLOAT_EXT, 0, 0, 8, 0, 0},
        {ERL_ATOM_EXT, 2, 1, 0, 0, 0},          {ERL_SMALL_ATOM_EXT, 1, 1, 0, 0, 0},
        {ERL_ATOM_UTF8_EXT, 2, 1, 0, 0, 0},     {ERL_SMALL_ATOM_UTF8_EXT, 1, 1, 0, 0, 0},
        {ERL_STRING_EXT, 2, 1, 0, 0, 0},        {ERL_BINARY_EXT, 4, 1, 0, 0, 0},
        {ERL_BIT_BINARY_EXT, 4, 1, 1, 0, 0},    {ERL_SMALL_BIG_EXT, 1, 1, 1, 0, 0},
        {ERL_LARGE_BIG_EXT, 4, 1, 1, 0, 0},     {ERL_NIL_EXT, 0, 0, 0, 0, 0},
        {ERL_SMALL_TUPLE_EXT, 1, 0, 0, 0, 1},   {ERL_LARGE_TUPLE_EXT, 4, 0, 0, 0, 1},
        {ERL_LIST_EXT, 4, 0, 0, 1, 1},          {ERL_MAP_EXT, 4, 0, 0, 0, 2},
        {ERL_EXPORT_EXT, 0, 0, 0, 3, 0},
    };
    size_t tag_length = 1;

    memset(head, 0, sizeof(*head));
    if (length < 1)
        return -1;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i].tag != bytes[0])
            continue;
        if (length < tag_length + forms[i].width)
            return -1;
        size_t size = read_size(bytes + tag_length, forms[i].width);
        head->data = tag_length + forms[i].width;
        head->data_length = size * forms[i].unit;
        head->length = head->data + forms[i].fixed + head->data_length;
        head->parts = forms[i].parts + size * forms[i].each;
        return head->length <= length ? 0 : -1;
    }

    /* Pids, ports and references: a node's name, then numbers. */
    size_t numbers = 0;
    switch (bytes[0]) {
    case ERL_PID_EXT:
        numbers = 9;
        break;
    case ERL_NEW_PID_EXT:
    case ERL_V4_PORT_EXT:
        numbers = 12;
        break;
    case ERL_PORT_EXT:
    case ERL_REFERENCE_EXT:
        numbers = 5;
        break;
    case ERL_NEW_PORT_EXT:
        numbers = 8;
        break;
    case ERL_NEW_REFERENCE_EXT:
    case ERL_NEWER_REFERENCE_EXT:
        if (length < 3)
            return -1;
        tag_length = 3;
        numbers = (bytes[0] == ERL_NEW_REFERENCE_EXT ? 1 : 4) + 4 * read_size(bytes + 1, 2);
        break;
    case ERL_NEW_FUN_EXT:
        /* The size counts everything from itself on; nothing inside is looked at. */
        if (length < 5)
            return -1;
        head->length = 1 + read_size(bytes + 1, 4);
        head->data = 1;
        return head->length >= 5 && head->length <= length ? 0 : -1;
    default:
        return -1;
    }
    if (length <= tag_length)
        return -1;
    size_t width;
    switch (bytes[tag_length]) {
    case ERL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
        width = 2;
        break;
    case ERL_SMALL_ATOM_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT:
        width = 1;
        break;
    default:
        return -1;
    }
    if (length < tag_length + 1 + width)
        return -1;
    head->data = tag_length + 1 + width;
    head->data_length = read_size(bytes + tag_length + 1, width);
    head->length = head->data + head->data_length + numbers;
    return head->length <= length ? 0 : -1;
}

int ctl_term_take(const unsigned char *bytes, size_t length, struct ctl_term *term)
{
    size_t at = 0;
    size_t wanted = 1; /* terms that must still come; each takes a byte at least */

    while (wanted > 0) {
        struct head head;
        if (read_head(bytes + at, length - at, &head) != 0)
            return -1;
        at += head.length;
        wanted -= 1;
        if (head.parts > length - at || wanted > length - at - head.parts)
            return -1;
        wanted += head.parts;
    }
    term->bytes = bytes;
    term->length = at;
    return 0;
}

/* Read the head of a ${term} that has been checked already. */
static struct head head_of(struct ctl_term term)
{
    struct head head;

    if (read_head(term.bytes, term.length, &head) != 0)
        memset(&head, 0, sizeof(head));
    return head;
}

static bool is_atom(struct ctl_term term)
{
    switch (term.bytes[0]) {
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT:
        return true;
    default:
        return false;
    }
}

bool ctl_term_is_atom(struct ctl_term term, const char *name)
{
    struct head head = head_of(term);

    return is_atom(term) && head.data_length == strlen(name) &&
           memcmp(term.bytes + head.data, name, head.data_length) == 0;
}

/* Put the term that begins at ${at} within ${term} into ${part}. Return 0 or -1. */
static int part_at(struct ctl_term term, size_t at, struct ctl_term *part)
{
    return at < term.length ? ctl_term_take(term.bytes + at, term.length - at, part) : -1;
}

int ctl_term_element(struct ctl_term term, int arity, int number, struct ctl_term *element)
{
    struct head head = head_of(term);
    size_t at = head.length;

    if (term.bytes[0] != ERL_SMALL_TUPLE_EXT && term.bytes[0] != ERL_LARGE_TUPLE_EXT)
        return -1;
    if ((arity >= 0 && head.parts != (size_t)arity) || number < 0 || (size_t)number >= head.parts)
        return -1;
    for (int i = 0; i <= number; i++) {
        if (part_at(term, at, element) != 0)
            return -1;
        at += element->length;
    }
    return 0;
}

int ctl_term_map_get(struct ctl_term term, const char *key, struct ctl_term *value)
{
    struct head head = head_of(term);
    size_t at = head.length;

    if (term.bytes[0] != ERL_MAP_EXT)
        return -1;
    for (size_t i = 0; i + 1 < head.parts; i += 2) {
        struct ctl_term name;
        if (part_at(term, at, &name) != 0 || part_at(term, at + name.length, value) != 0)
            return -1;
        if (ctl_term_is_atom(name, key))
            return 0;
        at += name.length + value->length;
    }
    return -1;
}

int ctl_term_integer(struct ctl_term term, long long *number)
{
    struct head head = head_of(term);
    const unsigned char *bytes = term.bytes;
    unsigned long long magnitude = 0;

    switch (bytes[0]) {
    case ERL_SMALL_INTEGER_EXT:
        *number = bytes[1];
        return 0;
    case ERL_INTEGER_EXT:
        *number = (int32_t)(uint32_t)read_size(bytes + 1, 4);
        return 0;
    case ERL_SMALL_BIG_EXT:
        if (head.data_length > 8)
            return -1;
        for (size_t i = head.data_length; i > 0; i--)
            magnitude = magnitude << 8 | bytes[head.data + i]; /* after the byte for the sign */
        if (magnitude > LLONG_MAX)
            return -1;
        *number = bytes[head.data] != 0 ? -(long long)magnitude : (long long)magnitude;
        return 0;
    default:
        return -1;
    }
}

int ctl_term_bytes(struct ctl_term term, char *buffer, size_t size)
{
    struct head head = head_of(term);
    size_t length = head.data_length;

    if (size == 0 || size > INT_MAX)
        return -1;
    if (term.bytes[0] == ERL_NIL_EXT)
        length = 0;
    else if (term.bytes[0] != ERL_BINARY_EXT && term.bytes[0] != ERL_STRING_EXT && !is_atom(term))
        return -1;
    if (length > size - 1)
        length = size - 1;
    memcpy(buffer, term.bytes + head.data, length);
    buffer[length] = '\0';
    return (int)length;
}

static void show_term(struct ctl_text *text, struct ctl_term term, int depth);

/* Show ${count} terms from ${at} on within ${term}. Return where they end. */
static size_t show_parts(struct ctl_text *text, struct ctl_term term, size_t at, size_t count,
                         const char *between, int depth)
{
    struct ctl_term part;

    for (size_t i = 0; i < count; i++) {
        if (part_at(term, at, &part) != 0)
            return at;
        if (i > 0)
            ctl_text_add(text, i % 2 == 1 ? between : ",");
        if (i == SHOW_ELEMENTS || text->length > SHOW_TOTAL) {
            ctl_text_add(text, "...");
            return at;
        }
        show_term(text, part, depth + 1);
        at += part.length;
    }
    return at;
}

static void show_quoted(struct ctl_text *text, struct ctl_term term, const char *before,
                        const char *after)
{
    struct head head = head_of(term);

    ctl_text_add(text, before);
    ctl_text_foreign(text, (const char *)term.bytes + head.data, head.data_length, SHOW_CHARACTERS);
    ctl_text_add(text, after);
}

static void show_term(struct ctl_text *text, struct ctl_term term, int depth)
{
    struct head head = head_of(term);
    struct ctl_term part;
    long long number;

    if (depth > SHOW_DEPTH) {
        ctl_text_add(text, "...");
        return;
    }
    switch (term.bytes[0]) {
    case ERL_ATOM_EXT:
    case ERL_SMALL_ATOM_EXT:
    case ERL_ATOM_UTF8_EXT:
    case ERL_SMALL_ATOM_UTF8_EXT:
        show_quoted(text, term, "", "");
        break;
    case ERL_STRING_EXT:
        show_quoted(text, term, "\"", "\"");
        break;
    case ERL_BINARY_EXT:
        show_quoted(text, term, "<<\"", "\">>");
        break;
    case ERL_NIL_EXT:
        ctl_text_add(text, "[]");
        break;
    case ERL_SMALL_TUPLE_EXT:
    case ERL_LARGE_TUPLE_EXT:
        ctl_text_add(text, "{");
        show_parts(text, term, head.length, head.parts, ",", depth);
        ctl_text_add(text, "}");
        break;
    case ERL_LIST_EXT: {
        ctl_text_add(text, "[");
        size_t at = show_parts(text, term, head.length, head.parts - 1, ",", depth);
        if (part_at(term, at, &part) == 0 && at + part.length == term.length &&
            part.bytes[0] != ERL_NIL_EXT) {
            ctl_text_add(text, "|");
            show_term(text, part, depth + 1);
        }
        ctl_text_add(text, "]");
        break;
    }
    case ERL_MAP_EXT:
        ctl_text_add(text, "#{");
        show_parts(text, term, head.length, head.parts, " => ", depth);
        ctl_text_add(text, "}");
        break;
    case ERL_PID_EXT:
    case ERL_NEW_PID_EXT:
        ctl_text_add(text, "<");
        ctl_text_add_number(text,
                            (long long)read_size(term.bytes + head.data + head.data_length, 4));
        ctl_text_add(text, ".");
        ctl_text_add_number(text,
                            (long long)read_size(term.bytes + head.data + head.data_length + 4, 4));
        show_quoted(text, term, "@", ">");
        break;
    default:
        if (ctl_term_integer(term, &number) == 0)
            ctl_text_add_number(text, number);
        else
            ctl_text_add(text, "<term>");
    }
}

void ctl_term_show(struct ctl_text *text, struct ctl_term term)
{
    show_term(text, term, 0);
}
