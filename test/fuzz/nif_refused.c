/* The functions of erl_nif.h that nif_shim.c does not have: whoever calls one is told its name. */
#include <erl_nif.h>
#include <stdio.h>
#include <stdlib.h>

#pragma clang diagnostic ignored "-Wc2x-extensions"
#pragma clang diagnostic ignored "-Wunused-parameter"

static _Noreturn void refuse(const char *name)
{
    fprintf(stderr, "%s is not for a callback, or nif_shim.c does not have it yet\n", name);
    abort();
}

/* Attributes of declarations do not stand in definitions. */
#undef ERL_NAPI_ATTR_WUR
#define ERL_NAPI_ATTR_WUR
#undef ERL_NAPI_ATTR_ALLOC_SIZE
#define ERL_NAPI_ATTR_ALLOC_SIZE(size)
#undef ERL_NAPI_ATTR_MALLOC_U
#define ERL_NAPI_ATTR_MALLOC_U
#undef ERL_NAPI_ATTR_MALLOC_US
#define ERL_NAPI_ATTR_MALLOC_US(size)
#undef ERL_NAPI_ATTR_MALLOC_D
#define ERL_NAPI_ATTR_MALLOC_D(free, at)
#undef ERL_NAPI_ATTR_MALLOC_UD
#define ERL_NAPI_ATTR_MALLOC_UD(free, at)
#undef ERL_NAPI_ATTR_MALLOC_USD
#define ERL_NAPI_ATTR_MALLOC_USD(size, free, at)

/* The header has these inline, and has been read once already. */
#define enif_make_tuple1 refused_make_tuple1
#define enif_make_tuple2 refused_make_tuple2
#define enif_make_tuple3 refused_make_tuple3
#define enif_make_tuple4 refused_make_tuple4
#define enif_make_tuple5 refused_make_tuple5
#define enif_make_tuple6 refused_make_tuple6
#define enif_make_tuple7 refused_make_tuple7
#define enif_make_tuple8 refused_make_tuple8
#define enif_make_tuple9 refused_make_tuple9
#define enif_make_list1 refused_make_list1
#define enif_make_list2 refused_make_list2
#define enif_make_list3 refused_make_list3
#define enif_make_list4 refused_make_list4
#define enif_make_list5 refused_make_list5
#define enif_make_list6 refused_make_list6
#define enif_make_list7 refused_make_list7
#define enif_make_list8 refused_make_list8
#define enif_make_list9 refused_make_list9

#undef ERL_NIF_API_FUNC_DECL
#define ERL_NIF_API_FUNC_DECL(result, name, arguments)                                             \
    __attribute__((weak)) result name arguments                                                    \
    {                                                                                              \
        refuse(#name);                                                                             \
    }                                                                                              \
    struct nif_refused
#include "erl_nif_api_funcs.h"
