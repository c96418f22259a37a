/*
 * tests/sim/tm.c - a coordinator's process: the daemon's turn between a simulated network and
 * a simulated disk.
 *
 * One turn as in tm/server.c: drain the inbox, step what is due, hand the records to the log,
 * send. It may die between any two of these, and amid the sending.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "core/base/mutant.h"
#include "tests/sim/coverage.h"
#include "tests/sim/sim.h"

static const struct coordinator_limits limits = {
    .transactions_max = 48,
    .branches_max = 192,
    .waiters_max = 64,
    .ended_max = 64,
    .outcome_chunks_max = 16,
    .keys_max = 64,
};

static struct host *host_of(struct sim *sim, uint32_t host)
{
    return &sim->hosts[host];
}

static uint64_t host_ms(const struct sim *sim, const struct host *host)
{
    return sim->now_us / MS + host->clock_ms;
}

static const char *who(const struct host *host)
{
    return host->index == 0 ? "tm" : "tm2";
}

/* ---- turns ---- */

static void schedule_turn(struct sim *sim, struct host *host, uint64_t after_us)
{
    if (host->turn_us != UINT64_MAX && host->turn_us <= sim->now_us + after_us)
        return;
    host->turn_us = sim->now_us + after_us;
    struct happening turn = {.type = HAPPENS_TURN, .who = host->index, .life = host->life};
    schedule(sim, after_us, turn);
}

static void put_in_inbox(struct sim *sim, struct host *host, struct message *message,
                         uint32_t lost_rm)
{
    if (host->inbox_count == INBOX) {
        if (message != NULL)
            release_message(message);
        return;
    }
    host->inbox[host->inbox_count++] = (struct arrival){message, lost_rm};
    schedule_turn(sim, host, between(sim, 10, 300));
}

/* ---- links to the agents ---- */

static struct message envelope(const struct host *host, enum message_type type, uint32_t to)
{
    return (struct message){
        .type = type, .from = host_node(host->index), .from_life = host->life, .to = to};
}

static void link_in(struct sim *sim, struct host *host, uint32_t rm, uint64_t after_us)
{
    struct happening look = {.type = HAPPENS_LINK,
                             .who = host->index,
                             .which = rm,
                             .life = ++host->links[rm].generation};
    schedule(sim, after_us, look);
}

static void send_offer(struct sim *sim, struct host *host, uint32_t rm)
{
    struct offer offer;
    size_t length;
    memset(&offer, 0, sizeof offer);
    coordinator_offer(host->coordinator, host->index_of[rm], &offer);
    offer.log = host->disk.log;
    char *text = wire_write_offer(&offer, &length);
    struct message message = envelope(host, MESSAGE_OFFER, agent_node(rm));
    message.serial = host->links[rm].serial = ++sim->next_serial;
    host->links[rm].state = LINK_OFFERED;
    send_text(sim, &message, text, length);
}

static struct sender sender_for(const struct host *host, uint32_t rm)
{
    struct sender sender;
    memset(&sender, 0, sizeof sender);
    memcpy(sender.tm, tm_name, sizeof sender.tm);
    sender.incarnation = coordinator_incarnation(host->coordinator);
    sender.instance = host->instance;
    sender.agent_incarnation = host->links[rm].agent_incarnation;
    return sender;
}

static void send_poll(struct sim *sim, struct host *host, uint32_t rm)
{
    struct sender sender = sender_for(host, rm);
    size_t length;
    char *text = wire_write_poll(&sender, 1000, &length);
    struct message message = envelope(host, MESSAGE_POLL, agent_node(rm));
    send_text(sim, &message, text, length);
}

void tm_link(struct sim *sim, uint32_t index, uint32_t rm)
{
    struct host *host = host_of(sim, index);
    struct link *link = &host->links[rm];
    if (coordinator_registry(host->coordinator)->fenced)
        return;
    enum rm_state state = coordinator_registry(host->coordinator)->rms[host->index_of[rm]].state;
    if (link->state == LINK_UP && state == RM_DOWN)
        link->state = LINK_DOWN; /* released: it registers anew */
    if (!coordinator_started(host->coordinator)) {
        link_in(sim, host, rm, 20 * MS);
    } else if (link->state == LINK_UP && sim->now_us - link->heard_us > 4 * SECOND) {
        link->state = LINK_DOWN;
        put_in_inbox(sim, host, NULL, rm);
        link_in(sim, host, rm, 1 * MS);
    } else if (link->state == LINK_UP) {
        send_poll(sim, host, rm);
        link_in(sim, host, rm, 1500 * MS);
    } else {
        send_offer(sim, host, rm);
        link_in(sim, host, rm, 300 * MS);
    }
}

