/* The atoms that the NIF knows, made once in load(): comparing a term with one is comparing two words. */
#ifndef CORONER_ATOMS_H
#define CORONER_ATOMS_H

#include <erl_nif.h>

/* X(C name, Erlang name) */
#define CORONER_ATOMS(X)                                                                           \
    X(abort, "abort")                                                                              \
    X(acked, "acked")                                                                              \
    X(alive, "alive")                                                                              \
    X(all, "all")                                                                                  \
    X(appl_data, "appl_data")                                                                      \
    X(application, "application")                                                                  \
    X(application_master, "application_master")                                                    \
    X(applications, "applications")                                                                 \
    X(armed, "armed")                                                                              \
    X(atomic_load, "atomic_load")                                                                  \
    X(badarg, "badarg")                                                                            \
    X(call, "call")                                                                                \
    X(call_on_load_function, "call_on_load_function")                                              \
    X(child, "child")                                                                              \
    X(closed, "closed")                                                                            \
    X(code, "code")                                                                                \
    X(code_server, "code_server")                                                                  \
    X(complete, "complete")                                                                        \
    X(connection_closed, "connection_closed")                                                      \
    X(coroner_flushed, "coroner_flushed")                                                          \
    X(crasher, "crasher")                                                                          \
    X(decode_msg, "decode_msg")                                                                    \
    X(delete, "delete")                                                                            \
    X(discard, "discard")                                                                          \
    X(dist_util, "dist_util")                                                                      \
    X(do_auto_shutdown, "do_auto_shutdown")                                                        \
    X(enomem, "enomem")                                                                            \
    X(ensure_loaded, "ensure_loaded")                                                              \
    X(erl_signal_handler, "erl_signal_handler")                                                    \
    X(erlang, "erlang")                                                                            \
    X(erpc, "erpc")                                                                                \
    X(error, "error")                                                                              \
    X(erts_code_purger, "erts_code_purger")                                                        \
    X(erts_internal, "erts_internal")                                                              \
    X(exclude, "exclude")                                                                           \
    X(exit, "exit")                                                                                \
    X(exit_signal, "exit_signal")                                                                  \
    X(expired, "expired")                                                                          \
    X(extra, "extra")                                                                              \
    X(false_, "false")                                                                             \
    X(finish_after_on_load, "finish_after_on_load")                                                \
    X(finish_loading, "finish_loading")                                                            \
    X(gc_major_end, "gc_major_end")                                                                \
    X(gc_max_heap_size, "gc_max_heap_size")                                                        \
    X(gc_minor_end, "gc_minor_end")                                                                \
    X(gen, "gen")                                                                                  \
    X(gen_event, "gen_event")                                                                      \
    X(gen_server, "gen_server")                                                                    \
    X(gen_statem, "gen_statem")                                                                    \
    X(getting_linked, "getting_linked")                                                            \
    X(getting_unlinked, "getting_unlinked")                                                        \
    X(halt, "halt")                                                                                \
    X(handle_call, "handle_call")                                                                  \
    X(handle_request, "handle_request")                                                            \
    X(heap_block_size, "heap_block_size")                                                          \
    X(init, "init")                                                                                \
    X(init_it, "init_it")                                                                          \
    X(init_p, "init_p")                                                                            \
    X(kill, "kill")                                                                                \
    X(killed, "killed")                                                                            \
    X(link, "link")                                                                                \
    X(load_abs, "load_abs")                                                                        \
    X(load_binary, "load_binary")                                                                  \
    X(load_file, "load_file")                                                                      \
    X(load_module, "load_module")                                                                  \
    X(loop_receive, "loop_receive")                                                                \
    X(match_spec_result, "match_spec_result")                                                      \
    X(max_heap_size, "max_heap_size")                                                              \
    X(mbuf_size, "mbuf_size")                                                                      \
    X(nocatch, "nocatch")                                                                          \
    X(noconnection, "noconnection")                                                                \
    X(noproc, "noproc")                                                                            \
    X(normal, "normal")                                                                            \
    X(not_armed, "not_armed")                                                                      \
    X(not_seen, "not_seen")                                                                        \
    X(ok, "ok")                                                                                    \
    X(old_heap_block_size, "old_heap_block_size")                                                  \
    X(open, "open")                                                                                \
    X(proc_lib, "proc_lib")                                                                        \
    X(process_flag, "process_flag")                                                                \
    X(purge, "purge")                                                                              \
    X(purge_module, "purge_module")                                                                \
    X(raise, "raise")                                                                              \
    X(register_, "register")                                                                       \
    X(remove, "remove")                                                                            \
    X(restart, "restart")                                                                          \
    X(restart_multiple_children, "restart_multiple_children")                                      \
    X(return_, "return")                                                                           \
    X(sensitive, "sensitive")                                                                      \
    X(server_loop, "server_loop")                                                                  \
    X(shell, "shell")                                                                              \
    X(shutdown, "shutdown")                                                                        \
    X(size, "size")                                                                                \
    X(soft_purge, "soft_purge")                                                                    \
    X(spawn, "spawn")                                                                              \
    X(spawned, "spawned")                                                                          \
    X(stop, "stop")                                                                                \
    X(supervisor, "supervisor")                                                                    \
    X(supervisor_bridge, "supervisor_bridge")                                                      \
    X(sys, "sys")                                                                                  \
    X(system_terminate, "system_terminate")                                                        \
    X(tcp_closed, "tcp_closed")                                                                    \
    X(terminate, "terminate")                                                                      \
    X(terminate_dynamic_children, "terminate_dynamic_children")                                    \
    X(timeout, "timeout")                                                                          \
    X(trace, "trace")                                                                              \
    X(trace_status, "trace_status")                                                                \
    X(trap_exit, "trap_exit")                                                                      \
    X(true_, "true")                                                                               \
    X(undefined, "undefined")                                                                      \
    X(unlink, "unlink")                                                                            \
    X(unregister, "unregister")

struct coroner_atoms {
#define X(symbol, name) ERL_NIF_TERM symbol;
    CORONER_ATOMS(X)
#undef X
};

/* Written in load() before any callback can run, afterwards only read. Hidden: else each use would
 * go by the table of addresses. */
extern struct coroner_atoms atoms __attribute__((visibility("hidden")));

#endif
