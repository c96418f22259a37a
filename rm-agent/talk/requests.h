/*
 * rm-agent/talk/requests.h - what comes in at the agent's socket.
 */
#ifndef ASSENT_RM_AGENT_TALK_REQUESTS_H
#define ASSENT_RM_AGENT_TALK_REQUESTS_H

#include "rm-agent/agent.h"

/* For net_listen(); arg is the agent. */
void requests_receive(void *arg, struct net_request *request, const struct net_peer *peer,
                      const char *bytes, size_t length);
/* Serves all that has come in. */
void requests_serve(struct agent *agent);

#endif
