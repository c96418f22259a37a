/*
 * tests/sim/terminator_covered.c - core/participant/terminator.c as it is, and a way to ask its
 * table.
 */
#include "core/participant/terminator.c"

#include "tests/sim/coverage.h"

bool terminator_cell_possible(unsigned row, unsigned column)
{
    return moves[row][column] != IMPOSSIBLE;
}

bool terminator_cell_idle(unsigned row, unsigned column)
{
    return moves[row][column] == IGNORE;
}
