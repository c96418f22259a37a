/*
 * tests/unit/story.h - a coordinator, and what it is told: for tests that are told as stories.
 *
 * Each includes it once. What is done since the last question is said in words, a line each.
 */
#ifndef ASSENT_TESTS_UNIT_STORY_H
#define ASSENT_TESTS_UNIT_STORY_H

#include "common/wire.h" /* before check.h, whose fail() is a macro */

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/coordinator_state.h"

#define A_TEST_MAY_NEED __attribute__((unused)) static

static struct coordinator *tm;
static struct actions actions;
static char said[16 * 1024];
static uint64_t now_ms;
static uint64_t handed_over; /* records so far */

static const struct coordinator_limits story_limits = {
    .transactions_max = 8,
    .branches_max = 24,
    .waiters_max = 16,
    .ended_max = 4,
    .outcome_chunks_max = 4,
    .keys_max = 4,
};

static const struct coordinator_settings story_settings = {
    .tm = "bank",
    .transaction_timeout_ms = 30000,
    .resend_least_ms = 500,
    .resend_most_ms = 5000,
    .scan_ms = 5000,
    .retention_ms = 1000000000,
    .key_retention_ms = 1000000000,
};

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    size_t length = strlen(said);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said + length, sizeof said - length, format, arguments);
    va_end(arguments);
}

static void tell_order(const struct order *order)
{
    static const char *const words[ORDERS] = {
        "none",   "prepare", "commit", "rollback", "commit-one-phase",
        "settle", "recover", "ballot", "forget",
    };
    const struct ballot *ballot = &order->ballot;
    if (order->type != ORDER_BALLOT)
        say("%s %s\n", words[order->type], order->branch.rm);
    else if (ballot->value == OUTCOME_NONE)
        say("%s %s\n", ballot_words[ballot->type], order->branch.rm);
    else
        say("%s %s %s\n", ballot_words[ballot->type], order->branch.rm,
            outcome_word(ballot->value));
}

static void tell_reply(const struct reply *reply)
{
    if (reply->error != ERR_NONE)
        say("refuse %s\n", error_word(reply->error));
    else if (reply->op == OP_BEGIN || reply->op == OP_ENLIST)
        say("reply %llu\n", (unsigned long long)reply->gtrid.sequence);
    else if (reply->op == OP_RELEASE)
        say("reply released\n");
    else
        say("reply %s%s\n", outcome_word(reply->outcome),
            reply->applied || reply->outcome == OUTCOME_IN_PROGRESS ? "" : ", not yet applied");
}

static void step(struct event *event)
{
    event->now_ms = now_ms;
    coordinator_step(tm, event, &actions);
    for (uint32_t i = 0; i < actions.record_count; i++)
        say("log %s\n", record_name((uint8_t)actions.records[i].type));
    for (uint32_t i = 0; i < actions.order_count; i++)
        tell_order(&actions.orders[i].order);
    for (uint32_t i = 0; i < actions.reply_count; i++)
        tell_reply(&actions.replies[i]);
    handed_over += actions.record_count;
}

/* What was done since the last question. */
static const char *did(void)
{
    static char answer[sizeof said];
    struct event event;
    while (coordinator_due(tm, now_ms, &event))
        step(&event);
    strcpy(answer, said);
    said[0] = '\0';
    return answer;
}

static void log_is_durable(void)
{
    coordinator_durable(tm, handed_over, handed_over);
}

A_TEST_MAY_NEED void time_passes(uint64_t ms)
{
    now_ms += ms;
}

static uint32_t rm_number(const char *rm)
{
    return registry_find(coordinator_registry(tm), rm);
}

A_TEST_MAY_NEED const char *rm_is(const char *rm)
{
    return rm_state_word(coordinator_registry(tm)->rms[rm_number(rm)].state);
}

static void agent_answers(const char *rm, struct answer answer)
{
    struct event event = {.type = EV_ANSWER, .rm = rm_number(rm), .answer = &answer};
    strcpy(answer.rm, rm);
    if (answer.agent_incarnation == 0)
        answer.agent_incarnation = 1;
    if (answer.system_identifier == 0)
        answer.system_identifier = 1;
    step(&event);
}

