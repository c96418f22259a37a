/*
 * tests/unit/coordinator_harness.h - a coordinator to tell stories about: given, when, did.
 *
 * There is one, with the resource managers accounts and ledger. Its log is a count of records,
 * which become durable when the story says so; its time passes only by the story.
 */
#ifndef ASSENT_TESTS_COORDINATOR_HARNESS_H
#define ASSENT_TESTS_COORDINATOR_HARNESS_H

#include "core/base/errors.h"
#include "core/coordinator/coordinator.h"

enum { SAID_BYTES = 16 * 1024, SNAPSHOT_MAX = 64 };

extern const struct coordinator_limits limits;
extern const struct coordinator_settings settings;

extern struct coordinator *tm;
extern struct actions actions; /* of the last step */
extern char said[SAID_BYTES];  /* since the last question */
extern uint64_t now_ms;

/* What was done since the last question, one action a line; what is due by now is done first. */
const char *did(void);

/* ---- given ---- */

void given_empty_tm(void); /* not started */
void given_tm(void);       /* accounts and ledger have accepted it */
void given_rms(uint32_t count);
/* A log that holds these records is read at a start. */
void given_replayed(const struct record *records, uint32_t count);
void given_log(const struct record *records, uint32_t count);
/* The next start knows what a snapshot of the present one says, and nothing else. */
void given_snapshot(void);
void start_tm(void);
/* Begun, with a branch at each of these; second may be NULL. In two phases, or as it says. */
void given_begun(const char *first, const char *second);
void given_begun_by(enum protocol protocol, const char *first, const char *second);
/* Transaction 1 with branches at accounts and ledger, committing by a client that waits. */
void given_preparing(void);
void given_preparing_by(enum protocol protocol);
void given_logging(void);
void given_committing(void);

/* ---- when ---- */

void step(struct event *event);
void log_is_durable(void);
void time_passes(uint64_t ms);
void ask(struct request request);
void ask_about(enum op op, uint64_t sequence, const char *rm);
/* Of an agent's first incarnation and of system identifier 1, unless it says otherwise. */
void agent_answers(const char *rm, struct answer answer);
void agent_accepts(const char *rm);
void agent_is_lost(const char *rm);
void hear(struct result result);
void agent_says(enum result_type type, uint64_t sequence, const char *rm);
/* Of a ballot about that transaction, whatever gtrid the ballot holds. */
void acceptor_says(const char *rm, struct gtrid gtrid, struct ballot ballot);
void dba_asks(enum op op, uint64_t sequence, enum outcome wanted_outcome, bool force);
void dba_asks_about(enum op op, const char *rm);

/* ---- names, and what is there ---- */

uint32_t rm_number(const char *rm);
const char *rm_is(const char *rm); /* "up", ... */
struct gtrid gtrid_number(uint64_t sequence);
struct gtrid gtrid_of_start(uint64_t incarnation, uint64_t sequence);
/* What is known of it; OUTCOME_NONE for what this coordinator has never given out. */
enum outcome outcome_of(struct gtrid gtrid);
uint64_t alarms(void);
/* Of this start's transaction, by an agent's first incarnation; its xid is 700 and the sequence. */
struct result result_about(enum result_type type, uint64_t sequence, const char *rm);
/* The same, of whichever start's. */
struct result result_of(enum result_type type, struct gtrid gtrid, const char *rm);
/* Room for SNAPSHOT_MAX; returns how many. Each is as the log has it, at LSN 9. */
uint32_t take_snapshot(struct record *out);

#endif
