/*
 * tm/server.c - the coordinator's daemon: one loop that turns the core.
 *
 * Requests are decoded as they come, HTTP's in threads of its own, and posted; the log's thread
 * posts how far it is durable. This thread alone owns the state. Each turn drains what was posted,
 * hands the turn's records to the log in one piece and only then sends. It never waits for a disk,
 * so it answers while one stalls.
 */
#include "tm/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "common/json.h"
#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/reply.h"
#include "common/ticket.h"
#include "tm/alarms.h"
#include "tm/capacity.h"
#include "tm/checkpoint.h"
#include "tm/inquiry.h"
#include "tm/peers.h"
#include "tm/timeline.h"

enum {
    DRAIN_MS = 5000, /* after the last decision: how long a stop waits for it to be applied */
};

/* One message of a client: one request, or a batch that is answered in one piece. */
struct call;

/* What was asked: large, and of no use once it was taken up, however long its answer takes. */
struct asking {
    struct request request;
    struct failure failure; /* when it could not be read */
};

struct item {
    struct call *call;
    cJSON *plan; /* a DBA's decision: what it does at each branch */
    char *reply; /* as text, and how long */
    size_t length;
};

struct call {
    struct post post;
    answer_fn *answer;
    void *origin;
    bool batch;
    uint32_t count;
    uint32_t unanswered;
    struct asking *askings; /* of the items; NULL once they are taken up */
    struct item items[];
};

struct durable_post {
    struct post post;
    uint64_t records;
    uint64_t lsn;
};

/* ---- in any thread: decode and post ---- */

static struct call *server_call_new(bool batch, uint32_t count)
{
    struct call *call = calloc(1, sizeof *call + count * sizeof *call->items);
    struct asking *askings = malloc(count * sizeof *askings); /* server_read_item() fills them */
    if (call == NULL || askings == NULL) {
        free(call);
        free(askings);
        return NULL;
    }
    call->askings = askings;
    call->post.kind = POST_CALL;
    call->batch = batch;
    call->count = count;
    call->unanswered = count;
    return call;
}

static void server_call_free(struct call *call)
{
    free(call->askings);
    free(call);
}

static void server_read_item(struct call *call, uint32_t at, const cJSON *object, uint64_t caller)
{
    struct item *item = &call->items[at];
    struct asking *asking = &call->askings[at];
    item->call = call;
    if (wire_read_request(object, &asking->request, &asking->failure) != 0)
        asking->request.op = OP_NONE;
    asking->request.client = (uint64_t)(uintptr_t)item;
    asking->request.caller = caller;
}

/* Returns NULL with *failure when the message as a whole is no good. */
static struct call *server_read_call(const cJSON *object, uint64_t caller, struct failure *failure)
{
    const cJSON *batch = cJSON_GetObjectItemCaseSensitive(object, "batch");
    int count = batch == NULL ? 1 : cJSON_GetArraySize(batch);
    if (batch != NULL && (!cJSON_IsArray(batch) || count < 1 || count > BATCH_MAX)) {
        refuse(failure, ERR_INVALID_REQUEST, "batch: an array of 1 to %d requests", BATCH_MAX);
        return NULL;
    }
    struct call *call = server_call_new(batch != NULL, (uint32_t)count);
    if (call == NULL) {
        refuse(failure, ERR_BUSY, "out of memory");
        return NULL;
    }
    if (batch == NULL) {
        server_read_item(call, 0, object, caller);
        return call;
    }
    uint32_t at = 0;
    const cJSON *element;
    cJSON_ArrayForEach(element, batch) server_read_item(call, at++, element, caller);
    return call;
}

void server_call(struct server *server, const cJSON *message, uint64_t caller, answer_fn *answer,
                 void *origin)
{
    struct failure failure = {.code = ERR_NONE};
    struct call *call = server_read_call(message, caller, &failure);
    if (call == NULL) {
        size_t length;
        char *text = wire_write_failure(&failure, &length);
        answer(origin, text, length);
        return;
    }
    call->answer = answer;
    call->origin = origin;
    loop_post(server->loop, &call->post);
    POINT("tm.request-posted");
}

/* ---- requests, as they come ---- */

static void server_answer_socket(void *origin, char *text, size_t length)
{
    net_reply(origin, text, length);
    free(text);
}

