/*
 * tests/sim/agent.c - an agent: the daemon's participant, registry and verdicts between a
 * simulated network and a simulated PostgreSQL.
 *
 * What the daemon's loop owes the participant is kept here as there: the beat and the position
 * are set before the command that they belong to is sent; a lost answer is reported only when
 * the backend is gone; a start first ends what its predecessor left running.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "core/base/mutant.h"
#include "core/base/timers.h"
#include "tests/sim/coverage.h"
#include "tests/sim/sim.h"

enum { PARTICIPANT_BRANCHES = 64 };

static struct agent *agent_of(struct sim *sim, uint32_t rm)
{
    return &sim->agents[rm];
}

static struct database *database_of(struct sim *sim, uint32_t rm)
{
    return &sim->databases[rm];
}

uint64_t agent_ms(const struct sim *sim, const struct agent *agent)
{
    return sim->now_us / MS + agent->clock_ms;
}

/* ---- what it says ---- */

static struct message envelope(const struct agent *agent, enum message_type type, uint32_t to,
                               uint64_t to_life, uint64_t serial)
{
    return (struct message){
        .type = type,
        .from = agent_node(agent->rm),
        .from_life = agent->life,
        .to = to,
        .to_life = to_life,
        .serial = serial,
    };
}

static void send_results(struct sim *sim, struct agent *agent)
{
    size_t length;
    char *text =
        wire_write_results(agent->outbox, agent->outbox_count, agent->incarnation, NULL, &length);
    agent->outbox_count = 0;
    struct message results = envelope(agent, MESSAGE_RESULTS, agent->tm_node, agent->tm_life, 0);
    send_text(sim, &results, text, length);
}

static void flush_results(struct sim *sim, struct agent *agent)
{
    if (agent->outbox_count > 0 && agent->tm_life != 0)
        send_results(sim, agent);
    agent->outbox_count = 0;
}

void agent_tell(struct sim *sim, struct agent *agent, const struct result *result)
{
    if (agent->outbox_count == OUTBOX)
        flush_results(sim, agent);
    recovery_noted(agent, result);
    agent->outbox[agent->outbox_count] = *result;
    agent->outbox[agent->outbox_count++].agent_incarnation = agent->incarnation;
}

static void tell_of(struct sim *sim, struct agent *agent, enum result_type type,
                    const struct branch_id *branch, uint64_t xid, uint64_t number)
{
    struct result result;
    memset(&result, 0, sizeof result);
    result.type = type;
    result.branch = *branch;
    result.xid = xid;
    result.number = number;
    agent_tell(sim, agent, &result);
}

/* ---- sessions ---- */

static struct session *find_session(struct agent *agent, const struct branch_id *branch)
{
    for (uint32_t i = 0; i < SESSIONS; i++)
        if (agent->sessions[i].used && branch_equal(&agent->sessions[i].branch, branch))
            return &agent->sessions[i];
    return NULL;
}

static bool backend_is(const struct database *database, uint32_t at, uint64_t serial)
{
    return at != UINT32_MAX && database->backends[at].used &&
           database->backends[at].serial == serial;
}

static void end_backend(struct sim *sim, uint32_t rm, uint32_t at, uint64_t serial)
{
    if (backend_is(database_of(sim, rm), at, serial))
        backend_end(sim, rm, at);
}

static void release_session(struct sim *sim, struct agent *agent, const struct branch_id *branch)
{
    struct session *session = find_session(agent, branch);
    if (session == NULL)
        return;
    end_backend(sim, agent->rm, session->backend, session->backend_serial);
    session->used = false;
}

/* ---- what the participant wants done ---- */

uint32_t agent_command(struct sim *sim, struct agent *agent, uint32_t type,
                       const struct branch_id *branch)
{
    uint32_t at = command_new(sim, agent->rm, type, branch);
    sim->commands[at].client_life = agent->life;
    sim->commands[at].run = agent->connected ? agent->run : 0;
    return at;
}

