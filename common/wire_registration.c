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
    cJSON *object = new_request("register");
    add_text(object, "tm", offer->tm);
    add_text_if_set(object, "rm", offer->rm);
    add_hex(object, "log", offer->log.bytes, sizeof offer->log.bytes);
    add_u64(object, "incarnation", offer->incarnation);
    add_hex(object, "instance", offer->instance.bytes, sizeof offer->instance.bytes);
    add_u64(object, "recovered_lsn", offer->recovered_lsn);
    add_hex(object, "secret", offer->secret, sizeof offer->secret);
    add_u32(object, "wire_least", offer->wire_least);
    add_u32(object, "wire_most", offer->wire_most);
    add_bool(object, "unfenced", offer->unfenced);
    cJSON *ancestors = add(object, "ancestors", cJSON_CreateArray());
    for (uint32_t i = 0; i < offer->ancestor_count; i++) {
        cJSON *ancestor = add_element(ancestors);
        add_u64(ancestor, "incarnation", offer->ancestors[i].incarnation);
        add_hex(ancestor, "instance", offer->ancestors[i].instance.bytes,
                sizeof offer->ancestors[i].instance.bytes);
    }
    return wire_print(object, length);
}

static int read_ancestors(const cJSON *object, struct offer *out, struct failure *failure)
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
    return read_ancestors(object, out, failure);
}

/* ---- adoptions ---- */

cJSON *wire_write_adoption(const struct adoption *adoption)
{
    cJSON *object = new_request("adopt");
    add_text(object, "tm", adoption->tm);
    add_hex(object, "from", adoption->from.bytes, sizeof adoption->from.bytes);
    add_hex(object, "log", adoption->log.bytes, sizeof adoption->log.bytes);
    add_u64(object, "incarnation", adoption->incarnation);
    add_hex(object, "instance", adoption->instance.bytes, sizeof adoption->instance.bytes);
    return object;
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

static cJSON *write_refusal(enum refusal refusal)
{
    struct failure failure;
    refuse(&failure, ERR_RM_REFUSED, "%s", refusal_meaning(refusal));
    cJSON *object = wire_write_failure(&failure);
    add_text(object, "refusal", refusal_word(refusal));
    return object;
}

char *wire_write_answer(const struct answer *answer, size_t *length)
{
    cJSON *object = answer->refusal == REFUSAL_NONE ? wire_ok() : write_refusal(answer->refusal);
    add_text_if_set(object, "rm", answer->rm);
    add_u64(object, "agent", answer->agent_incarnation);
    add_u64(object, "beat", answer->beat);
    add_u64(object, "system_identifier", answer->system_identifier);
    add_u32(object, "timeline", answer->timeline);
    add_message_if_set(object, "database", answer->database);
    add_message_if_set(object, "server_version", answer->server_version);
    add_u64(object, "stored_incarnation", answer->stored_incarnation);
    add_u64(object, "stored_lsn", answer->stored_lsn);
    if (answer->newcomer)
        add_bool(object, "newcomer", true);
    if (answer->witness)
        add_bool(object, "witness", true);
    add_text_if_set(object, "peer_url", answer->peer_url);
    return wire_print(object, length);
}

/* An agent that refuses may be of a later version: it need not say more than why. */
static int read_answer_fields(const cJSON *object, struct answer *out, struct failure *failure)
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
        field_u64(object, "stored_lsn", false, &out->stored_lsn, failure) != 0)
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
    if (read_answer_fields(object, out, failure) != 0)
        return refuse_reply(failure);
    return 0;
}

/* ---- peers ---- */

char *wire_write_peers(const struct sender *sender, const struct peers *peers, size_t *length)
{
    cJSON *object = new_request("peers");
    write_sender(object, sender);
    add_hex(object, "key", peers->key, sizeof peers->key);
    cJSON *list = add_list(object, "peers");
    for (uint32_t i = 0; i < peers->count; i++) {
        cJSON *item = add_element(list);
        add_text(item, "rm", peers->list[i].rm);
        add_text(item, "url", peers->list[i].url);
    }
    return wire_print(object, length);
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
            return refuse_within(failure, "peers", out->count);
    }
    return 0;
}
