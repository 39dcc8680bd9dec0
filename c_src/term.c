#include <string.h>

#include "atoms.h"
#include "cells.h"
#include "flat.h"
#include "term.h"
#include "terms.h"
#include "unaligned.h"

/*
 * Budgets. 200 nodes are 5 to 10 microseconds; what a person reads of a reason is in the first few.
 * A map costs its iterator, so few pairs of a map are looked at.
 */
#define NODES_MAX 200
#define DEPTH_MAX FLAT_DEPTH_MAX
#define BINARY_BYTES 256
#define STRING_MAX 256
#define CELLS_MAX 2048 /* of lists, for whether they are strings: what is no string is looked at twice */
#define SAFE_BIGNUM_BYTES 250
#define PRINTED_MAX 640    /* bytes of what the VM prints: a bignum of that many bytes has 603 digits */
#define STACK_TEXT_MAX 2048 /* bytes of a stack trace as text */
#define ITEM_MAX 15        /* bytes of an item without its content: a binary's tag and two numbers, a tail, an end */

_Static_assert(NODES_MAX * ITEM_MAX + STACK_TEXT_MAX <= FLAT_MAX, "whatever a term is, its bytes have room");

/* Numbers between these are looked at; beyond, a bignum is only called one. Read by any thread, written in load(). */
static ErlNifEnv *limits_env;
static ERL_NIF_TERM bignum_most, bignum_least;
static ERL_NIF_TERM nil; /* an immediate */

static int make_limit(unsigned char sign, ERL_NIF_TERM *limit)
{
    /* External term format: 131, SMALL_BIG_EXT (110), length, sign, bytes from the least significant. */
    unsigned char external[4 + SAFE_BIGNUM_BYTES] = {131, 110, SAFE_BIGNUM_BYTES, sign};

    memset(external + 4, 0xff, SAFE_BIGNUM_BYTES);
    return enif_binary_to_term(limits_env, external, sizeof(external), limit, 0) == 0 ? -1 : 0;
}

int term_load(ErlNifEnv *env)
{
    nil = enif_make_list_from_array(env, NULL, 0);
    if ((limits_env = enif_alloc_env()) == NULL)
        return -1;
    if (make_limit(0, &bignum_most) != 0 || make_limit(1, &bignum_least) != 0) {
        term_unload();
        return -1;
    }
    return 0;
}

void term_unload(void)
{
    if (limits_env != NULL)
        enif_free_env(limits_env);
    limits_env = NULL;
}

/* Comparing with a limit is done by size first, so it takes no longer than the limit is long. */
static bool is_small_bignum(ERL_NIF_TERM number)
{
    return enif_compare(number, bignum_most) <= 0 && enif_compare(number, bignum_least) >= 0;
}

/* What is still to be visited: the rest of a tuple, a list's tail, a map's pairs, or a text to be written. */
struct visit {
    enum { VISIT_TUPLE, VISIT_LIST, VISIT_MAP_KEY, VISIT_MAP_VALUE } kind;
    bool first;
    int left;                  /* elements of a tuple */
    const ERL_NIF_TERM *array; /* of a tuple */
    ERL_NIF_TERM tail;         /* of a list */
    ErlNifMapIterator iterator;
};

struct walk {
    struct visit stack[DEPTH_MAX];
    int depth;
    int nodes;
};

/* Ends what `walk` holds: an iterator may own memory. */
static void walk_pop(ErlNifEnv *env, struct walk *walk)
{
    struct visit *visit = &walk->stack[--walk->depth];

    if (visit->kind == VISIT_MAP_KEY || visit->kind == VISIT_MAP_VALUE)
        enif_map_iterator_destroy(env, &visit->iterator);
}

static void walk_end(ErlNifEnv *env, struct walk *walk)
{
    while (walk->depth > 0)
        walk_pop(env, walk);
}

enum step { STEP_END, STEP_TERM, STEP_TAIL, STEP_CLOSED };

