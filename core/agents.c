/*
 * core/agents.c - what agents tell the coordinator, and when it asks them.
 *
 * Only an agent that has accepted this start is heard, and only in the incarnation in which it
 * did. What its words rest on (its beat) is handed to the log before what rests on them.
 */
#include <string.h>

#include "core/coordinator_state.h"
#include "core/mutant.h"

/* Whatever waits for this agent is asked again now. */
static void wake_branches_of(struct step *s, uint32_t rm)
{
    struct live *live = &s->c->live;
    for (uint32_t i = 0; i < live->txns_max; i++) {
        struct txn *txn = &live->txns[i];
        if (txn->state == TXN_NONE || txn->resend_at_ms == TIMER_NEVER)
            continue;
        for (const struct branch *b = live_first(live, txn); b != NULL; b = live_after(live, b)) {
            if (b->rm != rm)
                continue;
            txn->resend_at_ms = s->event->now_ms;
            txn->resend_ms = s->c->settings.resend_least_ms;
            timers_set(&live->timers, i, s->event->now_ms);
            break;
        }
    }
}

void answer_event(struct step *s)
{
    struct coordinator *c = s->c;
    uint32_t at = s->event->rm;
    struct rm *rm = &c->registry.rms[at];
    bool was_waived = rm->waived;
    bool could_presume = registry_may_presume(&c->registry, NULL);
    bool first = !rm->accepted; /* in this start: the next one may then offer more */

    if (c->registry.fenced)
        return;
    switch (registry_register(&c->registry, at, s->event->answer)) {
    case REGISTRATION_ACCEPTED:
        break;
    case REGISTRATION_FENCED: {
        /* Of two copies of a log either could outrun the other by starting again and again: a
         * copy that was refused once stays refused until a person says otherwise. */
        struct record *record = write_record(s, RECORD_FENCED);
        memcpy(record->rm, rm->name, RM_NAME_BYTES);
        record->flags = rm->refusal;
        c->alarms++;
        return;
    }
    case REGISTRATION_QUARANTINED:
        c->alarms++;
        return;
    case REGISTRATION_LEFT_OUT:
        return;
    }
    if (first || was_waived) {
        struct record *record = write_record(s, RECORD_AGENT);
        memcpy(record->rm, rm->name, RM_NAME_BYTES);
        memcpy(record->url, rm->url, URL_BYTES);
        record->system_identifier = rm->system_identifier;
        record->timeline = rm->timeline;
        rm->logged = true;
        rm->accepted_start = (struct start_id){c->incarnation, c->instance};
        c->agent_tickets[at] = c->records;
    }
    if (registry_newly_established(&c->registry)) {
        write_record(s, RECORD_ESTABLISHED);
        c->registry.established = true;
    }
    c->scan_at_ms[at] = s->event->now_ms;
    /* What the others' scans found before this could not be judged yet. */
    if (!could_presume && registry_may_presume(&c->registry, NULL))
        for (uint32_t i = 0; i < c->registry.count; i++)
            c->scan_at_ms[i] = s->event->now_ms;
    wake_branches_of(s, at);
}

/* What a result rests on must be in the log before what rests on the result. */
static void note_beat(struct step *s)
{
    struct rm *rm = &s->c->registry.rms[s->event->rm];
    if (s->event->result->beat <= rm->beat)
        return;
    rm->beat = s->event->result->beat;
    if (MUTANT(BEAT_NOT_LOGGED))
        return;
    struct record *record = write_record(s, RECORD_BEAT);
    memcpy(record->rm, rm->name, RM_NAME_BYTES);
    record->beat = rm->beat;
    record->system_identifier = rm->system_identifier;
    record->timeline = rm->timeline;
}

void quarantine(struct step *s)
{
    s->c->registry.rms[s->event->rm].state = RM_QUARANTINED;
    s->c->alarms++;
}

/* Which event of its transaction a result is; the rest is about the agent itself. */
static enum txn_event result_means(enum result_type type)
{
    static const enum txn_event meaning[RESULTS] = {
        [RESULT_READY] = TE_YES,
        [RESULT_READ_ONLY] = TE_READ_ONLY,
        [RESULT_NO] = TE_NO,
        [RESULT_DONE] = TE_DONE,
        [RESULT_HEURISTIC] = TE_HEURISTIC,
        [RESULT_UNKNOWN] = TE_UNSURE,
        [RESULT_OPENED] = TE_OPENED,
        [RESULT_FOUND] = TE_FOUND,
        [RESULT_SESSION] = TE_SESSION,
    };
    return meaning[type];
}

void result_event(struct step *s)
{
    struct coordinator *c = s->c;
    const struct result *result = s->event->result;
    const struct rm *rm = &c->registry.rms[s->event->rm];

    /* From an agent that has not accepted this start, or from before its last restart. */
    if (c->registry.fenced || rm->state != RM_UP ||
        result->agent_incarnation != rm->agent_incarnation)
        return;
    if (result->type == RESULT_LOST) {
        quarantine(s);
        return;
    }
    enum txn_event event = result_means(result->type);
    if (event == TE_HOLE)
        return;
    const struct branch_id *id = &result->branch;
    if (!text_equal(id->gtrid.tm, c->settings.tm, TM_NAME_BYTES) ||
        !text_equal(id->rm, rm->name, RM_NAME_BYTES)) {
        c->refused++;
        return;
    }
    note_beat(s);
    select_txn(s, live_find(&c->live, id->gtrid.incarnation, id->gtrid.sequence));
    if (s->txn != NULL) {
        s->branch = live_find_branch(&c->live, s->txn, s->event->rm, id->branch);
        bool of_strangers_too = event == TE_FOUND || event == TE_SESSION;
        if (s->branch == NULL && !of_strangers_too) {
            c->refused++;
            return;
        }
    }
    transaction_event(s, event);
}

void scan(struct step *s)
{
    struct coordinator *c = s->c;
    c->scan_at_ms[s->event->rm] = s->event->now_ms + c->settings.scan_ms;
    if (!reachable(s, s->event->rm))
        return;
    give_order(s, ORDER_RECOVER, s->event->rm)->number = ++c->scans;

    if (s->event->now_ms > c->settings.retention_ms &&
        outcomes_expire(&c->outcomes, s->event->now_ms - c->settings.retention_ms)) {
        struct record *record = write_record(s, RECORD_HORIZON);
        record->incarnation = c->outcomes.horizon_incarnation;
        record->sequence = c->outcomes.horizon_sequence;
    }
}
