/*
 * core/message/ballot.h - three-phase commit: what acceptors and leaders say to each other.
 *
 * The decision of a 3pc transaction is what a majority of its acceptors has accepted. The TM
 * proposes to commit at ballot 0; whoever doubts that it lives leads a higher one. A ballot's
 * number is unique to its leader: round * BALLOT_ROUND + its rank among the acceptors.
 */
#ifndef ASSENT_CORE_MESSAGE_BALLOT_H
#define ASSENT_CORE_MESSAGE_BALLOT_H

#include "core/base/ids.h"

enum {
    ACCEPTORS_MAX = 15, /* agents of one transaction, witnesses among them */
    BALLOT_ROUND = 256,
    RANK_TM = 255,
    RANK_NONE = UINT16_MAX,
    FORGET_LIVE_MAX = 32, /* transactions that one FORGET can except */
};

enum outcome {
    OUTCOME_NONE = 0,
    OUTCOME_IN_PROGRESS,
    OUTCOME_COMMITTED,
    OUTCOME_ROLLED_BACK,
    OUTCOME_MIXED,
    OUTCOME_FORGOTTEN
};

/* Who decides, fixed with the list of branches. An agent's rank is its place here. */
struct roster {
    uint32_t count; /* 0: the transaction is no 3pc */
    bool tm;        /* the TM's log is an acceptor too, which makes their number odd */
    char agents[ACCEPTORS_MAX][RM_NAME_BYTES];
};

enum ballot_type {
    BALLOT_NONE = 0,
    BALLOT_JOIN,        /* TM: you are an acceptor, and have no branch */
    BALLOT_PLEDGE,      /* leader to its own row, never sent: may I lead this number? */
    BALLOT_ASK_PROMISE, /* leader: hear nobody below this number */
    BALLOT_ASK_ACCEPT,  /* leader: accept this value */
    BALLOT_TELL,        /* leader: this is decided */
    BALLOT_ASK_LEAD,    /* acceptor without a vote: lead this, for I may not */
    BALLOT_PROMISED,    /* acceptor: value, accepted: what it has accepted last, if anything */
    BALLOT_ACCEPTED,
    BALLOT_OUTBID,  /* it has promised a higher one: promised */
    BALLOT_DECIDED, /* it knows the outcome: value */
    BALLOT_ENDED,   /* below the horizon, and nothing is known of it any more */
    BALLOTS
};

struct ballot {
    enum ballot_type type;
    struct gtrid gtrid;
    uint64_t number;      /* all but JOIN, TELL, ASK_LEAD, DECIDED, ENDED */
    enum outcome value;   /* COMMITTED or ROLLED_BACK; PROMISED: NONE if nothing was accepted */
    uint64_t accepted;    /* PROMISED: at this ballot */
    uint64_t promised;    /* OUTBID */
    struct roster roster; /* JOIN, ASK_PROMISE, ASK_ACCEPT, TELL, ASK_LEAD */
};

extern const char *const ballot_words[BALLOTS]; /* "ask-promise", ...: as on the wire */

/* A rank's bit in a set of acceptors. */
static inline uint32_t rank_bit(uint32_t rank)
{
    return rank == RANK_TM ? UINT32_C(1) << 31 : UINT32_C(1) << rank;
}

/* RANK_NONE if this agent is no acceptor. */
uint32_t roster_rank(const struct roster *roster, const char *rm);
/* How many make a majority. */
uint32_t roster_majority(const struct roster *roster);
/* All of them. */
uint32_t roster_all(const struct roster *roster);

#endif
