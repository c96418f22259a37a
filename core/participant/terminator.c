/*
 * core/participant/terminator.c - an agent finishes 3pc transactions when their TM is silent.
 *
 * Silence proves nothing, and need not: a ballot that was not needed costs messages and never a
 * decision. So the time to lead is chosen only so that it is rarely wasted, and at random, so that
 * two agents rarely lead at once.
 */
#include "core/participant/terminator.h"

#include <assert.h>
#include <string.h>

#include "core/ballot/leader.h"
#include "core/base/mutant.h"
#include "core/base/slots.h"
#include "core/base/table.h"
#include "core/base/timers.h"

enum {
    TMS_MAX = 16,
    LATE_MS = 5000, /* behind a PREPARE's time, when we no longer wait for a TM that lives */
    TELL_MOST = 12, /* times, of those who do not answer */
    FOR_OTHERS_MS = 20 * 1000, /* a leader who was asked to lead goes on that long */
};

struct ending {
    struct gtrid gtrid;
    enum ending_state state;
    struct roster roster;
    uint32_t rank; /* our own */
    uint32_t branch_count;
    uint32_t branches[BRANCHES_MAX]; /* hashes of their names */
    uint64_t since_ms;
    uint64_t late_ms; /* TIMER_NEVER: no limit */
    uint32_t resend_ms;
    struct leader leader;
    bool barred;               /* LED: our own row may not vote */
    uint32_t asked;            /* then: whom to ask to lead next */
    uint64_t for_others_until; /* we were asked to lead, though nothing of it may be here */
    enum outcome outcome;
    bool clear;    /* DECIDED: nothing is prepared here any more */
    uint32_t deaf; /* DECIDED: who has not answered that it knows */
    uint32_t tells;
};

struct heard {
    char tm[TM_NAME_BYTES];
    uint64_t incarnation;
    uint64_t at_ms;
};

struct terminator {
    struct terminator_settings settings;
    bool hushed;
    uint32_t heard_next;
    struct heard heard[TMS_MAX];
    struct slots slots;
    struct ending *endings;
    struct table table;
    struct timers timers;
};

enum move {
    HOLE = 0,
    IGNORE,
    IMPOSSIBLE,
    WATCH,
    DROP,
    LEAVE,
    STEP,
    HEARD,
    FINISH,
    LATE,
    CLEARED,
    ASK,
    LEAD,
    WAKE
};

/* clang-format off */
static const enum move moves[ENDING_STATES][XE_EVENTS] = {
#define ROW(...) {HOLE, __VA_ARGS__}
    /*                     WATCH   OVER    ANSWER  OUTCOME CLEAR    BARRED LEAD    TICK */
    [ENDING_NONE]    = ROW(WATCH,  IGNORE, IGNORE, FINISH, IGNORE,  IGNORE, LEAD,   IMPOSSIBLE),
    [ENDING_WATCHED] = ROW(WATCH,  DROP,   IGNORE, FINISH, LEAVE,   IGNORE, LEAD,   WAKE),
    [ENDING_LED]     = ROW(WATCH,  DROP,   STEP,   FINISH, LEAVE,   ASK,    LEAD,   WAKE),
    [ENDING_DECIDED] = ROW(LATE,   IGNORE, HEARD,  IGNORE, CLEARED, IGNORE, IGNORE, WAKE),
#undef ROW
};
/* clang-format on */

const char *ending_state_word(enum ending_state state)
{
    static const char *const words[ENDING_STATES] = {"none", "watched", "led", "decided"};
    return words[state];
}

const char *ending_event_word(enum ending_event event)
{
    static const char *const words[XE_EVENTS] = {"hole",  "watch",  "over", "answer", "outcome",
                                                 "clear", "barred", "lead", "tick"};
    return words[event];
}

/* ---- memory ---- */

static struct terminator *terminator_lay_out(struct memory *memory, uint32_t txns_max)
{
    struct slots slots;
    struct table table;
    struct timers timers;
    struct terminator *t = memory_take(memory, 1, sizeof *t);
    struct ending *endings = memory_take(memory, txns_max, sizeof *endings);
    slots_init(&slots, memory, txns_max);
    table_init(&table, memory, txns_max);
    timers_init(&timers, memory, txns_max);
    if (t == NULL)
        return NULL;
    t->slots = slots;
    t->endings = endings;
    t->table = table;
    t->timers = timers;
    return t;
}

