/*
 * rm-agent/postgres/preflight.c - what stands in the agent's way: at its start, and when a DBA
 * asks.
 *
 * Each of these would show only later, as a vote of no, or as a branch that cannot be finished, or
 * on the day of a promotion. None of them but one stops the agent: a DBA may put it right while it
 * runs. A finding is one line of the answer, or of the log: how severe, what, and what to change.
 */
#include "rm-agent/postgres/preflight.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/logger.h"
#include "common/must.h"
#include "rm-agent/config.h"
#include "rm-agent/postgres/checks.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/greeting.h"
#include "rm-agent/postgres/probe.h"
#include "rm-agent/talk/asker.h"
#include <config.h>

enum { NEARLY_ALL_PERCENT = 90, NEAR_PERCENT = 80 };

struct preflight {
    struct agent *agent;
    struct asker *asker; /* NULL: for the log */
    bool starts;         /* it may be the end of the agent */
    cJSON *findings;
    uint32_t asks; /* answers that are still to come */
};

/* A question that is under way, and what it is about. */
struct inquiry {
    struct preflight *preflight;
    char subject[ROLE_NAME_BYTES * 2]; /* in messages */
    char fix[64];                      /* when there is no answer */
};

static void add(cJSON *findings, const char *severity, const char *what, const char *fix)
{
    cJSON *finding = cJSON_CreateObject();
    cJSON_AddStringToObject(finding, "severity", severity);
    cJSON_AddStringToObject(finding, "what", what);
    cJSON_AddStringToObject(finding, "fix", fix);
    cJSON_AddItemToArray(findings, finding);
}

/* For whoever compares our clock with his. */
static int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void preflight_answer(struct agent *agent, struct asker *asker, cJSON *findings)
{
    cJSON *object = wire_ok();
    char now_us[NUMBER_BYTES];
    cJSON_AddStringToObject(object, "rm", agent->options->rm);
    cJSON_AddStringToObject(object, "database", agent->identity.database);
    cJSON_AddStringToObject(object, "server_version", agent->identity.server_version);
    cJSON_AddStringToObject(object, "version", PACKAGE_VERSION);
    snprintf(now_us, sizeof now_us, "%" PRId64, clock_us());
    cJSON_AddStringToObject(object, "now_us", now_us);
    cJSON_AddItemToObject(object, "findings", findings);
    asker_object(asker, object);
}

static void log_all(const cJSON *findings)
{
    const cJSON *finding;
    cJSON_ArrayForEach(finding, findings)
    {
        const char *severity = cJSON_GetObjectItem(finding, "severity")->valuestring;
        const char *what = cJSON_GetObjectItem(finding, "what")->valuestring;
        const char *fix = cJSON_GetObjectItem(finding, "fix")->valuestring;
        const char *before_fix = fix[0] == '\0' ? "" : "; to put it right: ";
        if (strcmp(severity, "notice") == 0)
            log_notice("%s%s%s", what, before_fix, fix);
        else
            log_warning("%s%s%s", what, before_fix, fix);
    }
}

static void answer_came(struct preflight *preflight)
{
    if (--preflight->asks > 0)
        return;
    if (preflight->asker != NULL) {
        preflight->agent->checking = false;
        preflight_answer(preflight->agent, preflight->asker, preflight->findings);
    } else {
        log_all(preflight->findings);
        cJSON_Delete(preflight->findings);
    }
    free(preflight);
}

/* ---- questions ---- */

static struct inquiry *inquire(struct preflight *preflight, const char *subject, const char *fix)
{
    struct inquiry *inquiry = must_alloc(sizeof *inquiry, "a question of a check");
    inquiry->preflight = preflight;
    text_copy(inquiry->subject, sizeof inquiry->subject, subject, strlen(subject));
    text_copy(inquiry->fix, sizeof inquiry->fix, fix, strlen(fix));
    preflight->asks++;
    return inquiry;
}

