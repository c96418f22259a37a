/*
 * rm-agent/tms.c - the coordinators that an agent serves: who may speak, and their mail.
 *
 * A registration is judged by the row in the database, stored there durably, and only then
 * answered; from that moment older starts of the same coordinator are not listened to. What
 * we know in memory is of this start of the agent alone: after our restart everybody
 * registers again, and is told the beat that the database holds.
 */
#include "rm-agent/tms.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/point.h"
#include "common/ticket.h"
#include "rm-agent/ballots.h"
#include "rm-agent/control.h"
#include "rm-agent/positions.h"
#include "rm-agent/sessions.h"

enum { RESULTS_KEPT_MAX = 65536, IDENTITY_BYTES = 2 * NUMBER_BYTES };

struct tms {
    struct tm_link *by_name;
};

void tms_create(struct agent *agent)
{
    agent->tms = calloc(1, sizeof *agent->tms);
    if (agent->tms == NULL)
        abort();
}

static struct tm_link *find(struct agent *agent, const char *name)
{
    struct tm_link *tm;
    HASH_FIND_STR(agent->tms->by_name, name, tm);
    return tm;
}

static struct tm_link *find_or_add(struct agent *agent, const char *name)
{
    struct tm_link *tm = find(agent, name);
    if (tm != NULL)
        return tm;
    tm = calloc(1, sizeof *tm);
    if (tm == NULL)
        abort();
    text_copy(tm->name, sizeof tm->name, name, strlen(name));
    HASH_ADD_STR(agent->tms->by_name, name, tm);
    return tm;
}

struct tm_link *tms_find(struct agent *agent, const char *name)
{
    struct tm_link *tm = find(agent, name);
    return tm != NULL && tm->registered ? tm : NULL;
}

const struct tm_link *tms_next(const struct agent *agent, const struct tm_link *tm)
{
    return tm == NULL ? agent->tms->by_name : tm->hh.next;
}

uint64_t tms_flushed_beat(struct agent *agent, const char *name)
{
    struct tm_link *tm = find(agent, name);
    return tm == NULL ? 0 : tm->flushed_beat;
}

struct tm_link *tms_known(struct agent *agent, const char *name)
{
    struct tm_link *tm = find(agent, name);
    return tm != NULL && tm->stored ? tm : NULL;
}

/* ---- what the database stores ---- */

const char tms_stored_sql[] =
    "SELECT name, assent.last('beat', name), assent.last('position', name), identity,"
    " votes_after_incarnation, votes_after_sequence, horizon_incarnation, horizon_sequence,"
    " horizon_live, peer_key FROM assent.tm";

/* Which database this is, as it is compared with what a coordinator has accepted. */
static void write_identity(const struct agent *agent, char out[IDENTITY_BYTES])
{
    snprintf(out, IDENTITY_BYTES, "%" PRIu64 "/%" PRIu32, agent->identity.system_identifier,
             agent->identity.timeline);
}

/* Dashes mean nothing; false if there are too few digits. */
static bool hex_read(const char *text, uint8_t *out, size_t bytes)
{
    size_t count = 0;
    for (; count < bytes && *text != '\0'; text++) {
        unsigned byte;
        if (*text == '-')
            continue;
        if (text[1] == '\0' || sscanf(text, "%2x", &byte) != 1)
            return false;
        out[count++] = (uint8_t)byte;
        text++;
    }
    return count == bytes;
}

static uint64_t number_at(const struct pg_reply *reply, int row, int column)
{
    return strtoull(pg_value(reply, row, column), NULL, 10);
}

static void read_live(const char *text, struct forget *out)
{
    struct failure failure;
    cJSON *list = cJSON_Parse(text);
    const cJSON *item;
    out->live_count = 0;
    cJSON_ArrayForEach(item, list)
    {
        struct txn_number *live = &out->live[out->live_count];
        if (out->live_count < FORGET_LIVE_MAX &&
            field_u64(item, "incarnation", true, &live->incarnation, &failure) == 0 &&
            field_u64(item, "sequence", true, &live->sequence, &failure) == 0)
            out->live_count++;
    }
    cJSON_Delete(list);
}

