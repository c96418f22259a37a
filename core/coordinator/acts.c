/*
 * core/coordinator/acts.c - a DBA's decisions on their way to the disk.
 */
#include <assert.h>
#include <string.h>

#include "core/base/mutant.h"
#include "core/coordinator/coordinator_state.h"

struct record *act_begin(struct step *s, enum record_type type)
{
    struct coordinator *c = s->c;
    const struct request *request = s->event->request;
    assert(c->act_count < ACTS_MAX);
    struct act *act = &c->acts[(c->act_first + c->act_count++) % ACTS_MAX];
    struct record *record = output_record(s, type);
    record->branch_count = 0;
    memcpy(record->rm, request->rm, RM_NAME_BYTES);
    memcpy(record->who, request->who, LABEL_BYTES);
    memcpy(record->why, request->why, REASON_BYTES);
    act->ticket = c->records;
    act->op = request->op;
    act->client = request->client;
    return record;
}

/* The record is complete: keep what it says, for its moment and for a snapshot before that. */
void act_end(struct step *s, const struct record *record)
{
    struct coordinator *c = s->c;
    c->acts[(c->act_first + c->act_count - 1) % ACTS_MAX].record = *record;
}