static void server_take_request(void *arg, struct net_request *origin, const struct net_peer *peer,
                                const char *bytes, size_t length)
{
    struct server *server = arg;
    struct failure failure = {.code = ERR_NONE};
    if (bytes == NULL) {
        refuse(&failure, ERR_INVALID_REQUEST, "a request of %zu bytes; at most %d are taken",
               length, MESSAGE_MAX);
        reply_failure(origin, &failure);
        return;
    }
    cJSON *message = wire_parse(bytes, length, &failure);
    if (message == NULL)
        reply_failure(origin, &failure);
    else
        server_call(server, message, peer->local ? peer->uid : CALLER_UNKNOWN, server_answer_socket,
                    origin);
    cJSON_Delete(message);
}

/* ---- in the log's thread ---- */

static void server_take_durable(void *arg, uint64_t records, uint64_t durable_lsn)
{
    struct server *server = arg;
    struct durable_post *post = must_alloc(sizeof *post, "the news that the log is durable");
    *post =
        (struct durable_post){.post.kind = POST_DURABLE, .records = records, .lsn = durable_lsn};
    loop_post(server->loop, &post->post);
    POINT("tm.durable-posted");
}

/* ---- the end of a turn ---- */

static char *server_join_replies(struct call *call, size_t *length)
{
    struct json json;
    json_begin(&json);
    json_open_list(&json, "batch");
    for (uint32_t i = 0; i < call->count; i++) {
        json_put_raw(&json, call->items[i].reply, call->items[i].length);
        free(call->items[i].reply);
    }
    json_close_list(&json);
    return json_end(&json, length);
}

/* Takes the text. */
static void server_finish_item(struct item *item, char *text, size_t length)
{
    struct call *call = item->call;
    item->length = length;
    if (--call->unanswered > 0) { /* which may take long: keep no more than it is */
        char *shorter = realloc(text, length + 1);
        item->reply = shorter != NULL ? shorter : text;
        return;
    }
    item->reply = text;
    if (call->batch)
        text = server_join_replies(call, &length);
    call->answer(call->origin, text, length);
    server_call_free(call);
}

void server_answer(uint64_t client, cJSON *reply)
{
    size_t length;
    char *text = wire_print(reply, &length);
    server_finish_item((struct item *)(uintptr_t)client, text, length);
}

/* Who it was and why, for the log: what a database refused is news for its DBA too. */
static void server_say_ending(const struct server *server, const struct reply *reply)
{
    struct txn_view view;
    char gtrid[GTRID_BYTES];
    bool mixed = reply->outcome == OUTCOME_MIXED;
    if (reply->op != OP_COMMIT || !reply->has_reason ||
        (!mixed && reply->outcome != OUTCOME_ROLLED_BACK) ||
        !coordinator_show(server->coordinator, &reply->gtrid, server->now_ms, &view))
        return;
    gtrid_format(&reply->gtrid, gtrid);
    const struct origin *origin = &view.origin;
    const struct reason *reason = &reply->reason;
    logger_write(mixed ? LEVEL_ERROR : LEVEL_INFO,
                 "%s is %s: %s%s%s %s; label \"%s\", application \"%s\"%s%s", gtrid,
                 outcome_word(reply->outcome), reason->rm, reason->rm[0] != '\0' ? ": " : "",
                 reason->sqlstate, reason->message, origin->label, origin->application,
                 origin->traceparent[0] != '\0' ? ", trace " : "", origin->traceparent);
}

/* What a DBA decided, with what it does at each branch. */
static char *server_add_plan(char *reply, size_t *length, cJSON *plan)
{
    cJSON *object = cJSON_ParseWithLength(reply, *length);
    cJSON_AddItemToObject(object, "branches", cJSON_DetachItemFromObject(plan, "branches"));
    free(reply);
    return wire_print(object, length);
}

