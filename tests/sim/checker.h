/*
 * tests/sim/checker.h - the checker's rules, for its own two files: checker.c, which sees each fact
 * as it happens, and settled.c, which asks whether all has ended, and how.
 */
#ifndef ASSENT_TESTS_SIM_CHECKER_H
#define ASSENT_TESTS_SIM_CHECKER_H

#include "tests/sim/sim.h"

bool branch_is_lost(const struct fate_branch *branch);
bool branch_is_excused(struct sim *sim, const struct fate_branch *branch);
/* Any branch of it is excused, or has lost how it ended. */
bool fate_is_touched(struct sim *sim, const struct fate *fate);
bool any_is_committed(const struct fate *fate);
/* Read-only, all that have worked. */
bool all_have_left(const struct fate *fate);
bool is_majority(const struct roster *roster, uint32_t bits);

void check_atomic(struct sim *sim, struct fate *fate);
void check_told(struct sim *sim, struct fate *fate);
/* Everywhere, as somebody claims or a client has been told. */
void check_applied(struct sim *sim, struct fate *fate, bool claimed, const char *why);

/* Its outcome is not remembered any more. */
void check_retention(struct sim *sim, const struct fate *fate);

#endif
