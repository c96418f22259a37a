/*
 * rm-agent/state_file.h - what an agent knows of its database, kept outside of it.
 *
 * Set back to an old copy of its files while the agent is down, a database tells nobody. So the
 * agent keeps how far it had come (its own incarnation, the end of the WAL, a beat for each
 * coordinator) in a small file beside: no more than was on the database's disk, and not much less.
 */
#ifndef ASSENT_RM_AGENT_STATE_FILE_H
#define ASSENT_RM_AGENT_STATE_FILE_H

#include "rm-agent/agent.h"

/* Reads the file, if there is one, and starts the thread that writes it. Without `state_file` in
 * the configuration this and the rest do nothing. */
int state_file_open(struct agent *agent, struct error *error);

/* At the agent's start, before it has written anything but its incarnation: does the database show
 * less than the file says? tms: what BOOK_STORED_SQL found; kept: the database says that there is a
 * file. Why, for people, in `why`. */
bool state_file_tells_of_loss(struct agent *agent, const struct pg_reply *tms, bool kept, char *why,
                              size_t room);
/* That is known now, and what the database shows is what it has. */
void state_file_believe(struct agent *agent, const struct pg_reply *tms);
/* The highest incarnation that it knows of; 0 none. */
uint64_t state_file_incarnation(const struct agent *agent);

/* Once a second, with what pg_current_wal_flush_lsn() says: have it written if it has changed.
 * Blocks nothing. */
void state_file_tick(struct agent *agent, uint64_t wal);
/* The last of it, and the thread's end; waits for the disk. */
void state_file_close(struct agent *agent);

#endif
