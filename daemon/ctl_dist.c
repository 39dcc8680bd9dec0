#include "ctl_dist.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ctl_epmd.h"
#include "ctl_net.h"

#define PASS_THROUGH 112
#define VERSION_MAGIC 131
#define CONTROL_SEND 2

/* libei's socket: how far the handshake came, by when it must be over, and why it failed. */
struct link {
    int fd;
    int64_t deadline;
    int error;       /* errno value of what failed; ECONNRESET at the end of the stream */
    int writes;      /* what libei has sent: 1 its name, 2 the answer to the challenge */
    int reads;       /* what it has got since it sent last */
    size_t kept;     /* bytes of ... */
    char status[64]; /* ... the first thing the node said: a length of 2 bytes, "s", its status */
};

struct ctl_dist {
    char node[MAXATOMLEN + 1];
    ei_cnode self;
    struct link link;
    int fd; /* what libei calls the connection; -1 before */
    unsigned char *message;
};

static int link_socket(void **context, void *setup)
{
    struct link *link = setup;

    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *context = link;
    return link->fd < 0 ? (link->error = errno) : 0;
}

static int link_close(void *context)
{
    struct link *link = context;

    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    return 0;
}

static int link_listen(void *context, void *address, int *length, int backlog)
{
    (void)context, (void)address, (void)length, (void)backlog;
    return ENOTSUP;
}

static int link_accept(void **context, void *address, int *length, unsigned timeout)
{
    (void)context, (void)address, (void)length, (void)timeout;
    return ENOTSUP;
}

static int link_connect(void *context, void *address, int length, unsigned timeout)
{
    struct link *link = context;

    (void)timeout;
    link->error = ctl_net_connect(link->fd, address, (socklen_t)length, link->deadline);
    return link->error;
}

static int link_write(void *context, const char *bytes, ssize_t *length, unsigned timeout)
{
    struct link *link = context;

    (void)timeout;
    link->error = ctl_net_write_all(link->fd, bytes, (size_t)*length, link->deadline);
    link->writes++;
    link->reads = 0;
    return link->error;
}

static int link_read(void *context, char *buffer, ssize_t *length, unsigned timeout)
{
    struct link *link = context;
    size_t got = 0;

    (void)timeout;
    if (ctl_net_now() > link->deadline)
        return link->error = ETIMEDOUT;
    link->error = ctl_net_read(link->fd, buffer, (size_t)*length, link->deadline, &got);
    if (link->error != 0)
        return link->error;
    *length = (ssize_t)got;
    link->reads++;
    if (got == 0)
        link->error = ECONNRESET;
    for (size_t i = 0; i < got && link->kept < sizeof(link->status); i++)
        link->status[link->kept++] = buffer[i];
    return 0;
}

static int link_header_size(void *context, int *size)
{
    (void)context;
    *size = 2;
    return 0;
}

static int link_complete(void *context)
{
    struct link *link = context;
    int on = 1;

    if (setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        return link->error = errno;
    return 0;
}

static int link_fd(void *context, int *fd)
{
    struct link *link = context;

    *fd = link->fd;
    return link->fd >= 0 ? 0 : EBADF;
}

static ei_socket_callbacks callbacks = {
    .flags = EI_SCLBK_FLG_FULL_IMPL,
    .socket = link_socket,
    .close = link_close,
    .listen = link_listen,
    .accept = link_accept,
    .connect = link_connect,
    .writev = NULL,
    .write = link_write,
    .read = link_read,
    .handshake_packet_header_size = link_header_size,
    .connect_handshake_complete = link_complete,
    .accept_handshake_complete = link_complete,
    .get_fd = link_fd,
};

enum ctl_exit ctl_dist_check_name(const char *node)
{
    const char *at = strchr(node, '@');

    if (at == NULL || at == node || at[1] == '\0' || strchr(at + 1, '@') != NULL) {
        CTL_COMPLAIN("'", node,
                     "' is no name of a node: it is NAME@HOST, as node() shows it there");
        return CTL_USAGE;
    }
    if (strlen(node) >= MAXATOMLEN) {
        CTL_COMPLAIN("'", node, "' is no name of a node: it is longer than 255 bytes");
        return CTL_USAGE;
    }
    for (const char *c = node; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '/') {
            CTL_COMPLAIN("'", node, "' is no name of a node: it holds a character that none has");
            return CTL_USAGE;
        }
    }
    return CTL_OK;
}

