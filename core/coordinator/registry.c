/*
 * core/coordinator/registry.c - who may speak: registration, fencing, and when abort may be
 * presumed.
 *
 * A log that does not know a transaction proves that it was aborted only if the log is the
 * newest there is. No log can know that of itself; the agents can: each has seen how far the
 * log once reached. So nothing of an earlier start is presumed before every agent that took
 * part has accepted this one, and a refusal by any of them stops this TM.
 */
#include "core/coordinator/registry.h"
#include "core/base/mutant.h"

#include <assert.h>
#include <string.h>

static bool registry_same(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Two copies of one log both grow; what tells them apart is their starts. The log that goes on from
 * the start that the agent follows has that very start among its own. */
static bool descends(const struct offer *offer, const struct tm_row *stored)
{
    for (uint32_t i = 0; i < offer->ancestor_count; i++)
        if (offer->ancestors[i].incarnation == stored->incarnation &&
            registry_same(&offer->ancestors[i].instance, &stored->instance))
            return true;
    return false;
}

enum refusal registry_judge(const struct tm_row *stored, const struct offer *offer)
{
    if (offer->wire_least > WIRE_VERSION || offer->wire_most < WIRE_VERSION)
        return REFUSAL_WIRE;
    if (!stored->exists)
        return REFUSAL_NONE;
    if (!registry_same(&stored->log, &offer->log))
        return REFUSAL_OTHER_LOG;
    if (offer->incarnation < stored->incarnation && !MUTANT(JUDGE_ANY_START))
        return REFUSAL_INCARNATION;
    if (offer->incarnation == stored->incarnation)
        return registry_same(&stored->instance, &offer->instance) || MUTANT(JUDGE_NO_INSTANCE)
                   ? REFUSAL_NONE
                   : REFUSAL_INSTANCE;
    if (!offer->unfenced && !descends(offer, stored) && !MUTANT(JUDGE_ANY_START))
        return REFUSAL_INSTANCE;
    /* Only a new start is measured against the position: what a start recovered stays behind
     * what it has written itself since. */
    if (offer->recovered_lsn < stored->lsn && !MUTANT(JUDGE_NO_POSITION))
        return REFUSAL_POSITION;
    return REFUSAL_NONE;
}

enum adopted registry_adopt(const struct tm_row *stored, const struct adoption *adoption)
{
    if (!stored->exists || registry_same(&stored->log, &adoption->log))
        return ADOPT_NEEDLESS;
    if (!registry_same(&stored->log, &adoption->from))
        return ADOPT_OTHER;
    return stored->incarnation >= adoption->incarnation ? ADOPT_LATER : ADOPT_NOW;
}

uint32_t registry_find(const struct registry *registry, const char *rm)
{
    for (uint32_t i = 0; i < registry->count; i++)
        if (text_equal(registry->rms[i].name, rm, RM_NAME_BYTES))
            return i;
    return UINT32_MAX;
}

uint32_t registry_add(struct registry *registry, const char *rm, const char *url)
{
    uint32_t at = registry_find(registry, rm);
    if (at == UINT32_MAX) {
        if (registry->count == RMS_MAX)
            return UINT32_MAX;
        at = registry->count++;
        memset(&registry->rms[at], 0, sizeof registry->rms[at]);
        text_copy(registry->rms[at].name, RM_NAME_BYTES, rm, text_length(rm, RM_NAME_BYTES));
    }
    text_copy(registry->rms[at].url, URL_BYTES, url, text_length(url, URL_BYTES));
    return at;
}

bool registry_newly_established(const struct registry *registry)
{
    for (uint32_t i = 0; i < registry->count; i++)
        if (registry->rms[i].configured && !registry->rms[i].logged)
            return false;
    return !registry->established && registry->count > 0;
}

/* A newcomer to an established log that belongs to another (a copy of staging, say) has never
 * taken part in this one: it is left out alone, and nobody waits for it. */
static bool left_out(const struct registry *registry, const struct rm *rm)
{
    return rm->state == RM_REFUSED && rm->refusal == REFUSAL_OTHER_LOG && !rm->logged &&
           registry->established;
}

static enum registration registry_refused(struct registry *registry, uint32_t at,
                                          const struct answer *answer)
{
    struct rm *rm = &registry->rms[at];
    rm->state = RM_REFUSED;
    rm->refusal = answer->refusal;

    switch (answer->refusal) {
    case REFUSAL_OTHER_LOG:
        if (left_out(registry, rm))
            return REGISTRATION_LEFT_OUT;
        break;
    case REFUSAL_OTHER_RM:
    case REFUSAL_WIRE:
        /* Says nothing about our log. We wait for it, as for one that is down. */
        return REGISTRATION_LEFT_OUT;
    case REFUSAL_INCARNATION:
    case REFUSAL_INSTANCE:
    case REFUSAL_POSITION:
        break;
    case REFUSAL_NONE:
    case REFUSALS:
        assert(false && "not a refusal");
    }
    if (!registry->fenced && !MUTANT(FENCED_GOES_ON)) {
        registry->fenced = true;
        registry->fenced_by = at;
    }
    return REGISTRATION_FENCED;
}

/* A database that shows less than it has proved durable has lost what we rely on. That it knew
 * nothing of us it says only once; what it has stored since is known as strange until one of our
 * scans has told it that we have heard. */
static bool lost_data(const struct rm *rm, const struct answer *answer)
{
    if (!rm->logged)
        return false;
    return answer->newcomer ||
           (answer->met != 0 && answer->met != rm->met && !MUTANT(NEWCOMER_ONCE)) ||
           answer->beat < rm->beat ||
           (rm->system_identifier != 0 && answer->system_identifier != rm->system_identifier);
}

enum registration registry_register(struct registry *registry, uint32_t at,
                                    const struct answer *answer)
{
    struct rm *rm = &registry->rms[at];

    rm->agent_incarnation = answer->agent_incarnation;
    memcpy(rm->database, answer->database, sizeof rm->database);
    memcpy(rm->server_version, answer->server_version, sizeof rm->server_version);
    if (answer->refusal != REFUSAL_NONE)
        return registry_refused(registry, at, answer);

    rm->refusal = REFUSAL_NONE;
    rm->found_beat = answer->beat;
    rm->found_system_identifier = answer->system_identifier;
    rm->found_timeline = answer->timeline;
    rm->found_met = answer->met;
    if (rm->quarantined || rm->state == RM_QUARANTINED || lost_data(rm, answer)) {
        rm->state = RM_QUARANTINED;
        return REGISTRATION_QUARANTINED;
    }
    rm->state = RM_UP;
    rm->witness = answer->witness;
    memcpy(rm->peer_url, answer->peer_url, sizeof rm->peer_url);
    rm->accepted = true;
    rm->waived = false;
    rm->system_identifier = answer->system_identifier;
    rm->timeline = answer->timeline;
    if (answer->met != 0)
        rm->met = answer->met;
    return REGISTRATION_ACCEPTED;
}

void registry_restart(struct registry *registry, uint64_t recovered_lsn)
{
    for (uint32_t i = 0; i < registry->count; i++) {
        struct rm *rm = &registry->rms[i];
        /* One that this log does not know to have accepted it was never sent a position by it. */
        if (rm->proved || MUTANT(OFFER_THIS_START))
            rm->offer_lsn = recovered_lsn;
        rm->proved = false;
    }
}

void registry_ancestor(struct registry *registry, const struct start_id *start)
{
    enum { STARTS_MAX = sizeof registry->starts / sizeof *registry->starts };
    if (registry->start_count == STARTS_MAX) {
        for (uint32_t i = 1; i < STARTS_MAX; i++)
            registry->starts[i - 1] = registry->starts[i];
        registry->start_count--;
    }
    registry->starts[registry->start_count++] = *start;
}

void registry_offer(const struct registry *registry, uint32_t at, struct offer *out)
{
    const struct rm *rm = &registry->rms[at];
    out->recovered_lsn = rm->offer_lsn;
    out->unfenced = registry->unfenced;
    out->ancestor_count = registry->start_count;
    memcpy(out->ancestors, registry->starts, registry->start_count * sizeof *registry->starts);
    if (rm->accepted_start.incarnation != 0)
        out->ancestors[out->ancestor_count++] = rm->accepted_start;
}

void registry_lost(struct registry *registry, uint32_t at)
{
    if (registry->rms[at].state == RM_UP)
        registry->rms[at].state = RM_DOWN;
}

bool registry_any_accepted(const struct registry *registry)
{
    for (uint32_t i = 0; i < registry->count; i++)
        if (registry->rms[i].accepted)
            return true;
    return false;
}

bool registry_may_presume(const struct registry *registry, uint32_t *waits_for)
{
    if (registry->fenced) {
        if (waits_for != NULL)
            *waits_for = registry->fenced_by;
        return false;
    }
    if (registry->same_host)
        return true;
    for (uint32_t i = 0; i < registry->count; i++) {
        const struct rm *rm = &registry->rms[i];
        if (rm->accepted && MUTANT(PRESUME_AT_ANY))
            return true;
        if (rm->accepted || rm->retired || rm->waived || left_out(registry, rm))
            continue;
        if (waits_for != NULL)
            *waits_for = i;
        return false;
    }
    return true;
}

const char *rm_state_word(enum rm_state state)
{
    static const char *const words[] = {
        [RM_DOWN] = "down",
        [RM_UP] = "up",
        [RM_REFUSED] = "refused",
        [RM_QUARANTINED] = "quarantined",
    };
    return words[state];
}
