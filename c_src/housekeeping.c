#include "housekeeping.h"

#include <string.h>

#include "atoms.h"
#include "names.h"

#define READER "-get_command/" /* of shell: what its funs are called, followed by arity and number */

/* Whether ${name} begins as ${prefix} does. */
static bool begins_with(term_word name, const char *prefix)
{
    char text[256];
    struct text_writer writer = text_writer_on(text, sizeof(text));

    name_atom(name, false, &writer);
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

enum coroner_severity housekeeping_severity(const struct coroner *coroner,
                                            const struct record *record, ERL_NIF_TERM reason)
{
    enum coroner_severity given = (enum coroner_severity)record->severity;
    const struct function *caller;

    if (given != CORONER_SEVERITY_ERROR || record->confidence != CORONER_CONFIDENCE_OBSERVED ||
        record->act == NULL ||
        (record->source != CORONER_SOURCE_SELF_EXIT && record->source != CORONER_SOURCE_KILL))
        return given;
    caller = intern_function_of(coroner->intern, record->act->site.function);
    if (caller == NULL)
        return given;
    /* The process of a connection: the node on its other end has gone, as with the reason noconnection. From OTP 27 on the
     * reason is tcp_closed on the side that made it. */
    if (caller->module == atoms.dist_util && record->source == CORONER_SOURCE_SELF_EXIT)
        return reason == atoms.connection_closed || reason == atoms.tcp_closed
                   ? CORONER_SEVERITY_WARNING
                   : given;
    if (caller->module != atoms.shell)
        return given;
    /* Who reads a line in a shell tells the shell in the reason what it has read. A shell that is left ends its evaluator,
     * which waits for the next command then. */
    if (record->source == CORONER_SOURCE_SELF_EXIT)
        return begins_with(caller->name, READER) ? CORONER_SEVERITY_INFO : given;
    return caller->name == atoms.server_loop ? CORONER_SEVERITY_INFO : given;
}
