/*
 * rm-agent/postgres/forget.h - what a coordinator's horizon has passed goes: rows of
 * assent.acceptor, markers.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_FORGET_H
#define ASSENT_RM_AGENT_POSTGRES_FORGET_H

#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/book.h"

/* From what the tm_link knows to `forget`, or some of the way: the answer is one row, how far. */
void forget_sweep(struct agent *agent, const struct tm_link *tm, const struct forget *forget,
                  control_done_fn *done, void *arg);

#endif
