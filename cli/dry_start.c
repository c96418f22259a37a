/*
 * cli/dry_start.c - what a start of the coordinator would find, without starting it.
 */
#include "cli/dry_start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "common/must.h"
#include "log/reader.h"

/* ---- the log ---- */

static int replay(void *arg, const struct log_place *place, const struct frame *frame,
                  struct error *error)
{
    struct coordinator *coordinator = arg;
    struct record record;
    const char *why = NULL;
    if (frame->type == RECORD_SEAL || frame->type == RECORD_STOP)
        return 0;
    switch (record_decode(frame->type, frame->version, frame->payload, frame->length, &record)) {
    case RECORD_OK:
        record.lsn = frame->lsn;
        record.archived = place->kind == FILE_OUTCOMES || place->kind == FILE_KEYS;
        return coordinator_replay(coordinator, &record, &why) ? 0 : fail(error, "%s", why);
    case RECORD_MAY_IGNORE:
        return 0;
    case RECORD_NOT_KNOWN:
    case RECORD_MALFORMED:
        break;
    }
    return fail(error, "record %llu cannot be read by this version",
                (unsigned long long)frame->lsn);
}

static struct coordinator *new_coordinator(const struct site *site)
{
    const struct coordinator_limits limits = {
        .transactions_max = site->max_transactions,
        .branches_max = site->max_branches,
        .waiters_max = 1,
        .ended_max = 10000,
        .outcome_chunks_max = 2 * (site->max_outcomes / CHUNK_SEQUENCES + 1),
        .keys_max = 2 * site->max_keys,
    };
    /* Nothing is forgotten here that the start itself would still know. */
    struct coordinator_settings settings = {
        .transaction_timeout_ms = 1, .retention_ms = UINT64_MAX, .key_retention_ms = UINT64_MAX};
    memcpy(settings.tm, site->tm, sizeof settings.tm);
    void *room = must_alloc(coordinator_bytes(&limits), "a coordinator");
    return coordinator_init(room, &limits, &settings);
}

static void step(struct coordinator *coordinator, const struct event *event)
{
    static struct actions unused;
    coordinator_step(coordinator, event, &unused);
}

/* As a start goes: the log, the configuration, and a START that counts as durable. */
static int start(const struct site *site, const struct log_dir *dir, struct dry_start *out,
                 struct error *error)
{
    struct log_end end;
    if (log_read(dir, site->tm, false, &end, replay, out->coordinator, error) != 0)
        return -1;
    out->missing = end.segment == 0;
    if (out->missing)
        return fail(error, "there is no log in %s", dir->path);
    for (uint32_t i = 0; i < site->rm_count; i++)
        if (coordinator_configure(out->coordinator, site->rms[i].name, site->rms[i].url) ==
            UINT32_MAX)
            return fail(error, "more resource managers than a coordinator can have");
    struct event event = {
        .type = EV_START,
        .log_incarnation = end.chain.incarnation,
        .recovered_lsn = end.chain.lsn,
    };
    out->log = end.log;
    step(out->coordinator, &event);
    coordinator_durable(out->coordinator, 1, end.chain.lsn + 1);
    return 0;
}

void dry_start(const struct site *site, struct dry_start *out)
{
    struct log_dir dir;
    struct error error;
    memset(out, 0, sizeof *out);
    if (log_dir_open(&dir, site->data_dir, &error) != 0) {
        out->missing = true;
        snprintf(out->why, sizeof out->why, "the coordinator's log is not here: %s", error.message);
        return;
    }
    out->in_use = log_dir_in_use(&dir);
    if (out->in_use) {
        snprintf(out->why, sizeof out->why,
                 "the coordinator runs, and what it has in hand is not all in its log: ask it "
                 "without --agents");
    } else {
        out->coordinator = new_coordinator(site);
        if (start(site, &dir, out, &error) != 0) {
            snprintf(out->why, sizeof out->why, "the coordinator's log cannot be read: %s",
                     error.message);
            dry_start_free(out);
        }
    }
    log_dir_close(&dir);
}

void dry_start_free(struct dry_start *start)
{
    free(start->coordinator);
    start->coordinator = NULL;
}

void dry_start_advice(const struct site *site, const struct dry_start *start, char *out,
                      size_t room)
{
    if (start->missing)
        snprintf(out, room,
                 "bring the log back; if it is gone for good: assentctl -c %s recover --lost-log",
                 site->path);
    else
        snprintf(out, room, "assentd -c %s", site->path);
}

/* ---- the agents ---- */

static enum refusal judge(const struct dry_start *start, uint32_t rm, const cJSON *row)
{
    struct offer offer = {0};
    struct tm_row stored = {.exists = row != NULL};
    coordinator_offer(start->coordinator, rm, &offer);
    offer.log = start->log;
    json_uuid(row, "log", &stored.log);
    json_uuid(row, "instance", &stored.instance);
    stored.incarnation = json_number(row, "incarnation");
    stored.lsn = json_number(row, "position");
    return registry_judge(&stored, &offer);
}

void dry_start_register(struct dry_start *start, uint32_t rm, const cJSON *object)
{
    const struct registry *registry = coordinator_registry(start->coordinator);
    char scratch[SCRATCH_BYTES];
    struct offer offer = {0};
    coordinator_offer(start->coordinator, rm, &offer);
    const cJSON *row = coordinator_row(object, offer.tm);
    struct answer answer = {
        .agent_incarnation = json_number(object, "agent"),
        .beat = json_number(row, "beat"),
        .system_identifier = json_number(object, "system_identifier"),
        .timeline = (uint32_t)json_number(object, "timeline"),
        .refusal = judge(start, rm, row),
    };
    snprintf(answer.rm, sizeof answer.rm, "%s", json_text(object, "rm", scratch));
    if (strcmp(answer.rm, registry->rms[rm].name) != 0)
        answer.refusal = REFUSAL_OTHER_RM;
    struct event event = {.type = EV_ANSWER, .rm = rm, .answer = &answer};
    step(start->coordinator, &event);
}
