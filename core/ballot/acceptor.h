/*
 * core/ballot/acceptor.h - one vote in a 3pc transaction: what is promised, and what is accepted.
 *
 * The row is on the acceptor's disk before its answer is sent; in between nothing else may judge
 * this transaction. An agent keeps it in its database, the TM in its log.
 */
#ifndef ASSENT_CORE_BALLOT_ACCEPTOR_H
#define ASSENT_CORE_BALLOT_ACCEPTOR_H

#include "core/message/ballot.h"
#include "core/message/message.h"

struct acceptor_row {
    bool exists;
    uint64_t promised;    /* the highest ballot promised or accepted */
    uint64_t accepted;    /* at this ballot */
    enum outcome value;   /* that was accepted, NONE: nothing */
    enum outcome outcome; /* of the transaction, NONE: not known here */
};

enum acceptor_state {
    ROW_NONE = 0, /* never heard of it */
    ROW_OPEN,     /* nothing accepted */
    ROW_ACCEPTED,
    ROW_DECIDED,
    ROW_ENDED, /* no row, and below the horizon */
    ROW_STATES
};

/* Judge what a leader, or the TM, says about a transaction of which `row` is on the disk. `ended`:
 * the horizon has passed it. Changes *row to what must be on the disk before *answer is sent; true
 * if that is a change. answer->type is BALLOT_NONE where there is nothing to say, and
 * BALLOT_ASK_LEAD where nothing is said either, but its agent is to lead. */
bool acceptor_judge(struct acceptor_row *row, bool ended, const struct ballot *asked,
                    struct ballot *answer);

/* May a branch still be prepared? Not once a leader has been promised something: it may already
 * have found that this one was not ready. */
bool acceptor_may_prepare(const struct acceptor_row *row, bool ended);

/* Below the horizon, and not one of those that are still live there: no row of it is needed. */
bool forget_is_ended(const struct forget *forgotten, const struct gtrid *gtrid);
/* Is it more than what is known? An old one was overtaken on its way. */
bool forget_is_news(const struct forget *known, const struct forget *forget);

const char *acceptor_state_word(enum acceptor_state state);

#endif
