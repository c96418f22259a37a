/*
 * common/wire_ballots.c - the ballots of three-phase commit, among orders and results and from
 * agent to agent.
 *
 * What each kind of ballot needs is a table that serves its reader and its writer.
 */
#include <assert.h>
#include <string.h>

#include "common/wire_fields.h"

/* A ballot decides one way or the other. */
static const char *const value_words[] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_IN_PROGRESS] = "",
    [OUTCOME_COMMITTED] = "committed",
    [OUTCOME_ROLLED_BACK] = "rolled-back",
};

/* What a message of a ballot says besides its transaction. */
enum ballot_field {
    HAS_NUMBER = 1,
    HAS_VALUE = 2,
    HAS_ACCEPTED = 4,
    HAS_PROMISED = 8,
    HAS_ROSTER = 16
};

static const unsigned ballot_fields[BALLOTS] = {
    [BALLOT_JOIN] = HAS_ROSTER,
    [BALLOT_PLEDGE] = HAS_NUMBER | HAS_ROSTER,
    [BALLOT_ASK_PROMISE] = HAS_NUMBER | HAS_ROSTER,
    [BALLOT_ASK_ACCEPT] = HAS_NUMBER | HAS_VALUE | HAS_ROSTER,
    [BALLOT_TELL] = HAS_VALUE | HAS_ROSTER,
    [BALLOT_ASK_LEAD] = HAS_ROSTER,
    [BALLOT_PROMISED] = HAS_NUMBER | HAS_ACCEPTED,
    [BALLOT_ACCEPTED] = HAS_NUMBER,
    [BALLOT_OUTBID] = HAS_NUMBER | HAS_PROMISED,
    [BALLOT_DECIDED] = HAS_VALUE,
    [BALLOT_ENDED] = 0,
};

void wire_write_roster(struct json *json, const struct roster *roster)
{
    json_open_object(json, "acceptors");
    json_put_rms(json, "agents", roster->agents, roster->count);
    json_put_bool(json, "tm", roster->tm);
    json_close_object(json);
}

int wire_read_roster(const cJSON *object, bool needed, struct roster *out, struct failure *failure)
{
    const cJSON *item = field_find(object, "acceptors");
    memset(out, 0, sizeof *out);
    if (item == NULL)
        return field_missing("acceptors", needed, failure);
    if (!cJSON_IsObject(item))
        return field_expected("acceptors", "an object", failure);
    if (field_bool(item, "tm", &out->tm, failure) != 0)
        return -1;
    if (field_rms(item, "agents", ACCEPTORS_MAX, out->agents, &out->count, failure) != 0)
        return -1;
    return out->count > 0 ? 0 : field_expected("agents", "at least one", failure);
}

static void wire_write_ballot(struct json *json, const struct ballot *ballot)
{
    assert(ballot->type > BALLOT_NONE && ballot->type < BALLOTS);
    unsigned has = ballot_fields[ballot->type];
    json_put_text(json, "is", ballot_words[ballot->type]);
    json_put_gtrid(json, "gtrid", &ballot->gtrid);
    if (has & HAS_NUMBER)
        json_put_u64(json, "number", ballot->number);
    if (has & HAS_PROMISED)
        json_put_u64(json, "promised", ballot->promised);
    if (has & HAS_VALUE)
        json_put_text(json, "value", value_words[ballot->value]);
    if ((has & HAS_ACCEPTED) && ballot->value != OUTCOME_NONE) {
        json_put_text(json, "value", value_words[ballot->value]);
        json_put_u64(json, "accepted", ballot->accepted);
    }
    if (has & HAS_ROSTER)
        wire_write_roster(json, &ballot->roster);
}

void wire_write_named_ballot(struct json *json, const char *name, const struct ballot *ballot)
{
    json_open_object(json, name);
    wire_write_ballot(json, ballot);
    json_close_object(json);
}

static int wire_read_ballot(const cJSON *object, struct ballot *out, struct failure *failure)
{
    int type, value;
    memset(out, 0, sizeof *out);
    if (field_word(object, "is", true, ballot_words, BALLOTS, &type, failure) != 0)
        return -1;
    unsigned has = ballot_fields[type];
    out->type = (enum ballot_type)type;
    if (field_gtrid(object, "gtrid", true, &out->gtrid, failure) != 0 ||
        field_u64(object, "number", has & HAS_NUMBER, &out->number, failure) != 0 ||
        field_u64(object, "promised", has & HAS_PROMISED, &out->promised, failure) != 0 ||
        field_word(object, "value", has & HAS_VALUE, value_words, COUNT_OF(value_words), &value,
                   failure) != 0)
        return -1;
    out->value = (enum outcome)value;
    bool accepted = (has & HAS_ACCEPTED) && out->value != OUTCOME_NONE;
    if (field_u64(object, "accepted", accepted, &out->accepted, failure) != 0)
        return -1;
    return wire_read_roster(object, has & HAS_ROSTER, &out->roster, failure);
}

int field_ballot(const cJSON *item, struct ballot *out, struct failure *failure)
{
    const cJSON *ballot = field_find(item, "ballot");
    if (!cJSON_IsObject(ballot))
        return field_expected("ballot", "an object", failure);
    return wire_read_ballot(ballot, out, failure);
}

char *wire_write_ballots(const char *rm, const struct ballot *ballots, uint32_t count,
                         size_t *length)
{
    assert(count <= BALLOTS_MAX);
    struct json json;
    wire_begin_request(&json, "ballots");
    json_put_text(&json, "rm", rm);
    json_open_list(&json, "ballots");
    for (uint32_t i = 0; i < count; i++) {
        json_open_element(&json);
        wire_write_ballot(&json, &ballots[i]);
        json_close_object(&json);
    }
    json_close_list(&json);
    return json_end(&json, length);
}

int wire_read_ballots(const cJSON *object, char rm[RM_NAME_BYTES], struct ballot *out,
                      uint32_t *count, struct failure *failure)
{
    const cJSON *item;
    *count = 0;
    if (field_rm(object, "rm", true, rm, failure) != 0 ||
        field_list(object, "ballots", true, BALLOTS_MAX, &item, failure) != 0)
        return -1;
    for (; item != NULL; item = item->next, (*count)++)
        if (wire_read_ballot(item, &out[*count], failure) != 0)
            return wire_refuse_within(failure, "ballots", *count);
    return 0;
}
