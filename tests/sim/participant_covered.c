/*
 * tests/sim/participant_covered.c - core/participant/participant.c as it is, and a way to ask its
 * table.
 */
#include "core/participant/participant.c"

#include "tests/sim/coverage.h"

bool participant_cell_possible(unsigned row, unsigned column)
{
    return moves[row][column] != IMPOSSIBLE;
}

bool participant_cell_idle(unsigned row, unsigned column)
{
    return moves[row][column] == IGNORE || moves[row][column] == REFUSE;
}
