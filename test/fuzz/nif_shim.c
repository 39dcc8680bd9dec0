#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atoms.h"
#include "bytes.h"
#include "nif_shim.h"

/* The low bits of terms, as of OTP 25 (erl_term.h). */
#define TAG_CELL 0x1U
#define TAG_BOX 0x2U
#define TAG_PID 0x3U
#define TAG_PORT 0x7U
#define TAG_ATOM 0xbU /* of six bits */
#define TAG_SMALL 0xfU
#define SMALL_BITS 60

#define ATOMS_MAX 4096
#define BIGNUM_ALL 256 /* bytes of a bignum that are there; of a longer one nobody may ask */

struct enif_environment_t {
    void **all;
    size_t count, room;
};

struct coroner_atoms atoms;

static struct {
    char *name;
    size_t length;
} atom_table[ATOMS_MAX];
static size_t atom_count, atoms_of_coroner;
static bool old_atoms, lay_out;

static uint64_t calls, calls_allowed = UINT64_MAX;
static size_t environments, binaries, iterators;

static void called(void)
{
    must(calls < calls_allowed);
    calls++;
}

uint64_t shim_budget(uint64_t allowed)
{
    uint64_t were = calls;

    calls = 0;
    calls_allowed = allowed;
    return were;
}

/* --- memory --- */

static ErlNifEnv *environment_new(void)
{
    ErlNifEnv *env = calloc(1, sizeof(*env));

    must(env != NULL);
    environments++;
    return env;
}

static void environment_free(ErlNifEnv *env)
{
    for (size_t i = 0; i < env->count; i++)
        free(env->all[i]);
    free(env->all);
    free(env);
    environments--;
}

void *shim_take(ErlNifEnv *env, size_t size)
{
    if (env->count == env->room) {
        env->room = env->room == 0 ? 64 : 2 * env->room;
        env->all = realloc(env->all, env->room * sizeof(*env->all));
        must(env->all != NULL);
    }
    env->all[env->count] = malloc(size);
    must(env->all[env->count] != NULL);
    return env->all[env->count++];
}

static void *copy(ErlNifEnv *env, const void *from, size_t size)
{
    void *to = shim_take(env, size);

    if (size > 0)
        memcpy(to, from, size);
    return to;
}

ErlNifEnv *shim_begin(void)
{
    if (atoms_of_coroner == 0) {
#define X(symbol, name) atoms.symbol = shim_atom(name, strlen(name));
        CORONER_ATOMS(X)
#undef X
        atoms_of_coroner = atom_count;
    }
    return environment_new();
}

void shim_end(ErlNifEnv *env)
{
    static size_t environments_of_load = SIZE_MAX;

    environment_free(env);
    while (atom_count > atoms_of_coroner)
        free(atom_table[--atom_count].name);
    must(binaries == 0);
    must(iterators == 0);
    if (environments_of_load == SIZE_MAX)
        environments_of_load = environments;
    must(environments == environments_of_load);
}

/* --- terms --- */

ERL_NIF_TERM shim_atom(const char *name, size_t length)
{
    size_t i;

    for (i = 0; i < atom_count; i++)
        if (atom_table[i].length == length && memcmp(atom_table[i].name, name, length) == 0)
            return (i + 1) << 6 | TAG_ATOM;
    must(atom_count < ATOMS_MAX);
    atom_table[i].name = malloc(length + 1);
    must(atom_table[i].name != NULL);
    memcpy(atom_table[i].name, name, length);
    atom_table[i].name[length] = '\0';
    atom_table[i].length = length;
    atom_count++;
    return (i + 1) << 6 | TAG_ATOM;
}

const char *shim_name(ERL_NIF_TERM atom, size_t *length)
{
    must((atom & 0x3f) == TAG_ATOM && atom >> 6 > 0 && atom >> 6 <= atom_count);
    *length = atom_table[(atom >> 6) - 1].length;
    return atom_table[(atom >> 6) - 1].name;
}

