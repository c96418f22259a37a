/*
 * core/coordinator/precommit.c - the coordinator's part in a 3pc transaction once all are ready.
 *
 * It does not decide: a majority of the acceptors does, and its own log is one of them at most.
 * PRECOMMIT on the disk is what it may propose at ballot 0, this once; whatever stands in the way
 * of that, and every later start, makes it a leader like any agent, core/ballot/leader.c, and an
 * acceptor like any agent, core/ballot/acceptor.c. What either of them says waits for the disk here
 * too: while a vote is on its way there (TXN_PROMISING) nothing else is heard, it will be said
 * again.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* ---- who decides ---- */

static void precommit_add_acceptor(struct precommit *precommit, uint32_t rm)
{
    for (uint32_t i = 0; i < precommit->agent_count; i++)
        if (precommit->agents[i] == rm)
            return;
    assert(precommit->agent_count < ACCEPTORS_MAX);
    precommit->agents[precommit->agent_count++] = (uint8_t)rm;
}

void precommit_freeze(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    const struct registry *registry = &s->c->registry;
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        precommit_add_acceptor(precommit, b->rm);
    for (uint32_t i = 0; i < registry->count && precommit->agent_count < ACCEPTORS_MAX; i++)
        if (registry->rms[i].witness && registry->rms[i].state == RM_UP)
            precommit_add_acceptor(precommit, i);
    precommit->tm = precommit->agent_count % 2 == 0;
    precommit->leader.rank = RANK_TM;
}

static bool precommit_may_vote(const struct step *s)
{
    return facts_may_vote(s->c, s->txn);
}

/* ---- what is said ---- */

/* The order carries a position, so that an agent that has promised us something refuses every log
 * that does not know of it. Until its acceptance of this start is on the disk there is none. */
static struct ballot *precommit_ballot_to(struct step *s, uint32_t rm, enum ballot_type type)
{
    if (!facts_reachable(s, rm) || !facts_acceptance_is_durable(s->c, rm))
        return NULL;
    struct order *order = output_order(s, ORDER_BALLOT, rm);
    order->lsn = s->c->durable_lsn;
    order->ballot.type = type;
    memcpy(order->ballot.gtrid.tm, s->c->settings.tm, TM_NAME_BYTES);
    return &order->ballot;
}

/* About the step's transaction, to one of its acceptors. */
static struct ballot *precommit_say(struct step *s, uint32_t rm, enum ballot_type type)
{
    struct ballot *ballot = precommit_ballot_to(s, rm, type);
    if (ballot == NULL)
        return NULL;
    ballot->gtrid.incarnation = s->txn->incarnation;
    ballot->gtrid.sequence = s->txn->sequence;
    facts_roster(s->c, s->txn, &ballot->roster);
    return ballot;
}

static void precommit_say_to_silent(struct step *s, enum ballot_type type)
{
    const struct precommit *precommit = &s->txn->precommit;
    struct roster roster;
    facts_roster(s->c, s->txn, &roster);
    uint32_t silent = leader_silent(&precommit->leader, &roster);
    for (uint32_t i = 0; i < precommit->agent_count; i++) {
        struct ballot *ballot =
            silent & rank_bit(i) ? precommit_say(s, precommit->agents[i], type) : NULL;
        if (ballot == NULL)
            continue;
        ballot->number = precommit->leader.number;
        ballot->value = type == BALLOT_ASK_ACCEPT ? precommit->leader.value : OUTCOME_NONE;
        s->txn->precommit.heard |= type == BALLOT_ASK_ACCEPT;
    }
}

static bool precommit_has_branch(const struct step *s, uint32_t rm)
{
    for (const struct branch *b = live_first(&s->c->live, s->txn); b != NULL;
         b = live_after(&s->c->live, b))
        if (b->rm == rm && b->progress != BR_LEFT)
            return true;
    return false;
}

void precommit_join(struct step *s)
{
    const struct precommit *precommit = &s->txn->precommit;
    for (uint32_t i = 0; i < precommit->agent_count; i++)
        if (!precommit_has_branch(s, precommit->agents[i]))
            precommit_say(s, precommit->agents[i], BALLOT_JOIN);
}

/* COMMIT tells a branch's agent all; a ROLLBACK might also be for a stranger under its gid. */
static void precommit_tell_outcome(struct step *s, enum outcome outcome)
{
    const struct precommit *precommit = &s->txn->precommit;
    for (uint32_t i = 0; i < precommit->agent_count; i++) {
        if (outcome == OUTCOME_COMMITTED && precommit_has_branch(s, precommit->agents[i]))
            continue;
        struct ballot *ballot = precommit_say(s, precommit->agents[i], BALLOT_TELL);
        if (ballot != NULL)
            ballot->value = outcome;
    }
}

