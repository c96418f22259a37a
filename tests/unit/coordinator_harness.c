/*
 * tests/unit/coordinator_harness.c - a coordinator to tell stories about.
 */
#include "tests/unit/coordinator_harness.h"

#include "common/wire.h" /* before check.h, whose fail() is a macro */

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/message/record.h"

struct coordinator *tm;
struct actions actions;
char said[SAID_BYTES];
uint64_t now_ms;
static uint64_t handed_over; /* records so far */

const struct coordinator_limits limits = {
    .transactions_max = 8,
    .branches_max = 24,
    .waiters_max = 16,
    .ended_max = 4,
    .outcome_chunks_max = 4,
    .keys_max = 4,
};

const struct coordinator_settings settings = {
    .tm = "bank",
    .transaction_timeout_ms = 30000,
    .resend_least_ms = 500,
    .resend_most_ms = 5000,
    .scan_ms = 5000,
    .retention_ms = 1000000000,
    .key_retention_ms = 1000000000,
};

/* ---- telling what was done ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    size_t length = strlen(said);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said + length, sizeof said - length, format, arguments);
    va_end(arguments);
}

static const char *order_word(const struct order *order)
{
    static const char *const words[ORDERS] = {
        "none",   "prepare", "commit", "rollback", "commit-one-phase",
        "settle", "recover", "ballot", "forget",
    };
    return words[order->type];
}

/* Of a ballot what it asks for, or says. */
static void tell_order(const struct order *order)
{
    const struct ballot *ballot = &order->ballot;
    if (order->type != ORDER_BALLOT)
        say("%s %s\n", order_word(order), order->branch.rm);
    else if (ballot->value == OUTCOME_NONE)
        say("%s %s\n", ballot_words[ballot->type], order->branch.rm);
    else
        say("%s %s %s\n", ballot_words[ballot->type], outcome_word(ballot->value),
            order->branch.rm);
}

static void tell_actions(void)
{
    for (uint32_t i = 0; i < actions.record_count; i++)
        say("log %s\n", record_name((uint8_t)actions.records[i].type));
    for (uint32_t i = 0; i < actions.order_count; i++)
        tell_order(&actions.orders[i].order);
    for (uint32_t i = 0; i < actions.reply_count; i++) {
        const struct reply *reply = &actions.replies[i];
        if (reply->error != ERR_NONE)
            say("refuse %s\n", error_word(reply->error));
        else if (reply->op == OP_BEGIN || reply->op == OP_ENLIST)
            say("reply %llu\n", (unsigned long long)reply->gtrid.sequence);
        else
            say("reply %s%s\n", outcome_word(reply->outcome),
                reply->applied || reply->outcome == OUTCOME_IN_PROGRESS ? "" : ", not yet applied");
    }
    handed_over += actions.record_count;
}

void step(struct event *event)
{
    event->now_ms = now_ms;
    coordinator_step(tm, event, &actions);
    coordinator_check(tm, now_ms);
    tell_actions();
}

/* What was done since the last question. */
const char *did(void)
{
    static char answer[SAID_BYTES];
    struct event event;
    while (coordinator_due(tm, now_ms, &event))
        step(&event);
    strcpy(answer, said);
    said[0] = '\0';
    return answer;
}

/* ---- what happens ---- */

void log_is_durable(void)
{
    coordinator_durable(tm, handed_over, handed_over);
}

void time_passes(uint64_t ms)
{
    now_ms += ms;
}

uint32_t rm_number(const char *rm)
{
    return registry_find(coordinator_registry(tm), rm);
}

const char *rm_is(const char *rm)
{
    return rm_state_word(coordinator_registry(tm)->rms[rm_number(rm)].state);
}

void agent_answers(const char *rm, struct answer answer)
{
    struct event event = {.type = EV_ANSWER, .rm = rm_number(rm), .answer = &answer};
    strcpy(answer.rm, rm);
    if (answer.agent_incarnation == 0)
        answer.agent_incarnation = 1;
    if (answer.system_identifier == 0)
        answer.system_identifier = 1;
    step(&event);
}

void agent_accepts(const char *rm)
{
    agent_answers(rm, (struct answer){0});
    log_is_durable();
}

void agent_is_lost(const char *rm)
{
    struct event event = {.type = EV_LOST, .rm = rm_number(rm)};
    step(&event);
}

void start_tm(void)
{
    struct event event = {.type = EV_START};
    step(&event);
    log_is_durable();
    said[0] = '\0';
}

void given_empty_tm(void)
{
    free(tm);
    tm = coordinator_init(calloc(1, coordinator_bytes(&limits)), &limits, &settings);
    said[0] = '\0';
    handed_over = 0;
    now_ms = 1000;
    coordinator_configure(tm, "accounts", "ipc:///a");
    coordinator_configure(tm, "ledger", "ipc:///l");
}

void given_tm(void)
{
    given_empty_tm();
    start_tm();
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
}

/* A log that holds these records is read at a start. */
void given_replayed(const struct record *records, uint32_t count)
{
    const char *why;
    given_empty_tm();
    for (uint32_t i = 0; i < count; i++)
        ck_assert_msg(coordinator_replay(tm, &records[i], &why), "%s", why);
}

