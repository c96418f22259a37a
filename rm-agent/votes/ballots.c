/*
 * rm-agent/votes/ballots.c - three-phase commit in the agent: what the others say, and when to
 * lead.
 *
 * Three may ask: the coordinator by an order, another agent by a message, our own leader by nothing
 * at all. A question becomes a transaction on the row (acceptors.c), and its answer goes where it
 * came from. What core/participant/terminator.c finds decided is carried out on the branches as if
 * the coordinator had ordered it. tests/sim/ballots.c does the same with a simulated PostgreSQL.
 */
#include "rm-agent/votes/ballots.h"

#include <stdlib.h>
#include <string.h>

#include "common/logger.h"
#include "common/must.h"
#include "common/point.h"
#include "common/ticket.h"
#include "core/participant/terminator.h"
#include "rm-agent/postgres/control.h"
#include "rm-agent/talk/asker.h"
#include "rm-agent/talk/book.h"
#include "rm-agent/talk/mail.h"
#include "rm-agent/talk/peers.h"
#include "rm-agent/votes/acceptors.h"

enum { RESEND_LEAST_MS = 200, RESEND_MOST_MS = 3000 };

struct ballots {
    struct terminator *terminator;
    uint64_t look_ms; /* when to look around again */
    bool looking;
};

/* Who has asked, "" for the coordinator. */
struct asked {
    struct agent *agent;
    struct ballot ballot;
    char rm[RM_NAME_BYTES];
};

static void take_ballot(struct agent *agent, const struct ballot *ballot, const char *from);
static void step(struct agent *agent, const struct terminator_event *event);

static struct terminator_event event_of(enum ending_event type, const struct gtrid *gtrid)
{
    return (struct terminator_event){.type = type, .now_ms = loop_now_ms(), .gtrid = *gtrid};
}

/* ---- what we say ---- */

static void tell_tm(struct agent *agent, const struct ballot *ballot)
{
    struct result result = {.type = RESULT_BALLOT, .ballot = *ballot};
    memcpy(result.branch.rm, agent->options->rm, sizeof result.branch.rm);
    mail_post(agent, ballot->gtrid.tm, &result);
}

static void ballots_send(struct agent *agent, const struct ballot *ballot, const char *to)
{
    if (to[0] == '\0')
        tell_tm(agent, ballot);
    else if (strcmp(to, agent->options->rm) == 0)
        take_ballot(agent, ballot, to);
    else
        peers_say(agent, to, ballot);
}

static void send_to_all(struct agent *agent, const struct terminator_action *action)
{
    const struct roster *roster = &action->ballot.roster;
    for (uint32_t i = 0; i < roster->count; i++)
        if (action->to & rank_bit(i))
            ballots_send(agent, &action->ballot, roster->agents[i]);
    if (action->to & rank_bit(RANK_TM))
        ballots_send(agent, &action->ballot, "");
}

/* ---- what is decided ---- */

struct finishing {
    struct agent *agent;
    struct ballot decided;
    struct row row;
};

/* This database may have lost what it voted for: a row without a vote proves nothing then. */
static bool may_have_lost_votes(struct agent *agent, const struct gtrid *gtrid)
{
    const struct tm_link *tm = book_known(agent, gtrid->tm);
    struct txn_number number = {gtrid->incarnation, gtrid->sequence};
    return tm == NULL || tm->suspect || txn_not_after(&number, &tm->votes_after);
}

/* Only what was voted for is committed: another transaction under the same name is rolled back.
 * Where the vote may be lost, only the coordinator can tell the two apart, for it keeps the xid. */
static void finish_branch_as_decided(struct finishing *finishing, const struct branch_id *branch)
{
    struct order order = {.branch = *branch, .xid = row_xid(&finishing->row, branch->branch)};
    bool commit = finishing->decided.value == OUTCOME_COMMITTED && order.xid != 0;
    if (finishing->decided.value == OUTCOME_COMMITTED && order.xid == 0 &&
        may_have_lost_votes(finishing->agent, &branch->gtrid))
        return;
    agent_event(finishing->agent,
                (struct participant_event){
                    .type = commit ? PE_COMMIT : PE_ROLLBACK, .branch = *branch, .order = &order});
}

/* Those that may still become prepared; true if there are any. */
static bool finish_what_is_under_way(struct finishing *finishing)
{
    struct agent *agent = finishing->agent;
    struct branch_id branch;
    bool any = false;
    for (uint32_t at = 0;
         participant_under_way(agent->participant, &finishing->decided.gtrid, &at, &branch); at++) {
        any = true;
        finish_branch_as_decided(finishing, &branch);
    }
    return any;
}

