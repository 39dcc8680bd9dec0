/*
 * Looking at Erlang terms inside a tracer callback: bounded in time and memory, whatever the term.
 *
 * A reason may be 100 MB, a million tuples deep, shared, improper, or hold anything a term can be. So
 * nothing here recurses, copies a term, converts a big number or reads a binary beyond its beginning:
 * every walk has a budget of nodes, a bound on depth and an explicit stack. The terms are valid only
 * during the callback; what is kept of them is a fingerprint and some bytes (flat.h).
 */
#ifndef CORONER_TERM_H
#define CORONER_TERM_H

#include <erl_nif.h>

#include "flat.h"
#include "names.h"
#include "reason.h"
#include "text.h"
#include "word.h"

#define TERM_TEXT_MAX 1024 /* bytes of a reason as text, NUL included */
#define TERM_STACK_FRAMES FLAT_FRAMES

/* A term as bytes (flat.h), or the beginning of it. */
struct term_bytes {
    size_t length;
    bool whole; /* all of the term is in them */
    uint8_t bytes[FLAT_MAX];
};

/** term_load(env): prepares what the functions below need. Called once, in load(). Returns 0, or -1 without memory. */
int term_load(ErlNifEnv *env);

/** term_unload(): undoes term_load. */
void term_unload(void);

/** term_flatten(env, term, bytes): ${term} as ${bytes}, as far as the bounds let us look, and its text would be shown. */
void term_flatten(ErlNifEnv *env, ERL_NIF_TERM term, struct term_bytes *bytes);

/** term_print_of(term, bytes): the fingerprint of ${term}, whose bytes these are. */
struct fingerprint term_print_of(ERL_NIF_TERM term, const struct term_bytes *bytes);

/** term_fingerprint(env, term): the fingerprint of ${term}. */
struct fingerprint term_fingerprint(ErlNifEnv *env, ERL_NIF_TERM term);

/** term_reason_shape(env, reason): what ${reason} looks like. */
enum reason_shape term_reason_shape(ErlNifEnv *env, ERL_NIF_TERM reason);

/** term_format(env, term, writer): appends ${term} in Erlang syntax, as ~tp would, cut where a bound is met. */
void term_format(ErlNifEnv *env, ERL_NIF_TERM term, struct text_writer *writer);

/**
 * term_text(env, term): ${term} as a text of at most TERM_TEXT_MAX bytes, or NULL without memory. When it
 * was cut it ends in "..." and is marked truncated.
 */
struct text *term_text(ErlNifEnv *env, ERL_NIF_TERM term);

/** term_stack(env, stack): the bytes of the stack trace ${stack}, for flat_format_stack; NULL when it is none, or without memory. */
struct text *term_stack(ErlNifEnv *env, ERL_NIF_TERM stack);

/**
 * term_chars(env, list, writer): appends the characters of the string ${list} (a list of code points, or a
 * binary of UTF-8). Returns false when it is neither; what was appended before that stays.
 */
bool term_chars(ErlNifEnv *env, ERL_NIF_TERM list, struct text_writer *writer);

#endif
