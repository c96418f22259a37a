/*
 * rm-agent/postgres/exec.h - one statement that an application asks to be run in its branch.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_EXEC_H
#define ASSENT_RM_AGENT_POSTGRES_EXEC_H

#include "common/ticket.h"
#include "rm-agent/agent.h"

struct exec {
    struct asker *asker;
    cJSON *object; /* the whole request, ours; sql and params are in it */
    struct branch_id branch;
    char gid[GID_BYTES];
    struct ticket ticket;
    uint32_t role; /* index into the options' roles */
    uint64_t n;    /* 0: not numbered */
    const char *sql;
    const cJSON *params; /* or NULL */
};

/* Reads what out->asker and out->object ask for, and says no to all that can be refused before
 * the branch is touched. Returns 0, or -1 with *failure. */
int exec_read(struct agent *agent, struct exec *out, struct failure *failure);
/* Sends it behind the statements that are to come `before`; the rest as for pg_run_rows(). */
enum { EXEC_BEFORE_MAX = 2 };
void exec_send(const struct exec *exec, struct pg *pg, const struct pg_statement *before, int count,
               uint32_t row_most, pg_row_fn *row, pg_done_fn *done, void *arg);
/* After its reply; NULL is allowed. */
void exec_free(struct exec *exec);

#endif
