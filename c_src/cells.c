#include "atoms.h"
#include "cells.h"

bool cells_known;

bool cells_learn(ErlNifEnv *env)
{
    const ERL_NIF_TERM heads[] = {atoms.ok, atoms.trace, atoms.exit};
    ERL_NIF_TERM tail = enif_make_list_from_array(env, NULL, 0);
    bool known = !word_is_list(tail);

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]) && known; i++) {
        ERL_NIF_TERM list = enif_make_list_cell(env, heads[i], tail);
        const ERL_NIF_TERM *words = cell_words(list);

        known = word_is_list(list) && words[0] == heads[i] && words[1] == tail;
        tail = list;
    }
    return cells_known = known;
}
