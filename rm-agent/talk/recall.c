/*
 * rm-agent/talk/recall.c - what the agent recalls of branches, for when their coordinator's log is
 * lost.
 *
 *     {"op":"recall","tm":"bank","gtrids":["bank.3.2049"]}
 *
 * What is under way participant.c knows, and what was accepted in three phases is in the database.
 * Of the newest branches that are over we keep here what the coordinator had decided. That is in
 * memory alone and cut short, so that it costs nothing: that nothing is recalled proves nothing.
 */
#include "rm-agent/talk/recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "core/coordinator/lost.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/book.h"

enum { ENDED_MAX = 8192, ASKED_MAX = 256 };

struct ended {
    struct branch_id branch;
    enum recall recall;
    uint64_t xid; /* that was voted for; 0: not known */
};

/* A ring: the next one takes the place of the oldest. */
struct recollection {
    uint32_t count, next;
    struct ended ended[ENDED_MAX];
};

void recall_note(struct agent *agent, const struct result *result)
{
    struct recollection *all = agent->recollection;
    enum recall recall = recall_of_result(result);
    if (recall == RECALL_NOTHING)
        return;
    if (all == NULL)
        all = agent->recollection = must_alloc(sizeof *all, "what is recalled of branches");
    all->ended[all->next] = (struct ended){result->branch, recall, result->xid};
    all->next = (all->next + 1) % ENDED_MAX;
    if (all->count < ENDED_MAX)
        all->count++;
}

static cJSON *recall_say(cJSON *list, const struct gtrid *gtrid, enum recall recall)
{
    char text[GTRID_BYTES];
    if (recall == RECALL_NOTHING)
        return NULL;
    cJSON *item = cJSON_CreateObject();
    gtrid_format(gtrid, text);
    cJSON_AddStringToObject(item, "gtrid", text);
    cJSON_AddStringToObject(item, "recalls", recall_word(recall));
    cJSON_AddItemToArray(list, item);
    return item;
}

/* Of one branch: its gid, and the xid where one was voted for. */
static void say_of_branch(cJSON *list, const struct branch_id *branch, enum recall recall,
                          uint64_t xid)
{
    char gid[GID_BYTES], number[NUMBER_BYTES];
    cJSON *item = recall_say(list, &branch->gtrid, recall);
    if (item == NULL)
        return;
    gid_format(branch, gid);
    cJSON_AddStringToObject(item, "gid", gid);
    if (xid == 0 || (recall != RECALL_VOTED && recall != RECALL_COMMIT))
        return;
    u64_format(xid, number);
    cJSON_AddStringToObject(item, "xid", number);
}

static void say_from_memory(const struct agent *agent, const struct gtrid *gtrid, cJSON *list)
{
    const struct recollection *all = agent->recollection;
    struct branch_id branch;
    enum branch_state state;
    for (uint32_t i = 0; all != NULL && i < all->count; i++)
        if (gtrid_equal(&all->ended[i].branch.gtrid, gtrid))
            say_of_branch(list, &all->ended[i].branch, all->ended[i].recall, all->ended[i].xid);
    for (uint32_t at = participant_next(agent->participant, 0, &branch, &state); at != UINT32_MAX;
         at = participant_next(agent->participant, at + 1, &branch, &state))
        if (gtrid_equal(&branch.gtrid, gtrid))
            say_of_branch(list, &branch, recall_of_state(state),
                          participant_xid(agent->participant, &branch));
}

/* ---- asking and answering ---- */

struct recalling {
    struct agent *agent;
    struct asker *asker;
    cJSON *answer;
};

/* What this agent has accepted of each that is asked about, and whether it has a row of it; the
 * last row: of anything at all? */
static const char rows_sql[] =
    "SELECT g.incarnation, g.sequence, coalesce(a.outcome, ''), a.tm IS NOT NULL FROM"
    " (SELECT split_part(g, '.', 2)::bigint AS incarnation, split_part(g, '.', 3)::bigint AS"
    " sequence FROM unnest($2::text[]) g) g LEFT JOIN assent.acceptor a ON a.tm = $1"
    " AND a.incarnation = g.incarnation AND a.sequence = g.sequence"
    " UNION ALL SELECT 0, 0, '', EXISTS (SELECT FROM assent.acceptor WHERE tm = $1)";