/* ---- what comes in ---- */

static uint64_t remember_client(struct host *host, const struct message *message)
{
    uint64_t token = ++host->token_next;
    host->clients[token % CLIENTS] =
        (struct client){token, message->from, message->from_life, message->serial};
    return token;
}

/* A planted mistake is found by what follows from it, not by this. */
static void check_coordinator(const struct sim *sim, uint64_t now_ms)
{
    if (mutant_planted == MUTANT_NONE)
        coordinator_check(sim->turn.coordinator, now_ms);
}

static void step_coordinator(struct sim *sim, const struct event *event)
{
    turn_step(&sim->turn, event);
    check_coordinator(sim, event->now_ms);
}

/* What an agent that leads, or a client, may ask at any time, and seldom does at such a moment. */
static void make_late_questions(struct sim *sim, struct host *host, const struct gtrid *gtrid)
{
    static struct txn_view view;
    struct result question;
    struct request wish;
    struct event event;
    uint32_t rm = (uint32_t)between(sim, 0, sim->plan.rms - 1);
    uint64_t now_ms = host_ms(sim, host);
    if (turn_full(&sim->turn) || !coordinator_show(host->coordinator, gtrid, now_ms, &view) ||
        (view.state != SHOWN_MIXED && view.state != SHOWN_PRECOMMITTING) || !chance(sim, 300))
        return;
    memset(&event, 0, sizeof event);
    memset(&question, 0, sizeof question);
    memset(&wish, 0, sizeof wish);
    event.now_ms = now_ms;
    wish.op = OP_ROLLBACK;
    wish.has_gtrid = true;
    wish.gtrid = *gtrid;
    question.type = RESULT_BALLOT;
    strcpy(question.branch.rm, rm_word(rm));
    question.agent_incarnation = host->links[rm].agent_incarnation;
    question.ballot.type = BALLOT_ASK_PROMISE;
    question.ballot.gtrid = *gtrid;
    question.ballot.number = BALLOT_ROUND + rm;
    bool of_agent = view.state == SHOWN_MIXED;
    event.type = of_agent ? EV_RESULT : EV_REQUEST;
    event.rm = host->index_of[rm];
    event.result = of_agent ? &question : NULL;
    event.request = of_agent ? NULL : &wish;
    step_coordinator(sim, &event);
}

/* A result that comes late, twice or by mistake must do nothing where the table says so. */
static void make_noise(struct sim *sim, struct host *host, const struct gtrid *gtrid)
{
    static const struct {
        enum result_type type;
        enum txn_event means;
    } kinds[] = {
        {RESULT_READY, TE_YES},     {RESULT_READ_ONLY, TE_READ_ONLY}, {RESULT_NO, TE_NO},
        {RESULT_DONE, TE_DONE},     {RESULT_HEURISTIC, TE_HEURISTIC}, {RESULT_UNKNOWN, TE_UNSURE},
        {RESULT_OPENED, TE_OPENED}, {RESULT_FOUND, TE_FOUND},         {RESULT_SESSION, TE_SESSION},
        {RESULT_BALLOT, TE_POLLED}, {RESULT_BALLOT, TE_ASKED},        {RESULT_BALLOT, TE_DECIDED},
    };
    struct result noise;
    struct event event;
    if (sim->plan.three_phase > 0)
        make_late_questions(sim, host, gtrid);
    if (!chance(sim, sim->plan.noise) || turn_full(&sim->turn))
        return;
    uint32_t rm = (uint32_t)between(sim, 0, sim->plan.rms - 1);
    memset(&noise, 0, sizeof noise);
    noise.branch.gtrid = *gtrid;
    strcpy(noise.branch.rm, rm_word(rm));
    noise.agent_incarnation = host->links[rm].agent_incarnation;
    memset(&event, 0, sizeof event);
    event.type = EV_RESULT;
    event.now_ms = host_ms(sim, host);
    event.rm = host->index_of[rm];
    event.result = &noise;
    uint32_t before = sim->turn.order_count + sim->turn.reply_count + sim->turn.record_count;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        noise.type = kinds[i].type;
        noise.ballot.gtrid = *gtrid;
        noise.ballot.value = OUTCOME_ROLLED_BACK;
        noise.ballot.type = kinds[i].means == TE_POLLED  ? BALLOT_PROMISED
                            : kinds[i].means == TE_ASKED ? BALLOT_ASK_PROMISE
                                                         : BALLOT_DECIDED;
        if (!coordinator_idle(host->coordinator, gtrid, kinds[i].means))
            continue;
        step_coordinator(sim, &event);
        if (sim->turn.order_count + sim->turn.reply_count + sim->turn.record_count != before)
            violation(sim, "the coordinator acts on noise: %s", txn_event_word(kinds[i].means));
    }
}

