/*
 * tm/dba.c - a DBA's requests at the daemon's door: who asks, may he, and what would it do.
 *
 * Who may: root and the daemon's own user over the unix socket, whose uid the kernel vouches for.
 * A caller over HTTP or TCP has no name; HTTP's are let in only with http_admin = on.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tm/server_state.h"

static bool is_dba(const struct server *server, const struct request *request)
{
    if (request->caller == CALLER_HTTP)
        return server->settings->http_admin;
    return request->caller == 0 || request->caller == geteuid();
}

/* As the trail will have it: a name, or a number where there is none. */
static void dba_say_who(struct request *request)
{
    struct passwd user, *found = NULL;
    char room[4096];
    if (request->caller == CALLER_HTTP)
        snprintf(request->who, sizeof request->who, "http");
    else if (getpwuid_r((uid_t)request->caller, &user, room, sizeof room, &found) == 0 &&
             found != NULL)
        snprintf(request->who, sizeof request->who, "%.60s", found->pw_name);
    else
        snprintf(request->who, sizeof request->who, "uid %u", (unsigned)request->caller);
}

static cJSON *dba_branch_object(const struct request *request,
                                const struct resolution_branch *branch)
{
    struct branch_id id = {.gtrid = request->gtrid};
    char gid[GID_BYTES], xid[24];
    cJSON *object = cJSON_CreateObject();
    memcpy(id.rm, branch->rm, sizeof id.rm);
    memcpy(id.branch, branch->branch, sizeof id.branch);
    gid_format(&id, gid);
    u64_format(branch->xid, xid);
    cJSON_AddStringToObject(object, "rm", branch->rm);
    if (branch->branch[0] != '\0')
        cJSON_AddStringToObject(object, "branch", branch->branch);
    cJSON_AddStringToObject(object, "gid", gid);
    cJSON_AddStringToObject(object, "state", branch->state);
    cJSON_AddStringToObject(object, "plan", branch->plan);
    if (branch->xid != 0)
        cJSON_AddStringToObject(object, "xid", xid);
    return object;
}

cJSON *dba_plan(const struct server *server, const struct request *request)
{
    static const char *const judgements[] = {
        [JUDGED_AGREES] = "agrees",
        [JUDGED_UNKNOWABLE] = "cannot be known",
        [JUDGED_CONTRADICTED] = "contradicted",
        [JUDGED_IMPOSSIBLE] = "impossible",
    };
    struct resolution_view view;
    char gtrid[GTRID_BYTES];
    coordinator_judge(server->coordinator, request, &view);
    gtrid_format(&request->gtrid, gtrid);

    cJSON *reply = wire_ok();
    cJSON_AddStringToObject(reply, "gtrid", gtrid);
    cJSON_AddStringToObject(reply, "judgement", judgements[view.judgement]);
    cJSON_AddStringToObject(reply, "because", view.why);
    cJSON_AddBoolToObject(reply, "needs_force",
                          view.judgement == JUDGED_UNKNOWABLE ||
                              view.judgement == JUDGED_CONTRADICTED);
    cJSON_AddBoolToObject(reply, "mixed", view.mixed);
    cJSON_AddBoolToObject(reply, "live", view.live);
    cJSON *branches = cJSON_AddArrayToObject(reply, "branches");
    for (uint32_t i = 0; i < view.branch_count; i++)
        cJSON_AddItemToArray(branches, dba_branch_object(request, &view.branches[i]));
    return reply;
}

static cJSON *dba_refuse(enum error_code code, const char *message, const char *hint)
{
    struct failure failure;
    refuse(&failure, code, "%s", message);
    snprintf(failure.hint, sizeof failure.hint, "%s", hint);
    return wire_failure_tree(&failure);
}

bool dba_answers(const struct server *server, struct request *request, cJSON **reply)
{
    bool about_txn = request->op == OP_RESOLVE || request->op == OP_FORGET;
    if (!is_dba(server, request)) {
        *reply =
            dba_refuse(ERR_NOT_PERMITTED, "only a DBA may do this",
                       request->caller == CALLER_HTTP
                           ? "use assentctl on the coordinator's host, or set http_admin = on"
                           : "run assentctl as root or as the coordinator's user, over its unix "
                             "socket");
        return true;
    }
    if (about_txn && strcmp(request->gtrid.tm, server->settings->tm) != 0) {
        *reply = dba_refuse(ERR_UNKNOWN_TRANSACTION, "it is of another coordinator", "");
        return true;
    }
    enum outcome outcome;
    enum error_code error =
        about_txn ? coordinator_outcome(server->coordinator, &request->gtrid, &outcome) : ERR_NONE;
    if (error != ERR_NONE) {
        *reply =
            dba_refuse(error,
                       error == ERR_NOT_READY ? "this log has not reached it, and may be an old one"
                                              : "this coordinator never began it",
                       "a number that it has not reached may be given out yet");
        return true;
    }
    if (about_txn && request->dry_run) {
        *reply = dba_plan(server, request);
        return true;
    }
    dba_say_who(request);
    return false;
}
