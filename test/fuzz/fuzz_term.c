/*
 * Any term, looked at as the callbacks look at one: what is said of it is bounded, clean and the
 * same for the same term, and nothing is read beyond its end or left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc_libc.h"
#include "atoms.h"
#include "cells.h"
#include "check.h"
#include "flat.h"
#include "term.h"
#include "term_from.h"
#include "terms.h"

#define CALLS_MAX 20000 /* of the VM's functions, whatever the term */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * How many bytes a term takes as text, at least and at most, told without term.c as far as there
 * are not too many nodes. `simple` says that none of term.c's bounds but that of the text is met.
 */
struct estimate {
    size_t nodes, least, most;
    bool simple;
};

#define NODES_LOOKED_AT 2000

static void estimate_term(ErlNifEnv *env, ERL_NIF_TERM term, unsigned depth, struct estimate *to)
{
    const struct shim_box *box;
    size_t length;

    if (to->nodes >= NODES_LOOKED_AT || to->least > 2 * TERM_TEXT_MAX || depth > 300) {
        to->nodes++; /* a long list of what is too deep has an end, too */
        to->simple = false;
        return;
    }
    to->nodes++;
    if (depth > 20)
        to->simple = false;
    switch (shim_kind(term)) {
    case SHIM_ATOM:
        (void)shim_name(term, &length);
        to->least += length;
        to->most += 2 + 6 * length;
        return;
    case SHIM_SMALL:
    case SHIM_PID:
    case SHIM_PORT:
    case SHIM_FLOAT:
    case SHIM_REMOTE_PID:
    case SHIM_REFERENCE:
        to->least += 1;
        to->most += 60;
        return;
    case SHIM_BIGNUM:
        box = shim_box(term);
        to->least += box->size < 200 ? box->size : 1; /* a byte is at least two digits */
        to->most += 3 * box->size;
        to->simple = to->simple && box->size < 250;
        return;
    case SHIM_FUN:
        to->most += 5 + shim_box(term)->length;
        return;
    case SHIM_BINARY:
        box = shim_box(term);
        to->least += box->bits != 0 ? 1 : box->size <= 256 ? 4 + box->size : 2 * TERM_TEXT_MAX;
        to->most += 20 + 8 * box->size;
        to->simple = to->simple && box->size < 256;
        return;
    case SHIM_EMPTY:
        to->least += 2;
        to->most += 2;
        return;
    case SHIM_CELL: {
        ERL_NIF_TERM head, tail = term;

        to->least += 2;
        to->most += 2;
        while (enif_get_list_cell(env, tail, &head, &tail)) {
            to->most += 1;
            estimate_term(env, head, depth + 1, to);
            if (to->nodes >= NODES_LOOKED_AT || to->least > 2 * TERM_TEXT_MAX)
                return;
        }
        if (tail != SHIM_NIL)
            estimate_term(env, tail, depth + 1, to);
        return;
    }
    case SHIM_TUPLE:
    case SHIM_MAP: {
        size_t count;

        box = shim_box(term);
        count = box->kind == SHIM_MAP ? 2 * box->length : box->length;
        to->least += 2;
        to->most += 3;
        if (box->size > 200) {
            to->least += 2 * TERM_TEXT_MAX; /* there are more nodes than are ever looked at */
            to->simple = false;
        }
        to->simple = to->simple && box->size == box->length;
        for (size_t i = 0; i < count; i++) {
            to->most += 4;
            estimate_term(env, box->terms[i], depth + 1, to);
        }
        return;
    }
    }
}