static void load(struct agent *agent, const struct pg_reply *reply, int row)
{
    char identity[IDENTITY_BYTES];
    struct tm_link *tm = find_or_add(agent, pg_value(reply, row, 0));
    write_identity(agent, identity);
    tm->stored = true;
    if (tm->beat < number_at(reply, row, 1))
        tm->beat = number_at(reply, row, 1);
    if (tm->position < number_at(reply, row, 2))
        tm->position = number_at(reply, row, 2);
    tm->suspect = strcmp(pg_value(reply, row, 3), identity) != 0;
    tm->votes_after = (struct txn_number){number_at(reply, row, 4), number_at(reply, row, 5)};
    tm->forgotten.upto = (struct txn_number){number_at(reply, row, 6), number_at(reply, row, 7)};
    read_live(pg_value(reply, row, 8), &tm->forgotten);
    tm->keyed = hex_read(pg_value(reply, row, 9), tm->peer_key, sizeof tm->peer_key);
}

void tms_load(struct agent *agent, const struct pg_reply *reply)
{
    for (int row = 0; row < pg_rows(reply); row++)
        load(agent, reply, row);
}

static uint64_t stored_beat(const struct pg_reply *reply, const char *name)
{
    for (int row = 0; row < pg_rows(reply); row++)
        if (strcmp(pg_value(reply, row, 0), name) == 0)
            return number_at(reply, row, 1);
    return 0;
}

const struct tm_link *tms_forgotten(const struct agent *agent, const struct pg_reply *reply,
                                    uint64_t *beat)
{
    for (const struct tm_link *tm = agent->tms->by_name; tm != NULL; tm = tm->hh.next) {
        *beat = stored_beat(reply, tm->name);
        if (*beat < tm->flushed_beat)
            return tm;
    }
    return NULL;
}

static void accepted(void *arg, const struct pg_reply *reply)
{
    struct tm_link *tm = arg;
    if (pg_rows(reply) != 1) {
        tm->suspect = true; /* its next scan tries again */
        return;
    }
    tm->votes_after = (struct txn_number){number_at(reply, 0, 0), number_at(reply, 0, 1)};
    tm->suspect = false;
}

void tms_accepted(struct agent *agent, struct tm_link *tm, const struct order *recover)
{
    char identity[IDENTITY_BYTES], numbers[4][NUMBER_BYTES];
    struct txn_number kept = tm->votes_after;
    if (!txn_not_after(&recover->released, &kept))
        kept = recover->released;
    else if (!tm->suspect)
        return;
    tm->votes_after = kept; /* at once; what is stored may be more */
    write_identity(agent, identity);
    u64_format(tm->incarnation, numbers[0]);
    u64_format(recover->begun, numbers[1]);
    u64_format(kept.incarnation, numbers[2]);
    u64_format(kept.sequence, numbers[3]);
    control_ask(agent, accepted, tm,
                "UPDATE assent.tm SET identity = $2,"
                " votes_after_incarnation = CASE WHEN coalesce(identity, first_identity) = $2"
                " THEN $5::bigint ELSE $3::bigint END,"
                " votes_after_sequence = CASE WHEN coalesce(identity, first_identity) = $2"
                " THEN $6::bigint ELSE $4::bigint END"
                " WHERE name = $1 RETURNING votes_after_incarnation, votes_after_sequence",
                6, tm->name, identity, numbers[0], numbers[1], numbers[2], numbers[3]);
}

/* ---- registration ---- */

struct registering {
    struct agent *agent;
    struct net_request *request;
    struct offer offer;
    struct answer answer;
};

void uuid_write(const struct uuid *uuid, char out[UUID_TEXT_BYTES])
{
    char *at = out;
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += sprintf(at, "%02x", uuid->bytes[i]);
    }
}

static void uuid_read(const char *text, struct uuid *out)
{
    memset(out, 0, sizeof *out);
    hex_read(text, out->bytes, sizeof out->bytes);
}

static void answer_offer(struct registering *registering)
{
    size_t length;
    char *text = wire_write_answer(&registering->answer, &length);
    net_reply(registering->request, text, length);
    free(text);
}

/* PostgreSQL could not say: the coordinator tries again. */
static void register_later(struct registering *registering, const char *message)
{
    struct failure failure = {0};
    struct tm_link *tm = find(registering->agent, registering->offer.tm);
    refuse(&failure, ERR_RM_UNAVAILABLE, "the registration could not be stored: %s", message);
    reply_failure(registering->request, &failure);
    tm->registering = false;
    free(registering);
}

/* What older starts left open is over; what they prepared the new one finds and settles. */
static void fence_older_starts(struct agent *agent, const struct tm_link *tm)
{
    struct participant_event event;
    while (participant_fence(agent->participant, tm->name, tm->incarnation, &event))
        agent_event(agent, event);
    sessions_forget_older(agent, tm->name, tm->incarnation);
}

