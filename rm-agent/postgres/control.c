/*
 * rm-agent/postgres/control.c - the one connection that sees and ends backends, and what it is
 * asked.
 *
 * Before anything is asked on a new connection, greeting.c has said and compared what there is to
 * say and to compare.
 */
#include "rm-agent/postgres/control.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"

enum { VALUES_MAX = 8 };

struct question {
    struct question *next;
    control_done_fn *done;
    void *arg;
    const char *sql;
    bool lazy; /* what it writes need not be on disk yet */
    int count;
    const char *values[VALUES_MAX];
    char text[]; /* the values */
};

struct control {
    struct agent *agent;
    struct pg *pg;
    void (*greet)(struct agent *agent);
    bool ready; /* the greeting is over */
    int asked;  /* questions under way */
    int alone;  /* of the first ones: shared a trip that has failed */
    bool answering;
    struct question *first, **last;
    struct ending *stuck; /* backends that we were not allowed to end, so far */
    bool complained;      /* once for each time the database cannot be reached */
};

/* ---- questions ---- */

static void control_answered(void *arg, const struct pg_reply *replies, int count);

/* All that wait travel together, in their order, under one Sync and so in one transaction, which
 * waits for the disk if one of them has to. */
static void ask_next(struct control *control)
{
    static const struct pg_statement be_lazy = {
        .sql = "SELECT set_config('synchronous_commit', 'off', true)", .keep = true, .more = true};
    struct pg_statement statements[PG_STATEMENTS_MAX] = {be_lazy};
    int most = control->alone > 0 ? 1 : PG_STATEMENTS_MAX - 1, count = 0;
    bool lazy = true;
    if (control->asked > 0 || control->answering || !control->ready || !pg_idle(control->pg))
        return;
    for (const struct question *question = control->first; question != NULL && count < most;
         question = question->next) {
        statements[++count] = (struct pg_statement){question->sql, question->count,
                                                    question->values, .keep = true, .more = true};
        lazy &= question->lazy;
    }
    if (count == 0)
        return;
    statements[count].more = false;
    POINT("agent.before-question");
    control->asked = count;
    if (lazy)
        pg_run(control->pg, statements, count + 1, control_answered, control);
    else
        pg_run(control->pg, statements + 1, count, control_answered, control);
}

static void control_take_answer(struct control *control, const struct pg_reply *reply)
{
    struct question *question = control->first;
    control->first = question->next;
    if (control->first == NULL)
        control->last = &control->first;
    if (reply->sqlstate[0] != '\0') {
        log_warning("control connection: %s: %s", reply->sqlstate, reply->message);
        agent_note(control->agent, reply->message);
    }
    if (question->done != NULL)
        question->done(question->arg, reply);
    free(question);
}

static bool one_has_failed(const struct pg_reply *replies, int count)
{
    for (int i = 0; i < count; i++)
        if (replies[i].sqlstate[0] != '\0')
            return true;
    return false;
}

/* What was not answered is asked again, when we are connected again if need be. Of questions that
 * were asked together all are undone if one fails: then each is asked alone. */
static void control_answered(void *arg, const struct pg_reply *replies, int count)
{
    struct control *control = arg;
    int asked = control->asked;
    POINT("agent.question-answered");
    control->asked = 0;
    replies += count - asked;
    if (replies[asked - 1].alive) {
        if (asked > 1 && one_has_failed(replies, asked)) {
            control->alone = asked;
        } else {
            control->answering = true;
            control->alone -= control->alone > 0;
            for (int i = 0; i < asked; i++)
                control_take_answer(control, &replies[i]);
            control->answering = false;
        }
    }
    ask_next(control);
}

static void ask(struct agent *agent, control_done_fn *done, void *arg, bool lazy, const char *sql,
                int count, va_list values)
{
    struct control *control = agent->control;
    assert(count <= VALUES_MAX);
    va_list again;
    size_t bytes = 0;
    va_copy(again, values);
    for (int i = 0; i < count; i++)
        bytes += strlen(va_arg(again, const char *)) + 1;
    va_end(again);

    struct question *question = must_alloc(sizeof *question + bytes, "a question");
    question->done = done;
    question->arg = arg;
    question->lazy = lazy;
    question->sql = sql;
    question->count = count;
    char *at = question->text;
    for (int i = 0; i < count; i++) {
        const char *value = va_arg(values, const char *);
        size_t length = strlen(value) + 1;
        question->values[i] = memcpy(at, value, length);
        at += length;
    }
    *control->last = question;
    control->last = &question->next;
    ask_next(control);
}

void control_ask(struct agent *agent, control_done_fn *done, void *arg, const char *sql, int count,
                 ...)
{
    va_list values;
    va_start(values, count);
    ask(agent, done, arg, false, sql, count, values);
    va_end(values);
}

