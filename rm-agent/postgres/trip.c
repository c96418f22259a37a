/*
 * rm-agent/postgres/trip.c - COMMIT PREPARED and ROLLBACK PREPARED, several in one trip to the
 * server.
 *
 * Only the owner of a prepared transaction may finish it, so a member of the owner becomes it
 * for one command: becoming it and the command travel together, and every answer is read. We become
 * the owner only if the gid is still the very transaction that is meant: it can have been finished
 * by hand, and its name used again. Else the command runs as the login role and is refused: no harm
 * done. A login role that would not be refused looks before it acts.
 *
 * They share one Sync. Becoming the owner is a transaction of its own, since a command must not be
 * inside of one; if it fails nothing behind it is run, so no command runs as whoever we were
 * before. For the same reason we may remain who we are until the next trip.
 *
 * Commands that wait for a connection share a trip when one owner prepared what they finish, for
 * one coordinator: we become the owner once, and only if every gid of the group is the transaction
 * that is meant. If one is not, all are refused, and each is tried alone.
 *
 * The transaction in which we become the owner also raises the coordinator's log position. It
 * waits for no disk: a COMMIT PREPARED behind it takes it there.
 */
#include "rm-agent/postgres/trip.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/point.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/postgres/pool.h"
#include "rm-agent/postgres/positions.h"

enum {
    COMMAND_BYTES = QUOTED_BYTES + 32,
    LOOK = 2, /* which of those before the commands becomes the owner */
};

static void answer_was_lost(void *arg)
{
    pool_over(arg, PE_UNKNOWN, "", "");
}

#define RAISE RAISE_POSITION("$4", "$5")

/* Makes their owner the role of the next commands, if each gid is the transaction that is meant.
 * This runs as a member of every application's role: names are qualified though the path is set. */
static const char become_owner[] =
    "SELECT pg_catalog.count(*), pg_catalog.min(owner),"
    " pg_catalog.set_config('synchronous_commit', 'off', true), " RAISE
    ", pg_catalog.set_config('role', CASE WHEN"
    " pg_catalog.count(*) = pg_catalog.cardinality($1::pg_catalog.text[])"
    " AND pg_catalog.min(owner) = pg_catalog.max(owner) THEN pg_catalog.min(owner)"
    " ELSE 'none' END, false)"
    " FROM (SELECT " PREPARED_OWNER
    " AS owner FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),"
    " pg_catalog.unnest($2::pg_catalog.xid[])) meant (gid, xid)"
    " JOIN pg_catalog.pg_prepared_xact() p ON p.gid = meant.gid AND p.transaction = meant.xid"
    " WHERE p.dbid = $3::pg_catalog.oid) found";

/* As arrays' texts: gids have no character that would need quoting. */
struct meant {
    char gids[TRIP_MAX * (GID_BYTES + 1) + 2];
    char xids[TRIP_MAX * NUMBER_BYTES + 2];
};

static void write_meant(const struct finish *group, struct meant *out)
{
    char *gids = out->gids, *xids = out->xids;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        char before = finish == group ? '{' : ',';
        gids += sprintf(gids, "%c%s", before, finish->gid);
        xids += sprintf(xids, "%c%" PRIu32, before, (uint32_t)finish->xid);
    }
    strcpy(gids, "}");
    strcpy(xids, "}");
}

uint32_t trip_size(const struct finish *group)
{
    uint32_t count = 0;
    for (; group != NULL; group = group->next)
        count++;
    return count;
}

static void became(struct finish *group, const struct pg_reply *reply)
{
    unsigned long found = strtoul(pg_value(reply, 0, 0), NULL, 10);
    const char *owner = pg_value(reply, 0, 1);
    unsigned long count = trip_size(group);
    for (struct finish *finish = group; finish != NULL; finish = finish->next) {
        finish->found = found == count;
        if (finish->found)
            text_copy(finish->owner, sizeof finish->owner, owner, strlen(owner));
    }
}

/* In whatever language it says so, the sequence is named. */
static bool is_about_position(const struct finish *finish, const struct pg_reply *reply)
{
    char name[sizeof "position_" + TM_NAME_BYTES];
    snprintf(name, sizeof name, "position_%s", finish->branch.gtrid.tm);
    return strstr(reply->message, name) != NULL;
}

