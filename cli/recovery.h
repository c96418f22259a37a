/*
 * cli/recovery.h - a coordinator whose log is lost: what its agents say, and a new log from that.
 *
 * What follows from what they say is decided in core/coordinator/lost.c.
 */
#ifndef ASSENT_CLI_RECOVERY_H
#define ASSENT_CLI_RECOVERY_H

#include "cli/site.h"
#include "core/coordinator/lost.h"

enum { BECAUSE_BYTES = 128 };

struct recovery {
    struct site site;
    struct lost lost;
    cJSON *answers[RMS_MAX]; /* to `prepared`; NULL: none */
    struct failure failures[RMS_MAX];
    cJSON *untouched; /* gids that are prepared, and not this coordinator's to finish */
    struct uuid log;  /* the new one */
    struct start_id start;
};

/* Ask every agent of the site what it follows, what is prepared there and what it recalls. Returns
 * an exit code; the failure is told. Ended by recovery_free(). */
int recovery_gather(struct recovery *recovery);
void recovery_free(struct recovery *recovery);

/* What proves how this one ends, for people. */
const char *recovery_because(const struct recovery *recovery, const struct lost_txn *txn,
                             char out[BECAUSE_BYTES]);

uint32_t recovery_find_rm(const struct recovery *recovery, const char *name);

/* Write the new log: its opening, and every decision that was made, with who and why. */
int recovery_write_log(struct recovery *recovery, const char *why, struct error *error);
/* Have this agent follow it in place of the one that it has followed. */
int recovery_adopt(const struct recovery *recovery, uint32_t rm, struct failure *failure);

#endif