size_t terminator_bytes(uint32_t txns_max)
{
    struct memory memory = {.base = NULL};
    terminator_lay_out(&memory, txns_max);
    return memory.used;
}

struct terminator *terminator_init(void *room, uint32_t txns_max,
                                   const struct terminator_settings *settings)
{
    struct memory memory = {.base = room};
    struct terminator *t = terminator_lay_out(&memory, txns_max);
    t->settings = *settings;
    return t;
}

static uint64_t terminator_gtrid_hash(const struct gtrid *gtrid)
{
    uint64_t number[2] = {gtrid->incarnation, gtrid->sequence};
    return hash_bytes(gtrid->tm, text_length(gtrid->tm, TM_NAME_BYTES),
                      hash_bytes(number, sizeof number, 0));
}

static uint32_t terminator_find(const struct terminator *t, const struct gtrid *gtrid)
{
    struct probe probe;
    for (uint32_t i = table_first(&t->table, terminator_gtrid_hash(gtrid), &probe); i != NO_ITEM;
         i = table_next(&t->table, &probe))
        if (gtrid_equal(&t->endings[i].gtrid, gtrid))
            return i;
    return NO_ITEM;
}

static uint32_t terminator_remember(struct terminator *t, const struct gtrid *gtrid)
{
    uint32_t at = slots_take(&t->slots);
    if (at == NO_ITEM)
        return NO_ITEM;
    memset(&t->endings[at], 0, sizeof t->endings[at]);
    t->endings[at].gtrid = *gtrid;
    t->endings[at].late_ms = TIMER_NEVER;
    table_put(&t->table, terminator_gtrid_hash(gtrid), at);
    return at;
}

static void terminator_forget(struct terminator *t, uint32_t at)
{
    table_remove(&t->table, terminator_gtrid_hash(&t->endings[at].gtrid), at);
    timers_set(&t->timers, at, TIMER_NEVER);
    t->endings[at].state = ENDING_NONE;
    slots_give(&t->slots, at);
}

/* ---- time ---- */

/* From nothing up to `most`, the same for the same question. */
static uint64_t terminator_draw(const struct terminator *t, const struct ending *ending,
                                uint64_t what, uint64_t most)
{
    uint64_t numbers[3] = {what, terminator_gtrid_hash(&ending->gtrid), ending->rank};
    return hash_bytes(numbers, sizeof numbers, t->settings.seed) % (most + 1);
}

static uint64_t terminator_heard_ms(const struct terminator *t, const struct ending *ending)
{
    for (uint32_t i = 0; i < TMS_MAX && !MUTANT(HEARTBEAT_IGNORED); i++)
        if (t->heard[i].incarnation == ending->gtrid.incarnation &&
            text_equal(t->heard[i].tm, ending->gtrid.tm, TM_NAME_BYTES) &&
            t->heard[i].at_ms > ending->since_ms)
            return t->heard[i].at_ms;
    return ending->since_ms;
}

/* When it will be time to lead, as things stand. */
static uint64_t terminator_lead_ms(const struct terminator *t, const struct ending *ending)
{
    uint64_t jitter_ms = terminator_draw(t, ending, 0, t->settings.silence_ms / 2);
    uint64_t silent_ms = terminator_heard_ms(t, ending) + t->settings.silence_ms;
    uint64_t late_ms = ending->late_ms == TIMER_NEVER ? TIMER_NEVER : ending->late_ms + LATE_MS;
    return timers_earlier(silent_ms, late_ms) + jitter_ms;
}

static void terminator_wake_in(struct terminator *t, uint32_t at, uint64_t now_ms)
{
    struct ending *ending = &t->endings[at];
    timers_set(&t->timers, at, now_ms + ending->resend_ms);
    ending->resend_ms *= 2;
    if (ending->resend_ms > t->settings.resend_most_ms)
        ending->resend_ms = t->settings.resend_most_ms;
}

