/*
 * rm-agent/postgres/sessions.h - SQL in a branch: exec, and its PREPARE TRANSACTION.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_SESSIONS_H
#define ASSENT_RM_AGENT_POSTGRES_SESSIONS_H

#include "rm-agent/agent.h"

void sessions_create(struct agent *agent);

/* `exec`. Takes the object over. */
void sessions_exec(struct agent *agent, struct asker *asker, cJSON *object);

/* PA_PREPARE, PA_COMMIT_SESSION, PA_END_SESSION: the answer is an event of the branch. */
void sessions_prepare(struct agent *agent, const struct branch_id *branch);
void sessions_commit(struct agent *agent, const struct branch_id *branch, uint64_t lsn,
                     bool or_prepare);
void sessions_end(struct agent *agent, const struct branch_id *branch);
/* PA_INTERRUPT. */
void sessions_interrupt(struct agent *agent, const struct branch_id *branch, bool at_once);

/* The owner of what a session has prepared, or the application on a connection of its own; false
 * if it is not known here. */
void sessions_remember_owner(struct agent *agent, const struct branch_id *branch,
                             const char *owner);
bool sessions_owner(struct agent *agent, const char *gid, char out[ROLE_NAME_BYTES]);

/* A branch that an earlier start of the agent ran SQL in: never again. */
void sessions_remember_used(struct agent *agent, const char *gid);
/* Was SQL run in it through the agent, by this start or an earlier one? */
bool sessions_used(struct agent *agent, const struct branch_id *branch);
/* The branch is settled: nobody will ask any more who worked in it. */
void sessions_forget(struct agent *agent, const struct branch_id *branch);
void sessions_forget_older(struct agent *agent, const char *tm, uint64_t incarnation);
/* So is all that the coordinator's horizon has passed: it may have settled without a word to us. */
void sessions_forget_ended(struct agent *agent, const char *tm, const struct forget *forgotten);

uint32_t sessions_open(const struct agent *agent);
/* PREPAREs and COMMITs under way. */
uint32_t sessions_busy(const struct agent *agent);

#endif
