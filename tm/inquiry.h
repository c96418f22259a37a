/*
 * tm/inquiry.h - what the coordinator has to ask all agents before it can answer a person.
 *
 * The loop does not wait: each agent gets its question, whoever has not answered in time is said
 * not to have, and the last answer makes the report. Those who ask while agents are being asked
 * share the next round.
 */
#ifndef ASSENT_TM_INQUIRY_H
#define ASSENT_TM_INQUIRY_H

#include "tm/server_state.h"

struct inquiries *inquiries_create(void);
void inquiries_free(struct inquiries *inquiries);

/* What one agent has said to a question. */
struct agent_word {
    cJSON *answer;            /* NULL: none came */
    char error[REASON_BYTES]; /* why not */
    int64_t heard_us;         /* CLOCK_REALTIME */
};

/* The request, in-doubt or check, is answered by server_answer(), in this turn or a later one. */
void inquiry_ask(struct server *server, const struct request *request);
/* An agent's answer, posted as POST_ASKED; it is freed. server NULL: the daemon stops. */
void inquiry_take(struct server *server, struct post *post);

#endif
