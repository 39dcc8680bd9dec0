/*
 * Asking epmd, the Erlang port mapper daemon of a host, where a node listens.
 */
#ifndef CORONER_CTL_EPMD_H
#define CORONER_CTL_EPMD_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum ctl_epmd_answer {
    CTL_EPMD_FOUND,       /* the node's port is known */
    CTL_EPMD_UNKNOWN,     /* epmd knows no such node */
    CTL_EPMD_UNREACHABLE, /* epmd cannot be reached; the errno value tells why */
    CTL_EPMD_GARBAGE      /* whatever answered, it is no epmd */
};

/**
 * ctl_epmd_port():
 * Return the port epmd listens on: ERL_EPMD_PORT, or 4369.
 */
uint16_t ctl_epmd_port(void);

/**
 * ctl_epmd_find(host, alive, deadline, port, error):
 * Ask the epmd on ${host} for the node ${alive} (the part before the @) by ${deadline}
 * (ctl_net_now). Put its port into ${port} or, where the answer is CTL_EPMD_UNREACHABLE, an errno
 * value into ${error}.
 */
enum ctl_epmd_answer ctl_epmd_find(struct in_addr host, const char *alive, int64_t deadline,
                                   uint16_t *port, int *error);

/**
 * ctl_epmd_names(host, deadline, names, size):
 * Put the names of the nodes that the epmd on ${host} knows into the ${size} bytes of ${names}, as
 * "a, b, c"; an empty string if there are none or it does not say. They are foreign text.
 */
void ctl_epmd_names(struct in_addr host, int64_t deadline, char *names, size_t size);

#endif
