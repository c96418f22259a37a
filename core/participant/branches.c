/*
 * core/participant/branches.c - which branches an agent remembers, and for how long.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/participant/participant_state.h"

static struct participant *participant_lay_out(struct memory *memory, uint32_t branches_max)
{
    struct slots places;
    struct table table;
    struct timers timers;
    struct participant *participant = memory_take(memory, 1, sizeof *participant);
    struct slot *slots = memory_take(memory, branches_max, sizeof *slots);
    slots_init(&places, memory, branches_max);
    table_init(&table, memory, branches_max);
    timers_init(&timers, memory, branches_max);
    if (participant == NULL)
        return NULL;
    participant->places = places;
    participant->slots = slots;
    participant->table = table;
    participant->timers = timers;
    return participant;
}

size_t participant_bytes(uint32_t branches_max)
{
    struct memory memory = {.base = NULL};
    participant_lay_out(&memory, branches_max);
    return memory.used;
}

struct participant *participant_init(void *room, uint32_t branches_max, uint64_t agent_incarnation)
{
    struct memory memory = {.base = room};
    struct participant *participant = participant_lay_out(&memory, branches_max);
    participant->agent_incarnation = agent_incarnation;
    participant->spare_first = participant->spare_last = NO_ITEM;
    return participant;
}

static uint64_t branches_hash(const struct branch_id *id)
{
    uint64_t hash = hash_bytes(id->gtrid.tm, text_length(id->gtrid.tm, TM_NAME_BYTES),
                               id->gtrid.sequence * 31 + id->gtrid.incarnation);
    return hash_bytes(id->branch, text_length(id->branch, BRANCH_NAME_BYTES), hash);
}

uint32_t branches_find(const struct participant *participant, const struct branch_id *id)
{
    struct probe probe;
    for (uint32_t i = table_first(&participant->table, branches_hash(id), &probe); i != NO_ITEM;
         i = table_next(&participant->table, &probe))
        if (branch_equal(&participant->slots[i].id, id))
            return i;
    return NO_ITEM;
}

/* What is over, and remembered only to be said again. */
void branches_spare(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    slot->spare = true;
    slot->before = participant->spare_last;
    slot->after = NO_ITEM;
    if (slot->before == NO_ITEM)
        participant->spare_first = at;
    else
        participant->slots[slot->before].after = at;
    participant->spare_last = at;
    participant->spare_count++;
}

void branches_unspare(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    if (!slot->spare)
        return;
    slot->spare = false;
    if (slot->before == NO_ITEM)
        participant->spare_first = slot->after;
    else
        participant->slots[slot->before].after = slot->after;
    if (slot->after == NO_ITEM)
        participant->spare_last = slot->before;
    else
        participant->slots[slot->after].before = slot->before;
    participant->spare_count--;
}

static uint32_t branches_remember(struct participant *participant, const struct branch_id *id)
{
    uint32_t at = slots_take(&participant->places);
    if (at == NO_ITEM)
        return NO_ITEM;
    memset(&participant->slots[at], 0, sizeof participant->slots[at]);
    participant->slots[at].id = *id;
    table_put(&participant->table, branches_hash(id), at);
    return at;
}

void branches_forget(struct participant *participant, uint32_t at)
{
    struct slot *slot = &participant->slots[at];
    branches_unspare(participant, at);
    table_remove(&participant->table, branches_hash(&slot->id), at);
    timers_set(&participant->timers, at, TIMER_NEVER);
    slot->state = BRANCH_NONE;
    slots_give(&participant->places, at);
}

static bool branches_is_new_work(enum participant_event_type type)
{
    return type == PE_OPENED || type == PE_PREPARE;
}

static uint32_t branches_reserved(const struct participant *participant)
{
    uint32_t part = participant->places.max / RESERVED_PART;
    return part > 0 ? part : 1;
}

bool participant_has_room(const struct participant *participant)
{
    return slots_free(&participant->places) + participant->spare_count >
           branches_reserved(participant);
}

/* Room for a branch, at the cost of the answer that has been remembered for the longest time. */
uint32_t branches_make_room(struct participant *participant, const struct participant_event *event,
                            struct participant_actions *out)
{
    if (branches_is_new_work(event->type) && !participant_has_room(participant))
        return NO_ITEM;
    if (slots_free(&participant->places) == 0 && participant->spare_count == 0 &&
        MUTANT(FULL_FORGETS))
        branches_forget(participant, 0);
    if (slots_free(&participant->places) == 0 && participant->spare_count > 0) {
        out->forgot = true;
        out->forgotten = participant->slots[participant->spare_first].id;
        branches_forget(participant, participant->spare_first);
    }
    return branches_remember(participant, &event->branch);
}

/* ---- for show ---- */

bool participant_fence(struct participant *participant, const char *tm, uint64_t incarnation,
                       struct participant_event *out)
{
    for (uint32_t i = 0; i < participant->places.max; i++) {
        const struct slot *slot = &participant->slots[i];
        if (slot->state != BRANCH_OPEN || slot->id.gtrid.incarnation >= incarnation ||
            !text_equal(slot->id.gtrid.tm, tm, TM_NAME_BYTES))
            continue;
        memset(out, 0, sizeof *out);
        out->type = PE_TICK;
        out->branch = slot->id;
        return true;
    }
    return false;
}

void participant_unplace(struct participant *participant, const char *tm)
{
    for (uint32_t i = 0; i < participant->places.max; i++)
        if (text_equal(participant->slots[i].id.gtrid.tm, tm, TM_NAME_BYTES))
            participant->slots[i].lsn = 0;
}

enum branch_state participant_state(const struct participant *participant,
                                    const struct branch_id *branch)
{
    uint32_t at = branches_find(participant, branch);
    return at == NO_ITEM ? BRANCH_NONE : participant->slots[at].state;
}

uint64_t participant_xid(const struct participant *participant, const struct branch_id *branch)
{
    uint32_t at = branches_find(participant, branch);
    return at == NO_ITEM ? 0 : participant->slots[at].xid;
}

uint32_t participant_count(const struct participant *participant)
{
    return slots_used(&participant->places);
}

uint32_t participant_held(const struct participant *participant)
{
    return slots_used(&participant->places) - participant->spare_count;
}

uint32_t participant_next(const struct participant *participant, uint32_t from,
                          struct branch_id *branch, enum branch_state *state)
{
    for (uint32_t i = from; i < participant->places.max; i++) {
        if (participant->slots[i].state == BRANCH_NONE)
            continue;
        *branch = participant->slots[i].id;
        *state = participant->slots[i].state;
        return i;
    }
    return NO_ITEM;
}

bool participant_under_way(const struct participant *participant, const struct gtrid *gtrid,
                           uint32_t *at, struct branch_id *branch)
{
    enum branch_state state;
    while ((*at = participant_next(participant, *at, branch, &state)) != NO_ITEM) {
        if (gtrid_equal(&branch->gtrid, gtrid) && state != BRANCH_REFUSED && state != BRANCH_LEFT)
            return true;
        ++*at;
    }
    return false;
}