void terminator_heard(struct terminator *t, const char *tm, uint64_t incarnation, uint64_t now_ms)
{
    uint32_t at = 0;
    while (at < TMS_MAX && !text_equal(t->heard[at].tm, tm, TM_NAME_BYTES))
        at++;
    if (at == TMS_MAX) {
        at = t->heard_next;
        t->heard_next = (at + 1) % TMS_MAX;
        text_copy(t->heard[at].tm, TM_NAME_BYTES, tm, text_length(tm, TM_NAME_BYTES));
    }
    t->heard[at].incarnation = incarnation;
    t->heard[at].at_ms = now_ms;
}

void terminator_hush(struct terminator *t, bool hushed)
{
    t->hushed = hushed;
}

/* ---- what is to be done ---- */

static struct terminator_action *terminator_act(struct terminator_actions *out,
                                                const struct ending *ending,
                                                enum terminator_act type)
{
    assert(out->count < TERMINATOR_ACTIONS_MAX);
    struct terminator_action *action = &out->list[out->count++];
    memset(action, 0, sizeof *action);
    action->type = type;
    action->ballot.gtrid = ending->gtrid;
    return action;
}

static void terminator_say(const struct ending *ending, enum ballot_type type, uint32_t to,
                           struct terminator_actions *out)
{
    struct terminator_action *action = terminator_act(out, ending, TA_SAY);
    action->to = to;
    action->ballot.type = type;
    action->ballot.number = ending->leader.number;
    action->ballot.roster = ending->roster;
    if (type == BALLOT_ASK_ACCEPT)
        action->ballot.value = ending->leader.value;
    if (type == BALLOT_TELL)
        action->ballot.value = ending->outcome;
}

static void terminator_tell_again(struct ending *ending, struct terminator_actions *out)
{
    if (ending->deaf == 0)
        return;
    if (ending->tells++ == TELL_MOST)
        ending->deaf = 0;
    else
        terminator_say(ending, BALLOT_TELL, ending->deaf, out);
}

/* Finish what is prepared here, and tell those who may not know it. */
static void terminator_finish(struct terminator *t, uint32_t at, enum outcome outcome,
                              uint32_t deaf, uint64_t now_ms, struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    ending->state = ENDING_DECIDED;
    ending->outcome = outcome;
    ending->clear = false;
    ending->deaf = deaf;
    ending->resend_ms = t->settings.resend_least_ms;
    terminator_act(out, ending, TA_FINISH)->ballot.value = outcome;
    terminator_tell_again(ending, out);
    terminator_wake_in(t, at, now_ms);
}

static void terminator_carry_out(struct terminator *t, uint32_t at, enum leader_act what,
                                 uint64_t now_ms, struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    uint32_t silent = leader_silent(&ending->leader, &ending->roster);

    switch (what) {
    case LEAD_NOTHING:
        return;
    case LEAD_PLEDGE:
        terminator_say(ending, BALLOT_PLEDGE, rank_bit(ending->rank), out);
        break;
    case LEAD_ASK:
        terminator_say(ending, BALLOT_ASK_PROMISE, silent, out);
        break;
    case LEAD_PROPOSE:
        terminator_say(ending, BALLOT_ASK_ACCEPT, silent, out);
        break;
    case LEAD_YIELD:
        timers_set(&t->timers, at,
                   now_ms + t->settings.resend_least_ms +
                       terminator_draw(t, ending, ending->leader.highest,
                                       8 * (uint64_t)t->settings.resend_least_ms));
        break;
    case LEAD_DECIDED:
        terminator_finish(t, at, ending->leader.value, roster_all(&ending->roster), now_ms, out);
        break;
    }
}

static enum leader_act terminator_lead(struct ending *ending, enum leader_event event,
                                       uint32_t from, const struct ballot *ballot)
{
    return leader_step(&ending->leader, &ending->roster, event, from, ballot);
}

/* ---- moves ---- */

static uint32_t terminator_name_hash(const char *name)
{
    return (uint32_t)hash_bytes(name, text_length(name, BRANCH_NAME_BYTES), 0);
}

static void terminator_enter(const struct terminator *t, struct ending *ending,
                             const struct terminator_event *event)
{
    if (ending->state != ENDING_NONE)
        return;
    ending->state = ENDING_WATCHED;
    ending->roster = *event->roster;
    ending->rank = roster_rank(event->roster, t->settings.rm);
    ending->leader.rank = ending->rank;
    ending->since_ms = event->now_ms;
}

