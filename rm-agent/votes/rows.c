/*
 * rm-agent/votes/rows.c - what an acceptor's row in assent.acceptor says, and as which JSON it
 * travels.
 *
 * The agent alone changes its rows, so those that it has seen it knows; the database is what it
 * knows them by after a start.
 */
#include "rm-agent/votes/rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"

/* ---- those that are known ---- */

struct row *known_find(const struct known_rows *rows, const struct gtrid *gtrid)
{
    char name[GTRID_BYTES];
    struct row *row;
    gtrid_format(gtrid, name);
    HASH_FIND_STR(rows->by_name, name, row);
    return row;
}

struct row *known_add(struct known_rows *rows, const struct gtrid *gtrid)
{
    struct row *row = must_alloc(sizeof *row, "an acceptor's row");
    row->gtrid = *gtrid;
    gtrid_format(gtrid, row->name);
    HASH_ADD_STR(rows->by_name, name, row);
    return row;
}

void known_drop(struct known_rows *rows, struct row *row)
{
    HASH_DEL(rows->by_name, row);
    free(row);
}

void known_keep(struct known_rows *rows, uint32_t most)
{
    while (HASH_COUNT(rows->by_name) > most)
        known_drop(rows, rows->by_name);
}

/* ---- votes ---- */

uint64_t row_xid(const struct row *row, const char *branch)
{
    for (uint32_t i = 0; i < row->vote_count; i++)
        if (text_equal(row->votes[i].branch, branch, BRANCH_NAME_BYTES))
            return row->votes[i].xid;
    return 0;
}

bool row_vote(struct row *row, const char *branch, uint64_t xid)
{
    for (uint32_t i = 0; i < row->vote_count; i++)
        if (text_equal(row->votes[i].branch, branch, BRANCH_NAME_BYTES))
            return row->votes[i].xid == xid;
    if (row->vote_count == BRANCHES_MAX)
        return false;
    struct vote *vote = &row->votes[row->vote_count++];
    text_copy(vote->branch, sizeof vote->branch, branch, strlen(branch));
    vote->xid = xid;
    return true;
}

/* ---- JSON ---- */

static cJSON *number(uint64_t value)
{
    char text[24];
    u64_format(value, text);
    return cJSON_CreateString(text);
}

static void add_outcome(cJSON *object, const char *name, enum outcome outcome)
{
    cJSON_AddItemToObject(object, name,
                          outcome == OUTCOME_NONE ? cJSON_CreateNull()
                                                  : cJSON_CreateString(outcome_word(outcome)));
}

cJSON *row_write(const struct row *row)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "incarnation", number(row->gtrid.incarnation));
    cJSON_AddItemToObject(object, "sequence", number(row->gtrid.sequence));
    cJSON *agents = cJSON_AddArrayToObject(object, "agents");
    for (uint32_t i = 0; i < row->roster.count; i++)
        cJSON_AddItemToArray(agents, cJSON_CreateString(row->roster.agents[i]));
    cJSON_AddBoolToObject(object, "with_tm", row->roster.tm);
    cJSON *branches = cJSON_AddArrayToObject(object, "branches");
    cJSON *xids = cJSON_AddArrayToObject(object, "xids");
    for (uint32_t i = 0; i < row->vote_count; i++) {
        cJSON_AddItemToArray(branches, cJSON_CreateString(row->votes[i].branch));
        cJSON_AddItemToArray(xids, number(row->votes[i].xid));
    }
    cJSON_AddItemToObject(object, "promised", number(row->acceptor.promised));
    cJSON_AddItemToObject(object, "accepted", number(row->acceptor.accepted));
    add_outcome(object, "value", row->acceptor.value);
    add_outcome(object, "outcome", row->acceptor.outcome);
    return object;
}

static enum outcome read_outcome(const cJSON *object, const char *name)
{
    const char *word = member_text(object, name);
    return word[0] == '\0' ? OUTCOME_NONE : outcome_from_word(word);
}

static void read_agents(const cJSON *object, struct roster *out)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(object, "agents"))
    {
        if (out->count < ACCEPTORS_MAX && cJSON_IsString(item))
            text_copy(out->agents[out->count++], RM_NAME_BYTES, item->valuestring,
                      strlen(item->valuestring));
    }
    out->tm = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "with_tm"));
}

static void read_votes(const cJSON *object, struct row *row)
{
    const cJSON *branch, *xid = cJSON_GetObjectItemCaseSensitive(object, "xids")->child;
    cJSON_ArrayForEach(branch, cJSON_GetObjectItemCaseSensitive(object, "branches"))
    {
        if (cJSON_IsString(branch) && cJSON_IsString(xid))
            row_vote(row, branch->valuestring, strtoull(xid->valuestring, NULL, 10));
        xid = xid == NULL ? NULL : xid->next;
    }
}

bool row_read(const char *text, struct row *row)
{
    struct failure failure;
    cJSON *object = cJSON_Parse(text);
    bool read = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(object, "xids")) &&
                field_u64(object, "incarnation", true, &row->gtrid.incarnation, &failure) == 0 &&
                field_u64(object, "sequence", true, &row->gtrid.sequence, &failure) == 0 &&
                field_u64(object, "promised", true, &row->acceptor.promised, &failure) == 0 &&
                field_u64(object, "accepted", true, &row->acceptor.accepted, &failure) == 0;
    if (read) {
        row->acceptor.exists = true;
        row->acceptor.value = read_outcome(object, "value");
        row->acceptor.outcome = read_outcome(object, "outcome");
        read_agents(object, &row->roster);
        read_votes(object, row);
    }
    cJSON_Delete(object);
    return read;
}

bool ballot_fits(const struct ballot *ballot)
{
    return ballot->gtrid.incarnation <= INT64_MAX && ballot->gtrid.sequence <= INT64_MAX &&
           ballot->number <= INT64_MAX;
}