static void agent_accepts(const char *rm)
{
    agent_answers(rm, (struct answer){.system_identifier = 1});
    log_is_durable();
}

A_TEST_MAY_NEED void agent_is_lost(const char *rm)
{
    struct event event = {.type = EV_LOST, .rm = rm_number(rm)};
    step(&event);
}

static void start_tm(void)
{
    struct event event = {.type = EV_START};
    handed_over = 0;
    step(&event);
    log_is_durable();
    said[0] = '\0';
}

static void given_empty_tm(void)
{
    free(tm);
    tm = coordinator_init(calloc(1, coordinator_bytes(&story_limits)), &story_limits,
                          &story_settings);
    said[0] = '\0';
    now_ms = 1000;
    coordinator_configure(tm, "accounts", "ipc:///a");
    coordinator_configure(tm, "ledger", "ipc:///l");
}

A_TEST_MAY_NEED void given_tm(void)
{
    given_empty_tm();
    start_tm();
    agent_accepts("accounts");
    agent_accepts("ledger");
    did();
}

/* A log that holds these records is read; the start is the caller's. */
A_TEST_MAY_NEED void given_read(const struct record *records, uint32_t count)
{
    const char *why;
    given_empty_tm();
    for (uint32_t i = 0; i < count; i++)
        ck_assert_msg(coordinator_replay(tm, &records[i], &why), "%s", why);
}

static void ask(struct request request)
{
    struct event event = {.type = EV_REQUEST, .request = &request};
    step(&event);
}

static struct gtrid gtrid_number(uint64_t sequence)
{
    return (struct gtrid){
        .incarnation = coordinator_incarnation(tm), .sequence = sequence, .tm = "bank"};
}

A_TEST_MAY_NEED void ask_about(enum op op, uint64_t sequence)
{
    ask((struct request){
        .op = op, .has_gtrid = true, .gtrid = gtrid_number(sequence), .wait_ms = 10000});
}

A_TEST_MAY_NEED void dba_asks(enum op op, struct gtrid gtrid, enum outcome wanted_outcome,
                              bool force)
{
    ask((struct request){.op = op,
                         .has_gtrid = true,
                         .gtrid = gtrid,
                         .wanted = wanted_outcome,
                         .force = force,
                         .who = "root",
                         .why = "ticket 4711"});
}

A_TEST_MAY_NEED void dba_asks_about(enum op op, const char *rm)
{
    struct request request = {.op = op, .who = "root", .why = "ticket 4711"};
    strcpy(request.rm, rm);
    ask(request);
}

/* Begun, with a branch at each of these. */
A_TEST_MAY_NEED void given_begun(enum protocol protocol, const char *first, const char *second)
{
    struct request request = {.op = OP_BEGIN, .protocol = protocol};
    strcpy(request.rms[0], first);
    request.rm_count = 1;
    if (second != NULL)
        strcpy(request.rms[request.rm_count++], second);
    ask(request);
    did();
}

static struct result result_of(enum result_type type, const struct gtrid *gtrid, const char *rm)
{
    struct result result = {.type = type, .agent_incarnation = 1, .xid = 700 + gtrid->sequence};
    result.branch.gtrid = *gtrid;
    strcpy(result.branch.rm, rm);
    return result;
}

static void hear(struct result result)
{
    struct event event = {.type = EV_RESULT, .rm = rm_number(result.branch.rm), .result = &result};
    step(&event);
}

A_TEST_MAY_NEED void agent_says(enum result_type type, uint64_t sequence, const char *rm)
{
    struct gtrid gtrid = gtrid_number(sequence);
    hear(result_of(type, &gtrid, rm));
}

A_TEST_MAY_NEED void acceptor_says(const char *rm, const struct gtrid *gtrid, struct ballot ballot)
{
    struct result result = result_of(RESULT_BALLOT, gtrid, rm);
    result.ballot = ballot;
    result.ballot.gtrid = *gtrid;
    hear(result);
}

#endif