/* In the branch's own session; the position and the beat go before. */
static void in_session(struct sim *sim, struct agent *agent, uint32_t type,
                       const struct participant_action *action)
{
    const struct session *session = find_session(agent, &action->branch);
    uint32_t at = agent_command(sim, agent, type, &action->branch);
    struct statement *command = &sim->commands[at];
    command->or_prepare = action->or_prepare;
    if (session != NULL &&
        backend_is(database_of(sim, agent->rm), session->backend, session->backend_serial))
        command->backend = session->backend;
    else
        command->run = 0;
    const struct roster *roster = terminator_roster(agent->terminator, &action->branch.gtrid);
    if (agent->connected && roster != NULL && command->backend != UINT32_MAX &&
        (type == COMMAND_PREPARE || type == COMMAND_COMMIT_READ_ONLY))
        command->barred =
            !database_join(sim, agent->rm, &action->branch,
                           database_of(sim, agent->rm)->backends[command->backend].xid, roster);
    if (agent->connected && type != COMMAND_ROLLBACK) {
        database_setval_position(sim, agent->rm, action->lsn);
        command->beat = database_setval_beat(sim, agent->rm);
    }
    if (command->barred || chance(sim, sim->plan.unsent)) {
        command->unsent = true;
        command_await(sim, at, HAPPENS_ANSWER, between(sim, 50, 2 * MS));
        return;
    }
    command_send(sim, at);
}

static void prepare_session(struct sim *sim, struct agent *agent,
                            const struct participant_action *action)
{
    const struct session *session = find_session(agent, &action->branch);
    bool read_only = session != NULL && session->read_only;
    in_session(sim, agent, read_only ? COMMAND_COMMIT_READ_ONLY : COMMAND_PREPARE, action);
}

/* On a connection of its own. Nothing rests on what is done but its position: it has an old beat.
 */
static void finish(struct sim *sim, struct agent *agent, uint32_t type,
                   const struct participant_action *action)
{
    uint32_t at = agent_command(sim, agent, type, &action->branch);
    struct statement *command = &sim->commands[at];
    if (agent->connected) {
        command->backend = backend_open(sim, agent->rm, false, 0, agent->life);
        database_of(sim, agent->rm)->backends[command->backend].entered = true;
        database_setval_position(sim, agent->rm, action->lsn);
        command->beat = agent->flushed_beat;
    }
    command_send(sim, at);
}

static void look(struct sim *sim, struct agent *agent, uint32_t type,
                 const struct participant_action *action)
{
    uint32_t at = agent_command(sim, agent, type, &action->branch);
    sim->commands[at].xid = action->xid;
    sim->commands[at].flush = action->flush;
    sim->commands[at].late = action->late;
    const struct roster *roster = terminator_roster(agent->terminator, &action->branch.gtrid);
    if (action->votes && roster != NULL) {
        sim->commands[at].joins = true;
        sim->commands[at].ballot.roster = *roster;
    }
    sim->commands[at].unsent = chance(sim, sim->plan.unsent);
    command_send(sim, at);
}

/* The connection is given up; the command that was sent on it may still be on its way. */
static void interrupt(struct sim *sim, struct agent *agent, const struct participant_action *action)
{
    for (uint32_t at = 0; at < COMMANDS_MAX && action->at_once; at++) {
        struct statement *command = &sim->commands[at];
        if (!command->used || command->answered || command->unsent || command->rm != agent->rm ||
            command->client_life != agent->life ||
            (command->type != COMMAND_PREPARE && command->type != COMMAND_COMMIT_READ_ONLY) ||
            !branch_equal(&command->branch, &action->branch))
            continue;
        command->alive = false;
        command->answered = true;
        command_await(sim, at, HAPPENS_ANSWER, between(sim, 100, 5 * MS));
    }
}

static void carry_out(struct sim *sim, struct agent *agent, const struct participant_action *action)
{
    switch (action->type) {
    case PA_PREPARE:
        prepare_session(sim, agent, action);
        break;
    case PA_COMMIT_SESSION:
        in_session(sim, agent, COMMAND_COMMIT_ONE_PHASE, action);
        break;
    case PA_INTERRUPT:
        interrupt(sim, agent, action);
        break;
    case PA_END_SESSION:
        in_session(sim, agent, COMMAND_ROLLBACK, action);
        break;
    case PA_LOOK:
        look(sim, agent, SQL_LOOK, action);
        break;
    case PA_LOOK_MARKER:
        look(sim, agent, SQL_LOOK_MARKER, action);
        break;
    case PA_COMMIT:
        finish(sim, agent, COMMAND_COMMIT_PREPARED, action);
        break;
    case PA_ROLLBACK:
        finish(sim, agent, COMMAND_ROLLBACK_PREPARED, action);
        break;
    case PA_TELL:
        agent_tell(sim, agent, &action->result);
        ballots_told(sim, agent, &action->result);
        break;
    case PA_NONE:
        assert(false && "an action without a type");
    }
}