void precommit_tell_all(struct step *s, enum outcome outcome)
{
    const struct precommit *precommit = &s->txn->precommit;
    for (uint32_t i = 0; i < precommit->agent_count; i++) {
        struct ballot *ballot = precommit_say(s, precommit->agents[i], BALLOT_TELL);
        if (ballot != NULL)
            ballot->value = outcome;
    }
}

static void precommit_answer_decided(struct step *s, enum outcome outcome)
{
    struct ballot *ballot = precommit_ballot_to(s, s->event->rm, BALLOT_DECIDED);
    if (ballot == NULL)
        return;
    ballot->gtrid = s->event->result->ballot.gtrid;
    ballot->value = outcome;
}

/* Nothing is remembered of it. Whoever asks knows better than we whether its database has lost
 * something since. */
static void precommit_answer_ended(struct step *s)
{
    struct ballot *ballot = precommit_ballot_to(s, s->event->rm, BALLOT_ENDED);
    if (ballot != NULL)
        ballot->gtrid = s->event->result->ballot.gtrid;
}

/* ---- the leader ---- */

static void precommit_decide(struct step *s, enum outcome outcome)
{
    output_record(s, RECORD_OUTCOME)->outcome = outcome;
    precommit_tell_outcome(s, outcome);
    if (outcome == OUTCOME_COMMITTED)
        ending_commit(s);
    else
        ending_abort_because(s, "the acceptors have decided to roll it back");
}

static void precommit_await_vote(struct step *s, enum record_type type, uint64_t number,
                                 enum outcome outcome)
{
    struct record *record = output_record(s, type);
    record->ballot = number;
    record->outcome = outcome;
    ending_await_log(s, TXN_PROMISING);
}

/* Our own promise: also where our vote does not count, for a number is used once. */
static void precommit_pledge(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    precommit->next_row = precommit->row;
    precommit->next_row.exists = true;
    precommit->next_row.promised = precommit->leader.number;
    precommit->asked_by = NO_ITEM;
    precommit_await_vote(s, RECORD_PROMISE, precommit->leader.number, OUTCOME_NONE);
}

/* A database in which it worked has lost data, and nobody can have accepted anything, for nobody
 * has heard of our proposal or our vote: it is ours alone to roll back. But the next start would
 * find PRECOMMIT, and propose to commit: so it is said only once the end of it is on the disk. */
static bool precommit_may_withdraw(const struct step *s)
{
    return s->txn->lost && !s->txn->precommit.heard;
}

static void precommit_withdraw(struct step *s)
{
    output_record(s, RECORD_OUTCOME)->outcome = OUTCOME_ROLLED_BACK;
    s->txn->precommit.withdrawn = true;
    ending_await_log(s, TXN_PROMISING);
}

/* Our own vote first, if we have one; the others are asked once it is on the disk. */
static void precommit_propose_value(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    const struct leader *leader = &precommit->leader;
    bool ours = precommit_may_vote(s) && (leader->accepted & rank_bit(RANK_TM)) == 0;
    if (!ours || precommit->row.promised > leader->number) {
        precommit_say_to_silent(s, BALLOT_ASK_ACCEPT);
        return;
    }
    precommit->next_row = precommit->row;
    precommit->next_row.promised = leader->number;
    precommit->next_row.accepted = leader->number;
    precommit->next_row.value = leader->value;
    precommit->asked_by = NO_ITEM;
    precommit_await_vote(s, RECORD_ACCEPT, leader->number, leader->value);
}

/* Nobody's random: the same night goes the same way. */
static void precommit_yield(struct step *s)
{
    uint64_t number = s->txn->precommit.leader.highest;
    uint64_t draw[3] = {number, s->txn->incarnation, s->txn->sequence};
    uint64_t hash = hash_bytes(draw, sizeof draw, s->c->settings.seed);
    s->txn->resend_at_ms = s->event->now_ms + s->c->settings.resend_least_ms * (2 + hash % 8);
}

