/*
 * rm-agent/agent.c - the agent's loop: requests in, PostgreSQL's answers in, actions out.
 *
 * nng's threads only read the JSON and post it here. Every order and every answer of the
 * database is one event of participant.c, and what that says is carried out at once; what it
 * wants told goes into the coordinator's mail, which is handed out at the end of the turn.
 */
#include "rm-agent/agent.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "common/logger.h"
#include "common/point.h"
#include "rm-agent/control.h"
#include "rm-agent/finish.h"
#include "rm-agent/indoubt.h"
#include "rm-agent/preflight.h"
#include "rm-agent/sessions.h"
#include "rm-agent/tms.h"

enum { HEALTH_MS = 1000, DRAIN_MS = 10 * 1000, WAIT_MS_MOST = 60 * 1000 };

enum { POST_REQUEST = 1 };

struct inbound {
    struct post post;
    struct net_request *request;
    struct net_peer peer;
    cJSON *object;
};

/* ---- branches ---- */

void agent_note(struct agent *agent, const char *message)
{
    text_copy(agent->health.last_error, sizeof agent->health.last_error, message, strlen(message));
}

static void say(const struct result *result)
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
    say(result);
    tms_post(agent, result->branch.gtrid.tm, result);
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
        sessions_commit(agent, &action->branch, action->lsn);
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
        finish_branch(agent, action);
        break;
    case PA_TELL:
        tell(agent, &action->result);
        break;
    case PA_NONE:
        assert(action->type != PA_NONE);
    }
}

void agent_event(struct agent *agent, struct participant_event event)
{
    /* An action may lead to the next event before the others are carried out: each has its own
     * list. */
    struct participant_actions actions;
    event.now_ms = loop_now_ms();
    participant_step(agent->participant, &event, &actions);
    for (uint32_t i = 0; i < actions.count; i++)
        carry_out(agent, &actions.list[i]);
}

void agent_tell(struct agent *agent, const struct branch_id *branch,
                enum participant_event_type type, const char *sqlstate, const char *message)
{
    agent_event(agent,
                (struct participant_event){
                    .type = type, .branch = *branch, .sqlstate = sqlstate, .message = message});
}

static void take_order(struct agent *agent, const struct tm_link *tm, const struct order *order)
{
    static const enum participant_event_type events[ORDERS] = {
        [ORDER_PREPARE] = PE_PREPARE,   [ORDER_COMMIT] = PE_COMMIT,
        [ORDER_ROLLBACK] = PE_ROLLBACK, [ORDER_COMMIT_ONE_PHASE] = PE_COMMIT_ONE_PHASE,
        [ORDER_SETTLE] = PE_SETTLE,
    };
    POINT_IF(order->type == ORDER_PREPARE, "agent.take-prepare");
    POINT_IF(order->type == ORDER_COMMIT, "agent.take-commit");
    POINT_IF(order->type == ORDER_ROLLBACK, "agent.take-rollback");
    POINT_IF(order->type == ORDER_COMMIT_ONE_PHASE, "agent.take-one-phase");
    POINT_IF(order->type == ORDER_SETTLE, "agent.take-settle");
    POINT_IF(order->type == ORDER_RECOVER, "agent.take-recover");
    if (order->type == ORDER_RECOVER) {
        indoubt_scan(agent, tm->name, order->number);
        return;
    }
    agent_event(agent, (struct participant_event){
                           .type = events[order->type], .branch = order->branch, .order = order});
}

/* ---- requests ---- */

/* Orders are for branches of the sender's own, at this resource manager. */
static int check_orders(const struct agent *agent, const struct tm_link *tm,
                        const struct order *orders, uint32_t count, struct failure *failure)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct branch_id *branch = &orders[i].branch;
        if (orders[i].type == ORDER_RECOVER)
            continue;
        if (strcmp(branch->gtrid.tm, tm->name) != 0)
            return refuse(failure, ERR_INVALID_REQUEST,
                          "orders[%u]: the branch belongs to coordinator %s", i, branch->gtrid.tm);
        if (strcmp(branch->rm, agent->options->rm) != 0)
            return refuse(failure, ERR_UNKNOWN_RM, "orders[%u]: the branch is of %s, I serve %s", i,
                          branch->rm, agent->options->rm);
        if (branch->gtrid.incarnation > tm->incarnation)
            return refuse(failure, ERR_INVALID_REQUEST,
                          "orders[%u]: the branch is of a later start than its sender", i);
    }
    return 0;
}

static uint32_t at_most(uint32_t wait_ms)
{
    return wait_ms < WAIT_MS_MOST ? wait_ms : WAIT_MS_MOST;
}

