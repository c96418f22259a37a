/*
 * rm-agent/preflight.c - at the start: what is missing for the agent to do its work, by name.
 *
 * Each of these would show only later, as a vote of no or as a branch that cannot be finished.
 * None of them stops the agent: a DBA may put it right while it runs.
 */
#include "rm-agent/preflight.h"

#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "rm-agent/config.h"
#include "rm-agent/control.h"

enum { NEARLY_ALL_PERCENT = 90 };

struct role_check {
    struct agent *agent;
    char role[ROLE_NAME_BYTES];
};

static void took_role(void *arg, const struct pg_reply *reply)
{
    struct role_check check = *(struct role_check *)arg;
    const char *login = check.agent->identity.login;
    free(arg);
    if (reply->sqlstate[0] != '\0')
        return;
    if (pg_rows(reply) == 0)
        log_warning("role \"%s\" does not exist: a DBA runs CREATE ROLE \"%s\" LOGIN", check.role,
                    check.role);
    else if (strcmp(pg_value(reply, 0, 0), "t") != 0)
        log_warning("role \"%s\" may not finish what \"%s\" prepares: a DBA runs GRANT \"%s\" TO "
                    "\"%s\"",
                    login, check.role, check.role, login);
}

static void check_role(struct agent *agent, const char *conninfo)
{
    struct role_check *check = calloc(1, sizeof *check);
    struct error error;
    if (check == NULL)
        abort();
    check->agent = agent;
    if (conninfo_user(conninfo, check->role, &error) != 0) {
        log_warning("%s", error.message);
        free(check);
        return;
    }
    control_ask(agent, took_role, check,
                "SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = $1", 1,
                check->role);
}

void preflight(struct agent *agent)
{
    const struct agent_options *options = agent->options;
    if (agent->identity.superuser)
        log_warning("role \"%s\" is a superuser: the agent needs no such right",
                    agent->identity.login);
    for (uint32_t i = 0; i < options->role_count; i++)
        check_role(agent, options->roles[i].conninfo);
}

void preflight_slots(struct agent *agent)
{
    const struct agent_health *health = &agent->health;
    bool nearly_all = health->slots_max > 0 &&
                      health->prepared * 100 >= health->slots_max * (uint32_t)NEARLY_ALL_PERCENT;
    if (nearly_all && !agent->slots_warned)
        log_warning("%u of the %u prepared transactions that max_prepared_transactions allows are "
                    "in use: beyond, every branch is refused",
                    health->prepared, health->slots_max);
    agent->slots_warned = nearly_all;
}