static void take_rows(struct preflight *preflight, const struct pg_reply *reply)
{
    for (int i = 0; i < pg_rows(reply); i++)
        add(preflight->findings, pg_value(reply, i, 0), pg_value(reply, i, 1),
            pg_value(reply, i, 2));
}

/* From the control connection. */
static void took_findings(void *arg, const struct pg_reply *reply)
{
    struct inquiry *inquiry = arg;
    struct preflight *preflight = inquiry->preflight;
    char what[REASON_BYTES + sizeof inquiry->subject];
    if (reply->sqlstate[0] != '\0') {
        snprintf(what, sizeof what, "%s cannot be looked at: %s", inquiry->subject, reply->message);
        add(preflight->findings, "error", what, inquiry->fix);
    }
    take_rows(preflight, reply);
    free(inquiry);
    answer_came(preflight);
}

static void probed(struct inquiry *inquiry, const struct pg_reply *reply, const char *severity,
                   const char *words, const char *why)
{
    struct preflight *preflight = inquiry->preflight;
    char what[REASON_BYTES + sizeof inquiry->subject + 32];
    if (reply == NULL) {
        snprintf(what, sizeof what, "%s %s: %s", inquiry->subject, words, why);
        add(preflight->findings, severity, what, inquiry->fix);
    } else {
        take_rows(preflight, reply);
    }
    free(inquiry);
    answer_came(preflight);
}

static void probed_login(void *arg, const struct pg_reply *reply, const char *why)
{
    const struct inquiry *inquiry = arg;
    if (inquiry->preflight->starts && reply != NULL && pg_rows(reply) > 0)
        agent_stop(inquiry->preflight->agent, "%s; to put it right: %s", pg_value(reply, 0, 1),
                   pg_value(reply, 0, 2));
    probed(arg, reply, "error", "cannot log in", why);
}

static void probed_host(void *arg, const struct pg_reply *reply, const char *why)
{
    probed(arg, reply, "warning", "cannot be reached", why);
}

static void check_exec_role(struct preflight *preflight, const struct exec_role *role)
{
    struct agent *agent = preflight->agent;
    char name[ROLE_NAME_BYTES], section[ROLE_BYTES + 16], fix[ROLE_BYTES + 32],
        identifier[NUMBER_BYTES];
    struct error error;
    if (conninfo_user(role->conninfo, name, &error) != 0) {
        add(preflight->findings, "error", error.message, "user in the conninfo");
        return;
    }
    control_ask(agent, took_findings, inquire(preflight, name, ""), check_role, 1, name);
    if (role->name[0] == '\0') {
        add(preflight->findings, "warning",
            "no section [exec ROLE]: applications' SQL runs as the agent's own role",
            "[exec ROLE] with a conninfo of the application's role");
        return;
    }
    snprintf(section, sizeof section, "[exec %s]", role->name);
    snprintf(fix, sizeof fix, "conninfo in %s, or pg_hba.conf", section);
    u64_format(agent->identity.system_identifier, identifier);
    probe(agent, role->conninfo,
          &(struct probe_question){
              check_login, 3, {identifier, agent->identity.database, role->name}},
          probed_login, inquire(preflight, section, fix));
}

/* The other hosts are compared with the server that the agent uses. */
static void took_server(void *arg, const struct pg_reply *reply)
{
    struct inquiry *inquiry = arg;
    struct preflight *preflight = inquiry->preflight;
    const char *conninfo = preflight->agent->options->conninfo;
    int hosts = pg_rows(reply) == 1 ? conninfo_hosts(conninfo) : 0;
    for (int i = 0; i < hosts; i++) {
        char name[ROLE_NAME_BYTES * 2];
        conninfo_host_name(conninfo, i, name, sizeof name);
        char *one = conninfo_of_host(conninfo, i);
        probe(preflight->agent, one,
              &(struct probe_question){
                  check_host,
                  4,
                  {pg_value(reply, 0, 0), pg_value(reply, 0, 1), pg_value(reply, 0, 2), name}},
              probed_host, inquire(preflight, name, "host in the conninfo of [agent]"));
        free(one);
    }
    free(inquiry);
    answer_came(preflight);
}

