/*
 * rm-agent/postgres/install.h - `assent-agent --install-schema`, run once by a DBA.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_INSTALL_H
#define ASSENT_RM_AGENT_POSTGRES_INSTALL_H

#include "rm-agent/agent.h"

/* Connects as the administrator (conninfo, or the agent's own if NULL), installs the schema or
 * brings its grants up to date, and says on stdout what it did. */
int install_schema(const struct agent_options *options, const char *admin, struct error *error);

#endif
