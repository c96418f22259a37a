/*
 * core/base/mutant.h - planted mistakes, and marks of what was reached: for tests/sim alone.
 *
 * In the simulator's build, MUTANT(NAME) says whether the mistake of that name is to be made in
 * this run, and COVER() marks a cell of a protocol table. In every other build they are the
 * constant false and nothing at all, and the compiler drops them. A mutant that the simulator
 * does not find is a rule that nobody checks.
 */
#ifndef ASSENT_CORE_BASE_MUTANT_H
#define ASSENT_CORE_BASE_MUTANT_H

#ifdef ASSENT_SIMULATOR

/* X(NAME, the mistake, in words) */
#define MUTANTS(X)                                                                                 \
    X(SEND_EARLY, "COMMIT is sent when its record is handed to the log, before the sync")          \
    X(TELL_EARLY, "a client is told of the commit before its record is durable")                   \
    X(DECIDE_EARLY, "one yes is enough")                                                           \
    X(NO_WAIT, "what a scan finds prepared for an undecided transaction is rolled back")           \
    X(ABORT_WHILE_LOGGING, "a client's rollback aborts while the COMMIT record is with the log")   \
    X(END_EARLY, "END is logged at the first DONE")                                                \
    X(END_ON_UNSURE, "a branch that is gone without evidence counts as done")                      \
    X(HEURISTIC_IS_DONE, "a branch that was ended by hand the other way counts as done")           \
    X(FORGET_OUTCOME, "a committed transaction leaves no trace among the outcomes")                \
    X(KEY_FORGOTTEN, "the key of a committed transaction may be used again")                       \
    X(DATED_BY_UPTIME, "what is read back counts from when its host was started")                  \
    X(CHUNK_DATED_BY_FIRST, "the outcomes of a chunk are remembered since its first commit")       \
    X(ARCHIVE_NOT_READ, "a start does not read what its checkpoint left to the archives")          \
    X(KEY_NOT_LOGGED, "the COMMIT record does not carry the key")                                  \
    X(RECOVERED_FORGOTTEN, "decisions of earlier starts are not driven again")                     \
    X(RESEND_STOPS, "an unanswered order is sent twice and never again")                           \
    X(SCAN_STOPS, "agents are never asked what is prepared there")                                 \
    X(INCARNATION_KEPT, "a start does not raise the incarnation")                                  \
    X(LSN_NEWEST, "orders carry the newest position handed over, not the newest durable one")      \
    X(LSN_NONE, "orders carry no position")                                                        \
    X(BEAT_NOT_LOGGED, "the beat that a vote rests on is not logged")                              \
    X(DELEGATE_UNLOGGED, "COMMIT-ONE-PHASE is sent before its record is durable")                  \
    X(PREPARED_IS_DONE,                                                                            \
      "a branch that was prepared in place of a one-phase commit counts as done")                  \
    X(TAKEN_BACK_UNLOGGED, "such a branch is told to commit before the record is durable")         \
    X(DELEGATED_ABORTS, "a one-phase transaction of an earlier start is presumed aborted")         \
    X(PRESUME_AT_ANY, "abort is presumed once one agent has registered")                           \
    X(PRESUME_AT_ONCE, "an abort is presumed before any agent has registered")                     \
    X(FENCED_GOES_ON, "a refusal does not stop the coordinator")                                   \
    X(OFFER_THIS_START,                                                                            \
      "an offer carries the end of the log of this start, whatever the agent has accepted")        \
    X(JUDGE_NO_POSITION, "an agent accepts a log that ends before what it has seen")               \
    X(JUDGE_NO_INSTANCE, "an agent accepts a second instance of one incarnation")                  \
    X(JUDGE_ANY_START, "an agent accepts an earlier start, and one of another copy of the log")    \
    X(ANY_XID, "the agent finishes a gid whatever its xid")                                        \
    X(GONE_IS_DONE, "42704 at COMMIT PREPARED counts as success")                                  \
    X(UNKNOWN_IS_DONE, "a lost answer to COMMIT PREPARED counts as success")                       \
    X(ONE_PHASE_UNMARKED, "a lost answer to a one-phase commit counts as no")                      \
    X(BELIEVE_APPLICATION, "an own-connection branch is voted for without being seen")             \
    X(TAG_IGNORED, "PREPARE TRANSACTION answered by ROLLBACK counts as a yes")                     \
    X(HALF_WORK, "a statement of an earlier incarnation of the agent opens a new session")         \
    X(UNKNOWN_AT_ONCE, "a lost answer is passed on while its backend may still run")               \
    X(PREDECESSOR_LIVES, "a starting agent leaves its predecessor's backends alone")               \
    X(FORCE_UNASKED, "a DBA's decision against the log is taken without force")                    \
    X(FORCED_IS_PLAIN, "a decision that was forced is not called heuristic")                       \
    X(SETTLE_EARLY, "a DBA's decision takes effect before its record is durable")                  \
    X(RELEASED_IS_WHOLE, "a database that was released is believed about what it may have lost")   \
    X(RESOLUTION_NOT_KEPT, "a start does not read a DBA's decisions back")                         \
    X(NO_PROMISE, "an acceptor hears the old PRECOMMIT after it has promised not to")              \
    X(ROW_VOLATILE, "an acceptor's row is not on the disk when it answers")                        \
    X(NO_MAJORITY, "a leader is content with one acceptor")                                        \
    X(FREE_COMMIT, "a leader that finds nothing accepted commits")                                 \
    X(BALLOT_REUSED, "a leader that starts again uses the same ballot")                            \
    X(FORGOTTEN_IS_UNDONE, "what is prepared below the horizon is taken for never decided")        \
    X(FORGOTTEN_EARLY, "FORGET does not except the transactions that have not ended")              \
    X(PRECOMMIT_UNLOGGED, "PRECOMMIT is sent before its record is durable")                        \
    X(PREPARE_AFTER_PROMISE, "a branch is prepared although a leader has asked about it")          \
    X(ABORT_PRECOMMITTED, "a coordinator aborts alone after PRECOMMIT")                            \
    X(HEARTBEAT_IGNORED, "an agent leads although it hears from the coordinator")                  \
    X(SUSPECT_VOTES, "a database that may have lost its rows answers ballots about them")          \
    X(SUSPICION_FORGOTTEN, "an agent that saw its database lose data votes once it started over")  \
    X(NEWCOMER_ONCE, "that nothing was stored about the coordinator is told but once")             \
    X(QUARANTINED_COUNTS, "a vote counts though its database is in quarantine since")              \
    X(FULL_FORGETS, "an agent whose table is full forgets a branch that is under way")             \
    X(LATE_STATEMENT, "a statement is taken while its branch is being prepared")                   \
    X(MARKER_OF_ANYBODY, "whoever may log in may write the marker of a one-phase commit")          \
    X(ROW_NOT_CARRIED_OUT, "a starting agent does not look what its rows have decided")            \
    X(LOST_IS_REMEMBERED, "a log that replaces a lost one does not say that it has forgotten")     \
    X(LOST_VOTES_PROVE, "where the log is lost, what has voted yes counts as told to commit")      \
    X(ADOPTED_BEHIND, "an agent that adopts a new log holds it to the position of the lost one")   \
    X(LOST_BY_NAME, "a new log commits what is prepared under a gid, whatever was voted for")      \
    X(LOG_UNCHECKED, "the log's reader believes a record whatever its checksum")

enum mutant {
    MUTANT_NONE = 0,
#define X(name, words) MUTANT_##name,
    MUTANTS(X)
#undef X
        MUTANTS_END
};

extern enum mutant mutant_planted;
#define MUTANT(name) (mutant_planted == MUTANT_##name)

enum cover_table {
    COVER_PARTICIPANT,
    COVER_COORDINATOR,
    COVER_VERDICT,
    COVER_ACCEPTOR,
    COVER_LEADER,
    COVER_TERMINATOR,
    COVER_TABLES
};
void cover(enum cover_table table, unsigned row, unsigned column);
#define COVER(table, row, column) cover(COVER_##table, (unsigned)(row), (unsigned)(column))

#else

#define MUTANT(name)              false
#define COVER(table, row, column) ((void)0)

#endif

#endif