void shim_old_atoms(bool old)
{
    old_atoms = old;
}

static struct shim_box *new_box(ErlNifEnv *env, enum shim_kind kind)
{
    struct shim_box *box = shim_take(env, sizeof(*box));

    *box = (struct shim_box){.kind = kind};
    return box;
}

static ERL_NIF_TERM boxed(const struct shim_box *box)
{
    return (ERL_NIF_TERM)box | TAG_BOX;
}

/* Of a cell the two words come first, as in the VM; those of one of many alike are not what
 * follows. */
struct cell {
    ERL_NIF_TERM words[2];
    struct shim_box box;
};

const struct shim_box *shim_box(ERL_NIF_TERM term)
{
    must((term & 3) == TAG_CELL || (term & 3) == TAG_BOX);
    if ((term & 3) == TAG_CELL)
        return &((const struct cell *)(term & ~(ERL_NIF_TERM)3))->box;
    return (const struct shim_box *)(term & ~(ERL_NIF_TERM)3);
}

enum shim_kind shim_kind(ERL_NIF_TERM term)
{
    if (term == SHIM_NIL)
        return SHIM_EMPTY;
    if ((term & 3) == TAG_CELL || (term & 3) == TAG_BOX)
        return shim_box(term)->kind;
    switch (term & 0xf) {
    case TAG_PID:
        return SHIM_PID;
    case TAG_PORT:
        return SHIM_PORT;
    case TAG_SMALL:
        return SHIM_SMALL;
    default:
        must((term & 0x3f) == TAG_ATOM);
        return SHIM_ATOM;
    }
}

static bool is(ERL_NIF_TERM term, enum shim_kind kind)
{
    return shim_kind(term) == kind;
}

ERL_NIF_TERM shim_pid(uint64_t number)
{
    return number << 4 | TAG_PID;
}

ERL_NIF_TERM shim_port(uint64_t number)
{
    return number << 4 | TAG_PORT;
}

ERL_NIF_TERM shim_integer(ErlNifEnv *env, int64_t value)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    struct shim_box *box;

    if (magnitude < UINT64_C(1) << (SMALL_BITS - 1))
        return (uint64_t)value << 4 | TAG_SMALL;
    box = new_box(env, SHIM_BIGNUM);
    box->negative = value < 0;
    box->size = box->length = 8;
    box->bytes = copy(env, &magnitude, 8);
    return boxed(box);
}

ERL_NIF_TERM shim_bignum(ErlNifEnv *env, bool negative, size_t length, uint8_t fill)
{
    struct shim_box *box = new_box(env, SHIM_BIGNUM);

    box->negative = negative;
    box->size = length;
    box->length = length <= BIGNUM_ALL ? length : 0;
    box->bytes = shim_take(env, box->length);
    memset(box->bytes, fill, box->length);
    return boxed(box);
}

ERL_NIF_TERM shim_float(ErlNifEnv *env, double value)
{
    struct shim_box *box = new_box(env, SHIM_FLOAT);

    box->number = value;
    return boxed(box);
}

ERL_NIF_TERM shim_remote_pid(ErlNifEnv *env, ERL_NIF_TERM node, uint32_t number, uint32_t serial,
                             uint32_t creation)
{
    struct shim_box *box = new_box(env, SHIM_REMOTE_PID);

    box->node = node;
    box->words[0] = number;
    box->words[1] = serial;
    box->words[2] = creation;
    return boxed(box);
}

static ERL_NIF_TERM odd(ErlNifEnv *env, enum shim_kind kind, const uint8_t *bytes, size_t length)
{
    struct shim_box *box = new_box(env, kind);

    box->length = length;
    box->bytes = copy(env, bytes, length);
    return boxed(box);
}

ERL_NIF_TERM shim_odd_pid(ErlNifEnv *env, const uint8_t *external, size_t length)
{
    return odd(env, SHIM_REMOTE_PID, external, length);
}

ERL_NIF_TERM shim_odd_reference(ErlNifEnv *env, const uint8_t *external, size_t length)
{
    return odd(env, SHIM_REFERENCE, external, length);
}

