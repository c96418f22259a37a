/*
 * core/participant/terminator.h - an agent finishes 3pc transactions when their TM is silent.
 *
 * It watches every 3pc transaction that has a branch here. If the TM is not heard from, or a
 * PREPARE's time was over long ago, it leads a ballot (core/ballot/leader.c); whoever leads, the
 * outcome comes to the agent's own row, and is then carried out on the branches.
 *
 * What its user owes it:
 *  - a message to the own rank goes to the own row, like any other; answers come back as XE_ANSWER
 *    once they are on the disk;
 *  - at a start, XE_WATCH for every prepared branch with a row, and XE_OUTCOME where the row has
 *    one: it forgets all in a crash;
 *  - now and then, the same for what has been prepared since, and XE_CLEAR for what is gone without
 *    a word, its answer lost: the TM may never speak of it again;
 *  - where our own row does not answer a pledge, since it may not vote: XE_BARRED;
 *  - with TA_FINISH: order every branch of the transaction that is prepared here, or about to be,
 *    to its end, as the TM would have; XE_CLEAR when there is none.
 */
#ifndef ASSENT_CORE_PARTICIPANT_TERMINATOR_H
#define ASSENT_CORE_PARTICIPANT_TERMINATOR_H

#include "core/message/ballot.h"

enum ending_state {
    ENDING_NONE = 0,
    ENDING_WATCHED, /* the TM's to end */
    ENDING_LED,     /* we lead a ballot */
    ENDING_DECIDED, /* the outcome is being carried out, and told */
    ENDING_STATES
};

enum ending_event {
    XE_HOLE = 0,
    XE_WATCH,   /* a branch is about to be prepared, or was found so: branch, roster, timeout_ms */
    XE_OVER,    /* the branch has ended by the TM's word, or was never prepared */
    XE_ANSWER,  /* from an acceptor: ballot, from */
    XE_OUTCOME, /* our own row knows it: ballot.value */
    XE_CLEAR,   /* nothing of the transaction is prepared here, nor about to be */
    XE_BARRED,  /* our own row may not vote on it: its database may have lost what it said */
    XE_LEAD,    /* another, whose row may not vote, asks us to lead: roster */
    XE_TICK,    /* from terminator_due() */
    XE_EVENTS
};

struct terminator_event {
    enum ending_event type;
    uint64_t now_ms;
    struct gtrid gtrid;
    const char *branch;          /* WATCH, OVER: its name */
    const struct roster *roster; /* WATCH; OUTCOME, if it is known */
    uint32_t timeout_ms;         /* WATCH: how long its vote counts, 0: it has been voted for */
    const struct ballot *ballot; /* ANSWER, OUTCOME */
    uint32_t from;               /* ANSWER: rank */
};

enum terminator_act { TA_NONE = 0, TA_SAY, TA_FINISH };

struct terminator_action {
    enum terminator_act type;
    struct ballot ballot; /* SAY; FINISH: gtrid, value */
    uint32_t to;          /* SAY: rank_bit()s, our own among them */
};

enum { TERMINATOR_ACTIONS_MAX = 2 };

struct terminator_actions {
    uint32_t count;
    struct terminator_action list[TERMINATOR_ACTIONS_MAX];
};

struct terminator_settings {
    char rm[RM_NAME_BYTES];
    uint32_t silence_ms; /* of the TM, before we lead */
    uint32_t resend_least_ms, resend_most_ms;
    uint64_t seed; /* of what is drawn at random */
};

struct terminator;

size_t terminator_bytes(uint32_t txns_max);
/* In zeroed memory for terminator_bytes(). */
struct terminator *terminator_init(void *memory, uint32_t txns_max,
                                   const struct terminator_settings *settings);

/* One event; replaces *out. False: a new transaction, and no room for it. */
bool terminator_step(struct terminator *terminator, const struct terminator_event *event,
                     struct terminator_actions *out);
/* This start of this TM has been heard from. */
void terminator_heard(struct terminator *terminator, const char *tm, uint64_t incarnation,
                      uint64_t now_ms);
/* While its database may have lost what it promised, an agent leads nothing. */
void terminator_hush(struct terminator *terminator, bool hushed);

/* The next one whose time has come, as an event to be stepped; false if there is none. */
bool terminator_due(struct terminator *terminator, uint64_t now_ms, struct terminator_event *out);
uint64_t terminator_wake_ms(const struct terminator *terminator);

/* How many transactions it watches, leads or finishes. */
uint32_t terminator_count(const struct terminator *terminator);
/* One of these, from place *from on, which starts at 0; false: no more. */
bool terminator_next(const struct terminator *terminator, uint32_t *from, struct gtrid *out);
enum ending_state terminator_state(const struct terminator *terminator, const struct gtrid *gtrid);
/* Who decides it; NULL if it is not watched. */
const struct roster *terminator_roster(const struct terminator *terminator,
                                       const struct gtrid *gtrid);

const char *ending_state_word(enum ending_state state);
const char *ending_event_word(enum ending_event event);

#endif
