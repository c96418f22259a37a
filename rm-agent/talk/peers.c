/*
 * rm-agent/talk/peers.c - the other agents: where they are, and what is said to them.
 *
 * A coordinator tells where they are while it lives, and they are needed when it does not: so what
 * it tells is in the database before it is answered. Their messages are sealed with its key
 * (common/seal.h). Nothing is said again here: who waits for an answer asks again.
 */
#include "rm-agent/talk/peers.h"

#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/seal.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/book.h"

enum { CALLS_MAX = 16, CALL_TIMEOUT_MS = 5000, OUTBOX_MOST = 4096 };

struct neighbour {
    char key[TM_NAME_BYTES + RM_NAME_BYTES]; /* "bank/ledger" */
    char tm[TM_NAME_BYTES];
    char rm[RM_NAME_BYTES];
    char url[URL_BYTES];
    struct net_link *link; /* opened when there is something to say */
    bool complained;
    struct ballot *outbox;
    uint32_t count, room;
    UT_hash_handle hh;
};

struct peers_known {
    struct neighbour *by_key;
};

void peers_create(struct agent *agent)
{
    agent->peers = must_alloc(sizeof *agent->peers, "the other agents");
}

static void peers_hang_up(struct neighbour *neighbour)
{
    if (neighbour->link != NULL)
        net_link_close(neighbour->link);
    neighbour->link = NULL;
}

void peers_close(struct agent *agent)
{
    if (agent->peers == NULL)
        return;
    for (struct neighbour *at = agent->peers->by_key; at != NULL; at = at->hh.next)
        peers_hang_up(at);
}

static struct neighbour *find(const struct agent *agent, const char *tm, const char *rm)
{
    char key[TM_NAME_BYTES + RM_NAME_BYTES];
    struct neighbour *neighbour;
    snprintf(key, sizeof key, "%s/%s", tm, rm);
    HASH_FIND_STR(agent->peers->by_key, key, neighbour);
    return neighbour;
}

/* ---- where they are ---- */

static void learn(struct agent *agent, const char *tm, const char *rm, const char *url)
{
    struct neighbour *neighbour = find(agent, tm, rm);
    if (neighbour == NULL) {
        neighbour = must_alloc(sizeof *neighbour, "another agent");
        text_copy(neighbour->tm, sizeof neighbour->tm, tm, strlen(tm));
        text_copy(neighbour->rm, sizeof neighbour->rm, rm, strlen(rm));
        snprintf(neighbour->key, sizeof neighbour->key, "%s/%s", tm, rm);
        HASH_ADD_STR(agent->peers->by_key, key, neighbour);
    }
    if (strcmp(neighbour->url, url) == 0)
        return;
    peers_hang_up(neighbour);
    text_copy(neighbour->url, sizeof neighbour->url, url, strlen(url));
    neighbour->complained = false;
}

void peers_load(struct agent *agent, const struct pg_reply *reply)
{
    for (int row = 0; row < pg_rows(reply); row++)
        learn(agent, pg_value(reply, row, 0), pg_value(reply, row, 1), pg_value(reply, row, 2));
}

struct telling {
    struct agent *agent;
    struct net_request *request;
    struct tm_link *tm;
    struct peers peers;
};

static void peers_stored(void *arg, const struct pg_reply *reply)
{
    struct telling *telling = arg;
    struct failure failure = {0};
    if (reply->sqlstate[0] != '\0') {
        refuse(&failure, ERR_RM_UNAVAILABLE, "the other agents could not be stored: %s",
               reply->message);
        reply_failure(telling->request, &failure);
        free(telling);
        return;
    }
    memcpy(telling->tm->peer_key, telling->peers.key, sizeof telling->tm->peer_key);
    telling->tm->keyed = true;
    for (uint32_t i = 0; i < telling->peers.count; i++)
        learn(telling->agent, telling->tm->name, telling->peers.list[i].rm,
              telling->peers.list[i].url);
    reply_object(telling->request, wire_ok());
    free(telling);
}

static char *list_of(const struct peers *peers)
{
    size_t length;
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; i < peers->count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "rm", peers->list[i].rm);
        cJSON_AddStringToObject(item, "url", peers->list[i].url);
        cJSON_AddItemToArray(list, item);
    }
    return wire_print(list, &length);
}

