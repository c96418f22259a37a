/*
 * rm-agent/talk/adopt.h - a person says that a coordinator's log is lost, and which one to follow
 * now.
 */
#ifndef ASSENT_RM_AGENT_TALK_ADOPT_H
#define ASSENT_RM_AGENT_TALK_ADOPT_H

#include "rm-agent/agent.h"

/* `adopt`: answers once it is stored. */
void adopt_answer(struct agent *agent, struct asker *asker, const cJSON *object);

#endif
