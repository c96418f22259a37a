/*
 * rm-agent/postgres/membership.h - the grants by which the agent finishes what others have
 * prepared.
 *
 * COMMIT PREPARED is for the owner alone, whom the agent becomes for it: it has to be a member of
 * the owner that may SET ROLE to him. Up to PostgreSQL 15 that is every member. From 16 on it is an
 * option of the grant, and so is INHERIT, by which it sees and ends the sessions of that role.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_MEMBERSHIP_H
#define ASSENT_RM_AGENT_POSTGRES_MEMBERSHIP_H

#include "rm-agent/agent.h"

/* SQL: what pg_has_role() is asked for, and what completes a GRANT. */
#define SETS_ROLE                                                                                  \
    "CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END"
#define GRANT_OPTIONS                                                                              \
    "CASE WHEN current_setting('server_version_num')::int >= 160000"                               \
    " THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END"

/* The same word for this agent's server. */
const char *membership_word(const struct agent *agent);
/* The command that lets the agent finish what the role prepares. */
void membership_grant(const struct agent *agent, const char *role, char *out, size_t room);

#endif
