/*
 * rm-agent/agent.c - the agent's loop: requests in, PostgreSQL's answers in, actions out.
 *
 * Every order and every answer of the database is one event of participant.c, and what that says
 * is carried out at once; what it wants told goes into the coordinator's mail, which is handed out
 * at the end of the turn.
 */
#include "rm-agent/agent.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "rm-agent/config.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/greeting.h"
#include "rm-agent/postgres/indoubt.h"
#include "rm-agent/postgres/lines.h"
#include "rm-agent/postgres/pool.h"
#include "rm-agent/postgres/preflight.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/reload.h"
#include "rm-agent/state_file.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/talk/mail.h"
#include "rm-agent/talk/peers.h"
#include "rm-agent/talk/recall.h"
#include "rm-agent/talk/requests.h"
#include "rm-agent/votes/acceptors.h"
#include "rm-agent/votes/ballots.h"

enum {
    HEALTH_MS = 1000,
    DRAIN_MS = 10 * 1000,
    OTHER_REQUESTS = 1024, /* under way at once, beside a statement in each session */
};

/* ---- branches ---- */

static void agent_say(const struct result *result)
{
    char gid[GID_BYTES];
    gid_format(&result->branch, gid);
    switch (result->type) {
    case RESULT_NO:
        log_info("%s: no: %s %s", gid, result->sqlstate, result->message);
        break;
    case RESULT_HEURISTIC:
        log_error("%s: somebody else has finished it, and differently: %s", gid,
                  outcome_word(result->actual));
        break;
    case RESULT_UNKNOWN:
        log_error("%s: it is gone, and nothing proves how", gid);
        break;
    case RESULT_LOST:
        log_error("%s: the database has lost durable data", gid);
        break;
    default:
        break;
    }
}

static void tell(struct agent *agent, const struct result *result)
{
    POINT_IF(result->type == RESULT_READY, "agent.tell-ready");
    POINT_IF(result->type == RESULT_READ_ONLY, "agent.tell-read-only");
    POINT_IF(result->type == RESULT_NO, "agent.tell-no");
    POINT_IF(result->type == RESULT_DONE, "agent.tell-done");
    agent_say(result);
    recall_note(agent, result);
    mail_post(agent, result->branch.gtrid.tm, result);
    ballots_told(agent, result);
    if (result->type == RESULT_DONE || result->type == RESULT_READ_ONLY)
        sessions_forget(agent, &result->branch);
}

static void carry_out(struct agent *agent, const struct participant_action *action)
{
    switch (action->type) {
    case PA_PREPARE:
        sessions_prepare(agent, &action->branch);
        break;
    case PA_COMMIT_SESSION:
        sessions_commit(agent, &action->branch, action->lsn, action->or_prepare);
        break;
    case PA_INTERRUPT:
        sessions_interrupt(agent, &action->branch, action->at_once);
        break;
    case PA_END_SESSION:
        sessions_end(agent, &action->branch);
        break;
    case PA_LOOK:
        indoubt_look(agent, action);
        break;
    case PA_LOOK_MARKER:
        indoubt_look_marker(agent, action);
        break;
    case PA_COMMIT:
    case PA_ROLLBACK:
        pool_finish(agent, action);
        break;
    case PA_TELL:
        tell(agent, &action->result);
        break;
    case PA_NONE:
        assert(action->type != PA_NONE);
    }
}

/* ---- the loop ---- */

void agent_serve(struct agent *agent)
{
    uint32_t branches = agent->options->max_branches;
    void *memory = must_alloc(participant_bytes(branches), "the branches");
    agent->participant = participant_init(memory, branches, agent->incarnation);
    log_notice("serving %s: database %s, PostgreSQL %s, agent incarnation %" PRIu64,
               agent->options->rm, agent->identity.database, agent->identity.server_version,
               agent->incarnation);
    preflight(agent, true);
    ballots_serve(agent);
    POINT("agent.serving");
    sd_notify(0, "READY=1");
}

