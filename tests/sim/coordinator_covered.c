/*
 * tests/sim/coordinator_covered.c - core/coordinator/coordinator.c as it is, and a way to ask its
 * table.
 */
#include "core/coordinator/coordinator.c"

#include "tests/sim/coverage.h"

bool coordinator_cell_possible(unsigned row, unsigned column)
{
    return moves[row][column] != IMPOSSIBLE;
}

bool coordinator_idle(const struct coordinator *coordinator, const struct gtrid *gtrid,
                      unsigned event)
{
    uint32_t at = live_find(&coordinator->live, gtrid->incarnation, gtrid->sequence);
    enum txn_state state = at == NO_ITEM ? TXN_NONE : coordinator->live.txns[at].state;
    return moves[state][event] == IGNORE || moves[state][event] == REFUSE;
}
