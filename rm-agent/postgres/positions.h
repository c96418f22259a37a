/*
 * rm-agent/postgres/positions.h - the beat and the log position that the database remembers.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_POSITIONS_H
#define ASSENT_RM_AGENT_POSTGRES_POSITIONS_H

#include "rm-agent/talk/book.h"

enum { SEQUENCE_BYTES = TM_NAME_BYTES + 32 };

/*
 * SQL: raises a coordinator's position to a number, and gives what it is then. Whoever raises one
 * holds the agent's row until his transaction is over, so it never falls; and no role but the
 * agent's can. sequence, number: parameters; NULL: nothing is done.
 */
#define RAISE_POSITION(sequence, number)                                                           \
    "CASE WHEN " number "::bigint IS NOT NULL"                                                     \
    " AND (SELECT only_row FROM assent.agent FOR NO KEY UPDATE)"                                   \
    " THEN pg_catalog.setval(" sequence "::pg_catalog.text::pg_catalog.regclass, greatest(" number \
    "::bigint,"                                                                                    \
    " pg_catalog.pg_sequence_last_value(" sequence "::pg_catalog.text::pg_catalog.regclass))) END"

/* The name of that sequence, as SQL reads it. */
void positions_sequence(const char *tm, char out[SEQUENCE_BYTES]);
/* An order has come with this lsn: the position to be raised to is no lower from now on. */
void positions_move(struct tm_link *tm, uint64_t lsn);

/* beat is the one that has been set; 0: the database refused, and nothing may rest on it. */
typedef void positions_done_fn(void *arg, uint64_t beat);

/*
 * Set the coordinator's next beat, and its position to lsn if that is higher. With `durable`
 * both, and all that the database did before, are on disk when done is called; else they are
 * once any later commit of the database is: a PREPARE TRANSACTION, a COMMIT.
 */
void positions_raise(struct agent *agent, struct tm_link *tm, uint64_t lsn, bool durable,
                     positions_done_fn *done, void *arg);
/* A commit that came after this beat is known to be on disk. */
void positions_flushed(struct agent *agent, const char *tm, uint64_t beat);

#endif
