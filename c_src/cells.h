/*
 * The cells of a list: two words, head and tail, behind the pointer that a list is (erl_term.h, OTP
 * 25 .. 29). erl_nif.h has a function for it, and of a reason hundreds of cells are looked at: most
 * of them are characters. load() compares cells that it had made with what is to be behind them;
 * where that is not so, the function is asked.
 */
#ifndef CORONER_CELLS_H
#define CORONER_CELLS_H

#include <erl_nif.h>
#include <stdbool.h>
#include <stdint.h>

#include "word.h"

#define CELL_TAG_BITS                                                                              \
    7 /* low bits of a list that are no part of the address; bit 2 marks a literal in some builds  \
         of the VM */

/* Written in load(), then only read. */
extern bool cells_known __attribute__((visibility("hidden")));

/** cells_learn(env): compares cells made in ${env}. Returns whether they are as this file has them.
 */
bool cells_learn(ErlNifEnv *env);

/** cell_words(list): head and tail of ${list}, which is one and not empty. Only where cells are
 * known. */
static inline const ERL_NIF_TERM *cell_words(ERL_NIF_TERM list)
{
    return (const ERL_NIF_TERM *)(list & ~(ERL_NIF_TERM)CELL_TAG_BITS);
}

/** cell_of(env, list, head, tail): as enif_get_list_cell. ${tail} may be where ${list} came from.
 */
static inline bool cell_of(ErlNifEnv *env, ERL_NIF_TERM list, ERL_NIF_TERM *head,
                           ERL_NIF_TERM *tail)
{
    const ERL_NIF_TERM *words;

    if (!cells_known)
        return enif_get_list_cell(env, list, head, tail) != 0;
    if (!word_is_list(list))
        return false;
    words = cell_words(list);
    *head = words[0];
    *tail = words[1];
    return true;
}

#endif
