#include <string.h>

#include "cells.h"
#include "terms.h"

uint32_t list_length(ErlNifEnv *env, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head;
    uint32_t length = 0;

    while (length < 256 && cell_of(env, list, &head, &list))
        length++;
    return length;
}

uint32_t list_elements(ErlNifEnv *env, ERL_NIF_TERM list, ERL_NIF_TERM *elements, uint32_t room)
{
    uint32_t count = 0;

    while (count < room && cell_of(env, list, &elements[count], &list))
        count++;
    return count;
}

static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/*
 * Reads the atom in external term format at `at`: with a length of one byte (SMALL_ATOM_UTF8_EXT, 119; SMALL_ATOM_EXT, 115) or of
 * two (ATOM_UTF8_EXT, 118; ATOM_EXT, 100, which OTP 25 writes). Returns its length there, 0 when it is none. A node's name is an atom of the VM already, so none is made.
 */
static size_t read_atom(ErlNifEnv *env, const unsigned char *at, size_t left, ERL_NIF_TERM *atom)
{
    size_t head, length;

    if (left >= 2 && (at[0] == 119 || at[0] == 115)) {
        head = 2;
        length = at[1];
    } else if (left >= 3 && (at[0] == 118 || at[0] == 100)) {
        head = 3;
        length = (size_t)at[1] << 8 | at[2];
    } else {
        return 0;
    }
    if (left < head + length)
        return 0;
    /* Outside ASCII the two encodings differ: such a node stays without its name. */
    for (size_t i = 0; i < length; i++)
        if (at[head + i] >= 0x80)
            return head + length;
    (void)enif_make_existing_atom_len(env, (const char *)at + head, length, atom, ERL_NIF_LATIN1);
    return head + length;
}

bool remote_pid_of(ErlNifEnv *env, ERL_NIF_TERM term, struct remote_pid *pid)
{
    ErlNifBinary external;
    ERL_NIF_TERM node = NO_WORD;
    size_t atom;
    bool ok = false;

    if (!enif_is_pid(env, term) || is_local_pid(env, term) ||
        !enif_term_to_binary(env, term, &external))
        return false;
    /* 131, NEW_PID_EXT (88), node, then number, serial and creation of four bytes each. */
    if (external.size > 2 && external.data[1] == 88 &&
        (atom = read_atom(env, external.data + 2, external.size - 2, &node)) > 0 &&
        external.size >= 2 + atom + 12) {
        const unsigned char *at = external.data + 2 + atom;

        *pid = (struct remote_pid){.node = node,
                                   .number = big_endian(at),
                                   .serial = big_endian(at + 4),
                                   .creation = big_endian(at + 8)};
        ok = true;
    }
    enif_release_binary(&external);
    return ok;
}

term_word alias_target(ErlNifEnv *env, ERL_NIF_TERM reference)
{
    ErlNifBinary external;
    ERL_NIF_TERM node = NO_WORD;
    term_word target = NO_WORD;
    size_t words, atom;

    if (!enif_term_to_binary(env, reference, &external))
        return NO_WORD;
    /*
     * 131, NEWER_REFERENCE_EXT (90), number of words, node, creation, words. A reference made for an alias has the word of
     * its process as the last two of five (ErtsPidRef, erl_bif_unique.h, OTP 28).
     */
    if (external.size > 4 && external.data[1] == 90) {
        words = (size_t)external.data[2] << 8 | external.data[3];
        atom = read_atom(env, external.data + 4, external.size - 4, &node);
        if (words == 5 && atom > 0 && external.size >= 4 + atom + 4 + 20) {
            const unsigned char *at = external.data + 4 + atom + 4 + 12;

            target = (term_word)big_endian(at) | (term_word)big_endian(at + 4) << 32;
            if (!is_local_pid(env, (ERL_NIF_TERM)target))
                target = NO_WORD;
        }
    }
    enif_release_binary(&external);
    return target;
}
