#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"

void must_not(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}
