/*
 * Functions (module:function/arity) and source file names under small numbers, so that a ledger entry
 * needs four bytes for its initial call and a call site needs no text of its own.
 *
 * Both tables only grow, are bounded, and are read without a lock; what is interned stays until the
 * table is freed. Code bounds what there is to intern; when a hostile program fills a table, the
 * answer is INTERN_NONE, and the field is left out of the record.
 */
#ifndef CORONER_INTERN_H
#define CORONER_INTERN_H

#include "text.h"
#include "word.h"

#define INTERN_NONE 0U

struct function {
    term_word module;
    term_word name;
    uint32_t arity;
};

struct intern;

/** intern_new(): empty tables, or NULL without memory. */
struct intern *intern_new(void);

/** intern_free(intern): frees ${intern}; nobody may use it any more. NULL is a no-op. */
void intern_free(struct intern *intern);

/** intern_function(intern, function): the number of ${function}, or INTERN_NONE when the table is full. Any thread. */
uint32_t intern_function(struct intern *intern, struct function function);

/** intern_function_of(intern, number): the function under ${number}, or NULL for INTERN_NONE. */
const struct function *intern_function_of(const struct intern *intern, uint32_t number);

/** intern_file(intern, name, length): the number of the file ${name}, or INTERN_NONE when the table is full. Any thread. */
uint32_t intern_file(struct intern *intern, const char *name, size_t length);

/** intern_file_of(intern, number): the name under ${number}, or NULL for INTERN_NONE. */
const struct text *intern_file_of(const struct intern *intern, uint32_t number);

#endif
