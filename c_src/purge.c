#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "purge.h"
#include "sites.h"

#define KEPT 64

/* What code_server was asked for. */
struct request {
    term_word requester;
    term_word module;
    uint8_t operation;
    uint32_t function; /* of the call that led to it, where that was seen */
    struct site site;
};

struct purge {
    _Atomic term_word purger;
    pthread_mutex_t lock; /* over the rest */
    term_word code_server;
    struct sites sites;
    uint32_t requests_made; /* ever; the newest is at (made - 1) % KEPT */
    struct request requests[KEPT];
    struct act *current; /* held */
};

struct purge *purge_new(void)
{
    struct purge *purge = memory_zalloc(sizeof(*purge));

    if (purge == NULL)
        return NULL;
    if (pthread_mutex_init(&purge->lock, NULL) != 0) {
        memory_free(purge);
        return NULL;
    }
    return purge;
}

void purge_free(struct purge *purge)
{
    if (purge == NULL)
        return;
    purge_reset(purge, NO_WORD, NO_WORD);
    pthread_mutex_destroy(&purge->lock);
    memory_free(purge);
}

void purge_reset(struct purge *purge, term_word purger, term_word code_server)
{
    struct act *gone;

    pthread_mutex_lock(&purge->lock);
    atomic_store(&purge->purger, purger);
    purge->code_server = code_server;
    purge->sites.made = purge->requests_made = 0;
    gone = purge->current;
    purge->current = NULL;
    pthread_mutex_unlock(&purge->lock);
    act_drop(gone);
}

static uint32_t kept(uint32_t made)
{
    return made < KEPT ? made : KEPT;
}

static bool is_for(term_word module, term_word wanted)
{
    return module == wanted || module == NO_WORD; /* one that names no module is for several at once */
}

/*
 * The request that a purge of `module` belongs to. code_server waits for the purger while it handles one, so a
 * purge is of the newest, or of none that was seen; a failed on_load ends long after its load was asked for.
 */
static const struct request *find_request(const struct purge *purge, term_word module,
                                          enum operation operation)
{
    uint32_t looks = operation == OPERATION_PURGE ? 1 : KEPT;

    for (uint32_t i = 1; i <= kept(purge->requests_made) && i <= looks; i++) {
        const struct request *request = &purge->requests[(purge->requests_made - i) % KEPT];

        if (is_for(request->module, module))
            return request;
    }
    return NULL;
}

void purge_code_call(struct purge *purge, term_word pid, term_word module, uint32_t function,
                     struct site site, bool inner)
{
    struct asked_from call = {.pid = pid, .subject = module, .function = function, .site = site};

    pthread_mutex_lock(&purge->lock);
    sites_add(&purge->sites, call, inner);
    pthread_mutex_unlock(&purge->lock);
}

void purge_asked(struct purge *purge, term_word requester, term_word module,
                 enum operation operation)
{
    struct asked_from call;

    pthread_mutex_lock(&purge->lock);
    call = sites_take(&purge->sites, requester, module);
    purge->requests[purge->requests_made++ % KEPT] = (struct request){.requester = requester,
                                                                      .module = module,
                                                                      .operation = (uint8_t)operation,
                                                                      .function = call.function,
                                                                      .site = call.site};
    pthread_mutex_unlock(&purge->lock);
}

static void replace_current(struct purge *purge, struct act *act)
{
    struct act *gone;

    pthread_mutex_lock(&purge->lock);
    gone = purge->current;
    purge->current = act;
    pthread_mutex_unlock(&purge->lock);
    act_drop(gone);
}

void purge_begin(struct purge *purge, struct ledger *ledger, term_word module, term_word from,
                 enum operation operation)
{
    struct act *act = operation == OPERATION_NONE ? NULL : act_new();
    term_word requester = from;

    if (act != NULL) {
        act->module = module;
        act->operation = (uint8_t)operation;
        pthread_mutex_lock(&purge->lock);
        if (from == purge->code_server) {
            const struct request *request = find_request(purge, module, operation);

            requester = NO_WORD;
            if (request != NULL) {
                requester = request->requester;
                act->site = request->site;
                act->function = request->function;
                if (operation == OPERATION_PURGE)
                    act->operation = request->operation;
            }
        } else if (from != NO_WORD) {
            struct asked_from call = sites_take(&purge->sites, from, module);

            act->site = call.site;
            act->function = call.function;
        }
        pthread_mutex_unlock(&purge->lock);
        if (requester != NO_WORD) {
            act->by = ledger_who(ledger, requester);
            act->by_node = ledger_node_behind(ledger, requester);
        }
    }
    replace_current(purge, act);
}

void purge_end(struct purge *purge)
{
    replace_current(purge, NULL);
}

struct act *purge_behind(struct purge *purge, term_word killer)
{
    struct act *act;

    if (killer != atomic_load_explicit(&purge->purger, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&purge->lock);
    act = act_hold(purge->current);
    pthread_mutex_unlock(&purge->lock);
    return act;
}
