/*
 * core/coordinator/lost.h - the coordinator's log is gone: what its agents still prove, and what
 * may follow.
 *
 * What was decided stood in the log and nowhere else. But a decision leaves traces: an agent that
 * was told to commit knows that it was decided so, one that has never voted yes knows that it was
 * not, and whatever one agent knows holds for all branches. Where no agent knows anything, or where
 * two contradict each other, only a person can say.
 *
 * `assentctl recover` asks the agents and says what they answer here; what is concluded from it,
 * whether anything may be done, and what a new log says, is decided here. The simulator does the
 * same with agents that die meanwhile.
 */
#ifndef ASSENT_CORE_COORDINATOR_LOST_H
#define ASSENT_CORE_COORDINATOR_LOST_H

#include "core/coordinator/coordinator.h"
#include "core/coordinator/registry.h"
#include "core/message/record.h"
#include "core/participant/participant.h"

/* ---- what an agent recalls of a branch ---- */

enum recall {
    RECALL_NOTHING = 0,
    RECALL_VOTED,     /* yes, and was told no more */
    RECALL_VOTING,    /* it is being looked at, or was prepared a moment ago: ask again */
    RECALL_NOT_VOTED, /* has not voted yes, and never will now */
    RECALL_COMMIT,    /* was told to commit, or has */
    RECALL_ROLLBACK,  /* was told to roll back, or has */
    RECALL_ACCEPTOR,  /* three phases, and it has not heard yet what its acceptors decide */
    RECALL_NO_ROW,    /* no row of it as an acceptor: in three phases it has not voted */
    RECALLS
};

const char *recall_word(enum recall recall); /* "voted", ...; "" for nothing */
enum recall recall_from_word(const char *word);

/* Of a branch that is under way; of the last thing that was said of one; of an acceptor's row. */
enum recall recall_of_state(enum branch_state state);
enum recall recall_of_result(const struct result *result);
enum recall recall_of_row(enum outcome outcome);

/* ---- what is found ---- */

enum lost_verdict {
    LOST_ASK = 0,    /* nothing proves either: a person has to say */
    LOST_COMMIT,     /* was decided */
    LOST_ROLL_BACK,  /* was decided, or can never be committed any more */
    LOST_CONTRADICT, /* both are proved: a person has to look */
    LOST_ACCEPTORS,  /* its agents decide it by themselves: nobody else may */
    LOST_WAIT,       /* not all of its branches may be known yet: ask again */
    LOST_NOT_OURS,   /* of a later start than any agent has accepted: not to be touched */
};

struct lost_branch {
    uint32_t rm;    /* number of its agent */
    uint64_t xid;   /* that is prepared */
    uint64_t voted; /* that its agent recalls to have voted for; 0: it does not */
    char name[BRANCH_NAME_BYTES];
    const void *item; /* the caller's own */
};

/* A transaction of which at least one branch is prepared. */
struct lost_txn {
    struct gtrid gtrid;
    uint32_t branch_count;
    struct lost_branch branches[BRANCHES_MAX];
    uint32_t recalled[RECALLS];
    enum recall said; /* what says most of it, NOTHING: nobody does; and which agent */
    uint32_t said_by;
    uint32_t rowless; /* an agent with a branch and no row */
    enum lost_verdict verdict;
    enum outcome outcome; /* what will become of it; NONE: not to be said, or not said yet */
    bool by_word;         /* a person's */
};

struct lost_agent {
    char rm[RM_NAME_BYTES];
    bool answered;
    bool without;    /* a person: it is not asked, and has to adopt the new log later */
    bool knows;      /* the coordinator */
    bool accepts;    /* has voted in transactions of three phases that are not forgotten yet */
    struct uuid log; /* that it follows */
};

struct lost {
    char tm[TM_NAME_BYTES];
    uint64_t highest; /* incarnation that any agent has accepted */
    uint32_t agent_count;
    struct lost_agent agents[RMS_MAX];
    uint32_t count, room;
    struct lost_txn *txns; /* the caller's memory, with room for so many */
};

