#include "reason.h"

const char *reason_shape_name(enum reason_shape shape)
{
    static const char *const names[] = {
#define X(symbol, name) [REASON_##symbol] = name,
        REASON_SHAPES(X)
#undef X
    };

    return names[shape];
}
