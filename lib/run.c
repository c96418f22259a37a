/*
 * lib/run.c - a block of work as one transaction, run again as long as it fails in passing.
 *
 * It is run again only when the coordinator has said that the last run was rolled back, or was
 * never asked to commit it. While that is not known the outcome is asked for, again and again, and
 * nothing else is done.
 */
#include <poll.h>
#include <sys/random.h>

#include "lib/transaction.h"

enum { PAUSE_FIRST_MS = 10, PAUSE_MOST_MS = 1000 };

static uint32_t left_ms(uint64_t deadline_ms)
{
    uint64_t now_ms = assent_now_ms();
    return deadline_ms > now_ms ? (uint32_t)(deadline_ms - now_ms) : 1;
}

static void pause_for(uint32_t ms)
{
    poll(NULL, 0, (int)ms);
}

static int code_of_outcome(enum assent_outcome outcome)
{
    switch (outcome) {
    case ASSENT_COMMITTED:
        return 0;
    case ASSENT_ROLLED_BACK:
        return ASSENT_EABORTED;
    case ASSENT_IS_MIXED:
        return ASSENT_EMIXED;
    case ASSENT_FORGOTTEN:
        return ASSENT_ENOTKNOWN;
    case ASSENT_IN_PROGRESS:
        break;
    }
    return ASSENT_EUNKNOWN;
}

static int settle(struct assent *txn, uint64_t deadline_ms)
{
    for (;;) {
        enum assent_outcome outcome = ASSENT_IN_PROGRESS;
        int rc = assent_outcome(txn, &outcome, left_ms(deadline_ms));
        if (rc == ASSENT_ENOTKNOWN || rc == ASSENT_EUSAGE)
            return rc;
        if (rc == 0 && outcome != ASSENT_IN_PROGRESS)
            return code_of_outcome(outcome);
        if (assent_now_ms() + PAUSE_FIRST_MS >= deadline_ms)
            return ASSENT_EUNKNOWN;
        pause_for(PAUSE_FIRST_MS);
    }
}

int assent_settle(struct assent *txn, uint32_t timeout_ms)
{
    bool nonblocking = txn->nonblocking;
    if (txn->finish != NULL)
        return ASSENT_EUSAGE;
    txn->nonblocking = false;
    int rc = settle(txn, assent_now_ms() + assent_timeout(timeout_ms));
    txn->nonblocking = nonblocking;
    return rc;
}

/* Rolls back without losing why. */
static int give_up(struct assent *txn, int code, uint64_t deadline_ms)
{
    struct assent_words words = txn->words;
    bool retryable = txn->reason.retryable;
    assent_rollback(txn, left_ms(deadline_ms));
    txn->words = words;
    txn->reason.retryable = retryable;
    return code;
}

static int run_once(struct assent *txn, const struct assent_options *options, assent_block *block,
                    void *arg, uint64_t deadline_ms)
{
    int rc = assent_begin(txn, options, left_ms(deadline_ms));
    if (rc != 0)
        return rc;
    rc = block(txn, arg);
    if (rc != 0)
        return give_up(txn, rc, deadline_ms);
    rc = assent_commit(txn, ASSENT_APPLIED, left_ms(deadline_ms));
    return rc == ASSENT_EUNKNOWN ? settle(txn, deadline_ms) : rc;
}

/* Is it certain that nothing was committed, and likely that the next run will do better? What has
 * begun here and is no longer known was lost by a restart. */
static bool worth_another_run(const struct assent *txn, int code)
{
    if (code >= 0 || code == ASSENT_EUNKNOWN || code == ASSENT_EMIXED || code == ASSENT_EKEY)
        return false;
    return txn->reason.retryable || code == ASSENT_ENOTKNOWN;
}

/* Those that collided are not to meet again. */
static uint32_t draw_pause(uint32_t most_ms)
{
    uint32_t drawn = 0;
    if (getrandom(&drawn, sizeof drawn, 0) < 0)
        drawn = 0;
    return most_ms / 2 + drawn % (most_ms / 2 + 1);
}

int assent_run(struct assent *txn, const struct assent_options *options, assent_block *block,
               void *arg, uint32_t timeout_ms)
{
    uint64_t deadline_ms = assent_now_ms() + assent_timeout(timeout_ms);
    uint32_t most_ms = PAUSE_FIRST_MS;
    bool nonblocking = txn->nonblocking;
    int rc = assent_prepare(txn, txn->state == ASSENT_FRESH, "the transaction has begun already");
    if (rc != 0)
        return rc;
    txn->nonblocking = false;
    for (;;) {
        rc = run_once(txn, options, block, arg, deadline_ms);
        uint32_t pause_ms = draw_pause(most_ms);
        if (!worth_another_run(txn, rc) || assent_now_ms() + pause_ms >= deadline_ms)
            break;
        pause_for(pause_ms);
        most_ms = most_ms * 2 < PAUSE_MOST_MS ? most_ms * 2 : PAUSE_MOST_MS;
        if (txn->state != ASSENT_FRESH) /* else its begin may still be heard */
            assent_reset(txn);
    }
    txn->nonblocking = nonblocking;
    return rc;
}
