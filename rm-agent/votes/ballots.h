/*
 * rm-agent/votes/ballots.h - three-phase commit in the agent: what the others say, and when to
 * lead.
 */
#ifndef ASSENT_RM_AGENT_VOTES_BALLOTS_H
#define ASSENT_RM_AGENT_VOTES_BALLOTS_H

#include "rm-agent/agent.h"

struct tm_link;

/* The agent serves: watch what is prepared here already. */
void ballots_serve(struct agent *agent);
void ballots_tick(struct agent *agent, uint64_t now_ms);
uint64_t ballots_wake_ms(const struct agent *agent);

/* A coordinator has been heard from. */
void ballots_heard(struct agent *agent, const struct tm_link *tm);
/* PREPARE is about to be carried out; false: it must not be, and will be ordered again. */
bool ballots_watch(struct agent *agent, const struct order *order);
/* ORDER_BALLOT. */
void ballots_order(struct agent *agent, const struct order *order);
/* ORDER_COMMIT. */
void ballots_committed(struct agent *agent, const struct gtrid *gtrid);
/* A branch has come to an end. */
void ballots_told(struct agent *agent, const struct result *result);
/* Who decides the transaction; NULL: it is none of three-phase commit that is under way here. */
const struct roster *ballots_roster(const struct agent *agent, const struct gtrid *gtrid);

/* `ballots` of another agent. */
void ballots_from_peer(struct agent *agent, struct asker *asker, const cJSON *object);

#endif
