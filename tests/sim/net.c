/*
 * tests/sim/net.c - a network that loses, repeats, delays and reorders, and is cut in two.
 *
 * A request goes to an address, whoever listens there; a reply goes to the very process that
 * asked. What is under way when a process dies may arrive at its successor.
 */
#include <stdlib.h>

#include "tests/sim/sim.h"

void release_message(struct message *message)
{
    if (--message->copies > 0)
        return;
    free(message->text);
    free(message);
}

static uint64_t travel_us(struct sim *sim)
{
    uint64_t us = between(sim, 50, 2 * MS);
    if (chance(sim, sim->plan.delay))
        us += between(sim, 0, sim->plan.delay_most_us);
    return us;
}

void send_text(struct sim *sim, const struct message *envelope, char *text, size_t length)
{
    struct message *message = malloc(sizeof *message);
    if (message == NULL)
        abort();
    *message = *envelope;
    message->text = text;
    message->length = length;
    message->copies = 1;
    if (text != NULL)
        mix_bytes(sim, text, length);

    bool lost = sim->now_us < sim->until_us[message->from][message->to] ||
                chance(sim, sim->plan.loss) ||
                (message->type == MESSAGE_ANSWER && chance(sim, sim->plan.answer_loss));
    if (lost) {
        release_message(message);
        return;
    }
    struct happening arrival = {.type = HAPPENS_DELIVERY, .message = message};
    schedule(sim, travel_us(sim), arrival);
    if (chance(sim, sim->plan.repeat)) {
        message->copies++;
        schedule(sim, travel_us(sim), arrival);
    }
}

void deliver(struct sim *sim, struct message *message)
{
    uint32_t to = message->to;
    mix(sim, to);
    if (message->type == MESSAGE_TO_DBA)
        recovery_receive(sim, message);
    else if (to < HOSTS)
        tm_receive(sim, to, message);
    else if (to < HOSTS + RMS)
        agent_receive(sim, to - HOSTS, message);
    else
        application_receive(sim, to - HOSTS - RMS, message);
}
