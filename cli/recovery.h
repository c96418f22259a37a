/*
 * cli/recovery.h - a coordinator whose log is lost: what its agents say, and a new log from that.
 */
#ifndef ASSENT_CLI_RECOVERY_H
#define ASSENT_CLI_RECOVERY_H

#include "cli/site.h"
#include "core/coordinator/lost.h"

struct lost_branch {
    uint32_t rm;       /* index in the site */
    const cJSON *item; /* what its agent says of it */
    uint64_t xid;
    char name[BRANCH_NAME_BYTES];
};

/* A transaction of which at least one branch is prepared. */
struct lost_txn {
    struct gtrid gtrid;
    char text[GTRID_BYTES];
    uint32_t branch_count;
    struct lost_branch branches[BRANCHES_MAX];
    uint32_t recalled[RECALLS];
    char because[128];
    enum lost_verdict verdict;
    enum outcome outcome; /* what will become of it; NONE: not to be said, or not said yet */
    bool by_word;         /* a person's */
};

struct lost_agent {
    cJSON *answer; /* to `prepared`; NULL: none */
    struct failure failure;
    struct uuid log; /* that it follows, if it knows the coordinator */
    bool knows;
    bool accepts; /* has voted in transactions of three phases that are not forgotten yet */
    bool without; /* a person: it is not asked, and has to adopt the new log later */
};

struct recovery {
    struct site site;
    struct lost_agent agents[RMS_MAX];
    uint64_t highest; /* incarnation that any agent has accepted */
    uint32_t count;
    struct lost_txn *txns;
    cJSON *untouched; /* gids that are prepared, and not this coordinator's to finish */
    struct uuid log;  /* the new one */
    struct start_id start;
};

/* Ask every agent of the site what it follows, what is prepared there and what it recalls. Returns
 * an exit code; the failure is told. Ended by recovery_free(). */
int recovery_gather(struct recovery *recovery);
void recovery_free(struct recovery *recovery);

uint32_t recovery_find_rm(const struct recovery *recovery, const char *name);

/* Write the new log: its opening, and every decision that was made, with who and why. */
int recovery_write_log(struct recovery *recovery, const char *why, struct error *error);
/* Have this agent follow it in place of the one that it has followed. */
int recovery_adopt(const struct recovery *recovery, uint32_t rm, struct failure *failure);

#endif
