/*
 * The names of immediate terms as text. term.c asks the VM for them; the C tests, which have none, bring
 * functions of their own.
 */
#ifndef CORONER_NAMES_H
#define CORONER_NAMES_H

#include "text.h"
#include "word.h"

/**
 * name_atom(atom, quoted, writer): appends the name of ${atom}, in quotes where Erlang syntax wants them if
 * ${quoted}. Any thread: atoms are never collected.
 */
void name_atom(term_word atom, bool quoted, struct text_writer *writer);

/** name_pid_or_port(word, writer): appends the local pid or port ${word} as <0.1.2> or #Port<0.3>. Any thread. */
void name_pid_or_port(term_word word, struct text_writer *writer);

#endif
