/*
 * A connection to a running Erlang node over its distribution, as a hidden node, and calls of
 * functions there. libei does the handshake and writes; what comes from the node is read and
 * checked here.
 */
#ifndef CORONER_CTL_DIST_H
#define CORONER_CTL_DIST_H

#include "ei.h"

#include "ctl.h"
#include "ctl_term.h"

#define CTL_DIST_CONNECT_MS 5000 /* for finding the node, connecting and the handshake, each */
#define CTL_DIST_CALL_MS 60000   /* for one call: attaching to a million processes takes long */
#define CTL_DIST_ANSWER_MAX (1u << 20) /* bytes of one message that the node may send */

struct ctl_dist;

/**
 * ctl_dist_check_name(node):
 * Return CTL_OK if ${node} is a node's name, "name@host"; or CTL_USAGE after saying why it is none.
 */
enum ctl_exit ctl_dist_check_name(const char *node);

/**
 * ctl_dist_connect(node, cookie, dist):
 * Connect to ${node} ("name@host") with ${cookie}. Return CTL_OK and the connection in ${dist}, to
 * be released with ctl_dist_close; or the code to end with after saying what is wrong: the name,
 * the host, epmd, the node, its cookie.
 */
enum ctl_exit ctl_dist_connect(const char *node, const char *cookie, struct ctl_dist **dist);

/**
 * ctl_dist_call(dist, module, function, arguments, answer):
 * Call ${module}:${function} in the node with the list ${arguments}, encoded without a version
 * byte. Return CTL_OK and what the function returned in ${answer}, valid until the next call; or
 * the code to end with after saying what went wrong.
 */
enum ctl_exit ctl_dist_call(struct ctl_dist *dist, const char *module, const char *function,
                            const ei_x_buff *arguments, struct ctl_term *answer);

/**
 * ctl_dist_node(dist):
 * Return the name of the node that ${dist} is connected to.
 */
const char *ctl_dist_node(const struct ctl_dist *dist);

/**
 * ctl_dist_close(dist):
 * Close and release ${dist}; nothing happens if it is NULL.
 */
void ctl_dist_close(struct ctl_dist *dist);

#endif