void agent_set_timer(struct sim *sim, struct agent *agent)
{
    uint64_t wake_ms = participant_wake_ms(agent->participant);
    if (agent->connected) /* without its database it has no vote */
        wake_ms = timers_earlier(wake_ms, terminator_wake_ms(agent->terminator));
    if (agent->connected && sim->plan.three_phase > 0)
        wake_ms = timers_earlier(wake_ms, agent->look_ms);
    if (wake_ms == UINT64_MAX)
        return;
    uint64_t now_ms = agent_ms(sim, agent);
    uint64_t after_us = (wake_ms > now_ms ? wake_ms - now_ms : 0) * MS;
    if (agent->timer_us > sim->now_us && agent->timer_us <= sim->now_us + after_us)
        return;
    agent->timer_us = sim->now_us + after_us;
    struct happening timer = {.type = HAPPENS_AGENT_TIMER, .who = agent->rm, .life = agent->life};
    schedule(sim, after_us, timer);
}

static struct participant_event event_of(enum participant_event_type type,
                                         const struct branch_id *branch)
{
    struct participant_event event;
    memset(&event, 0, sizeof event);
    event.type = type;
    event.branch = *branch;
    return event;
}

/* What comes late, twice or by mistake must do nothing where the table says so. */
static void make_noise(struct sim *sim, struct agent *agent, const struct branch_id *branch)
{
    struct participant_actions actions;
    struct participant_event event = event_of(PE_TICK, branch);
    enum branch_state state = participant_state(agent->participant, branch);
    if (!chance(sim, sim->plan.noise))
        return;
    for (unsigned type = PE_OPENED; type < PE_TYPES; type++) {
        if (!participant_cell_idle(state, type))
            continue;
        event.type = (enum participant_event_type)type;
        event.now_ms = agent_ms(sim, agent);
        participant_step(agent->participant, &event, &actions);
        if (actions.count > 0 || participant_state(agent->participant, branch) != state)
            violation(sim, "an agent acts on noise: %s in %s", participant_event_word(event.type),
                      branch_state_word(state));
    }
    ballots_noise(sim, agent, &branch->gtrid);
    /* An order that makes no sense for an open session ends it, which loses no more than work. */
    if (state == BRANCH_OPEN && choice(sim, 300)) {
        event.type = choice(sim, 5000) ? PE_COMMIT : PE_SETTLE;
        agent_step(sim, agent, &event);
    }
}

void agent_step(struct sim *sim, struct agent *agent, struct participant_event *event)
{
    struct participant_actions actions;
    event->now_ms = agent_ms(sim, agent);
    note(sim, rm_word(agent->rm), "agent: %s in %s: %s", branch_word(&event->branch),
         branch_state_word(participant_state(agent->participant, &event->branch)),
         participant_event_word(event->type));
    participant_step(agent->participant, event, &actions);
    if (actions.forgot && actions.forgotten.gtrid.incarnation == agent->closed_incarnation)
        closed_note(&agent->closed, actions.forgotten.gtrid.sequence);
    for (uint32_t i = 0; i < actions.count; i++)
        carry_out(sim, agent, &actions.list[i]);
    agent_set_timer(sim, agent);
    make_noise(sim, agent, &event->branch);
}

/* Once a second, in a file beside the database: it may not have been written when the agent dies.
 */
static void keep(struct sim *sim, struct agent *agent)
{
    const struct database *database = database_of(sim, agent->rm);
    if (sim->plan.no_state_file || !agent->serving || !agent->connected ||
        sim->now_us < agent->kept.at_us + SECOND)
        return;
    agent->kept.at_us = sim->now_us;
    agent->kept.incarnation = agent->incarnation;
    agent->kept.wal = database->wal_flushed;
    if (agent->kept.beat < agent->flushed_beat)
        agent->kept.beat = agent->flushed_beat;
}

void agent_timer(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    struct participant_event event;
    agent->timer_us = 0;
    keep(sim, agent);
    while (participant_due(agent->participant, agent_ms(sim, agent), &event))
        agent_step(sim, agent, &event);
    ballots_timer(sim, agent);
    agent_set_timer(sim, agent);
    flush_results(sim, agent);
}

/* ---- what PostgreSQL answers ---- */

static void lose_session(struct sim *sim, struct agent *agent, const struct branch_id *branch)
{
    release_session(sim, agent, branch);
    struct participant_event lost = event_of(PE_SESSION_LOST, branch);
    agent_step(sim, agent, &lost);
}

