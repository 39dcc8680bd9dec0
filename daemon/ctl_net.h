/*
 * Sockets with a deadline: every operation ends by a point in time, however slowly the peer drips.
 */
#ifndef CORONER_CTL_NET_H
#define CORONER_CTL_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/**
 * ctl_net_now():
 * Return the milliseconds of a clock that is never set.
 */
int64_t ctl_net_now(void);

/**
 * ctl_net_connect(fd, address, length, deadline):
 * Connect the non-blocking socket ${fd} to ${address} by ${deadline}, as ctl_net_now tells the
 * time. Return 0 or an errno value.
 */
int ctl_net_connect(int fd, const struct sockaddr *address, socklen_t length, int64_t deadline);

/**
 * ctl_net_read(fd, buffer, size, deadline, got):
 * Read 1 to ${size} bytes from the socket ${fd} and put how many into ${got}; 0 at the end of the
 * stream. Return 0 or an errno value, ETIMEDOUT once the ${deadline} has passed.
 */
int ctl_net_read(int fd, void *buffer, size_t size, int64_t deadline, size_t *got);

/**
 * ctl_net_read_all(fd, buffer, size, deadline):
 * Read exactly ${size} bytes. Return 0 or an errno value; ECONNRESET where the stream ended before.
 */
int ctl_net_read_all(int fd, void *buffer, size_t size, int64_t deadline);

/**
 * ctl_net_write_all(fd, bytes, length, deadline):
 * Write all ${length} ${bytes} to the socket ${fd}. Return 0 or an errno value.
 */
int ctl_net_write_all(int fd, const void *bytes, size_t length, int64_t deadline);

#endif