ERL_NIF_TERM shim_reference(ErlNifEnv *env, ERL_NIF_TERM node, unsigned count,
                            const uint32_t *words)
{
    struct shim_box *box = new_box(env, SHIM_REFERENCE);

    must(count <= 5);
    box->node = node;
    box->length = count;
    memcpy(box->words, words, count * sizeof(*words));
    return boxed(box);
}

ERL_NIF_TERM shim_fun(ErlNifEnv *env, const uint8_t *printed, size_t length)
{
    return odd(env, SHIM_FUN, printed, length);
}

ERL_NIF_TERM shim_binary(ErlNifEnv *env, const uint8_t *data, size_t length, uint64_t size,
                         unsigned bits)
{
    struct shim_box *box = new_box(env, SHIM_BINARY);

    must(size >= length);
    box->bits = bits;
    box->size = size;
    box->length = length;
    box->bytes = copy(env, data, length);
    return boxed(box);
}

void shim_lay_out(bool all)
{
    lay_out = all;
}

ERL_NIF_TERM shim_repeat(ErlNifEnv *env, ERL_NIF_TERM head, uint64_t times, ERL_NIF_TERM tail)
{
    struct cell *cell;

    if (lay_out && times > 1) {
        for (uint64_t i = 0; i < times && i < SHIM_LAID_OUT; i++)
            tail = shim_cons(env, head, tail);
        return tail;
    }
    cell = shim_take(env, sizeof(*cell));

    must(times > 0);
    *cell = (struct cell){.words = {head, tail},
                          .box = {.kind = SHIM_CELL, .size = times, .length = 2}};
    cell->box.terms = cell->words;
    return (ERL_NIF_TERM)cell | TAG_CELL;
}

ERL_NIF_TERM shim_cons(ErlNifEnv *env, ERL_NIF_TERM head, ERL_NIF_TERM tail)
{
    return shim_repeat(env, head, 1, tail);
}

static ERL_NIF_TERM many(ErlNifEnv *env, enum shim_kind kind, const ERL_NIF_TERM *terms,
                         size_t length, uint64_t size)
{
    struct shim_box *box = new_box(env, kind);

    must(size >= length && (length > 0 || size == 0));
    box->size = size;
    box->length = length;
    box->terms = copy(env, terms, (kind == SHIM_MAP ? 2 : 1) * length * sizeof(*terms));
    return boxed(box);
}

ERL_NIF_TERM shim_tuple(ErlNifEnv *env, const ERL_NIF_TERM *elements, size_t length, int arity)
{
    return many(env, SHIM_TUPLE, elements, length, (uint64_t)arity);
}

ERL_NIF_TERM shim_map(ErlNifEnv *env, const ERL_NIF_TERM *pairs, size_t length, uint64_t size)
{
    return many(env, SHIM_MAP, pairs, length, size);
}

/* --- erl_nif.h: looking --- */

ErlNifTermType enif_term_type(ErlNifEnv *env, ERL_NIF_TERM term)
{
    static const ErlNifTermType types[] = {
        [SHIM_ATOM] = ERL_NIF_TERM_TYPE_ATOM,
        [SHIM_SMALL] = ERL_NIF_TERM_TYPE_INTEGER,
        [SHIM_PID] = ERL_NIF_TERM_TYPE_PID,
        [SHIM_PORT] = ERL_NIF_TERM_TYPE_PORT,
        [SHIM_EMPTY] = ERL_NIF_TERM_TYPE_LIST,
        [SHIM_BIGNUM] = ERL_NIF_TERM_TYPE_INTEGER,
        [SHIM_FLOAT] = ERL_NIF_TERM_TYPE_FLOAT,
        [SHIM_REMOTE_PID] = ERL_NIF_TERM_TYPE_PID,
        [SHIM_REFERENCE] = ERL_NIF_TERM_TYPE_REFERENCE,
        [SHIM_FUN] = ERL_NIF_TERM_TYPE_FUN,
        [SHIM_BINARY] = ERL_NIF_TERM_TYPE_BITSTRING,
        [SHIM_CELL] = ERL_NIF_TERM_TYPE_LIST,
        [SHIM_TUPLE] = ERL_NIF_TERM_TYPE_TUPLE,
        [SHIM_MAP] = ERL_NIF_TERM_TYPE_MAP,
    };

    (void)env;
    called();
    return types[shim_kind(term)];
}

