/*
 * Immediate terms without a VM: words for atoms, pids and ports, and their names (c_src/names.h) as
 * term.c would give them. Atoms are made before threads are started; after that they are only read.
 */
#ifndef CORONER_TEST_NAMES_FAKE_H
#define CORONER_TEST_NAMES_FAKE_H

#include "names.h"

/** fake_atom(name): the word of the atom ${name}, the same for the same name. */
term_word fake_atom(const char *name);

/** fake_pid(number), fake_port(number): the words of the pid <0.${number}.0> and the port
 * #Port<0.${number}>. */
term_word fake_pid(uint64_t number);
term_word fake_port(uint64_t number);

#endif