static void took_branches(void *arg, const struct pg_reply *reply)
{
    struct finishing *finishing = arg;
    struct agent *agent = finishing->agent;
    struct branch_id branch;
    bool any = finish_what_is_under_way(finishing);
    for (int i = 0; i < pg_rows(reply); i++) {
        const char *gid = pg_value(reply, i, 0);
        if (!gid_parse(gid, strlen(gid), &branch) || strcmp(branch.rm, agent->options->rm) != 0)
            continue;
        any = true;
        finish_branch_as_decided(finishing, &branch);
    }
    if (!any && reply->sqlstate[0] == '\0') {
        struct terminator_event clear = event_of(XE_CLEAR, &finishing->decided.gtrid);
        step(agent, &clear);
    }
    free(finishing);
}

/* Of all our gids of this transaction. */
static void write_prefix(const struct gtrid *gtrid, const char *rm, char out[GID_BYTES])
{
    struct branch_id branch = {.gtrid = *gtrid};
    text_copy(branch.rm, sizeof branch.rm, rm, strlen(rm));
    gid_format(&branch, out);
    strrchr(out, '_')[1] = '\0';
}

static void took_votes(void *arg, const struct row_answer *answer)
{
    struct finishing *finishing = arg;
    char prefix[GID_BYTES];
    if (answer->failed) {
        free(finishing);
        return;
    }
    finishing->row = *answer->row;
    write_prefix(&finishing->decided.gtrid, finishing->agent->options->rm, prefix);
    control_ask(finishing->agent, took_branches, finishing,
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
                " AND starts_with(gid, $1)",
                1, prefix);
}

/* Order every branch that is prepared here, or may still be, to its end; until there is none, this
 * comes again. */
static void finish(struct agent *agent, const struct ballot *decided)
{
    struct finishing *finishing = must_alloc(sizeof *finishing, "the end of a transaction");
    finishing->agent = agent;
    finishing->decided = *decided;
    POINT("agent.before-decision-carried-out");
    acceptors_look(agent, &decided->gtrid, took_votes, finishing);
}

static void say_state(const struct gtrid *gtrid, enum ending_state before, enum ending_state after,
                      const struct terminator_actions *actions)
{
    char name[GTRID_BYTES];
    gtrid_format(gtrid, name);
    if (before == ENDING_WATCHED && after == ENDING_LED)
        log_notice("%s: nothing is heard of its coordinator; asking the other acceptors", name);
    for (uint32_t i = 0; i < actions->count; i++)
        if (before != ENDING_DECIDED && actions->list[i].type == TA_FINISH)
            log_notice("%s: the acceptors have decided: %s", name,
                       outcome_word(actions->list[i].ballot.value));
}

static void step(struct agent *agent, const struct terminator_event *event)
{
    struct terminator_actions actions;
    struct terminator *terminator = agent->ballots->terminator;
    enum ending_state before = terminator_state(terminator, &event->gtrid);
    terminator_step(terminator, event, &actions);
    say_state(&event->gtrid, before, terminator_state(terminator, &event->gtrid), &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.list[i].type == TA_SAY)
            send_to_all(agent, &actions.list[i]);
        else
            finish(agent, &actions.list[i].ballot);
    }
}

/* ---- what we hear ---- */

static bool is_question(enum ballot_type type)
{
    return type == BALLOT_JOIN || type == BALLOT_ASK_PROMISE || type == BALLOT_ASK_ACCEPT ||
           type == BALLOT_TELL || type == BALLOT_ASK_LEAD;
}

static void ballots_take_answer(struct agent *agent, const struct ballot *ballot, const char *from)
{
    const struct roster *roster = terminator_roster(agent->ballots->terminator, &ballot->gtrid);
    if (roster == NULL)
        return;
    struct terminator_event event = event_of(XE_ANSWER, &ballot->gtrid);
    event.ballot = ballot;
    event.from = from[0] == '\0' ? (uint32_t)RANK_TM : roster_rank(roster, from);
    if (event.from != RANK_NONE)
        step(agent, &event);
}

static void judged(void *arg, const struct row_answer *answer)
{
    struct asked asked = *(struct asked *)arg;
    struct agent *agent = asked.agent;
    free(arg);
    if (answer->failed)
        return; /* it will be asked again */
    POINT("agent.vote-given");
    if (asked.ballot.type == BALLOT_TELL && answer->said->type == BALLOT_DECIDED) {
        struct terminator_event outcome = event_of(XE_OUTCOME, &asked.ballot.gtrid);
        outcome.ballot = answer->said;
        step(agent, &outcome);
    }
    if (answer->may_not_vote && asked.ballot.type == BALLOT_PLEDGE) {
        struct terminator_event barred = event_of(XE_BARRED, &asked.ballot.gtrid);
        step(agent, &barred);
    }
    if (answer->said->type == BALLOT_ASK_LEAD) {
        struct terminator_event lead = event_of(XE_LEAD, &asked.ballot.gtrid);
        lead.roster = &asked.ballot.roster;
        step(agent, &lead);
        return;
    }
    if (answer->said->type == BALLOT_NONE)
        return;
    if (strcmp(asked.rm, agent->options->rm) == 0)
        ballots_take_answer(agent, answer->said, asked.rm);
    else
        ballots_send(agent, answer->said, asked.rm);
}