static void precommit_carry_out(struct step *s, enum leader_act act)
{
    switch (act) {
    case LEAD_NOTHING:
        break;
    case LEAD_PLEDGE:
        precommit_pledge(s);
        break;
    case LEAD_ASK:
        precommit_say_to_silent(s, BALLOT_ASK_PROMISE);
        break;
    case LEAD_PROPOSE:
        precommit_propose_value(s);
        break;
    case LEAD_YIELD:
        precommit_yield(s);
        break;
    case LEAD_DECIDED:
        precommit_decide(s, s->txn->precommit.leader.value);
        break;
    }
}

static enum leader_act precommit_lead(struct step *s, enum leader_event event, uint32_t from,
                                      const struct ballot *ballot)
{
    struct roster roster;
    facts_roster(s->c, s->txn, &roster);
    return leader_step(&s->txn->precommit.leader, &roster, event, from, ballot);
}

/* What our own row says to our own leader. */
static struct ballot precommit_own_answer(const struct step *s)
{
    const struct precommit *precommit = &s->txn->precommit;
    return (struct ballot){
        .number = precommit->leader.number,
        .accepted = precommit->row.accepted,
        .value = precommit->row.value,
        .promised = precommit->row.promised,
    };
}

/* While a DBA's word is on its way to the disk nothing is decided that it would come too late for;
 * whatever is not heard now is said again. */
static bool precommit_is_halted(const struct step *s)
{
    return facts_is_being_resolved(s->c, s->txn->incarnation, s->txn->sequence);
}

/* ---- moves ---- */

void precommit_log(struct step *s)
{
    struct record *record = ending_write_branches(s, RECORD_PRECOMMIT);
    facts_roster(s->c, s->txn, &record->roster);
    ending_await_log(s, TXN_PRELOGGING);
    if (MUTANT(PRECOMMIT_UNLOGGED)) {
        leader_begin(&s->txn->precommit.leader);
        precommit_say_to_silent(s, BALLOT_ASK_ACCEPT);
    }
}

/* PRECOMMIT is on the disk, which is our own vote for it. */
void precommit_propose(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    if (precommit_may_withdraw(s)) {
        precommit_withdraw(s);
        return;
    }
    s->txn->state = TXN_PRECOMMITTING;
    precommit->row.exists = true;
    precommit->row.value = precommit->tm ? OUTCOME_COMMITTED : OUTCOME_NONE;
    leader_begin(&precommit->leader);
    output_resend_soon(s);
    struct ballot own = precommit_own_answer(s);
    enum leader_act act =
        precommit->tm ? precommit_lead(s, LE_ACCEPTED, RANK_TM, &own) : LEAD_NOTHING;
    if (act == LEAD_NOTHING)
        precommit_say_to_silent(s, BALLOT_ASK_ACCEPT);
    precommit_carry_out(s, act);
}

/* A vote of ours is on the disk: now it may be heard. */
void precommit_voted(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    if (precommit->withdrawn) {
        precommit_tell_outcome(s, OUTCOME_ROLLED_BACK);
        ending_abort_lost(s);
        return;
    }
    if (precommit_may_withdraw(s)) {
        precommit_withdraw(s);
        return;
    }
    s->txn->state = TXN_PRECOMMITTING;
    precommit->row = precommit->next_row;
    output_resend_soon(s);
    struct ballot own = precommit_own_answer(s);
    if (precommit->asked_by != NO_ITEM) {
        struct ballot *ballot = precommit_say(s, precommit->asked_by, precommit->answer.type);
        if (ballot != NULL) {
            ballot->number = precommit->answer.number;
            ballot->accepted = precommit->answer.accepted;
            ballot->value = precommit->answer.value;
        }
        precommit_carry_out(s, precommit_lead(s, LE_OUTBID, RANK_TM, &own));
    } else if (precommit->leader.state == LEADER_PLEDGING) {
        precommit_carry_out(
            s, precommit_lead(s, LE_PLEDGED, precommit_may_vote(s) ? RANK_TM : RANK_NONE, &own));
    } else {
        enum leader_act act = precommit_lead(s, LE_ACCEPTED, RANK_TM, &own);
        if (act == LEAD_NOTHING)
            precommit_say_to_silent(s, BALLOT_ASK_ACCEPT);
        precommit_carry_out(s, act);
    }
}

