/*
 * tests/sim/leader_covered.c - core/ballot/leader.c as it is, and a way to ask its table.
 */
#include "core/ballot/leader.c"

#include "tests/sim/coverage.h"

/* What is ignored is late or early, and never more than that: only the rest has to be reached. */
bool leader_cell_possible(unsigned row, unsigned column)
{
    return moves[row][column] != IGNORE;
}
