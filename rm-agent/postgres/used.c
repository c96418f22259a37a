/*
 * rm-agent/postgres/used.c - what is remembered of a branch once its session is over.
 *
 * That SQL was run in it, until the branch is settled and in assent.session also over our own
 * restart: it never gets a second session. And who owns what was prepared: the agent finishes it
 * as that role.
 */
#include "rm-agent/postgres/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "core/ballot/acceptor.h"
#include "rm-agent/postgres/control.h"

static void delete_next(struct agent *agent);

static void deleted(void *arg, const struct pg_reply *reply)
{
    struct agent *agent = arg;
    (void)reply;
    agent->sessions->leaving.asks--;
    delete_next(agent);
}

static void delete_waiting(struct agent *agent)
{
    struct leaving *leaving = &agent->sessions->leaving;
    leaving->asks++;
    leaving->gids[leaving->length - 1] = '}';
    control_ask(agent, deleted, agent, "DELETE FROM assent.session WHERE gid = ANY ($1::text[])", 1,
                leaving->gids);
    leaving->length = 0;
}

static void delete_next(struct agent *agent)
{
    if (agent->sessions->leaving.asks == 0 && agent->sessions->leaving.length > 0)
        delete_waiting(agent);
}

/* What is to go while others go, goes together after them. */
void used_delete(struct agent *agent, const char *gid)
{
    struct leaving *leaving = &agent->sessions->leaving;
    size_t at = leaving->length;
    size_t needed = at + strlen(gid) + 3;
    if (needed > leaving->room) {
        leaving->room = 2 * needed;
        leaving->gids = must_grow(leaving->gids, leaving->room, "the branches that are left");
    }
    /* An array's text, its last comma to become the brace. gids need no quoting. */
    at += (size_t)sprintf(leaving->gids + at, "%s%s,", at == 0 ? "{" : "", gid);
    leaving->length = at;
    delete_next(agent);
}

void used_settle(struct agent *agent, const char *gid)
{
    const struct leaving *leaving = &agent->sessions->leaving;
    if (leaving->length > 0 && strstr(leaving->gids, gid) != NULL)
        delete_waiting(agent);
}

bool sessions_owner(struct agent *agent, const char *gid, char out[ROLE_NAME_BYTES])
{
    const struct session *session = session_find(agent, gid);
    if (session == NULL || session->owner[0] == '\0')
        return false;
    memcpy(out, session->owner, ROLE_NAME_BYTES);
    return true;
}

void sessions_remember_owner(struct agent *agent, const struct branch_id *branch, const char *owner)
{
    struct session *session = session_find_branch(agent, branch);
    if (session == NULL) {
        char gid[GID_BYTES];
        gid_format(branch, gid);
        session = session_add(agent, gid, branch);
        session->own = true;
    }
    text_copy(session->owner, sizeof session->owner, owner, strlen(owner));
}

void sessions_remember_used(struct agent *agent, const char *gid)
{
    struct branch_id branch;
    if (gid_parse(gid, strlen(gid), &branch) && session_find(agent, gid) == NULL)
        session_add(agent, gid, &branch);
}

bool sessions_used(struct agent *agent, const struct branch_id *branch)
{
    const struct session *session = session_find_branch(agent, branch);
    return session != NULL && !session->own;
}

static void forget(struct session *session)
{
    struct agent *agent = session->agent;
    POINT("agent.before-gid-left");
    if (!session->own)
        used_delete(agent, session->gid);
    HASH_DEL(agent->sessions->by_gid, session);
    session->forgotten = true;
    session_release(session);
}

void sessions_forget(struct agent *agent, const struct branch_id *branch)
{
    struct session *session = session_find_branch(agent, branch);
    if (session != NULL && session->state == SESSION_OVER)
        forget(session);
}

static bool is_over_at(const struct session *session, const char *tm)
{
    return session->state == SESSION_OVER && strcmp(session->branch.gtrid.tm, tm) == 0;
}

void sessions_forget_ended(struct agent *agent, const char *tm, const struct forget *forgotten)
{
    struct session *session, *next;
    for (session = agent->sessions->by_gid; session != NULL; session = next) {
        next = session->hh.next;
        if (is_over_at(session, tm) && forget_is_ended(forgotten, &session->branch.gtrid))
            forget(session);
    }
}

void sessions_forget_older(struct agent *agent, const char *tm, uint64_t incarnation)
{
    struct session *session, *next;
    for (session = agent->sessions->by_gid; session != NULL; session = next) {
        next = session->hh.next;
        if (is_over_at(session, tm) && session->branch.gtrid.incarnation < incarnation)
            forget(session);
    }
}