void precommit_again(struct step *s)
{
    const struct leader *leader = &s->txn->precommit.leader;
    enum leader_event event = leader->state == LEADER_IDLE ? LE_LEAD : LE_AGAIN;
    output_resend_later(s);
    if (precommit_is_halted(s))
        return;
    if (precommit_may_withdraw(s)) {
        precommit_withdraw(s);
        return;
    }
    /* Since it was given, our promise may have come to count. */
    if (leader->state == LEADER_ASKING && precommit_may_vote(s)) {
        struct ballot own = precommit_own_answer(s);
        enum leader_act act = own.promised == leader->number
                                  ? precommit_lead(s, LE_PROMISED, RANK_TM, &own)
                                  : LEAD_NOTHING;
        if (act != LEAD_NOTHING) {
            precommit_carry_out(s, act);
            return;
        }
    }
    precommit_carry_out(s, precommit_lead(s, event, RANK_TM, NULL));
}

/* An acceptor's answer to a ballot of ours, perhaps an old one. */
void precommit_polled(struct step *s)
{
    static const enum leader_event means[BALLOTS] = {
        [BALLOT_PROMISED] = LE_PROMISED,
        [BALLOT_ACCEPTED] = LE_ACCEPTED,
        [BALLOT_OUTBID] = LE_OUTBID,
    };
    const struct ballot *ballot = &s->event->result->ballot;
    uint32_t from = facts_rank(s->txn, s->event->rm);
    if (from == RANK_NONE) {
        s->c->refused++;
        return;
    }
    if (precommit_is_halted(s))
        return;
    precommit_carry_out(s, precommit_lead(s, means[ballot->type], from, ballot));
}

static void precommit_vote(struct step *s)
{
    struct precommit *precommit = &s->txn->precommit;
    const struct ballot *asked = &s->event->result->ballot;
    struct ballot answer;
    if (!precommit_may_vote(s) || precommit_is_halted(s))
        return;
    if (precommit_may_withdraw(s)) {
        precommit_withdraw(s);
        return;
    }
    precommit->heard = true;
    precommit->next_row = precommit->row;
    bool changed = acceptor_judge(&precommit->next_row, false, asked, &answer);
    precommit->asked_by = s->event->rm;
    precommit->answer =
        (struct ballot_answer){answer.type, answer.number, answer.accepted, answer.value};
    if (changed) {
        bool accepts = answer.type == BALLOT_ACCEPTED;
        precommit_await_vote(s, accepts ? RECORD_ACCEPT : RECORD_PROMISE, asked->number,
                             accepts ? asked->value : OUTCOME_NONE);
        return;
    }
    struct ballot *said = precommit_ballot_to(s, s->event->rm, answer.type);
    if (said != NULL)
        *said = answer;
}

/* An agent leads, since it had doubts about us. While we have not precommitted nobody can have
 * accepted anything: then it is ours alone to abort. */
void precommit_asked(struct step *s)
{
    bool undecided = s->txn->state == TXN_PREPARING;
    if (undecided && s->txn->protocol != PROTOCOL_3PC) {
        s->c->refused++;
        return;
    }
    switch (s->txn->state) {
    case TXN_PRECOMMITTING:
        precommit_vote(s);
        break;
    case TXN_PREPARING:
        ending_abort_because(s, "an agent has begun to end it");
        precommit_answer_decided(s, OUTCOME_ROLLED_BACK);
        break;
    case TXN_MIXED:
    case TXN_RESOLVED:
        precommit_answer_decided(s, s->txn->decision);
        break;
    default:
        precommit_answer_decided(s, facts_decided(s->txn));
    }
}

/* The same about a transaction that is over, or that the log has never heard of. */
void precommit_asked_stray(struct step *s)
{
    const struct gtrid *gtrid = &s->event->result->ballot.gtrid;
    enum outcome outcome;
    if (coordinator_outcome(s->c, gtrid, &outcome) != ERR_NONE)
        s->c->alarms++;
    else if (outcome == OUTCOME_FORGOTTEN)
        precommit_answer_ended(s);
    else if (outcome == OUTCOME_COMMITTED || outcome == OUTCOME_ROLLED_BACK)
        precommit_answer_decided(s, outcome);
}

void precommit_learn(struct step *s)
{
    const struct ballot *ballot = &s->event->result->ballot;
    if (s->txn->protocol != PROTOCOL_3PC) {
        s->c->refused++;
        return;
    }
    if (s->txn->state == TXN_PRECOMMITTING && precommit_is_halted(s))
        return;
    if (s->txn->state == TXN_PRECOMMITTING)
        precommit_carry_out(s, precommit_lead(s, LE_DECIDED, RANK_NONE, ballot));
    else if (ballot->value == OUTCOME_ROLLED_BACK)
        ending_abort_because(s, "the agents have ended it");
    else
        s->c->alarms++;
    if (ballot->type == BALLOT_TELL)
        precommit_answer_decided(s, ballot->value);
}