static void check_hosts(struct preflight *preflight)
{
    if (conninfo_hosts(preflight->agent->options->conninfo) < 2)
        return;
    control_ask(preflight->agent, took_server, inquire(preflight, "the server", ""),
                "SELECT pg_postmaster_start_time()::text, system_identifier,"
                " current_setting('max_prepared_transactions') FROM pg_control_system()",
                0);
}

static void preflight_begin(struct agent *agent, struct asker *asker, bool starts)
{
    const struct agent_options *options = agent->options;
    char sessions[NUMBER_BYTES], pool[NUMBER_BYTES], version[NUMBER_BYTES];
    struct preflight *preflight = must_alloc(sizeof *preflight, "a check");
    preflight->agent = agent;
    preflight->asker = asker;
    preflight->starts = starts;
    preflight->findings = cJSON_CreateArray();
    u64_format(options->max_sessions, sessions);
    u64_format(options->pool_size, pool);
    u64_format(SCHEMA_VERSION, version);
    control_ask(agent, took_findings, inquire(preflight, "the server", ""), check_server, 0);
    control_ask(agent, took_findings, inquire(preflight, "the server", ""), check_sizes, 2,
                sessions, pool);
    control_ask(agent, took_findings, inquire(preflight, "schema assent", INSTALL_SCHEMA),
                check_schema, 1, version);
    for (uint32_t i = 0; i < options->role_count; i++)
        check_exec_role(preflight, &options->roles[i]);
    check_hosts(preflight);
}

void preflight(struct agent *agent, bool starts)
{
    preflight_begin(agent, NULL, starts);
}

static void answer_unconnected(struct agent *agent, struct asker *asker)
{
    char what[REASON_BYTES + 64];
    cJSON *findings = cJSON_CreateArray();
    snprintf(what, sizeof what, "the agent has no connection to its database: %s",
             agent->health.last_error);
    add(findings, "error", what, "conninfo in [agent], or the server");
    preflight_answer(agent, asker, findings);
}

void preflight_check(struct agent *agent, struct asker *asker)
{
    struct failure failure = {0};
    if (agent->participant == NULL || !control_ready(agent)) {
        answer_unconnected(agent, asker);
    } else if (agent->checking) {
        refuse(&failure, ERR_BUSY, "a check is under way");
        asker_failure(asker, &failure);
    } else {
        agent->checking = true;
        preflight_begin(agent, asker, false);
    }
}

void preflight_limits(struct agent *agent)
{
    const struct agent_health *health = &agent->health;
    const struct {
        uint32_t used, most, near_percent;
        const char *what, *beyond;
    } limits[AGENT_LIMITS] = {
        {health->prepared, health->slots_max, NEARLY_ALL_PERCENT,
         "prepared transactions that max_prepared_transactions allows are in use",
         "every branch is refused"},
        {health->branches, health->branches_max, NEAR_PERCENT,
         "branches that max_branches allows are under way", "new ones are refused"},
        {health->sessions, health->sessions_max, NEAR_PERCENT,
         "sessions that max_sessions allows are in use", "exec is refused"},
        {health->connections, health->connections_max, NEAR_PERCENT,
         "connections to this agent that the limit of open files allows are open",
         "those that ask for nothing are closed"},
    };
    for (uint32_t i = 0; i < AGENT_LIMITS; i++) {
        bool near = limits[i].most > 0 && (uint64_t)limits[i].used * 100 >=
                                              (uint64_t)limits[i].most * limits[i].near_percent;
        if (near && !agent->limits_warned[i])
            log_warning("%" PRIu32 " of the %" PRIu32 " %s: beyond, %s", limits[i].used,
                        limits[i].most, limits[i].what, limits[i].beyond);
        agent->limits_warned[i] = near;
    }
}
