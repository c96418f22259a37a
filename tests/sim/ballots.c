/*
 * tests/sim/ballots.c - an agent's part in three-phase commit: the daemon's terminator and
 * acceptor between a simulated network and a simulated PostgreSQL.
 *
 * Three may ask it: the TM by an order, a peer by a message, its own leader by nothing at all. A
 * question becomes a transaction on the row; the answer goes where it came from.
 */
#include <string.h>

#include "common/wire.h"
#include "core/base/mutant.h"
#include "tests/sim/coverage.h"
#include "tests/sim/sim.h"

enum { FROM_TM = RMS, NOBODY }; /* who asks, besides RMs */

static struct terminator_event event_of(const struct sim *sim, const struct agent *agent,
                                        enum ending_event type, const struct gtrid *gtrid)
{
    struct terminator_event event;
    memset(&event, 0, sizeof event);
    event.type = type;
    event.now_ms = agent_ms(sim, agent);
    event.gtrid = *gtrid;
    return event;
}

static void take_ballot(struct sim *sim, struct agent *agent, const struct ballot *ballot,
                        uint32_t from);

/* ---- what it says ---- */

static void send_to_peer(struct sim *sim, const struct agent *agent, uint32_t rm,
                         const struct ballot *ballot)
{
    size_t length;
    char *text = wire_write_ballots(rm_word(agent->rm), ballot, 1, &length);
    struct message message = {.type = MESSAGE_BALLOTS,
                              .from = agent_node(agent->rm),
                              .from_life = agent->life,
                              .to = agent_node(rm)};
    send_text(sim, &message, text, length);
}

static void tell_tm(struct sim *sim, struct agent *agent, const struct ballot *ballot,
                    uint64_t beat)
{
    struct result result;
    memset(&result, 0, sizeof result);
    result.type = RESULT_BALLOT;
    strcpy(result.branch.rm, rm_word(agent->rm));
    result.ballot = *ballot;
    result.beat = beat;
    agent_tell(sim, agent, &result);
}

static void send(struct sim *sim, struct agent *agent, const struct ballot *ballot, uint32_t to)
{
    note(sim, rm_word(agent->rm), "agent: %s of %s to %s, ballot %llu %d",
         ballot_words[ballot->type], gtrid_word(&ballot->gtrid), to == FROM_TM ? "tm" : rm_word(to),
         (unsigned long long)ballot->number, (int)ballot->value);
    if (to == FROM_TM)
        tell_tm(sim, agent, ballot, 0);
    else if (to == agent->rm)
        take_ballot(sim, agent, ballot, to);
    else
        send_to_peer(sim, agent, to, ballot);
}

static void send_to_all(struct sim *sim, struct agent *agent,
                        const struct terminator_action *action)
{
    const struct roster roster = action->ballot.roster;
    for (uint32_t i = 0; i < roster.count; i++)
        if (action->to & rank_bit(i))
            send(sim, agent, &action->ballot, rm_number(roster.agents[i]));
    if (action->to & rank_bit(RANK_TM))
        send(sim, agent, &action->ballot, FROM_TM);
}

/* ---- what is decided ---- */

static uint64_t voted_xid(const struct row *row, const char *branch)
{
    for (uint32_t i = 0; row != NULL && i < row->vote_count; i++)
        if (text_equal(row->votes[i].branch, branch, BRANCH_NAME_BYTES))
            return row->votes[i].xid;
    return 0;
}

static void step(struct sim *sim, struct agent *agent, const struct terminator_event *event);

static bool may_have_lost_votes(const struct sim *sim, const struct agent *agent,
                                const struct gtrid *gtrid)
{
    struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    return agent->suspect || txn_not_after(&number, &sim->databases[agent->rm].votes_after);
}

static void finish_branch(struct sim *sim, struct agent *agent, const struct ballot *decided,
                          const struct branch_id *branch)
{
    const struct row *row = database_row(&sim->databases[agent->rm], &decided->gtrid);
    struct order order;
    struct participant_event event;
    memset(&order, 0, sizeof order);
    memset(&event, 0, sizeof event);
    order.branch = *branch;
    order.xid = voted_xid(row, branch->branch);
    bool commit = decided->value == OUTCOME_COMMITTED && order.xid != 0;
    if (decided->value == OUTCOME_COMMITTED && order.xid == 0 &&
        may_have_lost_votes(sim, agent, &decided->gtrid))
        return;
    event.type = commit ? PE_COMMIT : PE_ROLLBACK;
    event.branch = *branch;
    event.order = &order;
    agent_step(sim, agent, &event);
}

