/*
 * Binaries that begin inside a byte. enif_inspect_binary copies such a one whole (OTP 25 .. 29), however large: 50 MB took 230 to
 * 360 ms on a scheduler. erl_nif.h has no other way to tell one, nor its size; so what says it is read out of the VM's
 * memory, where it is known to stand: load() is given samples of every alignment, and only if all of them are found to be as
 * one of the known layouts has them is it used. Else such binaries are looked at by enif_inspect_binary, as before.
 */
#ifndef CORONER_UNALIGNED_H
#define CORONER_UNALIGNED_H

#include <erl_nif.h>
#include <stdbool.h>
#include <stddef.h>

/** unaligned_learn(env, samples): ${samples} is a list of {Bits, Bytes, Binary}: see coroner_nif:load/0. Returns whether it helped. */
bool unaligned_learn(ErlNifEnv *env, ERL_NIF_TERM samples);

/** unaligned_is_known(): what unaligned_learn returned last. */
bool unaligned_is_known(void);

/** unaligned_size(binary, size): whether ${binary} is known to begin inside a byte; then its bytes are in ${size}. */
bool unaligned_size(ERL_NIF_TERM binary, size_t *size);

#endif