/* What the core does not know of a branch: where its agent is, and the ticket to it. */
static void server_send_reply(struct server *server, struct reply *reply)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    struct branch_access access[BRANCHES_MAX];
    char tickets[BRANCHES_MAX][TICKET_BYTES];

    server_say_ending(server, reply);
    for (uint32_t i = 0; i < reply->branch_count; i++) {
        const struct enlisted *enlisted = &reply->branches[i];
        uint32_t rm = registry_find(registry, enlisted->rm);
        struct ticket ticket = {
            .agent_incarnation = enlisted->agent_incarnation,
            .allowed_ms = enlisted->left_ms,
            .read_only = enlisted->read_only,
            .isolation = enlisted->isolation,
        };
        struct branch_id id = {.gtrid = reply->gtrid};
        memcpy(ticket.role, enlisted->role, sizeof ticket.role);
        memcpy(id.rm, enlisted->rm, sizeof id.rm);
        memcpy(id.branch, enlisted->branch, sizeof id.branch);
        ticket_write(&ticket, &id, links_secret(server->links, rm), tickets[i]);
        access[i].agent = registry->rms[rm].url;
        access[i].ticket = tickets[i];
    }
    struct item *item = (struct item *)(uintptr_t)reply->client;
    size_t length;
    /* Running time is never more than what has gone by: so it is at least since then. */
    if (reply->has_remembered)
        reply->remembered_since_s = (uint64_t)time(NULL) - reply->remembered_ms / 1000;
    char *text = wire_write_reply(reply, access, &length);
    if (item->plan != NULL && reply->error == ERR_NONE)
        text = server_add_plan(text, &length, item->plan);
    cJSON_Delete(item->plan);
    server_finish_item(item, text, length);
}

/* The records first: whatever a send rests on must at least be on its way to the disk, and what
 * depends on a record is not among these sends. */
static void server_finish_turn(struct server *server)
{
    struct turn *turn = server->turn;
    POINT_IF(turn->record_count > 0, "tm.before-append");
    if (turn->record_count > 0) {
        wal_append(server->wal, turn->records, turn->record_length, turn->record_count);
        audit_handed(server->audit, turn->records, turn->record_length);
    }
    server->handed_over += turn->record_count;
    POINT_IF(turn->record_count > 0, "tm.after-append");
    for (uint32_t i = 0; i < turn->order_count; i++)
        links_order(server->links, &turn->orders[i]);
    POINT_IF(turn->reply_count > 0, "tm.before-replies");
    for (uint32_t i = 0; i < turn->reply_count; i++)
        server_send_reply(server, &turn->replies[i]);
    POINT_IF(turn->reply_count > 0, "tm.after-replies");
    links_flush(server->links);
    turn_begin(turn, server->coordinator);
}

static void server_step(struct server *server, struct event *event)
{
    event->now_ms = server->now_ms;
    if (turn_full(server->turn))
        server_finish_turn(server);
    turn_step(server->turn, event);
}

/* ---- what was posted ---- */

static void server_settle_item(struct server *server, struct item *item, struct request *request)
{
    struct event event = {.type = EV_REQUEST, .request = request};
    cJSON *reply;
    if (dba_answers(server, request, &reply)) {
        server_answer(request->client, reply);
        return;
    }
    if (request->has_gtrid)
        item->plan = dba_plan(server, request);
    server_step(server, &event);
}

static const char *const request_points[] = {
    [OP_BEGIN] = "tm.take-begin",     [OP_ENLIST] = "tm.take-enlist",
    [OP_COMMIT] = "tm.take-commit",   [OP_ROLLBACK] = "tm.take-rollback",
    [OP_OUTCOME] = "tm.take-outcome",
};

static void server_handle_item(struct server *server, struct item *item, struct asking *asking)
{
    struct request *request = &asking->request;
    size_t length;
    char *text;
    POINT_OF(request_points, request->op);
    switch (request->op) {
    case OP_NONE:
        text = wire_write_failure(&asking->failure, &length);
        server_finish_item(item, text, length);
        break;
    case OP_SHOW:
    case OP_LIST:
    case OP_AGENTS:
    case OP_STATUS:
        server_answer(request->client, admin_answer(server, request));
        break;
    case OP_IN_DOUBT:
    case OP_CHECK:
        inquiry_ask(server, request);
        break;
    case OP_RESOLVE:
    case OP_FORGET:
    case OP_WAIVE:
    case OP_RELEASE:
    case OP_RETIRE:
    case OP_PAUSE:
    case OP_RESUME:
        server_settle_item(server, item, request);
        break;
    default: {
        struct event event = {.type = EV_REQUEST, .request = request};
        server_step(server, &event);
    }
    }
}

