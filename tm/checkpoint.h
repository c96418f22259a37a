/*
 * tm/checkpoint.h - the coordinator's state for its log, so that older records need not be kept.
 */
#ifndef ASSENT_TM_CHECKPOINT_H
#define ASSENT_TM_CHECKPOINT_H

#include "tm/server_state.h"

/* Hands a snapshot to the log; what of outcomes and keys is in its archives already is left out. */
void checkpoint_take(struct server *server);

#endif
