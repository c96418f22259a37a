/*
 * rm-agent/talk/mail.c - what coordinators have still to be told.
 */
#include "rm-agent/talk/mail.h"

#include <stdlib.h>
#include <string.h>

#include "common/must.h"
#include "common/point.h"
#include "common/wire.h"

enum { RESULTS_KEPT_MAX = 65536 };

void mail_post(struct agent *agent, const char *name, const struct result *result)
{
    struct tm_link *tm = book_find(agent, name);
    if (tm == NULL || tm->result_count == RESULTS_KEPT_MAX)
        return;
    if (tm->result_count == tm->result_room) {
        tm->result_room = tm->result_room == 0 ? 64 : 2 * tm->result_room;
        tm->results = must_grow(tm->results, tm->result_room * sizeof *tm->results,
                                "the results for a coordinator");
    }
    struct result *kept = &tm->results[tm->result_count++];
    *kept = *result;
    kept->agent_incarnation = agent->incarnation;
}

/* With all there is, which may be nothing. */
static void mail_answer(struct agent *agent, struct tm_link *tm, struct net_request *request)
{
    uint32_t count = tm->result_count < RESULTS_MAX ? tm->result_count : RESULTS_MAX;
    size_t length;
    char *text =
        wire_write_results(tm->results, count, agent->incarnation, &agent->health, &length);
    POINT_IF(count > 0, "agent.before-results-sent");
    net_reply(request, text, length);
    POINT_IF(count > 0, "agent.results-sent");
    free(text);
    tm->result_count -= count;
    if (tm->result_count > 0)
        memmove(tm->results, tm->results + count, tm->result_count * sizeof *tm->results);
}

void mail_keep_poll(struct agent *agent, struct tm_link *tm, struct net_request *request,
                    uint32_t wait_ms)
{
    /* A second poll comes when the answer to the first was lost. */
    if (tm->poll.request != NULL)
        mail_answer(agent, tm, tm->poll.request);
    tm->poll = (struct kept_request){request, loop_now_ms() + wait_ms};
}

static void mail_answer_oldest_orders(struct agent *agent, struct tm_link *tm)
{
    mail_answer(agent, tm, tm->orders[0].request);
    tm->orders_kept--;
    memmove(tm->orders, tm->orders + 1, tm->orders_kept * sizeof *tm->orders);
}

void mail_keep_orders(struct agent *agent, struct tm_link *tm, struct net_request *request,
                      uint32_t wait_ms)
{
    if (tm->orders_kept == ORDERS_KEPT_MAX)
        mail_answer_oldest_orders(agent, tm);
    tm->orders[tm->orders_kept++] = (struct kept_request){request, loop_now_ms() + wait_ms};
}

static void mail_deliver_to(struct agent *agent, struct tm_link *tm, uint64_t now_ms)
{
    while (tm->orders_kept > 0 && (tm->result_count > 0 || now_ms >= tm->orders[0].until_ms))
        mail_answer_oldest_orders(agent, tm);
    if (tm->poll.request != NULL && (tm->result_count > 0 || now_ms >= tm->poll.until_ms)) {
        mail_answer(agent, tm, tm->poll.request);
        tm->poll.request = NULL;
    }
}

void mail_deliver(struct agent *agent, uint64_t now_ms)
{
    for (struct tm_link *tm = agent->book->by_name; tm != NULL; tm = tm->hh.next)
        mail_deliver_to(agent, tm, now_ms);
}

uint64_t mail_wake_ms(const struct agent *agent)
{
    uint64_t wake_ms = UINT64_MAX;
    for (const struct tm_link *tm = agent->book->by_name; tm != NULL; tm = tm->hh.next) {
        if (tm->poll.request != NULL && tm->poll.until_ms < wake_ms)
            wake_ms = tm->poll.until_ms;
        if (tm->orders_kept > 0 && tm->orders[0].until_ms < wake_ms)
            wake_ms = tm->orders[0].until_ms;
    }
    return wake_ms;
}