static void server_handle_call(struct server *server, struct call *call)
{
    /* The last item's answer frees the call. */
    uint32_t count = call->count;
    struct asking *askings = call->askings;
    call->askings = NULL;
    for (uint32_t i = 0; i < count; i++)
        server_handle_item(server, &call->items[i], &askings[i]);
    free(askings);
}

static const char *const result_points[] = {
    [RESULT_READY] = "tm.take-ready",     [RESULT_READ_ONLY] = "tm.take-read-only",
    [RESULT_NO] = "tm.take-no",           [RESULT_DONE] = "tm.take-done",
    [RESULT_OPENED] = "tm.take-opened",   [RESULT_FOUND] = "tm.take-found",
    [RESULT_SCANNED] = "tm.take-scanned", [RESULT_BALLOT] = "tm.take-ballot",
};

static void server_handle_news(struct server *server, struct link_news *news)
{
    if (links_take(server->links, news, server->now_ms)) {
        struct event event = {.rm = news->rm};
        switch (news->type) {
        case LINK_ANSWER:
            POINT("tm.take-registration");
            event.type = EV_ANSWER;
            event.answer = &news->answer;
            server_step(server, &event);
            break;
        case LINK_TOLD:
            break;
        case LINK_LOST:
            POINT("tm.take-loss");
            event.type = EV_LOST;
            server_step(server, &event);
            break;
        case LINK_RESULTS:
            event.type = EV_RESULT;
            for (uint32_t i = 0; i < news->count; i++) {
                event.result = &news->results[i];
                POINT_OF(result_points, event.result->type);
                server_step(server, &event);
            }
            break;
        }
    }
    link_news_free(news);
}

static void server_handle_post(struct server *server, struct post *post)
{
    switch ((enum server_post)post->kind) {
    case POST_CALL:
        server_handle_call(server, (struct call *)post);
        break;
    case POST_LINK:
        server_handle_news(server, (struct link_news *)post);
        break;
    case POST_ASKED:
        inquiry_take(server, post);
        break;
    case POST_DURABLE: {
        const struct durable_post *durable = (struct durable_post *)post;
        POINT("tm.before-decided");
        coordinator_durable(server->coordinator, durable->records, durable->lsn);
        POINT("tm.after-decided");
        audit_durable(server->audit, durable->records, durable->lsn);
        free(post);
        break;
    }
    }
}

/* ---- the loop ---- */

static uint64_t server_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Drain the inbox and everything that is due; send. Returns when to turn again at the latest. */
static uint64_t server_turn(struct server *server)
{
    struct post *post;
    server->now_ms = loop_now_ms();
    while ((post = loop_take(server->loop)) != NULL)
        server_handle_post(server, post);
    while (turn_due(server->turn, server->now_ms))
        server_finish_turn(server);
    server_finish_turn(server);
    timeline_log_slow(server);
    if (wal_wants_checkpoint(server->wal))
        checkpoint_take(server);

    uint64_t wake = coordinator_wake_ms(server->coordinator);
    wake = server_earlier(wake, links_tend(server->links, server->now_ms));
    return server_earlier(wake, alarms_tend(server));
}

/* After SIGTERM: everything is decided, and applied as far as that can be had soon. */
static bool server_is_drained(const struct server *server, uint64_t decided_until_ms)
{
    struct coordinator_counts counts;
    coordinator_counts(server->coordinator, &counts);
    return counts.live == 0 || (counts.undecided == 0 && server->now_ms >= decided_until_ms);
}

static void server_serve(struct server *server)
{
    uint64_t drain_until_ms = UINT64_MAX;
    bool told_ready = false;
    for (;;) {
        uint64_t wake = server_turn(server);
        if (!told_ready && coordinator_started(server->coordinator)) {
            told_ready = true;
            log_notice("%s is ready, incarnation %llu", server->settings->tm,
                       (unsigned long long)coordinator_incarnation(server->coordinator));
            sd_notify(0, "READY=1");
        }
        bool again = false;
        for (int signal = loop_signal(server->loop); signal != 0;
             signal = loop_signal(server->loop)) {
            again = drain_until_ms != UINT64_MAX;
            if (again)
                break;
            log_notice("stopping: no more transactions are begun, the running ones are finished");
            POINT("tm.stopping");
            sd_notify(0, "STOPPING=1");
            struct event event = {.type = EV_DRAIN};
            server_step(server, &event);
            drain_until_ms = server->now_ms + DRAIN_MS;
        }
        if (drain_until_ms != UINT64_MAX) {
            if (again || server_is_drained(server, drain_until_ms))
                return;
            uint64_t look_again = server->now_ms + 50;
            wake = wake < look_again ? wake : look_again;
        }
        loop_wait(server->loop, wake);
    }
}

