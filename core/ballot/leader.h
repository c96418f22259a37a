/*
 * core/ballot/leader.h - leads the ballots of one 3pc transaction to its decision.
 *
 * The TM is the leader of ballot 0, which may only propose to commit, and of later ones; agents
 * lead when the TM is silent. A leader says what is to be done; its user sends, and sees to the
 * disk.
 */
#ifndef ASSENT_CORE_BALLOT_LEADER_H
#define ASSENT_CORE_BALLOT_LEADER_H

#include "core/message/ballot.h"

enum leader_state {
    LEADER_IDLE = 0,
    LEADER_PLEDGING,  /* its own promise is on its way to the disk */
    LEADER_ASKING,    /* for promises */
    LEADER_PROPOSING, /* the value that the promises leave it */
    LEADER_YIELDING,  /* another one bids higher: it waits */
    LEADER_DECIDED,
    LEADER_STATES
};

enum leader_event {
    LE_HOLE = 0,
    LE_LEAD,     /* somebody has to */
    LE_PLEDGED,  /* its own promise is on the disk; as LE_PROMISED if it is an acceptor */
    LE_PROMISED, /* from; ballot: PROMISED */
    LE_ACCEPTED, /* from */
    LE_OUTBID,   /* ballot: promised */
    LE_DECIDED,  /* ballot: value */
    LE_AGAIN,    /* time has passed: not everybody has answered, or the wait is over */
    LEADER_EVENTS
};

enum leader_act {
    LEAD_NOTHING = 0,
    LEAD_PLEDGE,  /* force the promise of leader->number, then LE_PLEDGED */
    LEAD_ASK,     /* for promises: those who have not given one */
    LEAD_PROPOSE, /* leader->value: those who have not accepted it; its own vote is one of them */
    LEAD_YIELD,   /* wait a random while, then LE_AGAIN */
    LEAD_DECIDED, /* leader->value */
};

struct leader {
    enum leader_state state;
    uint32_t rank;     /* RANK_TM, or a place in the roster */
    uint64_t number;   /* of the present ballot */
    uint64_t highest;  /* that it has used or heard of */
    uint32_t promised; /* who has, as rank_bit()s */
    uint32_t accepted;
    uint64_t best; /* the highest ballot at which a promiser has accepted something */
    enum outcome value;
};

/* from: RANK_NONE with LE_PLEDGED of a leader that is no acceptor, or may not vote. */
enum leader_act leader_step(struct leader *leader, const struct roster *roster,
                            enum leader_event event, uint32_t from, const struct ballot *ballot);
/* The TM alone: propose to commit at ballot 0. */
void leader_begin(struct leader *leader);
/* Whoever has this rank has lost what it said: it is as if it had said nothing. */
void leader_unheard(struct leader *leader, uint32_t rank);
/* Whom LEAD_ASK and LEAD_PROPOSE are for, as rank_bit()s. */
uint32_t leader_silent(const struct leader *leader, const struct roster *roster);

const char *leader_state_word(enum leader_state state);
const char *leader_event_word(enum leader_event event);

#endif