int enif_is_atom(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return is(term, SHIM_ATOM);
}

int enif_is_empty_list(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return term == SHIM_NIL;
}

int enif_is_list(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return term == SHIM_NIL || is(term, SHIM_CELL);
}

int enif_is_fun(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return is(term, SHIM_FUN);
}

int enif_is_ref(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return is(term, SHIM_REFERENCE);
}

int enif_is_pid(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return is(term, SHIM_PID) || is(term, SHIM_REMOTE_PID);
}

int enif_is_number(ErlNifEnv *env, ERL_NIF_TERM term)
{
    (void)env;
    called();
    return is(term, SHIM_SMALL) || is(term, SHIM_BIGNUM) || is(term, SHIM_FLOAT);
}

/* These two look at the word alone, which need be no term: an alias may hold anything. */
int enif_get_local_pid(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifPid *pid)
{
    (void)env;
    called();
    if ((term & 0xf) != TAG_PID)
        return 0;
    pid->pid = term;
    return 1;
}

int enif_get_local_port(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifPort *port)
{
    (void)env;
    called();
    if ((term & 0xf) != TAG_PORT)
        return 0;
    port->port_id = term;
    return 1;
}

int enif_get_long(ErlNifEnv *env, ERL_NIF_TERM term, long *value)
{
    const struct shim_box *box;
    uint64_t magnitude;

    (void)env;
    called();
    if (is(term, SHIM_SMALL)) {
        *value = (int64_t)term >> 4;
        return 1;
    }
    if (!is(term, SHIM_BIGNUM) || (box = shim_box(term))->size > 8)
        return 0;
    memcpy(&magnitude, box->bytes, 8);
    if (magnitude > (uint64_t)INT64_MAX + box->negative)
        return 0;
    *value = box->negative ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    return 1;
}

int enif_get_uint(ErlNifEnv *env, ERL_NIF_TERM term, unsigned *value)
{
    long number;

    if (!enif_get_long(env, term, &number) || number < 0 || number > UINT32_MAX)
        return 0;
    *value = (unsigned)number;
    return 1;
}

int enif_get_double(ErlNifEnv *env, ERL_NIF_TERM term, double *value)
{
    (void)env;
    called();
    if (!is(term, SHIM_FLOAT))
        return 0;
    *value = shim_box(term)->number;
    return 1;
}

int enif_get_tuple(ErlNifEnv *env, ERL_NIF_TERM term, int *arity, const ERL_NIF_TERM **array)
{
    (void)env;
    called();
    if (!is(term, SHIM_TUPLE))
        return 0;
    *arity = (int)shim_box(term)->size;
    *array = shim_box(term)->terms;
    return 1;
}

int enif_get_list_cell(ErlNifEnv *env, ERL_NIF_TERM term, ERL_NIF_TERM *head, ERL_NIF_TERM *tail)
{
    const struct shim_box *box;

    called();
    if (!is(term, SHIM_CELL))
        return 0;
    box = shim_box(term);
    *head = box->terms[0];
    *tail = box->size == 1 ? box->terms[1]
                           : shim_repeat(env, box->terms[0], box->size - 1, box->terms[1]);
    return 1;
}

int enif_get_map_size(ErlNifEnv *env, ERL_NIF_TERM term, size_t *size)
{
    (void)env;
    called();
    if (!is(term, SHIM_MAP))
        return 0;
    *size = shim_box(term)->size;
    return 1;
}

