/*
 * common/doubt.h - what will become of a branch in doubt, why, and what a DBA can do about it.
 */
#ifndef ASSENT_COMMON_DOUBT_H
#define ASSENT_COMMON_DOUBT_H

#include "common/third_phase.h"
#include "core/participant/participant.h"

/* What the agent of the branch's RM has said of it. */
enum doubt_found {
    FOUND_NOT_ASKED = 0, /* no answer */
    FOUND_PREPARED,
    FOUND_GONE,
};

/* Is what is prepared the transaction that has voted? */
enum doubt_vote { VOTE_NOT_KNOWN = 0, VOTE_SAME, VOTE_OTHER };

/* One branch, and all that could be learned about it. Texts are "" where there is none. */
struct doubt {
    const char *gtrid, *gid;
    const char *tm;          /* that begins the gtrid */
    const char *coordinator; /* that was asked */
    const char *rm;          /* that the gid names */
    const char *agent_url;
    const char *database, *owner, *login; /* of the agent, where the branch is prepared */
    bool misplaced;                       /* prepared in the database of another RM */
    bool actable;                         /* the agent's role may finish it */
    enum doubt_found found;
    enum doubt_vote vote;
    enum xid_status status; /* of the xid that has voted, where the branch is gone */

    const char *start;   /* the command that starts the coordinator; "": it runs */
    const char *silence; /* KNOWN_NOTHING: why no coordinator could be asked */
    enum txn_known known;
    bool live;
    bool fenced;
    bool released;         /* its database has lost data since, and was released */
    const char *waits_for; /* KNOWN_UNPROVEN: an RM */
    enum rm_state rm_state;
    enum branch_progress progress;   /* of a live transaction's branch */
    const char *differs;             /* KNOWN_MIXED: the RM whose branch ended otherwise */
    const struct third_phase *third; /* NULL: not 3pc, as far as anybody knows */
};

enum fate {
    FATE_UNKNOWN = 0, /* cannot be known: a DBA decides */
    FATE_MIXED,       /* over, and not the same everywhere */
    FATE_WAITS,       /* will be rolled back, once somebody else is there */
    FATE_WILL_COMMIT,
    FATE_WILL_ROLL_BACK,
    FATE_SAFE_TO_ROLL_BACK, /* nobody is there to do it */
    FATE_UNDECIDED,         /* nothing is wrong: it is being decided */
    FATE_NOT_OURS,          /* another coordinator's */
    FATES
};

struct advice {
    enum fate fate;
    char reason[REASON_BYTES];   /* the verdict in words, its reason with it */
    char command[2 * GID_BYTES]; /* what to run or do; "": nothing */
};

/* The same facts always give the same advice. */
void doubt_judge(const struct doubt *doubt, struct advice *out);

const char *doubt_fate_word(enum fate fate); /* "will-commit", ... */

#endif