static void turn_away(const struct tm_link *tm, struct kept_request *kept)
{
    struct failure failure = {0};
    if (kept->request == NULL)
        return;
    refuse(&failure, ERR_RM_REFUSED, "another start of coordinator %s has registered", tm->name);
    reply_failure(kept->request, &failure);
    kept->request = NULL;
}

static void turn_all_away(struct tm_link *tm)
{
    turn_away(tm, &tm->poll);
    for (uint32_t i = 0; i < tm->orders_kept; i++)
        turn_away(tm, &tm->orders[i]);
    tm->orders_kept = 0;
}

static void registered(void *arg, uint64_t beat)
{
    struct registering *registering = arg;
    struct agent *agent = registering->agent;
    const struct offer *offer = &registering->offer;
    struct tm_link *tm = find(agent, offer->tm);
    if (beat == 0) {
        register_later(registering, agent->health.last_error);
        return;
    }
    bool another = memcmp(&tm->instance, &offer->instance, sizeof tm->instance) != 0;
    if (!tm->stored) { /* until its first scan shows that it has accepted this database */
        tm->stored = true;
        tm->suspect = true;
    }
    if (another || !tm->registered) {
        turn_all_away(tm);
        tm->result_count = 0;
    }
    if (tm->closed == NULL && (tm->closed = calloc(1, sizeof *tm->closed)) == NULL)
        abort();
    if (another)
        closed_clear(tm->closed);
    tm->registered = true;
    tm->registering = false;
    tm->log = offer->log;
    tm->incarnation = offer->incarnation;
    tm->instance = offer->instance;
    memcpy(tm->secret, offer->secret, sizeof tm->secret);
    if (another)
        log_info("coordinator %s registered: incarnation %" PRIu64 ", log recovered to %" PRIu64,
                 tm->name, tm->incarnation, offer->recovered_lsn);
    fence_older_starts(agent, tm);
    ballots_heard(agent, tm);
    POINT("agent.before-registration-answered");
    answer_offer(registering);
    POINT("agent.registration-answered");
    free(registering);
}

static void stored(void *arg, const struct pg_reply *reply)
{
    struct registering *registering = arg;
    struct tm_link *tm = find(registering->agent, registering->offer.tm);
    if (reply->sqlstate[0] != '\0') {
        register_later(registering, reply->message);
        return;
    }
    POINT("agent.registration-stored");
    /* The answer tells the beat that was found, which another may have set and nobody flushed
     * yet: a beat behind it, set durably, flushes it. */
    if (tm->beat < registering->answer.beat)
        tm->beat = registering->answer.beat;
    if (tm->position < registering->answer.stored_lsn)
        tm->position = registering->answer.stored_lsn;
    positions_raise(registering->agent, tm, 0, true, registered, registering);
}

struct tm_row tms_row(const struct pg_reply *reply)
{
    struct tm_row row = {.exists = pg_value(reply, 0, 0)[0] != '\0'};
    uuid_read(pg_value(reply, 0, 0), &row.log);
    row.incarnation = strtoull(pg_value(reply, 0, 1), NULL, 10);
    uuid_read(pg_value(reply, 0, 2), &row.instance);
    row.lsn = strtoull(pg_value(reply, 0, 3), NULL, 10);
    return row;
}

/* Not 0, and no more than a bigint. */
static uint64_t draw(void)
{
    uint64_t number;
    random_bytes(&number, sizeof number);
    return number >> 1 | 1;
}