/* Order every branch that is prepared here, or may still be, to its end, as the TM would. */
static void finish(struct sim *sim, struct agent *agent, const struct ballot *decided)
{
    struct database *database = &sim->databases[agent->rm];
    struct branch_id branch;
    bool any = false;
    for (uint32_t at = 0; participant_under_way(agent->participant, &decided->gtrid, &at, &branch);
         at++) {
        any = true;
        finish_branch(sim, agent, decided, &branch);
    }
    for (uint32_t i = 0; i < PREPARED_MAX; i++) {
        if (!database->prepared[i].used ||
            !gtrid_equal(&database->prepared[i].branch.gtrid, &decided->gtrid))
            continue;
        any = true;
        branch = database->prepared[i].branch;
        finish_branch(sim, agent, decided, &branch);
    }
    if (!any) {
        struct terminator_event clear = event_of(sim, agent, XE_CLEAR, &decided->gtrid);
        step(sim, agent, &clear);
    }
}

static void step(struct sim *sim, struct agent *agent, const struct terminator_event *event)
{
    struct terminator_actions actions;
    enum ending_state before = terminator_state(agent->terminator, &event->gtrid);
    terminator_step(agent->terminator, event, &actions);
    enum ending_state after = terminator_state(agent->terminator, &event->gtrid);
    if (before != after)
        note(sim, rm_word(agent->rm), "agent: %s is %s, was %s", gtrid_word(&event->gtrid),
             ending_state_word(after), ending_state_word(before));
    /* Whoever is asked to lead has no say in it: who asks had to have a reason. */
    if (before == ENDING_WATCHED && after == ENDING_LED && event->type == XE_TICK)
        checker_leads(sim, agent, &event->gtrid);
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.list[i].type == TA_SAY)
            send_to_all(sim, agent, &actions.list[i]);
        else
            finish(sim, agent, &actions.list[i].ballot);
    }
    agent_set_timer(sim, agent);
}

/* ---- what it hears ---- */

static bool is_question(enum ballot_type type)
{
    return type == BALLOT_JOIN || type == BALLOT_ASK_PROMISE || type == BALLOT_ASK_ACCEPT ||
           type == BALLOT_TELL || type == BALLOT_ASK_LEAD;
}

static void take_answer(struct sim *sim, struct agent *agent, const struct ballot *ballot,
                        uint32_t from)
{
    const struct roster *roster = terminator_roster(agent->terminator, &ballot->gtrid);
    if (roster == NULL)
        return;
    struct terminator_event event = event_of(sim, agent, XE_ANSWER, &ballot->gtrid);
    event.ballot = ballot;
    event.from = from == FROM_TM ? (uint32_t)RANK_TM : roster_rank(roster, rm_word(from));
    if (event.from != RANK_NONE)
        step(sim, agent, &event);
}

static void take_ballot(struct sim *sim, struct agent *agent, const struct ballot *ballot,
                        uint32_t from)
{
    struct branch_id branch;
    if (agent->suspect)
        return;
    bool pledges = ballot->type == BALLOT_PLEDGE && from == agent->rm;
    if (!pledges && !is_question(ballot->type)) {
        take_answer(sim, agent, ballot, from);
        return;
    }
    memset(&branch, 0, sizeof branch);
    branch.gtrid = ballot->gtrid;
    strcpy(branch.rm, rm_word(agent->rm));
    uint32_t at = agent_command(sim, agent, SQL_BALLOT, &branch);
    sim->commands[at].ballot = *ballot;
    sim->commands[at].asker = from;
    command_send(sim, at);
}

