/*
 * lib/transaction.c - the life of a transaction: begin, enlist, commit, rollback, outcome.
 *
 * From the moment that a commit has been asked for until it is answered nobody here may say how the
 * transaction ends. So that moment is a state of its own, ASSENT_ENDING, and only an answer of the
 * coordinator's leads out of it.
 */
#include "lib/transaction.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { COMMIT_AGAIN_MS = 50 };

/* ---- making and ending ---- */

struct assent *assent_new(struct assent_client *client)
{
    struct assent *txn = calloc(1, sizeof *txn);
    if (txn == NULL)
        return NULL;
    txn->call.client = client;
    assent_reason_clear(txn);
    return txn;
}

void assent_reset(struct assent *txn)
{
    struct assent_client *client = txn->call.client;
    bool nonblocking = txn->nonblocking;
    for (struct assent_part *part = txn->parts, *next; part != NULL; part = next) {
        next = part->next;
        cJSON_Delete(part->reply);
        free(part);
    }
    assent_call_end(&txn->call);
    free(txn->statement);
    memset(txn, 0, sizeof *txn);
    txn->call.client = client;
    txn->nonblocking = nonblocking;
    assent_reason_clear(txn);
}

void assent_free(struct assent *txn)
{
    if (txn == NULL)
        return;
    assent_reset(txn);
    free(txn);
}

const char *assent_gtrid(const struct assent *txn)
{
    return txn->gtrid;
}

const struct assent_reason *assent_reason(const struct assent *txn)
{
    return &txn->reason;
}

bool assent_applied(const struct assent *txn)
{
    return txn->applied;
}

static bool take_gtrid(struct assent *txn, const char *gtrid)
{
    size_t length = strlen(gtrid);
    if (length == 0 || length >= sizeof txn->gtrid)
        return false;
    memcpy(txn->gtrid, gtrid, length + 1);
    return true;
}

int assent_attach(struct assent *txn, const char *gtrid)
{
    int rc = assent_prepare(txn, txn->state == ASSENT_FRESH, "the transaction has begun already");
    if (rc != 0)
        return rc;
    if (!take_gtrid(txn, gtrid))
        return assent_fail(txn, ASSENT_EUSAGE, "invalid_request", "that is no gtrid");
    txn->state = ASSENT_BEGUN;
    return 0;
}

/* ---- begin ---- */

/* Nobody else's begin has this name, so ours may be heard twice, also when the application itself
 * asks again after a timeout. */
static bool draw_request_id(struct assent *txn)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char drawn[(ASSENT_REQUEST_ID_BYTES - 1) / 2];
    if (txn->request_id[0] != '\0')
        return true;
    if (getrandom(drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
        return false;
    for (size_t i = 0; i < sizeof drawn; i++) {
        txn->request_id[2 * i] = digits[drawn[i] >> 4];
        txn->request_id[2 * i + 1] = digits[drawn[i] & 15];
    }
    return true;
}

static int finish_begin(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending == ASSENT_REFUSED && answer->code == ASSENT_EKEY &&
        take_gtrid(txn, assent_field(answer->object, "gtrid")))
        txn->state = ASSENT_ENDING; /* another's, to be asked about */
    if (answer->ending != ASSENT_ANSWERED)
        return answer->code;
    if (!take_gtrid(txn, assent_field(answer->object, "gtrid")))
        return assent_fail(txn, ASSENT_EREFUSED, "internal", "the reply names no transaction");
    txn->state = ASSENT_BEGUN;
    return 0;
}

int assent_begin(struct assent *txn, const struct assent_options *options, uint32_t timeout_ms)
{
    static const struct assent_options none;
    int rc = assent_prepare(txn, txn->state == ASSENT_FRESH, "the transaction has begun already");
    if (rc != 0)
        return rc;
    if (!draw_request_id(txn))
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "the system has no random numbers");
    if (options == NULL)
        options = &none;

    struct assent_text text;
    assent_text_begin(&text, "begin");
    assent_text_add(&text, "request_id", txn->request_id);
    assent_text_add(&text, "label", options->label);
    assent_text_add(&text, "application", program_invocation_short_name);
    assent_text_add(&text, "key", options->key);
    assent_text_add(&text, "protocol", options->protocol);
    if (options->timeout_ms != 0)
        assent_text_add_number(&text, "timeout", options->timeout_ms);
    return assent_start(txn, &text, NULL, timeout_ms, finish_begin);
}

/* ---- commit, rollback, outcome ---- */

static enum assent_outcome outcome_of(const cJSON *object)
{
    static const struct {
        const char *word;
        enum assent_outcome outcome;
    } words[] = {
        {"committed", ASSENT_COMMITTED},
        {"rolled-back", ASSENT_ROLLED_BACK},
        {"mixed", ASSENT_IS_MIXED},
        {"forgotten", ASSENT_FORGOTTEN},
    };
    const char *word = assent_field(object, "outcome");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].outcome;
    return ASSENT_IN_PROGRESS;
}

/* Returns the outcome that the answer tells; one that is final ends the transaction. */
static enum assent_outcome take_outcome(struct assent *txn, const cJSON *object)
{
    enum assent_outcome outcome = outcome_of(object);
    if (outcome == ASSENT_IN_PROGRESS)
        return outcome;
    txn->state = ASSENT_ENDED;
    txn->outcome = outcome;
    return outcome;
}

static int finish_commit(struct assent *txn, const struct assent_answer *answer);

