/*
 * tm/timeline.h - how long each phase of a transaction took, and whom it waits for.
 */
#ifndef ASSENT_TM_TIMELINE_H
#define ASSENT_TM_TIMELINE_H

#include "tm/server_state.h"

/* Adds `timeline`, and `waits_for` of one that is not over. */
void timeline_add(const struct server *server, const struct txn_view *view, cJSON *transaction);

/* At the end of each turn: a line for each transaction that ended and took log_min_duration. */
void timeline_log_slow(struct server *server);

#endif