/* Find the IPv4 address of ${host} for ${node}. Return CTL_OK or the code after saying why not. */
static enum ctl_exit resolve(const char *node, const char *host, struct in_addr *address)
{
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char own[HOST_NAME_MAX + 1] = "";

    int error = getaddrinfo(host, NULL, &wanted, &found);
    if (error == 0) {
        struct sockaddr_in first;
        memcpy(&first, found->ai_addr, sizeof(first));
        *address = first.sin_addr;
        freeaddrinfo(found);
        return CTL_OK;
    }
    /* A machine that does not resolve its own name still has nodes on it. */
    if (gethostname(own, sizeof(own) - 1) == 0) {
        bool same = strcmp(own, host) == 0;
        own[strcspn(own, ".")] = '\0';
        if (same || strcmp(own, host) == 0) {
            address->s_addr = htonl(INADDR_LOOPBACK);
            return CTL_OK;
        }
    }
    CTL_COMPLAIN("cannot find the host '", host, "' of the node ", node, ": ", gai_strerror(error),
                 "; give the node's name as node() shows it there");
    return CTL_UNAVAILABLE;
}

/* Ask epmd at ${address} for the port of ${node}. Return CTL_OK or the code after saying why not.
 */
static enum ctl_exit find_port(const char *node, const char *host, struct in_addr address,
                               uint16_t *port)
{
    char alive[MAXATOMLEN + 1];
    char names[512];
    char place[INET_ADDRSTRLEN + 8];
    int error = 0;
    size_t length = strcspn(node, "@");

    memcpy(alive, node, length);
    alive[length] = '\0';
    inet_ntop(AF_INET, &address, names, sizeof(names));
    snprintf(place, sizeof(place), "%.15s:%u", names, (unsigned)ctl_epmd_port());
    switch (ctl_epmd_find(address, alive, ctl_net_now() + CTL_DIST_CONNECT_MS, port, &error)) {
    case CTL_EPMD_FOUND:
        return CTL_OK;
    case CTL_EPMD_UNKNOWN:
        ctl_epmd_names(address, ctl_net_now() + CTL_DIST_CONNECT_MS, names, sizeof(names));
        CTL_COMPLAIN("epmd on ", host, " (", place, ") knows no node '", alive, "'; it knows ",
                     names[0] != '\0' ? names : "none",
                     ". Is the node running, with -sname or -name?");
        return CTL_UNAVAILABLE;
    case CTL_EPMD_UNREACHABLE:
        CTL_COMPLAIN(
            "cannot reach epmd on ", host, " (", place, "): ", strerror(error),
            ". It starts with the first node that has -sname or -name; for another port than "
            "4369 set ERL_EPMD_PORT");
        return CTL_UNAVAILABLE;
    case CTL_EPMD_GARBAGE:
        break;
    }
    CTL_COMPLAIN("what listens on ", host, " (", place,
                 ") is no epmd; for another port than 4369 set ERL_EPMD_PORT");
    return CTL_UNAVAILABLE;
}

/* Say why the handshake with ${dist}'s node failed. Return the code to end with. */
static enum ctl_exit explain_handshake(const struct ctl_dist *dist)
{
    const struct link *link = &dist->link;
    char status[sizeof(link->status) + 1] = "";

    if (link->writes == 0) {
        CTL_COMPLAIN("epmd knows the node ", dist->node,
                     ", but its port does not answer: ", strerror(link->error),
                     ". Is it just stopping?");
        return CTL_UNAVAILABLE;
    }
    if (link->error == ETIMEDOUT) {
        CTL_COMPLAIN("the node ", dist->node,
                     " took the connection, but does not answer: it is stopped or overloaded");
        return CTL_UNAVAILABLE;
    }
    if (link->writes >= 2) {
        CTL_COMPLAIN("the node ", dist->node,
                     " rejected the cookie. Give the one that erlang:get_cookie() shows there: "
                     "--cookie-file FILE, or the variable CORONER_COOKIE, or ~/.erlang.cookie");
        return CTL_NOPERM;
    }
    if (link->kept > 3 && link->status[2] == 's') {
        memcpy(status, link->status + 3, link->kept - 3);
        size_t said =
            (size_t)((unsigned char)link->status[0] << 8 | (unsigned char)link->status[1]);
        if (said > 0 && said - 1 < link->kept - 3)
            status[said - 1] = '\0';
    }
    if (strcmp(status, "not_allowed") == 0) {
        CTL_COMPLAIN("the node ", dist->node,
                     " allows only the nodes it was told of (net_kernel:allow/1)");
        return CTL_NOPERM;
    }
    if (status[0] != '\0' && strcmp(status, "ok") != 0) {
        CTL_COMPLAIN("the node ", dist->node, " refused the connection: ", status, "");
        return CTL_UNAVAILABLE;
    }
    CTL_COMPLAIN(
        "the node ", dist->node,
        " broke off the handshake: it speaks another distribution than plain TCP (TLS?), or is "
        "older than OTP 23");
    return CTL_UNAVAILABLE;
}

