/*
 * rm-agent/talk/outcome.h - `outcome`: how a 3pc transaction has ended, for who cannot ask its
 * coordinator.
 */
#ifndef ASSENT_RM_AGENT_TALK_OUTCOME_H
#define ASSENT_RM_AGENT_TALK_OUTCOME_H

#include "rm-agent/agent.h"

void outcome_answer(struct agent *agent, struct asker *asker, const cJSON *object);

#endif
