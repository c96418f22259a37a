/*
 * rm-agent/talk/recall.h - what the agent recalls of branches, for when their coordinator's log is
 * lost.
 */
#ifndef ASSENT_RM_AGENT_TALK_RECALL_H
#define ASSENT_RM_AGENT_TALK_RECALL_H

#include "rm-agent/agent.h"

/* A branch is over: keep how, for a while. */
void recall_note(struct agent *agent, const struct result *result);
/* `recall`: what is recalled of the transactions that are named. */
void recall_answer(struct agent *agent, struct asker *asker, const cJSON *object);

#endif
