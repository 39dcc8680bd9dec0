#include "sites.h"

static struct asked_from *find(struct sites *sites, term_word pid, term_word subject)
{
    uint32_t kept = sites->made < SITES_KEPT ? sites->made : SITES_KEPT;

    for (uint32_t i = 1; i <= kept; i++) {
        struct asked_from *call = &sites->calls[(sites->made - i) % SITES_KEPT];

        if (call->pid == pid &&
            (call->subject == subject || call->subject == NO_WORD || subject == NO_WORD))
            return call;
    }
    return NULL;
}

void sites_add(struct sites *sites, struct asked_from call, bool inner)
{
    if (inner && find(sites, call.pid, call.subject) != NULL)
        return;
    sites->calls[sites->made++ % SITES_KEPT] = call;
}

struct asked_from sites_take(struct sites *sites, term_word pid, term_word subject)
{
    struct asked_from *call = find(sites, pid, subject);
    struct asked_from taken = {.pid = NO_WORD, .function = INTERN_NONE};

    if (call != NULL) {
        taken = *call;
        call->pid = NO_WORD;
    }
    return taken;
}

struct asked_from sites_newest(const struct sites *sites, term_word subject)
{
    uint32_t kept = sites->made < SITES_KEPT ? sites->made : SITES_KEPT;

    for (uint32_t i = 1; i <= kept; i++) {
        const struct asked_from *call = &sites->calls[(sites->made - i) % SITES_KEPT];

        if (call->pid != NO_WORD && call->subject == subject)
            return *call;
    }
    return (struct asked_from){.pid = NO_WORD, .function = INTERN_NONE};
}