/* The TM says how it has ended: for those who will ask. Nobody waits for that. */
void ballots_committed(struct sim *sim, struct agent *agent, const struct order *order)
{
    const struct roster *roster = terminator_roster(agent->terminator, &order->branch.gtrid);
    if (roster == NULL)
        return;
    uint32_t at = agent_command(sim, agent, SQL_BALLOT, &order->branch);
    struct statement *command = &sim->commands[at];
    command->ballot.type = BALLOT_TELL;
    command->ballot.gtrid = order->branch.gtrid;
    command->ballot.value = OUTCOME_COMMITTED;
    command->ballot.roster = *roster;
    command->asker = NOBODY;
    command->lazy = true;
    command_send(sim, at);
}

/* Its transaction on the row is through, or its connection is lost: then it will be asked again. */
void ballots_answer(struct sim *sim, struct agent *agent, const struct statement *command)
{
    const struct ballot answer = command->answer;
    const struct ballot asked = command->ballot;
    uint32_t asker = command->asker;
    if (!command->alive || asker == NOBODY)
        return;
    if (asked.type == BALLOT_TELL && answer.type == BALLOT_DECIDED) {
        struct terminator_event outcome = event_of(sim, agent, XE_OUTCOME, &asked.gtrid);
        outcome.ballot = &answer;
        step(sim, agent, &outcome);
    }
    if (command->barred && asker == agent->rm) {
        struct terminator_event barred = event_of(sim, agent, XE_BARRED, &asked.gtrid);
        step(sim, agent, &barred);
    }
    if (answer.type == BALLOT_ASK_LEAD) {
        struct terminator_event lead = event_of(sim, agent, XE_LEAD, &asked.gtrid);
        lead.roster = &asked.roster;
        step(sim, agent, &lead);
        return;
    }
    if (answer.type == BALLOT_NONE)
        return;
    if (asker == agent->rm)
        take_answer(sim, agent, &answer, asker);
    else
        send(sim, agent, &answer, asker);
}

void ballots_from_peer(struct sim *sim, struct agent *agent, const struct message *message)
{
    static struct ballot ballots[BALLOTS_MAX];
    struct failure failure;
    char rm[RM_NAME_BYTES];
    uint32_t count;
    cJSON *object = wire_parse(message->text, message->length, &failure);
    if (object == NULL || wire_read_ballots(object, rm, ballots, &count, &failure) != 0)
        violation(sim, "an agent cannot read a ballot: %s", failure.message);
    else
        for (uint32_t i = 0; i < count; i++)
            take_ballot(sim, agent, &ballots[i], rm_number(rm));
    cJSON_Delete(object);
}

void ballots_order(struct sim *sim, struct agent *agent, const struct order *order)
{
    if (order->type == ORDER_FORGET) {
        database_forget(sim, agent->rm, &order->forget);
        return;
    }
    database_setval_position(sim, agent->rm, order->lsn);
    take_ballot(sim, agent, &order->ballot, FROM_TM);
}

void ballots_heard(struct sim *sim, struct agent *agent, uint64_t incarnation)
{
    agent->heard_ms = agent_ms(sim, agent);
    agent->heard_incarnation = incarnation;
    terminator_heard(agent->terminator, tm_name, incarnation, agent->heard_ms);
}

/* ---- what it watches ---- */

bool ballots_watch(struct sim *sim, struct agent *agent, const struct order *order)
{
    struct terminator_actions actions;
    if (order->ballot.roster.count == 0)
        return true;
    struct terminator_event event = event_of(sim, agent, XE_WATCH, &order->branch.gtrid);
    event.branch = order->branch.branch;
    event.roster = &order->ballot.roster;
    event.timeout_ms = order->timeout_ms;
    struct fate_branch *fate = checker_branch(sim, &order->branch);
    if (fate->late_life != agent->life) {
        fate->late_life = agent->life;
        fate->late_ms = event.now_ms + order->timeout_ms;
    }
    bool room = terminator_step(agent->terminator, &event, &actions);
    agent_set_timer(sim, agent);
    return room;
}

/* A branch has come to its end, or turned out to have none. A no says nothing about what may still
 * be prepared. */
void ballots_told(struct sim *sim, struct agent *agent, const struct result *result)
{
    switch (result->type) {
    case RESULT_READ_ONLY:
    case RESULT_DONE:
    case RESULT_HEURISTIC:
    case RESULT_UNKNOWN: {
        struct terminator_event over = event_of(sim, agent, XE_OVER, &result->branch.gtrid);
        over.branch = result->branch.branch;
        step(sim, agent, &over);
        break;
    }
    default:
        break;
    }
}

