/*
 * rm-agent/talk/tms.h - the coordinators that an agent serves: who may speak.
 */
#ifndef ASSENT_RM_AGENT_TALK_TMS_H
#define ASSENT_RM_AGENT_TALK_TMS_H

#include "rm-agent/talk/book.h"

/* By ordering a scan it has accepted this database. If that had to be seen, votes count for what it
 * begins from here on, and in any case after what it says that the database may have lost. */
void tms_accepted(struct agent *agent, struct tm_link *tm, const struct order *recover);
void tms_register(struct agent *agent, struct net_request *request, const cJSON *object);
/* The log that it writes is lost: it is not listened to until it registers again, and positions in
 * that log mean nothing any more. */
void tms_turn_away(struct agent *agent, const char *name);

/* The coordinator that sent this, if it may; else NULL with *failure. */
struct tm_link *tms_sender(struct agent *agent, const cJSON *object, struct failure *failure);

/* For `status`. */
void tms_list(const struct agent *agent, cJSON *out);

#endif
