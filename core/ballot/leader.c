/*
 * core/ballot/leader.c - leads the ballots of one 3pc transaction to its decision.
 *
 * What a majority has accepted is decided, and every majority that is asked later contains one
 * that knows. So a leader first makes a majority promise to hear nobody older, and then proposes
 * what the highest ballot among their answers proposed. Only where there is nothing it is free,
 * and being free it aborts: it cannot know that all were ready.
 */
#include "core/ballot/leader.h"

#include <assert.h>

#include "core/base/mutant.h"

enum move {
    HOLE = 0,
    IGNORE,
    PLEDGE,
    ASK,
    COUNT_PROMISE,
    COUNT_ACCEPTED,
    NOTE,
    YIELD,
    LEARN,
    REPEAT
};

/* clang-format off */
static const enum move moves[LEADER_STATES][LEADER_EVENTS] = {
#define ROW(...) {HOLE, __VA_ARGS__}
    /*                       LEAD    PLEDGED PROMISED       ACCEPTED        OUTBID  DECIDED AGAIN */
    [LEADER_IDLE]      = ROW(PLEDGE, IGNORE, IGNORE,        IGNORE,         IGNORE, IGNORE, IGNORE),
    [LEADER_PLEDGING]  = ROW(IGNORE, ASK,    IGNORE,        IGNORE,         YIELD,  LEARN,  REPEAT),
    [LEADER_ASKING]    = ROW(IGNORE, IGNORE, COUNT_PROMISE, IGNORE,         YIELD,  LEARN,  REPEAT),
    [LEADER_PROPOSING] = ROW(IGNORE, IGNORE, IGNORE,        COUNT_ACCEPTED, YIELD,  LEARN,  REPEAT),
    [LEADER_YIELDING]  = ROW(IGNORE, IGNORE, IGNORE,        IGNORE,         NOTE,   LEARN,  PLEDGE),
    [LEADER_DECIDED]   = ROW(IGNORE, IGNORE, IGNORE,        IGNORE,         IGNORE, IGNORE, IGNORE),
#undef ROW
};
/* clang-format on */

const char *leader_state_word(enum leader_state state)
{
    static const char *const words[LEADER_STATES] = {"idle",      "pledging", "asking",
                                                     "proposing", "yielding", "decided"};
    return words[state];
}

const char *leader_event_word(enum leader_event event)
{
    static const char *const words[LEADER_EVENTS] = {"hole",     "lead",   "pledged", "promised",
                                                     "accepted", "outbid", "decided", "again"};
    return words[event];
}

static uint32_t leader_count_bits(uint32_t bits)
{
    uint32_t count = 0;
    for (; bits != 0; bits &= bits - 1)
        count++;
    return count;
}

static bool is_majority(const struct roster *roster, uint32_t bits)
{
    return leader_count_bits(bits & roster_all(roster)) >=
           (MUTANT(NO_MAJORITY) ? 1 : roster_majority(roster));
}

static void note(struct leader *leader, uint64_t number)
{
    if (leader->highest < number && !MUTANT(BALLOT_REUSED))
        leader->highest = number;
}

static enum leader_act leader_pledge(struct leader *leader)
{
    leader->number = (leader->highest / BALLOT_ROUND + 1) * BALLOT_ROUND + leader->rank;
    note(leader, leader->number);
    leader->state = LEADER_PLEDGING;
    leader->promised = 0;
    leader->accepted = 0;
    leader->best = 0;
    leader->value = OUTCOME_NONE;
    return LEAD_PLEDGE;
}

static enum leader_act count_promise(struct leader *leader, const struct roster *roster,
                                     uint32_t from, const struct ballot *ballot)
{
    if (from != RANK_NONE) {
        bool first = leader->value == OUTCOME_NONE;
        leader->promised |= rank_bit(from);
        if (ballot->value != OUTCOME_NONE && (first || ballot->accepted > leader->best)) {
            leader->best = ballot->accepted;
            leader->value = ballot->value;
        }
    }
    if (!is_majority(roster, leader->promised))
        return LEAD_NOTHING;
    if (leader->value == OUTCOME_NONE)
        leader->value = MUTANT(FREE_COMMIT) ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
    leader->state = LEADER_PROPOSING;
    return LEAD_PROPOSE;
}

static enum leader_act count_accepted(struct leader *leader, const struct roster *roster,
                                      uint32_t from)
{
    leader->accepted |= rank_bit(from);
    if (!is_majority(roster, leader->accepted))
        return LEAD_NOTHING;
    leader->state = LEADER_DECIDED;
    return LEAD_DECIDED;
}

static enum leader_act repeat(const struct leader *leader)
{
    static const enum leader_act acts[LEADER_STATES] = {
        [LEADER_PLEDGING] = LEAD_PLEDGE,
        [LEADER_ASKING] = LEAD_ASK,
        [LEADER_PROPOSING] = LEAD_PROPOSE,
    };
    return acts[leader->state];
}

enum leader_act leader_step(struct leader *leader, const struct roster *roster,
                            enum leader_event event, uint32_t from, const struct ballot *ballot)
{
    bool of_another = (event == LE_PLEDGED || event == LE_PROMISED || event == LE_ACCEPTED) &&
                      ballot->number != leader->number;
    COVER(LEADER, leader->state, event);
    switch (of_another ? IGNORE : moves[leader->state][event]) {
    case PLEDGE:
        return leader_pledge(leader);
    case ASK: {
        leader->state = LEADER_ASKING;
        enum leader_act act = count_promise(leader, roster, from, ballot);
        return act == LEAD_NOTHING ? LEAD_ASK : act;
    }
    case COUNT_PROMISE:
        return count_promise(leader, roster, from, ballot);
    case COUNT_ACCEPTED:
        return count_accepted(leader, roster, from);
    case YIELD:
        note(leader, ballot->promised);
        /* An answer to an older ballot; unless it is our own row's, of before a crash. */
        if (ballot->promised < leader->number ||
            (ballot->promised == leader->number && leader->state != LEADER_PLEDGING))
            return LEAD_NOTHING;
        leader->state = LEADER_YIELDING;
        return LEAD_YIELD;
    case NOTE:
        note(leader, ballot->promised);
        return LEAD_NOTHING;
    case LEARN:
        leader->state = LEADER_DECIDED;
        leader->value = ballot->value;
        return LEAD_DECIDED;
    case REPEAT:
        return repeat(leader);
    case IGNORE:
        return LEAD_NOTHING;
    case HOLE:
        break;
    }
    assert(false && "no event of a leader");
    return LEAD_NOTHING;
}

void leader_begin(struct leader *leader)
{
    leader->state = LEADER_PROPOSING;
    leader->number = 0;
    leader->value = OUTCOME_COMMITTED;
}

void leader_unheard(struct leader *leader, uint32_t rank)
{
    leader->promised &= ~rank_bit(rank);
    leader->accepted &= ~rank_bit(rank);
}

uint32_t leader_silent(const struct leader *leader, const struct roster *roster)
{
    uint32_t heard = leader->state == LEADER_PROPOSING ? leader->accepted : leader->promised;
    return roster_all(roster) & ~heard;
}
