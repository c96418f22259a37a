/*
 * rm-agent/reload.c - SIGHUP: the configuration is read again.
 *
 * All of the file takes effect or nothing does. What takes effect, does so for what comes: a
 * connection that is at work stays as it was made. Sessions that are kept are closed, those at work
 * with their work: so what a DBA has changed for their roles reaches the next ones. Who the agent
 * is and where it listens only a new start can change.
 */
#include "rm-agent/reload.h"

#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "common/logger.h"
#include "common/must.h"
#include "rm-agent/config.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/lines.h"
#include "rm-agent/postgres/pool.h"
#include "rm-agent/postgres/preflight.h"

/* The key that a running agent cannot change, or NULL. */
static const char *fixed_key_changed(const struct agent_options *now,
                                     const struct agent_options *next)
{
    if (strcmp(now->rm, next->rm) != 0)
        return "rm";
    if (strcmp(now->listen, next->listen) != 0)
        return "listen";
    if (now->socket_mode != next->socket_mode)
        return "socket_mode";
    if (strcmp(now->socket_group, next->socket_group) != 0)
        return "socket_group";
    if (strcmp(now->peer_url, next->peer_url) != 0)
        return "peer_url";
    if (strcmp(now->state_file, next->state_file) != 0)
        return "state_file";
    if (now->witness != next->witness)
        return "witness";
    if (now->termination_timeout_ms != next->termination_timeout_ms)
        return "termination_timeout";
    if (now->max_branches != next->max_branches)
        return "max_branches";
    return NULL;
}

static void take(struct agent *agent, const struct agent_options *next,
                 const struct descriptors *descriptors)
{
    *agent->options = *next;
    net_server_bound(agent->server, descriptors->bound);
    agent->health.connections_max = descriptors->room;
    control_reconfigure(agent);
    pool_reconfigure(agent);
    lines_reconfigure(agent);
    log_notice("%s: the configuration was read again", agent->path);
    if (agent->participant != NULL)
        preflight(agent, false);
}

void reload(struct agent *agent)
{
    struct error error = {.hint = ""};
    struct agent_options *next = must_alloc(sizeof *next, "the configuration");
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)loop_now_us());
    struct descriptors descriptors;
    if (config_read(agent->path, next, &error) != 0 ||
        config_plan_descriptors(next, &descriptors, &error) != 0) {
        log_error("%s; the configuration stays as it was. %s", error.message, error.hint);
    } else {
        const char *key = fixed_key_changed(agent->options, next);
        if (key != NULL)
            log_error("%s: %s in [agent] can only be changed by a restart; the configuration stays "
                      "as it was",
                      agent->path, key);
        else
            take(agent, next, &descriptors);
    }
    if (agent->participant != NULL)
        sd_notify(0, "READY=1");
    free(next);
}
