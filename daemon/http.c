#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "log.h"
#include "memory.h"

#define CONNECTIONS_MAX 64
#define CONNECTION_BYTES ((size_t)16384) /* of memory that one takes: its request must fit */
/* From connecting, or from the end of an answer, to the end of the next one. */
#define PATIENCE_MS 20000
#define PATIENCE_SHORT_MS 2000 /* while others may be waiting, or if it sends no more */
#define LOOK_MS 1000
#define TURN_ACCEPTS 16 /* in one turn of the loop */
#define PLAIN_TEXT "text/plain; charset=utf-8"

/* The answers that are made here; each is counted. */
static const unsigned statuses[] = {
    MHD_HTTP_OK,
    MHD_HTTP_FORBIDDEN,
    MHD_HTTP_NOT_FOUND,
    MHD_HTTP_METHOD_NOT_ALLOWED,
    MHD_HTTP_CONTENT_TOO_LARGE,
    MHD_HTTP_SERVICE_UNAVAILABLE,
};
enum { STATUSES = sizeof(statuses) / sizeof(statuses[0]) };

struct client {
    struct http *http;
    int fd; /* libmicrohttpd's */
    uint64_t since_ms;
    bool shut;
    struct client *previous, *next;
};

struct served {
    struct http_page page;
    uint64_t answers[STATUSES];
    /* Made in this turn of the loop, in which nothing changes: for all who ask in it. */
    struct MHD_Response *response;
    unsigned status;
    uint64_t made_ms;
};

struct http {
    uv_loop_t *loop;
    struct http_listen *listen;
    struct MHD_Daemon *daemon;
    uv_poll_t accept_poll;
    uv_poll_t run_poll;
    uv_timer_t run_timer;  /* libmicrohttpd has more to do at once */
    uv_timer_t look_timer; /* for clients that are too slow; only while there are any */
    int open_handles;
    bool accepting;
    struct client *clients;
    unsigned client_count;
    struct served served[HTTP_PAGES_MAX + 1]; /* the last one is all other paths */
    size_t served_count;
    uint64_t slow;
};

static void run(struct http *http);

/* ---- answering ---- */

static struct MHD_Response *make_response(struct buffer *body, const char *type)
{
    static const char *const headers[][2] = {
        {"Cache-Control", "no-store"},
        {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Referrer-Policy", "no-referrer"},
        {"X-Content-Type-Options", "nosniff"},
    };
    struct MHD_Response *response = memory_check(
        MHD_create_response_from_buffer(body->length, body->data, MHD_RESPMEM_MUST_FREE));

    *body = (struct buffer){0};
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
    return response;
}

static void count(struct served *served, unsigned status)
{
    for (size_t i = 0; i < STATUSES; i++) {
        if (statuses[i] == status)
            served->answers[i]++;
    }
}

static struct served *find_served(struct http *http, const char *path)
{
    for (size_t i = 0; i < http->served_count; i++) {
        if (strcmp(http->served[i].page.path, path) == 0)
            return &http->served[i];
    }
    return &http->served[HTTP_PAGES_MAX];
}

static enum MHD_Result refuse(struct MHD_Connection *connection, struct served *served,
                              unsigned status, const char *sentence)
{
    struct buffer body = {0};
    struct MHD_Response *response;
    enum MHD_Result result;

    buffer_text(&body, sentence);
    response = make_response(&body, PLAIN_TEXT);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    count(served, status);
    return result;
}

static enum MHD_Result refuse_path(struct http *http, struct MHD_Connection *connection,
                                   struct served *served)
{
    struct buffer sentence = {0};
    enum MHD_Result result;

