#include <stdio.h>
#include <string.h>

#include "atoms.h"
#include "term.h"

/*
 * Budgets. 200 nodes are 5 to 10 microseconds; what a person reads of a reason is in the first few.
 * A map costs its iterator, so few pairs of a map are looked at.
 */
#define NODES_MAX 200
#define DEPTH_MAX 24
#define BINARY_BYTES 256
#define STRING_MAX 256
#define SAFE_BIGNUM_BYTES 250

/* Numbers between these are looked at; beyond, a bignum is only called one. Read by any thread, written in load(). */
static ErlNifEnv *limits_env;
static ERL_NIF_TERM bignum_most, bignum_least;

static int make_limit(unsigned char sign, ERL_NIF_TERM *limit)
{
    /* External term format: 131, SMALL_BIG_EXT (110), length, sign, bytes from the least significant. */
    unsigned char external[4 + SAFE_BIGNUM_BYTES] = {131, 110, SAFE_BIGNUM_BYTES, sign};

    memset(external + 4, 0xff, SAFE_BIGNUM_BYTES);
    return enif_binary_to_term(limits_env, external, sizeof(external), limit, 0) == 0 ? -1 : 0;
}

int term_load(ErlNifEnv *env)
{
    (void)env;
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

/*
 * Finds the next term to look at: STEP_TERM an element, STEP_TAIL the improper tail of a list; STEP_CLOSED
 * when the innermost container is through (it is left on the stack for the caller to pop); STEP_END when
 * nothing is left. `*separator` tells whether the term is not the first, or is a map's value.
 */
static enum step walk_next(ErlNifEnv *env, struct walk *walk, ERL_NIF_TERM *term)
{
    struct visit *visit;
    ERL_NIF_TERM head, key, value;

    if (walk->depth == 0)
        return STEP_END;
    visit = &walk->stack[walk->depth - 1];
    switch (visit->kind) {
    case VISIT_TUPLE:
        if (visit->left == 0)
            return STEP_CLOSED;
        visit->left--;
        *term = *visit->array++;
        return STEP_TERM;
    case VISIT_LIST:
        if (enif_get_list_cell(env, visit->tail, &head, &visit->tail)) {
            *term = head;
            return STEP_TERM;
        }
        if (enif_is_empty_list(env, visit->tail))
            return STEP_CLOSED;
        *term = visit->tail;
        visit->tail = enif_make_list_from_array(env, NULL, 0); /* nil: an immediate, takes no heap */
        return STEP_TAIL;
    case VISIT_MAP_KEY:
        if (!enif_map_iterator_get_pair(env, &visit->iterator, &key, &value))
            return STEP_CLOSED;
        visit->kind = VISIT_MAP_VALUE;
        *term = key;
        return STEP_TERM;
    case VISIT_MAP_VALUE:
        if (!enif_map_iterator_get_pair(env, &visit->iterator, &key, &value))
            return STEP_CLOSED;
        (void)enif_map_iterator_next(env, &visit->iterator);
        visit->kind = VISIT_MAP_KEY;
        *term = value;
        return STEP_TERM;
    }
    return STEP_END;
}

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = word_hash(*hash ^ value) + UINT64_C(0x9e3779b97f4a7c15);
}

static void mix_bytes(uint64_t *hash, const unsigned char *bytes, size_t length)
{
    uint64_t part;

    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&part, bytes, 8);
        mix(hash, part);
    }
    part = 0;
    memcpy(&part, bytes, length);
    mix(hash, part ^ (uint64_t)length << 56);
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