static void answer_exec(struct sim *sim, struct agent *agent, const struct statement *command)
{
    struct session *session = find_session(agent, &command->branch);
    enum error_code error = ERR_NONE;
    if (!command->alive) {
        error = ERR_BRANCH_LOST;
        if (session != NULL)
            lose_session(sim, agent, &command->branch);
    } else {
        if (session != NULL)
            session->busy = false;
        if (command->sqlstate[0] != '\0') {
            error = ERR_SQL_ERROR;
            if (session != NULL)
                session->failed = true;
        }
    }
    if (command->alive && session != NULL &&
        !backend_is(database_of(sim, agent->rm), session->backend, session->backend_serial))
        lose_session(sim, agent, &command->branch); /* it went just behind its answer */
    struct message reply = envelope(agent, MESSAGE_EXEC_REPLY, command->reply_node,
                                    command->reply_life, command->reply_serial);
    reply.exec.branch = command->branch;
    reply.exec.n = (uint32_t)command->number;
    reply.exec.error = error;
    send_text(sim, &reply, NULL, 0);
}

static struct participant_event look_event(const struct statement *command)
{
    bool lost_work = command->late && command->had_session;
    if (!command->alive)
        return event_of(PE_UNKNOWN, &command->branch);
    bool there = command->seen && !lost_work;
    struct participant_event event;
    if (command->unsent)
        return event_of(PE_RETRY, &command->branch); /* a server in recovery, say */
    if (command->type == SQL_LOOK_MARKER)
        event = event_of(command->seen ? PE_FINISHED : PE_ABSENT, &command->branch);
    else
        event = event_of(there ? PE_SEEN : PE_ABSENT, &command->branch);
    event.xid = command->found_xid;
    event.beat = command->beat;
    event.status = command->status;
    event.actable = !command->foreign_owner && !command->barred;
    if (lost_work)
        event.message = "branch_lost: the agent was restarted while the branch worked";
    else if (command->barred)
        event.message = "an agent has begun to end this transaction";
    else if (command->foreign_owner)
        event.message = "grant the owner's role to the agent's";
    return event;
}

static void step_answer(struct sim *sim, struct agent *agent, struct participant_event *event)
{
    if (agent->flushed_beat < event->beat)
        agent->flushed_beat = event->beat;
    agent_step(sim, agent, event);
    flush_results(sim, agent);
}

/* A command of the agent's has been answered, or its connection has failed. */
void agent_answer(struct sim *sim, uint32_t at)
{
    struct statement *command = &sim->commands[at];
    struct agent *agent = agent_of(sim, command->rm);

    if (command->type == SQL_EXEC) {
        answer_exec(sim, agent, command);
        return;
    }
    if (command->type == SQL_BALLOT) {
        ballots_answer(sim, agent, command);
        agent_set_timer(sim, agent);
        flush_results(sim, agent);
        return;
    }
    if (command->type == SQL_LOOK || command->type == SQL_LOOK_MARKER) {
        struct participant_event event = look_event(command);
        step_answer(sim, agent, &event);
        return;
    }
    enum command which = (enum command)command->type;
    enum participant_event_type meaning =
        command->barred   ? PE_REFUSAL
        : command->unsent ? PE_RETRY
                          : verdict(which, command->tag, command->sqlstate, command->alive);
    if (meaning == PE_UNKNOWN) {
        /* Not before its backend is gone. */
        if (MUTANT(UNKNOWN_AT_ONCE)) {
            struct participant_event event = event_of(PE_UNKNOWN, &command->branch);
            step_answer(sim, agent, &event);
            return;
        }
        command_await(sim, at, HAPPENS_GONE, between(sim, 1 * MS, 50 * MS));
        return;
    }
    if (which <= COMMAND_COMMIT_ONE_PHASE || which == COMMAND_ROLLBACK)
        release_session(sim, agent, &command->branch);
    else
        end_backend(sim, command->rm, command->backend, command->backend_serial);
    struct participant_event event = event_of(meaning, &command->branch);
    event.xid = command->found_xid;
    event.sqlstate = command->sqlstate;
    event.message = command->sqlstate[0] != '\0' ? "PostgreSQL refused" : NULL;
    if (meaning == PE_PREPARED || meaning == PE_FINISHED)
        event.beat = command->beat;
    step_answer(sim, agent, &event);
}

void agent_backend_gone(struct sim *sim, uint32_t at)
{
    struct statement *command = &sim->commands[at];
    struct agent *agent = agent_of(sim, command->rm);
    if (!agent->connected) {
        command_await(sim, at, HAPPENS_GONE, 100 * MS);
        return;
    }
    end_backend(sim, command->rm, command->backend, command->backend_serial);
    if (command->type <= COMMAND_COMMIT_ONE_PHASE || command->type == COMMAND_ROLLBACK)
        release_session(sim, agent, &command->branch);
    struct participant_event event = event_of(PE_UNKNOWN, &command->branch);
    step_answer(sim, agent, &event);
}

