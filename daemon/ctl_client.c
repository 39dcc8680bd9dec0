#include "ctl_client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ctl_json.h"
#include "ctl_net.h"

struct ctl_client {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int fd;
    json_int_t id; /* of the request that is being answered */
    bool follow;
    char *buffer;
    size_t capacity;
    size_t length;  /* bytes in the buffer */
    size_t scanned; /* of which this many are known to hold no newline */
};

static volatile sig_atomic_t stop_asked;

static void ask_stop(int number)
{
    (void)number;
    stop_asked = 1;
}

/* Say why the socket ${path} cannot be connected to. Return the code to end with. */
static enum ctl_exit explain_connect(const char *path, int error)
{
    switch (error) {
    case ENOENT:
        CTL_COMPLAIN("there is no query socket ", path,
                     ": start coronerd, or name its socket with --query SOCK");
        return CTL_UNAVAILABLE;
    case ECONNREFUSED:
        CTL_COMPLAIN("nobody listens on the query socket ", path,
                     ": coronerd has ended; start it again, or name its socket with --query SOCK");
        return CTL_UNAVAILABLE;
    case EACCES:
    case EPERM:
        CTL_COMPLAIN("you may not use the query socket ", path,
                     ": join the group it belongs to, or run coronerctl as root");
        return CTL_NOPERM;
    default:
        CTL_COMPLAIN("cannot connect to the query socket ", path, ": ", strerror(error), "");
        return error == EAGAIN || error == ETIMEDOUT ? CTL_TEMPFAIL : CTL_UNAVAILABLE;
    }
}

enum ctl_exit ctl_client_open(const char *path, struct ctl_client **client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path)) {
        CTL_COMPLAIN("the path of the query socket is longer than 107 bytes: ", path, "");
        return CTL_USAGE;
    }
    struct ctl_client *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        CTL_COMPLAIN("out of memory");
        return CTL_SOFTWARE;
    }
    memcpy(made->path, path, strlen(path) + 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = made->fd < 0
                    ? errno
                    : ctl_net_connect(made->fd, (const struct sockaddr *)&address, sizeof(address),
                                      ctl_net_now() + CTL_CLIENT_ANSWER_MS);
    if (error != 0) {
        ctl_client_close(made);
        return explain_connect(path, error);
    }
    *client = made;
    return CTL_OK;
}

enum ctl_exit ctl_client_ask(struct ctl_client *client, json_t *request)
{
    char *line = NULL;

    client->id++;
    if (request != NULL && json_object_set_new(request, "id", json_integer(client->id)) == 0)
        line = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (line == NULL) {
        CTL_COMPLAIN("the question holds text that is not UTF-8, or memory is out");
        return CTL_USAGE;
    }
    size_t length = strlen(line);
    line[length] = '\n'; /* in the place of the NUL: it is not a string any more */
    int error =
        ctl_net_write_all(client->fd, line, length + 1, ctl_net_now() + CTL_CLIENT_ANSWER_MS);
    free(line);
    /* Where it closed on us, it may have said why: reading will tell. */
    if (error == 0 || error == EPIPE || error == ECONNRESET)
        return CTL_OK;
    CTL_COMPLAIN("cannot write to the query socket ", client->path, ": ", strerror(error), "");
    return error == ETIMEDOUT ? CTL_TEMPFAIL : CTL_UNAVAILABLE;
}

void ctl_client_follow(struct ctl_client *client)
{
    struct sigaction action = {.sa_handler = ask_stop};
    sigset_t blocked;

    /* They are let through only while it waits: none is missed, and no output is torn. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    client->follow = true;
}

/* Wait for something to read. Return 0, an errno value, or ECANCELED when it is to stop. */
static int wait_following(const struct ctl_client *client)
{
    struct pollfd ready[] = {
        {.fd = client->fd, .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0}, /* tells when its reader has gone */
    };
    sigset_t none;
    sigset_t pending;

    sigemptyset(&none);
    for (;;) {
        /* While there always is something to read, no wait is interrupted. */
        if (stop_asked || (sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 ||
                                                         sigismember(&pending, SIGTERM) == 1)))
            return ECANCELED;
        int count = ppoll(ready, 2, NULL, &none);
        if (count < 0 && errno != EINTR)
            return errno;
        if (count > 0 && (ready[1].revents & POLLERR) != 0)
            return ECANCELED;
        if (count > 0 && ready[0].revents != 0)
            return 0;
    }
}

/* Make room in the buffer for more. Return 0, or an errno value: EMSGSIZE for too long a line. */
static int make_room(struct ctl_client *client)
{
    if (client->length < client->capacity)
        return 0;
    if (client->length >= CTL_CLIENT_LINE_MAX)
        return EMSGSIZE;
    size_t capacity = client->capacity == 0 ? 16384 : client->capacity * 2;
    char *grown = realloc(client->buffer, capacity);
    if (grown == NULL)
        return ENOMEM;
    client->buffer = grown;
    client->capacity = capacity;
    return 0;
}

