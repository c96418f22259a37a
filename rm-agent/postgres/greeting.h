/*
 * rm-agent/postgres/greeting.h - what is said to PostgreSQL at each control connection, before
 * anything else.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_GREETING_H
#define ASSENT_RM_AGENT_POSTGRES_GREETING_H

#include "rm-agent/agent.h"

/* The schema that this agent was written for. It runs with the next one as well, so that a DBA
 * installs that first and then starts newer agents, one after the other. */
enum { SCHEMA_VERSION = 4 };

/* over is called when the first greeting is: the incarnation and the database are known. */
void greeting_create(struct agent *agent, void (*over)(struct agent *agent));
/* For control_open(). */
void greeting_begin(struct agent *agent);

#endif
