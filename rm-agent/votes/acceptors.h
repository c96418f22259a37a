/*
 * rm-agent/votes/acceptors.h - this agent's votes in 3pc transactions: the rows of assent.acceptor.
 *
 * Nobody else changes a row, and whatever is asked about one is answered in its order, once what
 * the answer rests on is in the database; an answer to a leader, once it is on the disk.
 */
#ifndef ASSENT_RM_AGENT_VOTES_ACCEPTORS_H
#define ASSENT_RM_AGENT_VOTES_ACCEPTORS_H

#include "rm-agent/agent.h"
#include "rm-agent/votes/rows.h"

struct row_answer {
    bool failed;               /* the database did not do it: nothing else is said */
    bool barred;               /* JOIN: the branch must not be prepared any more */
    bool ended;                /* the horizon has passed it */
    bool may_not_vote;         /* JUDGE: the database may have lost what it said about it */
    const struct row *row;     /* as it is now; acceptor.exists: whether there is one */
    const struct ballot *said; /* JUDGE: BALLOT_NONE where there is nothing to say */
};
typedef void row_done_fn(void *arg, const struct row_answer *answer);

void acceptors_create(struct agent *agent);
/* The control connection is up again: what was not on the disk may be gone. */
void acceptors_doubt(struct agent *agent);

/* What the row says. */
void acceptors_look(struct agent *agent, const struct gtrid *gtrid, row_done_fn *done, void *arg);
/* Enter the vote of a branch that is about to be prepared under this xid; durable: that is prepared
 * already, otherwise its PREPARE makes the row durable. */
void acceptors_join(struct agent *agent, const struct branch_id *branch, uint64_t xid,
                    const struct roster *roster, bool durable, row_done_fn *done, void *arg);
/* What a leader or the TM says; lsn: the position that the TM says it with, else 0. */
void acceptors_judge(struct agent *agent, const struct ballot *ballot, uint64_t lsn,
                     row_done_fn *done, void *arg);
/* The TM has said to commit, and so how all of it has ended: for those who will ask. */
void acceptors_note_committed(struct agent *agent, const struct gtrid *gtrid);
/* What the TM's horizon has passed may go. */
void acceptors_forget(struct agent *agent, const char *tm, const struct forget *forget);

#endif
