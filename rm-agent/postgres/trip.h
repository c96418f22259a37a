/*
 * rm-agent/postgres/trip.h - COMMIT PREPARED and ROLLBACK PREPARED, several in one trip to the
 * server.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_TRIP_H
#define ASSENT_RM_AGENT_POSTGRES_TRIP_H

#include "rm-agent/agent.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/postgres/verdict.h"

enum {
    BECOMING = 4,                            /* statements before the commands */
    TRIP_MAX = PG_STATEMENTS_MAX - BECOMING, /* commands */
};

/* A branch to be finished. */
struct finish {
    struct finish *next;
    struct agent *agent;
    struct branch_id branch;
    char gid[GID_BYTES];
    enum command command;
    uint64_t xid; /* the transaction that is meant */
    uint64_t lsn; /* of the order */
    char owner[ROLE_NAME_BYTES];
    bool found; /* the gid is that transaction */
    bool alone; /* its group was refused */
    char message[REASON_BYTES];
};

/* A connection of the pool. */
struct worker {
    struct worker *next;
    struct agent *agent;
    struct pg *pg;
    struct backend backend; /* entered in assent.session; pid 0: not yet */
    uint32_t entering;      /* entries asked for: only the last is for this connection */
    struct finish *group;   /* under way, in the order of their commands */
    uint64_t sent_us;
};

/* May these travel together? */
bool trip_may_share(const struct finish *first, const struct finish *other);
/* How many there are in a group. */
uint32_t trip_size(const struct finish *group);
/* Sends the group's commands. Each comes back by pool_over() or pool_again(). */
void trip_run(struct worker *worker, struct finish *group);

#endif
