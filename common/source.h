/*
 * The closed list of what can cause an exit, and the other closed lists of a record's values, written
 * once for the node and for the daemon.
 * Names are a contract: they stand in the JSON as `exit.source`, `origin.source` and `chain[].source`.
 */
#ifndef CORONER_SOURCE_H
#define CORONER_SOURCE_H

/* X(symbol, name in JSON) */
#define CORONER_SOURCES(X)                                                                         \
    X(UNKNOWN, "unknown")                                                                          \
    X(NORMAL, "normal")                                                                            \
    X(SELF_EXIT, "self_exit")                                                                      \
    X(SELF_ERROR, "self_error")                                                                    \
    X(SELF_THROW, "self_throw")                                                                    \
    X(PURGE, "purge")                                                                              \
    X(KILL, "kill")                                                                                \
    X(EXIT_SIGNAL, "exit_signal")                                                                  \
    X(LINK, "link")                                                                                \
    X(LINK_TRAPPED, "link_trapped")                                                                \
    X(SUPERVISOR_SHUTDOWN, "supervisor_shutdown")                                                  \
    X(SUPERVISOR_BRUTAL_KILL, "supervisor_brutal_kill")                                            \
    X(SUPERVISOR_TIMEOUT_KILL, "supervisor_timeout_kill")                                          \
    X(PORT, "port")                                                                                \
    X(NOPROC, "noproc")                                                                            \
    X(NOCONNECTION, "noconnection")                                                                \
    X(MAX_HEAP_SIZE, "max_heap_size")                                                              \
    X(STOP_REQUEST, "stop_request")                                                                \
    X(APPLICATION_STOP, "application_stop")                                                        \
    X(NODE_STOP, "node_stop")                                                                      \
    X(REMOTE_SIGNAL, "remote_signal")                                                              \
    X(REMOTE_LINK, "remote_link")

enum coroner_source {
#define X(symbol, name) CORONER_SOURCE_##symbol,
    CORONER_SOURCES(X)
#undef X
        CORONER_SOURCE_COUNT
};

/* X(symbol, name in JSON): how sure a verdict is. */
#define CORONER_CONFIDENCES(X)                                                                     \
    X(UNKNOWN, "unknown")                                                                          \
    X(INFERRED, "inferred")                                                                        \
    X(AMBIGUOUS, "ambiguous")                                                                      \
    X(OBSERVED, "observed")

enum coroner_confidence {
#define X(symbol, name) CORONER_CONFIDENCE_##symbol,
    CORONER_CONFIDENCES(X)
#undef X
        CORONER_CONFIDENCE_COUNT
};

/* X(symbol, name in JSON): a record's severity, least severe first. */
#define CORONER_SEVERITIES(X)                                                                      \
    X(INFO, "info")                                                                                \
    X(WARNING, "warning")                                                                          \
    X(ERROR, "error")

enum coroner_severity {
#define X(symbol, name) CORONER_SEVERITY_##symbol,
    CORONER_SEVERITIES(X)
#undef X
        CORONER_SEVERITY_COUNT
};

/* X(symbol, name in JSON): what a reason looks like, `exit.reason_class`. */
#define CORONER_REASON_CLASSES(X)                                                                  \
    X(NORMAL, "normal")             /* normal */                                                   \
    X(SHUTDOWN, "shutdown")         /* shutdown, {shutdown, _} */                                  \
    X(KILLED, "killed")             /* killed */                                                   \
    X(KILL, "kill")                 /* kill: somebody's exit(kill), over a link */                 \
    X(NOPROC, "noproc")             /* noproc, {noproc, _} */                                      \
    X(NOCONNECTION, "noconnection") /* noconnection */                                             \
    X(TIMEOUT, "timeout")           /* timeout, {timeout, _} */                                    \
    X(ERROR, "error")               /* {Reason, Stacktrace}, as the VM makes it of an uncaught error */ \
    X(THROW, "throw")               /* {{nocatch, Term}, Stacktrace} */                            \
    X(RPC_REPLY, "rpc_reply")       /* {Ref, return, _}: an erpc worker that answered */           \
    X(OTHER, "other")

#endif
