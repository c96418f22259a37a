/*
 * core/participant/closed.h - which transactions of a coordinator's start are over at this agent.
 *
 * A branch whose session has ended gets no second one: half of its work would be gone, and an order
 * that is late could commit the other half. Whoever forgets a branch notes its transaction here, by
 * a bit. As numbers are given out in order, the bits of the newest are kept, and all older ones
 * count as over: so the memory is bounded, and what it forgets it says no to.
 */
#ifndef ASSENT_CORE_PARTICIPANT_CLOSED_H
#define ASSENT_CORE_PARTICIPANT_CLOSED_H

#include "core/base/ids.h"

#ifdef ASSENT_SIMULATOR
enum { CLOSED_SPAN = 64 }; /* so that it is passed in a night */
#else
enum { CLOSED_SPAN = 4 * 1024 * 1024 }; /* transactions; 512 KiB */
#endif

struct closed {
    uint64_t newest; /* that was noted */
    uint64_t bits[CLOSED_SPAN / 64];
};

/* A new start of the coordinator: its numbers begin anew. */
void closed_clear(struct closed *closed);
/* The transaction of this number is over. */
void closed_note(struct closed *closed, uint64_t sequence);
/* Is it over, or so old that it counts as such? */
bool closed_has(const struct closed *closed, uint64_t sequence);

#endif
