/*
 * lib/transaction.h - what a transaction consists of: for the library's own files only.
 *
 * Every public call is an operation: it starts a request, and `finish` is given what came of it,
 * once, whether the caller has waited or polled. An operation of two requests starts the second
 * one in its first one's finish.
 */
#ifndef ASSENT_LIB_TRANSACTION_H
#define ASSENT_LIB_TRANSACTION_H

#include "lib/call.h"
#include "lib/json.h"

enum { ASSENT_GTRID_BYTES = 65, ASSENT_REQUEST_ID_BYTES = 33 };

enum assent_state {
    ASSENT_FRESH = 0,
    ASSENT_BEGUN,
    ASSENT_ENDING, /* commit or rollback was asked for and has not been answered */
    ASSENT_ENDED,
};

enum assent_ending { ASSENT_ANSWERED = 0, ASSENT_REFUSED, ASSENT_UNANSWERED };

/* What came of a request. The reason is set for the last two. */
struct assent_answer {
    enum assent_ending ending;
    int code;            /* what a refusal or silence is returned as, in general */
    const cJSON *object; /* NULL without an answer */
};

typedef int assent_finish(struct assent *txn, const struct assent_answer *answer);

/* One database's part. All texts but rm are within reply. */
struct assent_part {
    struct assent_part *next;
    cJSON *reply;
    struct assent_branch branch;
    const char *agent;
    const char *session;
    uint64_t statements; /* that have been run through the agent */
    char rm[];           /* "ledger" or "ledger/BRANCH" */
};

struct assent_words {
    char code[32], rm[32], sqlstate[6], message[512], detail[256], hint[256];
};

struct assent {
    struct assent_call call;
    assent_finish *finish; /* of the operation under way, or NULL */
    bool nonblocking;

    enum assent_state state;
    enum assent_outcome outcome; /* once it has ended */
    enum assent_wait wait;       /* of commit */
    bool applied;
    bool spoilt; /* a statement has had no answer: who knows what was done? */
    char gtrid[ASSENT_GTRID_BYTES];
    char request_id[ASSENT_REQUEST_ID_BYTES];
    struct assent_part *parts;

    /* Of the operation under way: where its results go. */
    struct assent_part *part;
    struct assent_branch *branch_out;
    struct assent_result **result_out;
    struct assent_list **list_out;
    enum assent_outcome *outcome_out;
    char **text_out;
    char *statement; /* of an exec that enlists first: sql and params as they will be sent */

    struct assent_reason reason;
    struct assent_words words; /* the reason's */
};

/* Forgets how the last call failed. Returns 0 when an operation may start, else ASSENT_EUSAGE. */
int assent_prepare(struct assent *txn, bool allowed, const char *otherwise);
/* Asks the coordinator, or an agent; in the blocking form waits, and returns what finish does. */
int assent_start(struct assent *txn, struct assent_text *text, const char *agent,
                 uint32_t timeout_ms, assent_finish *finish);
/* The same as the second request of an operation, with what is left of its time. */
int assent_go_on(struct assent *txn, struct assent_text *text, const char *agent,
                 assent_finish *finish);
/* Sets the reason and returns code. */
int assent_fail(struct assent *txn, int code, const char *word, const char *message);
/* Back to what assent_new() made. */
void assent_reset(struct assent *txn);
uint32_t assent_timeout(uint32_t timeout_ms);

/* reason.c: reads the error of a refused request, or why a transaction was rolled back. */
void assent_reason_clear(struct assent *txn);
void assent_reason_set(struct assent *txn, const char *word, const char *message);
int assent_reason_read_error(struct assent *txn, const cJSON *reply);
void assent_reason_read_abort(struct assent *txn, const cJSON *reply);

#endif
