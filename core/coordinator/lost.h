/*
 * core/coordinator/lost.h - the coordinator's log is gone: what its agents still prove, and what
 * may follow.
 *
 * What was decided stood in the log and nowhere else. But a decision leaves traces: an agent that
 * was told to commit knows that it was decided so, one that has never voted yes knows that it was
 * not, and whatever one agent knows holds for all branches. Where no agent knows anything, or where
 * two contradict each other, only a person can say.
 */
#ifndef ASSENT_CORE_COORDINATOR_LOST_H
#define ASSENT_CORE_COORDINATOR_LOST_H

#include "core/coordinator/registry.h"
#include "core/message/record.h"

/* What an agent recalls of a branch. */
enum recall {
    RECALL_NOTHING = 0,
    RECALL_VOTED,     /* yes, and was told no more */
    RECALL_VOTING,    /* it is being looked at, or was prepared a moment ago: ask again */
    RECALL_NOT_VOTED, /* has not voted yes, and never will now */
    RECALL_COMMIT,    /* was told to commit, or has */
    RECALL_ROLLBACK,  /* was told to roll back, or has */
    RECALL_ACCEPTOR,  /* three phases, and it has not heard yet what its acceptors decide */
    RECALLS
};

const char *recall_word(enum recall recall); /* "voted", ...; "" for nothing */
enum recall recall_from_word(const char *word);

enum lost_verdict {
    LOST_ASK = 0,    /* nothing proves either: a person has to say */
    LOST_COMMIT,     /* was decided */
    LOST_ROLL_BACK,  /* was decided, or can never be committed any more */
    LOST_CONTRADICT, /* both are proved: a person has to look */
    LOST_ACCEPTORS,  /* its agents decide it by themselves: nobody else may */
    LOST_WAIT,       /* not all of its branches may be known yet: ask again */
    LOST_NOT_OURS,   /* of a later start than any agent has accepted: not to be touched */
};

/* All that is recalled of the branches of one transaction, counted by kind, and the highest
 * incarnation of its coordinator that any agent has accepted. */
enum lost_verdict lost_judge(uint64_t incarnation, uint64_t highest_incarnation,
                             const uint32_t recalled[RECALLS]);

/* The records that a new log opens with. Its start is higher than all that the agents know of; what
 * was before it is forgotten, so that nobody is told that it was rolled back; and it is
 * established, so that an agent that has not adopted it is left out and not waited for. */
enum { LOST_OPENING = 3 };
void lost_opening(const struct start_id *start, struct record out[LOST_OPENING]);

#endif
