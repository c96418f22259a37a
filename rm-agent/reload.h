/*
 * rm-agent/reload.h - SIGHUP: the configuration is read again.
 */
#ifndef ASSENT_RM_AGENT_RELOAD_H
#define ASSENT_RM_AGENT_RELOAD_H

#include "rm-agent/agent.h"

/* All of the file takes effect or nothing does; the log says which, and why. */
void reload(struct agent *agent);

#endif