static void judge(void *arg, const struct pg_reply *reply)
{
    struct registering *registering = arg;
    struct agent *agent = registering->agent;
    const struct offer *offer = &registering->offer;
    struct answer *answer = &registering->answer;
    if (reply->sqlstate[0] != '\0') {
        register_later(registering, reply->message);
        return;
    }
    const struct tm_row row = tms_row(reply);
    answer->beat = strtoull(pg_value(reply, 0, 4), NULL, 10);
    answer->stored_incarnation = row.incarnation;
    answer->stored_lsn = row.lsn;
    answer->newcomer = !row.exists;
    answer->met = row.exists ? number_at(reply, 0, 5) : draw();
    /* What is for another's agent must not take the place of what is for ours. */
    bool astray = offer->rm[0] != '\0' && strcmp(offer->rm, agent->options->rm) != 0;
    answer->refusal = astray ? REFUSAL_OTHER_RM : registry_judge(&row, offer);
    if (answer->refusal != REFUSAL_NONE) {
        log_warning("coordinator %s, incarnation %" PRIu64 ", refused: %s", offer->tm,
                    offer->incarnation, refusal_meaning(answer->refusal));
        find(agent, offer->tm)->registering = false;
        answer_offer(registering);
        free(registering);
        return;
    }
    char log[UUID_TEXT_BYTES], instance[UUID_TEXT_BYTES], incarnation[NUMBER_BYTES];
    char identity[IDENTITY_BYTES], met[NUMBER_BYTES];
    write_identity(agent, identity);
    u64_format(answer->met, met);
    uuid_write(&offer->log, log);
    uuid_write(&offer->instance, instance);
    snprintf(incarnation, sizeof incarnation, "%" PRIu64, offer->incarnation);
    POINT("agent.before-registration-stored");
    control_ask(agent, stored, registering,
                "SELECT assent.enroll($1, $2::uuid, $3::bigint, $4::uuid, $5, $6::bigint)", 6,
                offer->tm, log, incarnation, instance, identity, met);
}

static void describe(const struct agent *agent, struct answer *answer)
{
    const struct identity *identity = &agent->identity;
    memset(answer, 0, sizeof *answer);
    memcpy(answer->rm, agent->options->rm, sizeof answer->rm);
    answer->agent_incarnation = agent->incarnation;
    answer->system_identifier = identity->system_identifier;
    answer->timeline = identity->timeline;
    memcpy(answer->database, identity->database, sizeof answer->database);
    memcpy(answer->server_version, identity->server_version, sizeof answer->server_version);
    memcpy(answer->peer_url, agent->options->peer_url, sizeof answer->peer_url);
    answer->witness = agent->options->witness;
}

void tms_register(struct agent *agent, struct net_request *request, const cJSON *object)
{
    struct failure failure = {0};
    struct offer offer;
    if (wire_read_offer(object, &offer, &failure) != 0) {
        reply_failure(request, &failure);
        return;
    }
    struct tm_link *tm = find_or_add(agent, offer.tm);
    if (!control_ready(agent) || tm->registering) {
        refuse(&failure, tm->registering ? ERR_BUSY : ERR_RM_UNAVAILABLE,
               tm->registering ? "another registration of %s is under way"
                               : "no connection to the database; coordinator %s comes again",
               offer.tm);
        reply_failure(request, &failure);
        return;
    }
    struct registering *registering = malloc(sizeof *registering);
    if (registering == NULL)
        abort();
    registering->agent = agent;
    registering->request = request;
    registering->offer = offer;
    describe(agent, &registering->answer);
    POINT("agent.before-judging");
    tm->registering = true;
    control_ask(agent, judge, registering, TMS_ROW_SQL, 1, offer.tm);
}

void tms_close(struct agent *agent, const struct gtrid *gtrid)
{
    struct tm_link *tm = tms_find(agent, gtrid->tm);
    if (tm != NULL && tm->incarnation == gtrid->incarnation)
        closed_note(tm->closed, gtrid->sequence);
}

bool tms_has_closed(struct agent *agent, const struct gtrid *gtrid)
{
    struct tm_link *tm = tms_find(agent, gtrid->tm);
    return tm != NULL && tm->incarnation == gtrid->incarnation &&
           closed_has(tm->closed, gtrid->sequence);
}

bool tms_hold(struct agent *agent, const char *name)
{
    struct tm_link *tm = find_or_add(agent, name);
    bool free = !tm->registering;
    tm->registering = true;
    return free;
}

void tms_release(struct agent *agent, const char *name)
{
    find(agent, name)->registering = false;
}

void tms_turn_away(struct agent *agent, const char *name)
{
    struct tm_link *tm = find(agent, name);
    tm->registered = false;
    turn_all_away(tm);
    tm->result_count = 0;
    tm->position = 0;
}

struct tm_link *tms_sender(struct agent *agent, const cJSON *object, struct failure *failure)
{
    struct sender sender;
    if (wire_read_sender(object, &sender, failure) != 0)
        return NULL;
    struct tm_link *tm = tms_find(agent, sender.tm);
    if (tm == NULL || sender.agent_incarnation != agent->incarnation) {
        refuse(failure, ERR_NOT_READY,
               "coordinator %s has not registered with this start of the agent", sender.tm);
        return NULL;
    }
    if (sender.incarnation != tm->incarnation ||
        memcmp(&sender.instance, &tm->instance, sizeof tm->instance) != 0) {
        refuse(failure, ERR_RM_REFUSED, "another start of coordinator %s has registered",
               sender.tm);
        return NULL;
    }
    ballots_heard(agent, tm);
    return tm;
}