static void take_request(struct sim *sim, struct host *host, const struct message *message,
                         const cJSON *object, struct event *event)
{
    struct failure failure;
    struct request request;
    if (wire_read_request(object, &request, &failure) != 0) {
        violation(sim, "a request cannot be read: %s", failure.message);
        return;
    }
    request.client = remember_client(host, message);
    request.caller = message->from;
    event->type = EV_REQUEST;
    event->request = &request;
    step_coordinator(sim, event);
    make_noise(sim, host, &request.gtrid);
}

enum { PASSER_BY = 0 }; /* a client's token that is nobody's: they count from 1 */

/* Somebody asks about what no start has ended yet, before the agents have told theirs. */
static void ask_in_passing(struct sim *sim, struct host *host)
{
    struct request request;
    struct event event;
    memset(&request, 0, sizeof request);
    memset(&event, 0, sizeof event);
    request.op = OP_OUTCOME;
    request.client = PASSER_BY;
    event.type = EV_REQUEST;
    event.now_ms = host_ms(sim, host);
    event.request = &request;
    request.has_gtrid = checker_unfinished(sim, &request.gtrid);
    if (request.has_gtrid && !turn_full(&sim->turn))
        step_coordinator(sim, &event);
}

static void take_answer(struct sim *sim, struct host *host, const struct message *message,
                        const cJSON *object, struct event *event)
{
    uint32_t rm = message->from - HOSTS;
    struct failure failure;
    struct answer answer;
    struct link *link = &host->links[rm];
    if (link->state != LINK_OFFERED || message->serial != link->serial)
        return; /* the answer to an offer that was given up */
    if (wire_read_answer(object, &answer, &failure) != 0) {
        violation(sim, "an answer cannot be read: %s", failure.message);
        return;
    }
    bool accepted = answer.refusal == REFUSAL_NONE;
    link->state = accepted ? LINK_UP : LINK_DOWN;
    link->agent_incarnation = answer.agent_incarnation;
    link->heard_us = sim->now_us;
    link_in(sim, host, rm, accepted ? 1 * SECOND : 2 * SECOND);
    event->type = EV_ANSWER;
    event->rm = host->index_of[rm];
    event->answer = &answer;
    step_coordinator(sim, event);
    const struct registry *registry = coordinator_registry(host->coordinator);
    if (registry->rms[event->rm].state == RM_UP)
        checker_accepted(sim, rm, answer.beat);
    if (registry->fenced && !sim->checker.forked && !sim->recovery.nobodys)
        violation(sim, "the coordinator is fenced, and its log is the only one there is");
    ask_in_passing(sim, host);
    host->presumed |= registry_may_presume(registry, NULL);
    if (!accepted)
        note(sim, who(host), "is refused by %s: %s", rm_word(rm), refusal_word(answer.refusal));
}

static void take_results(struct sim *sim, struct host *host, uint32_t rm, const cJSON *object,
                         struct event *event)
{
    static struct result results[RESULTS_MAX];
    struct failure failure;
    struct agent_health health;
    uint32_t count;
    if (wire_read_results(object, results, &count, &health, &failure) != 0) {
        violation(sim, "results cannot be read: %s", failure.message);
        return;
    }
    host->links[rm].heard_us = sim->now_us;
    event->type = EV_RESULT;
    event->rm = host->index_of[rm];
    for (uint32_t i = 0; i < count && !turn_full(&sim->turn); i++) {
        event->result = &results[i];
        checker_voted(sim, &results[i]);
        checker_ended(sim, &results[i]);
        if (results[i].type == RESULT_READY && chance(sim, sim->plan.lost_at_vote)) {
            struct happening loss = {.type = HAPPENS_REWIND, .who = rm};
            loss.which = (uint32_t)between(sim, 2, 6);
            schedule(sim, between(sim, 0, 100 * MS), loss);
        }
        step_coordinator(sim, event);
        make_noise(sim, host, &results[i].branch.gtrid);
    }
}