/* ---- the start ---- */

/* The trail is opened only once the log has made its directory. */
static void server_keep_for_trail(struct server *server, const struct record *record)
{
    size_t bytes = (server->recovered_count + 1) * sizeof *record;
    server->recovered = must_grow(server->recovered, bytes, "the records for the audit trail");
    server->recovered[server->recovered_count++] = *record;
}

static int server_open_trail(struct server *server, struct error *error)
{
    if (audit_open(&server->audit, server->settings->data_dir, server->settings->tm, error) != 0)
        return -1;
    for (size_t i = 0; i < server->recovered_count; i++)
        if (server->recovered[i].lsn > server->wal_info.checkpoint_lsn)
            audit_recovered(server->audit, &server->recovered[i]);
    free(server->recovered);
    server->recovered = NULL;
    return 0;
}

static int server_replay(void *arg, const struct wal_record *written, struct error *error)
{
    struct server *server = arg;
    struct record record;
    const char *why = NULL;
    switch (record_decode(written->type, written->version, written->payload, written->length,
                          &record)) {
    case RECORD_OK:
        record.lsn = written->lsn;
        record.archived = written->archived;
        if (!coordinator_replay(server->coordinator, &record, &why))
            return fail(error, "record %llu (%s): %s", (unsigned long long)written->lsn,
                        record_name(written->type), why);
        if (audit_is_for(written->type))
            server_keep_for_trail(server, &record);
        return 0;
    case RECORD_MAY_IGNORE:
        return 0;
    case RECORD_NOT_KNOWN:
        fail(error, "record %llu has type %u, which this version does not know",
             (unsigned long long)written->lsn, written->type);
        return fail_hint(error, "the log was written by a later version of Assent: start that one");
    case RECORD_MALFORMED:
        break;
    }
    return fail(error, "record %llu (%s) is malformed though its checksum is right",
                (unsigned long long)written->lsn, record_name(written->type));
}

static int server_make_core(struct server *server, struct error *error)
{
    const struct settings *settings = server->settings;
    const struct coordinator_limits limits = {
        .transactions_max = settings->max_transactions,
        .branches_max = settings->max_branches,
        .waiters_max = settings->max_waiting,
        .ended_max = 10000,
        .outcome_chunks_max = (settings->max_outcomes - 1) / CHUNK_SEQUENCES + 1,
        .keys_max = settings->max_keys,
    };
    struct coordinator_settings core = {
        .transaction_timeout_ms = settings->transaction_timeout_ms,
        .resend_least_ms = 500,
        .resend_most_ms = 5000,
        .scan_ms = 5000,
        .retention_ms = settings->retention_ms,
        .key_retention_ms = settings->key_retention_ms,
    };
    memcpy(core.tm, settings->tm, sizeof core.tm);
    random_bytes(&core.seed, sizeof core.seed);
    void *room = calloc(1, coordinator_bytes(&limits));
    if (room == NULL)
        return fail(error, "out of memory for %u transactions (max_transactions)",
                    settings->max_transactions);
    server->turn = must_alloc(sizeof *server->turn, "a turn of the coordinator");
    server->inquiries = inquiries_create();
    server->alarms = alarms_create();
    server->coordinator = coordinator_init(room, &limits, &core);
    turn_begin(server->turn, server->coordinator);
    return 0;
}

