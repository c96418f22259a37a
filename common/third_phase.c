/*
 * common/third_phase.c - what the acceptors of a 3pc transaction have said, for people.
 *
 * A majority that has accepted the same value at the same ballot has decided, whether anybody has
 * noticed or not. Less than that proves nothing: those that are silent may have decided either way.
 */
#include "common/third_phase.h"

#include <stdio.h>
#include <string.h>

#include "common/wire.h"

static uint32_t third_phase_count_bits(uint32_t bits)
{
    uint32_t count = 0;
    for (; bits != 0; bits &= bits - 1)
        count++;
    return count;
}

/* ---- gathering ---- */

/* What an agent has answered to the coordinator's own ballot. */
static struct acceptor_row third_phase_row_answered(const struct ballot_view *ballot)
{
    struct acceptor_row row = {.exists = true, .promised = ballot->number};
    if (ballot->phase == LEADER_PROPOSING) {
        row.accepted = ballot->number;
        row.value = ballot->value;
    }
    return row;
}

void third_phase_begin(struct third_phase *out, const struct ballot_view *ballot, bool running)
{
    memset(out, 0, sizeof *out);
    out->roster = ballot->roster;
    out->reachable = running ? ballot->reachable : 0;
    out->tm_row = ballot->row;
    out->told = ballot->answered | (ballot->roster.tm ? rank_bit(RANK_TM) : 0);
    for (uint32_t i = 0; i < out->roster.count; i++)
        if (ballot->answered & rank_bit(i))
            out->rows[i] = third_phase_row_answered(ballot);
}

static uint64_t third_phase_member_u64(const cJSON *object, const char *name)
{
    const char *text = member_text(object, name);
    uint64_t value;
    return u64_parse(text, strlen(text), &value) ? value : 0;
}

/* A row says nothing else. */
static enum outcome third_phase_member_value(const cJSON *object, const char *name)
{
    enum outcome value = outcome_from_word(member_text(object, name));
    return value == OUTCOME_COMMITTED || value == OUTCOME_ROLLED_BACK ? value : OUTCOME_NONE;
}

/* The agent's row of this transaction, or NULL. */
static const cJSON *third_phase_row_about(const cJSON *answer, const struct gtrid *gtrid)
{
    char text[GTRID_BYTES];
    const cJSON *row;
    gtrid_format(gtrid, text);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(answer, "rows"))
    {
        if (strcmp(member_text(row, "gtrid"), text) == 0)
            return row;
    }
    return NULL;
}

/* Agents keep who decides beside their vote: with the coordinator gone nobody else can say. */
static void third_phase_learn_roster(struct third_phase *third, const cJSON *row)
{
    const cJSON *acceptors = cJSON_GetObjectItemCaseSensitive(row, "acceptors");
    const cJSON *agent;
    cJSON_ArrayForEach(agent, cJSON_GetObjectItemCaseSensitive(acceptors, "agents"))
    {
        const char *rm = cJSON_IsString(agent) ? agent->valuestring : "";
        if (third->roster.count < ACCEPTORS_MAX)
            text_copy(third->roster.agents[third->roster.count++], RM_NAME_BYTES, rm, strlen(rm));
    }
    third->roster.tm = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(acceptors, "tm"));
}

void third_phase_hear(struct third_phase *third, const struct gtrid *gtrid, const char *rm,
                      const cJSON *answer)
{
    const cJSON *row = third_phase_row_about(answer, gtrid);
    if (row != NULL && third->roster.count == 0)
        third_phase_learn_roster(third, row);
    uint32_t rank = roster_rank(&third->roster, rm);
    if (answer == NULL || rank == RANK_NONE)
        return;
    third->reachable |= rank_bit(rank);
    /* Where not all rows have been said, a missing one says nothing. */
    if (row == NULL && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "rows_more")))
        return;
    third->told |= rank_bit(rank);
    if (row == NULL)
        return;
    third->rows[rank] = (struct acceptor_row){
        .exists = true,
        .promised = third_phase_member_u64(row, "promised"),
        .accepted = third_phase_member_u64(row, "accepted"),
        .value = third_phase_member_value(row, "value"),
        .outcome = third_phase_member_value(row, "outcome"),
    };
}

/* ---- what follows ---- */

/* The vote of an acceptor, NULL past the last; *rank is its rank. */
static const struct acceptor_row *third_phase_row_at(const struct third_phase *third, uint32_t at,
                                                     uint32_t *rank)
{
    bool is_tm = at == third->roster.count && third->roster.tm;
    if (at >= third->roster.count && !is_tm)
        return NULL;
    *rank = is_tm ? (uint32_t)RANK_TM : at;
    return is_tm ? &third->tm_row : &third->rows[at];
}

