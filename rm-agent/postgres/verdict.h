/*
 * rm-agent/postgres/verdict.h - what an answer of PostgreSQL to one of our commands means.
 *
 * Pure, and without libpq: the simulator judges its stand-in's answers by the same table.
 */
#ifndef ASSENT_RM_AGENT_POSTGRES_VERDICT_H
#define ASSENT_RM_AGENT_POSTGRES_VERDICT_H

#include <stdbool.h>

#include "core/participant/participant.h"

enum command {
    COMMAND_PREPARE = 0,      /* PREPARE TRANSACTION */
    COMMAND_COMMIT_READ_ONLY, /* COMMIT of a branch that was opened READ ONLY */
    COMMAND_COMMIT_ONE_PHASE, /* COMMIT of a branch that carries its marker */
    COMMAND_COMMIT_PREPARED,
    COMMAND_ROLLBACK_PREPARED,
    COMMAND_ROLLBACK, /* of an unprepared session */
    COMMANDS
};

enum answer_kind {
    ANSWER_AS_ASKED = 0, /* the command's own tag */
    ANSWER_OTHER_TAG,    /* no error, and yet something else was done */
    ANSWER_NO_SUCH_GID,  /* 42704 */
    ANSWER_ERROR,        /* any other ERROR: the command was refused */
    ANSWER_NONE,         /* the connection failed: it may have run, never run, or still run */
    ANSWERS
};

/* The event that the participant is to be given. tag and sqlstate are "" if there was none;
 * alive: the connection outlived the answer (an ERROR and not a FATAL). PE_UNKNOWN may be
 * passed on only once the backend is known to be gone. */
enum participant_event_type verdict(enum command command, const char *tag, const char *sqlstate,
                                    bool alive);

enum answer_kind answer_kind(enum command command, const char *tag, const char *sqlstate,
                             bool alive);

/* pg_xact_status(): its words, or the SQLSTATE of its refusal. */
enum xid_status xid_status_of(const char *word, const char *sqlstate);

#endif