static int server_open_log(struct server *server, bool moved, struct error *error)
{
    const struct wal_options options = {
        .dir = server->settings->data_dir,
        .tm = server->settings->tm,
        .moved = moved,
        .segment_bytes = server->settings->segment_bytes,
    };
    if (wal_open(&server->wal, &options, &server->wal_info, server_replay, server, error) != 0)
        return -1;
    if (server->wal_info.torn)
        log_notice("the log ended in a torn record, as a crash may leave it; it was cut off");
    for (uint32_t i = 0; i < server->settings->rm_count; i++) {
        const struct rm_settings *rm = &server->settings->rms[i];
        if (coordinator_configure(server->coordinator, rm->name, rm->url) == UINT32_MAX)
            return fail(error, "more than %d resource managers in the log and the configuration",
                        RMS_MAX);
    }
    const struct registry *registry = coordinator_registry(server->coordinator);
    for (uint32_t i = 0; i < registry->count; i++)
        if (!registry->rms[i].configured && !registry->rms[i].retired)
            log_warning(
                "%s is in the log but not in the configuration: its address of then is used",
                registry->rms[i].name);
    return 0;
}

static int server_start(struct server *server, const struct server_claims *claims,
                        struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    const struct settings *settings = server->settings;

    POINT("tm.start");
    descriptors_raise();
    logger_start();
    if (loop_create(&server->loop, error) != 0 || loop_signals(server->loop, signals, error) != 0 ||
        server_make_core(server, error) != 0 ||
        server_open_log(server, claims->moved, error) != 0 || server_open_trail(server, error) != 0)
        return -1;

    POINT("tm.log-recovered");
    struct event event = {
        .type = EV_START,
        .log_incarnation = server->wal_info.incarnation,
        .recovered_lsn = server->wal_info.recovered_lsn,
        .unfence = claims->unfence,
    };
    random_bytes(&event.instance, sizeof event.instance);
    server->started_ms = server->now_ms = loop_now_ms();
    coordinator_trust_host(server->coordinator, strcmp(settings->presume_abort, "same-host") == 0 &&
                                                    server->wal_info.same_home &&
                                                    !server->wal_info.created);
    server_step(server, &event);

    POINT("tm.before-log-begins");
    uint8_t peer_key[SECRET_BYTES];
    if (peers_key(settings->data_dir, peer_key, error) != 0 ||
        wal_begin(server->wal, coordinator_incarnation(server->coordinator), server_take_durable,
                  server, error) != 0)
        return -1;
    server->links =
        links_open(server->loop, POST_LINK, server->coordinator, &server->wal_info.log, peer_key);
    if (capacity_plan(server, error) != 0)
        return -1;

    const struct net_server_options options = {
        .url = settings->listen,
        .mode = settings->socket_mode,
        .group = settings->socket_group,
        .max_waiting = settings->max_waiting,
        .descriptors = server->descriptors.bound,
        .handler = server_take_request,
        .busy = reply_busy,
        .arg = server,
    };
    POINT("tm.before-listen");
    if (net_listen(&server->net, server->loop, &options, error) != 0)
        return -1;
    const struct http_limits limits = {
        .connections = server->http_connections_max,
        .waiting = server->http_waiting_max,
    };
    return settings->http_listen[0] == '\0'
               ? 0
               : http_listen(&server->http, settings->http_listen, &limits, server, error);
}

static void server_stop(struct server *server, bool clean)
{
    struct post *post;
    if (server->net != NULL)
        net_server_close(server->net);
    http_close(server->http);
    links_close(server->links);
    POINT("tm.before-log-closes");
    wal_close(server->wal, clean);
    audit_close(server->audit);
    while (server->loop != NULL && (post = loop_take(server->loop)) != NULL) {
        if (post->kind == POST_LINK)
            link_news_free((struct link_news *)post);
        else if (post->kind == POST_ASKED)
            inquiry_take(NULL, post);
        else if (post->kind == POST_CALL)
            server_call_free((struct call *)post);
        else
            free(post);
    }
    inquiries_free(server->inquiries);
    alarms_free(server->alarms);
    loop_free(server->loop);
    free(server->coordinator);
    free(server->turn);
}

int server_run(const struct settings *settings, const struct server_claims *claims,
               struct error *error)
{
    struct server server = {.settings = settings};
    int rc = server_start(&server, claims, error);
    if (rc == 0)
        server_serve(&server);
    server_stop(&server, rc == 0);
    if (rc == 0)
        log_notice("%s has stopped", settings->tm);
    return rc;
}