    buffer_text(&sentence, "There is nothing here. There are:");
    for (size_t i = 0; i < http->served_count; i++) {
        buffer_text(&sentence, " ");
        buffer_text(&sentence, http->served[i].page.path);
    }
    buffer_append(&sentence, "\n", 2); /* and its NUL */
    result = refuse(connection, served, MHD_HTTP_NOT_FOUND, sentence.data);
    buffer_clear(&sentence);
    return result;
}

static void make_page(struct http *http, struct served *served)
{
    struct buffer body = {0};

    if (served->response != NULL) {
        if (served->made_ms == uv_now(http->loop))
            return;
        MHD_destroy_response(served->response);
    }
    served->status = served->page.make(served->page.cookie, &body);
    served->response = make_response(&body, served->page.type);
    served->made_ms = uv_now(http->loop);
}

/*
 * A page of the web whose name was made to point to this host would have its own name here. A
 * request without Host (HTTP/1.0) comes from no browser.
 */
static bool host_is_ours(const char *host)
{
    char name[INET_ADDRSTRLEN];
    struct in_addr four;
    size_t length;

    if (host == NULL)
        return true;
    if (host[0] == '[')
        return strncmp(host, "[::1]", 5) == 0 && (host[5] == '\0' || host[5] == ':');
    length = strcspn(host, ":");
    if (length == 0 || length >= sizeof(name))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    return strcasecmp(name, "localhost") == 0 ||
           (inet_pton(AF_INET, name, &four) == 1 && ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET);
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (length != NULL && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                       MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

/* Called once with the headers, and again when the request is complete. */
static enum MHD_Result on_request(void *cookie, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **state)
{
    struct http *http = cookie;
    struct served *served = find_served(http, path);

    (void)version;
    (void)upload_data;
    (void)upload_data_size;
    if (*state == NULL) {
        *state = http;
        /* What is refused here ends the connection: nothing more of it is read. */
        if (http->listen->tcp &&
            !host_is_ours(MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host")))
            return refuse(connection, served, MHD_HTTP_FORBIDDEN,
                          "The header Host does not name this host.\n");
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
            return refuse(connection, served, MHD_HTTP_METHOD_NOT_ALLOWED,
                          "Only GET and HEAD are served.\n");
        if (has_body(connection))
            return refuse(connection, served, MHD_HTTP_CONTENT_TOO_LARGE,
                          "A request has no body here.\n");
        return MHD_YES;
    }
    if (served->page.make == NULL)
        return refuse_path(http, connection, served);
    make_page(http, served);
    count(served, served->status);
    return MHD_queue_response(connection, served->status, served->response);
}

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static void on_answered(void *cookie, struct MHD_Connection *connection, void **state,
                        enum MHD_RequestTerminationCode how)
{
    struct client *client = client_of(connection);

    (void)cookie;
    (void)how;
    *state = NULL;
    if (client != NULL)
        client->since_ms = uv_now(client->http->loop);
}

/* ---- clients ---- */

static void on_look(uv_timer_t *timer);

static void update_accepting(struct http *http);

static void on_client(void *cookie, struct MHD_Connection *connection, void **state,
                      enum MHD_ConnectionNotificationCode what)
{
    struct http *http = cookie;
    struct client *client = *state;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        client = memory_zeroed(sizeof(*client));
        client->http = http;
        client->fd =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        client->since_ms = uv_now(http->loop);
        client->next = http->clients;
        if (client->next != NULL)
            client->next->previous = client;
        http->clients = client;
        http->client_count++;
        *state = client;
        return;
    }
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        http->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    http->client_count--;
    *state = NULL;
    free(client);
}

/* It sends no more. In the middle of a request libmicrohttpd does not see that. */
static bool has_ended(const struct client *client)
{
    struct pollfd look = {.fd = client->fd, .events = POLLRDHUP};

    return poll(&look, 1, 0) > 0;
}

static void on_look(uv_timer_t *timer)
{
    struct http *http = timer->data;
    uint64_t now = uv_now(http->loop);
    bool crowded = http->client_count == CONNECTIONS_MAX;

    /*
     * libmicrohttpd's own limit begins anew with each byte, so that one who sends a byte now and
     * then could stay for hours. One who is shut out here is found gone by it.
     */
    for (struct client *client = http->clients; client != NULL; client = client->next) {
        uint64_t patience = crowded || has_ended(client) ? PATIENCE_SHORT_MS : PATIENCE_MS;

        if (client->shut || now - client->since_ms <= patience)
            continue;
        client->shut = true;
        http->slow++;
        shutdown(client->fd, SHUT_RDWR);
    }
    if (http->client_count == 0)
        uv_timer_stop(timer);
    update_accepting(http);
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct http *http = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < TURN_ACCEPTS && http->client_count < CONNECTIONS_MAX; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof(address);
        int fd = accept4(http->listen->fd, (struct sockaddr *)&address, &size,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                break;
            /* No descriptor, or no memory: trying again at once would spin. */
            log_warning("cannot accept an HTTP client: %s", strerror(errno));
            uv_poll_stop(&http->accept_poll);
            http->accepting = false;
            break;
        }
        /* It closes the descriptor if it cannot take it. */
        if (MHD_add_connection(http->daemon, fd, (struct sockaddr *)&address, size) != MHD_YES)
            break;
    }
    if (!uv_is_active((uv_handle_t *)&http->look_timer))
        uv_timer_start(&http->look_timer, on_look, LOOK_MS, LOOK_MS);
    run(http);
}

/* Who finds no place waits in the kernel's queue. */
static void update_accepting(struct http *http)
{
    bool room = http->client_count < CONNECTIONS_MAX;

    if (room == http->accepting)
        return;
    http->accepting = room;
    if (room)
        uv_poll_start(&http->accept_poll, UV_READABLE, on_acceptable);
    else
        uv_poll_stop(&http->accept_poll);
}

/* ---- the server ---- */

static void on_run_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_runnable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG milliseconds;
    bool paused_for_lack = !http->accepting && http->client_count < CONNECTIONS_MAX;

    MHD_run(http->daemon);
    if (MHD_get_timeout(http->daemon, &milliseconds) == MHD_YES)
        uv_timer_start(&http->run_timer, on_run_timer, milliseconds, 0);
    else
        uv_timer_stop(&http->run_timer);
    /* After a lack of descriptors it is the timer that tries again. */
    if (!paused_for_lack)
        update_accepting(http);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *cookie, const char *format,
                                                         va_list arguments)
{
    char text[256];

    (void)cookie;
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_warning("HTTP: %s", text);
}

/* A path is compared as it was sent: nothing is hidden in it. */
static size_t keep_escapes(void *cookie, struct MHD_Connection *connection, char *text)
{
    (void)cookie;
    (void)connection;
    return strlen(text);
}

static int start_daemon(struct http *http)
{
    const union MHD_DaemonInfo *info;

    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
        http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_answered, http, MHD_OPTION_NOTIFY_CONNECTION, on_client,
        http, MHD_OPTION_END);
    if (http->daemon == NULL)
        return -1;
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info != NULL ? info->epoll_fd : -1;
}

struct http *http_new(uv_loop_t *loop, struct http_listen *listen, char why[ENDPOINT_WHY_SIZE])
{
    struct http *http = memory_zeroed(sizeof(*http));
    int epoll_fd = start_daemon(http);

