#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "names_fake.h"

/* Tags in the low bits, so that the words of different kinds differ: those of OTP 25 (erl_term.h).
 */
#define TAG_PID 0x3U
#define TAG_PORT 0x7U
#define TAG_ATOM 0xbU
#define ATOMS_MAX 4096

static char *atoms[ATOMS_MAX];
static size_t atom_count;

term_word fake_atom(const char *name)
{
    size_t i;

    for (i = 0; i < atom_count; i++)
        if (strcmp(atoms[i], name) == 0)
            return (i + 1) << 6 | TAG_ATOM;
    if (atom_count == ATOMS_MAX || (atoms[i] = strdup(name)) == NULL)
        abort();
    atom_count++;
    return (i + 1) << 6 | TAG_ATOM;
}

term_word fake_pid(uint64_t number)
{
    return number << 4 | TAG_PID;
}

term_word fake_port(uint64_t number)
{
    return number << 4 | TAG_PORT;
}

void name_atom(term_word atom, bool quoted, struct text_writer *writer)
{
    const char *name;

    if ((atom & 0x3f) != TAG_ATOM || atom >> 6 == 0 || atom >> 6 > atom_count)
        abort();
    name = atoms[(atom >> 6) - 1];
    if (islower((unsigned char)name[0])) {
        size_t plain = 1;

        while (isalnum((unsigned char)name[plain]) || name[plain] == '_' || name[plain] == '@')
            plain++;
        quoted = quoted && name[plain] != '\0';
    }
    if (quoted)
        text_put_char(writer, '\'');
    text_put_utf8(writer, (const unsigned char *)name, strlen(name), '\'');
    if (quoted)
        text_put_char(writer, '\'');
}

void name_pid_or_port(term_word word, struct text_writer *writer)
{
    switch (word & 0xf) {
    case TAG_PID:
        text_puts(writer, "<0.");
        text_put_uint(writer, word >> 4 & 0xfffffff);
        text_put_char(writer, '.');
        text_put_uint(writer, word >> 32);
        text_put_char(writer, '>');
        return;
    case TAG_PORT:
        text_puts(writer, "#Port<0.");
        text_put_uint(writer, word >> 4);
        text_put_char(writer, '>');
        return;
    default:
        name_atom(word, true, writer);
    }
}
