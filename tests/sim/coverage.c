/*
 * tests/sim/coverage.c - which cells of the protocol's tables have been reached.
 */
#include "tests/sim/coverage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/ballot/acceptor.h"
#include "core/ballot/leader.h"
#include "core/base/mutant.h"
#include "core/coordinator/coordinator.h"
#include "core/participant/terminator.h"
#include "rm-agent/postgres/verdict.h"

enum { ROWS_MAX = 20, COLUMNS_MAX = 24 };

static unsigned long reached[COVER_TABLES][ROWS_MAX][COLUMNS_MAX];

void cover(enum cover_table table, unsigned row, unsigned column)
{
    reached[table][row][column]++;
}

int coverage_send(int fd)
{
    return write(fd, reached, sizeof reached) == (ssize_t)sizeof reached ? 0 : -1;
}

int coverage_receive(int fd)
{
    static unsigned long theirs[COVER_TABLES][ROWS_MAX][COLUMNS_MAX];
    size_t got = 0;
    while (got < sizeof theirs) {
        ssize_t bytes = read(fd, (char *)theirs + got, sizeof theirs - got);
        if (bytes <= 0)
            return -1;
        got += (size_t)bytes;
    }
    for (unsigned i = 0; i < COVER_TABLES; i++)
        for (unsigned j = 0; j < ROWS_MAX; j++)
            for (unsigned k = 0; k < COLUMNS_MAX; k++)
                reached[i][j][k] += theirs[i][j][k];
    return 0;
}

static const char *participant_row(unsigned row)
{
    return branch_state_word((enum branch_state)row);
}
static const char *participant_column(unsigned column)
{
    return participant_event_word((enum participant_event_type)column);
}
static const char *coordinator_row(unsigned row)
{
    return txn_state_word((enum txn_state)row);
}
static const char *coordinator_column(unsigned column)
{
    return txn_event_word((enum txn_event)column);
}
static const char *verdict_row(unsigned row)
{
    static const char *const words[COMMANDS] = {"prepare",           "commit read-only",
                                                "commit one-phase",  "commit prepared",
                                                "rollback prepared", "rollback"};
    return words[row];
}
static const char *verdict_column(unsigned column)
{
    static const char *const words[ANSWERS] = {"as asked", "other tag", "no such gid", "error",
                                               "none"};
    return words[column];
}

static const char *acceptor_row(unsigned row)
{
    return acceptor_state_word((enum acceptor_state)row);
}
static const char *acceptor_column(unsigned column)
{
    return ballot_words[column];
}
static const char *leader_row(unsigned row)
{
    return leader_state_word((enum leader_state)row);
}
static const char *leader_column(unsigned column)
{
    return leader_event_word((enum leader_event)column);
}
static const char *terminator_row(unsigned row)
{
    return ending_state_word((enum ending_state)row);
}
static const char *terminator_column(unsigned column)
{
    return ending_event_word((enum ending_event)column);
}

/* Acceptors are asked; answers are for leaders. */
static bool acceptor_cell_possible(unsigned row, unsigned column)
{
    (void)row;
    return column <= BALLOT_ASK_LEAD;
}

/* PostgreSQL has no such answer: 42704 where no gid is looked up, a wrong tag of a command that
 * has but one, a refusal of ROLLBACK. The table has an answer all the same. */
static bool verdict_cell_possible(unsigned row, unsigned column)
{
    bool finishes = row == COMMAND_COMMIT_PREPARED || row == COMMAND_ROLLBACK_PREPARED;
    if (column == ANSWER_NO_SUCH_GID)
        return finishes;
    if (column == ANSWER_OTHER_TAG)
        return !finishes && row != COMMAND_ROLLBACK;
    return column != ANSWER_ERROR || (row != COMMAND_ROLLBACK && row != COMMAND_COMMIT_READ_ONLY);
}

static const struct {
    const char *name;
    unsigned rows, first_column, columns;
    bool (*possible)(unsigned row, unsigned column);
    const char *(*row)(unsigned row);
    const char *(*column)(unsigned column);
} tables[COVER_TABLES] = {
    [COVER_PARTICIPANT] = {"participant", BRANCH_STATES, 1, PE_TYPES, participant_cell_possible,
                           participant_row, participant_column},
    [COVER_COORDINATOR] = {"coordinator", TXN_STATES, 1, TXN_EVENTS, coordinator_cell_possible,
                           coordinator_row, coordinator_column},
    [COVER_VERDICT] = {"verdict", COMMANDS, 0, ANSWERS, verdict_cell_possible, verdict_row,
                       verdict_column},
    [COVER_ACCEPTOR] = {"acceptor", ROW_STATES, 1, BALLOTS, acceptor_cell_possible, acceptor_row,
                        acceptor_column},
    [COVER_LEADER] = {"leader", LEADER_STATES, 1, LEADER_EVENTS, leader_cell_possible, leader_row,
                      leader_column},
    [COVER_TERMINATOR] = {"terminator", ENDING_STATES, 1, XE_EVENTS, terminator_cell_possible,
                          terminator_row, terminator_column},
};

int coverage_print(void)
{
    unsigned missing_all = 0;
    for (unsigned i = 0; i < COVER_TABLES; i++) {
        unsigned cells = 0, missing = 0;
        for (unsigned j = 0; j < tables[i].rows; j++)
            for (unsigned k = tables[i].first_column; k < tables[i].columns; k++) {
                if (!tables[i].possible(j, k))
                    continue;
                cells++;
                if (reached[i][j][k] > 0)
                    continue;
                missing++;
                printf("  not reached: %s %s, %s\n", tables[i].name, tables[i].row(j),
                       tables[i].column(k));
            }
        printf("%s: %u of %u cells reached\n", tables[i].name, cells - missing, cells);
        missing_all += missing;
    }
    return missing_all > 0;
}