    http->loop = loop;
    http->listen = listen;
    if (epoll_fd < 0 || uv_poll_init(loop, &http->run_poll, epoll_fd) != 0)
        goto error;
    http->run_poll.data = http;
    http->open_handles++;
    uv_timer_init(loop, &http->run_timer);
    http->run_timer.data = http;
    uv_timer_init(loop, &http->look_timer);
    http->look_timer.data = http;
    http->open_handles += 2;
    if (uv_poll_init(loop, &http->accept_poll, listen->fd) != 0) {
        http_close(http);
        goto error_why;
    }
    http->accept_poll.data = http;
    http->open_handles++;
    uv_poll_start(&http->run_poll, UV_READABLE, on_runnable);
    update_accepting(http);
    return http;

error:
    if (http->daemon != NULL)
        MHD_stop_daemon(http->daemon);
    http_listen_close(listen);
    free(http);
error_why:
    snprintf(why, ENDPOINT_WHY_SIZE, "cannot serve HTTP: libmicrohttpd or the loop refuses");
    return NULL;
}

void http_serve(struct http *http, const struct http_page *page)
{
    if (http->served_count == HTTP_PAGES_MAX)
        abort();
    http->served[http->served_count++].page = *page;
}

const char *http_at(const struct http *http)
{
    return http->listen->at;
}

static void tell_answers(const struct served *served, const char *path, struct metrics_page *page)
{
    for (size_t i = 0; i < STATUSES; i++) {
        char status[16];

        if (served->answers[i] == 0)
            continue;
        snprintf(status, sizeof(status), "%u", statuses[i]);
        metrics_count(page, served->answers[i], "path", path, "status", status, NULL);
    }
}

static void tell(void *cookie, struct metrics_page *page)
{
    const struct http *http = cookie;

    metrics_family(page, "coroner_http_requests_total", METRICS_COUNTER,
                   "Answers over HTTP before this one, by path and status.");
    for (size_t i = 0; i < http->served_count; i++)
        tell_answers(&http->served[i], http->served[i].page.path, page);
    tell_answers(&http->served[HTTP_PAGES_MAX], "other", page);
    metrics_family(page, "coroner_http_connections", METRICS_GAUGE,
                   "Clients that are connected over HTTP.");
    metrics_count(page, http->client_count, NULL);
    metrics_family(page, "coroner_http_connections_slow_total", METRICS_COUNTER,
                   "HTTP clients that were sent away for taking too long.");
    metrics_count(page, http->slow, NULL);
}

void http_tell(struct http *http, struct metrics *metrics)
{
    metrics_collect(metrics, tell, http);
}

static void on_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;

    if (--http->open_handles > 0)
        return;
    http_listen_close(http->listen);
    free(http);
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    /* The polls first: they watch descriptors that go with the rest. */
    uv_close((uv_handle_t *)&http->run_poll, on_closed);
    uv_close((uv_handle_t *)&http->run_timer, on_closed);
    uv_close((uv_handle_t *)&http->look_timer, on_closed);
    if (http->open_handles == 4)
        uv_close((uv_handle_t *)&http->accept_poll, on_closed);
    for (size_t i = 0; i < http->served_count; i++) {
        if (http->served[i].response != NULL)
            MHD_destroy_response(http->served[i].response);
    }
    MHD_stop_daemon(http->daemon);
}
