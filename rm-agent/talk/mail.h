/*
 * rm-agent/talk/mail.h - what coordinators have still to be told.
 */
#ifndef ASSENT_RM_AGENT_TALK_MAIL_H
#define ASSENT_RM_AGENT_TALK_MAIL_H

#include "rm-agent/talk/book.h"

/* Mail for the coordinator of the result's branch. What does not fit is dropped: it asks again. */
void mail_post(struct agent *agent, const char *tm, const struct result *result);
/* Answer once there is something, at the latest after wait_ms. */
void mail_keep_poll(struct agent *agent, struct tm_link *tm, struct net_request *request,
                    uint32_t wait_ms);
void mail_keep_orders(struct agent *agent, struct tm_link *tm, struct net_request *request,
                      uint32_t wait_ms);
/* At the end of each turn: answer what is due. */
void mail_deliver(struct agent *agent, uint64_t now_ms);
uint64_t mail_wake_ms(const struct agent *agent);

#endif
