/*
 * common/wire_registration.c - how a coordinator and an agent come to know each other: offers,
 * answers, adoptions, and whom an agent has for peers.
 */
#include <assert.h>
#include <string.h>

#include "common/wire_fields.h"

static const char *const refusal_words[REFUSALS] = {
    [REFUSAL_NONE] = "",
    [REFUSAL_OTHER_LOG] = "other-log",
    [REFUSAL_INCARNATION] = "incarnation",
    [REFUSAL_INSTANCE] = "instance",
    [REFUSAL_POSITION] = "position",
    [REFUSAL_OTHER_RM] = "other-rm",
    [REFUSAL_WIRE] = "wire",
};

static const char *const refusal_meanings[REFUSALS] = {
    [REFUSAL_NONE] = "accepted",
    [REFUSAL_OTHER_LOG] = "the agent is registered under another log of this coordinator's name",
    [REFUSAL_INCARNATION] = "a later start of this coordinator is registered",
    [REFUSAL_INSTANCE] =
        "another copy of this log has been started, and the agent follows that one",
    [REFUSAL_POSITION] = "the agent has seen later records than this log holds: an old log",
    [REFUSAL_OTHER_RM] = "the agent serves another resource manager than the one configured",
    [REFUSAL_WIRE] = "the coordinator and the agent have no wire version in common",
};

/* ---- words ---- */

const char *refusal_word(enum refusal refusal)
{
    assert(refusal < REFUSALS);
    return refusal_words[refusal];
}

const char *refusal_meaning(enum refusal refusal)
{
    assert(refusal < REFUSALS);
    return refusal_meanings[refusal];
}

/* ---- offers ---- */

char *wire_write_offer(const struct offer *offer, size_t *length)
{
    struct json json;
    wire_begin_request(&json, "register");
    json_put_text(&json, "tm", offer->tm);
    json_put_text_if_set(&json, "rm", offer->rm);
    json_put_hex(&json, "log", offer->log.bytes, sizeof offer->log.bytes);
    json_put_u64(&json, "incarnation", offer->incarnation);
    json_put_hex(&json, "instance", offer->instance.bytes, sizeof offer->instance.bytes);
    json_put_u64(&json, "recovered_lsn", offer->recovered_lsn);
    json_put_hex(&json, "secret", offer->secret, sizeof offer->secret);
    json_put_u32(&json, "wire_least", offer->wire_least);
    json_put_u32(&json, "wire_most", offer->wire_most);
    json_put_bool(&json, "unfenced", offer->unfenced);
    json_open_list(&json, "ancestors");
    for (uint32_t i = 0; i < offer->ancestor_count; i++) {
        json_open_element(&json);
        json_put_u64(&json, "incarnation", offer->ancestors[i].incarnation);
        json_put_hex(&json, "instance", offer->ancestors[i].instance.bytes,
                     sizeof offer->ancestors[i].instance.bytes);
        json_close_object(&json);
    }
    json_close_list(&json);
    return json_end(&json, length);
}

static int wire_read_ancestors(const cJSON *object, struct offer *out, struct failure *failure)
{
    const cJSON *ancestors = cJSON_GetObjectItemCaseSensitive(object, "ancestors");
    const cJSON *ancestor;
    if (ancestors == NULL)
        return 0;
    if (!cJSON_IsArray(ancestors) || cJSON_GetArraySize(ancestors) > ANCESTORS_MAX)
        return refuse(failure, ERR_INVALID_REQUEST, "ancestors: an array of at most %d starts",
                      ANCESTORS_MAX);
    cJSON_ArrayForEach(ancestor, ancestors)
    {
        struct start_id *start = &out->ancestors[out->ancestor_count++];
        if (field_u64(ancestor, "incarnation", true, &start->incarnation, failure) != 0 ||
            field_hex(ancestor, "instance", start->instance.bytes, sizeof start->instance.bytes,
                      failure) != 0)
            return -1;
    }
    return 0;
}

int wire_read_offer(const cJSON *object, struct offer *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_rm(object, "rm", false, out->rm, failure) != 0 ||
        field_hex(object, "log", out->log.bytes, sizeof out->log.bytes, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0 ||
        field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure) !=
            0 ||
        field_u64(object, "recovered_lsn", true, &out->recovered_lsn, failure) != 0 ||
        field_hex(object, "secret", out->secret, sizeof out->secret, failure) != 0 ||
        field_u32(object, "wire_least", true, &out->wire_least, failure) != 0 ||
        field_u32(object, "wire_most", true, &out->wire_most, failure) != 0 ||
        field_bool(object, "unfenced", &out->unfenced, failure) != 0)
        return -1;
    return wire_read_ancestors(object, out, failure);
}

/* ---- adoptions ---- */

cJSON *wire_write_adoption(const struct adoption *adoption)
{
    struct json json;
    wire_begin_request(&json, "adopt");
    json_put_text(&json, "tm", adoption->tm);
    json_put_hex(&json, "from", adoption->from.bytes, sizeof adoption->from.bytes);
    json_put_hex(&json, "log", adoption->log.bytes, sizeof adoption->log.bytes);
    json_put_u64(&json, "incarnation", adoption->incarnation);
    json_put_hex(&json, "instance", adoption->instance.bytes, sizeof adoption->instance.bytes);
    return json_end_tree(&json);
}

