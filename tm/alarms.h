/*
 * tm/alarms.h - what a person should look at: a line in the log when it begins and when it is
 * over, and a list in `status` for as long as it lasts.
 */
#ifndef ASSENT_TM_ALARMS_H
#define ASSENT_TM_ALARMS_H

#include "tm/server_state.h"

struct alarms *alarms_create(void);
void alarms_free(struct alarms *alarms);

/* Looks when it is time to; returns when to look again. */
uint64_t alarms_tend(struct server *server);
/* Those that last, the worst first. */
cJSON *alarms_list(const struct server *server);

#endif
