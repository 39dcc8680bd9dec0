#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "acceptor.h"
#include "log.h"
#include "memory.h"

#define TURN_ACCEPTS 64
#define RETRY_MS 100 /* after there was no descriptor, or no memory */

struct acceptor {
    int fd;
    const char *whom;
    void (*on_accept)(void *cookie, int connection);
    void *cookie;
    uv_poll_t poll;
    uv_timer_t retry;
    bool lacking;
    int open_handles;
    void (*on_closed)(void *cookie);
    void *closed_cookie;
};

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void on_retry(uv_timer_t *timer)
{
    struct acceptor *acceptor = timer->data;

    uv_poll_start(&acceptor->poll, UV_READABLE, on_acceptable);
}

/* Trying again at once would spin. */
static void pause_for_lack(struct acceptor *acceptor)
{
    if (!acceptor->lacking)
        log_warning("cannot accept %s: %s; who comes has to wait", acceptor->whom, strerror(errno));
    acceptor->lacking = true;
    uv_poll_stop(&acceptor->poll);
    uv_timer_start(&acceptor->retry, on_retry, RETRY_MS, 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct acceptor *acceptor = poll->data;

    (void)status;
    (void)events;
    /* The callee may close the acceptor. */
    for (int i = 0; i < TURN_ACCEPTS && !uv_is_closing((uv_handle_t *)poll); i++) {
        int fd = accept4(acceptor->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                pause_for_lack(acceptor);
            return;
        }
        acceptor->lacking = false;
        acceptor->on_accept(acceptor->cookie, fd);
    }
}

struct acceptor *acceptor_new(uv_loop_t *loop, int fd, int backlog, const char *whom,
                              void (*on_accept)(void *cookie, int connection), void *cookie)
{
    struct acceptor *acceptor = memory_zeroed(sizeof(*acceptor));
    int result;

    acceptor->fd = fd;
    acceptor->whom = whom;
    acceptor->on_accept = on_accept;
    acceptor->cookie = cookie;
    /* The first that can fail comes first, so that nothing is to be undone. */
    if (listen(fd, backlog) != 0) {
        free(acceptor);
        return NULL;
    }
    result = uv_poll_init(loop, &acceptor->poll, fd);
    if (result != 0) {
        free(acceptor);
        errno = -result;
        return NULL;
    }
    uv_timer_init(loop, &acceptor->retry);
    acceptor->open_handles = 2;
    acceptor->poll.data = acceptor;
    acceptor->retry.data = acceptor;
    uv_poll_start(&acceptor->poll, UV_READABLE, on_acceptable);
    return acceptor;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct acceptor *acceptor = handle->data;
    void (*on_closed)(void *cookie) = acceptor->on_closed;
    void *cookie = acceptor->closed_cookie;

    if (--acceptor->open_handles > 0)
        return;
    free(acceptor);
    on_closed(cookie);
}

void acceptor_close(struct acceptor *acceptor, void (*on_closed)(void *cookie), void *cookie)
{
    acceptor->on_closed = on_closed;
    acceptor->closed_cookie = cookie;
    uv_close((uv_handle_t *)&acceptor->retry, on_handle_closed);
    uv_close((uv_handle_t *)&acceptor->poll, on_handle_closed);
    /* libuv has let go of it: closing a poll handle stops it. */
    close(acceptor->fd);
}