/* ---- its life ---- */

/* A database that shows less was set back while the agent was down. */
static void compare_kept(struct sim *sim, struct agent *agent)
{
    struct database *database = database_of(sim, agent->rm);
    if (sim->plan.no_state_file)
        return;
    if (database->beat >= agent->kept.beat && database->wal_count > agent->kept.wal &&
        database->agent_incarnation > agent->kept.incarnation)
        return;
    note(sim, rm_word(agent->rm), "agent: its state file tells of a loss");
    database_suspect(sim, agent->rm);
    database_raise_incarnation(sim, agent->rm, agent->kept.incarnation);
    agent->incarnation = database->agent_incarnation;
    agent->kept.beat = database->beat;
    agent->kept.wal = database->wal_flushed;
}

void agent_start(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    struct database *database = database_of(sim, rm);
    if (agent->up)
        return;
    if (!database->up) {
        struct happening again = {.type = HAPPENS_AGENT_START, .who = rm};
        schedule(sim, 100 * MS, again);
        return;
    }
    agent->up = true;
    agent->serving = false;
    agent->connected = true;
    agent->run = database->run;
    agent->life = ++sim->next_life;
    agent->clock_ms = between(sim, 1, 1000000);
    agent->tm_life = 0;
    agent->registered = false;
    agent->outbox_count = 0;
    agent->recalled_count = agent->recalled_next = 0;
    agent->timer_us = 0;
    agent->flushed_beat = 0;
    memset(agent->sessions, 0, sizeof agent->sessions);
    agent->closed_incarnation = 0; /* until its TM has registered */
    database_raise_incarnation(sim, rm, 0);
    agent->incarnation = database->agent_incarnation;
    agent->system_identifier = database->system_identifier;
    agent->timeline = database->timeline;
    compare_kept(sim, agent);
    /* The TM has to accept it first: also a new one, which may have been set back to before it
     * knew. */
    agent->suspect = database->identity != database->timeline && !MUTANT(SUSPECT_VOTES);
    agent->heard_incarnation = 0;
    note(sim, rm_word(rm), "agent starts, incarnation %llu",
         (unsigned long long)agent->incarnation);
    struct happening serves = {.type = HAPPENS_AGENT_SERVES, .who = rm, .life = agent->life};
    schedule(sim, between(sim, 1 * MS, 100 * MS), serves);
}

/* Its predecessor's backends are gone: from here on nothing happens that it did not order. */
void agent_serves(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    struct database *database = database_of(sim, rm);
    if (!agent->connected)
        return; /* the database went down meanwhile: it begins anew when that is back */
    for (uint32_t i = 0; i < BACKENDS; i++)
        if (database->backends[i].used && database->backends[i].entered &&
            database->backends[i].client_life != agent->life && !MUTANT(PREDECESSOR_LIVES))
            backend_end(sim, rm, i);
    uint32_t branches =
        sim->plan.agent_branches > 0 ? sim->plan.agent_branches : (uint32_t)PARTICIPANT_BRANCHES;
    memset(agent->room, 0, participant_bytes(branches));
    agent->participant = participant_init(agent->room, branches, agent->incarnation);
    agent->serving = true;
    agent->able_us = sim->now_us;
    ballots_start(sim, agent);
    agent_set_timer(sim, agent);
}

void agent_crash(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    if (!agent->up || sim->databases[rm].agent_alone_knows)
        return;
    note(sim, rm_word(rm), "agent dies");
    agent->up = false;
    agent->serving = false;
    agent->connected = false;
    backends_orphan(sim, rm, agent->life);
    agent->life = 0;
    struct happening again = {.type = HAPPENS_AGENT_START, .who = rm};
    schedule(sim, between(sim, 10 * MS, sim->quiet ? 50 * MS : 3 * SECOND), again);
}

void agent_database_down(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    if (!agent->up || !agent->connected)
        return;
    agent->connected = false;
    if (!agent->serving) {
        agent_crash(sim, rm);
        return;
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        struct session *session = &agent->sessions[i];
        if (!session->used || session->busy)
            continue;
        struct branch_id branch = session->branch;
        if (participant_state(agent->participant, &branch) != BRANCH_OPEN)
            continue; /* a command is under way, and says so itself */
        lose_session(sim, agent, &branch);
    }
    flush_results(sim, agent);
    struct happening again = {.type = HAPPENS_RECONNECT, .who = rm, .life = agent->life};
    schedule(sim, 50 * MS, again);
}