/* What it was refused for; where it was not allowed, in the words of whoever can put it right. */
static const char *why(struct finish *finish, const struct pg_reply *reply)
{
    if (strcmp(reply->sqlstate, "42501") != 0 || is_about_position(finish, reply))
        return reply->message;
    if (finish->found && finish->owner[0] == '\0')
        return "the owner of the prepared transaction was dropped; only a superuser can finish it";
    if (finish->owner[0] == '\0')
        return reply->message;
    char grant[REASON_BYTES / 2 + ROLE_NAME_BYTES * 2];
    membership_grant(finish->agent, finish->owner, grant, sizeof grant);
    snprintf(finish->message, sizeof finish->message, "the agent may not finish it: %s", grant);
    return finish->message;
}

/* grouped: others were looked for with it. */
static void finished(struct worker *worker, struct finish *finish, const struct pg_reply *reply,
                     bool grouped)
{
    struct agent *agent = worker->agent;
    POINT_IF(finish->command == COMMAND_COMMIT_PREPARED, "agent.commit-prepared-done");
    POINT_IF(finish->command == COMMAND_ROLLBACK_PREPARED, "agent.rollback-prepared-done");
    enum participant_event_type type =
        verdict(finish->command, reply->tag, reply->sqlstate, reply->alive);
    if (type == PE_UNKNOWN) {
        struct backend backend = pg_backend(worker->pg);
        pg_drop(worker->pg, reply->message);
        control_end_backend(agent, backend, answer_was_lost, finish);
        return;
    }
    /* Refused for a neighbour's sake. */
    if (type != PE_FINISHED && grouped && (reply->skipped || !finish->found)) {
        finish->alone = !finish->found;
        pool_again(finish);
        return;
    }
    if (type == PE_RETRY && !finish->found)
        type = PE_GONE; /* what is there is not what was meant */
    pool_over(finish, type, reply->sqlstate, why(finish, reply));
}

/* The answers to the group's commands. */
static void all_finished(struct worker *worker, const struct pg_reply *reply)
{
    struct finish *group = worker->group;
    bool grouped = group->next != NULL;
    worker->group = NULL;
    while (group != NULL) {
        struct finish *finish = group;
        group = finish->next;
        finished(worker, finish, reply++, grouped);
    }
}

/* We could not become the owner, and no command was run. */
static void none_finished(struct worker *worker, const struct pg_reply *reply)
{
    struct finish *group = worker->group;
    bool grouped = group->next != NULL;
    worker->group = NULL;
    while (group != NULL) {
        struct finish *finish = group;
        group = finish->next;
        finish->found = false;
        finish->alone = true;
        if (grouped)
            pool_again(finish);
        else
            pool_over(finish, PE_RETRY, reply->sqlstate, why(finish, reply));
    }
}

static void trip_stepped_back(void *arg, const struct pg_reply *replies, int count)
{
    struct worker *worker = arg;
    (void)count;
    if (replies->alive && pg_transaction(worker->pg) != PQTRANS_IDLE)
        pg_drop(worker->pg, "it is still in a transaction");
}

static void done_together(void *arg, const struct pg_reply *replies, int count)
{
    static const struct pg_statement rollback = {.sql = "ROLLBACK"};
    struct worker *worker = arg;
    const struct pg_reply *reply = replies;
    while (reply < &replies[BECOMING] && reply->sqlstate[0] == '\0')
        reply++;
    if (reply < &replies[BECOMING] && reply->alive) {
        pg_run(worker->pg, &rollback, 1, trip_stepped_back, worker);
        none_finished(worker, reply);
        return;
    }
    if (replies[count - 1].alive)
        pool_measure(worker);
    became(worker->group, &replies[LOOK]);
    all_finished(worker, &replies[BECOMING]);
}

static void done_alone(void *arg, const struct pg_reply *replies, int count)
{
    (void)count;
    all_finished(arg, replies);
}