static void tick(struct agent *agent, uint64_t now_ms)
{
    struct participant_event event;
    pg_set_tick(agent->set, now_ms);
    if (agent->participant == NULL)
        return;
    while (participant_due(agent->participant, now_ms, &event))
        agent_event(agent, event);
    ballots_tick(agent, now_ms);
    if (now_ms >= agent->health_ms && control_ready(agent)) {
        control_tick(agent);
        lines_tick(agent, now_ms);
        indoubt_refresh_health(agent);
        agent->health_ms = now_ms + HEALTH_MS;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t wake_ms(const struct agent *agent)
{
    uint64_t until_ms = least(pg_set_wake_ms(agent->set), mail_wake_ms(agent));
    if (agent->participant == NULL)
        return until_ms;
    until_ms = least(until_ms, participant_wake_ms(agent->participant));
    until_ms = least(until_ms, ballots_wake_ms(agent));
    return control_ready(agent) ? least(until_ms, agent->health_ms) : until_ms;
}

/* PREPAREs and COMMITs under way are waited for; sessions that are open are given up. */
static bool drained(const struct agent *agent)
{
    return agent->participant == NULL || !control_ready(agent) ||
           (sessions_busy(agent) == 0 && pool_busy(agent) == 0);
}

static void turn_until_over(struct agent *agent)
{
    uint64_t drain_until_ms = UINT64_MAX;
    while (!agent->over) {
        loop_wait(agent->loop, least(wake_ms(agent), drain_until_ms));
        uint64_t now_ms = loop_now_ms();
        int signal = loop_signal(agent->loop);
        if (signal == SIGHUP) {
            reload(agent);
        } else if (signal != 0 && !agent->draining) {
            log_notice("stopping");
            POINT("agent.stopping");
            sd_notify(0, "STOPPING=1");
            agent->draining = true;
            drain_until_ms = now_ms + DRAIN_MS;
        }
        requests_serve(agent);
        tick(agent, now_ms);
        pool_feed(agent);
        mail_deliver(agent, now_ms);
        peers_deliver(agent);
        if (agent->draining && (drained(agent) || now_ms >= drain_until_ms))
            agent->over = true;
    }
}

static int start(struct agent *agent, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    const struct agent_options *options = agent->options;
    struct net_server_options server = {
        .url = options->listen,
        .mode = options->socket_mode,
        .group = options->socket_group,
        .max_waiting = options->max_sessions + OTHER_REQUESTS,
        .handler = requests_receive,
        .busy = reply_busy,
        .arg = agent,
    };
    struct descriptors descriptors;
    POINT("agent.start");
    /* Large rows and replies: what was kept for them is given back as soon as it is freed. */
    mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise();
    logger_start();
    if (loop_create(&agent->loop, error) != 0 || loop_signals(agent->loop, signals, error) != 0)
        return -1;
    agent->set = pg_set_create(agent->loop);
    book_create(agent);
    sessions_create(agent);
    pool_create(agent);
    indoubt_create(agent);
    acceptors_create(agent);
    peers_create(agent);
    if (state_file_open(agent, error) != 0 ||
        config_plan_descriptors(options, &descriptors, error) != 0)
        return -1;
    server.descriptors = descriptors.bound;
    agent->health.connections_max = descriptors.room;
    if (net_listen(&agent->server, agent->loop, &server, error) != 0)
        return -1;
    greeting_create(agent, agent_serve);
    control_open(agent, greeting_begin);
    return 0;
}

/* Open sessions roll back as their connections close; what is prepared stays. Questions that
 * are under way have no answer any more, and the memory goes with the process. */
static void stop(struct agent *agent)
{
    if (agent->server != NULL)
        net_server_close(agent->server);
    peers_close(agent);
    if (agent->set != NULL)
        pg_set_hang_up(agent->set);
    state_file_close(agent);
}

int agent_run(const char *path, struct agent_options *options)
{
    static struct agent agent;
    struct error error = {.hint = ""};
    agent.path = path;
    agent.options = options;
    agent.carry_out = carry_out;
    if (start(&agent, &error) == 0) {
        turn_until_over(&agent);
    } else {
        log_error("%s%s%s", error.message, error.hint[0] == '\0' ? "" : "; hint: ", error.hint);
        agent.exit_status = EXIT_FAILURE;
    }
    stop(&agent);
    return agent.exit_status;
}