void agent_lose_session(struct sim *sim, uint32_t rm, uint32_t at)
{
    struct agent *agent = agent_of(sim, rm);
    struct branch_id branch = agent->sessions[at].branch;
    note(sim, rm_word(rm), "%s: its backend is terminated", branch_word(&branch));
    lose_session(sim, agent, &branch);
    flush_results(sim, agent);
}

/* Every connection compares what identifies the database with what this start has seen. */
void agent_reconnects(struct sim *sim, uint32_t rm)
{
    struct agent *agent = agent_of(sim, rm);
    struct database *database = database_of(sim, rm);
    if (!database->up) {
        struct happening again = {.type = HAPPENS_RECONNECT, .who = rm, .life = agent->life};
        schedule(sim, 50 * MS, again);
        return;
    }
    database->agent_alone_knows = false;
    if (database->agent_incarnation != agent->incarnation ||
        database->system_identifier != agent->system_identifier ||
        database->timeline != agent->timeline || database->beat < agent->flushed_beat) {
        if (!MUTANT(SUSPICION_FORGOTTEN))
            database_suspect(sim, rm);
        database_raise_incarnation(sim, rm, agent->incarnation);
        agent_crash(sim, rm);
        return;
    }
    agent->connected = true;
    agent->able_us = sim->now_us;
    agent->run = database->run;
    agent_set_timer(sim, agent);
}

/* ---- what it is told ---- */

static bool is_registered(struct sim *sim, const struct agent *agent, const struct sender *sender)
{
    const struct tm_row *row = &database_of(sim, agent->rm)->row;
    return agent->registered && row->exists && sender->incarnation == row->incarnation &&
           memcmp(&sender->instance, &row->instance, sizeof row->instance) == 0 &&
           sender->agent_incarnation == agent->incarnation;
}

static void end_older_incarnations(struct sim *sim, struct agent *agent, const struct offer *offer)
{
    struct participant_event event;
    while (participant_fence(agent->participant, offer->tm, offer->incarnation, &event))
        agent_step(sim, agent, &event);
}

static void take_offer(struct sim *sim, struct agent *agent, const struct message *message,
                       const struct offer *offer)
{
    struct database *database = database_of(sim, agent->rm);
    struct answer answer;
    memset(&answer, 0, sizeof answer);
    answer.newcomer = !database->row.exists;
    answer.met = !database->row.exists     ? ++sim->next_serial
                 : database->identity == 0 ? database->met
                                           : 0;
    answer.refusal = registry_judge(&database->row, offer);
    note(sim, rm_word(agent->rm), "agent: offer of incarnation %llu: %s",
         (unsigned long long)offer->incarnation,
         answer.refusal == REFUSAL_NONE ? "accepted" : refusal_word(answer.refusal));
    if (answer.refusal == REFUSAL_NONE) {
        if (!database->row.exists || database->row.incarnation != offer->incarnation ||
            memcmp(&database->row.instance, &offer->instance, sizeof offer->instance) != 0)
            database_register(sim, agent->rm, offer, answer.met);
        agent->registered = true;
        agent->tm_node = message->from;
        agent->tm_life = message->from_life;
        agent->outbox_count = 0;
        if (agent->closed_incarnation != offer->incarnation)
            closed_clear(&agent->closed);
        agent->closed_incarnation = offer->incarnation;
        end_older_incarnations(sim, agent, offer);
        ballots_heard(sim, agent, offer->incarnation);
    }
    strcpy(answer.rm, rm_word(agent->rm));
    answer.agent_incarnation = agent->incarnation;
    answer.beat = database->beat;
    answer.witness = agent->rm >= sim->plan.data_rms;
    answer.system_identifier = database->system_identifier;
    answer.timeline = database->timeline;
    answer.stored_incarnation = database->row.incarnation;
    answer.stored_lsn = database->row.lsn;

    size_t length;
    char *text = wire_write_answer(&answer, &length);
    struct message reply =
        envelope(agent, MESSAGE_ANSWER, message->from, message->from_life, message->serial);
    send_text(sim, &reply, text, length);
    flush_results(sim, agent);
}