static void lose(struct sim *sim, struct host *host, uint32_t rm, struct event *event)
{
    event->type = EV_LOST;
    event->rm = host->index_of[rm];
    step_coordinator(sim, event);
    link_in(sim, host, rm, 5 * MS);
}

static void take_arrival(struct sim *sim, struct host *host, const struct arrival *arrival)
{
    struct event event;
    struct failure failure;
    const struct message *message = arrival->message;
    memset(&event, 0, sizeof event);
    event.now_ms = host_ms(sim, host);
    if (message == NULL) {
        lose(sim, host, arrival->lost_rm, &event);
        return;
    }
    uint32_t rm = message->from - HOSTS; /* unless an application speaks */
    if (message->type == MESSAGE_UNKNOWN_TM) {
        if (host->links[rm].state == LINK_UP) {
            host->links[rm].state = LINK_DOWN;
            lose(sim, host, rm, &event);
        }
        return;
    }
    cJSON *object = wire_parse(message->text, message->length, &failure);
    if (object == NULL)
        violation(sim, "a message cannot be read: %s", failure.message);
    else if (message->type == MESSAGE_REQUEST)
        take_request(sim, host, message, object, &event);
    else if (message->type == MESSAGE_ANSWER)
        take_answer(sim, host, message, object, &event);
    else
        take_results(sim, host, rm, object, &event);
    cJSON_Delete(object);
}

void tm_receive(struct sim *sim, uint32_t index, struct message *message)
{
    struct host *host = host_of(sim, index);
    if (!host->up || (message->to_life != 0 && message->to_life != host->life))
        release_message(message);
    else
        put_in_inbox(sim, host, message, 0);
}

/* ---- what goes out ---- */

static void note_records(struct sim *sim, struct host *host, bool durable, const uint8_t *bytes,
                         size_t length, bool framed)
{
    size_t at = 0;
    while (at < length) {
        struct frame frame;
        struct record record;
        const uint8_t *here = bytes + at + (framed ? STAMP_BYTES : 0);
        size_t stamp = framed ? STAMP_BYTES : 0;
        if (!handed_read(here, length - at - stamp, &frame) ||
            record_decode(frame.type, frame.version, frame.payload, frame.length, &record) !=
                RECORD_OK) {
            violation(sim, "a record cannot be read back");
            return;
        }
        note(sim, who(host), "%s %s %s%llu.%llu", durable ? "durable:" : "logs",
             record_name(frame.type), record.rm, (unsigned long long)record.incarnation,
             (unsigned long long)record.sequence);
        checker_record(sim, host->index, &record, durable);
        if (frame.type == RECORD_COMMIT && !durable && chance(sim, sim->plan.copy_at_commit)) {
            struct happening copy = {.type = HAPPENS_COPY};
            schedule(sim, between(sim, 0, 500), copy);
        }
        if (frame.type == RECORD_PRECOMMIT && chance(sim, sim->plan.at_precommit)) {
            struct happening strike = {.type = HAPPENS_AT_PRECOMMIT};
            schedule(sim, between(sim, 0, 5 * MS), strike);
        }
        /* Once to take the backup, without the decision, and once to put it back. */
        if (frame.type == RECORD_COMMIT && durable == sim->shelf_used &&
            chance(sim, sim->plan.old_at_commit)) {
            struct happening old = {.type = HAPPENS_OLD_LOG};
            schedule(sim, durable ? between(sim, 0, 4 * MS) : 0, old);
        }
        at += stamp + frame.bytes;
    }
}

static void write_log(struct sim *sim, struct host *host)
{
    if (!disk_write(&host->writer))
        return;
    uint64_t us = between(sim, 80, 2 * MS);
    if (chance(sim, sim->plan.sync_stall))
        us += between(sim, 0, 3 * SECOND);
    struct happening synced = {.type = HAPPENS_SYNCED, .who = host->index, .life = host->life};
    schedule(sim, us, synced);
}

