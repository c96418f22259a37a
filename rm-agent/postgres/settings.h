/*
 * rm-agent/postgres/settings.h - what the agent's sessions with PostgreSQL depend on.
 *
 * A default is whatever a role, a database, a provider or an older conninfo has made of it. So the
 * agent's own connections set all that their statements rest on, each time that they connect, and
 * compare what they have got. The sessions that run an application's SQL are what psql as that role
 * would be, but for what would end a branch before its time.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_SETTINGS_H
#define ASSENT_RM_AGENT_POSTGRES_SETTINGS_H

/* The value as current_setting() shows it. Lists end with a NULL name. */
struct pg_setting {
    const char *name;
    const char *value;
};

/* Of the control connection, of those that finish branches, and of those that ask one question. */
extern const struct pg_setting settings_of_control[];
extern const struct pg_setting settings_of_workers[];
extern const struct pg_setting settings_of_probes[];

/* Of an application's session, as start-up options: DISCARD ALL comes back to them. */
extern const char startup_of_sessions[];

#endif
