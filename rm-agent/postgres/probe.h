/*
 * rm-agent/postgres/probe.h - one question on a connection that is opened for it and closed behind
 * it.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_PROBE_H
#define ASSENT_RM_AGENT_POSTGRES_PROBE_H

#include "rm-agent/agent.h"

enum { PROBE_VALUES_MAX = 4 };

struct probe_question {
    const char *sql; /* a literal */
    int count;
    const char *values[PROBE_VALUES_MAX]; /* need only live during the call */
};

/* The answer, or why there was none: reply is NULL, and why says it. Always called once. */
typedef void probe_done_fn(void *arg, const struct pg_reply *reply, const char *why);

void probe(struct agent *agent, const char *conninfo, const struct probe_question *question,
           probe_done_fn *done, void *arg);

/* How many hosts a conninfo names, and the same conninfo with only one of them, standby or not
 * (malloc'ed). */
int conninfo_hosts(const char *conninfo);
char *conninfo_of_host(const char *conninfo, int at);
/* "host db1 port 5433", for messages. */
void conninfo_host_name(const char *conninfo, int at, char *out, size_t room);

#endif