static void ballots_judge(struct agent *agent, const struct ballot *ballot, uint64_t lsn,
                          const char *from)
{
    struct asked *asked = must_alloc(sizeof *asked, "a ballot");
    asked->agent = agent;
    asked->ballot = *ballot;
    text_copy(asked->rm, sizeof asked->rm, from, strlen(from));
    acceptors_judge(agent, ballot, lsn, judged, asked);
}

/* A database that may have forgotten what it said neither answers nor leads. Without it there is no
 * vote, and what is said then will be said again. */
static bool may_speak(struct agent *agent, const struct ballot *ballot)
{
    const struct tm_link *tm = book_known(agent, ballot->gtrid.tm);
    return control_ready(agent) && tm != NULL && !tm->suspect && ballot_fits(ballot);
}

static void take_ballot(struct agent *agent, const struct ballot *ballot, const char *from)
{
    bool pledges = ballot->type == BALLOT_PLEDGE && strcmp(from, agent->options->rm) == 0;
    if (!may_speak(agent, ballot))
        return;
    if (pledges || is_question(ballot->type))
        ballots_judge(agent, ballot, 0, from);
    else
        ballots_take_answer(agent, ballot, from);
}

void ballots_order(struct agent *agent, const struct order *order)
{
    if (!may_speak(agent, &order->ballot))
        return;
    POINT("agent.take-ballot");
    if (is_question(order->ballot.type))
        ballots_judge(agent, &order->ballot, order->lsn, "");
    else
        ballots_take_answer(agent, &order->ballot, "");
}

void ballots_from_peer(struct agent *agent, struct asker *asker, const cJSON *object)
{
    struct failure failure = {0};
    struct ballot *ballots = must_alloc(BALLOTS_MAX * sizeof *ballots, "the ballots of a message");
    char rm[RM_NAME_BYTES];
    struct tm_link *tm;
    uint32_t count;
    if (peers_read(agent, object, &tm, rm, ballots, &count, &failure) != 0) {
        asker_failure(asker, &failure);
    } else {
        for (uint32_t i = 0; i < count; i++)
            take_ballot(agent, &ballots[i], rm);
        asker_object(asker, wire_ok());
    }
    free(ballots);
}

void ballots_heard(struct agent *agent, const struct tm_link *tm)
{
    if (agent->ballots != NULL)
        terminator_heard(agent->ballots->terminator, tm->name, tm->incarnation, loop_now_ms());
}

/* ---- what is watched ---- */

bool ballots_watch(struct agent *agent, const struct order *order)
{
    struct terminator_actions actions;
    const struct roster *roster = &order->ballot.roster;
    const char *missing;
    char gid[GID_BYTES];
    if (roster->count == 0)
        return true;
    if (!peers_known(agent, order->branch.gtrid.tm, roster, &missing)) {
        gid_format(&order->branch, gid);
        log_warning("%s: not prepared yet: where the agent of %s is, its coordinator has not told",
                    gid, missing);
        return false;
    }
    struct terminator_event event = event_of(XE_WATCH, &order->branch.gtrid);
    event.branch = order->branch.branch;
    event.roster = roster;
    event.timeout_ms = order->timeout_ms;
    return terminator_step(agent->ballots->terminator, &event, &actions);
}

const struct roster *ballots_roster(const struct agent *agent, const struct gtrid *gtrid)
{
    return terminator_roster(agent->ballots->terminator, gtrid);
}

void ballots_committed(struct agent *agent, const struct gtrid *gtrid)
{
    if (ballots_roster(agent, gtrid) != NULL)
        acceptors_note_committed(agent, gtrid);
}

/* It has come to its end, or turned out to have none. A no says nothing about what may still be
 * prepared. */
void ballots_told(struct agent *agent, const struct result *result)
{
    switch (result->type) {
    case RESULT_READ_ONLY:
    case RESULT_DONE:
    case RESULT_HEURISTIC:
    case RESULT_UNKNOWN: {
        struct terminator_event over = event_of(XE_OVER, &result->branch.gtrid);
        over.branch = result->branch.branch;
        step(agent, &over);
        break;
    }
    default:
        break;
    }
}

/* ---- what has to be watched ---- */

struct found {
    struct agent *agent;
    struct branch_id branch;
};

