/*
 * rm-agent/positions.h - the beat and the log position that the database remembers.
 */
#ifndef ASSENT_RM_AGENT_POSITIONS_H
#define ASSENT_RM_AGENT_POSITIONS_H

#include "rm-agent/tms.h"

/* beat is the one that has been set; 0: the database refused, and nothing may rest on it. */
typedef void positions_done_fn(void *arg, uint64_t beat);

/*
 * Set the coordinator's next beat, and its position to lsn if that is higher. With `durable`
 * both, and all that the database did before, are on disk when done is called; else they are
 * once any later commit of the database is: a PREPARE TRANSACTION, a COMMIT PREPARED.
 */
void positions_raise(struct agent *agent, struct tm_link *tm, uint64_t lsn, bool durable,
                     positions_done_fn *done, void *arg);

/* covered: the position is at least lsn; else the database refused, and nothing may rest on it. */
typedef void positions_covered_fn(void *arg, bool covered);

/* The position alone, in time for any later commit: for what has no need of a beat of its own. */
void positions_cover(struct agent *agent, struct tm_link *tm, uint64_t lsn,
                     positions_covered_fn *done, void *arg);
/* A commit that came after this beat is known to be on disk. */
void positions_flushed(struct agent *agent, const char *tm, uint64_t beat);

#endif
