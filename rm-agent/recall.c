/*
 * rm-agent/recall.c - what the agent recalls of branches, for when their coordinator's log is lost.
 *
 *     {"op":"recall","tm":"bank","gtrids":["bank.3.2049"]}
 *
 * What is under way participant.c knows, and what was accepted in three phases is in the database.
 * Of the newest branches that are over we keep here what the coordinator had decided. That is in
 * memory alone and cut short, so that it costs nothing: that nothing is recalled proves nothing.
 */
#include "rm-agent/recall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator/lost.h"
#include "rm-agent/control.h"
#include "rm-agent/requests.h"

enum { ENDED_MAX = 8192, ASKED_MAX = 256 };

struct ended {
    struct branch_id branch;
    enum recall recall;
};

/* A ring: the next one takes the place of the oldest. */
struct recollection {
    uint32_t count, next;
    struct ended ended[ENDED_MAX];
};

/* How it ended where nobody but the coordinator has ended it; and if somebody has, then otherwise
 * than the coordinator had decided. */
static enum recall decision_of(const struct result *result)
{
    bool committed = result->actual == OUTCOME_COMMITTED;
    bool as_decided = result->type == RESULT_DONE;
    return committed == as_decided ? RECALL_COMMIT : RECALL_ROLLBACK;
}

void recall_note(struct agent *agent, const struct result *result)
{
    struct recollection *all = agent->recollection;
    if (result->type != RESULT_DONE && result->type != RESULT_HEURISTIC)
        return;
    if (all == NULL && (all = agent->recollection = calloc(1, sizeof *all)) == NULL)
        abort();
    all->ended[all->next] = (struct ended){result->branch, decision_of(result)};
    all->next = (all->next + 1) % ENDED_MAX;
    if (all->count < ENDED_MAX)
        all->count++;
}

/* What is said of a branch that is under way. A session is told to prepare once: before its answer
 * there was no vote, and no commit without it. A branch that is looked for may have voted before
 * this agent's start. */
static enum recall recall_of(enum branch_state state)
{
    static const enum recall meaning[BRANCH_STATES] = {
        [BRANCH_PREPARING] = RECALL_NOT_VOTED, [BRANCH_VERIFYING] = RECALL_VOTING,
        [BRANCH_OPEN] = RECALL_NOT_VOTED,      [BRANCH_CLOSING] = RECALL_NOT_VOTED,
        [BRANCH_REFUSED] = RECALL_NOT_VOTED,   [BRANCH_READY] = RECALL_VOTED,
        [BRANCH_SEEKING] = RECALL_COMMIT,      [BRANCH_COMMITTING] = RECALL_COMMIT,
        [BRANCH_EVICTING] = RECALL_COMMIT,     [BRANCH_DOOMED] = RECALL_ROLLBACK,
        [BRANCH_CLEARING] = RECALL_ROLLBACK,   [BRANCH_UNDOING] = RECALL_ROLLBACK,
    };
    return meaning[state];
}

static cJSON *say(cJSON *list, const struct gtrid *gtrid, enum recall recall)
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

static void say_from_memory(const struct agent *agent, const struct gtrid *gtrid, cJSON *list)
{
    const struct recollection *all = agent->recollection;
    struct branch_id branch;
    enum branch_state state;
    char gid[GID_BYTES];
    for (uint32_t i = 0; all != NULL && i < all->count; i++)
        if (gtrid_equal(&all->ended[i].branch.gtrid, gtrid))
            say(list, gtrid, all->ended[i].recall);
    for (uint32_t at = participant_next(agent->participant, 0, &branch, &state); at != UINT32_MAX;
         at = participant_next(agent->participant, at + 1, &branch, &state))
        if (gtrid_equal(&branch.gtrid, gtrid)) {
            cJSON *item = say(list, gtrid, recall_of(state));
            gid_format(&branch, gid);
            if (item != NULL)
                cJSON_AddStringToObject(item, "gid", gid);
        }
}

/* ---- asking and answering ---- */

struct recalling {
    struct asker *asker;
    cJSON *answer;
};

/* What this agent has accepted in transactions of three phases; the last row: anything at all? */
static const char rows_sql[] =
    "SELECT a.incarnation, a.sequence, coalesce(a.outcome, ''), true FROM assent.acceptor a"
    " WHERE a.tm = $1 AND (a.incarnation, a.sequence) IN (SELECT split_part(g, '.', 2)::bigint,"
    " split_part(g, '.', 3)::bigint FROM unnest($2::text[]) g)"
    " UNION ALL SELECT 0, 0, '', EXISTS (SELECT FROM assent.acceptor WHERE tm = $1)";

static void say_row(const char *tm, const struct pg_reply *reply, int row, cJSON *list)
{
    struct gtrid gtrid = {.incarnation = strtoull(pg_value(reply, row, 0), NULL, 10),
                          .sequence = strtoull(pg_value(reply, row, 1), NULL, 10)};
    const char *outcome = pg_value(reply, row, 2);
    text_copy(gtrid.tm, sizeof gtrid.tm, tm, strlen(tm));
    say(list, &gtrid,
        outcome[0] == '\0'                                ? RECALL_ACCEPTOR
        : outcome_from_word(outcome) == OUTCOME_COMMITTED ? RECALL_COMMIT
                                                          : RECALL_ROLLBACK);
}

static void took_rows(void *arg, const struct pg_reply *reply)
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
            say_row(tm, reply, i, list);
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
    struct recalling *recalling = malloc(sizeof *recalling);
    if (recalling == NULL)
        abort();
    *recalling = (struct recalling){asker, answer};
    control_ask(agent, took_rows, recalling, rows_sql, 2, tm, text);
    return;

refused:
    cJSON_Delete(answer);
    asker_failure(asker, &failure);
}
