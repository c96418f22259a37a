/*
 * core/coordinator/dba.c - what a DBA decides about RMs, and how any such decision takes effect.
 *
 * A decision of a person is a record like every other: nothing follows from it before it is on the
 * disk, and the next start finds it there. So each is handed to the log with who and why, waits
 * its turn among the acts, and is carried out and answered when EV_SETTLED says that its record is
 * durable. What the start after a crash makes of the record, dba_replay() says as well.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

bool dba_is_request(enum op op)
{
    return op >= OP_RESOLVE && op <= OP_RESUME;
}

/* ---- resource managers ---- */

/* Why this cannot be done to this RM now, with *error; NULL if it can. */
static const char *dba_hindrance(const struct step *s, uint32_t at, enum error_code *error)
{
    const struct rm *rm = &s->c->registry.rms[at];
    *error = ERR_WRONG_STATE;
    switch (s->event->request->op) {
    case OP_WAIVE:
        if (rm->state == RM_REFUSED)
            return "its agent has refused this coordinator: that is no silence that could be "
                   "waived";
        if (rm->quarantined || rm->state == RM_QUARANTINED)
            return "its database has lost durable data: it has to be released, not waived";
        return rm->accepted ? "its agent has registered: nobody waits for it" : NULL;
    case OP_RELEASE:
        if (rm->state != RM_QUARANTINED)
            return "it is not quarantined";
        return rm->agent_incarnation == 0 ? "its agent has not registered yet, so nobody knows "
                                            "what its database holds"
                                          : NULL;
    case OP_RETIRE:
        *error = ERR_CONTRADICTED;
        return !s->event->request->force && coordinator_running_at(s->c, at) > 0
                   ? "transactions still have work there, or a decision to be delivered; settle "
                     "them first"
                   : NULL;
    case OP_PAUSE:
    case OP_RESUME:
    default:
        return NULL;
    }
}

static enum record_type dba_record_of(enum op op)
{
    switch (op) {
    case OP_WAIVE:
        return RECORD_WAIVED;
    case OP_RELEASE:
        return RECORD_RELEASED;
    case OP_RETIRE:
        return RECORD_RETIRED;
    default:
        return RECORD_PAUSED;
    }
}

static void dba_rm_request(struct step *s)
{
    struct coordinator *c = s->c;
    const struct request *request = s->event->request;
    enum error_code error;
    uint32_t at = registry_find(&c->registry, request->rm);
    if (at == UINT32_MAX || c->registry.rms[at].retired) {
        output_refuse(s, ERR_UNKNOWN_RM);
        return;
    }
    const char *why_not = dba_hindrance(s, at, &error);
    if (why_not != NULL) {
        output_refuse_because(s, error, why_not);
        return;
    }
    const struct rm *rm = &c->registry.rms[at];
    struct record *record = act_begin(s, dba_record_of(request->op));
    record->flags = request->op == OP_PAUSE;
    record->beat = rm->found_beat;
    record->system_identifier = rm->found_system_identifier;
    record->timeline = rm->found_timeline;
    record->met = rm->found_met;
    if (request->op == OP_RELEASE) {
        record->incarnation = c->incarnation;
        record->sequence = c->sequence;
    }
    act_end(s, record);
}

void dba_request(struct step *s)
{
    const struct request *request = s->event->request;
    if (s->c->act_count == ACTS_MAX)
        output_refuse(s, ERR_BUSY);
    else if (request->op == OP_RESOLVE || request->op == OP_FORGET)
        resolve_request(s);
    else
        dba_rm_request(s);
}

/* ---- taking effect ---- */

static void dba_release(struct rm *rm, const struct record *record)
{
    /* Its agent registers again, and is judged by what is remembered from here on. */
    rm->quarantined = false;
    rm->state = RM_DOWN;
    rm->beat = record->beat;
    rm->system_identifier = record->system_identifier;
    rm->timeline = record->timeline;
    rm->met = record->met;
    rm->released_incarnation = record->incarnation;
    rm->released_sequence = record->sequence;
}

const char *dba_replay(struct coordinator *c, const struct record *record)
{
    uint32_t at = registry_find(&c->registry, record->rm);
    if (record->type == RECORD_RESOLVED)
        return resolve_replay(c, record);
    if (at == UINT32_MAX)
        at = registry_add(&c->registry, record->rm, "");
    if (at == UINT32_MAX)
        return "more resource managers than a coordinator can have";
    struct rm *rm = &c->registry.rms[at];
    switch (record->type) {
    case RECORD_WAIVED:
        rm->waived = true;
        break;
    case RECORD_RELEASED:
        dba_release(rm, record);
        break;
    case RECORD_RETIRED:
        rm->retired = true;
        break;
    default:
        rm->paused = record->flags != 0;
    }
    return NULL;
}

static void dba_rm_settled(struct step *s, const struct act *act)
{
    struct coordinator *c = s->c;
    uint32_t at = registry_find(&c->registry, act->record.rm);
    struct rm *rm = &c->registry.rms[at];
    bool could_presume = registry_may_presume(&c->registry, NULL);
    const char *why = dba_replay(c, &act->record);
    assert(why == NULL);
    (void)why;
    if (act->op == OP_RETIRE) {
        rm->configured = false;
        rm->state = RM_DOWN;
    }
    if (!could_presume && registry_may_presume(&c->registry, NULL))
        output_scan_all_soon(s);
    output_reply_to(s, act->op, act->client)->running = coordinator_running_at(c, at);
}

void dba_settled(struct step *s)
{
    struct coordinator *c = s->c;
    struct act *act = &c->acts[c->act_first];
    c->act_first = (c->act_first + 1) % ACTS_MAX;
    c->act_count--;
    if (act->op == OP_RESOLVE || act->op == OP_FORGET)
        resolve_settled(s, act);
    else
        dba_rm_settled(s, act);
}
