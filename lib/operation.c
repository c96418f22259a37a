/*
 * lib/operation.c - one operation of a transaction, from its request to what it returns.
 *
 * The blocking form is the other one with a poll() in it, so both are the same code.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/transaction.h"

enum { TIMEOUT_DEFAULT_MS = 10000 };

uint32_t assent_timeout(uint32_t timeout_ms)
{
    return timeout_ms != 0 ? timeout_ms : TIMEOUT_DEFAULT_MS;
}

int assent_fail(struct assent *txn, int code, const char *word, const char *message)
{
    assent_reason_set(txn, word, message);
    return code;
}

int assent_prepare(struct assent *txn, bool allowed, const char *otherwise)
{
    if (txn->finish != NULL)
        return ASSENT_EUSAGE; /* the call under way keeps its reason */
    assent_reason_clear(txn);
    txn->branch_out = NULL;
    txn->result_out = NULL;
    txn->list_out = NULL;
    txn->outcome_out = NULL;
    txn->text_out = NULL;
    return allowed ? 0 : assent_fail(txn, ASSENT_EUSAGE, "wrong_state", otherwise);
}

/* ---- what came of a request ---- */

static int finish_with(struct assent *txn, const struct assent_answer *answer)
{
    assent_finish *finish = txn->finish;
    txn->finish = NULL;
    return finish(txn, answer);
}

static int finish_unanswered(struct assent *txn)
{
    bool heard = txn->call.heard;
    struct assent_answer answer = {
        .ending = ASSENT_UNANSWERED,
        .code = heard ? ASSENT_ETIMEOUT : ASSENT_EUNREACHABLE,
    };
    assent_reason_set(txn, heard ? "timeout" : "unreachable",
                      txn->call.why[0] != '\0' ? txn->call.why : "no answer in time");
    txn->reason.retryable = true;
    assent_call_end(&txn->call);
    return finish_with(txn, &answer);
}

static int finish_unreadable(struct assent *txn)
{
    struct assent_answer answer = {.ending = ASSENT_UNANSWERED, .code = ASSENT_ETIMEOUT};
    assent_reason_set(txn, "internal", "the reply cannot be read");
    return finish_with(txn, &answer);
}

/* A coordinator or a database that is starting, one that has been superseded while another address
 * is known, an agent that still runs the statement whose answer was lost. */
static bool is_for_later(const struct assent *txn)
{
    static const char *const words[] = {"busy", "not_ready", "rm_unavailable"};
    bool elsewhere = txn->call.agent == NULL && assent_client_urls(txn->call.client) > 1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(txn->words.code, words[i]) == 0)
            return true;
    return elsewhere && strcmp(txn->words.code, "fenced") == 0;
}

static int finish_answered(struct assent *txn, char *text, size_t length)
{
    struct assent_answer answer = {.ending = ASSENT_ANSWERED};
    cJSON *object = cJSON_ParseWithLength(text, length);
    const cJSON *ok = assent_field_object(object, "ok");
    int rc = ASSENT_EAGAIN;
    if (cJSON_IsFalse(ok)) {
        answer.ending = ASSENT_REFUSED;
        answer.code = assent_reason_read_error(txn, object);
        if (txn->text_out == NULL && is_for_later(txn) && assent_call_again(&txn->call))
            goto free_reply;
    }
    assent_call_end(&txn->call);
    answer.object = object;
    if (cJSON_IsBool(ok) && txn->text_out != NULL)
        *txn->text_out = strdup(text);
    rc = cJSON_IsBool(ok) ? finish_with(txn, &answer) : finish_unreadable(txn);

free_reply:
    cJSON_Delete(object);
    free(text);
    return rc;
}

static int step(struct assent *txn)
{
    int rc = ASSENT_EAGAIN;
    while (rc == ASSENT_EAGAIN) {
        char *reply;
        size_t length;
        switch (assent_call_step(&txn->call, &reply, &length)) {
        case ASSENT_CALL_WAITS:
            return ASSENT_EAGAIN;
        case ASSENT_CALL_ANSWERED:
            rc = finish_answered(txn, reply, length);
            break;
        case ASSENT_CALL_TIMED_OUT:
            rc = finish_unanswered(txn);
            break;
        }
    }
    return rc;
}

/* ---- starting, waiting ---- */

int assent_complete(struct assent *txn)
{
    if (txn->finish == NULL)
        return assent_fail(txn, ASSENT_EUSAGE, "wrong_state", "no call is under way");
    return step(txn);
}

int assent_go_on(struct assent *txn, struct assent_text *text, const char *agent,
                 assent_finish *finish)
{
    if (assent_text_end(text) != 0 ||
        assent_call_start(&txn->call, agent, text->bytes, text->length, txn->call.deadline_ms) != 0)
        return assent_fail(txn, ASSENT_ENOMEM, "internal", "out of memory");
    txn->finish = finish;
    return ASSENT_EAGAIN;
}

static int wait_for(struct assent *txn)
{
    int rc = step(txn);
    while (rc == ASSENT_EAGAIN) {
        struct pollfd poll_fd = {.fd = assent_fd(txn), .events = assent_events(txn)};
        poll(&poll_fd, 1, assent_wait_ms(txn));
        rc = step(txn);
    }
    return rc;
}

int assent_start(struct assent *txn, struct assent_text *text, const char *agent,
                 uint32_t timeout_ms, assent_finish *finish)
{
    txn->call.deadline_ms = assent_now_ms() + assent_timeout(timeout_ms);
    int rc = assent_go_on(txn, text, agent, finish);
    if (rc != ASSENT_EAGAIN)
        return rc;
    return txn->nonblocking ? step(txn) : wait_for(txn);
}

void assent_set_nonblocking(struct assent *txn, bool nonblocking)
{
    txn->nonblocking = nonblocking;
}

int assent_fd(const struct assent *txn)
{
    return assent_call_fd(&txn->call);
}

short assent_events(const struct assent *txn)
{
    return assent_call_events(&txn->call);
}

int assent_wait_ms(const struct assent *txn)
{
    return txn->finish != NULL ? assent_call_wait_ms(&txn->call) : 0;
}
