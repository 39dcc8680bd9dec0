#include "act.h"
#include "alloc.h"
#include "supervision.h"

struct act *act_new(void)
{
    struct act *act = memory_zalloc(sizeof(*act));

    if (act != NULL)
        atomic_init(&act->holders, 1);
    return act;
}

struct act *act_hold(struct act *act)
{
    if (act != NULL)
        atomic_fetch_add_explicit(&act->holders, 1, memory_order_relaxed);
    return act;
}

void act_drop(struct act *act)
{
    if (act == NULL || atomic_fetch_sub_explicit(&act->holders, 1, memory_order_acq_rel) != 1)
        return;
    supervision_drop(act->supervision);
    memory_free(act);
}