static void terminator_watch(struct terminator *t, uint32_t at,
                             const struct terminator_event *event)
{
    struct ending *ending = &t->endings[at];
    uint32_t hash = terminator_name_hash(event->branch), i = 0;
    terminator_enter(t, ending, event);
    if (event->timeout_ms != 0 && ending->late_ms == TIMER_NEVER)
        ending->late_ms = event->now_ms + event->timeout_ms;
    while (i < ending->branch_count && ending->branches[i] != hash)
        i++;
    if (i == ending->branch_count && i < BRANCHES_MAX)
        ending->branches[ending->branch_count++] = hash;
    if (ending->state == ENDING_WATCHED)
        timers_set(&t->timers, at, terminator_lead_ms(t, ending));
}

static void terminator_drop(struct terminator *t, uint32_t at, const char *branch)
{
    struct ending *ending = &t->endings[at];
    for (uint32_t i = 0; i < ending->branch_count; i++)
        if (ending->branches[i] == terminator_name_hash(branch))
            ending->branches[i] = ending->branches[--ending->branch_count];
    if (ending->branch_count == 0)
        terminator_forget(t, at);
}

static enum leader_event terminator_answer_means(const struct ending *ending, enum ballot_type type,
                                                 uint32_t from)
{
    switch (type) {
    case BALLOT_PROMISED:
        return from == ending->rank && ending->leader.state == LEADER_PLEDGING ? LE_PLEDGED
                                                                               : LE_PROMISED;
    case BALLOT_ACCEPTED:
        return LE_ACCEPTED;
    case BALLOT_OUTBID:
        return LE_OUTBID;
    case BALLOT_DECIDED:
        return LE_DECIDED;
    default:
        return LE_HOLE;
    }
}

static void terminator_step_leader(struct terminator *t, uint32_t at,
                                   const struct terminator_event *event,
                                   struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    enum leader_event means = terminator_answer_means(ending, event->ballot->type, event->from);
    if (event->ballot->type == BALLOT_ENDED && ending->barred)
        terminator_forget(t, at); /* what was committed here may have been lost: it is a DBA's */
    else if (event->ballot->type == BALLOT_ENDED)
        terminator_finish(t, at, OUTCOME_ROLLED_BACK, 0, event->now_ms, out);
    else if (means != LE_HOLE)
        terminator_carry_out(t, at, terminator_lead(ending, means, event->from, event->ballot),
                             event->now_ms, out);
}

/* Our row may have lost a number that we have led before, so we lead none. Anybody who may vote can
 * lead, and finds what was decided: one after the other, as long as we wake. */
static void terminator_ask_to_lead(struct ending *ending, struct terminator_actions *out)
{
    uint32_t others = ending->roster.count - 1;
    ending->barred = true;
    if (others == 0)
        return;
    uint32_t to = (ending->rank + 1 + ending->asked++ % others) % ending->roster.count;
    terminator_say(ending, BALLOT_ASK_LEAD, rank_bit(to), out);
}

static void terminator_forget_if_done(struct terminator *t, uint32_t at)
{
    const struct ending *ending = &t->endings[at];
    if (ending->clear && ending->deaf == 0)
        terminator_forget(t, at);
}

static void terminator_lead_or_repeat(struct terminator *t, uint32_t at, uint64_t now_ms,
                                      struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    bool first = ending->state == ENDING_WATCHED;
    if (first)
        ending->resend_ms = t->settings.resend_least_ms;
    terminator_wake_in(t, at, now_ms);
    if (t->hushed || ending->rank == RANK_NONE)
        return;
    ending->state = ENDING_LED;
    terminator_carry_out(t, at,
                         terminator_lead(ending, first ? LE_LEAD : LE_AGAIN, ending->rank, NULL),
                         now_ms, out);
}

static void terminator_wake(struct terminator *t, uint32_t at, uint64_t now_ms,
                            struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    if (ending->state == ENDING_DECIDED) {
        if (!ending->clear)
            terminator_act(out, ending, TA_FINISH)->ballot.value = ending->outcome;
        terminator_tell_again(ending, out);
        terminator_wake_in(t, at, now_ms);
        terminator_forget_if_done(t, at);
    } else if (ending->state == ENDING_WATCHED && terminator_lead_ms(t, ending) > now_ms) {
        timers_set(&t->timers, at, terminator_lead_ms(t, ending)); /* it was heard from meanwhile */
    } else {
        terminator_lead_or_repeat(t, at, now_ms, out);
    }
}