int enif_map_iterator_create(ErlNifEnv *env, ERL_NIF_TERM map, ErlNifMapIterator *iterator,
                             ErlNifMapIteratorEntry entry)
{
    (void)env;
    called();
    if (!is(map, SHIM_MAP))
        return 0;
    must(entry == ERL_NIF_MAP_ITERATOR_FIRST);
    *iterator = (ErlNifMapIterator){.map = map, .size = shim_box(map)->size, .idx = 1};
    /* What a large map's iterator has; who forgets it is seen by the sanitizer as well. */
    iterator->u.hash.wstack = malloc(1);
    must(iterator->u.hash.wstack != NULL);
    iterators++;
    return 1;
}

void enif_map_iterator_destroy(ErlNifEnv *env, ErlNifMapIterator *iterator)
{
    (void)env;
    called();
    free(iterator->u.hash.wstack);
    iterators--;
}

int enif_map_iterator_next(ErlNifEnv *env, ErlNifMapIterator *iterator)
{
    (void)env;
    called();
    if (iterator->idx <= iterator->size)
        iterator->idx++;
    return iterator->idx <= iterator->size;
}

int enif_map_iterator_get_pair(ErlNifEnv *env, ErlNifMapIterator *iterator, ERL_NIF_TERM *key,
                               ERL_NIF_TERM *value)
{
    const struct shim_box *box = shim_box(iterator->map);
    size_t pair;

    (void)env;
    called();
    if (iterator->idx > iterator->size)
        return 0;
    pair = (iterator->idx - 1) % box->length;
    *key = box->terms[2 * pair];
    *value = box->terms[2 * pair + 1];
    return 1;
}

int enif_inspect_binary(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifBinary *binary)
{
    const struct shim_box *box;

    (void)env;
    called();
    if (!is(term, SHIM_BINARY) || (box = shim_box(term))->bits != 0)
        return 0;
    *binary = (ErlNifBinary){.size = box->size, .data = box->bytes};
    return 1;
}

/* The next character of the UTF-8 `name`, which is whole. */
static uint32_t next_point(const char *name, size_t *at)
{
    unsigned char c = (unsigned char)name[(*at)++];
    unsigned more = c < 0xc0 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t point = more == 0 ? c : c & (0x3fU >> more);

    for (; more > 0; more--)
        point = point << 6 | ((unsigned char)name[(*at)++] & 0x3fU);
    return point;
}

static bool latin1(const char *name, size_t length, char *to, size_t *used)
{
    *used = 0;
    for (size_t at = 0; at < length;) {
        uint32_t point = next_point(name, &at);

        if (point > 0xff)
            return false;
        to[(*used)++] = (char)point;
    }
    return true;
}

int enif_get_atom(ErlNifEnv *env, ERL_NIF_TERM term, char *buffer, unsigned room,
                  ErlNifCharEncoding encoding)
{
    char name[256];
    size_t length, used;
    const char *utf8;

    (void)env;
    called();
    must(encoding == ERL_NIF_LATIN1);
    if (!is(term, SHIM_ATOM))
        return 0;
    utf8 = shim_name(term, &length);
    if (!latin1(utf8, length, name, &used) || used >= room)
        return 0;
    memcpy(buffer, name, used);
    buffer[used] = '\0';
    return (int)used + 1;
}

int enif_make_existing_atom_len(ErlNifEnv *env, const char *name, size_t length, ERL_NIF_TERM *atom,
                                ErlNifCharEncoding encoding)
{
    (void)env;
    called();
    must(encoding == ERL_NIF_LATIN1);
    for (size_t i = 0; i < length; i++)
        must((signed char)name[i] >= 0); /* what is above is for another who knows Latin-1 */
    for (size_t i = 0; i < atom_count; i++) {
        if (atom_table[i].length == length && memcmp(atom_table[i].name, name, length) == 0) {
            *atom = (i + 1) << 6 | TAG_ATOM;
            return 1;
        }
    }
    return 0;
}

