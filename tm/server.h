/*
 * tm/server.h - the coordinator's daemon: one loop that turns the core.
 */
#ifndef ASSENT_TM_SERVER_H
#define ASSENT_TM_SERVER_H

#include "common/error.h"
#include "tm/settings.h"

/* Serve until SIGTERM or SIGINT. `moved`: accept a log that was written elsewhere. Returns 0 after
 * a clean end, -1 with *error when it could not start. */
int server_run(const struct settings *settings, bool moved, struct error *error);

#endif
