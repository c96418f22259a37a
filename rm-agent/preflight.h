/*
 * rm-agent/preflight.h - at the start: what is missing for the agent to do its work, by name.
 */
#ifndef ASSENT_RM_AGENT_PREFLIGHT_H
#define ASSENT_RM_AGENT_PREFLIGHT_H

#include "rm-agent/agent.h"

/* Looks, and warns in the log; what is missing may be put right while the agent runs. */
void preflight(struct agent *agent);
/* Each time the number of prepared transactions is known: warn before all slots are taken. */
void preflight_slots(struct agent *agent);

#endif
