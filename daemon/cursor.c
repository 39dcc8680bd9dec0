#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"

void cursor_format(int64_t row, bool descending, char text[CURSOR_SIZE])
{
    snprintf(text, CURSOR_SIZE, "c1.%c%" PRIx64, descending ? 'd' : 'a', (uint64_t)row);
}

int cursor_parse(const char *text, int64_t *row, bool *descending)
{
    size_t digits;

    if (strncmp(text, "c1.", 3) != 0 || (text[3] != 'a' && text[3] != 'd'))
        return -1;
    *descending = text[3] == 'd';
    text += 4;
    digits = strspn(text, "0123456789abcdef");
    /* 15 digits keep it below 2^63. */
    if (digits < 1 || digits > 15 || text[digits] != '\0')
        return -1;
    *row = strtoll(text, NULL, 16);
    return 0;
}