int wire_read_adoption(const cJSON *object, struct adoption *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (field_tm(object, "tm", out->tm, failure) != 0 ||
        field_hex(object, "from", out->from.bytes, sizeof out->from.bytes, failure) != 0 ||
        field_hex(object, "log", out->log.bytes, sizeof out->log.bytes, failure) != 0 ||
        field_u64(object, "incarnation", true, &out->incarnation, failure) != 0)
        return -1;
    return field_hex(object, "instance", out->instance.bytes, sizeof out->instance.bytes, failure);
}

/* ---- answers ---- */

static void wire_begin_refusal(struct json *json, enum refusal refusal)
{
    struct failure failure;
    refuse(&failure, ERR_RM_REFUSED, "%s", refusal_meaning(refusal));
    wire_begin_failure(json, &failure);
    json_put_text(json, "refusal", refusal_word(refusal));
}

char *wire_write_answer(const struct answer *answer, size_t *length)
{
    struct json json;
    if (answer->refusal == REFUSAL_NONE)
        wire_begin_ok(&json);
    else
        wire_begin_refusal(&json, answer->refusal);
    json_put_text_if_set(&json, "rm", answer->rm);
    json_put_u64(&json, "agent", answer->agent_incarnation);
    json_put_u64(&json, "beat", answer->beat);
    json_put_u64(&json, "system_identifier", answer->system_identifier);
    json_put_u32(&json, "timeline", answer->timeline);
    json_put_message_if_set(&json, "database", answer->database);
    json_put_message_if_set(&json, "server_version", answer->server_version);
    json_put_u64(&json, "stored_incarnation", answer->stored_incarnation);
    json_put_u64(&json, "stored_lsn", answer->stored_lsn);
    if (answer->newcomer)
        json_put_bool(&json, "newcomer", true);
    json_put_u64_if(&json, "met", false, answer->met);
    if (answer->witness)
        json_put_bool(&json, "witness", true);
    json_put_text_if_set(&json, "peer_url", answer->peer_url);
    return json_end(&json, length);
}

/* An agent that refuses may be of a later version: it need not say more than why. */
static int wire_read_answer_fields(const cJSON *object, struct answer *out, struct failure *failure)
{
    bool needed = out->refusal == REFUSAL_NONE;
    field_message(object, "database", out->database, sizeof out->database);
    field_message(object, "server_version", out->server_version, sizeof out->server_version);
    if (field_rm(object, "rm", needed, out->rm, failure) != 0 ||
        field_u64(object, "agent", needed, &out->agent_incarnation, failure) != 0 ||
        field_u64(object, "beat", needed, &out->beat, failure) != 0 ||
        field_u64(object, "system_identifier", needed, &out->system_identifier, failure) != 0 ||
        field_u32(object, "timeline", needed, &out->timeline, failure) != 0 ||
        field_u64(object, "stored_incarnation", false, &out->stored_incarnation, failure) != 0 ||
        field_u64(object, "stored_lsn", false, &out->stored_lsn, failure) != 0 ||
        field_u64(object, "met", false, &out->met, failure) != 0)
        return -1;
    if (field_bool(object, "newcomer", &out->newcomer, failure) != 0 ||
        field_bool(object, "witness", &out->witness, failure) != 0)
        return -1;
    return field_text(object, "peer_url", false, out->peer_url, sizeof out->peer_url, failure);
}

int wire_read_answer(const cJSON *object, struct answer *out, struct failure *failure)
{
    memset(out, 0, sizeof *out);
    if (wire_read_failure(object, failure) != 0) {
        const char *word = cJSON_GetStringValue(field_find(object, "refusal"));
        int found = word != NULL ? find_word(refusal_words, REFUSALS, word) : -1;
        if (failure->code != ERR_RM_REFUSED || found < 0)
            return -1;
        out->refusal = (enum refusal)found;
    }
    if (wire_read_answer_fields(object, out, failure) != 0)
        return wire_refuse_reply(failure);
    return 0;
}

/* ---- peers ---- */

char *wire_write_peers(const struct sender *sender, const struct peers *peers, size_t *length)
{
    struct json json;
    wire_begin_request(&json, "peers");
    wire_write_sender(&json, sender);
    json_put_hex(&json, "key", peers->key, sizeof peers->key);
    json_open_list(&json, "peers");
    for (uint32_t i = 0; i < peers->count; i++) {
        json_open_element(&json);
        json_put_text(&json, "rm", peers->list[i].rm);
        json_put_text(&json, "url", peers->list[i].url);
        json_close_object(&json);
    }
    json_close_list(&json);
    return json_end(&json, length);
}

int wire_read_peers(const cJSON *object, struct peers *out, struct failure *failure)
{
    const cJSON *item;
    memset(out, 0, sizeof *out);
    if (field_hex(object, "key", out->key, sizeof out->key, failure) != 0 ||
        field_list(object, "peers", true, RMS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, out->count++) {
        struct peer *peer = &out->list[out->count];
        if (field_rm(item, "rm", true, peer->rm, failure) != 0 ||
            field_text(item, "url", true, peer->url, sizeof peer->url, failure) != 0)
            return wire_refuse_within(failure, "peers", out->count);
    }
    return 0;
}