void given_log(const struct record *records, uint32_t count)
{
    given_replayed(records, count);
    start_tm();
}

void ask(struct request request)
{
    struct event event = {.type = EV_REQUEST, .request = &request};
    step(&event);
}

struct gtrid gtrid_number(uint64_t sequence)
{
    return (struct gtrid){
        .incarnation = coordinator_incarnation(tm), .sequence = sequence, .tm = "bank"};
}

void ask_about(enum op op, uint64_t sequence, const char *rm)
{
    struct request request = {
        .op = op, .has_gtrid = true, .gtrid = gtrid_number(sequence), .wait_ms = 10000};
    strcpy(request.rm, rm);
    ask(request);
}

void given_begun(const char *first, const char *second)
{
    given_begun_by(PROTOCOL_2PC, first, second);
}

/* Begun, with a branch at each of these. */
void given_begun_by(enum protocol protocol, const char *first, const char *second)
{
    struct request request = {.op = OP_BEGIN, .protocol = protocol};
    strcpy(request.rms[0], first);
    request.rm_count = 1;
    if (second != NULL)
        strcpy(request.rms[request.rm_count++], second);
    ask(request);
    did();
}

struct result result_of(enum result_type type, struct gtrid gtrid, const char *rm)
{
    struct result result = {.type = type, .agent_incarnation = 1, .xid = 700 + gtrid.sequence};
    result.branch.gtrid = gtrid;
    strcpy(result.branch.rm, rm);
    return result;
}

struct result result_about(enum result_type type, uint64_t sequence, const char *rm)
{
    return result_of(type, gtrid_number(sequence), rm);
}

void hear(struct result result)
{
    struct event event = {.type = EV_RESULT, .rm = rm_number(result.branch.rm), .result = &result};
    step(&event);
}

void agent_says(enum result_type type, uint64_t sequence, const char *rm)
{
    hear(result_about(type, sequence, rm));
}

void acceptor_says(const char *rm, struct gtrid gtrid, struct ballot ballot)
{
    struct result result = result_of(RESULT_BALLOT, gtrid, rm);
    result.ballot = ballot;
    result.ballot.gtrid = gtrid;
    hear(result);
}

/* Transaction 1 with branches at accounts and ledger, committing by a client that waits. */
void given_preparing_by(enum protocol protocol)
{
    given_tm();
    given_begun_by(protocol, "accounts", "ledger");
    ask_about(OP_COMMIT, 1, "");
    ck_assert_str_eq(did(), "prepare accounts\nprepare ledger\n");
}

void given_preparing(void)
{
    given_preparing_by(PROTOCOL_2PC);
}

void given_logging(void)
{
    given_preparing();
    agent_says(RESULT_READY, 1, "accounts");
    agent_says(RESULT_READY, 1, "ledger");
    ck_assert_str_eq(did(), "log COMMIT\n");
}

void given_committing(void)
{
    given_logging();
    log_is_durable();
    ck_assert_str_eq(did(), "commit accounts\ncommit ledger\n");
}

/* ---- what a DBA asks, what a snapshot says ---- */

uint32_t take_snapshot(struct record *out)
{
    uint32_t count = 0;
    for (uint64_t position = 0; coordinator_snapshot(tm, &position, &out[count]);) {
        out[count++].lsn = 9;
        ck_assert_uint_lt(count, SNAPSHOT_MAX);
    }
    return count;
}

void dba_asks(enum op op, uint64_t sequence, enum outcome wanted_outcome, bool force)
{
    ask((struct request){.op = op,
                         .has_gtrid = true,
                         .gtrid = gtrid_number(sequence),
                         .wanted = wanted_outcome,
                         .force = force,
                         .who = "root",
                         .why = "ticket 4711"});
}

void dba_asks_about(enum op op, const char *rm)
{
    struct request request = {.op = op, .who = "root", .why = "ticket 4711"};
    strcpy(request.rm, rm);
    ask(request);
}

/* At r1 to rN, each registered. */
void given_rms(uint32_t count)
{
    char rm[RM_NAME_BYTES];
    given_empty_tm();
    for (uint32_t i = 1; i <= count; i++) {
        snprintf(rm, sizeof rm, "r%u", i);
        coordinator_configure(tm, rm, "ipc:///r");
    }
    start_tm();
    for (uint32_t i = 1; i <= count; i++) {
        snprintf(rm, sizeof rm, "r%u", i);
        agent_accepts(rm);
    }
    did();
}

void given_snapshot(void)
{
    static struct record records[SNAPSHOT_MAX];
    uint32_t count = take_snapshot(records);
    given_log(records, count);
}

struct gtrid gtrid_of_start(uint64_t incarnation, uint64_t sequence)
{
    return (struct gtrid){.tm = "bank", .incarnation = incarnation, .sequence = sequence};
}

enum outcome outcome_of(struct gtrid gtrid)
{
    enum outcome outcome = OUTCOME_NONE;
    coordinator_outcome(tm, &gtrid, &outcome);
    return outcome;
}

uint64_t alarms(void)
{
    struct coordinator_counts counts;
    coordinator_counts(tm, &counts);
    return counts.alarms;
}