/* All that is prepared here for this TM, and all that is open. */
static void scan(struct sim *sim, struct agent *agent, uint64_t number)
{
    const struct database *database = database_of(sim, agent->rm);
    struct branch_id branch;
    enum branch_state state;
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used)
            tell_of(sim, agent, RESULT_FOUND, &database->prepared[i].branch,
                    database->prepared[i].xid, number);
    for (uint32_t i = participant_next(agent->participant, 0, &branch, &state); i != UINT32_MAX;
         i = participant_next(agent->participant, i + 1, &branch, &state))
        if (state == BRANCH_OPEN)
            tell_of(sim, agent, RESULT_SESSION, &branch, 0, number);
    struct result done;
    memset(&done, 0, sizeof done);
    done.type = RESULT_SCANNED;
    done.number = number;
    strcpy(done.branch.rm, rm_word(agent->rm));
    agent_tell(sim, agent, &done);
}

static void take_order(struct sim *sim, struct agent *agent, const struct order *order)
{
    static const enum participant_event_type events[ORDERS] = {
        [ORDER_PREPARE] = PE_PREPARE,   [ORDER_COMMIT] = PE_COMMIT,
        [ORDER_ROLLBACK] = PE_ROLLBACK, [ORDER_COMMIT_ONE_PHASE] = PE_COMMIT_ONE_PHASE,
        [ORDER_SETTLE] = PE_SETTLE,
    };
    if (order->type == ORDER_RECOVER) {
        if (agent->suspect ||
            !txn_not_after(&order->released, &database_of(sim, agent->rm)->votes_after))
            database_identify(sim, agent->rm, order);
        agent->suspect = false;
        terminator_hush(agent->terminator, false);
        scan(sim, agent, order->number);
        return;
    }
    if (order->type == ORDER_BALLOT || order->type == ORDER_FORGET) {
        ballots_order(sim, agent, order);
        return;
    }
    if (order->type == ORDER_PREPARE && !ballots_watch(sim, agent, order))
        return;
    if (order->type == ORDER_COMMIT)
        ballots_committed(sim, agent, order);
    struct participant_event event = event_of(events[order->type], &order->branch);
    event.order = order;
    agent_step(sim, agent, &event);
}