void tm_synced(struct sim *sim, uint32_t index)
{
    struct host *host = host_of(sim, index);
    disk_synced(&host->disk, &host->writer);
    mix(sim, host->writer.durable_lsn);
    note_records(sim, host, true, host->writer.batch, host->writer.batch_length, true);
    coordinator_durable(host->coordinator, host->writer.records, host->writer.durable_lsn);
    write_log(sim, host);
    schedule_turn(sim, host, between(sim, 10, 100));
}

static void send_orders(struct sim *sim, struct host *host, uint32_t rm)
{
    static struct order orders[ORDERS_MAX];
    const struct turn *turn = &sim->turn;
    uint32_t count = 0;
    for (uint32_t i = 0; i < turn->order_count && count < ORDERS_MAX; i++)
        if (turn->orders[i].rm == host->index_of[rm])
            orders[count++] = turn->orders[i].order;
    if (count == 0 || host->links[rm].state != LINK_UP)
        return;
    struct sender sender = sender_for(host, rm);
    size_t length;
    char *text = wire_write_orders(&sender, orders, count, &length);
    struct message message = envelope(host, MESSAGE_ORDERS, agent_node(rm));
    note(sim, who(host), "to %s: %s", rm_word(rm), text);
    send_text(sim, &message, text, length);
}

static void send_reply(struct sim *sim, struct host *host, const struct reply *reply)
{
    const struct client *client = &host->clients[reply->client % CLIENTS];
    struct branch_access access[BRANCHES_MAX];
    static char tickets[BRANCHES_MAX][64];
    if (reply->client == PASSER_BY)
        checker_told(sim, reply, &host->instance);
    if (reply->client == PASSER_BY || client->token != reply->client)
        return;
    for (uint32_t i = 0; i < reply->branch_count; i++) {
        snprintf(tickets[i], sizeof tickets[i], "%llu.%u",
                 (unsigned long long)reply->branches[i].agent_incarnation,
                 reply->branches[i].left_ms);
        access[i] = (struct branch_access){.agent = "", .ticket = tickets[i]};
    }
    size_t length;
    char *text = wire_write_reply(reply, access, &length);
    struct message message = envelope(host, MESSAGE_REPLY, client->node);
    message.to_life = client->life;
    message.serial = client->serial;
    note(sim, who(host), "replies %s", text);
    checker_told(sim, reply, &host->instance);
    send_text(sim, &message, text, length);
}

static bool put(struct pile *pile, const struct record *record)
{
    if (pile->length + RECORD_APPEND_MAX > sizeof pile->bytes)
        return false;
    pile->length += record_append(record, pile->bytes + pile->length);
    return true;
}

/* What tm/checkpoint.c does: the state as records, and what is new of outcomes and keys apart. */
static void take_snapshot(struct sim *sim, struct host *host)
{
    static struct pile state, archive;
    static struct record record;
    uint64_t position = 0;
    if (!chance(sim, sim->plan.checkpoint))
        return;
    coordinator_archived(host->coordinator, host->writer.archived);
    uint64_t number = coordinator_snapshot_begin(host->coordinator);
    state.length = archive.length = 0;
    while (coordinator_snapshot(host->coordinator, &position, &record)) {
        bool archived = record.type == RECORD_CHUNK || record.type == RECORD_HASHED_KEY;
        if (!put(archived ? &archive : &state, &record))
            return;
    }
    note(sim, who(host), "takes a snapshot of %zu bytes, and %zu for the archive", state.length,
         archive.length);
    disk_checkpoint(&host->disk, &host->writer, number, &state, &archive);
}

/* The process may die here. */
static bool dies(struct sim *sim, struct host *host)
{
    if (!chance(sim, sim->plan.crash_in_turn))
        return false;
    tm_crash(sim, host->index, choice(sim, 5000));
    return true;
}

static void finish_turn(struct sim *sim, struct host *host)
{
    struct turn *turn = &sim->turn;
    if (dies(sim, host))
        return;
    if (turn->record_count > 0) {
        note_records(sim, host, false, turn->records, turn->record_length, false);
        disk_hand_over(&host->writer, turn->records, turn->record_length, turn->record_count);
        take_snapshot(sim, host);
        write_log(sim, host);
    }
    if (dies(sim, host))
        return;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        send_orders(sim, host, rm);
    if (dies(sim, host))
        return;
    for (uint32_t i = 0; i < turn->reply_count; i++)
        send_reply(sim, host, &turn->replies[i]);
}

