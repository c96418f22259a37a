/*
 * rm-agent/tms.h - the coordinators that an agent serves: who may speak, and their mail.
 */
#ifndef ASSENT_RM_AGENT_TMS_H
#define ASSENT_RM_AGENT_TMS_H

#include <uthash.h>

#include "rm-agent/agent.h"

struct position_waiter;

struct tm_link {
    char name[TM_NAME_BYTES];
    bool registered; /* with this start of the agent */
    bool registering;
    struct uuid log;
    uint64_t incarnation;
    struct uuid instance;
    uint8_t secret[SECRET_BYTES];

    /* What its two sequences hold (positions.c). */
    uint64_t beat;         /* the newest that was set, or is being set */
    uint64_t flushed_beat; /* the newest that is known to be on disk */
    uint64_t position;
    bool raising;
    struct position_waiter *waiting;

    /* Results that it has not been told yet, and the poll that waits for them. */
    struct result *results;
    uint32_t result_count, result_room;
    struct net_request *poll;
    uint64_t poll_until_ms;

    UT_hash_handle hh;
};

int tms_create(struct agent *agent, struct error *error);

/* The coordinator of that name if it has registered with this start, else NULL. */
struct tm_link *tms_find(struct agent *agent, const char *name);
uint64_t tms_flushed_beat(struct agent *agent, const char *name);

void tms_register(struct agent *agent, struct net_request *request, const cJSON *object);
/* The coordinator that sent this, if it may; else NULL with *failure. */
struct tm_link *tms_sender(struct agent *agent, const cJSON *object, struct failure *failure);

/* Mail for the coordinator of the result's branch. What does not fit is dropped: it asks again. */
void tms_post(struct agent *agent, const char *tm, const struct result *result);
/* Answer with all there is, which may be nothing. */
void tms_answer(struct agent *agent, struct tm_link *tm, struct net_request *request);
/* Answer once there is something, at the latest after wait_ms. */
void tms_park(struct agent *agent, struct tm_link *tm, struct net_request *request,
              uint32_t wait_ms);
/* At the end of each turn: answer the polls that are due. */
void tms_deliver(struct agent *agent, uint64_t now_ms);
uint64_t tms_wake_ms(const struct agent *agent);
/* For `status`. */
void tms_list(const struct agent *agent, cJSON *out);

#endif