/* An agent that has answered follows this log, from this start on; exists false: none of ours. */
void lost_take_agent(struct lost *lost, uint32_t rm, const struct tm_row *row);

enum lost_taken {
    LOST_TAKEN,
    LOST_LEFT, /* another's, or of a later start than any agent has accepted: not to be touched */
    LOST_TOO_MANY, /* more branches than a coordinator could have made */
};

/* A branch that is prepared at this agent. There has to be room for one more transaction. */
enum lost_taken lost_take_prepared(struct lost *lost, uint32_t rm, const struct branch_id *branch,
                                   uint64_t xid, const void *item);
struct lost_txn *lost_find(const struct lost *lost, const struct gtrid *gtrid);
/* Is this branch among those that were taken? */
bool lost_is_listed(const struct lost_txn *txn, uint32_t rm, const struct branch_id *branch);
/* An agent recalls this of one of its branches. */
void lost_recall(struct lost_txn *txn, uint32_t rm, enum recall recall);
/* With that, for VOTED and COMMIT: the xid that was voted for. 0: it is not recalled. What was told
 * to commit outranks a vote: one that was asked for late may be for a block that was run again. */
void lost_recall_xid(struct lost_txn *txn, uint32_t rm, const struct branch_id *branch,
                     enum recall recall, uint64_t xid);
/* Was what is prepared never voted for? A block that its application has run again has the name of
 * one that was: it is rolled back, whatever its transaction's outcome. */
bool lost_is_another(const struct lost_branch *branch);

/* All that is recalled of the branches of one transaction, counted by kind, and the highest
 * incarnation of its coordinator that any agent has accepted. */
enum lost_verdict lost_judge(uint64_t incarnation, uint64_t highest_incarnation,
                             const uint32_t recalled[RECALLS]);
/* The verdict of each, and what will become of it as far as that is proved. */
void lost_judge_all(struct lost *lost);

/* A person says how it ended. False: it is not his to say, or he has said, or it is proved to be,
 * otherwise. */
bool lost_say(struct lost_txn *txn, enum outcome outcome);

/* ---- may it be done? ---- */

enum lost_obstacle {
    LOST_FREE = 0,
    LOST_SILENT,           /* an agent does not answer, and may know more: *rm */
    LOST_DIFFERENT_LOGS,   /* the agents do not agree on a log to give up */
    LOST_UNKNOWN,          /* no agent knows the coordinator */
    LOST_BEING_DECIDED,    /* by acceptors */
    LOST_ACCEPTOR_MISSING, /* who may know what the others have to know */
    LOST_MOVES,            /* not all that is prepared may have been listed */
    LOST_UNSAID,           /* a person has not said yet how each has ended */
};

/* Nothing is done on a part of what is to be known. */
enum lost_obstacle lost_check(const struct lost *lost, uint32_t *rm);

/* ---- the new log ---- */

/* The records that a new log opens with. Its start is higher than all that the agents know of; what
 * was before it is forgotten, so that nobody is told that it was rolled back; and it is
 * established, so that an agent that has not adopted it is left out and not waited for. */
enum { LOST_OPENING = 3 };
void lost_opening(const struct start_id *start, struct record out[LOST_OPENING]);

/* The incarnation of its start. */
uint64_t lost_incarnation(const struct lost *lost);

/*
 * All its records, one a call: the opening, who said what of each transaction and what commits, and
 * whom nobody waits for. *position begins at 0; false: there are no more. The caller says who and
 * why in RESOLVED and WAIVED.
 */
bool lost_record(const struct lost *lost, const struct start_id *start, uint32_t *position,
                 struct record *out);

/* ---- an agent that was away ---- */

/* Would the new log leave this prepared branch to presumption, since it does not know how it ends?
 * known: what coordinator_know() says of it. */
bool lost_is_open(const struct txn_knowledge *known, const struct lost_branch *branch);

#endif