void tm_turn(struct sim *sim, uint32_t index)
{
    struct host *host = host_of(sim, index);
    if (host->turn_us > sim->now_us)
        return; /* an earlier turn took this one's place */
    host->turn_us = UINT64_MAX;
    turn_begin(&sim->turn, host->coordinator);
    checker_turn(sim, host);
    uint32_t taken = 0;
    for (; taken < host->inbox_count && !turn_full(&sim->turn); taken++) {
        struct message *message = host->inbox[taken].message;
        take_arrival(sim, host, &host->inbox[taken]);
        if (message != NULL)
            release_message(message);
    }
    host->inbox_count -= taken;
    memmove(host->inbox, host->inbox + taken, host->inbox_count * sizeof *host->inbox);
    bool more = turn_due(&sim->turn, host_ms(sim, host)) || host->inbox_count > 0;
    check_coordinator(sim, host_ms(sim, host));
    finish_turn(sim, host);
    if (!host->up)
        return;
    uint64_t wake_ms = coordinator_wake_ms(host->coordinator);
    uint64_t now_ms = host_ms(sim, host);
    if (more)
        schedule_turn(sim, host, 10);
    else if (wake_ms != UINT64_MAX)
        schedule_turn(sim, host, wake_ms > now_ms ? (wake_ms - now_ms) * MS : 10);
}

/* ---- its life ---- */

uint64_t tm_ran_us(const struct sim *sim)
{
    const struct host *host = &sim->hosts[0];
    return host->ran_us + (host->up ? sim->now_us - host->up_since_us : 0);
}

struct replay {
    struct sim *sim;
    struct host *host;
};

static bool replay_frame(void *arg, const struct frame *frame)
{
    struct replay *replay = arg;
    struct record record;
    const char *why = "it cannot be decoded";
    bool read = record_decode(frame->type, frame->version, frame->payload, frame->length,
                              &record) == RECORD_OK;
    record.lsn = frame->lsn;
    record.archived = replay->host->writer.reads_archive;
    if (!read || !coordinator_replay(replay->host->coordinator, &record, &why)) {
        violation(replay->sim, "the log is refused at lsn %llu, %s: %s",
                  (unsigned long long)frame->lsn, record_name(frame->type), why);
        return false;
    }
    checker_record(replay->sim, replay->host->index, &record, true);
    return true;
}

struct dry_replay {
    struct sim *sim;
    struct coordinator *coordinator;
    uint32_t records;
};

static bool replay_dry(void *arg, const struct frame *frame)
{
    static struct record record;
    struct dry_replay *replay = arg;
    const char *why;
    replay->records++;
    record_decode(frame->type, frame->version, frame->payload, frame->length, &record);
    record.lsn = frame->lsn;
    if (record.type == RECORD_RESOLVED) {
        struct gtrid gtrid = {.incarnation = record.incarnation, .sequence = record.sequence};
        memcpy(gtrid.tm, tm_name, sizeof gtrid.tm);
        checker_fate(replay->sim, &gtrid)->audited = record.outcome;
    }
    return coordinator_replay(replay->coordinator, &record, &why);
}

static uint32_t start_dry(struct sim *sim, struct dry_log *out)
{
    static struct writer unused;
    static void *room;
    struct host *host = host_of(sim, 0);
    struct coordinator_settings settings = {
        .transaction_timeout_ms = 1, .retention_ms = UINT64_MAX, .key_retention_ms = UINT64_MAX};
    memcpy(settings.tm, tm_name, sizeof settings.tm);
    if (room == NULL)
        room = malloc(coordinator_bytes(&limits));
    memset(room, 0, coordinator_bytes(&limits));
    struct dry_replay replay = {.sim = sim,
                                .coordinator = coordinator_init(room, &limits, &settings)};
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < sim->checker.count; i++)
        sim->checker.fates[i].audited = OUTCOME_NONE;
    disk_open(sim, &host->disk, &unused, replay_dry, &replay);
    uint32_t rm_index = 0;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        rm_index = coordinator_configure(replay.coordinator, rm_word(rm), rm_word(rm));
    struct event event = {.type = EV_START,
                          .log_incarnation = unused.chain.incarnation,
                          .recovered_lsn = unused.chain.lsn};
    turn_begin(&sim->turn, replay.coordinator);
    turn_step(&sim->turn, &event);
    coordinator_durable(replay.coordinator, 1, unused.chain.lsn + 1);
    struct offer offer = {0};
    coordinator_offer(replay.coordinator, rm_index, &offer);
    for (uint32_t i = 0; i < offer.ancestor_count; i++)
        if (offer.ancestors[i].incarnation > out->newest.incarnation)
            out->newest = offer.ancestors[i];
    out->coordinator = replay.coordinator;
    return replay.records;
}