/* The coordinator is to answer before our own patience ends. */
static void write_commit(const struct assent *txn, uint64_t left_ms, struct assent_text *text)
{
    assent_text_begin(text, "commit");
    assent_text_add(text, "gtrid", txn->gtrid);
    assent_text_add(text, "wait", txn->wait == ASSENT_DECIDED ? "decided" : "applied");
    assent_text_add_number(text, "wait_ms", left_ms - left_ms / 8);
}

/* One that was restarted does not know at once what it may say. */
static int commit_again(struct assent *txn)
{
    struct assent_text text;
    uint64_t now_ms = assent_now_ms();
    if (now_ms + COMMIT_AGAIN_MS >= txn->call.deadline_ms)
        return ASSENT_EUNKNOWN;
    write_commit(txn, txn->call.deadline_ms - now_ms, &text);
    int rc = assent_go_on(txn, &text, NULL, finish_commit);
    txn->call.pause_until_ms = now_ms + COMMIT_AGAIN_MS;
    return rc == ASSENT_EAGAIN ? rc : ASSENT_EUNKNOWN;
}

static int finish_commit(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending == ASSENT_UNANSWERED)
        return ASSENT_EUNKNOWN;
    /* Refused now; but an earlier time that it was asked may have been heard. */
    if (answer->ending == ASSENT_REFUSED)
        return answer->code == ASSENT_ENOTKNOWN || strcmp(txn->words.code, "wrong_state") == 0
                   ? answer->code
                   : ASSENT_EUNKNOWN;
    switch (take_outcome(txn, answer->object)) {
    case ASSENT_COMMITTED:
        txn->applied = cJSON_IsTrue(assent_field_object(answer->object, "applied"));
        return 0;
    case ASSENT_ROLLED_BACK:
        assent_reason_read_abort(txn, answer->object);
        return ASSENT_EABORTED;
    case ASSENT_IS_MIXED:
        assent_reason_read_abort(txn, answer->object);
        txn->reason.retryable = false;
        return ASSENT_EMIXED;
    case ASSENT_IN_PROGRESS:
        return commit_again(txn);
    default:
        return ASSENT_EUNKNOWN;
    }
}

int assent_commit(struct assent *txn, enum assent_wait wait, uint32_t timeout_ms)
{
    bool begun = txn->state == ASSENT_BEGUN || txn->state == ASSENT_ENDING;
    int rc = assent_prepare(txn, begun && !txn->spoilt,
                            txn->spoilt ? "a statement was not answered: roll back"
                                        : "the transaction has not begun, or has ended");
    if (rc != 0)
        return rc;
    txn->state = ASSENT_ENDING;
    txn->wait = wait;
    struct assent_text text;
    write_commit(txn, assent_timeout(timeout_ms), &text);
    return assent_start(txn, &text, NULL, timeout_ms, finish_commit);
}

static int rolled_back_or(enum assent_outcome outcome)
{
    switch (outcome) {
    case ASSENT_ROLLED_BACK:
        return 0;
    case ASSENT_COMMITTED:
        return ASSENT_ECOMMITTED;
    case ASSENT_IS_MIXED:
        return ASSENT_EMIXED;
    default:
        return ASSENT_EUNKNOWN;
    }
}

static int finish_rollback(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending == ASSENT_ANSWERED)
        return rolled_back_or(take_outcome(txn, answer->object));
    return answer->code == ASSENT_ENOTKNOWN ? answer->code : ASSENT_EUNKNOWN;
}

int assent_rollback(struct assent *txn, uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, true, "");
    if (rc != 0 || txn->state == ASSENT_FRESH)
        return rc;
    if (txn->state == ASSENT_ENDED)
        return rolled_back_or(txn->outcome);
    txn->state = ASSENT_ENDING;
    struct assent_text text;
    assent_text_begin(&text, "rollback");
    assent_text_add(&text, "gtrid", txn->gtrid);
    return assent_start(txn, &text, NULL, timeout_ms, finish_rollback);
}

static int finish_outcome(struct assent *txn, const struct assent_answer *answer)
{
    if (answer->ending != ASSENT_ANSWERED)
        return answer->code;
    *txn->outcome_out = take_outcome(txn, answer->object);
    if (take_gtrid(txn, assent_field(answer->object, "gtrid")) && txn->state == ASSENT_FRESH)
        txn->state = ASSENT_ENDING;
    if (*txn->outcome_out == ASSENT_ROLLED_BACK)
        assent_reason_read_abort(txn, answer->object);
    return 0;
}

int assent_outcome(struct assent *txn, enum assent_outcome *out, uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, txn->gtrid[0] != '\0', "the transaction has not begun");
    if (rc != 0)
        return rc;
    txn->outcome_out = out;
    struct assent_text text;
    assent_text_begin(&text, "outcome");
    assent_text_add(&text, "gtrid", txn->gtrid);
    return assent_start(txn, &text, NULL, timeout_ms, finish_outcome);
}

int assent_outcome_of_key(struct assent *txn, const char *key, enum assent_outcome *out,
                          uint32_t timeout_ms)
{
    int rc = assent_prepare(txn, txn->state == ASSENT_FRESH, "the transaction has begun already");
    if (rc != 0)
        return rc;
    txn->outcome_out = out;
    struct assent_text text;
    assent_text_begin(&text, "outcome");
    assent_text_add(&text, "key", key);
    return assent_start(txn, &text, NULL, timeout_ms, finish_outcome);
}