static __attribute__((noinline)) enum step walk_map(ErlNifEnv *env, struct visit *visit,
                                                    ERL_NIF_TERM *term)
{
    ERL_NIF_TERM key, value;

    if (!enif_map_iterator_get_pair(env, &visit->iterator, &key, &value))
        return STEP_CLOSED;
    if (visit->kind == VISIT_MAP_KEY) {
        visit->kind = VISIT_MAP_VALUE;
        *term = key;
    } else {
        (void)enif_map_iterator_next(env, &visit->iterator);
        visit->kind = VISIT_MAP_KEY;
        *term = value;
    }
    return STEP_TERM;
}

/*
 * Finds the next term to look at: STEP_TERM an element, STEP_TAIL the improper tail of a list;
 * STEP_CLOSED when the innermost container is through (it is left on the stack for the caller to
 * pop); STEP_END when nothing is left.
 */
static inline enum step walk_next(ErlNifEnv *env, struct walk *walk, ERL_NIF_TERM *term)
{
    struct visit *visit;

    if (walk->depth == 0)
        return STEP_END;
    visit = &walk->stack[walk->depth - 1];
    if (visit->kind == VISIT_TUPLE) {
        if (visit->left == 0)
            return STEP_CLOSED;
        visit->left--;
        *term = *visit->array++;
        return STEP_TERM;
    }
    if (visit->kind != VISIT_LIST)
        return walk_map(env, visit, term);
    if (cell_of(env, visit->tail, term, &visit->tail))
        return STEP_TERM;
    if (visit->tail == nil)
        return STEP_CLOSED;
    *term = visit->tail;
    visit->tail = nil;
    return STEP_TAIL;
}

/* Pushes a container. Returns false where the stack is full. */
static bool push(struct walk *walk, struct visit **visit)
{
    if (walk->depth == DEPTH_MAX)
        return false;
    *visit = &walk->stack[walk->depth++];
    (*visit)->first = true;
    return true;
}

/*
 * A binary's bytes, or as many of its first as are looked at, and its size. False when it is none of whole bytes. Of one that
 * begins inside a byte only those are copied: the part of it is a term in the callback's environment, which goes with that.
 */
static bool inspect(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifBinary *binary, size_t *size)
{
    if (unaligned_size(term, size) && *size > BINARY_BYTES) {
        if (!enif_is_binary(env, term))
            return false;
        term = enif_make_sub_binary(env, term, 0, BINARY_BYTES);
        return enif_inspect_binary(env, term, binary);
    }
    if (!enif_inspect_binary(env, term, binary))
        return false;
    *size = binary->size;
    return true;
}

/* Bytes being made of a term. */
struct flattening {
    struct term_bytes *to;
    size_t text;     /* what they take as text, at least */
    size_t text_max; /* there it ends: nobody would see the rest */
    unsigned cells;  /* of lists, looked at for whether they are strings */
};

/* There is room: NODES_MAX items of at most ITEM_MAX bytes besides the bytes of strings and binaries, which `text` bounds. */
static inline void put_tag(struct flattening *flattening, enum flat_tag tag)
{
    flattening->to->bytes[flattening->to->length++] = (uint8_t)tag;
}

static inline void put_number(struct flattening *flattening, uint64_t number)
{
    struct term_bytes *to = flattening->to;

    to->length += flat_put_number(to->bytes + to->length, number);
}

static inline void put_tagged(struct flattening *flattening, enum flat_tag tag, uint64_t number)
{
    put_tag(flattening, tag);
    put_number(flattening, number);
    flattening->text++;
}

static void put_bytes(struct flattening *flattening, const void *bytes, size_t length)
{
    struct term_bytes *to = flattening->to;

    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
    flattening->text += length;
}

/* As many of the bytes as there is still a use for. */
static size_t useful(const struct flattening *flattening, size_t length)
{
    size_t most = flattening->text_max - flattening->text;

    return length < most ? length : most;
}

