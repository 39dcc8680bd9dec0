/*
 * HTTP for machines on this host: GET and HEAD of a few pages, each made from what is in memory.
 * libmicrohttpd on the loop of the daemon, without threads. This module knows connections, limits
 * and the rules of HTTP; what the pages say is registered by those who know.
 */
#ifndef CORONER_HTTP_H
#define CORONER_HTTP_H

#include <uv.h>

#include "buffer.h"
#include "http_listen.h"
#include "metrics.h"

struct http;

/* A page, made anew for each request: on the loop, so from memory and in less than a millisecond.
 */
struct http_page {
    const char *path; /* as "/metrics"; static */
    const char *type; /* as "text/plain; charset=utf-8"; static */
    /* Append the body to `body` and return the status, as 200. */
    unsigned (*make)(void *cookie, struct buffer *body);
    void *cookie;
};

/*
 * http_new(loop, listen, why):
 * Serve at ${listen}, which is taken over, also if that fails: then return NULL, and say in ${why}
 * what is wrong.
 */
struct http *http_new(uv_loop_t *loop, struct http_listen *listen, char why[ENDPOINT_WHY_SIZE]);

/*
 * http_serve(http, page):
 * Answer requests for page->path with ${page}, which is copied. At most HTTP_PAGES_MAX.
 */
#define HTTP_PAGES_MAX 16
void http_serve(struct http *http, const struct http_page *page);

/*
 * http_at(http):
 * Return where it is served, as text.
 */
const char *http_at(const struct http *http);

/*
 * http_tell(http, metrics):
 * Let ${http} tell its numbers to ${metrics}, which it must outlive.
 */
void http_tell(struct http *http, struct metrics *metrics);

/*
 * http_close(http):
 * Close all connections. The memory is freed when the loop has run on; NULL is fine.
 */
void http_close(struct http *http);

#endif