/* What the walk of `term` wrote with all the room it can want, against what is kept of it. */
static void check_text(ErlNifEnv *env, ERL_NIF_TERM term)
{
    static char roomy[1 << 18];
    struct text_writer writer = text_writer_on(roomy, sizeof(roomy));
    struct estimate estimate = {.simple = true};
    struct text *text;
    size_t kept;

    /* Without an end of the room every node may be a string as long as is looked at. */
    (void)shim_budget(CALLS_MAX * 20);
    term_format(env, term, &writer);
    (void)shim_budget(CALLS_MAX);
    text = term_text(env, term);
    reached(shim_budget(UINT64_MAX) / 128);
    must(text != NULL);
    must(text->length < TERM_TEXT_MAX);
    must(text->bytes[text->length] == '\0' && strlen(text->bytes) == text->length);
    must(is_clean_utf8(text->bytes, text->length));
    must(is_clean_utf8(roomy, writer.used));
    kept = text->length;
    if (text->truncated) {
        must(kept >= 3 && strcmp(text->bytes + kept - 3, "...") == 0);
        kept -= 3;
    }
    must(kept <= writer.used && memcmp(text->bytes, roomy, kept) == 0);
    must(text->truncated == (writer.cut || kept < writer.used));

    estimate_term(env, term, 0, &estimate);
    if (estimate.least >= TERM_TEXT_MAX)
        must(text->truncated);
    if (estimate.simple && estimate.nodes < 190 && estimate.most < TERM_TEXT_MAX - 4)
        must(!text->truncated);
    text_drop(text);
}

static void check_lines(const char *text, size_t length)
{
    const char *line, *end;
    unsigned lines = 1;

    must(strlen(text) == length);
    if (length == 0)
        return;
    for (line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        must(end > line && is_clean_utf8(line, (size_t)(end - line)));
        must(strchr("{[<", *line) == NULL); /* it begins with an atom, or is a fun */
        lines++;
    }
    must(*line != '\0' && is_clean_utf8(line, strlen(line)));
    must(strchr("{[<", *line) == NULL);
    must(lines <= TERM_STACK_FRAMES);
}

static void check_stack_text(ErlNifEnv *env, ERL_NIF_TERM term)
{
    char small[64], large[2048];
    struct text_writer few = text_writer_on(small, sizeof(small)), many = text_writer_on(large, sizeof(large));
    struct text *stack;

    (void)shim_budget(CALLS_MAX);
    stack = term_stack(env, term);
    (void)shim_budget(UINT64_MAX);
    if (stack == NULL)
        return;
    must(stack->is_flat);
    flat_format_stack((const uint8_t *)stack->bytes, stack->length, false, &few);
    check_lines(small, few.used);
    flat_format_stack((const uint8_t *)stack->bytes, stack->length, false, &many);
    check_lines(large, many.used);
    must(few.used <= many.used && memcmp(small, large, few.used) == 0);
    text_drop(stack);
}

/* The bytes of a term, read as a stack trace and as a reason that has one: nothing is read beyond them. */
static void check_bytes(ErlNifEnv *env, ERL_NIF_TERM term)
{
    static struct term_bytes bytes;
    char buffer[TERM_TEXT_MAX];
    uint8_t *exact;

    (void)shim_budget(CALLS_MAX);
    term_flatten(env, term, &bytes);
    (void)shim_budget(UINT64_MAX);
    must(bytes.length > 0 && bytes.length <= FLAT_MAX);
    reached(3000 + bytes.length / 32);
    exact = malloc(bytes.length);
    must(exact != NULL);
    memcpy(exact, bytes.bytes, bytes.length);
    for (int in_reason = 0; in_reason < 2; in_reason++) {
        struct text_writer writer = text_writer_on(buffer, sizeof(buffer));

        flat_format_stack(exact, bytes.length, in_reason, &writer);
        check_lines(buffer, writer.used);
    }
    free(exact);
}

static void check_chars(ErlNifEnv *env, ERL_NIF_TERM term)
{
    char small[64], large[2048];
    struct text_writer few = text_writer_on(small, sizeof(small)),
                       many = text_writer_on(large, sizeof(large));

    (void)shim_budget(CALLS_MAX);
    (void)term_chars(env, term, &few);
    (void)term_chars(env, term, &many);
    (void)shim_budget(UINT64_MAX);
    must(is_clean_utf8(small, few.used) && is_clean_utf8(large, many.used));
    must(few.used <= many.used && memcmp(small, large, few.used) == 0);
}

