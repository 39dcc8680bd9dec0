/* Any term, out of the fuzzer's bytes: a small stack machine, so that a few bytes make deep, wide
 * and shared ones. */
#ifndef CORONER_FUZZ_TERM_FROM_H
#define CORONER_FUZZ_TERM_FROM_H

#include "bytes.h"
#include "nif_shim.h"

/** term_from(env, bytes): a term in ${env}; the same bytes make an equal one. ${bytes} are used up.
 */
ERL_NIF_TERM term_from(ErlNifEnv *env, struct bytes bytes);

/** term_atom_from(bytes): an atom, odd or not. */
ERL_NIF_TERM term_atom_from(struct bytes *bytes);

#endif