/* A database that may have lost a row proves nothing by not having it. */
static bool may_have_lost_row(struct agent *agent, const struct gtrid *gtrid)
{
    const struct tm_link *tm = book_known(agent, gtrid->tm);
    const struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    return tm == NULL || tm->suspect || txn_not_after(&number, &tm->votes_after);
}

static void say_row(struct agent *agent, const char *tm, const struct pg_reply *reply, int row,
                    cJSON *list)
{
    struct gtrid gtrid = {.incarnation = strtoull(pg_value(reply, row, 0), NULL, 10),
                          .sequence = strtoull(pg_value(reply, row, 1), NULL, 10)};
    const char *outcome = pg_value(reply, row, 2);
    text_copy(gtrid.tm, sizeof gtrid.tm, tm, strlen(tm));
    if (strcmp(pg_value(reply, row, 3), "t") == 0)
        recall_say(list, &gtrid,
                   recall_of_row(outcome[0] == '\0' ? OUTCOME_NONE : outcome_from_word(outcome)));
    else if (!may_have_lost_row(agent, &gtrid))
        recall_say(list, &gtrid, RECALL_NO_ROW);
}

static void recall_took_rows(void *arg, const struct pg_reply *reply)
{
    struct recalling recalling = *(struct recalling *)arg;
    struct failure failure = {0};
    free(arg);
    if (reply->sqlstate[0] != '\0') {
        cJSON_Delete(recalling.answer);
        refuse(&failure, ERR_RM_UNAVAILABLE, "%s", reply->message);
        asker_failure(recalling.asker, &failure);
        return;
    }
    const char *tm = member_text(recalling.answer, "tm");
    cJSON *list = cJSON_GetObjectItemCaseSensitive(recalling.answer, "recalls");
    bool accepts = false;
    for (int i = 0; i < pg_rows(reply); i++) {
        if (strcmp(pg_value(reply, i, 0), "0") == 0)
            accepts = strcmp(pg_value(reply, i, 3), "t") == 0;
        else
            say_row(recalling.agent, tm, reply, i, list);
    }
    cJSON_AddBoolToObject(recalling.answer, "accepts", accepts);
    asker_object(recalling.asker, recalling.answer);
}

/* Adds what is recalled to the list, and the gtrids to the array's text, which has room. */
static int take_gtrids(const struct agent *agent, const cJSON *gtrids, const char *tm, cJSON *list,
                       char *text, struct failure *failure)
{
    const cJSON *item;
    char *at = text;
    *at++ = '{';
    cJSON_ArrayForEach(item, gtrids)
    {
        struct gtrid gtrid;
        const char *name = cJSON_IsString(item) ? item->valuestring : "";
        if (!gtrid_parse(name, strlen(name), &gtrid) || strcmp(gtrid.tm, tm) != 0)
            return refuse(failure, ERR_INVALID_REQUEST, "gtrids: \"%.64s\" is no gtrid of %s", name,
                          tm);
        say_from_memory(agent, &gtrid, list);
        at += sprintf(at, "%s%s", item == gtrids->child ? "" : ",", name);
    }
    strcpy(at, "}");
    return 0;
}

void recall_answer(struct agent *agent, struct asker *asker, const cJSON *object)
{
    struct failure failure = {0};
    char tm[TM_NAME_BYTES], text[ASKED_MAX * GTRID_BYTES + 3];
    const cJSON *gtrids = cJSON_GetObjectItemCaseSensitive(object, "gtrids");
    cJSON *answer = wire_ok();
    cJSON *list = cJSON_AddArrayToObject(answer, "recalls");
    if (field_text(object, "tm", true, tm, sizeof tm, &failure) != 0)
        goto refused;
    if (!cJSON_IsArray(gtrids) || cJSON_GetArraySize(gtrids) > ASKED_MAX) {
        refuse(&failure, ERR_INVALID_REQUEST, "gtrids: an array of at most %d", ASKED_MAX);
        goto refused;
    }
    if (take_gtrids(agent, gtrids, tm, list, text, &failure) != 0)
        goto refused;
    cJSON_AddStringToObject(answer, "tm", tm);
    struct recalling *recalling = must_alloc(sizeof *recalling, "what is recalled of a branch");
    *recalling = (struct recalling){agent, asker, answer};
    control_ask(agent, recall_took_rows, recalling, rows_sql, 2, tm, text);
    return;

refused:
    cJSON_Delete(answer);
    asker_failure(asker, &failure);
}