ERL_NIF_TERM enif_make_list_from_array(ErlNifEnv *env, const ERL_NIF_TERM array[], unsigned count)
{
    (void)env;
    (void)array;
    called();
    must(count == 0); /* a callback makes no terms */
    return SHIM_NIL;
}

/* --- erl_nif.h: what may take long --- */

/* -1, 0 or 1; numbers of one sign and size are told apart from their most significant byte on. */
static int compare(const struct shim_box *a, const struct shim_box *b)
{
    int order = 0;

    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    if (a->size != b->size) {
        order = a->size < b->size ? -1 : 1;
    } else {
        must(a->length == a->size && b->length == b->size);
        for (size_t i = a->length; i-- > 0 && order == 0;)
            order = a->bytes[i] < b->bytes[i] ? -1 : a->bytes[i] > b->bytes[i];
    }
    return a->negative ? -order : order;
}

int enif_compare(ERL_NIF_TERM a, ERL_NIF_TERM b)
{
    called();
    must(is(a, SHIM_BIGNUM) && is(b, SHIM_BIGNUM));
    return compare(shim_box(a), shim_box(b));
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Of content, never of an address. */
ErlNifUInt64 enif_hash(ErlNifHash type, ERL_NIF_TERM term, ErlNifUInt64 salt)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ salt;
    const struct shim_box *box;

    called();
    must(type == ERL_NIF_INTERNAL_HASH);
    switch (shim_kind(term)) {
    case SHIM_PID:
    case SHIM_PORT:
    case SHIM_SMALL:
        return hash_bytes(hash, &term, sizeof(term)) & UINT32_MAX;
    case SHIM_BIGNUM:
        box = shim_box(term);
        must(box->length == box->size); /* a long one is not to be hashed */
        return hash_bytes(hash + box->negative, box->bytes, box->length) & UINT32_MAX;
    case SHIM_REMOTE_PID:
    case SHIM_REFERENCE:
        box = shim_box(term);
        hash = hash_bytes(hash, box->words, sizeof(box->words));
        if (box->bytes != NULL)
            hash = hash_bytes(hash, box->bytes, box->length);
        return hash & UINT32_MAX;
    default:
        must(!"a term of a bounded size");
        return 0;
    }
}

static int print_term(char *to, size_t room, ERL_NIF_TERM term)
{
    char digits[1200];
    const struct shim_box *box;

    switch (shim_kind(term)) {
    case SHIM_PID:
        return snprintf(to, room, "<0.%llu.%llu>", (unsigned long long)(term >> 4 & 0xfffffff),
                        (unsigned long long)(term >> 32));
    case SHIM_PORT:
        return snprintf(to, room, "#Port<0.%llu>", (unsigned long long)(term >> 4));
    case SHIM_SMALL:
        return snprintf(to, room, "%lld", (long long)((int64_t)term >> 4));
    case SHIM_REMOTE_PID:
        box = shim_box(term);
        return snprintf(to, room, "<%u.%u.%u>", 4096U, box->words[0], box->words[1]);
    case SHIM_REFERENCE:
        box = shim_box(term);
        return snprintf(to, room, "#Ref<0.%u.%u.%u>", box->words[2], box->words[1], box->words[0]);
    case SHIM_BIGNUM: {
        size_t most;

        /* As many digits as it has; which ones nobody minds. */
        box = shim_box(term);
        must(box->length == box->size);
        most = box->size * 2409 / 1000 + 1;
        memset(digits, '7', most);
        digits[most] = '\0';
        return snprintf(to, room, "%s%s", box->negative ? "-" : "", digits);
    }
    case SHIM_FUN: {
        static const char before[] = "#Fun<";
        size_t begun = sizeof(before) - 1, used;

        box = shim_box(term);
        must(room > begun);
        memcpy(to, before, begun);
        used = box->length < room - begun - 1 ? box->length : room - begun - 1;
        memcpy(to + begun, box->bytes, used);
        to[begun + used] = '\0';
        return (int)(begun + box->length);
    }
    case SHIM_ATOM: {
        size_t length;
        const char *name = shim_name(term, &length);

        return snprintf(to, room, "'%s'", name);
    }
    default:
        must(!"a term that is printed in a bounded time");
        return 0;
    }
}

