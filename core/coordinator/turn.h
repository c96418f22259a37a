/*
 * core/coordinator/turn.h - one turn of the coordinator's loop: drain, step, log, send.
 *
 * The daemon and the simulator turn the coordinator with this same code. A turn takes events
 * until the inbox is empty or there is no room; then its user, in this order,
 *   1 hands records (all of the turn, in one piece) to the log,
 *   2 sends the orders, all that one agent gets in one message, and the replies.
 * Nothing that depends on a record is among the sends of the turn that wrote it: it comes out
 * of a later turn, behind turn_durable().
 */
#ifndef ASSENT_CORE_COORDINATOR_TURN_H
#define ASSENT_CORE_COORDINATOR_TURN_H

#include "core/coordinator/coordinator.h"

enum {
    TURN_RECORD_BYTES = 256 * 1024,
    TURN_ORDERS = 2048,
    TURN_REPLIES = 128,
};

struct turn {
    struct coordinator *coordinator;
    struct actions actions; /* of one step */
    uint32_t record_count;
    size_t record_length;
    uint8_t records[TURN_RECORD_BYTES]; /* in the handed-over form */
    uint32_t order_count;
    struct addressed_order orders[TURN_ORDERS];
    uint32_t reply_count;
    struct reply replies[TURN_REPLIES];
};

/* Empty the turn's lists: what the last turn produced has been taken. */
void turn_begin(struct turn *turn, struct coordinator *coordinator);
/* Is there no room for what one more step may produce? */
bool turn_full(const struct turn *turn);
/* Step one event and keep what it asks for. The turn must not be full. */
void turn_step(struct turn *turn, const struct event *event);
/* Step what is due by itself (durable records, timers, scans) until nothing is or the turn is
 * full; true if it is full. */
bool turn_due(struct turn *turn, uint64_t now_ms);

#endif
