/*
 * rm-agent/postgres/lines.c - the connections that sessions run on.
 *
 * A line is entered in assent.session before its first use, so that the next start of the agent
 * can end its backend. After a session it is reset by DISCARD ALL and free for any other of its
 * role. One that was lost may still have a backend at work: that is ended.
 */
#include "rm-agent/postgres/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "rm-agent/config.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/membership.h"
#include "rm-agent/postgres/session.h"

static void lines_backend_is_gone(void *arg)
{
    (void)arg;
}

static void line_free(struct line *line)
{
    if (line->entering)
        return;
    rows_drop(&line->rows);
    free(line);
}

struct backend line_close(struct line *line)
{
    struct lines *lines = &line->agent->sessions->lines;
    struct backend backend = pg_backend(line->pg);
    struct line **at = &lines->first;
    while (*at != line)
        at = &(*at)->next;
    *at = line->next;
    lines->count--;
    if (line->session != NULL)
        line->session->line = NULL;
    line->closed = true;
    pg_close(line->pg);
    line_free(line);
    return backend;
}

static void line_end(struct line *line)
{
    struct agent *agent = line->agent;
    control_end_backend(agent, line_close(line), lines_backend_is_gone, NULL);
}

/* What an ALTER ROLE, a NOLOGIN or a VALID UNTIL says, reaches only those who log in. */
static uint64_t old_ms(const struct line *line)
{
    return line->opened_ms + line->agent->options->session_lifetime_ms;
}

void line_return(struct line *line)
{
    line->session = NULL;
    line->idle = true;
    if (line->retired || pg_swollen(line->pg) || loop_now_ms() >= old_ms(line))
        line_end(line);
}

static bool was_reset(const struct line *line, const struct pg_reply *reply)
{
    return reply->alive && strcmp(reply->tag, "DISCARD ALL") == 0 && pg_idle(line->pg) &&
           pg_transaction(line->pg) == PQTRANS_IDLE;
}

static void line_reset(void *arg, const struct pg_reply *replies, int count)
{
    struct line *line = arg;
    const struct pg_reply *reply = &replies[count - 1];
    if (!reply->alive)
        return; /* down() follows */
    if (was_reset(line, reply))
        line_return(line);
    else
        pg_drop(line->pg, "it could not be reset");
}

void line_give_back(struct line *line, const struct pg_reply *reset)
{
    /* What has failed remains open until it is rolled back. */
    static const struct pg_statement statements[] = {{.sql = "ROLLBACK", .more = true}, LINE_RESET};
    line->session = NULL;
    if (reset != NULL && was_reset(line, reset))
        line_return(line);
    else if (pg_idle(line->pg) && pg_transaction(line->pg) == PQTRANS_IDLE)
        pg_run(line->pg, &statements[1], 1, line_reset, line);
    else if (pg_idle(line->pg) && pg_transaction(line->pg) == PQTRANS_INERROR)
        pg_run(line->pg, statements, 2, line_reset, line);
    else
        pg_drop(line->pg, "it is still in a transaction");
}

static void line_entered(void *arg, bool entered)
{
    struct line *line = arg;
    POINT("agent.session-entered");
    line->entering = false;
    if (line->closed) {
        line_free(line);
        return;
    }
    if (!entered) {
        char grant[REASON_BYTES], why[2 * REASON_BYTES];
        membership_grant(line->agent, line->login, grant, sizeof grant);
        snprintf(
            why, sizeof why,
            "the agent does not see the backend of a session of role \"%s\": %s; and the conninfo "
            "of its section has to reach the same server as the agent's",
            line->login, grant);
        log_warning("%s", why);
        pg_drop(line->pg, why);
        return;
    }
    line->backend = pg_backend(line->pg);
    if (line->session != NULL)
        session_enter(line->session);
    else
        line_return(line);
}

/* That it is the agent's database of another server, the control connection finds out: it does not
 * see the backend. */
static bool is_in_our_database(const struct line *line)
{
    return strcmp(pg_database(line->pg), control_database(line->agent)) == 0;
}

static void line_up(void *arg)
{
    struct line *line = arg;
    POINT("agent.session-connected");
    if (!is_in_our_database(line)) {
        pg_drop(line->pg, "the session is in another database than the agent's: conninfo in its "
                          "section [exec ROLE]");
        return;
    }
    line->entering = true;
    control_enter(line->agent, pg_backend(line->pg), line_entered, line);
}

static void line_down(void *arg, const char *why)
{
    struct line *line = arg;
    struct agent *agent = line->agent;
    struct session *session = line->session;
    char kept[REASON_BYTES];
    text_copy(kept, sizeof kept, why, strlen(why));
    agent_note(agent, why);
    if (session != NULL && pg_burst(line->pg))
        session_refuse_exec(
            session, ERR_RESULT_TOO_LARGE,
            "a row of the result is larger than max_row allows by far: the branch's "
            "session was ended, and its work is gone; roll back");
    struct backend backend = line_close(line);
    control_end_backend(agent, backend, lines_backend_is_gone, NULL);
    if (session != NULL)
        session_lost(session, kept);
}

static struct line *idle_line(const struct lines *lines, uint32_t role)
{
    uint64_t now_ms = loop_now_ms();
    for (struct line *line = lines->first; line != NULL; line = line->next)
        if (line->idle && !line->retired && line->role == role && now_ms < old_ms(line))
            return line;
    return NULL;
}

/* Connections are as many as sessions may be: one that idles for another role makes room. */
static void make_room(struct agent *agent)
{
    const struct lines *lines = &agent->sessions->lines;
    if (lines->count < agent->options->max_sessions)
        return;
    for (struct line *line = lines->first; line != NULL; line = line->next)
        if (line->idle) {
            line_end(line);
            return;
        }
}

static struct line *line_open(struct agent *agent, uint32_t role)
{
    struct line *line = must_alloc(sizeof *line, "a connection for sessions");
    struct pg_options options = {
        .conninfo = agent->options->roles[role].conninfo,
        .startup = startup_of_sessions,
        .up = line_up,
        .down = line_down,
        .arg = line,
    };
    struct error error;
    make_room(agent);
    line->agent = agent;
    line->role = role;
    line->opened_ms = loop_now_ms();
    if (conninfo_user(options.conninfo, line->login, &error) != 0)
        line->login[0] = '\0';
    line->pg = pg_open(agent->set, &options);
    line->next = agent->sessions->lines.first;
    agent->sessions->lines.first = line;
    agent->sessions->lines.count++;
    return line;
}

bool line_take(struct session *session)
{
    struct agent *agent = session->agent;
    struct line *line = idle_line(&agent->sessions->lines, session->role);
    bool ready = line != NULL;
    if (ready)
        line->idle = false;
    else
        line = line_open(agent, session->role);
    line->session = session;
    session->line = line;
    return ready;
}

void lines_reconfigure(struct agent *agent)
{
    struct line *line, *next;
    for (line = agent->sessions->lines.first; line != NULL; line = next) {
        next = line->next;
        line->retired = true;
        if (line->idle)
            line_end(line);
    }
}

void lines_tick(struct agent *agent, uint64_t now_ms)
{
    struct line *line, *next;
    for (line = agent->sessions->lines.first; line != NULL; line = next) {
        next = line->next;
        if (line->idle && now_ms >= old_ms(line))
            line_end(line);
    }
}