static void looked_at(void *arg, const struct row_answer *answer)
{
    struct found found = *(struct found *)arg;
    free(arg);
    if (answer->failed || !answer->row->acceptor.exists)
        return;
    const struct ballot decided = {.value = answer->row->acceptor.outcome};
    struct terminator_event event = event_of(XE_WATCH, &found.branch.gtrid);
    event.branch = found.branch.branch;
    event.roster = &answer->row->roster;
    event.ballot = &decided;
    step(found.agent, &event);
    if (decided.value == OUTCOME_NONE)
        return;
    event.type = XE_OUTCOME;
    step(found.agent, &event);
}

static void look_at(struct agent *agent, const struct branch_id *branch)
{
    enum ending_state state = terminator_state(agent->ballots->terminator, &branch->gtrid);
    if (state == ENDING_WATCHED || state == ENDING_LED ||
        book_known(agent, branch->gtrid.tm) == NULL)
        return;
    struct found *found = must_alloc(sizeof *found, "a branch that was found");
    *found = (struct found){agent, *branch};
    acceptors_look(agent, &branch->gtrid, looked_at, found);
}

static int compare(const void *left, const void *right)
{
    const struct gtrid *a = left, *b = right;
    if (a->incarnation != b->incarnation)
        return a->incarnation < b->incarnation ? -1 : 1;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return strcmp(a->tm, b->tm);
}

static bool is_under_way(const struct agent *agent, const struct gtrid *gtrid)
{
    struct branch_id branch;
    uint32_t at = 0;
    return participant_under_way(agent->participant, gtrid, &at, &branch);
}

/* What is watched, and not here any more: its answer was lost, and nobody will speak of it. */
static void clear_up(struct agent *agent, const struct gtrid *prepared, size_t count)
{
    struct gtrid gtrid;
    for (uint32_t at = 0; terminator_next(agent->ballots->terminator, &at, &gtrid);) {
        struct terminator_event clear = event_of(XE_CLEAR, &gtrid);
        if (bsearch(&gtrid, prepared, count, sizeof gtrid, compare) == NULL &&
            !is_under_way(agent, &gtrid))
            step(agent, &clear);
    }
}

static void looked_around(void *arg, const struct pg_reply *reply)
{
    struct agent *agent = arg;
    agent->ballots->looking = false;
    if (reply->sqlstate[0] != '\0')
        return;
    struct gtrid *prepared =
        must_alloc(((size_t)pg_rows(reply) + 1) * sizeof *prepared, "a list of what is prepared");
    size_t count = 0;
    for (int i = 0; i < pg_rows(reply); i++) {
        const char *gid = pg_value(reply, i, 0);
        struct branch_id branch;
        if (!gid_parse(gid, strlen(gid), &branch) || strcmp(branch.rm, agent->options->rm) != 0)
            continue;
        prepared[count++] = branch.gtrid;
        look_at(agent, &branch);
    }
    qsort(prepared, count, sizeof *prepared, compare);
    clear_up(agent, prepared, count);
    free(prepared);
}

/* What is prepared here, has a row, and is not watched: after a start, or since an application has
 * prepared its block again. */
static void look_around(struct agent *agent, uint64_t now_ms)
{
    agent->ballots->look_ms = now_ms + agent->options->termination_timeout_ms;
    if (agent->ballots->looking)
        return;
    agent->ballots->looking = true;
    control_ask(agent, looked_around, agent,
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", 0);
}

/* ---- the agent's time ---- */

void ballots_serve(struct agent *agent)
{
    struct ballots *ballots = must_alloc(sizeof *ballots, "the ballots");
    void *memory = must_alloc(terminator_bytes(agent->options->max_branches), "the ballots");
    struct terminator_settings settings = {
        .silence_ms = agent->options->termination_timeout_ms,
        .resend_least_ms = RESEND_LEAST_MS,
        .resend_most_ms = RESEND_MOST_MS,
    };
    memcpy(settings.rm, agent->options->rm, sizeof settings.rm);
    random_bytes(&settings.seed, sizeof settings.seed);
    ballots->terminator = terminator_init(memory, agent->options->max_branches, &settings);
    agent->ballots = ballots;
    look_around(agent, loop_now_ms());
}

void ballots_tick(struct agent *agent, uint64_t now_ms)
{
    struct terminator_event event;
    if (agent->ballots == NULL || !control_ready(agent))
        return; /* without its database it has no vote */
    while (terminator_due(agent->ballots->terminator, now_ms, &event))
        step(agent, &event);
    if (now_ms >= agent->ballots->look_ms)
        look_around(agent, now_ms);
}

uint64_t ballots_wake_ms(const struct agent *agent)
{
    if (agent->ballots == NULL || !control_ready(agent))
        return UINT64_MAX;
    uint64_t wake_ms = terminator_wake_ms(agent->ballots->terminator);
    return wake_ms < agent->ballots->look_ms ? wake_ms : agent->ballots->look_ms;
}
