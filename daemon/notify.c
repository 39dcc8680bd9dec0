#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "memory.h"
#include "notify.h"

struct notify {
    uv_timer_t watchdog;
};

static void tell(const char *state)
{
    static bool told;
    int result = sd_notify(0, state);

    if (result < 0 && !told) {
        told = true;
        log_warning("cannot tell systemd: %s", strerror(-result));
    }
}

static void tell_status(const char *state, const char *status)
{
    char text[512];

    snprintf(text, sizeof(text), "%s\nSTATUS=%s", state, status);
    tell(text);
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    tell("WATCHDOG=1");
}

struct notify *notify_new(uv_loop_t *loop)
{
    struct notify *notify = memory_zeroed(sizeof(*notify));
    uint64_t every_us = 0, every_ms;
    int wanted = sd_watchdog_enabled(0, &every_us);

    uv_timer_init(loop, &notify->watchdog);
    notify->watchdog.data = notify;
    if (wanted < 0)
        log_warning("cannot tell what signs of life systemd wants: %s", strerror(-wanted));
    if (wanted > 0) {
        every_ms = every_us / 2000;
        if (every_ms == 0)
            every_ms = 1;
        uv_timer_start(&notify->watchdog, on_watchdog, every_ms, every_ms);
        /* It is what the loop does besides its work: it does not keep it running. */
        uv_unref((uv_handle_t *)&notify->watchdog);
    }
    return notify;
}

void notify_ready(struct notify *notify, const char *status)
{
    (void)notify;
    tell_status("READY=1", status);
}

void notify_reloading(struct notify *notify, const char *status)
{
    char state[64];

    (void)notify;
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, uv_hrtime() / 1000);
    tell_status(state, status);
}

void notify_stopping(struct notify *notify, const char *status)
{
    (void)notify;
    tell_status("STOPPING=1", status);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void notify_close(struct notify *notify)
{
    if (notify != NULL)
        uv_close((uv_handle_t *)&notify->watchdog, on_closed);
}

static void free_names(char **names)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        free(names[i]);
    free(names);
}

static int *place_of(struct notify_sockets *sockets, const char *name)
{
    if (strcmp(name, "ingest") == 0)
        return &sockets->ingest;
    if (strcmp(name, "query") == 0)
        return &sockets->query;
    if (strcmp(name, "http") == 0)
        return &sockets->http;
    return NULL;
}

static int take(struct notify_sockets *sockets, const char *name, int fd, char *why)
{
    int *place = place_of(sockets, name);

    if (place == NULL)
        return snprintf(why, NOTIFY_WHY_SIZE,
                        "systemd passed a socket named '%.64s'; FileDescriptorName= is one of "
                        "ingest, query and http",
                        name);
    if (*place >= 0)
        return snprintf(why, NOTIFY_WHY_SIZE, "systemd passed two sockets named '%s'", name);
    if (sd_is_socket(fd, place == &sockets->http ? AF_UNSPEC : AF_UNIX, SOCK_STREAM, 1) <= 0)
        return snprintf(why, NOTIFY_WHY_SIZE, "what systemd passed as '%s' is no %s that listens",
                        name, place == &sockets->http ? "stream socket" : "Unix stream socket");
    *place = fd;
    return 0;
}

int notify_take_sockets(struct notify_sockets *sockets, char why[NOTIFY_WHY_SIZE])
{
    char **names = NULL;
    int result = 0, count = sd_listen_fds_with_names(1, &names);

    *sockets = (struct notify_sockets){.ingest = -1, .query = -1, .http = -1};
    if (count < 0) {
        snprintf(why, NOTIFY_WHY_SIZE, "cannot take the sockets that systemd passed: %s",
                 strerror(-count));
        return -1;
    }
    for (int i = 0; i < count && result == 0; i++)
        result = take(sockets, names[i], SD_LISTEN_FDS_START + i, why);
    free_names(names);
    return result == 0 ? 0 : -1;
}