static bool is_ascii(ERL_NIF_TERM atom)
{
    size_t length;
    const char *name = shim_name(atom, &length);

    for (size_t i = 0; i < length; i++)
        if ((signed char)name[i] < 0)
            return false;
    return true;
}

static void check_remote_pid(ErlNifEnv *env, ERL_NIF_TERM term)
{
    struct remote_pid pid;
    bool is;

    (void)shim_budget(100);
    is = remote_pid_of(env, term, &pid);
    (void)shim_budget(UINT64_MAX);
    if (shim_kind(term) != SHIM_REMOTE_PID) {
        must(!is);
    } else if (shim_box(term)->bytes == NULL) {
        const struct shim_box *box = shim_box(term);

        must(is);
        must(pid.number == box->words[0] && pid.serial == box->words[1] &&
             pid.creation == box->words[2]);
        must(pid.node == (is_ascii(box->node) ? box->node : NO_WORD));
    }
}

static void check_alias(ErlNifEnv *env, ERL_NIF_TERM term)
{
    const struct shim_box *box;
    term_word target;

    if (shim_kind(term) != SHIM_REFERENCE)
        return; /* asked for references alone */
    (void)shim_budget(100);
    target = alias_target(env, term);
    (void)shim_budget(UINT64_MAX);
    must(target == NO_WORD || is_local_pid(env, (ERL_NIF_TERM)target));
    box = shim_box(term);
    if (box->bytes == NULL) {
        term_word word = (term_word)box->words[4] << 32 | box->words[3];

        must(target == (box->length == 5 && (word & 0xf) == 3 ? word : NO_WORD));
    }
}

static void check_lists(ErlNifEnv *env, ERL_NIF_TERM term)
{
    ERL_NIF_TERM elements[5];
    uint32_t length, count;

    (void)shim_budget(1000);
    length = list_length(env, term);
    count = list_elements(env, term, elements, 5);
    (void)shim_budget(UINT64_MAX);
    must(length <= 256);
    must(count == (length < 5 ? length : 5));
}

static void look_at(ErlNifEnv *env, ERL_NIF_TERM term)
{
    enum reason_shape shape;

    check_text(env, term);
    check_stack_text(env, term);
    check_bytes(env, term);
    check_chars(env, term);
    check_remote_pid(env, term);
    check_alias(env, term);
    check_lists(env, term);
    (void)shim_budget(100);
    shape = term_reason_shape(env, term);
    (void)shim_budget(UINT64_MAX);
    must(shape < REASON_SHAPE_COUNT);
}

/* What a callback takes out of a reason or an argument is looked at as well. */
static void look_at_parts(ErlNifEnv *env, ERL_NIF_TERM term)
{
    look_at(env, term);
    if (shim_kind(term) == SHIM_TUPLE)
        for (size_t i = 0; i < shim_box(term)->length && i < 4; i++)
            look_at(env, shim_box(term)->terms[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {.at = data, .left = size};
    ErlNifEnv *env = shim_begin();
    ERL_NIF_TERM term, again;
    struct fingerprint one, other;
    static bool loaded;
    int64_t live;

    if (!loaded) {
        must(term_load(env) == 0);
        loaded = true;
    }
    live = alloc_live();
    shim_old_atoms(bytes_u8(&bytes) & 1);
    term = term_from(env, bytes);
    again = term_from(env, bytes);

    (void)shim_budget(CALLS_MAX);
    one = term_fingerprint(env, term);
    (void)shim_budget(CALLS_MAX);
    other = term_fingerprint(env, again);
    reached(2000 + shim_budget(UINT64_MAX) / 128);
    must(fingerprint_same(one, other));
    look_at_parts(env, term);

    /* The same with cells that are not asked for, but read where they are. */
    shim_lay_out(true);
    cells_known = true;
    again = term_from(env, bytes);
    (void)shim_budget(CALLS_MAX);
    other = term_fingerprint(env, again);
    (void)shim_budget(UINT64_MAX);
    must(fingerprint_same(one, other));
    look_at_parts(env, again);
    cells_known = false;
    shim_lay_out(false);
    must(alloc_live() == live);
    shim_end(env);
    return 0;
}