/* Give ${dist} a name of its own, in the style of the host part ${host}. Return 0 or -1. */
static int name_self(struct ctl_dist *dist, const char *host, const char *cookie)
{
    char own[HOST_NAME_MAX + 1] = "";
    char alive[64];
    char name[MAXATOMLEN + 1];
    uint32_t random[2];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -1;
    if (gethostname(own, sizeof(own) - 1) != 0 || own[0] == '\0')
        snprintf(own, sizeof(own), "localhost");
    if (strchr(host, '.') == NULL)
        own[strcspn(own, ".")] = '\0';
    snprintf(alive, sizeof(alive), "coronerctl-%ld-%08x", (long)getpid(), random[0]);
    snprintf(name, sizeof(name), "%s@%s", alive, own);
    return ei_connect_xinit_ussi(&dist->self, own, alive, name, NULL, cookie, random[1], &callbacks,
                                 sizeof(callbacks), &dist->link);
}

enum ctl_exit ctl_dist_connect(const char *node, const char *cookie, struct ctl_dist **dist)
{
    struct in_addr address;
    uint16_t port;

    enum ctl_exit result = ctl_dist_check_name(node);
    if (result != CTL_OK)
        return result;
    const char *host = strchr(node, '@') + 1;
    result = resolve(node, host, &address);
    if (result == CTL_OK)
        result = find_port(node, host, address, &port);
    if (result != CTL_OK)
        return result;

    struct ctl_dist *made = calloc(1, sizeof(*made));
    if (made == NULL || (made->message = malloc(CTL_DIST_ANSWER_MAX)) == NULL) {
        CTL_COMPLAIN("out of memory");
        free(made);
        return CTL_SOFTWARE;
    }
    made->fd = -1;
    made->link.fd = -1;
    snprintf(made->node, sizeof(made->node), "%s", node);
    if (ei_init() != 0 || name_self(made, host, cookie) != 0) {
        CTL_COMPLAIN("cannot set up a node to connect to ", node, " with");
        ctl_dist_close(made);
        return CTL_SOFTWARE;
    }
    made->link.deadline = ctl_net_now() + CTL_DIST_CONNECT_MS;
    made->fd = ei_xconnect_host_port_tmo(&made->self, &address, port, CTL_DIST_CONNECT_MS);
    if (made->fd < 0) {
        result = explain_handshake(made);
        ctl_dist_close(made);
        return result;
    }
    *dist = made;
    return CTL_OK;
}

/*
 * Read the next message of the node that is for us into ${message}. Return 0, or an errno value:
 * EBADMSG for what is no message, EMSGSIZE for one that is too long.
 */
static int receive(struct ctl_dist *dist, struct ctl_term *message)
{
    static const unsigned char tick[4];
    unsigned char header[4];

    for (;;) {
        struct ctl_term control;
        struct ctl_term operation;
        long long number;

        int error = ctl_net_read_all(dist->fd, header, sizeof(header), dist->link.deadline);
        if (error != 0)
            return error;
        size_t length = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 |
                        (size_t)header[3];
        if (length == 0) { /* the node asks whether we still live */
            error = ctl_net_write_all(dist->fd, tick, sizeof(tick), dist->link.deadline);
            if (error != 0)
                return error;
            continue;
        }
        if (length > CTL_DIST_ANSWER_MAX)
            return EMSGSIZE;
        error = ctl_net_read_all(dist->fd, dist->message, length, dist->link.deadline);
        if (error != 0)
            return error;

        /* 'p', the version, the control tuple, the version, the message */
        if (length < 3 || dist->message[0] != PASS_THROUGH || dist->message[1] != VERSION_MAGIC ||
            ctl_term_take(dist->message + 2, length - 2, &control) != 0 ||
            ctl_term_element(control, -1, 0, &operation) != 0 ||
            ctl_term_integer(operation, &number) != 0)
            return EBADMSG;
        if (number != CONTROL_SEND)
            continue;
        size_t at = 2 + control.length;
        if (at >= length || dist->message[at] != VERSION_MAGIC ||
            ctl_term_take(dist->message + at + 1, length - at - 1, message) != 0)
            return EBADMSG;
        return 0;
    }
}

