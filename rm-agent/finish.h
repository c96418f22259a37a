/*
 * rm-agent/finish.h - the pool: COMMIT PREPARED and ROLLBACK PREPARED.
 */
#ifndef ASSENT_RM_AGENT_FINISH_H
#define ASSENT_RM_AGENT_FINISH_H

#include "rm-agent/agent.h"

int finish_create(struct agent *agent, struct error *error);
/* PA_COMMIT or PA_ROLLBACK: the answer is an event of the branch. */
void finish_branch(struct agent *agent, const struct participant_action *action);
/* At the end of each turn: what waits goes to the connections, that of one turn together. */
void finish_feed(struct agent *agent);
/* The options have changed: size of the pool, and how it connects the next time. */
void finish_reconfigure(struct agent *agent);
/* Commands that are waiting or under way. */
uint32_t finish_busy(const struct agent *agent);
/* Something was sent and has no answer yet: it may still raise a position. */
bool finish_under_way(const struct agent *agent);

#endif
