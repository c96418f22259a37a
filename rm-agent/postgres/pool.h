/*
 * rm-agent/postgres/pool.h - the connections that finish branches, and what waits for them.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_POOL_H
#define ASSENT_RM_AGENT_POSTGRES_POOL_H

#include "rm-agent/agent.h"

void pool_create(struct agent *agent);
/* PA_COMMIT or PA_ROLLBACK: the answer is an event of the branch. */
void pool_finish(struct agent *agent, const struct participant_action *action);
/* At the end of each turn: what waits goes to the connections, that of one turn together. */
void pool_feed(struct agent *agent);
/* The options have changed: size of the pool, and how it connects the next time. */
void pool_reconfigure(struct agent *agent);
/* Commands that are waiting or under way. */
uint32_t pool_busy(const struct agent *agent);
/* Something was sent and has no answer yet: it may still raise a position. */
bool pool_under_way(const struct agent *agent);

/* ---- what a trip says of it (trip.c) ---- */

struct finish;
struct worker;

/* It has not been tried yet, or has to be tried alone. */
void pool_again(struct finish *finish);
/* The branch hears what became of it; frees it. */
void pool_over(struct finish *finish, enum participant_event_type type, const char *sqlstate,
               const char *message);
/* The worker's trip is over, and its group not yet. */
void pool_measure(struct worker *worker);

#endif
