/*
 * rm-agent/postgres/verdict.c - what an answer of PostgreSQL to one of our commands means.
 *
 * A vote is yes only when the command tag says so: PREPARE TRANSACTION in a failed
 * transaction is answered ROLLBACK, with no error. An error at PREPARE is a final no. An
 * error at COMMIT PREPARED did nothing and may go away. A gid that does not exist proves
 * neither outcome, and neither does a connection that fails before the answer.
 */
#include "rm-agent/postgres/verdict.h"
#include "core/base/mutant.h"

#include <assert.h>
#include <string.h>

/* clang-format off */
static const enum participant_event_type verdicts[COMMANDS][ANSWERS] = {
    /*                             AS_ASKED      OTHER_TAG   NO_SUCH_GID ERROR       NONE */
    [COMMAND_PREPARE]           = {PE_PREPARED,  PE_REFUSAL, PE_REFUSAL, PE_REFUSAL, PE_UNKNOWN},
    [COMMAND_COMMIT_READ_ONLY]  = {PE_READ_ONLY, PE_REFUSAL, PE_REFUSAL, PE_REFUSAL, PE_UNKNOWN},
    [COMMAND_COMMIT_ONE_PHASE]  = {PE_FINISHED,  PE_REFUSAL, PE_REFUSAL, PE_REFUSAL, PE_UNKNOWN},
    [COMMAND_COMMIT_PREPARED]   = {PE_FINISHED,  PE_UNKNOWN, PE_GONE,    PE_RETRY,   PE_UNKNOWN},
    [COMMAND_ROLLBACK_PREPARED] = {PE_FINISHED,  PE_UNKNOWN, PE_GONE,    PE_RETRY,   PE_UNKNOWN},
    [COMMAND_ROLLBACK]          = {PE_FINISHED,  PE_UNKNOWN, PE_UNKNOWN, PE_UNKNOWN, PE_UNKNOWN},
};
/* clang-format on */

static const char *const tags[COMMANDS] = {
    [COMMAND_PREPARE] = "PREPARE TRANSACTION",
    [COMMAND_COMMIT_READ_ONLY] = "COMMIT",
    [COMMAND_COMMIT_ONE_PHASE] = "COMMIT",
    [COMMAND_COMMIT_PREPARED] = "COMMIT PREPARED",
    [COMMAND_ROLLBACK_PREPARED] = "ROLLBACK PREPARED",
    [COMMAND_ROLLBACK] = "ROLLBACK",
};

/* Class 08, and the server going away under the command: it may have run before it went. */
static bool says_nothing(const char *sqlstate)
{
    return sqlstate[0] == '\0' || strncmp(sqlstate, "08", 2) == 0 ||
           strcmp(sqlstate, "57P01") == 0 || strcmp(sqlstate, "57P02") == 0 ||
           strcmp(sqlstate, "57P03") == 0;
}

enum answer_kind answer_kind(enum command command, const char *tag, const char *sqlstate,
                             bool alive)
{
    assert(command < COMMANDS);
    /* A tag that has arrived holds, whatever becomes of the connection after it. */
    if (tag[0] != '\0')
        return strcmp(tag, tags[command]) == 0 || MUTANT(TAG_IGNORED) ? ANSWER_AS_ASKED
                                                                      : ANSWER_OTHER_TAG;
    if (!alive || says_nothing(sqlstate))
        return ANSWER_NONE;
    return strcmp(sqlstate, "42704") == 0 ? ANSWER_NO_SUCH_GID : ANSWER_ERROR;
}

enum participant_event_type verdict(enum command command, const char *tag, const char *sqlstate,
                                    bool alive)
{
    enum answer_kind kind = answer_kind(command, tag, sqlstate, alive);
    COVER(VERDICT, command, kind);
    return verdicts[command][kind];
}

enum xid_status xid_status_of(const char *word, const char *sqlstate)
{
    if (strcmp(sqlstate, "22023") == 0)
        return XID_FUTURE;
    if (strcmp(word, "committed") == 0)
        return XID_COMMITTED;
    if (strcmp(word, "aborted") == 0)
        return XID_ABORTED;
    return XID_UNKNOWN;
}