/* Send the request for the call to the node. Return 0 or an errno value. */
static int send_call(struct ctl_dist *dist, const char *module, const char *function,
                     const ei_x_buff *arguments)
{
    ei_x_buff request;
    int error = ENOMEM;

    if (ei_x_new_with_version(&request) != 0)
        return ENOMEM;
    /* {Self, {call, Module, Function, Arguments, user}} */
    if (ei_x_encode_tuple_header(&request, 2) == 0 &&
        ei_x_encode_pid(&request, ei_self(&dist->self)) == 0 &&
        ei_x_encode_tuple_header(&request, 5) == 0 && ei_x_encode_atom(&request, "call") == 0 &&
        ei_x_encode_atom(&request, module) == 0 && ei_x_encode_atom(&request, function) == 0 &&
        ei_x_append(&request, arguments) == 0 && ei_x_encode_atom(&request, "user") == 0) {
        char server[] = "rex";
        dist->link.error = 0;
        if (ei_reg_send_tmo(&dist->self, dist->fd, server, request.buff, request.index,
                            CTL_DIST_CALL_MS) == 0)
            error = 0;
        else
            error = dist->link.error != 0 ? dist->link.error : EIO;
    }
    ei_x_free(&request);
    return error;
}

enum ctl_exit ctl_dist_call(struct ctl_dist *dist, const char *module, const char *function,
                            const ei_x_buff *arguments, struct ctl_term *answer)
{
    char called[128];
    struct ctl_term message;
    struct ctl_term name;
    struct ctl_term reason;

    snprintf(called, sizeof(called), "%s:%s", module, function);
    dist->link.deadline = ctl_net_now() + CTL_DIST_CALL_MS;
    int error = send_call(dist, module, function, arguments);
    while (error == 0) {
        error = receive(dist, &message);
        if (error == 0 && ctl_term_element(message, 2, 0, &name) == 0 &&
            ctl_term_is_atom(name, "rex") && ctl_term_element(message, 2, 1, answer) == 0)
            break;
    }
    switch (error) {
    case 0:
        break;
    case ETIMEDOUT:
        CTL_COMPLAIN("the node ", dist->node, " did not answer ", called,
                     " within 60 seconds; it may still be at work on it");
        return CTL_TEMPFAIL;
    case ECONNRESET:
    case EPIPE:
        CTL_COMPLAIN("the node ", dist->node, " closed the connection during ", called,
                     ": it has stopped, or was stopped");
        return CTL_UNAVAILABLE;
    case EBADMSG:
    case EMSGSIZE:
        CTL_COMPLAIN("the node ", dist->node, " answered ", called,
                     error == EBADMSG ? " with something that is no message of a node"
                                      : " with more than a megabyte");
        return CTL_SOFTWARE;
    default:
        CTL_COMPLAIN("the connection to the node ", dist->node, " failed during ", called, ": ",
                     strerror(error));
        return CTL_UNAVAILABLE;
    }

    if (ctl_term_element(*answer, 2, 0, &name) == 0 && ctl_term_is_atom(name, "badrpc") &&
        ctl_term_element(*answer, 2, 1, &reason) == 0) {
        struct ctl_text shown;
        ctl_text_init(&shown, (struct ctl_look){.utf8 = ctl_locale_is_utf8(), .colour = false});
        ctl_term_show(&shown, reason);
        CTL_COMPLAIN(called, "", " failed in the node ", dist->node, ": ", ctl_text_string(&shown));
        ctl_text_free(&shown);
        return CTL_SOFTWARE;
    }
    return CTL_OK;
}

const char *ctl_dist_node(const struct ctl_dist *dist)
{
    return dist->node;
}

void ctl_dist_close(struct ctl_dist *dist)
{
    if (dist == NULL)
        return;
    if (dist->fd >= 0)
        ei_close_connection(dist->fd);
    free(dist->message);
    free(dist);
}
