/*
 * common/third_phase.h - what the acceptors of a 3pc transaction have said, put together for
 * people from whoever could be asked.
 */
#ifndef ASSENT_COMMON_THIRD_PHASE_H
#define ASSENT_COMMON_THIRD_PHASE_H

#include <cjson/cJSON.h>

#include "core/coordinator/coordinator.h"

struct third_phase {
    struct roster roster; /* count 0: not 3pc, or nobody can say who decides */
    uint32_t reachable;   /* as rank_bit()s, here and below */
    uint32_t told;        /* those whose vote is known */
    struct acceptor_row rows[ACCEPTORS_MAX];
    struct acceptor_row tm_row;
};

enum { ACCEPTOR_SAYS_BYTES = 80, THIRD_PHASE_BYTES = 192 };

/* What the coordinator, running or in its log, knows; what agents say is added to that. */
void third_phase_begin(struct third_phase *out, const struct ballot_view *ballot, bool running);
/* What an agent has answered to `prepared`; NULL: it did not. */
void third_phase_hear(struct third_phase *third, const struct gtrid *gtrid, const char *rm,
                      const cJSON *answer);

/* As the votes that are known prove it; NONE if they do not. */
enum outcome third_phase_decided(const struct third_phase *third);
/* Can it be decided at this moment? */
bool third_phase_blocks(const struct third_phase *third);
/* "blocks: 1 of 3 acceptors can be reached, and 2 have to agree; missing: ledger, the coordinator's
 * log" */
void third_phase_words(const struct third_phase *third, char out[THIRD_PHASE_BYTES]);
/* The first that is missing, of the agents and then the log: its RM, NULL for the log. */
const char *third_phase_missing(const struct third_phase *third);
/* A list: {"acceptor":"ledger","says":"accepted commit at ballot 0"} */
cJSON *third_phase_list(const struct third_phase *third);

#endif
