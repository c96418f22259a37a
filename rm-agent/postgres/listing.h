/*
 * rm-agent/postgres/listing.h - `prepared`: what is prepared in this database, for people.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_LISTING_H
#define ASSENT_RM_AGENT_POSTGRES_LISTING_H

#include "rm-agent/agent.h"

/* Answers a request for all prepared transactions, others' too, with what they lock and whom they
 * block; and for the evidence about the branches that it names. queries: the SQL of the sessions
 * that wait is told as well. */
void listing_answer(struct agent *agent, struct asker *asker, const cJSON *object, bool queries);

#endif
