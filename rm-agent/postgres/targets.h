/*
 * rm-agent/postgres/targets.h - where a conninfo leads to: hosts, that are tried one after the
 * other.
 *
 * libpq would look up names itself, and wait for it. So we take its list of hosts apart, as it
 * reads it - service files, PGHOST and its defaults included -, have each name looked up when its
 * turn has come, and give libpq one address at a time, with the name beside it for TLS and
 * passwords. Each has a share of the time that there is, so that a silent host does not use up all
 * of it.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_TARGETS_H
#define ASSENT_RM_AGENT_POSTGRES_TARGETS_H

#include "common/lookup.h"

struct targets; /* those that have not been tried yet */

/* For libpq: NULL is what the conninfo says, or nothing. */
struct target {
    const char *host, *hostaddr, *port;
};

/* Reads where the conninfo leads to at this moment. One that libpq cannot read leads to libpq's
 * default, and libpq says why when it is to connect. */
struct targets *targets_read(const char *conninfo);
/* targets may be NULL. */
void targets_free(struct targets *targets);
/* How many there are. */
uint32_t targets_left(const struct targets *targets);
/* The name of the next one's host, if it has to be looked up first; else NULL. */
const char *targets_name(const struct targets *targets);
/* It has been: the addresses take the name's place. */
void targets_found(struct targets *targets, const struct addresses *found);
/* The next one, which is then tried: out is valid until the next call. */
void targets_take(struct targets *targets, struct target *out);
/* The next one is passed over. */
void targets_skip(struct targets *targets);

#endif