static uint32_t third_phase_count_alike(const struct third_phase *third,
                                        const struct acceptor_row *row)
{
    const struct acceptor_row *other;
    uint32_t count = 0, rank;
    for (uint32_t i = 0; (other = third_phase_row_at(third, i, &rank)) != NULL; i++)
        count += other->value == row->value && other->accepted == row->accepted;
    return count;
}

enum outcome third_phase_decided(const struct third_phase *third)
{
    const struct acceptor_row *row;
    uint32_t rank;
    for (uint32_t i = 0; (row = third_phase_row_at(third, i, &rank)) != NULL; i++) {
        if (row->outcome != OUTCOME_NONE)
            return row->outcome;
        if (row->value != OUTCOME_NONE &&
            third_phase_count_alike(third, row) >= roster_majority(&third->roster))
            return row->value;
    }
    return OUTCOME_NONE;
}

bool third_phase_blocks(const struct third_phase *third)
{
    return third_phase_count_bits(third->reachable & roster_all(&third->roster)) <
           roster_majority(&third->roster);
}

/* ---- words ---- */

static const char *third_phase_name_at(const struct third_phase *third, uint32_t at)
{
    return at < third->roster.count ? third->roster.agents[at] : "the coordinator's log";
}

const char *third_phase_missing(const struct third_phase *third)
{
    for (uint32_t i = 0; i < third->roster.count; i++)
        if ((third->reachable & rank_bit(i)) == 0)
            return third->roster.agents[i];
    return NULL;
}

void third_phase_words(const struct third_phase *third, char out[THIRD_PHASE_BYTES])
{
    const char *before = "; missing: ";
    uint32_t rank, all = roster_all(&third->roster);
    size_t used = (size_t)snprintf(
        out, THIRD_PHASE_BYTES, "%s%u of %u acceptors can be reached, and %u have to agree",
        third_phase_blocks(third) ? "blocks: " : "", third_phase_count_bits(third->reachable & all),
        third_phase_count_bits(all), roster_majority(&third->roster));
    for (uint32_t i = 0; third_phase_row_at(third, i, &rank) != NULL && used < THIRD_PHASE_BYTES;
         i++) {
        if (third->reachable & rank_bit(rank))
            continue;
        used += (size_t)snprintf(out + used, THIRD_PHASE_BYTES - used, "%s%s", before,
                                 third_phase_name_at(third, i));
        before = ", ";
    }
}

static const char *third_phase_value_word(enum outcome value)
{
    return value == OUTCOME_COMMITTED ? "commit" : "rollback";
}

static void third_phase_says(const struct third_phase *third, const struct acceptor_row *row,
                             uint32_t rank, char out[ACCEPTOR_SAYS_BYTES])
{
    unsigned long long accepted = row->accepted, promised = row->promised;
    if ((third->told & rank_bit(rank)) == 0)
        snprintf(out, ACCEPTOR_SAYS_BYTES, "no answer");
    else if (row->outcome != OUTCOME_NONE)
        snprintf(out, ACCEPTOR_SAYS_BYTES, "decided: %s", third_phase_value_word(row->outcome));
    else if (row->value != OUTCOME_NONE && promised > accepted)
        snprintf(out, ACCEPTOR_SAYS_BYTES, "accepted %s at ballot %llu, promised ballot %llu",
                 third_phase_value_word(row->value), accepted, promised);
    else if (row->value != OUTCOME_NONE)
        snprintf(out, ACCEPTOR_SAYS_BYTES, "accepted %s at ballot %llu",
                 third_phase_value_word(row->value), accepted);
    else if (promised > 0)
        snprintf(out, ACCEPTOR_SAYS_BYTES, "promised ballot %llu", promised);
    else
        snprintf(out, ACCEPTOR_SAYS_BYTES, "nothing yet");
}

cJSON *third_phase_list(const struct third_phase *third)
{
    const struct acceptor_row *row;
    char text[ACCEPTOR_SAYS_BYTES];
    uint32_t rank;
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; (row = third_phase_row_at(third, i, &rank)) != NULL; i++) {
        cJSON *item = cJSON_CreateObject();
        third_phase_says(third, row, rank, text);
        cJSON_AddStringToObject(item, "acceptor", third_phase_name_at(third, i));
        cJSON_AddStringToObject(item, "says", text);
        cJSON_AddItemToArray(list, item);
    }
    return list;
}
