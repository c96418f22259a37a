/*
 * common/address.h - where a socket is: ipc:///path or tcp://host:port.
 */
#ifndef ASSENT_COMMON_ADDRESS_H
#define ASSENT_COMMON_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/host_port.h"

/* A unix socket: the URL begins with ipc://. */
bool address_is_local(const char *url);
/* Returns -1 with *error if the URL names no address: another kind, a path that is not absolute or
 * longer than 107 bytes, no port. */
int address_check(const char *url, struct error *error);

/* A listening socket that does not block. Refuses, beside address_check(): a path where there is
 * something else than a socket (a regular file is never deleted), a socket that another process
 * still serves, tcp on other than loopback. mode and group (NULL or "": none) are the socket
 * file's. Returns the descriptor, or -1 with *error. */
int address_listen(const char *url, uint32_t mode, const char *group, struct error *error);
/* Ends what address_listen() began: the socket file goes. */
void address_close(const char *url, int fd);

/* The name that has to be looked up before this can be dialled; false: none has. */
bool address_name(const char *url, char host[HOST_BYTES]);
/* A socket that does not block and connects, or is connected at once: it is writable when it is
 * either, or has failed. number: the address of the host, if the URL has its name; else NULL.
 * Returns the descriptor, or -1 with errno set. */
int address_dial(const char *url, const char *number);

#endif
