#include "ctl_epmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_net.h"

#define PORT_PLEASE2 122
#define PORT2_RESPONSE 119
#define NAMES 110
#define ALIVE_MAX 255
#define ANSWER_MAX 16384 /* bytes of the list of names that are read */

uint16_t ctl_epmd_port(void)
{
    const char *value = getenv("ERL_EPMD_PORT");

    if (value != NULL) {
        char *end;
        long port = strtol(value, &end, 10);
        if (end != value && *end == '\0' && port > 0 && port < 65536)
            return (uint16_t)port;
    }
    return 4369;
}

/* Connect to the epmd on ${host}. Return a socket, or -1 with an errno value in ${error}. */
static int connect_epmd(struct in_addr host, int64_t deadline, int *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        *error = errno;
        return -1;
    }
    address.sin_addr = host;
    address.sin_port = htons(ctl_epmd_port());
    *error = ctl_net_connect(fd, (const struct sockaddr *)&address, sizeof(address), deadline);
    if (*error != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

enum ctl_epmd_answer ctl_epmd_find(struct in_addr host, const char *alive, int64_t deadline,
                                   uint16_t *port, int *error)
{
    unsigned char request[3 + ALIVE_MAX];
    unsigned char answer[4];
    size_t length = strlen(alive);
    enum ctl_epmd_answer result = CTL_EPMD_GARBAGE;

    if (length > ALIVE_MAX)
        return CTL_EPMD_UNKNOWN;
    int fd = connect_epmd(host, deadline, error);
    if (fd < 0)
        return CTL_EPMD_UNREACHABLE;
    request[0] = (unsigned char)((length + 1) >> 8);
    request[1] = (unsigned char)((length + 1) & 0xff);
    request[2] = PORT_PLEASE2;
    memcpy(request + 3, alive, length);

    *error = ctl_net_write_all(fd, request, 3 + length, deadline);
    if (*error == 0)
        *error = ctl_net_read_all(fd, answer, 2, deadline);
    if (*error != 0)
        result = *error == ECONNRESET ? CTL_EPMD_GARBAGE : CTL_EPMD_UNREACHABLE;
    else if (answer[0] == PORT2_RESPONSE && answer[1] != 0)
        result = CTL_EPMD_UNKNOWN;
    else if (answer[0] == PORT2_RESPONSE && ctl_net_read_all(fd, answer, 2, deadline) == 0) {
        *port = (uint16_t)(answer[0] << 8 | answer[1]);
        result = CTL_EPMD_FOUND;
    }
    close(fd);
    return result;
}

void ctl_epmd_names(struct in_addr host, int64_t deadline, char *names, size_t size)
{
    static const unsigned char request[] = {0, 1, NAMES};
    char *answer = NULL;
    size_t length = 0;
    int error;

    names[0] = '\0';
    int fd = connect_epmd(host, deadline, &error);
    if (fd < 0)
        return;
    if ((answer = malloc(ANSWER_MAX)) == NULL ||
        ctl_net_write_all(fd, request, sizeof(request), deadline) != 0)
        goto done;
    while (length < ANSWER_MAX - 1) {
        size_t got;
        if (ctl_net_read(fd, answer + length, ANSWER_MAX - 1 - length, deadline, &got) != 0 ||
            got == 0)
            break;
        length += got;
    }
    if (length < 4)
        goto done;
    answer[length] = '\0';

    /* Four bytes of epmd's own port, then "name NAME at port N\n" for each. */
    size_t used = 0;
    for (const char *line = answer + 4; *line != '\0';) {
        size_t line_length = strcspn(line, "\n");
        if (strncmp(line, "name ", 5) == 0) {
            size_t name_length = strcspn(line + 5, " \n");
            if (used + name_length + 3 > size)
                break;
            if (used > 0) {
                memcpy(names + used, ", ", 2);
                used += 2;
            }
            memcpy(names + used, line + 5, name_length);
            used += name_length;
            names[used] = '\0';
        }
        line += line_length;
        if (*line == '\n')
            line++;
    }
done:
    free(answer);
    close(fd);
}
