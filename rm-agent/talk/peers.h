/*
 * rm-agent/talk/peers.h - the other agents: where they are, and what is said to them.
 */
#ifndef ASSENT_RM_AGENT_TALK_PEERS_H
#define ASSENT_RM_AGENT_TALK_PEERS_H

#include "rm-agent/agent.h"

struct tm_link;

void peers_create(struct agent *agent);
void peers_close(struct agent *agent);

/* At each connection: what the database stores, as PEERS_STORED_SQL asks for it. */
#define PEERS_STORED_SQL "SELECT tm, rm, url FROM assent.peer"
void peers_load(struct agent *agent, const struct pg_reply *reply);
/* `peers`: a coordinator tells of them. */
void peers_serve(struct agent *agent, struct tm_link *tm, struct net_request *request,
                 const cJSON *object);

/* Is it known where all these agents are, but for ourselves? Else *missing is the first. */
bool peers_known(const struct agent *agent, const char *tm, const struct roster *roster,
                 const char **missing);
/* Goes with the others for this agent, at the end of the turn; may be lost. */
void peers_say(struct agent *agent, const char *rm, const struct ballot *ballot);
void peers_deliver(struct agent *agent);

/* What another agent has said, `ballots`: out has room for BALLOTS_MAX. Returns 0 with whose
 * transactions they are about and who says it, or -1 with *failure. */
int peers_read(struct agent *agent, const cJSON *object, struct tm_link **tm,
               char rm[RM_NAME_BYTES], struct ballot *out, uint32_t *count,
               struct failure *failure);

#endif
