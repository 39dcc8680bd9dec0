#include <string.h>

#include "atoms.h"
#include "term_from.h"

#define STACK 64
#define OPERATIONS 600 /* of one input, or a long one takes long */
/* Bytes of a binary that may be read: coroner says that it looks at no more. */
#define READABLE 256

struct machine {
    ErlNifEnv *env;
    struct bytes bytes;
    ERL_NIF_TERM stack[STACK];
    size_t depth;
};

static void push(struct machine *machine, ERL_NIF_TERM term)
{
    if (machine->depth == STACK) {
        memmove(machine->stack, machine->stack + 1, (STACK - 1) * sizeof(machine->stack[0]));
        machine->depth--;
    }
    machine->stack[machine->depth++] = term;
}

static ERL_NIF_TERM pop(struct machine *machine)
{
    return machine->depth == 0 ? SHIM_NIL : machine->stack[--machine->depth];
}

/* Appends a code point to `name` as UTF-8. */
static size_t put_point(char *name, size_t used, uint32_t point)
{
    if (point < 0x80) {
        name[used++] = (char)point;
    } else if (point < 0x800) {
        name[used++] = (char)(0xc0 | point >> 6);
        name[used++] = (char)(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        name[used++] = (char)(0xe0 | point >> 12);
        name[used++] = (char)(0x80 | (point >> 6 & 0x3f));
        name[used++] = (char)(0x80 | (point & 0x3f));
    } else {
        name[used++] = (char)(0xf0 | point >> 18);
        name[used++] = (char)(0x80 | (point >> 12 & 0x3f));
        name[used++] = (char)(0x80 | (point >> 6 & 0x3f));
        name[used++] = (char)(0x80 | (point & 0x3f));
    }
    return used;
}

/* What an atom can hold: any character but the surrogates. */
static uint32_t point_from(struct bytes *bytes, unsigned width)
{
    uint32_t point = width == 0   ? bytes_u8(bytes)
                     : width == 1 ? bytes_u16(bytes)
                                  : (uint32_t)bytes_u8(bytes) << 16 | bytes_u16(bytes);

    point %= 0x110000;
    return point >= 0xd800 && point <= 0xdfff ? 0xfffd : point;
}

ERL_NIF_TERM term_atom_from(struct bytes *bytes)
{
    static const char *const odd[] = {"",
                                      " ",
                                      "'",
                                      "\\",
                                      "\n",
                                      "a b",
                                      "Abc",
                                      "_",
                                      "end",
                                      "a@b",
                                      "@",
                                      "\x7f",
                                      "\xc2\x80",
                                      "\xc2\x9f",
                                      "\xc3\xbc",
                                      "\xce\xbb",
                                      "\xe2\x82\xac",
                                      "\xf0\x9f\x92\x80",
                                      "-f/1-fun-0-",
                                      "<0.1.2>",
                                      "#Port<0.1>",
                                      "file",
                                      "line",
                                      "init",
                                      "cat /etc/passwd",
                                      "tcp_inet",
                                      "tty_sl -c -e"};
#define X(symbol, name) name,
    static const char *const known[] = {CORONER_ATOMS(X)};
#undef X
    char name[4 * 255];
    size_t used = 0;
    uint8_t how = bytes_u8(bytes);
    unsigned width = how & 3;
    size_t count;

    if (width == 3) {
        const char *one = odd[(how >> 3) % (sizeof(odd) / sizeof(odd[0]))];

        if ((how & 4) != 0)
            one = known[bytes_u8(bytes) % (sizeof(known) / sizeof(known[0]))];
        return shim_atom(one, strlen(one));
    }
    /* One character over and over, or one after the other. */
    count = how >> 3 < 31 ? how >> 3 : 255;
    if ((how & 4) != 0) {
        uint32_t point = point_from(bytes, width);

        count = bytes_u8(bytes);
        for (size_t i = 0; i < count; i++)
            used = put_point(name, used, point);
    } else {
        for (size_t i = 0; i < count && bytes->left > 0; i++)
            used = put_point(name, used, point_from(bytes, width));
    }
    return shim_atom(name, used);
}

static ERL_NIF_TERM binary_from(struct machine *machine)
{
    uint8_t how = bytes_u8(&machine->bytes);
    uint8_t filled[READABLE];
    size_t length;
    const uint8_t *run = bytes_run(&machine->bytes, how >> 2 < 63 ? how >> 2 : READABLE, &length);
    unsigned bits = 0;

    if (how & 1)
        bits = bytes_u8(&machine->bytes) & 7;
    if (how & 2) {
        /* It says that it is longer than anybody may read. */
        for (size_t i = 0; i < READABLE; i++)
            filled[i] = length == 0 ? 0 : run[i % length];
        return shim_binary(machine->env, filled, READABLE,
                           READABLE + (uint64_t)bytes_u16(&machine->bytes) * 65537, bits);
    }
    return shim_binary(machine->env, run, length, length, bits);
}

static ERL_NIF_TERM string_from(struct machine *machine, unsigned width)
{
    ERL_NIF_TERM list = bytes_u8(&machine->bytes) & 1 ? pop(machine) : SHIM_NIL;
    size_t count = bytes_u8(&machine->bytes);

    for (size_t i = 0; i < count && machine->bytes.left > 0; i++) {
        int64_t point = width == 1   ? bytes_u8(&machine->bytes)
                        : width == 2 ? bytes_u16(&machine->bytes)
                                     : (int64_t)(bytes_u32(&machine->bytes) & 0x1fffff);

        list = shim_cons(machine->env, shim_integer(machine->env, point), list);
    }
    return list;
}

static ERL_NIF_TERM tuple(struct machine *machine, size_t count)
{
    ERL_NIF_TERM elements[32];

    for (size_t i = 0; i < count; i++)
        elements[i] = pop(machine);
    return shim_tuple(machine->env, elements, count, (int)count);
}

static ERL_NIF_TERM location_from(struct machine *machine)
{
    ErlNifEnv *env = machine->env;
    ERL_NIF_TERM file[2] = {shim_atom("file", 4), string_from(machine, 1)};
    ERL_NIF_TERM line[2] = {shim_atom("line", 4), shim_integer(env, bytes_u16(&machine->bytes))};

    return shim_cons(env, shim_tuple(env, file, 2, 2),
                     shim_cons(env, shim_tuple(env, line, 2, 2), SHIM_NIL));
}

/* A frame of a stack trace, in front of the list on the stack. */
static ERL_NIF_TERM frame_from(struct machine *machine)
{
    ERL_NIF_TERM rest = pop(machine), elements[4];
    uint8_t how = bytes_u8(&machine->bytes);
    size_t count = (how & 1) ? 3 : 4;

    elements[0] = (how & 2) ? pop(machine) : term_atom_from(&machine->bytes);
    elements[1] = (how & 4) ? pop(machine) : term_atom_from(&machine->bytes);
    elements[2] = (how & 8) ? pop(machine) : shim_integer(machine->env, how >> 5);
    elements[3] = (how & 16) ? pop(machine) : location_from(machine);
    if (count == 3)
        elements[2] = elements[3];
    return shim_cons(machine->env, shim_tuple(machine->env, elements, count, (int)count), rest);
}

static ERL_NIF_TERM wrapped(struct machine *machine, ERL_NIF_TERM term)
{
    uint8_t how = bytes_u8(&machine->bytes);
    /* Up to 200 levels, and where each holds the one below twice 2^200 nodes. */
    size_t levels = how >> 2 < 50 ? how >> 2 : 200;

    for (size_t i = 0; i < levels; i++) {
        ERL_NIF_TERM pair[2] = {term, term};

        switch (how & 3) {
        case 0:
            term = shim_tuple(machine->env, pair, 1, 1);
            break;
        case 1:
            term = shim_tuple(machine->env, pair, 2, 2);
            break;
        case 2:
            term = shim_cons(machine->env, term, SHIM_NIL);
            break;
        default:
            term = shim_map(machine->env, pair, 1, 1);
            break;
        }
    }
    return term;
}

static ERL_NIF_TERM reference_from(struct machine *machine)
{
    uint8_t how = bytes_u8(&machine->bytes);
    ERL_NIF_TERM node = (how & 8) ? term_atom_from(&machine->bytes) : shim_atom("a@host", 6);
    unsigned count = 1 + how % 5;
    uint32_t words[5];

    for (unsigned i = 0; i < count; i++)
        words[i] = bytes_u32(&machine->bytes);
    if (how & 16)
        words[3] = (words[3] & ~0xfU) | 3; /* a local pid's word */
    return shim_reference(machine->env, node, count, words);
}

static ERL_NIF_TERM pid_from(struct machine *machine)
{
    uint8_t how = bytes_u8(&machine->bytes);
    ERL_NIF_TERM node = (how & 1) ? term_atom_from(&machine->bytes) : shim_atom("a@host", 6);
    uint32_t number = bytes_u32(&machine->bytes), serial = bytes_u16(&machine->bytes);

    return shim_remote_pid(machine->env, node, number, serial, how);
}

/* A finite float: there is no other in Erlang. */
static ERL_NIF_TERM float_from(struct machine *machine)
{
    uint64_t bits = bytes_u64(&machine->bytes);
    double number;

    if ((bits >> 52 & 0x7ff) == 0x7ff)
        bits ^= UINT64_C(1) << 52;
    memcpy(&number, &bits, sizeof(number));
    return shim_float(machine->env, number);
}

static void operate(struct machine *machine)
{
    ErlNifEnv *env = machine->env;
    uint8_t operation = bytes_u8(&machine->bytes);
    /* Half of what there is stands for itself and a small count. */
    size_t count = operation >> 5;
    const uint8_t *run;
    size_t length;

    switch (operation & 31) {
    case 0:
        push(machine, SHIM_NIL);
        return;
    case 1:
        push(machine, shim_integer(env, (int64_t)count - 1));
        return;
    case 2:
        push(machine, shim_integer(env, (int64_t)bytes_u64(&machine->bytes)));
        return;
    case 3: {
        uint32_t size = count < 4 ? bytes_u8(&machine->bytes) : bytes_u32(&machine->bytes) >> 6;
        uint8_t fill = bytes_u8(&machine->bytes);

        push(machine, shim_bignum(env, count & 1, size < 9 ? 9 : size, fill == 0 ? 1 : fill));
        return;
    }
    case 4:
        push(machine, float_from(machine));
        return;
    case 5:
    case 6:
    case 7:
        push(machine, term_atom_from(&machine->bytes));
        return;
    case 8:
        push(machine, shim_pid(count < 4 ? count : bytes_u64(&machine->bytes) >> 4));
        return;
    case 9:
        push(machine, shim_port(count < 4 ? count : bytes_u64(&machine->bytes) >> 4));
        return;
    case 10:
        push(machine, pid_from(machine));
        return;
    case 11:
        push(machine, reference_from(machine));
        return;
    case 12:
        run = bytes_run(&machine->bytes, bytes_u8(&machine->bytes), &length);
        push(machine,
             count & 1 ? shim_odd_pid(env, run, length) : shim_odd_reference(env, run, length));
        return;
    case 13: {
        uint8_t printed[1536];

        /* As long as a module's name of 255 characters and more can make it. */
        run = bytes_run(&machine->bytes, count < 4 ? 20 : 255, &length);
        for (size_t i = 0; count == 7 && length > 0 && i < sizeof(printed); i++)
            printed[i] = run[i % length];
        push(machine, count == 7 && length > 0 ? shim_fun(env, printed, sizeof(printed))
                                               : shim_fun(env, run, length));
        return;
    }
    case 14:
    case 15:
        push(machine, binary_from(machine));
        return;
    case 16:
    case 17:
    case 18:
        push(machine, string_from(machine, 1 + (operation & 3)));
        return;
    case 19: {
        ERL_NIF_TERM tail = pop(machine);

        push(machine, shim_cons(env, pop(machine), tail));
        return;
    }
    case 20: {
        ERL_NIF_TERM list = SHIM_NIL;

        for (size_t i = 0; i <= count; i++)
            list = shim_cons(env, pop(machine), list);
        push(machine, list);
        return;
    }
    case 21:
    case 22:
        push(machine, tuple(machine, count));
        return;
    case 23:
        push(machine, tuple(machine, 2));
        return;
    case 24: {
        ERL_NIF_TERM pairs[16];

        for (size_t i = 0; i < 2 * count; i++)
            pairs[i] = pop(machine);
        push(machine, shim_map(env, pairs, count, count));
        return;
    }
    case 25:
        if (machine->depth > 0)
            push(machine, machine->stack[machine->depth - 1 - count % machine->depth]);
        return;
    case 26:
        push(machine, wrapped(machine, pop(machine)));
        return;
    case 27: {
        /* A list as long as it likes. */
        ERL_NIF_TERM head = pop(machine), tail = count & 1 ? pop(machine) : SHIM_NIL;

        push(machine,
             shim_repeat(env, head, (uint64_t)1 + bytes_u32(&machine->bytes) / (1U << count * 4),
                         tail));
        return;
    }
    case 28: {
        /* A tuple of up to 2^24 - 1: as many as may be looked at are there. */
        ERL_NIF_TERM elements[256], one = pop(machine), other = pop(machine);

        for (size_t i = 0; i < 256; i++)
            elements[i] = i % (count + 2) == 0 ? other : one;
        push(machine,
             shim_tuple(env, elements, 256, 256 + (int)(bytes_u32(&machine->bytes) % 16776959)));
        return;
    }
    case 29: {
        ERL_NIF_TERM pairs[4];

        for (size_t i = 0; i < 4; i++)
            pairs[i] = pop(machine);
        push(machine, shim_map(env, pairs, 2, 2 + (uint64_t)bytes_u32(&machine->bytes)));
        return;
    }
    case 30:
    case 31:
        push(machine, frame_from(machine));
        return;
    }
}

ERL_NIF_TERM term_from(ErlNifEnv *env, struct bytes bytes)
{
    struct machine machine = {.env = env, .bytes = bytes};

    for (int i = 0; i < OPERATIONS && machine.bytes.left > 0; i++)
        operate(&machine);
    return pop(&machine);
}
