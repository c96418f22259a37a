/*
 * core/coordinator/turn.c - one turn of the coordinator's loop: drain, step, log, send.
 */
#include "core/coordinator/turn.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

void turn_begin(struct turn *turn, struct coordinator *coordinator)
{
    turn->coordinator = coordinator;
    turn->record_count = 0;
    turn->record_length = 0;
    turn->order_count = 0;
    turn->reply_count = 0;
}

bool turn_full(const struct turn *turn)
{
    return turn->record_length + STEP_RECORDS_MAX * RECORD_APPEND_MAX > sizeof turn->records ||
           turn->order_count + STEP_ORDERS_MAX > TURN_ORDERS ||
           turn->reply_count + STEP_REPLIES_MAX > TURN_REPLIES;
}

/* Most of a reply is room for branches, which few replies have. */
static void turn_keep_reply(struct turn *turn, const struct reply *reply)
{
    memcpy(&turn->replies[turn->reply_count++], reply,
           offsetof(struct reply, branches) + reply->branch_count * sizeof *reply->branches);
}

void turn_step(struct turn *turn, const struct event *event)
{
    struct actions *actions = &turn->actions;
    assert(!turn_full(turn));
    coordinator_step(turn->coordinator, event, actions);

    for (uint32_t i = 0; i < actions->record_count; i++)
        turn->record_length +=
            record_append(&actions->records[i], turn->records + turn->record_length);
    turn->record_count += actions->record_count;

    memcpy(turn->orders + turn->order_count, actions->orders,
           actions->order_count * sizeof *actions->orders);
    turn->order_count += actions->order_count;

    for (uint32_t i = 0; i < actions->reply_count; i++)
        turn_keep_reply(turn, &actions->replies[i]);
}

bool turn_due(struct turn *turn, uint64_t now_ms)
{
    struct event event;
    while (!turn_full(turn)) {
        if (!coordinator_due(turn->coordinator, now_ms, &event))
            return false;
        turn_step(turn, &event);
    }
    return true;
}