/* ---- mail ---- */

void tms_post(struct agent *agent, const char *name, const struct result *result)
{
    struct tm_link *tm = tms_find(agent, name);
    if (tm == NULL || tm->result_count == RESULTS_KEPT_MAX)
        return;
    if (tm->result_count == tm->result_room) {
        tm->result_room = tm->result_room == 0 ? 64 : 2 * tm->result_room;
        tm->results = realloc(tm->results, tm->result_room * sizeof *tm->results);
        if (tm->results == NULL)
            abort();
    }
    struct result *kept = &tm->results[tm->result_count++];
    *kept = *result;
    kept->agent_incarnation = agent->incarnation;
}

/* With all there is, which may be nothing. */
static void answer(struct agent *agent, struct tm_link *tm, struct net_request *request)
{
    uint32_t count = tm->result_count < RESULTS_MAX ? tm->result_count : RESULTS_MAX;
    size_t length;
    char *text =
        wire_write_results(tm->results, count, agent->incarnation, &agent->health, &length);
    POINT_IF(count > 0, "agent.before-results-sent");
    net_reply(request, text, length);
    POINT_IF(count > 0, "agent.results-sent");
    free(text);
    tm->result_count -= count;
    if (tm->result_count > 0)
        memmove(tm->results, tm->results + count, tm->result_count * sizeof *tm->results);
}

void tms_keep_poll(struct agent *agent, struct tm_link *tm, struct net_request *request,
                   uint32_t wait_ms)
{
    /* A second poll comes when the answer to the first was lost. */
    if (tm->poll.request != NULL)
        answer(agent, tm, tm->poll.request);
    tm->poll = (struct kept_request){request, loop_now_ms() + wait_ms};
}

static void answer_oldest_orders(struct agent *agent, struct tm_link *tm)
{
    answer(agent, tm, tm->orders[0].request);
    tm->orders_kept--;
    memmove(tm->orders, tm->orders + 1, tm->orders_kept * sizeof *tm->orders);
}

void tms_keep_orders(struct agent *agent, struct tm_link *tm, struct net_request *request,
                     uint32_t wait_ms)
{
    if (tm->orders_kept == ORDERS_KEPT_MAX)
        answer_oldest_orders(agent, tm);
    tm->orders[tm->orders_kept++] = (struct kept_request){request, loop_now_ms() + wait_ms};
}

static void deliver(struct agent *agent, struct tm_link *tm, uint64_t now_ms)
{
    while (tm->orders_kept > 0 && (tm->result_count > 0 || now_ms >= tm->orders[0].until_ms))
        answer_oldest_orders(agent, tm);
    if (tm->poll.request != NULL && (tm->result_count > 0 || now_ms >= tm->poll.until_ms)) {
        answer(agent, tm, tm->poll.request);
        tm->poll.request = NULL;
    }
}

void tms_deliver(struct agent *agent, uint64_t now_ms)
{
    for (struct tm_link *tm = agent->tms->by_name; tm != NULL; tm = tm->hh.next)
        deliver(agent, tm, now_ms);
}

uint64_t tms_wake_ms(const struct agent *agent)
{
    uint64_t wake_ms = UINT64_MAX;
    for (const struct tm_link *tm = agent->tms->by_name; tm != NULL; tm = tm->hh.next) {
        if (tm->poll.request != NULL && tm->poll.until_ms < wake_ms)
            wake_ms = tm->poll.until_ms;
        if (tm->orders_kept > 0 && tm->orders[0].until_ms < wake_ms)
            wake_ms = tm->orders[0].until_ms;
    }
    return wake_ms;
}

void tms_list(const struct agent *agent, cJSON *out)
{
    for (const struct tm_link *tm = agent->tms->by_name; tm != NULL; tm = tm->hh.next) {
        char incarnation[NUMBER_BYTES];
        cJSON *item = cJSON_CreateObject();
        snprintf(incarnation, sizeof incarnation, "%" PRIu64, tm->incarnation);
        cJSON_AddStringToObject(item, "tm", tm->name);
        cJSON_AddBoolToObject(item, "registered", tm->registered);
        cJSON_AddStringToObject(item, "incarnation", incarnation);
        cJSON_AddItemToArray(out, item);
    }
}