/* Nothing of it need be here: then it is left once it is decided, or nobody asks any more. */
static void terminator_lead_for_another(struct terminator *t, uint32_t at,
                                        const struct terminator_event *event,
                                        struct terminator_actions *out)
{
    struct ending *ending = &t->endings[at];
    terminator_enter(t, ending, event);
    ending->for_others_until = event->now_ms + FOR_OTHERS_MS;
    if (ending->state == ENDING_WATCHED)
        terminator_lead_or_repeat(t, at, event->now_ms, out);
}

bool terminator_step(struct terminator *t, const struct terminator_event *event,
                     struct terminator_actions *out)
{
    uint32_t at = terminator_find(t, &event->gtrid);
    enum ending_state state = at == NO_ITEM ? ENDING_NONE : t->endings[at].state;
    enum move move = moves[state][event->type];
    out->count = 0;
    COVER(TERMINATOR, state, event->type);

    if (at == NO_ITEM && move != IGNORE) {
        at = terminator_remember(t, &event->gtrid);
        if (at == NO_ITEM)
            return false;
    }
    switch (move) {
    case WATCH:
        terminator_watch(t, at, event);
        break;
    case DROP:
        terminator_drop(t, at, event->branch);
        break;
    case LEAVE:
        if (event->now_ms >= t->endings[at].for_others_until)
            terminator_forget(t, at);
        break;
    case STEP:
        terminator_step_leader(t, at, event, out);
        break;
    case HEARD:
        if (event->ballot->type == BALLOT_DECIDED || event->ballot->type == BALLOT_ENDED)
            t->endings[at].deaf &= ~rank_bit(event->from);
        terminator_forget_if_done(t, at);
        break;
    case FINISH: /* whoever led tells the others */
        terminator_finish(t, at, event->ballot->value, 0, event->now_ms, out);
        break;
    case LATE: /* prepared after we had found nothing left */
        if (t->endings[at].clear)
            terminator_finish(t, at, t->endings[at].outcome, t->endings[at].deaf, event->now_ms,
                              out);
        break;
    case CLEARED:
        t->endings[at].clear = true;
        terminator_forget_if_done(t, at);
        break;
    case ASK:
        terminator_ask_to_lead(&t->endings[at], out);
        break;
    case LEAD:
        terminator_lead_for_another(t, at, event, out);
        break;
    case WAKE:
        terminator_wake(t, at, event->now_ms, out);
        break;
    case IGNORE:
        break;
    case HOLE:
    case IMPOSSIBLE:
        assert(false && "an event that cannot happen in this state");
    }
    return true;
}

bool terminator_due(struct terminator *t, uint64_t now_ms, struct terminator_event *out)
{
    uint32_t at;
    if (!timers_due(&t->timers, now_ms, &at))
        return false;
    memset(out, 0, sizeof *out);
    out->type = XE_TICK;
    out->now_ms = now_ms;
    out->gtrid = t->endings[at].gtrid;
    return true;
}

uint64_t terminator_wake_ms(const struct terminator *t)
{
    return timers_next_ms(&t->timers);
}

uint32_t terminator_count(const struct terminator *t)
{
    return slots_used(&t->slots);
}

bool terminator_next(const struct terminator *t, uint32_t *from, struct gtrid *out)
{
    for (; *from < t->slots.max; ++*from) {
        if (t->endings[*from].state == ENDING_NONE)
            continue;
        *out = t->endings[(*from)++].gtrid;
        return true;
    }
    return false;
}

enum ending_state terminator_state(const struct terminator *t, const struct gtrid *gtrid)
{
    uint32_t at = terminator_find(t, gtrid);
    return at == NO_ITEM ? ENDING_NONE : t->endings[at].state;
}

const struct roster *terminator_roster(const struct terminator *t, const struct gtrid *gtrid)
{
    uint32_t at = terminator_find(t, gtrid);
    return at == NO_ITEM ? NULL : &t->endings[at].roster;
}
