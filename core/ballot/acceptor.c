/*
 * core/ballot/acceptor.c - one vote in a 3pc transaction: what is promised, and what is accepted.
 *
 * An acceptor hears the highest ballot only. It says so before it hears it (promise), and what it
 * says includes what it has accepted so far; that is all that makes the decision of one majority
 * known to the next.
 */
#include "core/ballot/acceptor.h"

#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"

enum move {
    HOLE = 0,
    IGNORE,
    REFUSE,
    ENTER,   /* a row, nothing promised */
    PLEDGE,  /* the same, and once only */
    PROMISE, /* unless a higher ballot was promised */
    ACCEPT,  /* the same */
    NOTE,    /* the outcome */
    LEAD,    /* nothing here, but the agent is to lead */
    SAY_DECIDED,
    SAY_ENDED,
};

/* clang-format off */
static const enum move moves[ROW_STATES][BALLOTS] = {
#define ROW(...) {HOLE, __VA_ARGS__, REFUSE, REFUSE, REFUSE, REFUSE, REFUSE} /* answers are for leaders */
    /*                   JOIN       PLEDGE       ASK_PROMISE  ASK_ACCEPT   TELL         ASK_LEAD */
    [ROW_NONE]     = ROW(ENTER,     PLEDGE,      PROMISE,     ACCEPT,      NOTE,        LEAD),
    [ROW_OPEN]     = ROW(IGNORE,    PLEDGE,      PROMISE,     ACCEPT,      NOTE,        LEAD),
    [ROW_ACCEPTED] = ROW(IGNORE,    PLEDGE,      PROMISE,     ACCEPT,      NOTE,        LEAD),
    [ROW_DECIDED]  = ROW(IGNORE,    SAY_DECIDED, SAY_DECIDED, SAY_DECIDED, SAY_DECIDED, SAY_DECIDED),
    [ROW_ENDED]    = ROW(SAY_ENDED, SAY_ENDED,   SAY_ENDED,   SAY_ENDED,   SAY_ENDED,   SAY_ENDED),
#undef ROW
};
/* clang-format on */

const char *acceptor_state_word(enum acceptor_state state)
{
    static const char *const words[ROW_STATES] = {"none", "open", "accepted", "decided", "ended"};
    return words[state];
}

const char *const ballot_words[BALLOTS] = {
    [BALLOT_NONE] = "",
    [BALLOT_JOIN] = "join",
    [BALLOT_PLEDGE] = "pledge",
    [BALLOT_ASK_PROMISE] = "ask-promise",
    [BALLOT_ASK_ACCEPT] = "ask-accept",
    [BALLOT_TELL] = "tell",
    [BALLOT_ASK_LEAD] = "ask-lead",
    [BALLOT_PROMISED] = "promised",
    [BALLOT_ACCEPTED] = "accepted",
    [BALLOT_OUTBID] = "outbid",
    [BALLOT_DECIDED] = "decided",
    [BALLOT_ENDED] = "ended",
};

uint32_t roster_rank(const struct roster *roster, const char *rm)
{
    for (uint32_t i = 0; i < roster->count; i++)
        if (text_equal(roster->agents[i], rm, RM_NAME_BYTES))
            return i;
    return RANK_NONE;
}

uint32_t roster_majority(const struct roster *roster)
{
    return (roster->count + (roster->tm ? 1 : 0)) / 2 + 1;
}

uint32_t roster_all(const struct roster *roster)
{
    uint32_t agents = (UINT32_C(1) << roster->count) - 1;
    return roster->tm ? agents | rank_bit(RANK_TM) : agents;
}

static enum acceptor_state state_of(const struct acceptor_row *row, bool ended)
{
    if (!row->exists)
        return ended ? ROW_ENDED : ROW_NONE;
    if (row->outcome != OUTCOME_NONE)
        return ROW_DECIDED;
    return row->value != OUTCOME_NONE ? ROW_ACCEPTED : ROW_OPEN;
}

static void outbid(const struct acceptor_row *row, struct ballot *answer)
{
    answer->type = BALLOT_OUTBID;
    answer->promised = row->promised;
}

static void promise(struct acceptor_row *row, const struct ballot *asked, struct ballot *answer)
{
    if (asked->number < row->promised) {
        outbid(row, answer);
        return;
    }
    row->exists = true;
    row->promised = asked->number;
    answer->type = BALLOT_PROMISED;
    answer->accepted = row->accepted;
    answer->value = row->value;
}

/* A promise to another may be repeated, since its answer may be lost. One to ourselves may not: it
 * may be from before a crash, by a leader that has proposed something under this number. */
static void acceptor_pledge(struct acceptor_row *row, const struct ballot *asked,
                            struct ballot *answer)
{
    if (asked->number <= row->promised && !MUTANT(BALLOT_REUSED))
        outbid(row, answer);
    else
        promise(row, asked, answer);
}

static void accept(struct acceptor_row *row, const struct ballot *asked, struct ballot *answer)
{
    bool old_precommit = MUTANT(NO_PROMISE) && asked->number == 0;
    if (asked->number < row->promised && !old_precommit) {
        outbid(row, answer);
        return;
    }
    row->exists = true;
    row->promised = asked->number;
    row->accepted = asked->number;
    row->value = asked->value;
    answer->type = BALLOT_ACCEPTED;
}

bool acceptor_judge(struct acceptor_row *row, bool ended, const struct ballot *asked,
                    struct ballot *answer)
{
    struct acceptor_row before = *row;
    enum acceptor_state state = state_of(row, ended);
    memset(answer, 0, sizeof *answer);
    answer->gtrid = asked->gtrid;
    answer->number = asked->number;

    COVER(ACCEPTOR, state, asked->type);
    switch (moves[state][asked->type]) {
    case ENTER:
        row->exists = true;
        break;
    case PLEDGE:
        acceptor_pledge(row, asked, answer);
        break;
    case PROMISE:
        promise(row, asked, answer);
        break;
    case ACCEPT:
        accept(row, asked, answer);
        break;
    case NOTE:
        row->exists = true;
        row->outcome = asked->value;
        /* fall through */
    case SAY_DECIDED:
        answer->type = BALLOT_DECIDED;
        answer->value = row->outcome;
        break;
    case SAY_ENDED:
        answer->type = BALLOT_ENDED;
        break;
    case LEAD:
        answer->type = BALLOT_ASK_LEAD;
        break;
    case IGNORE:
    case REFUSE:
        break;
    case HOLE:
        assert(false && "a ballot that is none");
    }
    return before.exists != row->exists || before.promised != row->promised ||
           before.accepted != row->accepted || before.value != row->value ||
           before.outcome != row->outcome;
}

bool acceptor_may_prepare(const struct acceptor_row *row, bool ended)
{
    if (MUTANT(PREPARE_AFTER_PROMISE))
        return true;
    if (!row->exists)
        return !ended;
    return row->promised == 0 && row->outcome == OUTCOME_NONE;
}

bool forget_is_ended(const struct forget *forgotten, const struct gtrid *gtrid)
{
    struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    for (uint32_t i = 0; i < forgotten->live_count; i++)
        if (forgotten->live[i].incarnation == number.incarnation &&
            forgotten->live[i].sequence == number.sequence)
            return false;
    return txn_not_after(&number, &forgotten->upto);
}

bool forget_is_news(const struct forget *known, const struct forget *forget)
{
    bool same = forget->upto.incarnation == known->upto.incarnation &&
                forget->upto.sequence == known->upto.sequence;
    return same ? forget->live_count < known->live_count
                : !txn_not_after(&forget->upto, &known->upto);
}
