/*
 * rm-agent/postgres/preflight.h - what stands in the agent's way: at its start, and when a DBA
 * asks.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_PREFLIGHT_H
#define ASSENT_RM_AGENT_POSTGRES_PREFLIGHT_H

#include "rm-agent/agent.h"

/* Looks, and tells the log; what is missing may be put right while the agent runs. But one that
 * starts, with applications that would work in another database than its own, ends. */
void preflight(struct agent *agent, bool starts);
/* `check`: looks, and answers with what it found. */
void preflight_check(struct agent *agent, struct asker *asker);
/* Each time the number of prepared transactions is known: warn before all slots are taken. */
void preflight_limits(struct agent *agent);

#endif
