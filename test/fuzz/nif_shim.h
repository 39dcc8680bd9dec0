/*
 * As much of the VM as c_src/term.c and c_src/terms.c call: Erlang terms in memory of libc, behind
 * the functions of erl_nif.h. Everything that a term holds has an allocation of its own, of the
 * size that may be read, so that AddressSanitizer sees who reads beyond. What these functions do
 * for a term without bound (print it, hash it, compare it, write it in external format) they refuse
 * for terms where the VM's would take time: coroner must not ask for it. All other functions of
 * erl_nif.h end the program.
 */
#ifndef CORONER_FUZZ_NIF_SHIM_H
#define CORONER_FUZZ_NIF_SHIM_H

#include <erl_nif.h>
#include <stdbool.h>

/** shim_begin(): makes the environment of a callback; returns it. Atoms made from here on go with
 * it. */
ErlNifEnv *shim_begin(void);

/** shim_end(env): frees ${env} and its terms, and sees that nothing else is out: binaries,
 * iterators, environments. */
void shim_end(ErlNifEnv *env);

/** shim_budget(calls): the next ${calls} calls are allowed, one more ends the program. Returns how
 * many there were since the last time. */
uint64_t shim_budget(uint64_t calls);

/** shim_take(env, size): memory that lives as long as ${env}; not one byte more than ${size} may be
 * touched. */
void *shim_take(ErlNifEnv *env, size_t size);

/** shim_old_atoms(old): whether an atom in Latin-1 is written in external format as OTP 25 does
 * (ATOM_EXT) or as later ones. */
void shim_old_atoms(bool old);

#define SHIM_NIL ((ERL_NIF_TERM)0x3b)

/* --- terms, in ${env}; pointers are copied from --- */

/** shim_atom(name, length): the atom of the UTF-8 ${name}. */
ERL_NIF_TERM shim_atom(const char *name, size_t length);
ERL_NIF_TERM shim_integer(ErlNifEnv *env, int64_t value);

/** shim_bignum(env, negative, length, fill): a number of ${length} > 8 bytes, each of them ${fill}
 * > 0; nobody looks at those of a long one. */
ERL_NIF_TERM shim_bignum(ErlNifEnv *env, bool negative, size_t length, uint8_t fill);
ERL_NIF_TERM shim_float(ErlNifEnv *env, double value);
ERL_NIF_TERM shim_pid(uint64_t number);
ERL_NIF_TERM shim_port(uint64_t number);

/** shim_remote_pid(env, node, number, serial, creation): a pid of the node ${node}, an atom. */
ERL_NIF_TERM shim_remote_pid(ErlNifEnv *env, ERL_NIF_TERM node, uint32_t number, uint32_t serial,
                             uint32_t creation);

/** shim_odd_pid(env, external, length): another node's pid which is written in external format as
 * these bytes, whatever they are. */
ERL_NIF_TERM shim_odd_pid(ErlNifEnv *env, const uint8_t *external, size_t length);

/** shim_reference(env, node, count, words): a reference of ${count} words, at most 5. */
ERL_NIF_TERM shim_reference(ErlNifEnv *env, ERL_NIF_TERM node, unsigned count,
                            const uint32_t *words);
ERL_NIF_TERM shim_odd_reference(ErlNifEnv *env, const uint8_t *external, size_t length);

/** shim_fun(env, printed, length): a fun that %T prints as #Fun< and these bytes, whatever they
 * are. */
ERL_NIF_TERM shim_fun(ErlNifEnv *env, const uint8_t *printed, size_t length);

/** shim_binary(env, data, length, size, bits): a binary that says it has ${size} >= ${length}
 * bytes, of which ${length} may be read, and ${bits} bits more. */
ERL_NIF_TERM shim_binary(ErlNifEnv *env, const uint8_t *data, size_t length, uint64_t size,
                         unsigned bits);
ERL_NIF_TERM shim_cons(ErlNifEnv *env, ERL_NIF_TERM head, ERL_NIF_TERM tail);

/** shim_repeat(env, head, times, tail): ${times} > 0 cells with the same head, made as they are
 * asked for. */
ERL_NIF_TERM shim_repeat(ErlNifEnv *env, ERL_NIF_TERM head, uint64_t times, ERL_NIF_TERM tail);

/** shim_lay_out(all): whether shim_repeat makes its cells at once, each with head and tail where
 * the VM has them; of many the first SHIM_LAID_OUT, after which the tail comes: nobody looks
 * further. */
void shim_lay_out(bool all);

#define SHIM_LAID_OUT 300

/** shim_tuple(env, elements, length, arity): a tuple that says it has ${arity} >= ${length}
 * elements, of which ${length} may be read. */
ERL_NIF_TERM shim_tuple(ErlNifEnv *env, const ERL_NIF_TERM *elements, size_t length, int arity);

/** shim_map(env, pairs, length, size): a map that says it has ${size} pairs; the ${length} that it
 * has come again and again. */
ERL_NIF_TERM shim_map(ErlNifEnv *env, const ERL_NIF_TERM *pairs, size_t length, uint64_t size);

/* --- what a term is, for those who check what was said of it --- */

enum shim_kind {
    SHIM_ATOM,
    SHIM_SMALL,
    SHIM_PID,
    SHIM_PORT,
    SHIM_EMPTY,
    SHIM_BIGNUM,
    SHIM_FLOAT,
    SHIM_REMOTE_PID,
    SHIM_REFERENCE,
    SHIM_FUN,
    SHIM_BINARY,
    SHIM_CELL,
    SHIM_TUPLE,
    SHIM_MAP
};

struct shim_box {
    enum shim_kind kind;
    bool negative;  /* of a bignum */
    unsigned bits;  /* of a binary: those after its last byte */
    uint64_t size;  /* as it says: bytes, arity, pairs; of a cell how many are alike */
    size_t length;  /* as can be read */
    uint8_t *bytes; /* of a bignum (from the least significant), a binary, a fun, what is odd in
                       external format */
    ERL_NIF_TERM *terms; /* of a tuple, a map (pairs), a cell (head and tail) */
    double number;
    ERL_NIF_TERM node;
    uint32_t words[5]; /* of a reference; of a pid number, serial and creation */
};

/** shim_kind(term): what ${term} is. */
enum shim_kind shim_kind(ERL_NIF_TERM term);

/** shim_box(term): what is behind ${term}, which is no immediate one. */
const struct shim_box *shim_box(ERL_NIF_TERM term);

/** shim_name(atom, length): the UTF-8 name of ${atom}. */
const char *shim_name(ERL_NIF_TERM atom, size_t *length);

#endif
