#include "alloc.h"
#include "detail.h"

struct detail *detail_new(void)
{
    struct detail *detail = memory_zalloc(sizeof(*detail));

    if (detail != NULL)
        atomic_init(&detail->holders, 1);
    return detail;
}

struct detail *detail_hold(struct detail *detail)
{
    if (detail != NULL)
        atomic_fetch_add_explicit(&detail->holders, 1, memory_order_relaxed);
    return detail;
}

void detail_drop(struct detail *detail)
{
    if (detail != NULL && atomic_fetch_sub_explicit(&detail->holders, 1, memory_order_acq_rel) == 1)
        memory_free(detail);
}