void control_ask_lazily(struct agent *agent, control_done_fn *done, void *arg, const char *sql,
                        int count, ...)
{
    va_list values;
    va_start(values, count);
    ask(agent, done, arg, true, sql, count, values);
    va_end(values);
}

/* ---- backends ---- */

struct ending {
    struct ending *next; /* stuck */
    struct agent *agent;
    struct backend backend;
    control_gone_fn *gone;
    void *arg;
};

static void end_once_more(struct ending *ending);

static void control_ended(void *arg, const struct pg_reply *reply)
{
    struct ending *ending = arg;
    /* Never guess that it has gone. */
    if (reply->sqlstate[0] != '\0') {
        ending->next = ending->agent->control->stuck;
        ending->agent->control->stuck = ending;
        return;
    }
    if (strcmp(pg_value(reply, 0, 0), "0") != 0) {
        end_once_more(ending);
        return;
    }
    struct ending over = *ending;
    free(ending);
    control_leave(over.agent, over.backend);
    over.gone(over.arg);
}

static void end_once_more(struct ending *ending)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", ending->backend.pid);
    snprintf(start, sizeof start, "%" PRId64, ending->backend.start_us);
    control_ask(ending->agent, control_ended, ending,
                "SELECT count(pg_terminate_backend(pid, 100)) FROM pg_stat_activity"
                " WHERE pid = $1::int AND " BACKEND_START_US " = $2::bigint AND " IN_THIS_DATABASE,
                2, pid, start);
}

void control_end_backend(struct agent *agent, struct backend backend, control_gone_fn *gone,
                         void *arg)
{
    if (backend.pid == 0) {
        gone(arg);
        return;
    }
    struct ending *ending = must_alloc(sizeof *ending, "the end of a backend");
    *ending = (struct ending){NULL, agent, backend, gone, arg};
    end_once_more(ending);
}

void control_tick(struct agent *agent)
{
    while (agent->control->stuck != NULL) {
        struct ending *ending = agent->control->stuck;
        agent->control->stuck = ending->next;
        end_once_more(ending);
    }
}

struct entry {
    control_entered_fn *done;
    void *arg;
};

static void entered(void *arg, const struct pg_reply *reply)
{
    struct entry entry = *(struct entry *)arg;
    free(arg);
    entry.done(entry.arg, strcmp(pg_value(reply, 0, 0), "t") == 0);
}

void control_enter(struct agent *agent, struct backend backend, control_entered_fn *done, void *arg)
{
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    struct entry *entry = must_alloc(sizeof *entry, "an entry of a session");
    *entry = (struct entry){done, arg};
    control_ask(agent, entered, entry,
                "WITH entered AS (INSERT INTO assent.session (pid, backend_start)"
                " SELECT pid, backend_start FROM pg_stat_activity"
                " WHERE pid = $1::int AND " BACKEND_START_US " = $2::bigint AND " IN_THIS_DATABASE
                " RETURNING 1)"
                " SELECT EXISTS (SELECT FROM entered)",
                2, pid, start);
}

void control_leave(struct agent *agent, struct backend backend)
{
    if (backend.pid == 0)
        return;
    char pid[NUMBER_BYTES], start[NUMBER_BYTES];
    snprintf(pid, sizeof pid, "%d", backend.pid);
    snprintf(start, sizeof start, "%" PRId64, backend.start_us);
    control_ask(
        agent, NULL, NULL,
        "DELETE FROM assent.session WHERE gid IS NULL AND pid = $1::int AND " BACKEND_START_US
        " = $2::bigint",
        2, pid, start);
}

/* ---- the connection ---- */

static void control_up(void *arg)
{
    struct control *control = arg;
    POINT("agent.control-connected");
    control->greet(control->agent);
}

struct pg *control_connection(const struct agent *agent)
{
    return agent->control->pg;
}

void control_greeted(struct agent *agent)
{
    struct control *control = agent->control;
    control->ready = true;
    control->complained = false;
    ask_next(control);
}

static void control_down(void *arg, const char *why)
{
    struct control *control = arg;
    control->ready = false;
    agent_note(control->agent, why);
    if (!control->complained)
        log_warning("no connection to the database, trying again: %s", why);
    control->complained = true;
}

void control_open(struct agent *agent, void (*greet)(struct agent *agent))
{
    struct control *control = must_alloc(sizeof *control, "the control connection");
    control->agent = agent;
    control->greet = greet;
    control->last = &control->first;
    agent->control = control;
    struct pg_options options = {
        .conninfo = agent->options->conninfo,
        .settings = settings_of_control,
        .retry = true,
        .up = control_up,
        .down = control_down,
        .arg = control,
    };
    control->pg = pg_open(agent->set, &options);
}

void control_reconfigure(struct agent *agent)
{
    pg_set_conninfo(agent->control->pg, agent->options->conninfo);
}

bool control_ready(const struct agent *agent)
{
    return agent->control->ready;
}

const char *control_database(const struct agent *agent)
{
    return pg_database(agent->control->pg);
}
