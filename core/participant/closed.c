/*
 * core/participant/closed.c - which transactions of a coordinator's start are over at this agent.
 */
#include "core/participant/closed.h"

#include <string.h>

static uint64_t *word_of(struct closed *closed, uint64_t sequence)
{
    return &closed->bits[sequence % CLOSED_SPAN / 64];
}

static uint64_t bit_of(uint64_t sequence)
{
    return UINT64_C(1) << sequence % 64;
}

void closed_clear(struct closed *closed)
{
    memset(closed, 0, sizeof *closed);
}

/* The places of those that fall out are given to newer ones. */
static void move_up(struct closed *closed, uint64_t newest)
{
    if (newest - closed->newest >= CLOSED_SPAN) {
        memset(closed->bits, 0, sizeof closed->bits);
        closed->newest = newest;
    }
    while (closed->newest < newest) {
        closed->newest++;
        *word_of(closed, closed->newest) &= ~bit_of(closed->newest);
    }
}

void closed_note(struct closed *closed, uint64_t sequence)
{
    if (sequence > closed->newest)
        move_up(closed, sequence);
    if (closed->newest - sequence < CLOSED_SPAN)
        *word_of(closed, sequence) |= bit_of(sequence);
}

bool closed_has(const struct closed *closed, uint64_t sequence)
{
    if (sequence > closed->newest)
        return false;
    if (closed->newest - sequence >= CLOSED_SPAN)
        return true;
    return (closed->bits[sequence % CLOSED_SPAN / 64] & bit_of(sequence)) != 0;
}
