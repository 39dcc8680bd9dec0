#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "stops.h"

#define MASTERS 512 /* more applications than a node runs; the oldest is forgotten first */

struct master {
    term_word pid;
    term_word application;
};

struct stops {
    pthread_mutex_t lock;
    struct sites sites;
    struct act *node; /* held */
    uint32_t masters_made;
    struct master masters[MASTERS];
};

struct stops *stops_new(void)
{
    struct stops *stops = memory_zalloc(sizeof(*stops));

    if (stops == NULL)
        return NULL;
    if (pthread_mutex_init(&stops->lock, NULL) != 0) {
        memory_free(stops);
        return NULL;
    }
    return stops;
}

void stops_clear(struct stops *stops)
{
    struct act *node;

    pthread_mutex_lock(&stops->lock);
    node = stops->node;
    stops->node = NULL;
    stops->sites.made = stops->masters_made = 0;
    pthread_mutex_unlock(&stops->lock);
    act_drop(node);
}

void stops_free(struct stops *stops)
{
    if (stops == NULL)
        return;
    stops_clear(stops);
    pthread_mutex_destroy(&stops->lock);
    memory_free(stops);
}

void stops_call(struct stops *stops, struct asked_from call, bool inner)
{
    pthread_mutex_lock(&stops->lock);
    sites_add(&stops->sites, call, inner);
    pthread_mutex_unlock(&stops->lock);
}

struct asked_from stops_taken(struct stops *stops, term_word pid, term_word subject)
{
    struct asked_from call;

    pthread_mutex_lock(&stops->lock);
    call = sites_take(&stops->sites, pid, subject);
    pthread_mutex_unlock(&stops->lock);
    return call;
}

struct asked_from stops_asked(struct stops *stops, term_word application)
{
    struct asked_from call;

    pthread_mutex_lock(&stops->lock);
    call = sites_newest(&stops->sites, application);
    pthread_mutex_unlock(&stops->lock);
    return call;
}

void stops_node(struct stops *stops, struct act *act)
{
    pthread_mutex_lock(&stops->lock);
    if (stops->node == NULL)
        stops->node = act_hold(act);
    pthread_mutex_unlock(&stops->lock);
}

struct act *stops_node_act(struct stops *stops)
{
    struct act *act;

    pthread_mutex_lock(&stops->lock);
    act = act_hold(stops->node);
    pthread_mutex_unlock(&stops->lock);
    return act;
}

void stops_master(struct stops *stops, term_word pid, term_word application)
{
    pthread_mutex_lock(&stops->lock);
    stops->masters[stops->masters_made++ % MASTERS] =
        (struct master){.pid = pid, .application = application};
    pthread_mutex_unlock(&stops->lock);
}

term_word stops_application(struct stops *stops, term_word pid)
{
    term_word application = NO_WORD;
    uint32_t kept;

    pthread_mutex_lock(&stops->lock);
    kept = stops->masters_made < MASTERS ? stops->masters_made : MASTERS;
    for (uint32_t i = 1; i <= kept && application == NO_WORD; i++) {
        const struct master *master = &stops->masters[(stops->masters_made - i) % MASTERS];

        if (master->pid == pid)
            application = master->application;
    }
    pthread_mutex_unlock(&stops->lock);
    return application;
}