/* Mixes one term, pushing it when it is a container. Returns whether all of it has been, or will be, seen. */
static bool fingerprint_one(ErlNifEnv *env, struct walk *walk, ERL_NIF_TERM term, uint64_t *hash)
{
    struct visit *visit;
    ErlNifSInt64 small;
    double number;
    ErlNifBinary binary;
    size_t size;
    char printed[300];
    int arity;
    const ERL_NIF_TERM *elements;

    switch (enif_term_type(env, term)) {
    case ERL_NIF_TERM_TYPE_ATOM:
        mix(hash, term);
        return true;
    case ERL_NIF_TERM_TYPE_INTEGER:
        if (enif_get_int64(env, term, &small)) {
            mix(hash, (uint64_t)small);
            return true;
        }
        if (!is_small_bignum(term)) {
            mix(hash, 3);
            return false;
        }
        mix(hash, (uint64_t)enif_hash(ERL_NIF_INTERNAL_HASH, term, 0));
        return true;
    case ERL_NIF_TERM_TYPE_FLOAT:
        if (enif_get_double(env, term, &number)) {
            uint64_t bits;

            memcpy(&bits, &number, sizeof(bits));
            mix(hash, bits);
        }
        return true;
    case ERL_NIF_TERM_TYPE_PID:
    case ERL_NIF_TERM_TYPE_PORT:
    case ERL_NIF_TERM_TYPE_REFERENCE:
        /* At most a few words each; the hash of a local one is that of its word. */
        mix(hash, (uint64_t)enif_hash(ERL_NIF_INTERNAL_HASH, term, 1));
        return true;
    case ERL_NIF_TERM_TYPE_FUN:
        /* Its environment can be anything, so only module, index and the check sum are looked at. */
        (void)enif_snprintf(printed, sizeof(printed), "%T", term);
        mix_bytes(hash, (const unsigned char *)printed, strlen(printed));
        return false;
    case ERL_NIF_TERM_TYPE_BITSTRING:
        if (!enif_inspect_binary(env, term, &binary)) {
            mix(hash, 5);
            return false;
        }
        size = binary.size < BINARY_BYTES ? binary.size : BINARY_BYTES;
        mix(hash, binary.size);
        mix_bytes(hash, binary.data, size);
        return size == binary.size;
    case ERL_NIF_TERM_TYPE_TUPLE:
        if (!enif_get_tuple(env, term, &arity, &elements))
            return false;
        mix(hash, (uint64_t)arity << 8 | 7);
        if (!push(walk, &visit))
            return false;
        visit->kind = VISIT_TUPLE;
        visit->left = arity;
        visit->array = elements;
        return true;
    case ERL_NIF_TERM_TYPE_LIST:
        mix(hash, 11);
        if (enif_is_empty_list(env, term))
            return true;
        if (!push(walk, &visit))
            return false;
        visit->kind = VISIT_LIST;
        visit->tail = term;
        return true;
    case ERL_NIF_TERM_TYPE_MAP:
        if (!enif_get_map_size(env, term, &size))
            return false;
        mix(hash, (uint64_t)size << 8 | 13);
        if (!push(walk, &visit))
            return false;
        if (!enif_map_iterator_create(env, term, &visit->iterator, ERL_NIF_MAP_ITERATOR_FIRST)) {
            walk->depth--;
            return false;
        }
        visit->kind = VISIT_MAP_KEY;
        return true;
    default:
        mix(hash, 17);
        return false;
    }
}

struct fingerprint term_fingerprint(ErlNifEnv *env, ERL_NIF_TERM term)
{
    struct fingerprint print = {.hash = 0, .whole = true};
    struct walk walk;

    if (enif_is_atom(env, term)) {
        print.hash = term;
        return print;
    }
    walk.depth = 0;
    for (walk.nodes = 0; walk.nodes < NODES_MAX; walk.nodes++) {
        enum step step;

        if (!fingerprint_one(env, &walk, term, &print.hash))
            print.whole = false;
        while ((step = walk_next(env, &walk, &term)) == STEP_CLOSED) {
            walk_pop(env, &walk);
            mix(&print.hash, 19);
        }
        if (step == STEP_END)
            return print;
        if (step == STEP_TAIL)
            mix(&print.hash, 23);
    }
    walk_end(env, &walk);
    print.whole = false;
    return print;
}

