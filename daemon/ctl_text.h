/*
 * Text for a person: a growing, bounded buffer. What coronerctl says itself is added as it is; what
 * comes from a record, a node or a command line is added as foreign, and nothing in it can drive a
 * terminal.
 */
#ifndef CORONER_CTL_TEXT_H
#define CORONER_CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* How the output may look. */
struct ctl_look {
    bool utf8;   /* the reader's locale is UTF-8; otherwise only ASCII is written */
    bool colour; /* escape sequences for colour may be written */
};

enum ctl_style { CTL_PLAIN, CTL_BOLD, CTL_DIM, CTL_RED, CTL_YELLOW };

#define CTL_TEXT_MAX (4u << 20) /* bytes of one text */

struct ctl_text {
    char *bytes; /* NUL-terminated once anything was added */
    size_t length;
    size_t capacity;
    bool failed; /* memory or CTL_TEXT_MAX ran out: the text is cut */
    struct ctl_look look;
};

/**
 * ctl_text_init(text, look):
 * Make ${text} empty. It is released with ctl_text_free.
 */
void ctl_text_init(struct ctl_text *text, struct ctl_look look);

/**
 * ctl_text_free(text):
 * Release what ${text} holds; it is empty then and may be used again.
 */
void ctl_text_free(struct ctl_text *text);

/**
 * ctl_text_string(text):
 * Return the text as a string that lives until ${text} changes; never NULL.
 */
const char *ctl_text_string(const struct ctl_text *text);

/**
 * ctl_text_add(text, own):
 * Append ${own}, a UTF-8 string of coronerctl itself. Where the reader's locale is not UTF-8, what
 * is not ASCII in it is written as "?"; use ctl_text_symbol for the drawing characters.
 */
void ctl_text_add(struct ctl_text *text, const char *own);

/**
 * ctl_text_append(text, other):
 * Append ${other}, made harmless and with its looks already, as it is; if it failed, ${text} has
 * too.
 */
void ctl_text_append(struct ctl_text *text, const struct ctl_text *other);

/**
 * ctl_text_symbol(text, utf8, ascii):
 * Append ${utf8} or, where the reader's locale is not UTF-8, ${ascii}.
 */
void ctl_text_symbol(struct ctl_text *text, const char *utf8, const char *ascii);

/**
 * ctl_text_add_number(text, number):
 * Append ${number} in decimal.
 */
void ctl_text_add_number(struct ctl_text *text, long long number);

/**
 * ctl_text_foreign(text, bytes, length, limit):
 * Append the ${length} ${bytes} of somebody else's text, at most ${limit} characters of it, with an
 * ellipsis where it was cut. Control characters (C0, DEL, C1), characters that change the direction
 * or the lines of text, invisible ones, and bytes that are not UTF-8 are written as \xHH or
 * \u{HHHH}.
 */
void ctl_text_foreign(struct ctl_text *text, const char *bytes, size_t length, size_t limit);

/**
 * ctl_text_foreign_string(text, string):
 * The same for a NUL-terminated ${string}, with a limit that suits one line.
 */
void ctl_text_foreign_string(struct ctl_text *text, const char *string);

/**
 * ctl_text_cut(text, length):
 * Take back what was appended after ${text} had ${length} bytes.
 */
void ctl_text_cut(struct ctl_text *text, size_t length);

/**
 * ctl_text_style(text, style):
 * Write what follows in ${style}, until the next call; nothing happens where colour is not wanted.
 */
void ctl_text_style(struct ctl_text *text, enum ctl_style style);

/**
 * ctl_text_columns(text):
 * Return how many characters the last line of ${text} shows, escape sequences left out.
 */
size_t ctl_text_columns(const struct ctl_text *text);

#endif
