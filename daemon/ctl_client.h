/*
 * The query protocol of coronerd from the asking side: a Unix socket, a request a line, replies a
 * line each.
 */
#ifndef CORONER_CTL_CLIENT_H
#define CORONER_CTL_CLIENT_H

#include <jansson.h>

#include "ctl.h"

#define CTL_CLIENT_ANSWER_MS 15000     /* for the next line of a reply */
#define CTL_CLIENT_LINE_MAX (4u << 20) /* bytes of one line of a reply */

struct ctl_client;

/* What a line of a reply is. */
enum ctl_reply {
    CTL_REPLY_ITEM, /* one of the things asked for; more follows */
    CTL_REPLY_DONE, /* the end of the reply */
    CTL_REPLY_STOP  /* a signal asked for an end, or the reader of the output has gone */
};

/**
 * ctl_client_open(path, client):
 * Connect to the query socket ${path}. Return CTL_OK and a client to be released with
 * ctl_client_close, or the code to end with after saying what is wrong with the socket.
 */
enum ctl_exit ctl_client_open(const char *path, struct ctl_client **client);

/**
 * ctl_client_ask(client, request):
 * Send ${request}, an object without an id, which is consumed; NULL stands for one that there was
 * no memory for. Only one request is asked at a time. Return CTL_OK or the code to end with after
 * saying what went wrong.
 */
enum ctl_exit ctl_client_ask(struct ctl_client *client, json_t *request);

/**
 * ctl_client_next(client, reply, line):
 * Wait for the next line of the reply and put it into ${line}, to be released by the caller, and
 * what it is into ${reply}; at CTL_REPLY_STOP there is none. That what was asked for is
 * not found is an end of the reply, too; any other error is said. Return CTL_OK or the code to end
 * with.
 */
enum ctl_exit ctl_client_next(struct ctl_client *client, enum ctl_reply *reply, json_t **line);

/**
 * ctl_client_follow(client):
 * From now on ctl_client_next waits for ever, and ends with CTL_REPLY_STOP at SIGINT, SIGTERM or
 * when nobody reads standard output any more.
 */
void ctl_client_follow(struct ctl_client *client);

/**
 * ctl_client_close(client):
 * Close and release ${client}; nothing happens if it is NULL.
 */
void ctl_client_close(struct ctl_client *client);

#endif
