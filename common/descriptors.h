/*
 * common/descriptors.h - how many files and connections the process may have open, and who gets
 * them.
 *
 * Whoever connects may not take what the daemon itself needs to live: its log's next file, its own
 * connections. The kernel gives the lowest number that is free, so that a descriptor below a bound
 * says that there are no more than so many, and nobody has to count.
 */
#ifndef ASSENT_COMMON_DESCRIPTORS_H
#define ASSENT_COMMON_DESCRIPTORS_H

#include <stdint.h>

#include "common/error.h"

/* Raises the soft limit of open files to the hard one, or to 65536 if that is lower. Call it before
 * anything else. Returns the limit. */
uint32_t descriptors_raise(void);

/* What is left for those who connect. */
struct descriptors {
    uint32_t limit; /* of open files */
    uint32_t bound; /* connections have numbers below this one */
    uint32_t room;  /* about so many connections */
};

/* Call it when all is open but the connections. kept: what the process opens itself from now on.
 * Returns -1 with *error, which names the limit, if fewer than 16 connections would be possible;
 * the caller's hint says what `kept` is made of. */
int descriptors_plan(struct descriptors *out, uint32_t kept, struct error *error);

#endif