/* What is prepared here, has a row, and is not watched: after a start, or since an application has
 * prepared its block again. */
static void look_around(struct sim *sim, struct agent *agent)
{
    struct database *database = &sim->databases[agent->rm];
    agent->look_ms = agent_ms(sim, agent) + sim->plan.silence_ms;
    for (uint32_t i = 0; i < PREPARED_MAX; i++) {
        const struct prepared *prepared = &database->prepared[i];
        const struct row *row =
            prepared->used ? database_row(database, &prepared->branch.gtrid) : NULL;
        if (row == NULL)
            continue;
        struct terminator_event event = event_of(sim, agent, XE_WATCH, &prepared->branch.gtrid);
        event.branch = prepared->branch.branch;
        event.roster = &row->roster;
        step(sim, agent, &event);
        if (row->acceptor.outcome == OUTCOME_NONE || MUTANT(ROW_NOT_CARRIED_OUT))
            continue;
        struct ballot decided = {.value = row->acceptor.outcome};
        event.type = XE_OUTCOME;
        event.ballot = &decided;
        step(sim, agent, &event);
    }
}

static bool is_here(const struct sim *sim, const struct agent *agent, const struct gtrid *gtrid)
{
    const struct database *database = &sim->databases[agent->rm];
    struct branch_id branch;
    uint32_t at = 0;
    for (uint32_t i = 0; i < PREPARED_MAX; i++)
        if (database->prepared[i].used && gtrid_equal(&database->prepared[i].branch.gtrid, gtrid))
            return true;
    return participant_under_way(agent->participant, gtrid, &at, &branch);
}

/* What is watched and not here any more. */
static void clear_up(struct sim *sim, struct agent *agent)
{
    struct gtrid gtrid;
    for (uint32_t at = 0; terminator_next(agent->terminator, &at, &gtrid);) {
        struct terminator_event clear = event_of(sim, agent, XE_CLEAR, &gtrid);
        if (!is_here(sim, agent, &gtrid))
            step(sim, agent, &clear);
    }
}

void ballots_start(struct sim *sim, struct agent *agent)
{
    struct terminator_settings settings = {
        .silence_ms = sim->plan.silence_ms,
        .resend_least_ms = 200,
        .resend_most_ms = 3000,
        .seed = 7,
    };
    strcpy(settings.rm, rm_word(agent->rm));
    memset(agent->terminator_room, 0, terminator_bytes(PREPARED_MAX));
    agent->terminator = terminator_init(agent->terminator_room, PREPARED_MAX, &settings);
    terminator_hush(agent->terminator, agent->suspect);
    look_around(sim, agent);
}

void ballots_timer(struct sim *sim, struct agent *agent)
{
    struct terminator_event event;
    if (!agent->connected)
        return;
    while (terminator_due(agent->terminator, agent_ms(sim, agent), &event))
        step(sim, agent, &event);
    if (sim->plan.three_phase > 0 && agent->look_ms <= agent_ms(sim, agent)) {
        look_around(sim, agent);
        clear_up(sim, agent);
    }
}

/* What comes late, or by mistake, must do nothing where the tables say so. */
void ballots_noise(struct sim *sim, struct agent *agent, const struct gtrid *gtrid)
{
    struct terminator_actions actions;
    enum ending_state state = terminator_state(agent->terminator, gtrid);
    struct ballot ballot = {.type = BALLOT_JOIN, .gtrid = *gtrid, .number = 1};
    for (unsigned type = XE_WATCH; type < XE_TICK; type++) {
        struct terminator_event event = event_of(sim, agent, (enum ending_event)type, gtrid);
        event.ballot = &ballot;
        event.branch = "";
        if (!terminator_cell_idle(state, type))
            continue;
        terminator_step(agent->terminator, &event, &actions);
        if (actions.count > 0 || terminator_state(agent->terminator, gtrid) != state)
            violation(sim, "an agent acts on noise: %s in %s", ending_event_word(event.type),
                      ending_state_word(state));
    }
}
