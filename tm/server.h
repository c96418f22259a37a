/*
 * tm/server.h - the coordinator's daemon: one loop that turns the core.
 */
#ifndef ASSENT_TM_SERVER_H
#define ASSENT_TM_SERVER_H

#include "common/error.h"
#include "tm/settings.h"

/* What an operator vouches for on the command line. */
struct server_claims {
    bool moved;   /* the log was written elsewhere, and no other copy of it will be started */
    bool unfence; /* an agent refused this log, and it is the newest all the same */
};

/* Serve until SIGTERM or SIGINT. Returns 0 after a clean end, -1 with *error when it could not
 * start. */
int server_run(const struct settings *settings, const struct server_claims *claims,
               struct error *error);

#endif
