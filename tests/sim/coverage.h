/*
 * tests/sim/coverage.h - which cells of the protocol's tables have been reached.
 */
#ifndef ASSENT_TESTS_SIM_COVERAGE_H
#define ASSENT_TESTS_SIM_COVERAGE_H

#include <stdbool.h>

#include "core/coordinator/coordinator.h"

/* Is the cell one that must never be entered? Each is compiled with its table. */
bool participant_cell_possible(unsigned row, unsigned column);
bool coordinator_cell_possible(unsigned row, unsigned column);

/* Does it do nothing at all: an event that comes late, twice, or by a peer's mistake? */
bool participant_cell_idle(unsigned row, unsigned column);
bool coordinator_idle(const struct coordinator *coordinator, const struct gtrid *gtrid,
                      unsigned event);

bool leader_cell_possible(unsigned row, unsigned column);
bool terminator_cell_possible(unsigned row, unsigned column);
bool terminator_cell_idle(unsigned row, unsigned column);

/* Between the processes of a run; 0 or -1. */
int coverage_send(int fd);
int coverage_receive(int fd);
/* The cells that were not reached, by name; 1 if there are any. */
int coverage_print(void);

#endif