/* Whether `stack` begins like a stack trace: {Module, Function, Arity | Args, Location} or {Fun, Args, Location}. */
static bool is_stack(ErlNifEnv *env, ERL_NIF_TERM stack)
{
    ERL_NIF_TERM head, tail;
    const ERL_NIF_TERM *frame;
    int arity;

    if (!enif_get_list_cell(env, stack, &head, &tail))
        return enif_is_empty_list(env, stack);
    if (!enif_get_tuple(env, head, &arity, &frame))
        return false;
    if (arity == 4)
        return enif_is_atom(env, frame[0]) && enif_is_atom(env, frame[1]) &&
               (enif_is_number(env, frame[2]) || enif_is_list(env, frame[2])) &&
               enif_is_list(env, frame[3]);
    return arity == 3 && enif_is_fun(env, frame[0]) && enif_is_list(env, frame[2]);
}

enum reason_shape term_reason_shape(ErlNifEnv *env, ERL_NIF_TERM reason)
{
    const ERL_NIF_TERM *pair, *inner;
    int arity;

    if (enif_is_atom(env, reason)) {
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
    if (pair[0] == atoms.shutdown &&
        (enif_is_empty_list(env, pair[1]) || !is_stack(env, pair[1])))
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
    ErlNifBinary binary;
    ERL_NIF_TERM head;
    long point;

    if (enif_inspect_binary(env, list, &binary)) {
        text_put_utf8(writer, binary.data, binary.size < STRING_MAX ? binary.size : STRING_MAX, '\0');
        return true;
    }
    for (int i = 0; i < STRING_MAX && enif_get_list_cell(env, list, &head, &list); i++)
        if (!enif_get_long(env, head, &point) || !put_code_point(writer, point, '\0'))
            return false;
    return true;
}

/* Whether `list` is a string as ~p takes it for one: printable characters to its end, or for as far as we look. */
static bool is_string(ErlNifEnv *env, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head;
    long point;
    int i;

    for (i = 0; i < STRING_MAX && enif_get_list_cell(env, list, &head, &list); i++)
        if (!enif_get_long(env, head, &point) ||
            !((point >= 32 && point < 127) || (point >= 160 && point <= 0x10ffff &&
                                                !(point >= 0xd800 && point <= 0xdfff)) ||
              point == '\n' || point == '\t' || point == '\r'))
            return false;
    return i == STRING_MAX || enif_is_empty_list(env, list);
}

static void format_string(ErlNifEnv *env, ERL_NIF_TERM list, struct text_writer *writer)
{
    ERL_NIF_TERM head;
    long point;
    int i;

    text_put_char(writer, '"');
    for (i = 0; i < STRING_MAX && enif_get_list_cell(env, list, &head, &list); i++)
        if (!enif_get_long(env, head, &point) || !put_code_point(writer, point, '"'))
            break;
    if (i == STRING_MAX)
        writer->cut = true;
    text_put_char(writer, '"');
}

static void format_binary(const ErlNifBinary *binary, struct text_writer *writer)
{
    size_t length = binary->size < BINARY_BYTES ? binary->size : BINARY_BYTES;
    bool is_text = true, is_ascii = true;
    size_t at = 0;

    while (at < length && is_text) {
        unsigned wide = text_utf8_length(binary->data + at, length - at);
        unsigned char c = binary->data[at];

        /* The end of what we look at may cut a character in two. */
        if (wide == 0 && length < binary->size && length - at < 4) {
            length = at;
            break;
        }
        is_text = wide > 0 && (c >= 0x20 || c == '\n' || c == '\t' || c == '\r') && c != 0x7f &&
                  !(wide == 2 && c == 0xc2 && binary->data[at + 1] < 0xa0);
        is_ascii = is_ascii && wide == 1;
        at += wide == 0 ? 1 : wide;
    }
    text_puts(writer, "<<");
    if (is_text && length > 0) {
        text_put_char(writer, '"');
        text_put_utf8(writer, binary->data, length, '"');
    } else {
        for (at = 0; at < length && !writer->cut; at++) {
            if (at > 0)
                text_put_char(writer, ',');
            text_put_uint(writer, binary->data[at]);
        }
    }
    if (length < binary->size)
        writer->cut = true;
    if (is_text && length > 0)
        text_puts(writer, is_ascii ? "\"" : "\"/utf8");
    text_puts(writer, ">>");
}

static void format_float(double number, struct text_writer *writer)
{
    char digits[32], *exponent;

    /* The shortest that reads back as the same number. */
    for (int precision = 15; precision <= 17; precision++) {
        double back;

        (void)snprintf(digits, sizeof(digits), "%.*g", precision, number);
        if (sscanf(digits, "%lf", &back) == 1 && back == number)
            break;
    }
    /* Erlang wants a point before the exponent, and writes e100 where C has e+100. */
    if ((exponent = strchr(digits, 'e')) != NULL)
        *exponent++ = '\0';
    text_puts(writer, digits);
    if (strchr(digits, '.') == NULL)
        text_puts(writer, ".0");
    if (exponent == NULL)
        return;
    text_put_char(writer, 'e');
    if (*exponent == '-')
        text_put_char(writer, '-');
    text_puts(writer, exponent + 1 + strspn(exponent + 1, "0"));
}

/* Writes one term, pushing it when it is a container whose parts are to come. */
static void format_one(ErlNifEnv *env, struct walk *walk, ERL_NIF_TERM term,
                       struct text_writer *writer)
{
    struct visit *visit;
    ErlNifSInt64 small;
    double number;
    ErlNifBinary binary;
    char printed[1100];
    int arity;
    const ERL_NIF_TERM *elements;