void peers_serve(struct agent *agent, struct tm_link *tm, struct net_request *request,
                 const cJSON *object)
{
    struct failure failure = {0};
    struct telling *telling = must_alloc(sizeof *telling, "a message to another agent");
    telling->agent = agent;
    telling->request = request;
    telling->tm = tm;
    if (wire_read_peers(object, &telling->peers, &failure) != 0) {
        reply_failure(request, &failure);
        free(telling);
        return;
    }
    char key[2 * SECRET_BYTES + 1];
    hex_write(telling->peers.key, SECRET_BYTES, key);
    char *list = list_of(&telling->peers);
    POINT("agent.before-peers-stored");
    control_ask(agent, peers_stored, telling,
                "WITH keyed AS (UPDATE assent.tm SET peer_key = $3 WHERE name = $1"
                " AND peer_key IS DISTINCT FROM $3)"
                " INSERT INTO assent.peer AS p (tm, rm, url)"
                " SELECT $1, r.rm, r.url FROM json_to_recordset($2::json) AS r (rm text, url text)"
                " ON CONFLICT (tm, rm) DO UPDATE SET url = excluded.url"
                " WHERE p.url <> excluded.url",
                3, telling->tm->name, list, key);
    free(list);
}

bool peers_known(const struct agent *agent, const char *tm, const struct roster *roster,
                 const char **missing)
{
    for (uint32_t i = 0; i < roster->count; i++) {
        *missing = roster->agents[i];
        if (strcmp(*missing, agent->options->rm) != 0 && find(agent, tm, *missing) == NULL)
            return false;
    }
    return true;
}

/* ---- what is said ---- */

void peers_say(struct agent *agent, const char *rm, const struct ballot *ballot)
{
    struct neighbour *neighbour = find(agent, ballot->gtrid.tm, rm);
    if (neighbour == NULL || neighbour->count == OUTBOX_MOST)
        return;
    if (neighbour->count == neighbour->room) {
        neighbour->room = neighbour->room == 0 ? BALLOTS_MAX : 2 * neighbour->room;
        neighbour->outbox =
            must_grow(neighbour->outbox, neighbour->room * sizeof *neighbour->outbox,
                      "the messages to another agent");
    }
    neighbour->outbox[neighbour->count++] = *ballot;
}

static bool dial(struct agent *agent, struct neighbour *neighbour)
{
    struct error error;
    if (neighbour->link != NULL ||
        net_link_open(&neighbour->link, agent->loop, neighbour->url, CALLS_MAX, &error) == 0)
        return true;
    neighbour->link = NULL;
    if (!neighbour->complained)
        log_warning("agent of %s at %s: %s", neighbour->rm, neighbour->url, error.message);
    neighbour->complained = true;
    return false;
}

/* The answer to what was said comes as a message of its own. */
static void heard(void *arg, enum net_result result, const char *bytes, size_t length)
{
    (void)arg, (void)result, (void)bytes, (void)length;
}

static void peers_send(const struct agent *agent, const struct tm_link *tm,
                       struct neighbour *neighbour, const struct ballot *ballots, uint32_t count)
{
    size_t length;
    char *body = wire_write_ballots(agent->options->rm, ballots, count, &length);
    char *text = seal_write("ballots", tm->name, neighbour->rm, body, tm->peer_key, &length);
    POINT("agent.before-ballots-sent");
    net_call(neighbour->link, text, length, CALL_TIMEOUT_MS, heard, NULL);
    free(text);
    free(body);
}

static void deliver(struct agent *agent, struct neighbour *neighbour)
{
    const struct tm_link *tm = book_known(agent, neighbour->tm);
    uint32_t count = neighbour->count;
    neighbour->count = 0;
    if (tm == NULL || !tm->keyed || !dial(agent, neighbour))
        return;
    for (uint32_t sent = 0; sent < count; sent += BALLOTS_MAX) {
        uint32_t some = count - sent < BALLOTS_MAX ? count - sent : BALLOTS_MAX;
        peers_send(agent, tm, neighbour, neighbour->outbox + sent, some);
    }
}

void peers_deliver(struct agent *agent)
{
    for (struct neighbour *at = agent->peers->by_key; at != NULL; at = at->hh.next)
        if (at->count > 0)
            deliver(agent, at);
}

/* ---- what they say ---- */

int peers_read(struct agent *agent, const cJSON *object, struct tm_link **tm,
               char rm[RM_NAME_BYTES], struct ballot *out, uint32_t *count, struct failure *failure)
{
    const char *name = member_text(object, "tm");
    *tm = book_known(agent, name);
    if (*tm == NULL || !(*tm)->keyed)
        return refuse(failure, ERR_NOT_READY, "coordinator %.31s has told me of no other agents",
                      name);
    cJSON *body = seal_open(object, agent->options->rm, (*tm)->peer_key, failure);
    if (body == NULL)
        return -1;
    int rc = wire_read_ballots(body, rm, out, count, failure);
    cJSON_Delete(body);
    for (uint32_t i = 0; rc == 0 && i < *count; i++)
        if (strcmp(out[i].gtrid.tm, name) != 0)
            rc = refuse(failure, ERR_INVALID_REQUEST,
                        "ballots[%u]: the transaction is of coordinator %s", i, out[i].gtrid.tm);
    return rc;
}
