/*
 * tm/timeline.c - how long each phase of a transaction took, and whom it waits for.
 *
 * There are four: the application works in its branches, the databases vote, the decision goes
 * to the log's disk, the databases apply it. Who was last to vote and to apply says where to
 * look for the time.
 */
#include "tm/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/logger.h"

enum { LINE_BYTES = 512 };

/* ---- show ---- */

static void timeline_add_event(cJSON *timeline, uint32_t at_ms, const char *what, const char *rm)
{
    if (at_ms == NOT_YET)
        return;
    cJSON *entry = cJSON_CreateObject();
    cJSON_AddNumberToObject(entry, "at_ms", at_ms);
    if (rm != NULL)
        cJSON_AddStringToObject(entry, "rm", rm);
    cJSON_AddStringToObject(entry, "what", what);
    cJSON_AddItemToArray(timeline, entry);
}

static const char *timeline_rm_name(const struct server *server, uint32_t at)
{
    return at == NOT_YET ? NULL : coordinator_registry(server->coordinator)->rms[at].name;
}

static const char *timeline_decision_words(enum shown_state state)
{
    return state == SHOWN_ROLLING_BACK || state == SHOWN_ROLLED_BACK
               ? "rollback decided"
               : "commit decided, and on the coordinator's disk";
}

static bool timeline_has_applied(const struct branch_view *branch)
{
    return branch->progress == BR_DONE;
}

/* In the order in which things can happen. Of one that is over only the last of each is kept. */
static cJSON *timeline_list(const struct server *server, const struct txn_view *view)
{
    const struct txn_times *times = &view->times;
    bool over = times->ended_ms != NOT_YET;
    cJSON *list = cJSON_CreateArray();
    timeline_add_event(list, 0, "begun", NULL);
    timeline_add_event(list, times->asked_ms, "commit asked for, databases asked to prepare", NULL);
    for (uint32_t i = 0; i < view->branch_count; i++)
        timeline_add_event(list, view->branches[i].answered_ms,
                           view->branches[i].progress == BR_NO ? "refused" : "voted yes",
                           view->branches[i].rm);
    if (over)
        timeline_add_event(list, times->voted_ms, "the last to vote",
                           timeline_rm_name(server, times->last_voter));
    timeline_add_event(list, times->decided_ms, timeline_decision_words(view->state), NULL);
    for (uint32_t i = 0; i < view->branch_count; i++)
        if (timeline_has_applied(&view->branches[i]))
            timeline_add_event(list, view->branches[i].done_ms, "applied", view->branches[i].rm);
    if (over && times->last_applier != NOT_YET)
        timeline_add_event(list, times->ended_ms, "the last to apply",
                           timeline_rm_name(server, times->last_applier));
    timeline_add_event(list, times->ended_ms, "over", NULL);
    return list;
}

static bool timeline_is_awaited(enum shown_state state, const struct branch_view *branch)
{
    switch (state) {
    case SHOWN_PREPARING:
        return branch->progress == BR_ASKED;
    case SHOWN_COMMITTING:
        return branch->progress == BR_YES || branch->progress == BR_UNSURE;
    case SHOWN_ROLLING_BACK:
        return branch->progress != BR_DONE && branch->progress != BR_LEFT &&
               branch->progress != BR_NO && branch->progress != BR_HEURISTIC;
    default:
        return false;
    }
}

static void timeline_add_awaited(const struct server *server, const char *rm, cJSON *awaited)
{
    const struct registry *registry = coordinator_registry(server->coordinator);
    uint32_t at = registry_find(registry, rm);
    enum rm_state state = at == UINT32_MAX ? RM_DOWN : registry->rms[at].state;
    char text[RM_NAME_BYTES + 64];
    snprintf(text, sizeof text, "%s%s%s", rm, state == RM_UP ? "" : ", whose agent is ",
             state == RM_UP ? "" : rm_state_word(state));
    cJSON_AddItemToArray(awaited, cJSON_CreateString(text));
}

static void timeline_add_silent_acceptors(const struct server *server,
                                          const struct ballot_view *ballot, cJSON *awaited)
{
    for (uint32_t i = 0; i < ballot->roster.count; i++)
        if ((ballot->answered & rank_bit(i)) == 0)
            timeline_add_awaited(server, ballot->roster.agents[i], awaited);
}

static cJSON *timeline_waits_for(const struct server *server, const struct txn_view *view)
{
    cJSON *awaited = cJSON_CreateArray();
    for (uint32_t i = 0; i < view->branch_count; i++)
        if (timeline_is_awaited(view->state, &view->branches[i]))
            timeline_add_awaited(server, view->branches[i].rm, awaited);
    if (view->state == SHOWN_PRECOMMITTING)
        timeline_add_silent_acceptors(server, &view->ballot, awaited);
    if (cJSON_GetArraySize(awaited) > 0)
        return awaited;
    if (view->state == SHOWN_ACTIVE)
        cJSON_AddItemToArray(awaited, cJSON_CreateString("the application"));
    else if (view->state == SHOWN_PREPARING || view->state == SHOWN_PRECOMMITTING)
        cJSON_AddItemToArray(awaited, cJSON_CreateString("the log's disk"));
    else if (view->state == SHOWN_MIXED)
        cJSON_AddItemToArray(awaited, cJSON_CreateString("a DBA"));
    return awaited;
}

void timeline_add(const struct server *server, const struct txn_view *view, cJSON *transaction)
{
    cJSON_AddItemToObject(transaction, "timeline", timeline_list(server, view));
    if (view->times.ended_ms == NOT_YET)
        cJSON_AddItemToObject(transaction, "waits_for", timeline_waits_for(server, view));
}

/* ---- the log of slow transactions ---- */

/* From the end of one phase to that of the next, of those that have been. */
static void timeline_add_phase(char *line, uint32_t *since_ms, uint32_t until_ms, const char *what,
                               const char *rm)
{
    size_t used = strlen(line);
    if (until_ms == NOT_YET)
        return;
    snprintf(line + used, LINE_BYTES - used, ", %s %" PRIu32 " ms%s%s%s", what,
             until_ms - *since_ms, rm != NULL ? " (last: " : "", rm != NULL ? rm : "",
             rm != NULL ? ")" : "");
    *since_ms = until_ms;
}

static void timeline_log_one(const struct server *server, const struct txn_view *view)
{
    const struct txn_times *times = &view->times;
    char gtrid[GTRID_BYTES], line[LINE_BYTES] = "";
    uint32_t since_ms = 0;
    gtrid_format(&view->gtrid, gtrid);
    timeline_add_phase(line, &since_ms, times->asked_ms, "work", NULL);
    timeline_add_phase(line, &since_ms, times->voted_ms, "votes",
                       timeline_rm_name(server, times->last_voter));
    timeline_add_phase(line, &since_ms, times->decided_ms, "decision", NULL);
    timeline_add_phase(line, &since_ms, times->ended_ms, "applying",
                       timeline_rm_name(server, times->last_applier));
    log_notice("slow: %s%s%s %s after %" PRIu32 " ms%s", gtrid,
               view->origin.label[0] != '\0' ? " " : "", view->origin.label,
               state_word(view->state), times->ended_ms, line);
}

void timeline_log_slow(struct server *server)
{
    struct txn_view view;
    uint32_t least_ms = server->settings->log_min_duration_ms;
    if (least_ms == 0)
        return;
    while (coordinator_ended(server->coordinator, &server->ended_seen, least_ms, &view))
        timeline_log_one(server, &view);
}
