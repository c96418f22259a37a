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
    [BALLOT_PROMISED] = HAS_NUMBER | HAS_ACCEPTED,
    [BALLOT_ACCEPTED] = HAS_NUMBER,
    [BALLOT_OUTBID] = HAS_NUMBER | HAS_PROMISED,
    [BALLOT_DECIDED] = HAS_VALUE,
    [BALLOT_ENDED] = 0,
};

void write_roster(cJSON *object, const struct roster *roster)
{
    cJSON *item = add(object, "acceptors", cJSON_CreateObject());
    add_rms(item, "agents", roster->agents, roster->count);
    add_bool(item, "tm", roster->tm);
}

int read_roster(const cJSON *object, bool needed, struct roster *out, struct failure *failure)
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

void write_ballot(cJSON *object, const struct ballot *ballot)
{
    assert(ballot->type > BALLOT_NONE && ballot->type < BALLOTS);
    unsigned has = ballot_fields[ballot->type];
    add_text(object, "is", ballot_words[ballot->type]);
    add_gtrid(object, "gtrid", &ballot->gtrid);
    if (has & HAS_NUMBER)
        add_u64(object, "number", ballot->number);
    if (has & HAS_PROMISED)
        add_u64(object, "promised", ballot->promised);
    if (has & HAS_VALUE)
        add_text(object, "value", value_words[ballot->value]);
    if ((has & HAS_ACCEPTED) && ballot->value != OUTCOME_NONE) {
        add_text(object, "value", value_words[ballot->value]);
        add_u64(object, "accepted", ballot->accepted);
    }
    if (has & HAS_ROSTER)
        write_roster(object, &ballot->roster);
}

static int read_ballot(const cJSON *object, struct ballot *out, struct failure *failure)
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
    return read_roster(object, has & HAS_ROSTER, &out->roster, failure);
}

int field_ballot(const cJSON *item, struct ballot *out, struct failure *failure)
{
    const cJSON *ballot = field_find(item, "ballot");
    if (!cJSON_IsObject(ballot))
        return field_expected("ballot", "an object", failure);
    return read_ballot(ballot, out, failure);
}

char *wire_write_ballots(const char *rm, const struct ballot *ballots, uint32_t count,
                         size_t *length)
{
    assert(count <= BALLOTS_MAX);
    cJSON *object = new_request("ballots");
    add_text(object, "rm", rm);
    cJSON *list = add_list(object, "ballots");
    for (uint32_t i = 0; i < count; i++)
        write_ballot(add_element(list), &ballots[i]);
    return wire_print(object, length);
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
        if (read_ballot(item, &out[*count], failure) != 0)
            return refuse_within(failure, "ballots", *count);
    return 0;
}