static void take_orders(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct order *orders = calloc(ORDERS_MAX, sizeof *orders);
    uint32_t count = 0, wait_ms = 0;
    if (orders == NULL)
        abort();
    struct tm_link *tm = tms_sender(agent, object, &failure);
    if (tm == NULL || wire_read_orders(object, orders, &count, &failure) != 0 ||
        field_ms(object, "wait_ms", &wait_ms, &failure) != 0 ||
        check_orders(agent, tm, orders, count, &failure) != 0) {
        reply_failure(request, &failure);
    } else {
        for (uint32_t i = 0; i < count; i++)
            take_order(agent, tm, &orders[i]);
        POINT("agent.orders-taken");
        tms_keep_orders(agent, tm, request, at_most(wait_ms));
    }
    free(orders);
}

static void take_poll(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    uint32_t wait_ms = 0;
    struct tm_link *tm = tms_sender(agent, object, &failure);
    if (tm == NULL || field_ms(object, "wait_ms", &wait_ms, &failure) != 0)
        reply_failure(request, &failure);
    else
        tms_keep_poll(agent, tm, request, at_most(wait_ms));
}

static void answer_status(struct agent *agent, struct net_request *request)
{
    char number[24];
    cJSON *answer = wire_ok();
    cJSON_AddStringToObject(answer, "rm", agent->options->rm);
    cJSON_AddStringToObject(answer, "state",
                            agent->draining              ? "stopping"
                            : agent->participant == NULL ? "starting"
                            : control_ready(agent)       ? "up"
                                                         : "down");
    u64_format(agent->incarnation, number);
    cJSON_AddStringToObject(answer, "incarnation", number);
    cJSON_AddStringToObject(answer, "database", agent->identity.database);
    cJSON_AddStringToObject(answer, "server_version", agent->identity.server_version);
    u64_format(agent->identity.system_identifier, number);
    cJSON_AddStringToObject(answer, "system_identifier", number);
    cJSON_AddNumberToObject(answer, "timeline", agent->identity.timeline);
    cJSON_AddNumberToObject(answer, "branches",
                            agent->participant == NULL ? 0 : participant_count(agent->participant));
    cJSON_AddNumberToObject(answer, "sessions", sessions_open(agent));
    cJSON_AddNumberToObject(answer, "prepared", agent->health.prepared);
    cJSON_AddNumberToObject(answer, "oldest_prepared_s", agent->health.oldest_s);
    cJSON_AddNumberToObject(answer, "slots_max", agent->health.slots_max);
    cJSON_AddStringToObject(answer, "last_error", agent->health.last_error);
    tms_list(agent, cJSON_AddArrayToObject(answer, "coordinators"));
    reply_object(request, answer);
}

/* What only a coordinator may ask: by socket file its own user or root. */
static bool may_order(const struct inbound *inbound)
{
    return !inbound->peer.local || inbound->peer.uid == 0 || inbound->peer.uid == geteuid();
}

static void take_request(struct agent *agent, struct inbound *inbound)
{
    struct failure failure = {0};
    const char *op = wire_op_text(inbound->object);
    bool private = op != NULL && (strcmp(op, "register") == 0 || strcmp(op, "orders") == 0 ||
                                  strcmp(op, "results") == 0);
    if (op == NULL) {
        refuse(&failure, ERR_INVALID_REQUEST, "op is missing or no text");
    } else if (private && !may_order(inbound)) {
        refuse(&failure, ERR_NOT_PERMITTED, "%s is for the agent's own user and root", op);
    } else if (strcmp(op, "status") == 0) {
        answer_status(agent, inbound->request);
        return;
    } else if (strcmp(op, "check") == 0) {
        preflight_check(agent, inbound->request);
        return;
    } else if (!private && strcmp(op, "exec") != 0 && strcmp(op, "prepared") != 0) {
        refuse(&failure, ERR_UNKNOWN_OPERATION, "an agent has no operation \"%.64s\"", op);
    } else if (agent->participant == NULL) {
        refuse(&failure, ERR_RM_UNAVAILABLE,
               "the agent of %s has no connection to its database%s%s", agent->options->rm,
               agent->health.last_error[0] == '\0' ? "" : ": ", agent->health.last_error);
    } else if (strcmp(op, "exec") == 0) {
        cJSON *object = inbound->object;
        inbound->object = NULL;
        POINT("agent.take-exec");
        sessions_exec(agent, inbound->request, object);
        return;
    } else if (strcmp(op, "prepared") == 0) {
        indoubt_list(agent, inbound->request);
        return;
    } else if (strcmp(op, "register") == 0) {
        tms_register(agent, inbound->request, inbound->object);
        return;
    } else if (strcmp(op, "orders") == 0) {
        take_orders(agent, inbound->request, inbound->object);
        return;
    } else {
        take_poll(agent, inbound->request, inbound->object);
        return;
    }
    reply_failure(inbound->request, &failure);
}

