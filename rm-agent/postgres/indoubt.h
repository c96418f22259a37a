/*
 * rm-agent/postgres/indoubt.h - what is prepared here, and the evidence of what became of the rest.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_INDOUBT_H
#define ASSENT_RM_AGENT_POSTGRES_INDOUBT_H

#include "rm-agent/agent.h"

void indoubt_create(struct agent *agent);

/* PA_LOOK and PA_LOOK_MARKER: the answer is an event of the branch. */
void indoubt_look(struct agent *agent, const struct participant_action *action);
void indoubt_look_marker(struct agent *agent, const struct participant_action *action);
/* ORDER_RECOVER: what is prepared and open for this coordinator goes into its results. A scan
 * that fails says nothing at all: it is not an empty one. */
void indoubt_scan(struct agent *agent, const char *tm, uint64_t number);
/* How many are prepared, how old the oldest is. */
void indoubt_refresh_health(struct agent *agent);

/* The 64-bit form of a 32-bit xid that was assigned not far from `near`. */
uint64_t xid_widen(uint32_t xid, uint64_t near);

#endif