static void take_orders(struct sim *sim, struct agent *agent, const cJSON *object)
{
    static struct order orders[ORDERS_MAX];
    struct failure failure;
    uint32_t count;
    if (wire_read_orders(object, orders, &count, &failure) != 0) {
        violation(sim, "an agent cannot read its orders: %s", failure.message);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        take_order(sim, agent, &orders[i]);
    flush_results(sim, agent);
}

static void take_from_tm(struct sim *sim, struct agent *agent, const struct message *message)
{
    struct failure failure;
    struct sender sender;
    struct offer offer;
    cJSON *object = wire_parse(message->text, message->length, &failure);
    if (object == NULL) {
        violation(sim, "an agent cannot read a message: %s", failure.message);
    } else if (message->type == MESSAGE_OFFER) {
        if (wire_read_offer(object, &offer, &failure) != 0)
            violation(sim, "an agent cannot read an offer: %s", failure.message);
        else
            take_offer(sim, agent, message, &offer);
    } else if (wire_read_sender(object, &sender, &failure) != 0) {
        violation(sim, "an agent cannot read who speaks: %s", failure.message);
    } else if (!is_registered(sim, agent, &sender)) {
        struct message reply =
            envelope(agent, MESSAGE_UNKNOWN_TM, message->from, message->from_life, 0);
        send_text(sim, &reply, NULL, 0);
    } else {
        agent->tm_node = message->from;
        agent->tm_life = message->from_life;
        ballots_heard(sim, agent, sender.incarnation);
        if (message->type == MESSAGE_ORDERS)
            take_orders(sim, agent, object);
        else
            send_results(sim, agent); /* its heart beats */
    }
    cJSON_Delete(object);
}

/* ---- exec ---- */

static struct session_row *find_row(struct database *database, const struct branch_id *branch)
{
    for (uint32_t i = 0; i < SESSIONS * 2; i++)
        if (database->sessions[i].used && branch_equal(&database->sessions[i].branch, branch))
            return &database->sessions[i];
    return NULL;
}

static struct session *open_session(struct sim *sim, struct agent *agent,
                                    const struct exec_body *exec)
{
    struct database *database = database_of(sim, agent->rm);
    struct session *session = NULL;
    struct session_row *row = NULL;
    for (uint32_t i = 0; i < SESSIONS && session == NULL; i++)
        if (!agent->sessions[i].used)
            session = &agent->sessions[i];
    for (uint32_t i = 0; i < SESSIONS * 2 && row == NULL; i++)
        if (!database->sessions[i].used)
            row = &database->sessions[i];
    if (session == NULL || row == NULL)
        return NULL;
    memset(session, 0, sizeof *session);
    session->used = true;
    session->branch = exec->branch;
    session->read_only = exec->read_only;
    session->backend = backend_open(sim, agent->rm, false, 0, agent->life);
    session->backend_serial = database->backends[session->backend].serial;
    database->backends[session->backend].entered = true;
    row->used = true;
    row->branch = exec->branch;
    row->agent_incarnation = agent->incarnation;
    backend_begin(sim, agent->rm, session->backend, exec->read_only);

    struct participant_event opened = event_of(PE_OPENED, &exec->branch);
    opened.timeout_ms = exec->allowed_ms;
    agent_step(sim, agent, &opened);
    tell_of(sim, agent, RESULT_OPENED, &exec->branch, 0, 0);
    flush_results(sim, agent);
    /* Noise may have ended it at once. */
    bool open = participant_state(agent->participant, &exec->branch) == BRANCH_OPEN;
    return open ? session : NULL;
}

/* Why this statement cannot run; ERR_NONE if it can, in *session. */
static enum error_code admit(struct sim *sim, struct agent *agent, const struct exec_body *exec,
                             struct session **session)
{
    struct database *database = database_of(sim, agent->rm);
    *session = find_session(agent, &exec->branch);
    if (exec->branch.gtrid.incarnation != database->row.incarnation)
        return ERR_INVALID_SESSION;
    if (exec->ticket != agent->incarnation && !MUTANT(HALF_WORK))
        return ERR_BRANCH_LOST;
    if (*session == NULL) {
        if (!MUTANT(HALF_WORK) &&
            (exec->n != 1 || find_row(database, &exec->branch) != NULL ||
             closed_has(&agent->closed, exec->branch.gtrid.sequence) ||
             participant_state(agent->participant, &exec->branch) != BRANCH_NONE))
            return ERR_BRANCH_LOST;
        if (participant_state(agent->participant, &exec->branch) != BRANCH_NONE ||
            database_find(database, &exec->branch) != NULL)
            return ERR_BRANCH_PREPARED;
        if (!participant_has_room(agent->participant))
            return ERR_BUSY;
        *session = open_session(sim, agent, exec);
        return *session == NULL ? ERR_BUSY : ERR_NONE;
    }
    if (participant_state(agent->participant, &exec->branch) != BRANCH_OPEN &&
        !MUTANT(LATE_STATEMENT))
        return ERR_BRANCH_LOST;
    if ((*session)->busy || (exec->n != (*session)->n && exec->n != (*session)->n + 1))
        return ERR_OUT_OF_SEQUENCE;
    return ERR_NONE;
}

static void take_exec(struct sim *sim, struct agent *agent, const struct message *message)
{
    const struct exec_body *exec = &message->exec;
    struct session *session;
    enum error_code error = admit(sim, agent, exec, &session);
    if (error == ERR_NONE && exec->n != session->n) {
        session->n = exec->n;
        session->busy = true;
        uint32_t at = agent_command(sim, agent, SQL_EXEC, &exec->branch);
        struct statement *command = &sim->commands[at];
        command->backend = session->backend;
        command->number = exec->n;
        command->reply_node = message->from;
        command->reply_life = message->from_life;
        command->reply_serial = message->serial;
        command_send(sim, at);
        return;
    }
    /* Refused, or the reply of the last one again. */
    struct message reply =
        envelope(agent, MESSAGE_EXEC_REPLY, message->from, message->from_life, message->serial);
    reply.exec = *exec;
    reply.exec.error = error == ERR_NONE && session->failed ? ERR_SQL_ERROR : error;
    if (error == ERR_OUT_OF_SEQUENCE && session->busy)
        return; /* the first copy is at work, and will be answered */
    send_text(sim, &reply, NULL, 0);
}

void agent_receive(struct sim *sim, uint32_t rm, struct message *message)
{
    struct agent *agent = agent_of(sim, rm);
    keep(sim, agent);
    if (agent->serving && agent->connected) {
        if (message->type == MESSAGE_EXEC)
            take_exec(sim, agent, message);
        else if (message->type == MESSAGE_BALLOTS)
            ballots_from_peer(sim, agent, message);
        else if (message->type == MESSAGE_OF_DBA)
            recovery_asked(sim, agent, message);
        else
            take_from_tm(sim, agent, message);
    }
    release_message(message);
}
