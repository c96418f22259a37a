/*
 * rm-agent/forget.h - what a coordinator's horizon has passed goes: rows of assent.acceptor,
 * markers.
 */
#ifndef ASSENT_RM_AGENT_FORGET_H
#define ASSENT_RM_AGENT_FORGET_H

#include "rm-agent/control.h"
#include "rm-agent/tms.h"

/* Below the horizon, and not one of those that are still live there. */
bool forget_is_ended(const struct forget *forgotten, const struct gtrid *gtrid);
/* Is it more than what is known? An old one was overtaken on its way. */
bool forget_is_news(const struct forget *known, const struct forget *forget);
/* From what the tm_link knows to `forget`, or some of the way: the answer is one row, how far. */
void forget_sweep(struct agent *agent, const struct tm_link *tm, const struct forget *forget,
                  control_done_fn *done, void *arg);

#endif
