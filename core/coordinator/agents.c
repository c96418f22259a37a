/*
 * core/coordinator/agents.c - what agents tell the coordinator, and when it asks them.
 *
 * Only an agent that has accepted this start is heard, and only in the incarnation in which it
 * did. What its words rest on (its beat) is handed to the log before what rests on them.
 */
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

/* Whatever waits for this agent is asked again now. */
static void agents_wake_branches_of(struct step *s, uint32_t rm)
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

void agents_answer(struct step *s)
{
    struct coordinator *c = s->c;
    uint32_t at = s->event->rm;
    struct rm *rm = &c->registry.rms[at];
    bool was_waived = rm->waived;
    bool could_presume = registry_may_presume(&c->registry, NULL);
    bool first = !rm->accepted; /* in this start: the next one may then offer more */

    if (c->registry.fenced || rm->retired)
        return;
    switch (registry_register(&c->registry, at, s->event->answer)) {
    case REGISTRATION_ACCEPTED:
        break;
    case REGISTRATION_FENCED: {
        /* Of two copies of a log either could outrun the other by starting again and again: a
         * copy that was refused once stays refused until a person says otherwise. */
        struct record *record = output_record(s, RECORD_FENCED);
        memcpy(record->rm, rm->name, RM_NAME_BYTES);
        record->flags = rm->refusal;
        c->alarms++;
        return;
    }
    case REGISTRATION_QUARANTINED:
        quarantine_begin(s);
        return;
    case REGISTRATION_LEFT_OUT:
        return;
    }
    if (first || was_waived) {
        struct record *record = output_record(s, RECORD_AGENT);
        memcpy(record->rm, rm->name, RM_NAME_BYTES);
        memcpy(record->url, rm->url, URL_BYTES);
        record->system_identifier = rm->system_identifier;
        record->timeline = rm->timeline;
        record->met = rm->met;
        rm->logged = true;
        rm->accepted_start = (struct start_id){c->incarnation, c->instance};
        c->agent_tickets[at] = c->records;
    }
    if (registry_newly_established(&c->registry)) {
        output_record(s, RECORD_ESTABLISHED);
        c->registry.established = true;
    }
    c->scan_at_ms[at] = s->event->now_ms;
    c->forget_sent[at] = 0;
    if (!could_presume && registry_may_presume(&c->registry, NULL))
        output_scan_all_soon(s);
    agents_wake_branches_of(s, at);
}

/* What a result rests on must be in the log before what rests on the result. */
static void agents_note_beat(struct step *s)
{
    struct rm *rm = &s->c->registry.rms[s->event->rm];
    if (s->event->result->beat <= rm->beat)
        return;
    rm->beat = s->event->result->beat;
    if (rm->found_beat < rm->beat)
        rm->found_beat = rm->beat;
    if (MUTANT(BEAT_NOT_LOGGED))
        return;
    struct record *record = output_record(s, RECORD_BEAT);
    memcpy(record->rm, rm->name, RM_NAME_BYTES);
    record->beat = rm->beat;
    record->system_identifier = rm->system_identifier;
    record->timeline = rm->timeline;
}

/* Which event of its transaction a result is; the rest is about the agent itself. */
static enum txn_event agents_result_means(enum result_type type)
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

/* Where the database may have lost the branch, its xid is no evidence: only to be found prepared
 * counts, and that it is not there any more when it was to be rolled back. */
static bool agents_proves_nothing(struct step *s, enum txn_event event)
{
    struct branch *branch = s->branch;
    if (!facts_may_be_lost(s->c, s->txn, branch))
        return false;
    if (event == TE_FOUND && branch->xid == s->event->result->xid) {
        branch->refound = true;
        if (branch->progress == BR_UNSURE)
            branch->progress = BR_YES;
    }
    return event == TE_HEURISTIC || event == TE_UNSURE ||
           (event == TE_DONE && s->txn->state == TXN_COMMITTING);
}

/* Which event a ballot's message is; TE_HOLE: none of this side's. */
static enum txn_event agents_ballot_means(enum ballot_type type)
{
    static const enum txn_event meaning[BALLOTS] = {
        [BALLOT_ASK_PROMISE] = TE_ASKED, [BALLOT_ASK_ACCEPT] = TE_ASKED,
        [BALLOT_PROMISED] = TE_POLLED,   [BALLOT_ACCEPTED] = TE_POLLED,
        [BALLOT_OUTBID] = TE_POLLED,     [BALLOT_TELL] = TE_DECIDED,
        [BALLOT_DECIDED] = TE_DECIDED,
    };
    return meaning[type];
}

static void agents_ballot_event(struct step *s)
{
    const struct ballot *ballot = &s->event->result->ballot;
    enum txn_event event = agents_ballot_means(ballot->type);
    if (event == TE_HOLE || !text_equal(ballot->gtrid.tm, s->c->settings.tm, TM_NAME_BYTES)) {
        s->c->refused++;
        return;
    }
    agents_note_beat(s);
    output_select(s, live_find(&s->c->live, ballot->gtrid.incarnation, ballot->gtrid.sequence));
    coordinator_event(s, event);
}

void agents_result(struct step *s)
{
    struct coordinator *c = s->c;
    const struct result *result = s->event->result;
    const struct rm *rm = &c->registry.rms[s->event->rm];

    /* From an agent that has not accepted this start, or from before its last restart. */
    if (c->registry.fenced || rm->state != RM_UP ||
        result->agent_incarnation != rm->agent_incarnation)
        return;
    if (result->type == RESULT_LOST) {
        if (!facts_released_since(c, s->event->rm, &result->branch.gtrid))
            quarantine_begin(s);
        return;
    }
    if (result->type == RESULT_BALLOT) {
        agents_ballot_event(s);
        return;
    }
    if (result->type == RESULT_SCANNED && c->scanned[s->event->rm] < result->number) {
        c->scanned[s->event->rm] = result->number;
        resolve_end_recovered(s);
    }
    enum txn_event event = agents_result_means(result->type);
    if (event == TE_HOLE)
        return;
    const struct branch_id *id = &result->branch;
    if (!text_equal(id->gtrid.tm, c->settings.tm, TM_NAME_BYTES) ||
        !text_equal(id->rm, rm->name, RM_NAME_BYTES)) {
        c->refused++;
        return;
    }
    agents_note_beat(s);
    output_select(s, live_find(&c->live, id->gtrid.incarnation, id->gtrid.sequence));
    if (s->txn != NULL) {
        s->branch = live_find_branch(&c->live, s->txn, s->event->rm, id->branch);
        bool of_strangers_too = event == TE_FOUND || event == TE_SESSION;
        if (s->branch == NULL && !of_strangers_too) {
            c->refused++;
            return;
        }
        if (s->branch != NULL && agents_proves_nothing(s, event))
            return;
    }
    coordinator_event(s, event);
}

void agents_scan(struct step *s)
{
    struct coordinator *c = s->c;
    c->scan_at_ms[s->event->rm] = s->event->now_ms + c->settings.scan_ms;
    if (!facts_reachable(s, s->event->rm))
        return;
    struct order *order = output_order(s, ORDER_RECOVER, s->event->rm);
    order->number = ++c->scans;
    order->begun = c->sequence;
    order->released = (struct txn_number){c->registry.rms[s->event->rm].released_incarnation,
                                          c->registry.rms[s->event->rm].released_sequence};

    retention_forget(s);
    horizon_forget(s);
}
