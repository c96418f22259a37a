/*
 * lib/sp.h - one connection that asks and is answered, as nng's REQ sockets do, without nng.
 *
 * What goes over the wire (nng's "SP" protocols, on a unix socket or TCP): each side opens with
 * eight bytes that name its protocol. A message is its length in eight bytes, on a unix socket
 * after a byte 1; a request begins with a number of four bytes whose top bit is set, and its reply
 * with the same number. All numbers are big-endian.
 *
 * One request at a time. Nothing here blocks (but looking up a host's name) or waits: the caller
 * polls sp's descriptor for sp's events.
 */
#ifndef ASSENT_LIB_SP_H
#define ASSENT_LIB_SP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ASSENT_SP_REPLY_MAX = 5 * 1024 * 1024, /* bytes; an agent's largest reply is smaller */
    ASSENT_SP_WHY_BYTES = 256,
};

struct assent_sp;

/* Is this ipc:///path or tcp://host:port? */
bool assent_sp_url_is_good(const char *url);

/* Begins to connect. Returns 0, or -1 with *why; *out ends with assent_sp_close(). */
int assent_sp_open(struct assent_sp **out, const char *url, char why[ASSENT_SP_WHY_BYTES]);
void assent_sp_close(struct assent_sp *sp);

/* Take a request, which is copied. Any earlier one must have been answered. Returns 0, or -1
 * without memory. */
int assent_sp_ask(struct assent_sp *sp, const char *bytes, size_t length);

enum assent_sp_progress {
    ASSENT_SP_WAITS = 0, /* poll, and step again */
    ASSENT_SP_ANSWERED,  /* take the reply */
    ASSENT_SP_FAILED,    /* the connection is of no more use: close it */
};

/* Goes on as far as it can without waiting; *why is filled when it fails. */
enum assent_sp_progress assent_sp_step(struct assent_sp *sp, char why[ASSENT_SP_WHY_BYTES]);
/* The reply, zero-terminated, the caller's to free(). */
char *assent_sp_take(struct assent_sp *sp, size_t *length);

int assent_sp_fd(const struct assent_sp *sp);
short assent_sp_events(const struct assent_sp *sp);
/* Has a byte of the request left? */
bool assent_sp_began(const struct assent_sp *sp);

#endif
