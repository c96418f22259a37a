/*
 * rm-agent/postgres/control.h - the one connection that starts the agent, sees and ends backends.
 *
 * What it is asked is kept until it has been answered, over any number of reconnections, and what
 * is asked together shares a transaction, and is asked once more if that fails: so every statement
 * here must be harmless when it runs twice.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_CONTROL_H
#define ASSENT_RM_AGENT_POSTGRES_CONTROL_H

#include "rm-agent/agent.h"

/* reply->sqlstate is "" unless PostgreSQL refused the statement. */
typedef void control_done_fn(void *arg, const struct pg_reply *reply);
typedef void control_gone_fn(void *arg);

/* greet is called at each connection, before anything is asked on it: it says what it has to on
 * control_connection(), and control_greeted() at its end. */
void control_open(struct agent *agent, void (*greet)(struct agent *agent));
struct pg *control_connection(const struct agent *agent);
void control_greeted(struct agent *agent);
/* The options have changed: how it connects the next time. */
void control_reconfigure(struct agent *agent);
bool control_ready(const struct agent *agent);
/* The oid of the database. */
const char *control_database(const struct agent *agent);

/* One statement with count texts; done may be NULL. The sql must be a literal. What it has written
 * is on disk when done is called. */
void control_ask(struct agent *agent, control_done_fn *done, void *arg, const char *sql, int count,
                 ...);
/* The same, and what it has written need not be on disk before a later commit of the database is.
 */
void control_ask_lazily(struct agent *agent, control_done_fn *done, void *arg, const char *sql,
                        int count, ...);
/* Terminate a backend and call back once it is gone; a pid of 0 is gone already. */
void control_end_backend(struct agent *agent, struct backend backend, control_gone_fn *gone,
                         void *arg);
/* Now and then: try again what PostgreSQL refused, a missing GRANT may be there by now. */
void control_tick(struct agent *agent);
/* Enter a connection in assent.session before its first use; done is given false when the
 * control connection cannot see that backend: another server, or no right to. */
typedef void control_entered_fn(void *arg, bool entered);
void control_enter(struct agent *agent, struct backend backend, control_entered_fn *done,
                   void *arg);
/* A connection of ours is over, and nothing of it is left to be ended. */
void control_leave(struct agent *agent, struct backend backend);

#endif