/* In one of nng's threads. */
static void receive(void *arg, struct net_request *request, const struct net_peer *peer,
                    const char *bytes, size_t length)
{
    struct agent *agent = arg;
    struct failure failure = {0};
    if (bytes == NULL) {
        refuse(&failure, ERR_INVALID_REQUEST, "the request is longer than %d bytes", MESSAGE_MAX);
        reply_failure(request, &failure);
        return;
    }
    cJSON *object = wire_parse(bytes, length, &failure);
    struct inbound *inbound = object == NULL ? NULL : calloc(1, sizeof *inbound);
    if (inbound == NULL) {
        if (object != NULL)
            abort();
        reply_failure(request, &failure);
        return;
    }
    inbound->post.kind = POST_REQUEST;
    inbound->request = request;
    inbound->peer = *peer;
    inbound->object = object;
    loop_post(agent->loop, &inbound->post);
    POINT("agent.request-posted");
}

/* ---- the loop ---- */

void agent_serve(struct agent *agent)
{
    void *memory = malloc(participant_bytes(AGENT_BRANCHES_MAX));
    if (memory == NULL)
        abort();
    agent->participant = participant_init(memory, AGENT_BRANCHES_MAX, agent->incarnation);
    log_notice("serving %s: database %s, PostgreSQL %s, agent incarnation %" PRIu64,
               agent->options->rm, agent->identity.database, agent->identity.server_version,
               agent->incarnation);
    preflight(agent);
    POINT("agent.serving");
    sd_notify(0, "READY=1");
}

void agent_stop(struct agent *agent, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_error("%s", message);
    agent->over = true;
    agent->exit_status = EXIT_FAILURE;
}

static void drain_inbox(struct agent *agent)
{
    for (struct post *post = loop_take(agent->loop); post != NULL; post = loop_take(agent->loop)) {
        struct inbound *inbound = (struct inbound *)post;
        take_request(agent, inbound);
        cJSON_Delete(inbound->object);
        free(inbound);
    }
}

static void tick(struct agent *agent, uint64_t now_ms)
{
    struct participant_event event;
    pg_set_tick(agent->set, now_ms);
    if (agent->participant == NULL)
        return;
    while (participant_due(agent->participant, now_ms, &event))
        agent_event(agent, event);
    if (now_ms >= agent->health_ms && control_ready(agent)) {
        control_tick(agent);
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
    uint64_t until_ms = least(pg_set_wake_ms(agent->set), tms_wake_ms(agent));
    if (agent->participant == NULL)
        return until_ms;
    until_ms = least(until_ms, participant_wake_ms(agent->participant));
    return control_ready(agent) ? least(until_ms, agent->health_ms) : until_ms;
}

/* PREPAREs and COMMITs under way are waited for; sessions that are open are given up. */
static bool drained(const struct agent *agent)
{
    return agent->participant == NULL || !control_ready(agent) ||
           (sessions_busy(agent) == 0 && finish_busy(agent) == 0);
}

static void turn_until_over(struct agent *agent)
{
    uint64_t drain_until_ms = UINT64_MAX;
    while (!agent->over) {
        loop_wait(agent->loop, least(wake_ms(agent), drain_until_ms));
        uint64_t now_ms = loop_now_ms();
        if (loop_signal(agent->loop) != 0 && !agent->draining) {
            log_notice("stopping");
            POINT("agent.stopping");
            sd_notify(0, "STOPPING=1");
            agent->draining = true;
            drain_until_ms = now_ms + DRAIN_MS;
        }
        drain_inbox(agent);
        tick(agent, now_ms);
        tms_deliver(agent, now_ms);
        if (agent->draining && (drained(agent) || now_ms >= drain_until_ms))
            agent->over = true;
    }
}

static int start(struct agent *agent, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    const struct agent_options *options = agent->options;
    struct net_server_options server = {
        .url = options->listen,
        .mode = options->socket_mode,
        .group = options->socket_group,
        .handler = receive,
        .busy = reply_busy,
        .arg = agent,
    };
    POINT("agent.start");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (loop_create(&agent->loop, error) != 0 || loop_signals(agent->loop, signals, error) != 0 ||
        pg_set_create(&agent->set, agent->loop, error) != 0 || tms_create(agent, error) != 0 ||
        sessions_create(agent, error) != 0 || finish_create(agent, error) != 0 ||
        indoubt_create(agent, error) != 0)
        return -1;
    return net_listen(&agent->server, &server, error) != 0 ? -1 : control_open(agent, error);
}

/* Open sessions roll back as their connections close; what is prepared stays. Questions that
 * are under way have no answer any more, and the memory goes with the process. */
static void stop(struct agent *agent)
{
    if (agent->server != NULL)
        net_server_close(agent->server);
    if (agent->set != NULL)
        pg_set_hang_up(agent->set);
}

int agent_run(const struct agent_options *options)
{
    static struct agent agent;
    struct error error = {.hint = ""};
    agent.options = options;
    if (start(&agent, &error) == 0) {
        turn_until_over(&agent);
    } else {
        log_error("%s%s%s", error.message, error.hint[0] == '\0' ? "" : "; hint: ", error.hint);
        agent.exit_status = EXIT_FAILURE;
    }
    stop(&agent);
    return agent.exit_status;
}
