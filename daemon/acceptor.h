/*
 * Takes connections from a Unix stream socket that listens. libuv would do it, but where no
 * descriptor is left it relies on one that it keeps for that: once another thread has got hold of
 * it, libuv tries for ever and nothing else of the loop goes on. Here who finds no descriptor waits
 * in the kernel's queue, and is looked for again soon.
 */
#ifndef CORONER_ACCEPTOR_H
#define CORONER_ACCEPTOR_H

#include <uv.h>

struct acceptor;

/*
 * acceptor_new(loop, fd, backlog, whom, on_accept, cookie):
 * Listen on the socket ${fd}, which is taken over if that works, and call on_accept(cookie,
 * connection) on ${loop} for each connection, whose descriptor is the callee's and does not block.
 * ${whom} says in the log who it is, "a node". Return the acceptor, or NULL with errno set.
 */
struct acceptor *acceptor_new(uv_loop_t *loop, int fd, int backlog, const char *whom,
                              void (*on_accept)(void *cookie, int connection), void *cookie);

/*
 * acceptor_close(acceptor, on_closed, cookie):
 * Stop, close the socket, and call on_closed(cookie) once ${acceptor} is freed.
 */
void acceptor_close(struct acceptor *acceptor, void (*on_closed)(void *cookie), void *cookie);

#endif
