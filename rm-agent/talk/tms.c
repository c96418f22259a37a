/*
 * rm-agent/talk/tms.c - the coordinators that an agent serves: who may speak.
 *
 * A registration is judged by the row in the database, stored there durably, and only then
 * answered; from that moment older starts of the same coordinator are not listened to. What
 * we know in memory is of this start of the agent alone: after our restart everybody
 * registers again, and is told the beat that the database holds.
 */
#include "rm-agent/talk/tms.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/ticket.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/positions.h"
#include "rm-agent/postgres/sessions.h"
#include "rm-agent/votes/ballots.h"

static void accepted(void *arg, const struct pg_reply *reply)
{
    struct tm_link *tm = arg;
    if (pg_rows(reply) != 1) {
        tm->suspect = true; /* its next scan tries again */
        return;
    }
    tm->votes_after = (struct txn_number){pg_number(reply, 0, 0), pg_number(reply, 0, 1)};
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
    book_write_identity(agent, identity);
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
    struct tm_link *tm = book_any(registering->agent, registering->offer.tm);
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
    struct tm_link *tm = book_any(agent, offer->tm);
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
    if (tm->closed == NULL)
        tm->closed = must_alloc(sizeof *tm->closed, "which transactions are over");
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

static void tms_stored(void *arg, const struct pg_reply *reply)
{
    struct registering *registering = arg;
    struct tm_link *tm = book_any(registering->agent, registering->offer.tm);
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

/* Not 0, and no more than a bigint. */
static uint64_t draw(void)
{
    uint64_t number;
    random_bytes(&number, sizeof number);
    return number >> 1 | 1;
}

static void tms_judge(void *arg, const struct pg_reply *reply)
{
    struct registering *registering = arg;
    struct agent *agent = registering->agent;
    const struct offer *offer = &registering->offer;
    struct answer *answer = &registering->answer;
    if (reply->sqlstate[0] != '\0') {
        register_later(registering, reply->message);
        return;
    }
    const struct tm_row row = book_row(reply);
    answer->beat = strtoull(pg_value(reply, 0, 4), NULL, 10);
    answer->stored_incarnation = row.incarnation;
    answer->stored_lsn = row.lsn;
    answer->newcomer = !row.exists;
    answer->met = row.exists ? pg_number(reply, 0, 5) : draw();
    /* What is for another's agent must not take the place of what is for ours. */
    bool astray = offer->rm[0] != '\0' && strcmp(offer->rm, agent->options->rm) != 0;
    answer->refusal = astray ? REFUSAL_OTHER_RM : registry_judge(&row, offer);
    if (answer->refusal != REFUSAL_NONE) {
        log_warning("coordinator %s, incarnation %" PRIu64 ", refused: %s", offer->tm,
                    offer->incarnation, refusal_meaning(answer->refusal));
        book_any(agent, offer->tm)->registering = false;
        answer_offer(registering);
        free(registering);
        return;
    }
    char log[UUID_TEXT_BYTES], instance[UUID_TEXT_BYTES], incarnation[NUMBER_BYTES];
    char identity[IDENTITY_BYTES], met[NUMBER_BYTES];
    book_write_identity(agent, identity);
    u64_format(answer->met, met);
    uuid_write(&offer->log, log);
    uuid_write(&offer->instance, instance);
    snprintf(incarnation, sizeof incarnation, "%" PRIu64, offer->incarnation);
    POINT("agent.before-registration-stored");
    control_ask(agent, tms_stored, registering,
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
    struct tm_link *tm = book_add(agent, offer.tm);
    if (!control_ready(agent) || tm->registering) {
        refuse(&failure, tm->registering ? ERR_BUSY : ERR_RM_UNAVAILABLE,
               tm->registering ? "another registration of %s is under way"
                               : "no connection to the database; coordinator %s comes again",
               offer.tm);
        reply_failure(request, &failure);
        return;
    }
    struct registering *registering = must_alloc(sizeof *registering, "a registration");
    registering->agent = agent;
    registering->request = request;
    registering->offer = offer;
    describe(agent, &registering->answer);
    POINT("agent.before-judging");
    tm->registering = true;
    control_ask(agent, tms_judge, registering, BOOK_ROW_SQL, 1, offer.tm);
}

void tms_turn_away(struct agent *agent, const char *name)
{
    struct tm_link *tm = book_any(agent, name);
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
    struct tm_link *tm = book_find(agent, sender.tm);
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

void tms_list(const struct agent *agent, cJSON *out)
{
    for (const struct tm_link *tm = agent->book->by_name; tm != NULL; tm = tm->hh.next) {
        char incarnation[NUMBER_BYTES];
        cJSON *item = cJSON_CreateObject();
        snprintf(incarnation, sizeof incarnation, "%" PRIu64, tm->incarnation);
        cJSON_AddStringToObject(item, "tm", tm->name);
        cJSON_AddBoolToObject(item, "registered", tm->registered);
        cJSON_AddStringToObject(item, "incarnation", incarnation);
        cJSON_AddItemToArray(out, item);
    }
}
