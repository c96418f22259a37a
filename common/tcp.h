/*
 * common/tcp.h - TCP connections that notice when the other host has gone silent.
 *
 * A host that loses its power or its cable says nothing, and TCP by itself waits for a quarter of
 * an hour, or for ever if it has nothing to send. With these a connection ends with an error within
 * 20 seconds: what was sent is not acknowledged, or nothing came and a probe is not answered.
 * For daemons and libraries alike.
 */
#ifndef ASSENT_COMMON_TCP_H
#define ASSENT_COMMON_TCP_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum {
    TCP_SILENT_MS = 15 * 1000, /* unacknowledged; it is then that a probe is given up, too */
    TCP_PROBE_AFTER_S = 10,
    TCP_PROBE_EACH_S = 5,
    TCP_PROBES = 3,
};

/* The same as libpq's options, for connections to PostgreSQL. */
#define TCP_SILENT_TEXT      "15000"
#define TCP_PROBE_AFTER_TEXT "10"
#define TCP_PROBE_EACH_TEXT  "5"
#define TCP_PROBES_TEXT      "3"

/* Of a socket that connects, or listens: those that it accepts are like it. A system that refuses
 * one of them is left with its own. Requests are small and each waits for its answer, so they leave
 * at once. */
static inline void tcp_set_up(int fd)
{
    const int on = 1, silent_ms = TCP_SILENT_MS;
    const int after_s = TCP_PROBE_AFTER_S, each_s = TCP_PROBE_EACH_S, probes = TCP_PROBES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &after_s, sizeof after_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each_s, sizeof each_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof silent_ms);
}

#endif