int enif_snprintf(char *buffer, size_t room, const char *format, ...)
{
    va_list arguments;
    ERL_NIF_TERM term;

    called();
    must(strcmp(format, "%T") == 0 && room > 0);
    va_start(arguments, format);
    term = va_arg(arguments, ERL_NIF_TERM);
    va_end(arguments);
    return print_term(buffer, room, term);
}

static uint8_t *put_u32(uint8_t *to, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (uint8_t)(value >> shift);
    return to;
}

/* In external term format, as the VM writes an atom. */
static uint8_t *put_atom(uint8_t *to, ERL_NIF_TERM atom)
{
    char name[256];
    size_t length, used;
    const char *utf8 = shim_name(atom, &length);

    if (old_atoms && latin1(utf8, length, name, &used)) {
        *to++ = 100; /* ATOM_EXT */
        *to++ = (uint8_t)(used >> 8);
        *to++ = (uint8_t)used;
        memcpy(to, name, used);
        return to + used;
    }
    if (length < 256) {
        *to++ = 119; /* SMALL_ATOM_UTF8_EXT */
    } else {
        *to++ = 118; /* ATOM_UTF8_EXT */
        *to++ = (uint8_t)(length >> 8);
    }
    *to++ = (uint8_t)length;
    memcpy(to, utf8, length);
    return to + length;
}

int enif_term_to_binary(ErlNifEnv *env, ERL_NIF_TERM term, ErlNifBinary *binary)
{
    uint8_t external[1200], *to = external;
    const struct shim_box *box = NULL;
    const uint8_t *from = external;
    enum shim_kind kind = shim_kind(term);
    size_t length;

    (void)env;
    called();
    must(kind == SHIM_ATOM || kind == SHIM_REMOTE_PID || kind == SHIM_REFERENCE);
    *to++ = 131;
    if (kind == SHIM_ATOM) {
        to = put_atom(to, term);
    } else if ((box = shim_box(term))->bytes != NULL) {
        from = box->bytes;
    } else if (kind == SHIM_REMOTE_PID) {
        *to++ = 88; /* NEW_PID_EXT */
        to = put_atom(to, box->node);
        for (int i = 0; i < 3; i++)
            to = put_u32(to, box->words[i]);
    } else {
        *to++ = 90; /* NEWER_REFERENCE_EXT */
        *to++ = 0;
        *to++ = (uint8_t)box->length;
        to = put_atom(to, box->node);
        to = put_u32(to, 1);
        for (size_t i = 0; i < box->length; i++)
            to = put_u32(to, box->words[i]);
    }
    length = from == external ? (size_t)(to - external) : box->length;
    *binary = (ErlNifBinary){.size = length, .data = malloc(length)};
    must(binary->data != NULL);
    if (length > 0)
        memcpy(binary->data, from, length);
    binaries++;
    return 1;
}

void enif_release_binary(ErlNifBinary *binary)
{
    called();
    free(binary->data);
    binaries--;
}

size_t enif_binary_to_term(ErlNifEnv *env, const unsigned char *data, size_t size,
                           ERL_NIF_TERM *term, unsigned int options)
{
    struct shim_box *box;

    called();
    /* SMALL_BIG_EXT alone: coroner makes its limits of it. */
    must(options == 0 && size > 4 && data[0] == 131 && data[1] == 110 && size == 4U + data[2]);
    box = new_box(env, SHIM_BIGNUM);
    box->negative = data[3] != 0;
    box->size = box->length = data[2];
    box->bytes = copy(env, data + 4, data[2]);
    *term = boxed(box);
    return size;
}

ErlNifEnv *enif_alloc_env(void)
{
    called();
    return environment_new();
}

void enif_free_env(ErlNifEnv *env)
{
    called();
    environment_free(env);
}