/*
 * See to it that the buffer begins with a whole line, and put its length, with the newline, into
 * ${length}. Return 0 or an errno value; ECONNRESET at the end of the stream.
 */
static int fetch_line(struct ctl_client *client, size_t *length)
{
    int64_t deadline = ctl_net_now() + CTL_CLIENT_ANSWER_MS;

    for (;;) {
        if (client->length > client->scanned) {
            const char *newline =
                memchr(client->buffer + client->scanned, '\n', client->length - client->scanned);
            if (newline != NULL) {
                *length = (size_t)(newline - client->buffer) + 1;
                return 0;
            }
        }
        client->scanned = client->length;
        int error = make_room(client);
        if (error == 0 && client->follow)
            error = wait_following(client);
        if (error != 0)
            return error;
        size_t got = 0;
        error = ctl_net_read(client->fd, client->buffer + client->length,
                             client->capacity - client->length, deadline, &got);
        if (error != 0)
            return error;
        if (got == 0)
            return ECONNRESET;
        client->length += got;
    }
}

/* Say the error that the daemon answered with. Return the code to end with. */
static enum ctl_exit explain_error(const json_t *error)
{
    static const struct {
        const char *code;
        enum ctl_exit exit;
    } known[] = {
        {"bad_json", CTL_SOFTWARE},
        {"bad_request", CTL_USAGE},
        {"unknown_op", CTL_SOFTWARE},
        {"too_large", CTL_USAGE},
        {"too_many_requests", CTL_TEMPFAIL},
        {"too_many_connections", CTL_TEMPFAIL},
        {"timeout", CTL_TEMPFAIL},
        {"unavailable", CTL_UNAVAILABLE},
        {"denied", CTL_NOPERM},
    };
    const char *code = ctl_json_text(error, "code");
    const char *message = ctl_json_text(error, "message");
    const char *field = ctl_json_text(error, "field");

    CTL_COMPLAIN("coronerd answers: ",
                 message != NULL ? message
                 : code != NULL  ? code
                                 : "an error",
                 field != NULL ? " (" : "", field != NULL ? field : "", field != NULL ? ")" : "");
    for (size_t i = 0; code != NULL && i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].code, code) == 0)
            return known[i].exit;
    return CTL_SOFTWARE;
}

/* Say that the reply could not be read. Return the code to end with. */
static enum ctl_exit explain_read(const struct ctl_client *client, int error)
{
    switch (error) {
    case ECONNRESET:
    case EPIPE:
        CTL_COMPLAIN("coronerd on ", client->path,
                     client->follow ? " went away; start it again and then this"
                                    : " closed the connection before its reply was complete");
        return CTL_UNAVAILABLE;
    case ETIMEDOUT:
        CTL_COMPLAIN("coronerd on ", client->path,
                     " does not answer; is it stopped, or very busy? Try again later");
        return CTL_TEMPFAIL;
    case EMSGSIZE:
        CTL_COMPLAIN("what answers on ", client->path,
                     " sends a line longer than 4 MiB: it is no coronerd");
        return CTL_SOFTWARE;
    default:
        CTL_COMPLAIN("cannot read from the query socket ", client->path, ": ", strerror(error), "");
        return CTL_UNAVAILABLE;
    }
}

enum ctl_exit ctl_client_next(struct ctl_client *client, enum ctl_reply *reply, json_t **line)
{
    size_t length = 0;

    *line = NULL;
    int error = fetch_line(client, &length);
    if (error == ECANCELED) {
        *reply = CTL_REPLY_STOP;
        return CTL_OK;
    }
    if (error != 0)
        return explain_read(client, error);

    json_t *value =
        json_loadb(client->buffer, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    memmove(client->buffer, client->buffer + length, client->length - length);
    client->length -= length;
    client->scanned = 0;

    const json_t *id = json_object_get(value, "id");
    const json_t *failure = json_object_get(value, "error");
    const char *code = ctl_json_text(failure, "code");
    bool ours = json_is_integer(id) && json_integer_value(id) == client->id;
    if (ours && code != NULL && strcmp(code, "not_found") == 0) {
        *reply = CTL_REPLY_DONE;
        *line = value;
        return CTL_OK;
    }
    if (json_is_object(failure) && (ours || id == NULL || json_is_null(id))) {
        enum ctl_exit result = explain_error(failure);
        json_decref(value);
        return result;
    }
    if (!ours) {
        CTL_COMPLAIN("what answers on ", client->path, " does not speak coronerd's query protocol");
        json_decref(value);
        return CTL_SOFTWARE;
    }
    *reply = json_is_true(json_object_get(value, "done")) ? CTL_REPLY_DONE : CTL_REPLY_ITEM;
    *line = value;
    return CTL_OK;
}

void ctl_client_close(struct ctl_client *client)
{
    if (client == NULL)
        return;
    if (client->fd >= 0)
        close(client->fd);
    free(client->buffer);
    free(client);
}
