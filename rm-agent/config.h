/*
 * rm-agent/config.h - the agent's configuration file.
 */
#ifndef ASSENT_RM_AGENT_CONFIG_H
#define ASSENT_RM_AGENT_CONFIG_H

#include "rm-agent/agent.h"

/* Returns 0, or -1 with *error naming file, line and key. */
int config_read(const char *path, struct agent_options *out, struct error *error);

/* The user that a conninfo logs in as. */
int conninfo_user(const char *conninfo, char out[ROLE_NAME_BYTES], struct error *error);

/* How many files may be open, but for those that these settings need. Returns -1 with *error if
 * that leaves nothing for those who connect. */
int config_plan_descriptors(const struct agent_options *options, struct descriptors *out,
                            struct error *error);

#endif