    switch (enif_term_type(env, term)) {
    case ERL_NIF_TERM_TYPE_ATOM:
        name_atom(term, true, writer);
        return;
    case ERL_NIF_TERM_TYPE_INTEGER:
        if (enif_get_int64(env, term, &small)) {
            if (small < 0)
                text_put_char(writer, '-');
            text_put_uint(writer, small < 0 ? 0 - (uint64_t)small : (uint64_t)small);
        } else if (is_small_bignum(term)) {
            (void)enif_snprintf(printed, sizeof(printed), "%T", term);
            text_puts(writer, printed);
        } else {
            text_puts(writer, "#Bignum");
            writer->cut = true;
        }
        return;
    case ERL_NIF_TERM_TYPE_FLOAT:
        if (enif_get_double(env, term, &number))
            format_float(number, writer);
        return;
    case ERL_NIF_TERM_TYPE_PID:
    case ERL_NIF_TERM_TYPE_PORT:
    case ERL_NIF_TERM_TYPE_REFERENCE:
    case ERL_NIF_TERM_TYPE_FUN:
        (void)enif_snprintf(printed, sizeof(printed), "%T", term);
        text_put_utf8(writer, (const unsigned char *)printed, strlen(printed), '\0');
        return;
    case ERL_NIF_TERM_TYPE_BITSTRING:
        if (enif_inspect_binary(env, term, &binary))
            format_binary(&binary, writer);
        else
            text_puts(writer, "#Bitstring"); /* not whole bytes: erl_nif.h shows no way in */
        return;
    case ERL_NIF_TERM_TYPE_TUPLE:
        if (!enif_get_tuple(env, term, &arity, &elements))
            return;
        if (!push(walk, &visit)) {
            writer->cut = true;
            return;
        }
        visit->kind = VISIT_TUPLE;
        visit->left = arity;
        visit->array = elements;
        text_put_char(writer, '{');
        return;
    case ERL_NIF_TERM_TYPE_LIST:
        if (enif_is_empty_list(env, term)) {
            text_puts(writer, "[]");
            return;
        }
        if (is_string(env, term)) {
            format_string(env, term, writer);
            return;
        }
        if (!push(walk, &visit)) {
            writer->cut = true;
            return;
        }
        visit->kind = VISIT_LIST;
        visit->tail = term;
        text_put_char(writer, '[');
        return;
    case ERL_NIF_TERM_TYPE_MAP:
        if (!push(walk, &visit)) {
            writer->cut = true;
            return;
        }
        if (!enif_map_iterator_create(env, term, &visit->iterator, ERL_NIF_MAP_ITERATOR_FIRST)) {
            walk->depth--;
            return;
        }
        visit->kind = VISIT_MAP_KEY;
        text_puts(writer, "#{");
        return;
    default:
        text_puts(writer, "#Term"); /* a type that this VM has and we do not know */
        return;
    }
}

void term_format(ErlNifEnv *env, ERL_NIF_TERM term, struct text_writer *writer)
{
    struct walk walk;

    walk.depth = 0;
    for (walk.nodes = 0; walk.nodes < NODES_MAX && !writer->cut; walk.nodes++) {
        struct visit *visit;
        enum step step;

        format_one(env, &walk, term, writer);
        while ((step = walk_next(env, &walk, &term)) == STEP_CLOSED) {
            text_put_char(writer, walk.stack[walk.depth - 1].kind == VISIT_LIST ? ']' : '}');
            walk_pop(env, &walk);
        }
        if (step == STEP_END)
            return;
        visit = &walk.stack[walk.depth - 1];
        if (step == STEP_TAIL)
            text_put_char(writer, '|');
        else if (visit->kind == VISIT_MAP_KEY) /* it was a value */
            text_puts(writer, " => ");
        else if (!visit->first)
            text_put_char(writer, ',');
        visit->first = false;
    }
    walk_end(env, &walk);
    writer->cut = true;
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

/* Appends the file and line of a frame's location, [{file, "f"}, {line, 1}], if it has them. */
static void format_location(ErlNifEnv *env, ERL_NIF_TERM location, struct text_writer *writer)
{
    ERL_NIF_TERM head, file = 0;
    const ERL_NIF_TERM *pair;
    unsigned line = 0;
    int arity;

    for (int i = 0; i < 8 && enif_get_list_cell(env, location, &head, &location); i++) {
        if (!enif_get_tuple(env, head, &arity, &pair) || arity != 2)
            continue;
        if (enif_is_list(env, pair[1]) && !enif_is_empty_list(env, pair[1]))
            file = pair[1];
        else
            (void)enif_get_uint(env, pair[1], &line);
    }
    if (file == 0 || line == 0)
        return;
    text_puts(writer, " (");
    (void)term_chars(env, file, writer);
    text_put_char(writer, ':');
    text_put_uint(writer, line);
    text_put_char(writer, ')');
}

struct text *term_stack_text(ErlNifEnv *env, ERL_NIF_TERM stack)
{
    char buffer[2048];
    struct text_writer writer = text_writer_on(buffer, sizeof(buffer));
    ERL_NIF_TERM head;
    size_t whole = 0; /* bytes of the lines that fitted whole */
    bool truncated = false;

    for (int frames = 0; enif_get_list_cell(env, stack, &head, &stack); frames++) {
        const ERL_NIF_TERM *frame;
        unsigned of_arity;
        int arity;

        if (frames == TERM_STACK_FRAMES) {
            truncated = true;
            break;
        }
        if (!enif_get_tuple(env, head, &arity, &frame) || arity < 3 || arity > 4)
            break;
        if (whole > 0)
            text_put_char(&writer, '\n');
        if (arity == 3) {
            struct walk walk = {.depth = 0};

            if (!enif_is_fun(env, frame[0]))
                break; /* a list of anything, which somebody put where a stack could be */
            format_one(env, &walk, frame[0], &writer);
            walk_end(env, &walk);
            format_location(env, frame[2], &writer);
        } else {
            if (!enif_is_atom(env, frame[0]) || !enif_is_atom(env, frame[1]))
                break;
            name_atom(frame[0], true, &writer);
            text_put_char(&writer, ':');
            name_atom(frame[1], true, &writer);
            text_put_char(&writer, '/');
            if (!enif_get_uint(env, frame[2], &of_arity)) {
                /* The arguments themselves; a function has at most 255. */
                ERL_NIF_TERM argument, rest = frame[2];

                for (of_arity = 0; of_arity < 255 && enif_get_list_cell(env, rest, &argument, &rest);)
                    of_arity++;
            }
            text_put_uint(&writer, of_arity);
            format_location(env, frame[3], &writer);
        }
        if (writer.cut) {
            truncated = true;
            break;
        }
        whole = writer.used;
    }
    return whole == 0 ? NULL : text_new(buffer, whole, truncated);
}