static void write_command(const struct worker *worker, const struct finish *finish,
                          char out[COMMAND_BYTES])
{
    char gid[QUOTED_BYTES];
    pg_literal(worker->pg, finish->gid, gid, sizeof gid);
    snprintf(out, COMMAND_BYTES, "%s %s",
             finish->command == COMMAND_COMMIT_PREPARED ? "COMMIT PREPARED" : "ROLLBACK PREPARED",
             gid);
}

static void looked_first(void *arg, const struct pg_reply *replies, int count)
{
    struct worker *worker = arg;
    struct finish *finish = worker->group;
    char command[COMMAND_BYTES];
    (void)count;
    became(finish, &replies[1]);
    if (finish->found) {
        write_command(worker, finish, command);
        const struct pg_statement statement = {.sql = command};
        pg_run(worker->pg, &statement, 1, done_alone, worker);
        return;
    }
    worker->group = NULL;
    const struct pg_reply *reply = &replies[replies[0].sqlstate[0] != '\0' ? 0 : 1];
    bool refused = !reply->alive || reply->sqlstate[0] != '\0';
    pool_over(finish, refused ? PE_RETRY : PE_GONE, reply->sqlstate, refused ? reply->message : "");
}

/* Without BEGIN and COMMIT: one Sync, one transaction. */
static void look_first(struct worker *worker, struct pg_statement *statements)
{
    statements[1].more = false;
    pg_run(worker->pg, statements, 2, looked_first, worker);
}

/* Would PostgreSQL let the login role finish what is not meant? */
static bool would_not_be_refused(const struct finish *finish)
{
    const struct identity *identity = &finish->agent->identity;
    return identity->superuser || finish->owner[0] == '\0' ||
           strcmp(finish->owner, identity->login) == 0;
}

/* As text; NULL: it need not be raised. */
static const char *position_of(const struct finish *group, char out[NUMBER_BYTES])
{
    struct tm_link *tm = book_known(group->agent, group->branch.gtrid.tm);
    bool commits = false;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        if (finish->command != COMMAND_COMMIT_PREPARED)
            continue;
        commits = true;
        positions_move(tm, finish->lsn);
    }
    if (!commits)
        return NULL;
    u64_format(tm->position, out);
    return out;
}

void trip_run(struct worker *worker, struct finish *group)
{
    char commands[TRIP_MAX][COMMAND_BYTES];
    char sequence[SEQUENCE_BYTES], position[NUMBER_BYTES];
    struct meant texts;
    write_meant(group, &texts);
    positions_sequence(group->branch.gtrid.tm, sequence);
    const char *const meant[] = {texts.gids, texts.xids, pg_database(worker->pg), sequence,
                                 position_of(group, position)};
    struct pg_statement statements[PG_STATEMENTS_MAX] = {
        {.sql = "BEGIN", .keep = true, .more = true},
        {.sql = "SET ROLE none", .keep = true, .more = true}, /* the position is the agent's */
        {.sql = become_owner, .count = 5, .values = meant, .keep = true, .more = true},
        {.sql = "COMMIT", .keep = true},
    };
    int count = BECOMING;
    for (const struct finish *finish = group; finish != NULL; finish = finish->next) {
        char *command = commands[count - BECOMING];
        write_command(worker, finish, command);
        statements[count - 1].more = true;
        statements[count++] = (struct pg_statement){.sql = command};
        POINT_IF(finish->command == COMMAND_COMMIT_PREPARED, "agent.before-commit-prepared");
        POINT_IF(finish->command == COMMAND_ROLLBACK_PREPARED, "agent.before-rollback-prepared");
    }
    worker->group = group;
    worker->sent_us = loop_now_us();
    if (would_not_be_refused(group))
        look_first(worker, &statements[1]);
    else
        pg_run(worker->pg, statements, count, done_together, worker);
    POINT_IF(group->command == COMMAND_COMMIT_PREPARED, "agent.commit-prepared-sent");
    POINT_IF(group->command == COMMAND_ROLLBACK_PREPARED, "agent.rollback-prepared-sent");
}

bool trip_may_share(const struct finish *first, const struct finish *other)
{
    return !first->alone && !other->alone && !would_not_be_refused(first) &&
           strcmp(first->owner, other->owner) == 0 &&
           strcmp(first->branch.gtrid.tm, other->branch.gtrid.tm) == 0;
}