static void put_printed(struct flattening *flattening, ErlNifEnv *env, ERL_NIF_TERM term)
{
    char printed[PRINTED_MAX];
    size_t length;

    (void)env;
    (void)enif_snprintf(printed, sizeof(printed), "%T", term);
    length = useful(flattening, strlen(printed));
    put_tagged(flattening, FLAT_PRINTED, length);
    put_bytes(flattening, printed, length);
}

/* Nearly all characters are such. */
static inline bool is_printable_ascii(ERL_NIF_TERM term)
{
    uint64_t above = term - WORD_OF_SMALL(0x20);

    return above < (0x7f - 0x20) << 4 && (above & 15) == 0;
}

/* A character as ~p takes it for one, as UTF-8 in `bytes`. Returns its length there, 0 when it is none. */
static unsigned put_point(ERL_NIF_TERM term, uint8_t bytes[4])
{
    int64_t point = word_small(term);

    if (!word_is_small(term))
        return 0;
    if ((point >= 32 && point < 127) || point == '\n' || point == '\t' || point == '\r') {
        bytes[0] = (uint8_t)point;
        return 1;
    }
    if (point < 160 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    if (point < 0x800) {
        bytes[0] = (uint8_t)(0xc0 | point >> 6);
        bytes[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        bytes[0] = (uint8_t)(0xe0 | point >> 12);
        bytes[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        bytes[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    bytes[0] = (uint8_t)(0xf0 | point >> 18);
    bytes[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    bytes[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    bytes[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

/* Takes the printable ASCII that the list begins with, `most` characters at most, as far as its
 * cells can be looked at. Returns how many. */
static unsigned take_ascii(ERL_NIF_TERM *list, uint8_t *bytes, unsigned most)
{
    ERL_NIF_TERM at = *list;
    unsigned count = 0;

    while (cells_known && count < most && word_is_list(at)) {
        const ERL_NIF_TERM *words = cell_words(at);

        if (!is_printable_ascii(words[0]))
            break;
        bytes[count++] = (uint8_t)word_small(words[0]);
        at = words[1];
    }
    *list = at;
    return count;
}

/* Puts `list` as a string, if it is one to its end or for as far as we look. */
static bool put_string(struct flattening *flattening, ErlNifEnv *env, ERL_NIF_TERM list)
{
    uint8_t bytes[4 * STRING_MAX];
    unsigned count, most_cells = CELLS_MAX - flattening->cells, wide;
    size_t length;
    ERL_NIF_TERM head;

    if (most_cells > STRING_MAX)
        most_cells = STRING_MAX;
    length = count = take_ascii(&list, bytes, most_cells);
    while (count < most_cells && cell_of(env, list, &head, &list)) {
        count++;
        if (is_printable_ascii(head)) {
            bytes[length++] = (uint8_t)word_small(head);
        } else if ((wide = put_point(head, bytes + length)) > 0) {
            length += wide;
        } else {
            flattening->cells += count;
            return false;
        }
    }
    flattening->cells += count;
    if (count < STRING_MAX && list != nil)
        return false;
    if (count == STRING_MAX || useful(flattening, length) < length) {
        size_t most = useful(flattening, length);

        while (most < length && most > 0 && (bytes[most] & 0xc0) == 0x80)
            most--;
        length = most;
        flattening->to->whole = false;
        put_tagged(flattening, FLAT_STRING_CUT, length);
    } else {
        put_tagged(flattening, FLAT_STRING, length);
    }
    put_bytes(flattening, bytes, length);
    return true;
}

static void put_binary(struct flattening *flattening, ErlNifEnv *env, ERL_NIF_TERM term)
{
    ErlNifBinary binary;
    size_t length, size;

    if (!inspect(env, term, &binary, &size)) {
        put_tag(flattening, FLAT_BITSTRING);
        flattening->text++;
        flattening->to->whole = false;
        return;
    }
    length = size < BINARY_BYTES ? size : BINARY_BYTES;
    length = useful(flattening, length);
    put_tagged(flattening, FLAT_BINARY, size);
    put_number(flattening, length);
    put_bytes(flattening, binary.data, length);
    if (length < size)
        flattening->to->whole = false;
}

/* Puts a container's head and pushes it. */
static inline void put_container(struct flattening *flattening, struct walk *walk,
                                 enum flat_tag tag, uint64_t count, struct visit **visit)
{
    if (!push(walk, visit)) {
        put_tag(flattening, FLAT_DEEP);
        flattening->to->whole = false;
        *visit = NULL;
        return;
    }
    put_tag(flattening, tag);
    if (tag != FLAT_LIST)
        put_number(flattening, count);
    flattening->text++;
}

static void put_small(struct flattening *flattening, int64_t number)
{
    put_tagged(flattening, number < 0 ? FLAT_NEGATIVE : FLAT_UINT,
               number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static void flatten_integer(struct flattening *flattening, ErlNifEnv *env, ERL_NIF_TERM term)
{
    ErlNifSInt64 number;

    if (enif_get_int64(env, term, &number)) {
        put_small(flattening, number);
    } else if (is_small_bignum(term)) {
        put_printed(flattening, env, term);
    } else {
        put_tag(flattening, FLAT_BIGNUM);
        flattening->to->whole = false;
    }
}

static void flatten_list(struct flattening *flattening, ErlNifEnv *env, struct walk *walk,
                         ERL_NIF_TERM term)
{
    struct visit *visit;

    if (put_string(flattening, env, term))
        return;
    put_container(flattening, walk, FLAT_LIST, 0, &visit);
    if (visit != NULL) {
        visit->kind = VISIT_LIST;
        visit->tail = term;
    }
}

static void flatten_map(struct flattening *flattening, ErlNifEnv *env, struct walk *walk,
                        ERL_NIF_TERM term)
{
    struct visit *visit;
    size_t size;

    if (!enif_get_map_size(env, term, &size))
        return;
    put_container(flattening, walk, FLAT_MAP, size, &visit);
    if (visit == NULL)
        return;
    visit->kind = VISIT_MAP_KEY;
    if (!enif_map_iterator_create(env, term, &visit->iterator, ERL_NIF_MAP_ITERATOR_FIRST)) {
        walk->depth--; /* no memory: that many pairs are missing, so what is shown ends here */
        put_tag(flattening, FLAT_OTHER);
        flattening->text++;
        flattening->to->whole = false;
    }
}

/* What is none of the kinds that most terms are of. */
static __attribute__((noinline)) void flatten_other(struct flattening *flattening, ErlNifEnv *env,
                                                    struct walk *walk, ERL_NIF_TERM term)
{
    double number;

    switch (enif_term_type(env, term)) {
    case ERL_NIF_TERM_TYPE_INTEGER:
        flatten_integer(flattening, env, term);
        return;
    case ERL_NIF_TERM_TYPE_FLOAT:
        number = 0;
        (void)enif_get_double(env, term, &number);
        put_tag(flattening, FLAT_FLOAT);
        memcpy(flattening->to->bytes + flattening->to->length, &number, sizeof(number));
        flattening->to->length += sizeof(number);
        flattening->text += 3;
        return;
    case ERL_NIF_TERM_TYPE_PID:
    case ERL_NIF_TERM_TYPE_PORT:
        /* Of this node, an immediate; else at most a few words. */
        if (word_is_pid(term) || is_local_port(env, term))
            put_tagged(flattening, FLAT_PID, term);
        else
            put_printed(flattening, env, term);
        return;
    case ERL_NIF_TERM_TYPE_REFERENCE:
        put_printed(flattening, env, term);
        return;
    case ERL_NIF_TERM_TYPE_FUN:
        /* Its environment can be anything, so only module, index and the check sum are looked at. */
        put_printed(flattening, env, term);
        flattening->to->whole = false;
        return;
    case ERL_NIF_TERM_TYPE_BITSTRING:
        put_binary(flattening, env, term);
        return;
    case ERL_NIF_TERM_TYPE_MAP:
        flatten_map(flattening, env, walk, term);
        return;
    default: /* the others have been looked at */
        put_tag(flattening, FLAT_OTHER);
        flattening->text++;
        flattening->to->whole = false;
        return;
    }
}

/*
 * Puts one term, pushing it when it is a container whose parts are to come. Of what most terms are
 * made of the word tells what it is; the VM is asked about the rest.
 */
static inline void flatten_one(struct flattening *flattening, ErlNifEnv *env, struct walk *walk,
                               ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *elements;
    struct visit *visit;
    int arity;

    if (word_is_atom(term)) {
        put_tagged(flattening, FLAT_ATOM, term);
    } else if (word_is_list(term)) {
        flatten_list(flattening, env, walk, term);
    } else if (word_is_boxed(term) && enif_get_tuple(env, term, &arity, &elements)) {
        put_container(flattening, walk, FLAT_TUPLE, (uint64_t)arity, &visit);
        if (visit != NULL) {
            visit->kind = VISIT_TUPLE;
            visit->left = arity;
            visit->array = elements;
        }
    } else if (word_is_small(term)) {
        put_small(flattening, word_small(term));
    } else if (term == nil) {
        put_tag(flattening, FLAT_NIL);
        flattening->text++;
    } else {
        flatten_other(flattening, env, walk, term);
    }
}

static void flatten(ErlNifEnv *env, ERL_NIF_TERM term, size_t text_max, struct term_bytes *to)
{
    struct flattening flattening = {.to = to, .text_max = text_max};
    struct walk walk;

    to->length = 0;
    to->whole = true;
    walk.depth = 0;
    for (walk.nodes = 0; walk.nodes < NODES_MAX && flattening.text < text_max; walk.nodes++) {
        enum step step;

        flatten_one(&flattening, env, &walk, term);
        while ((step = walk_next(env, &walk, &term)) == STEP_CLOSED) {
            if (walk.stack[walk.depth - 1].kind == VISIT_LIST)
                put_tag(&flattening, FLAT_END);
            walk_pop(env, &walk);
        }
        if (step == STEP_END)
            return;
        if (step == STEP_TAIL)
            put_tag(&flattening, FLAT_TAIL);
    }
    walk_end(env, &walk);
    to->whole = false;
}

void term_flatten(ErlNifEnv *env, ERL_NIF_TERM term, struct term_bytes *bytes)
{
    flatten(env, term, TERM_TEXT_MAX, bytes);
}

struct fingerprint term_print_of(ERL_NIF_TERM term, const struct term_bytes *bytes)
{
    if (bytes->length > 0 && bytes->bytes[0] == FLAT_ATOM)
        return (struct fingerprint){.hash = term, .whole = true};
    return (struct fingerprint){.hash = flat_hash(bytes->bytes, bytes->length), .whole = bytes->whole};
}

struct fingerprint term_fingerprint(ErlNifEnv *env, ERL_NIF_TERM term)
{
    struct term_bytes bytes;

    if (word_is_atom(term))
        return (struct fingerprint){.hash = term, .whole = true};
    term_flatten(env, term, &bytes);
    return term_print_of(term, &bytes);
}

static bool is_list(ERL_NIF_TERM term)
{
    return word_is_list(term) || term == nil;
}

/* Whether `stack` begins like a stack trace: {Module, Function, Arity | Args, Location} or {Fun, Args, Location}. */
static bool is_stack(ErlNifEnv *env, ERL_NIF_TERM stack)
{
    ERL_NIF_TERM head, tail;
    const ERL_NIF_TERM *frame;
    int arity;

    if (!cell_of(env, stack, &head, &tail))
        return stack == nil;
    if (!enif_get_tuple(env, head, &arity, &frame))
        return false;
    if (arity == 4)
        return word_is_atom(frame[0]) && word_is_atom(frame[1]) &&
               (word_is_small(frame[2]) || is_list(frame[2]) || enif_is_number(env, frame[2])) &&
               is_list(frame[3]);
    return arity == 3 && enif_is_fun(env, frame[0]) && is_list(frame[2]);
}

enum reason_shape term_reason_shape(ErlNifEnv *env, ERL_NIF_TERM reason)
{
    const ERL_NIF_TERM *pair, *inner;
    int arity;

    if (word_is_atom(reason)) {
        if (reason == atoms.normal)
            return REASON_NORMAL;
        if (reason == atoms.shutdown)
            return REASON_SHUTDOWN;
        if (reason == atoms.killed)
            return REASON_KILLED;
        if (reason == atoms.kill)
            return REASON_KILL;
        if (reason == atoms.noproc)
            return REASON_NOPROC;
        if (reason == atoms.noconnection)
            return REASON_NOCONNECTION;
        if (reason == atoms.timeout)
            return REASON_TIMEOUT;
        return REASON_OTHER;
    }
    if (!enif_get_tuple(env, reason, &arity, &pair))
        return REASON_OTHER;
    if (arity == 3 && pair[1] == atoms.return_ && enif_is_ref(env, pair[0]))
        return REASON_RPC_REPLY;
    if (arity != 2)
        return REASON_OTHER;
    /* error(shutdown), uncaught, is an error all the same. */
    if (pair[0] == atoms.shutdown && (pair[1] == nil || !is_stack(env, pair[1])))
        return REASON_SHUTDOWN;
    if (!is_stack(env, pair[1]))
        return pair[0] == atoms.noproc    ? REASON_NOPROC
               : pair[0] == atoms.timeout ? REASON_TIMEOUT
                                          : REASON_OTHER;
    if (enif_get_tuple(env, pair[0], &arity, &inner) && arity == 2 && inner[0] == atoms.nocatch)
        return REASON_THROW;
    return REASON_ERROR;
}

static bool is_reserved(const unsigned char *name, size_t length)
{
    static const char *const words[] = {
        "after", "and", "andalso", "band", "begin", "bnot", "bor",    "bsl", "bsr", "case",
        "catch", "cond", "div",    "else", "end",   "fun",  "if",     "let", "maybe", "not",
        "of",    "or",  "orelse",  "receive", "rem", "try", "when", "xor",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i]) == length && memcmp(words[i], name, length) == 0)
            return true;
    return false;
}

static bool needs_quotes(const unsigned char *name, size_t length)
{
    if (length == 0 || !(name[0] >= 'a' && name[0] <= 'z'))
        return true;
    for (size_t i = 1; i < length; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
              (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == '@'))
            return true;
    return is_reserved(name, length);
}

void name_atom(term_word atom, bool quoted, struct text_writer *writer)
{
    /* 255 characters of at most 4 bytes. */
    unsigned char name[1024];
    char latin1[256];
    size_t length = 0;
    int got = enif_get_atom(NULL, (ERL_NIF_TERM)atom, latin1, sizeof(latin1), ERL_NIF_LATIN1);

    if (got > 0) {
        for (int i = 0; i < got - 1; i++) {
            unsigned char c = (unsigned char)latin1[i];

            if (c < 0x80) {
                name[length++] = c;
            } else {
                name[length++] = (unsigned char)(0xc0 | c >> 6);
                name[length++] = (unsigned char)(0x80 | (c & 0x3f));
            }
        }
    } else {
        /* Not Latin-1: OTP 25 has no ERL_NIF_UTF8, but the external format of an atom is UTF-8. */
        ErlNifBinary external;
        ErlNifEnv *env = enif_alloc_env();

        if (env == NULL)
            return;
        if (enif_term_to_binary(env, (ERL_NIF_TERM)atom, &external)) {
            /* 131, SMALL_ATOM_UTF8_EXT (119) with a length of one byte, or ATOM_UTF8_EXT (118) with two. */
            size_t skip = external.size > 2 && external.data[1] == 119 ? 3 : 4;

            if (external.size > skip && external.size - skip <= sizeof(name)) {
                length = external.size - skip;
                memcpy(name, external.data + skip, length);
            }
            enif_release_binary(&external);
        }
        enif_free_env(env);
    }
    quoted = quoted && needs_quotes(name, length);
    if (quoted)
        text_put_char(writer, '\'');
    text_put_utf8(writer, name, length, '\'');
    if (quoted)
        text_put_char(writer, '\'');
}

void name_pid_or_port(term_word word, struct text_writer *writer)
{
    char printed[64];

    if (enif_snprintf(printed, sizeof(printed), "%T", (ERL_NIF_TERM)word) > 0)
        text_puts(writer, printed);
}

static bool put_code_point(struct text_writer *writer, long point, char quote)
{
    unsigned char bytes[4];
    size_t length;

    if (point < 0 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return false;
    if (point < 0x80) {
        bytes[0] = (unsigned char)point;
        length = 1;
    } else if (point < 0x800) {
        bytes[0] = (unsigned char)(0xc0 | point >> 6);
        bytes[1] = (unsigned char)(0x80 | (point & 0x3f));
        length = 2;
    } else if (point < 0x10000) {
        bytes[0] = (unsigned char)(0xe0 | point >> 12);
        bytes[1] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
        bytes[2] = (unsigned char)(0x80 | (point & 0x3f));
        length = 3;
    } else {
        bytes[0] = (unsigned char)(0xf0 | point >> 18);
        bytes[1] = (unsigned char)(0x80 | (point >> 12 & 0x3f));
        bytes[2] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
        bytes[3] = (unsigned char)(0x80 | (point & 0x3f));
        length = 4;
    }
    text_put_utf8(writer, bytes, length, quote);
    return true;
}

bool term_chars(ErlNifEnv *env, ERL_NIF_TERM list, struct text_writer *writer)
{
    uint8_t plain[STRING_MAX];
    size_t used, size;
    ErlNifBinary binary;
    ERL_NIF_TERM head;
    long point;

    if (word_is_boxed(list) && inspect(env, list, &binary, &size)) {
        text_put_utf8(writer, binary.data, size < STRING_MAX ? size : STRING_MAX, '\0');
        return true;
    }
    used = take_ascii(&list, plain, STRING_MAX);
    text_put(writer, (const char *)plain, used);
    for (size_t i = used; i < STRING_MAX && cell_of(env, list, &head, &list); i++)
        if (!enif_get_long(env, head, &point) || !put_code_point(writer, point, '\0'))
            return false;
    return true;
}

void term_format(ErlNifEnv *env, ERL_NIF_TERM term, struct text_writer *writer)
{
    struct term_bytes bytes;

    term_flatten(env, term, &bytes);
    flat_format(bytes.bytes, bytes.length, writer);
}

struct text *term_text(ErlNifEnv *env, ERL_NIF_TERM term)
{
    char buffer[TERM_TEXT_MAX];
    struct text_writer writer = text_writer_on(buffer, sizeof(buffer) - 3);

    term_format(env, term, &writer);
    if (writer.cut) {
        memcpy(buffer + writer.used, "...", 4);
        writer.used += 3;
    }
    return text_new(buffer, writer.used, writer.cut);
}

struct text *term_stack(ErlNifEnv *env, ERL_NIF_TERM stack)
{
    struct term_bytes bytes;

    if (!word_is_list(stack))
        return NULL;
    flatten(env, stack, STACK_TEXT_MAX, &bytes);
    return flat_new(bytes.bytes, bytes.length);
}
