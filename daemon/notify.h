/*
 * What systemd is told, if it started us: that we are ready, reload, stop, and are alive. Without
 * systemd ($NOTIFY_SOCKET) nothing happens. And what it gives us: sockets that listen already.
 */
#ifndef CORONER_NOTIFY_H
#define CORONER_NOTIFY_H

#include <uv.h>

#define NOTIFY_WHY_SIZE 256

struct notify;

/*
 * notify_new(loop):
 * Make what tells systemd. If it wants signs of life, it gets them from a timer of ${loop}, twice
 * as often as it must: a loop that is stuck sends none.
 */
struct notify *notify_new(uv_loop_t *loop);

/*
 * notify_ready, notify_reloading, notify_stopping(notify, status):
 * Say so, with ${status} as a sentence for `systemctl status`. After reloading comes ready.
 */
void notify_ready(struct notify *notify, const char *status);
void notify_reloading(struct notify *notify, const char *status);
void notify_stopping(struct notify *notify, const char *status);

/*
 * notify_close(notify):
 * End the signs of life. The memory is freed when the loop has run on; NULL is fine.
 */
void notify_close(struct notify *notify);

/* Sockets that systemd listens on for us, -1 where it does not. */
struct notify_sockets {
    int ingest;
    int query;
    int http;
};

/*
 * notify_take_sockets(sockets, why):
 * Take the sockets that systemd passed, by the names "ingest", "query" and "http". Return 0, or -1
 * if there is one that nobody here wants, and say in ${why} which. Once, at the start.
 */
int notify_take_sockets(struct notify_sockets *sockets, char why[NOTIFY_WHY_SIZE]);

#endif