void tm_dry_start(struct sim *sim, struct dry_log *out)
{
    start_dry(sim, out);
}

bool tm_log_is_opened(struct sim *sim)
{
    struct dry_log unused;
    return start_dry(sim, &unused) >= LOST_OPENING;
}

void tm_start(struct sim *sim, uint32_t index)
{
    struct host *host = host_of(sim, index);
    if (host->up || host->gone || host->held)
        return;
    struct coordinator_settings settings = {
        .transaction_timeout_ms = 8000,
        .resend_least_ms = 200,
        .resend_most_ms = 3000,
        .scan_ms = sim->plan.scan_ms,
        .retention_ms = sim->plan.retention_ms,
        .key_retention_ms = sim->plan.retention_ms,
        .seed = 1,
    };
    struct replay replay = {sim, host};
    memcpy(settings.tm, tm_name, sizeof settings.tm);
    if (host->room == NULL)
        host->room = malloc(coordinator_bytes(&limits));
    memset(host->room, 0, coordinator_bytes(&limits));
    host->coordinator = coordinator_init(host->room, &limits, &settings);
    host->up = true;
    host->up_since_us = sim->now_us;
    host->life = ++sim->next_life;
    /* Half of the hosts have been up for longer than anything is remembered. */
    host->clock_ms = between(sim, 1, 1000000) << (sim->seed % 2 == 0 ? 0 : 25);
    host->turn_us = UINT64_MAX;
    host->inbox_count = 0;
    draw_uuid(sim, &host->instance);
    memset(host->links, 0, sizeof host->links);
    if (!disk_open(sim, &host->disk, &host->writer, replay_frame, &replay))
        return;
    host->recovered_lsn = host->writer.chain.lsn;
    for (uint32_t rm = 0; rm < sim->plan.rms; rm++)
        host->index_of[rm] = coordinator_configure(host->coordinator, rm_word(rm), rm_word(rm));

    struct event event;
    memset(&event, 0, sizeof event);
    event.type = EV_START;
    event.now_ms = host_ms(sim, host);
    event.instance = host->instance;
    event.recovered_lsn = host->recovered_lsn;
    event.log_incarnation = host->writer.chain.incarnation;
    event.unfence = host->unfence;
    host->unfence = false;
    turn_begin(&sim->turn, host->coordinator);
    checker_turn(sim, host);
    step_coordinator(sim, &event);
    uint64_t incarnation = coordinator_incarnation(host->coordinator);
    note(sim, who(host), "starts, incarnation %llu, log up to lsn %llu",
         (unsigned long long)incarnation, (unsigned long long)host->recovered_lsn);
    disk_begin(&host->writer, incarnation);
    finish_turn(sim, host);
    for (uint32_t rm = 0; host->up && rm < sim->plan.rms; rm++)
        link_in(sim, host, rm, between(sim, 1 * MS, 30 * MS));
}

void tm_crash(struct sim *sim, uint32_t index, bool power_lost)
{
    struct host *host = host_of(sim, index);
    if (!host->up)
        return;
    note(sim, who(host), power_lost ? "loses power" : "dies");
    sim->crashes++;
    disk_crash(sim, &host->disk, &host->writer, power_lost);
    for (uint32_t i = 0; i < host->inbox_count; i++)
        if (host->inbox[i].message != NULL)
            release_message(host->inbox[i].message);
    host->inbox_count = 0;
    host->up = false;
    host->ran_us += sim->now_us - host->up_since_us;
    host->gone |= sim->tm_gone;
    host->life = 0;
    for (uint32_t rm = 0; rm < RMS; rm++)
        host->links[rm].generation = ++sim->next_serial; /* deafens its timers */
    struct happening again = {.type = HAPPENS_TM_START, .who = index};
    schedule(sim, between(sim, 5 * MS, sim->quiet ? 50 * MS : sim->plan.down_most_us), again);
}

void tm_is_gone(struct sim *sim)
{
    note(sim, "tm", "is gone for ever");
    sim->tm_gone = true;
    for (uint32_t i = 0; i < HOSTS; i++) {
        tm_crash(sim, i, true);
        sim->hosts[i].gone = true;
    }
}
